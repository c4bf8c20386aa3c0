"""Diffusers pipelines of others as generators: any whose condition contract is known, of pictures, films and sounds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from anygen.error import ModelError, RequestError
from anygen.generators.contract import CONTRACTS
from anygen.generators.diffusion import DiffusionGenerator, OnStep
from anygen.generators.image import to_images
from anygen.media import Audio, Image, Video
from anygen.weights import compare, read_config, shapes

NULL = "null_condition.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class MediumOptions:
    """How large the media of a generator are; None: as the pipeline makes them."""

    height: int | None = None
    width: int | None = None
    frames: int | None = None
    fps: int = 8
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise ModelError(f"a generator's {name} must be above 0, got {value!r}")


class PipelineGenerator(DiffusionGenerator):
    """Media from conditions [batch, length, width], through a pipeline in `anygen.generators.contract.CONTRACTS`.

    The pipeline may come without its text encoder, which the output projector replaces: then guidance reads the
    condition of the empty text from `null_condition.safetensors` in its folder. It does not edit, and has no
    diffusion loss.
    """

    def __init__(self, pipeline: Any, options: MediumOptions | None = None) -> None:
        super().__init__(pipeline)
        name = type(pipeline).__name__
        if name not in CONTRACTS:
            raise ModelError(f"no condition contract for {name}; there are {', '.join(CONTRACTS)}")
        self.kind, self.contract = CONTRACTS[name]
        self.options = options or MediumOptions()
        self._calls = inspect.signature(pipeline.__call__).parameters

    @classmethod
    def open(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        options: MediumOptions | None = None,
    ) -> Self:
        """`from_pretrained`, with the sizes of the media, and the null condition where the folder has it."""
        generator = cls.from_pretrained(folder, device=device, dtype=dtype)
        generator.options = options or generator.options
        if (file := Path(folder) / NULL).is_file():
            length, width = generator.contract.shape(generator.pipeline)
            compare({"null_condition": (1, length, width)}, shapes(file), str(file))
            from safetensors.torch import load_file

            generator._null = load_file(file)["null_condition"].to(generator.device)
        return generator

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline as a diffusers folder, and the null condition if it is known."""
        super().save_pretrained(folder)
        if self._null is not None:
            save_file({"null_condition": self._null.cpu().contiguous()}, Path(folder) / NULL)

    @property
    def condition_shape(self) -> tuple[int, int]:
        return self.contract.shape(self.pipeline)

    @property
    def reads(self) -> bool:
        """Whether the pipeline has its own text encoder."""
        return getattr(self.pipeline, "text_encoder", None) is not None and self.pipeline.tokenizer is not None

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoders make of `texts`: [batch, length, width]."""
        if not self.reads:
            raise ModelError(f"this {type(self.pipeline).__name__} came without its text encoder: it reads no text")
        return self.contract.tell(self.pipeline, texts)

    def null_condition(self, batch: int = 1) -> Tensor:
        if self._null is None and not self.reads:
            raise ModelError(
                f"guidance needs the condition of the empty text, and this {type(self.pipeline).__name__} has neither "
                f"a text encoder nor {NULL}; ask for guidance=1, or write that file where the text encoder is"
            )
        return super().null_condition(batch)

    @torch.no_grad()
    def generate(
        self,
        condition: Tensor,
        seeds: Sequence[int],
        *,
        steps: int = 20,
        guidance: float = 4.0,
        on_step: OnStep | None = None,
    ) -> list[Any]:
        """One medium per row of `condition` [batch, length, width], each from its own seed.

        `on_step(step, steps, preview)` is called after each step, `step` from 1; these pipelines have no previews.
        """
        self._check(condition, seeds, steps)
        if tuple(condition.shape[1:]) != self.condition_shape:
            raise RequestError(
                f"{type(self.pipeline).__name__} takes conditions of {list(self.condition_shape)}, "
                f"not {list(condition.shape[1:])}"
            )
        made = self.contract.given(self.pipeline, condition.to(self.device, self.dtype))
        if guidance > 1 and self.contract.guided and "negative_prompt_embeds" in self._calls:
            null = self.null_condition(len(condition)).to(self.device, self.dtype)
            made |= self.contract.given(self.pipeline, null, "negative_")
        made |= self._sizes()
        made |= {"num_inference_steps": steps, "guidance_scale": self.contract.scale(guidance), "output_type": "pt"}
        made["generator"] = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        if "negative_prompt" in self._calls and self._calls["negative_prompt"].default == "":
            made["negative_prompt"] = None  # else it stands against the embeddings
        if on_step is not None:
            made |= self._reporter(on_step, steps)
        with self._lock:
            out = self.pipeline(**made)
        return self._media(out)

    def _sizes(self) -> dict[str, Any]:
        """The sizes that were asked for, by the names that the pipeline has for them."""
        o = self.options
        names = {
            "height": o.height,
            "width": o.width,
            "num_frames": o.frames,
            "audio_length_in_s": o.seconds,
            "audio_end_in_s": o.seconds,
        }
        sizes = {name: value for name, value in names.items() if value is not None and name in self._calls}
        if "use_resolution_binning" in self._calls and o.height is not None:
            sizes["use_resolution_binning"] = False  # else the size that was asked for is only a hint
        if "max_sequence_length" in self._calls and "CogVideoX" in type(self.pipeline).__name__:
            sizes["max_sequence_length"] = self.condition_shape[0]
        return sizes

    def _media(self, out: Any) -> list[Any]:
        if self.kind == "image":
            return to_images(out.images.float())
        if self.kind == "video":
            films = (out.frames.float().clamp(0, 1) * 255).round().to(torch.uint8)  # [batch, frames, 3, height, width]
            return [Video(film, fps=self.options.fps) for film in films.permute(0, 1, 3, 4, 2).cpu().numpy()]
        waves = torch.as_tensor(out.audios).float().clamp(-1, 1).cpu().numpy()  # [batch, samples] or with channels
        return [Audio(wave, rate=self.rate) for wave in waves]

    @property
    def rate(self) -> int:
        """Samples per second of the sounds."""
        vocoder = getattr(self.pipeline, "vocoder", None)
        return int((self.pipeline.vae if vocoder is None else vocoder).config.sampling_rate)

    def _reporter(self, on_step: OnStep, steps: int) -> dict[str, Any]:
        """The option that has the pipeline report its steps, in the way that it knows."""
        done = 0

        def report() -> None:
            nonlocal done
            done += 1
            on_step(done, max(steps, done), self._preview)

        def after(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            report()
            return {}

        if "callback_on_step_end" in self._calls:
            return {"callback_on_step_end": after}
        callback: Callable[..., None] = lambda step, timestep, latents: report()  # noqa: E731
        return {"callback": callback}

    def _preview(self) -> list[Image | Audio | Video]:
        raise RequestError(f"{type(self.pipeline).__name__} gives no previews; leave preview out")

    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        raise ModelError(f"the text encoders of {type(self.pipeline).__name__} are told texts, not tokens")

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        raise ModelError(f"{type(self.pipeline).__name__} has no diffusion loss here; train without it")

    def encode(self, media: Tensor) -> Tensor:
        raise ModelError(f"{type(self.pipeline).__name__} has no diffusion loss here; train without it")


def adapts(folder: Path) -> str | None:
    """The modality of the pipeline in `folder` if it is made through a contract, else None."""
    values: Mapping[str, Any] = read_config(folder / "model_index.json") if folder.is_dir() else {}
    found = CONTRACTS.get(str(values.get("_class_name")))
    return None if found is None else found[0]
