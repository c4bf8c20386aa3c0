"""The image generator: a diffusers pipeline that takes its condition from the output projector instead of a prompt."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
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
        self._adapted = getattr(pipeline, "adapter", None) is not None
        self._twin: Any = None

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

        With `source` and `strength` the pictures are edits of `source`. A pipeline with a T2I-Adapter shows it the
        picture's latents, `strength` is the weight of what it sees. Any other goes on from the picture with noise
        (SDEdit): strength 0 keeps the picture, 1 forgets it.
        `on_step(step, steps, preview)` is called after each step, `step` from 1; `preview()` decodes what is there.
        """
        self._check(condition, seeds, steps)
        if strength is not None and not 0 < strength <= 1:
            raise RequestError(f"strength={strength} is outside of 0..1 (0 keeps the picture, 1 forgets it)")
        edited = source if strength is not None else None
        if strength is not None and not self._adapted and int(steps * strength) < 1:
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
            "output_type": "latent",
        }
        if guidance > 1:
            options["negative_prompt_embeds"] = self.null_condition(len(condition)).to(self.dtype)
        if edited is not None:
            pixels = self.prepare(edited).to(self.device, self.dtype)[None]  # [1, 3, height, width]
            if self._adapted:
                seen = self.encode(2 * pixels - 1).expand(len(condition), -1, -1, -1)
                options |= {"image": seen, "adapter_conditioning_scale": strength, "height": height, "width": width}
            else:
                options |= {"image": pixels.expand(len(condition), -1, -1, -1), "strength": strength}
        else:
            options |= {"height": height, "width": width}
        pipeline = self.pipeline if (edited is not None) == self._adapted else self._other()
        if on_step is not None:
            options |= self._reporter(on_step, pipeline)
        with self._lock:
            latents = pipeline(**options).images  # [batch, channels, height, width]
        return self.decode(latents)

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

    def _other(self) -> Any:
        """The pipeline's twin from the same components: what edits, or where the pipeline edits, what does not."""
        if self._twin is None:
            import diffusers

            parts = dict(self.pipeline.components)
            name = type(self.pipeline).__name__
            if self._adapted:
                del parts["adapter"]
                wanted = name.replace("AdapterPipeline", "Pipeline")
            else:
                wanted = name.replace("Pipeline", "Img2ImgPipeline")
            if not hasattr(diffusers, wanted):
                what = "draw without a picture" if self._adapted else "start from a picture"
                raise RequestError(f"{name} cannot {what}: diffusers has no {wanted}")
            with quiet(*logs()):
                self._twin = getattr(diffusers, wanted)(**parts)
            self._twin.set_progress_bar_config(disable=True)
        return self._twin

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


def to_images(pixels: Tensor) -> list[Image]:
    """[batch, 3, height, width] in 0..1 to pictures."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image(picture) for picture in array]
