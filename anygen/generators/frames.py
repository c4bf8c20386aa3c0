"""What makers of pictures and of films share: a UNet over latent pictures that reads the text token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from anygen.error import RequestError
from anygen.generators.diffusion import DiffusionGenerator, logs
from anygen.media import Image
from anygen.weights import quiet


class FrameGenerator(DiffusionGenerator):
    """A pipeline with `prompt_embeds` [batch, length, width], and its twin that starts from a picture."""

    twin: ClassVar[str]  # what stands for "Pipeline" in the name of the class that starts from a picture

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self._edit: Any = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        sample = self.unet.config.sample_size
        height, width = sample if isinstance(sample, list | tuple) else (sample, sample)
        return height * self.pipeline.vae_scale_factor, width * self.pipeline.vae_scale_factor

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of `texts`: [batch, length, width]."""
        prompt, *_ = self.pipeline.encode_prompt(list(texts), self.device, 1, False)
        return prompt

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text encoder's states for tokens [batch, tokens], for pipelines with one such encoder."""
        return self.pipeline.text_encoder(input_ids)[0]

    def prepare(self, image: Image) -> Tensor:
        """A picture at the generator's size: float [3, height, width] in 0..1."""
        import PIL.Image

        height, width = self.size
        picture = image.pil()
        if picture.size != (width, height):
            picture = picture.resize((width, height), PIL.Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255

    def _latents(self, pixels: Tensor) -> Tensor:
        """Pixels [batch, 3, height, width], uint8 or float in -1..1, to latents in the scale that the network sees."""
        if pixels.dtype == torch.uint8:
            pixels = pixels.float() / 127.5 - 1
        vae = self.pipeline.vae
        latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        return ((latents - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor).to(self.dtype)

    def _pixels(self, latents: Tensor) -> Tensor:
        """The inverse of `_latents`: [batch, 3, height, width] in 0..1, not clamped."""
        vae = self.pipeline.vae
        latents = latents.to(vae.dtype) / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
        return vae.decode(latents, return_dict=False)[0] / 2 + 0.5

    def _options(self, condition: Tensor, seeds: Sequence[int], steps: int, guidance: float) -> dict[str, Any]:
        """The keywords that every call of the pipeline has; a null condition where guidance needs one."""
        options: dict[str, Any] = {
            "prompt_embeds": condition.to(self.device, self.dtype),
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "output_type": "pt",
        }
        if guidance > 1:
            options["negative_prompt_embeds"] = self.null_condition(len(condition)).to(self.dtype)
        return options

    def _check_strength(self, strength: float | None, steps: int) -> None:
        if strength is not None and not 0 < strength <= 1:
            raise RequestError(f"strength={strength} is outside of 0..1 (0 keeps the picture, 1 forgets it)")
        if strength is not None and int(steps * strength) < 1:
            raise RequestError(
                f"steps={steps} at strength={strength} leaves no step; give at least {int(1 / strength) + 1}"
            )

    def _editor(self) -> Any:
        """The twin of the pipeline that starts from a picture, from the same components."""
        if self._edit is None:
            import diffusers

            name = type(self.pipeline).__name__.replace("Pipeline", self.twin)
            if not hasattr(diffusers, name):
                raise RequestError(
                    f"{type(self.pipeline).__name__} cannot start from a picture: diffusers has no {name}"
                )
            with quiet(*logs()):
                self._edit = getattr(diffusers, name)(**self.pipeline.components)
            self._edit.set_progress_bar_config(disable=True)
        return self._edit
