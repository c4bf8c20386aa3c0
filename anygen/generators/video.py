"""The video generator: AnimateDiff's pipeline, the image generator's UNet with motion modules between its layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.generators.diffusion import OnStep, logs
from anygen.generators.frames import FrameGenerator
from anygen.media import Image, Video
from anygen.weights import quiet

FRAMES = 16
"""Frames of a film, fewer where the motion modules count fewer; AnimateDiff's are trained on so many."""

FPS = 8
"""Frames per second, as in AnimateDiff (arXiv 2307.04725)."""


FRAME_TOKENS = "frame_tokens"
"""Under this name a tokenizer's configuration lists the token that stands before a text for each frame of a film."""


class VideoGenerator(FrameGenerator):
    """Films from conditions [batch, length, width], through `AnimateDiffPipeline`.

    In memory the motion modules are part of the UNet. On disk they are too, unless the UNet is borrowed from an image
    generator: then they are a `MotionAdapter` beside nothing but the text encoder.

    AnimateDiff tells every frame the same. Where the tokenizer has a token for each frame (FRAME_TOKENS), the text
    encoder reads the text once for each, behind that token, and each frame is told what was made of its own: the
    condition is all of these, one after the other. In plain diffusers that is a prompt for each frame, with FreeNoise.
    """

    modality = "video"
    twin = "VideoToVideoPipeline"

    def __init__(self, pipeline: Any) -> None:
        if getattr(pipeline, "motion_adapter", None) is not None:
            pipeline.register_modules(motion_adapter=None)  # the UNet has its own copy of these weights
        super().__init__(pipeline)
        self._marks = frame_marks(pipeline.tokenizer)
        if self._marks:
            each_its_own(self.unet, len(self._marks), pipeline.tokenizer.model_max_length)

    @property
    def frames(self) -> int:
        """Frames of a film."""
        return len(self._marks) or min(FRAMES, int(self.unet.config.motion_max_seq_length))

    @property
    def fps(self) -> int:
        """Frames per second."""
        return FPS

    @property
    def moments(self) -> int:
        """Parts of a condition that are of one text at different moments: the frames, or 1 where all are told alike."""
        return max(1, len(self._marks))

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of `texts`: [batch, length, width]."""
        if not self._marks:
            return super().condition(texts)
        tokenizer = self.pipeline.tokenizer
        coded = tokenizer(
            list(texts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        return self.tell(coded.input_ids, coded.attention_mask)

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text encoder's states for tokens [batch, tokens]; each frame's own, where there are tokens for frames."""
        if not self._marks:
            return super().tell(input_ids, attention_mask)
        marked = behind_marks(input_ids, torch.tensor(self._marks, device=input_ids.device))
        states = super().tell(marked.flatten(0, 1), attention_mask)  # [batch * frames, tokens, width]
        return states.unflatten(0, marked.shape[:2]).flatten(1, 2)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """[batch, channels, frames, height, width], noise or flow as the scheduler has it."""
        told = condition.repeat_interleave(noisy.shape[2], 0)  # what is not each frame's own, all of them read
        return self.unet(noisy, timesteps, encoder_hidden_states=told, return_dict=False)[0]

    @torch.no_grad()
    def generate(
        self,
        condition: Tensor,
        seeds: Sequence[int],
        *,
        steps: int = 20,
        guidance: float = 4.0,
        source: Image | None = None,
        strength: float | None = None,
        on_step: OnStep | None = None,
    ) -> list[Video]:
        """One film per row of `condition` [batch, length, width], each from its own seed.

        With `source` and `strength` the films begin with that picture: it is the first frame throughout, and all others
        start from it with noise, as much as `strength` says (1: from noise alone, so that anything may move anywhere).
        `on_step(step, steps, preview)` is called after each step, `step` from 1; `preview()` decodes what is there.
        """
        self._check(condition, seeds, steps)
        self._check_strength(strength, steps)
        height, width = self.size
        options = self._options(condition, seeds, steps, guidance) | {"height": height, "width": width}
        with self._lock:
            pipeline, first = self.pipeline, None
            if source is not None and strength is not None:
                pipeline = self._editor()
                first = self._latents(2 * self.prepare(source)[None] - 1)  # [1, channels, height, width]
                started = self._started(first, options["generator"], steps, strength)
                options |= {"latents": started, "strength": strength}
            else:
                options["num_frames"] = self.frames
            if on_step is not None or first is not None:
                options["callback_on_step_end"] = self._reporter(on_step, first)
            films = pipeline(**options).frames  # [batch, frames, 3, height, width] in 0..1
        return self._films(films)

    @torch.no_grad()
    def encode(self, media: Tensor) -> Tensor:
        """Films [batch, frames, 3, height, width], uint8 or float in -1..1, to [batch, channels, frames, h, w]."""
        return self._latents(media.flatten(0, 1)).unflatten(0, media.shape[:2]).transpose(1, 2)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Video]:
        """The inverse of `encode`, as films."""
        pixels = self._pixels(latents.transpose(1, 2).flatten(0, 1))
        return self._films(pixels.unflatten(0, (len(latents), -1)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline as a diffusers folder, without what it borrows."""
        super().save_pretrained(folder)
        if "unet" not in self.borrowed:
            return
        with quiet(*logs()):
            self.unet.save_motion_modules(Path(folder) / "motion_adapter")
        file = Path(folder) / "model_index.json"
        index = json.loads(file.read_text(encoding="utf-8"))
        index |= {"unet": ["diffusers", "UNet2DConditionModel"], "motion_adapter": ["diffusers", "MotionAdapter"]}
        file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def _started(self, first: Tensor, rngs: list[torch.Generator], steps: int, strength: float) -> Tensor:
        """Latents to start from: the picture, as it is and then in every frame with noise of its own."""
        scheduler = self.pipeline.scheduler
        scheduler.set_timesteps(steps, device=self.device)
        begin = scheduler.timesteps[steps - min(int(steps * strength), steps)]
        shape = (first.shape[1], self.frames, *first.shape[2:])
        noise = torch.stack([torch.randn(shape, generator=rng) for rng in rngs]).to(first)
        still = first[:, :, None].expand_as(noise)
        started = scheduler.add_noise(still, noise, begin.expand(len(noise)))
        started[:, :, 0] = first
        return started

    def _reporter(self, on_step: OnStep | None, first: Tensor | None) -> Callable[..., dict[str, Any]]:
        """What reports steps, and holds the first frame where it is given."""
        done = 0

        def report(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            done += 1
            guess = self._guess(values["latents"])
            if on_step is not None:
                on_step(done, pipeline.num_timesteps, lambda: self.decode(_held(guess, first)))
            return {"latents": _held(values["latents"], first)}

        return report

    def _films(self, pixels: Tensor) -> list[Video]:
        array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
        return [Video(film, fps=self.fps) for film in array]


def frame_marks(tokenizer: Any) -> list[int]:
    """The tokens that stand before a text for each frame; none where a tokenizer has none."""
    return tokenizer.convert_tokens_to_ids(list(tokenizer.init_kwargs.get(FRAME_TOKENS) or ()))


def behind_marks(ids: Tensor, marks: Tensor) -> Tensor:
    """Padded texts [batch, tokens] behind each of the marks [frames], their last token cut: [batch, frames, tokens].

    A text that fills all tokens loses its end.
    """
    texts = ids[:, None, :-1].expand(-1, len(marks), -1)
    return torch.cat([marks.to(ids)[None, :, None].expand(len(ids), -1, -1), texts], 2)


def each_its_own(unet: Any, frames: int, length: int) -> Any:
    """Let each frame of the UNet read its own part of what is told: of rows [batch * frames, frames * length, width],
    as diffusers repeats them, part k for frame k. What has another length is read as it is. Gives what undoes it."""

    def own(module: Any, args: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        told = options["encoder_hidden_states"]
        if told.shape[1] == frames * length:
            rows = torch.arange(len(told), device=told.device)
            told = told.unflatten(1, (frames, length))[rows, rows % frames]
        return args, options | {"encoder_hidden_states": told}

    return unet.register_forward_pre_hook(own, with_kwargs=True)


def _held(latents: Tensor, first: Tensor | None) -> Tensor:
    """Latents [batch, channels, frames, height, width] with that first frame, where one is given."""
    if first is None:
        return latents
    return torch.cat([first[:, :, None].expand(len(latents), -1, -1, -1, -1), latents[:, :, 1:]], 2)
