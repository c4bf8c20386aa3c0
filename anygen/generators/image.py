"""The image generator: a diffusers pipeline that takes its condition from the output projector instead of a prompt."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anygen.error import ModelError, RequestError
from anygen.media import Image
from anygen.weights import check_files, compare, quiet, shapes, weights_file

OnStep = Callable[[int, int, Callable[[], list[Image]]], None]


class ImageGenerator:
    """Pictures from conditions [batch, length, width], through any diffusers pipeline with `prompt_embeds`.

    `teacher` is the pipeline's own text encoder: what the output projector learns to match. All weights are frozen.
    """

    modality = "image"

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)
        for module in self.modules():
            module.requires_grad_(False).eval()
        self._edit: Any = None
        self._null: Tensor | None = None
        self._lock = threading.Lock()  # a scheduler keeps its place in itself: one picture batch at a time

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> ImageGenerator:
        """Open a diffusers folder strictly; `dtype` None is float32 on a CPU and the folder's own elsewhere."""
        folder = Path(folder)
        if not (folder / "model_index.json").is_file():
            raise ModelError(f"{folder} is no diffusers folder: model_index.json is missing")
        check_files(folder)
        device = torch.device(device)
        wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
        options = {} if wanted == "auto" else {"dtype": wanted}
        try:
            # opening must not draw from the global random state, whatever a library initialises
            with quiet(*logs()), torch.random.fork_rng(devices=[]):
                from diffusers import DiffusionPipeline

                pipeline = DiffusionPipeline.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, **options
                )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} does not open as a diffusers pipeline: {str(error).splitlines()[0]}") from error
        for name, module in pipeline.components.items():
            if isinstance(module, nn.Module):
                file = next((f for f in (weights_file(folder / name, stem) for stem in STEMS) if f.exists()), None)
                if file is None:
                    raise ModelError(f"{folder / name} holds no safetensors file")
                tied = getattr(module, "_tied_weights_keys", None) or ()
                expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
                compare(expected, shapes(file), str(file), optional=tied)
        return cls(pipeline.to(device))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline as a diffusers folder."""
        with quiet(*logs()):
            self.pipeline.save_pretrained(folder, safe_serialization=True)
        for file in Path(folder).rglob("*.json"):  # diffusers notes where it was loaded from: a path of this machine
            if file.name in ("config.json", "model_index.json"):
                values = json.loads(file.read_text(encoding="utf-8"))
                if values.pop("_name_or_path", None) is not None:
                    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def modules(self) -> list[nn.Module]:
        """The networks of the pipeline."""
        return [module for module in self.pipeline.components.values() if isinstance(module, nn.Module)]

    @property
    def unet(self) -> Any:
        """The network that is run at every step."""
        return self.pipeline.unet if getattr(self.pipeline, "unet", None) is not None else self.pipeline.transformer

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def condition_shape(self) -> tuple[int, int]:
        """Length and width of one condition."""
        length, width = self.null_condition().shape[1:]
        return int(length), int(width)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture."""
        sample = self.unet.config.sample_size
        height, width = sample if isinstance(sample, list | tuple) else (sample, sample)
        return height * self.pipeline.vae_scale_factor, width * self.pipeline.vae_scale_factor

    def to(self, device: str | torch.device) -> ImageGenerator:
        """Move every network to `device`."""
        self.pipeline.to(device)
        self._null = None
        return self

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of `texts`: [batch, length, width]."""
        prompt, *_ = self.pipeline.encode_prompt(
            prompt=list(texts), device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return prompt

    def null_condition(self, batch: int = 1) -> Tensor:
        """The condition of the empty text, the other side of guidance: [batch, length, width]."""
        if self._null is None:
            self._null = self.condition([""])
        return self._null.expand(batch, -1, -1)

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
        if len(seeds) != len(condition):
            raise RequestError(f"{len(condition)} conditions need as many seeds, got {len(seeds)}")
        if steps < 1:
            raise RequestError(f"steps={steps}: at least 1 step is needed")
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

    def diffusion_loss(self, condition: Tensor, pixels: Tensor, rng: torch.Generator) -> Tensor:
        """The generator's own training loss through its frozen networks, a scalar; gradients reach `condition`.

        `condition` [batch, length, width]; `pixels` [batch, 3, height, width], uint8 or float in -1..1; `rng` on CPU.
        Flow matching (Lipman et al. 2023): x_t = (1 - t) x_0 + t eps, target eps - x_0. Otherwise the scheduler's own
        noise schedule, with eps or v (Salimans and Ho 2022) as the target.
        """
        latents = self.encode(pixels)
        noise = torch.randn(latents.shape, generator=rng).to(latents)
        scheduler = self.pipeline.scheduler
        kind = scheduler.config.get("prediction_type", "flow_prediction")
        count = scheduler.config.num_train_timesteps
        if kind == "flow_prediction":
            t = torch.rand(len(latents), generator=rng).to(latents)
            x, y = t.view(-1, 1, 1, 1), t * count
            noisy, target = (1 - x) * latents + x * noise, noise - latents
        elif kind in ("epsilon", "v_prediction"):
            y = torch.randint(count, (len(latents),), generator=rng)
            alpha = scheduler.alphas_cumprod[y].to(latents).sqrt().view(-1, 1, 1, 1)
            sigma = (1 - alpha**2).sqrt()
            noisy, y = alpha * latents + sigma * noise, y.to(latents.device)
            target = noise if kind == "epsilon" else alpha * noise - sigma * latents
        else:
            raise ModelError(f"no diffusion loss for a scheduler that predicts {kind!r}")
        predicted = self.unet(noisy, y, encoder_hidden_states=condition.to(self.dtype), return_dict=False)[0]
        return F.mse_loss(predicted.float(), target.float())

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
            # a multistep solver keeps its guess of the clean latents, a better preview than the noisy ones
            guesses = getattr(pipeline.scheduler, "model_outputs", None) or [None]
            latents = values["latents"] if guesses[-1] is None else guesses[-1]
            on_step(done, pipeline.num_timesteps, lambda: self.decode(latents))
            return {}

        return report


STEMS = ("diffusion_pytorch_model", "model")


def logs() -> tuple[Any, Any]:
    """The logging modules of the two libraries that a pipeline is made of."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    return diffusers_logging, transformers_logging


def to_images(pixels: Tensor) -> list[Image]:
    """[batch, 3, height, width] in 0..1 to pictures."""
    array = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image(picture) for picture in array]
