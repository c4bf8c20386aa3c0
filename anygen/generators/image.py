"""The image generator: a diffusers pipeline that takes its condition from the output projector instead of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anygen.error import RequestError
from anygen.generators.diffusion import DiffusionGenerator, OnStep, logs
from anygen.media import Image
from anygen.weights import quiet


class ImageGenerator(DiffusionGenerator):
    """Pictures from conditions [batch, length, width], through any diffusers pipeline with `prompt_embeds`."""

    modality = "image"

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self._edit: Any = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        sample = self.unet.config.sample_size
        height, width = sample if isinstance(sample, list | tuple) else (sample, sample)
        return height * self.pipeline.vae_scale_factor, width * self.pipeline.vae_scale_factor

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of `texts`: [batch, length, width]."""
        prompt, *_ = self.pipeline.encode_prompt(
            prompt=list(texts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return prompt

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text encoder's states for tokens [batch, tokens], for pipelines with one such encoder."""
        return self.pipeline.text_encoder(input_ids)[0]

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
        if strength is not None and not 0 < strength <= 1:
            raise RequestError(f"strength={strength} is outside of 0..1 (0 keeps the picture, 1 forgets it)")
        if strength is not None and int(steps * strength) < 1:
            raise RequestError(
                f"steps={steps} at strength={strength} leaves no step; give at least {int(1 / strength) + 1}"
            )
        condition = condition.to(self.device, self.dtype)
        height, width = self.size
        options: dict[str, Any] = {
            "prompt_embeds": condition,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "output_type": "pt",
        }
        if guidance > 1:
            options["negative_prompt_embeds"] = self.null_condition(len(condition)).to(self.dtype)
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

    def prepare(self, image: Image) -> Tensor:
        """A picture at the generator's size: float [3, height, width] in 0..1."""
        import PIL.Image

        height, width = self.size
        picture = image.pil()
        if picture.size != (width, height):
            picture = picture.resize((width, height), PIL.Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, height, width], uint8 or float in -1..1, to latents in the scale that the network sees."""
        if pixels.dtype == torch.uint8:
            pixels = pixels.float() / 127.5 - 1
        vae = self.pipeline.vae
        latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        return ((latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor).to(self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image]:
        """The inverse of `encode`, as pictures."""
        vae = self.pipeline.vae
        latents = latents.to(vae.dtype) / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
        return to_images(vae.decode(latents, return_dict=False)[0] / 2 + 0.5)

    def _editor(self) -> Any:
        """The image-to-image twin of the pipeline, from the same components."""
        if self._edit is None:
            import diffusers

            name = type(self.pipeline).__name__.replace("Pipeline", "Img2ImgPipeline")
            if not hasattr(diffusers, name):
                raise RequestError(
                    f"{type(self.pipeline).__name__} cannot start from a picture: diffusers has no {name}"
                )
            with quiet(*logs()):
                self._edit = getattr(diffusers, name)(**self.pipeline.components)
            self._edit.set_progress_bar_config(disable=True)
        return self._edit

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
