"""The video generator: AnimateDiff's pipeline, the image generator's UNet with motion modules between its layers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from anygen.error import ModelError, RequestError
from anygen.generators.diffusion import OnStep, logs
from anygen.generators.frames import FrameGenerator
from anygen.media import Image, Video
from anygen.weights import fill, quiet, read_config

FRAMES = 16
"""Frames of a film, fewer where the motion modules count fewer; AnimateDiff's are trained on so many."""

FPS = 8
"""Frames per second, as in AnimateDiff (arXiv 2307.04725)."""


OPTIONS = "film.json"
"""Beside the pipeline: what its class has no place for. A folder without it is AnimateDiff as it is."""

_KEY = re.compile(r"\s*(\d+)\s*:")


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmOptions:
    """How a film's frames are told and begun.

    With `storyboards` a text may be captions of some frames, "0: a cat at the left | 15: a cat at the right", and each
    frame is told what its caption says, or what is between two captions. `shared_noise` is the share of variance that
    the frames' noise has in common (Ge et al. 2023, arXiv 2305.10474). `squares` says that captions of a storyboard
    have the squares of things, as training tells them ("0: a medium cat b5, sea"; `playground/squares.py`).
    """

    storyboards: bool = False
    shared_noise: float = 0.0
    squares: bool = False

    def __post_init__(self) -> None:
        if self.squares and not self.storyboards:
            raise ModelError(f"{OPTIONS}: squares are told in storyboards, and these are off")
        if not 0 <= self.shared_noise <= 1:
            raise ModelError(f"{OPTIONS}: shared_noise is {self.shared_noise}, it must be in 0..1")


class VideoGenerator(FrameGenerator):
    """Films from conditions [batch, length, width], through `AnimateDiffPipeline`.

    In memory the motion modules are part of the UNet. On disk they are too, unless the UNet is borrowed from an image
    generator: then they are a `MotionAdapter` beside nothing but the text encoder.

    AnimateDiff tells every frame the same. With storyboards (`FilmOptions`) the condition is what each frame is told,
    one after the other; in plain diffusers that is a prompt for each key frame, with FreeNoise.
    """

    modality = "video"
    twin = "VideoToVideoPipeline"

    def __init__(self, pipeline: Any, film: FilmOptions | None = None) -> None:
        if getattr(pipeline, "motion_adapter", None) is not None:
            pipeline.register_modules(motion_adapter=None)  # the UNet has its own copy of these weights
        super().__init__(pipeline)
        self.film = film or FilmOptions()
        if self.film.storyboards:
            each_its_own(self.unet, self.frames, pipeline.tokenizer.model_max_length)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        base: str | Path | None = None,
    ) -> Self:
        """Open a diffusers folder strictly, and `film.json` beside it where there is one."""
        file = Path(folder) / OPTIONS
        film = fill(FilmOptions, read_config(file), str(file)) if file.is_file() else None
        plain = super().from_pretrained(folder, device, dtype, base)
        generator = cls(plain.pipeline, film)
        generator.borrowed = plain.borrowed
        return generator

    @property
    def frames(self) -> int:
        """Frames of a film."""
        return min(FRAMES, int(self.unet.config.motion_max_seq_length))

    @property
    def fps(self) -> int:
        """Frames per second."""
        return FPS

    @property
    def moments(self) -> int:
        """Parts of a condition that say the same of different moments: the frames, or 1 where all are told alike."""
        return self.frames if self.film.storyboards else 1

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of texts or storyboards: [batch, length, width]."""
        if not self.film.storyboards:
            return super().condition(texts)
        return self.tell(**{key: value.to(self.device) for key, value in self.coded(texts).items()})

    def coded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as `tell` takes them; of storyboards the two captions around each frame, and how far it is between."""
        if not self.film.storyboards:
            return super().coded(texts)
        around = [around_frames(text, self.frames) for text in texts]
        plain = super().coded([caption for rows in around for one, other, _ in rows for caption in (one, other)])
        shape = (len(texts), self.frames, 2, -1)
        between = torch.tensor([[share for *_, share in rows] for rows in around]).view(len(texts), self.frames)
        return {key: value.view(shape) for key, value in plain.items()} | {"between": between}

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor, between: Tensor | None = None) -> Tensor:
        """The text encoder's states for tokens [batch, tokens]; or with `between` [batch, frames], for two captions
        around each frame, [batch, frames, 2, tokens], what is so far from one to the other: frame after frame."""
        if between is None:
            return super().tell(input_ids, attention_mask)
        captions, places = input_ids.flatten(0, 2).unique(dim=0, return_inverse=True)  # most are there many times
        states = super().tell(captions, attention_mask)[places].unflatten(0, input_ids.shape[:3])
        return states[:, :, 0].lerp(states[:, :, 1], between[..., None, None].to(states)).flatten(1, 2)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """[batch, channels, frames, height, width], noise or flow as the scheduler has it."""
        if self.moments > 1:
            told = condition.unflatten(1, (self.moments, -1)).flatten(0, 1)  # [batch * frames, ...], each frame its own
        else:
            told = condition.repeat_interleave(noisy.shape[2], 0)  # every frame reads the same text
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
                if self.film.shared_noise:
                    options["latents"] = self._noise(options["generator"])
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
        if self.film != FilmOptions():
            text = json.dumps(asdict(self.film), indent=2) + "\n"
            (Path(folder) / OPTIONS).write_text(text, encoding="utf-8")
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
        noise = self._noise(rngs)
        still = first[:, :, None].expand_as(noise)
        started = scheduler.add_noise(still, noise, begin.expand(len(noise)))
        started[:, :, 0] = first
        return started

    def _noise(self, rngs: list[torch.Generator]) -> Tensor:
        """Each film's own noise, [films, channels, frames, height, width]."""
        config = self.unet.config
        side = config.sample_size if isinstance(config.sample_size, list | tuple) else [config.sample_size] * 2
        shape = (config.in_channels, self.frames, *side)
        noise = torch.stack([torch.randn(shape, generator=rng) for rng in rngs])
        if self.film.shared_noise:
            common = torch.stack([torch.randn((shape[0], 1, *side), generator=rng) for rng in rngs])
            noise = shared(noise, common, self.film.shared_noise)
        return noise.to(self.device, self.dtype)

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


def around_frames(text: str, frames: int) -> list[tuple[str, str, float]]:
    """For each frame of a storyboard the captions before and after it, and how far it is from one to the other, 0..1.

    A text that is no storyboard is the caption of every frame. Frames before the first key are told what it says, those
    after the last the same. Raises RequestError where keys are out of order or behind the film's end.
    """
    rows = [(_KEY.match(part), part) for part in text.split("|")]
    if not all(key for key, _ in rows):
        return [(text, text, 0.0)] * frames
    keys = [(int(key[1]), part[key.end() :].strip()) for key, part in rows if key]
    numbers = [number for number, _ in keys]
    if numbers != sorted(set(numbers)) or numbers[-1] >= frames:
        raise RequestError(f"a storyboard's frames {numbers} must rise and lie within 0..{frames - 1}")
    told = []
    for frame in range(frames):
        before = [key for key in keys if key[0] <= frame] or keys[:1]
        after = [key for key in keys if key[0] > frame] or keys[-1:]
        (start, one), (end, other) = before[-1], after[0]
        told.append((one, other, (frame - start) / (end - start) if start < frame < end else 0.0))
    return told


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


def shared(noise: Tensor, common: Tensor, share: float) -> Tensor:
    """Noise of frames that has a share of its variance in common: it stays Gaussian, of variance 1."""
    return common * share**0.5 + noise * (1 - share) ** 0.5


def _held(latents: Tensor, first: Tensor | None) -> Tensor:
    """Latents [batch, channels, frames, height, width] with that first frame, where one is given."""
    if first is None:
        return latents
    return torch.cat([first[:, :, None].expand(len(latents), -1, -1, -1, -1), latents[:, :, 1:]], 2)
