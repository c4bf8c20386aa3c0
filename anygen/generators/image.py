"""The image generator: a diffusers pipeline that takes its condition from the output projector instead of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anygen.generators.diffusion import OnStep
from anygen.generators.frames import FrameGenerator
from anygen.media import Image


class ImageGenerator(FrameGenerator):
    """Pictures from conditions [batch, length, width], through any diffusers pipeline with `prompt_embeds`."""

    modality = "image"
    twin = "Img2ImgPipeline"

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

        With `source` and `strength` (0 keeps the picture, 1 forgets it) the pictures are edits of `source`.
        `on_step(step, steps, preview)` is called after each step, `step` from 1; `preview()` decodes what is there.
        """
        self._check(condition, seeds, steps)
        self._check_strength(strength, steps)
        height, width = self.size
        options = self._options(condition, seeds, steps, guidance)
        pipeline = self.pipeline
        if source is not None and strength is not None:
            pipeline = self._editor()
            pixels = self.prepare(source).to(self.device, self.dtype)  # [3, height, width]
            options |= {"image": pixels.expand(len(condition), -1, -1, -1), "strength": strength}
        else:
            options |= {"height": height, "width": width}
        if on_step is not None:
            options["callback_on_step_end"] = self._reporter(on_step)
        with self._lock:
            pictures = pipeline(**options).images  # [batch, 3, height, width] in 0..1
        return to_images(pictures)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, height, width], uint8 or float in -1..1, to latents in the scale that the network sees."""
        return self._latents(pixels)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image]:
        """The inverse of `encode`, as pictures."""
        return to_images(self._pixels(latents))

    def _reporter(self, on_step: OnStep) -> Callable[..., dict[str, Any]]:
        done = 0

        def report(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            nonlocal done
            done += 1
            latents = self._guess(values["latents"])
            on_step(done, pipeline.num_timesteps, lambda: self.decode(latents))
            return {}

        return report


def to_images(pixels: Tensor) -> list[Image]:
    """[batch, 3, height, width] in 0..1 to pictures."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image(picture) for picture in array]
