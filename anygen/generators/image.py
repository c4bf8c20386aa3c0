"""The image generator: a diffusers pipeline that takes its condition from the output projector instead of a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.error import ModelError, RequestError
from anygen.generators.diffusion import OnStep, forget_origin, logs, opened
from anygen.generators.frames import FrameGenerator
from anygen.media import Image
from anygen.weights import quiet

ADAPTER = "adapter"  # the folder of a T2I-Adapter in that of the pipeline that it helps


class ImageGenerator(FrameGenerator):
    """Pictures from conditions [batch, length, width], through any diffusers pipeline with `prompt_embeds`.

    A pipeline with a T2I-Adapter for edits is kept as its twin without one, which opens and draws from a prompt
    anywhere, and the adapter in a folder `adapter` that the twin's index does not name.
    """

    modality = "image"
    twin = "Img2ImgPipeline"

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self._adapted = getattr(pipeline, "adapter", None) is not None
        self._plain: Any = None

    @classmethod
    def _whole(cls, pipeline: Any, folder: Path, options: dict[str, Any]) -> Any:
        if not (folder / ADAPTER).is_dir() or "adapter" in pipeline.components:
            return pipeline
        import diffusers

        name = type(pipeline).__name__.replace("Pipeline", "AdapterPipeline")
        if not hasattr(diffusers, name):
            raise ModelError(f"{folder / ADAPTER} belongs to a {name}, and diffusers has none")
        adapter = opened(folder / ADAPTER, diffusers.T2IAdapter, options)
        return _of(getattr(diffusers, name), pipeline.components | {"adapter": adapter})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline as a diffusers folder that draws from a prompt, and its adapter beside it."""
        if not self._adapted:
            return super().save_pretrained(folder)
        plain = type(self)(self._drawer())
        plain.borrowed = self.borrowed
        plain.save_pretrained(folder)
        self.pipeline.adapter.save_pretrained(Path(folder) / ADAPTER, safe_serialization=True)
        forget_origin(Path(folder) / ADAPTER)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """[batch, channels, height, width], noise or flow as the scheduler has it."""
        return self.unet(noisy, timesteps, encoder_hidden_states=condition, return_dict=False)[0]

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
    ) -> list[Image]:
        """One picture per row of `condition` [batch, length, width], each from its own seed.

        With `source` and `strength` the pictures are edits of `source`. A pipeline with a T2I-Adapter shows it the
        picture's latents, `strength` is the weight of what it sees. Any other goes on from the picture with noise
        (SDEdit): strength 0 keeps the picture, 1 forgets it.
        `on_step(step, steps, preview)` is called after each step, `step` from 1; `preview()` decodes what is there.
        """
        self._check(condition, seeds, steps)
        self._check_strength(strength, None if self._adapted else steps)
        height, width = self.size
        options = self._options(condition, seeds, steps, guidance) | {"output_type": "latent"}
        pipeline = self._drawer()
        if source is None or strength is None:
            options |= {"height": height, "width": width}
        else:
            pixels = self.prepare(source).to(self.device, self.dtype)[None]  # [1, 3, height, width]
            pipeline = self._editor()
            if self._adapted:
                seen = self._latents(2 * pixels - 1).expand(len(condition), -1, -1, -1)
                options |= {"image": seen, "adapter_conditioning_scale": strength, "height": height, "width": width}
            else:
                options |= {"image": pixels.expand(len(condition), -1, -1, -1), "strength": strength}
        if on_step is not None:
            options |= self._reporter(on_step, pipeline)
        with self._lock:
            latents = pipeline(**options).images  # [batch, channels, height, width]
        return self.decode(latents)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, height, width], uint8 or float in -1..1, to latents in the scale that the network sees."""
        return self._latents(pixels)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image]:
        """The inverse of `encode`, as pictures."""
        return to_images(self._pixels(latents))

    def _editor(self) -> Any:
        """What edits: the pipeline itself where it has an adapter, else its twin."""
        return self.pipeline if self._adapted else super()._editor()

    def _drawer(self) -> Any:
        """What draws without a picture: the pipeline itself, or where it has an adapter its twin without one."""
        if not self._adapted:
            return self.pipeline
        if self._plain is None:
            import diffusers

            name = type(self.pipeline).__name__
            plain = name.replace("AdapterPipeline", "Pipeline")
            if not hasattr(diffusers, plain):
                raise RequestError(f"{name} cannot draw without a picture: diffusers has no {plain}")
            self._plain = _of(getattr(diffusers, plain), self.pipeline.components)
            self._plain.set_progress_bar_config(disable=True)
        return self._plain

    def _reporter(self, on_step: OnStep, pipeline: Any) -> dict[str, Any]:
        """The option that has a pipeline report its steps, in the way that it knows."""
        done = 0

        def report(steps: int, given: Tensor) -> None:
            nonlocal done
            done += 1
            latents = self._guess(given)
            on_step(done, steps, lambda: self.decode(latents))

        def after(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            report(pipeline.num_timesteps, values["latents"])
            return {}

        if "callback_on_step_end" in inspect.signature(pipeline.__call__).parameters:
            return {"callback_on_step_end": after}
        return {"callback": lambda step, timestep, latents: report(len(pipeline.scheduler.timesteps), latents)}


def _of(pipeline: Any, components: dict[str, Any]) -> Any:
    """A pipeline of this class from those of another's components that it knows; none watches over what it draws."""
    known = inspect.signature(pipeline).parameters
    options = {"image_encoder": None, "requires_safety_checker": False} | components
    with quiet(*logs()):
        return pipeline(**{name: part for name, part in options.items() if name in known})


def to_images(pixels: Tensor) -> list[Image]:
    """[batch, 3, height, width] in 0..1 to pictures."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image(picture) for picture in array]
