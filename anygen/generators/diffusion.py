"""What all generators share: a diffusers pipeline, strictly opened and frozen, with its condition from outside."""

from __future__ import annotations

import json
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anygen.error import ModelError, RequestError
from anygen.weights import check_files, compare, quiet, read_config, shapes, weights_file

OnStep = Callable[[int, int, Callable[[], list[Any]]], None]
"""Called after each step with the step, from 1, the number of steps, and what decodes the media so far."""


class DiffusionGenerator(ABC):
    """A frozen diffusers pipeline that makes media from conditions [batch, length, width].

    A modality says how its text encoder makes conditions (`condition`), how its network is called (`predict`), how
    media become latents (`encode`), and how the pipeline is run (`generate`).
    """

    modality: ClassVar[str]

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        pipeline.set_progress_bar_config(disable=True)
        for module in self.modules():
            module.requires_grad_(False).eval()
        self.borrowed: tuple[str, ...] = ()  # parts that are stored with another generator
        self._null: Tensor | None = None
        self._lock = threading.Lock()  # a scheduler keeps its place in itself: one batch at a time

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        base: str | Path | None = None,
    ) -> Self:
        """Open a diffusers folder strictly; `dtype` None is float32 on a CPU and the folder's own elsewhere.

        Parts that its model_index.json names and that it does not have are borrowed from the folder `base`.
        """
        folder = Path(folder)
        index = _index(folder)
        absent = [name for name in index if not (folder / name).is_dir()]
        if absent and base is None:
            raise ModelError(
                f"{folder} has no {absent[0]}; name the generator that lends it as its base in anygen.json"
            )
        if base is not None and not absent:
            raise ModelError(f"{folder} has all of its parts, so it borrows nothing; take its base from anygen.json")
        check_files(folder)
        device = torch.device(device)
        wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
        options: dict[str, Any] = {} if wanted == "auto" else {"dtype": wanted}
        try:
            # opening must not draw from the global random state, whatever a library initialises
            with quiet(*logs()), torch.random.fork_rng(devices=[]):
                from diffusers import DiffusionPipeline

                import anygen.generators.vocoder  # noqa: F401  a folder may name it; diffusers imports nothing for one

                parts = {name: _part(folder, Path(base or ""), name, index[name], options) for name in absent}
                if "motion_adapter" in index:  # a pipeline takes its weights and then forgets it
                    parts["motion_adapter"] = _part(folder, folder, "motion_adapter", index["motion_adapter"], options)
                pipeline = DiffusionPipeline.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, **_left_out(folder), **parts, **options
                )
                whole = cls._whole(pipeline, folder, options)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelError(f"{folder} does not open as a diffusers pipeline: {str(error).splitlines()[0]}") from error
        for name, module in pipeline.components.items():
            if isinstance(module, nn.Module) and name not in parts:
                _compare(module, folder / name, adapted=index[name][1] != type(module).__name__)
        generator = cls(whole.to(device))
        generator.borrowed = tuple(absent)
        return generator

    @classmethod
    def _whole(cls, pipeline: Any, folder: Path, options: dict[str, Any]) -> Any:
        """The opened pipeline with what its folder holds beside it."""
        return pipeline

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline as a diffusers folder, without what it borrows."""
        with quiet(*logs()):
            self.pipeline.save_pretrained(folder, safe_serialization=True)
        for name in self.borrowed:
            shutil.rmtree(Path(folder) / name)
        forget_origin(Path(folder))

    def networks(self) -> dict[str, nn.Module]:
        """The networks of the pipeline, by its names for them."""
        return {name: part for name, part in self.pipeline.components.items() if isinstance(part, nn.Module)}

    def modules(self) -> list[nn.Module]:
        """The networks of the pipeline."""
        return list(self.networks().values())

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
    def moments(self) -> int:
        """Equal parts of a condition that say the same of different moments; 1 where there is but one."""
        return 1

    @property
    def condition_shape(self) -> tuple[int, int]:
        """Length and width of one condition."""
        length, width = self.null_condition().shape[1:]
        return int(length), int(width)

    def to(self, device: str | torch.device) -> Self:
        """Move every network to `device`."""
        with quiet(*logs()):  # diffusers warns of half precision on a CPU, where offload only lets it rest
            self.pipeline.to(device)
        self._null = None if self._null is None else self._null.to(device)
        return self

    @abstractmethod
    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the pipeline's own text encoder makes of `texts`: [batch, length, width]."""

    @abstractmethod
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The same from the tokenizer's output, both [batch, tokens], padded to the tokenizer's full length."""

    def coded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as `tell` takes them: the tokenizer's output, padded to its full length, on the CPU."""
        return coded(self.pipeline.tokenizer, texts)

    @abstractmethod
    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """The network's output for latents `noisy` at `timesteps` [batch]."""

    @abstractmethod
    def encode(self, media: Tensor) -> Tensor:
        """A batch of media as tensors to latents in the scale that the network sees."""

    def null_condition(self, batch: int = 1) -> Tensor:
        """The condition of the empty text, the other side of guidance: [batch, length, width]."""
        if self._null is None:
            self._null = self.condition([""])
        return self._null.expand(batch, -1, -1)

    def diffusion_loss(self, condition: Tensor, media: Tensor, rng: torch.Generator) -> Tensor:
        """The generator's own training loss through its frozen networks, a scalar; gradients reach `condition`.

        `condition` [batch, length, width]; `media` as `encode` takes them; `rng` on the CPU.
        Flow matching (Lipman et al. 2023): x_t = (1 - t) x_0 + t eps, target eps - x_0. Otherwise the scheduler's own
        noise schedule, with eps or v (Salimans and Ho 2022) as the target.
        """
        latents = self.encode(media)
        noise = torch.randn(latents.shape, generator=rng).to(latents)
        scheduler = self.pipeline.scheduler
        kind = scheduler.config.get("prediction_type", "flow_prediction")
        count = scheduler.config.num_train_timesteps
        if kind == "flow_prediction":
            t = torch.rand(len(latents), generator=rng).to(latents)
            x, y = t.view(-1, *[1] * (latents.ndim - 1)), t * count
            noisy, target = (1 - x) * latents + x * noise, noise - latents
        elif kind in ("epsilon", "v_prediction"):
            y = torch.randint(count, (len(latents),), generator=rng)
            alpha = scheduler.alphas_cumprod[y].to(latents).sqrt().view(-1, *[1] * (latents.ndim - 1))
            sigma = (1 - alpha**2).sqrt()
            noisy, y = alpha * latents + sigma * noise, y.to(latents.device)
            target = noise if kind == "epsilon" else alpha * noise - sigma * latents
        else:
            raise ModelError(f"no diffusion loss for a scheduler that predicts {kind!r}")
        predicted = self.predict(noisy, y, condition.to(self.dtype))
        return F.mse_loss(predicted.float(), target.float())

    def _check(self, condition: Tensor, seeds: Sequence[int], steps: int) -> None:
        if len(seeds) != len(condition):
            raise RequestError(f"{len(condition)} conditions need as many seeds, got {len(seeds)}")
        if steps < 1:
            raise RequestError(f"steps={steps}: at least 1 step is needed")

    def _guess(self, latents: Tensor) -> Tensor:
        """The scheduler's guess of the clean latents where it keeps one: a better preview than the noisy ones."""
        guesses = getattr(self.pipeline.scheduler, "model_outputs", None) or [None]
        return latents if guesses[-1] is None else guesses[-1]


def forget_origin(folder: Path) -> None:
    """Diffusers notes where a part was loaded from, a path of this machine: take it out of what was written."""
    for file in folder.rglob("*.json"):
        if file.name in ("config.json", "model_index.json"):
            values = json.loads(file.read_text(encoding="utf-8"))
            if values.pop("_name_or_path", None) is not None:
                file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def coded(tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Texts as a text encoder takes them, padded or cut to the tokenizer's full length: both [texts, tokens]."""
    length = tokenizer.model_max_length
    found = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}


STEMS = ("diffusion_pytorch_model", "model")
LIBRARIES = ("diffusers", "transformers")  # whose classes a part that is lent may have


def _index(folder: Path) -> dict[str, tuple[str, str]]:
    """The parts that a diffusers folder's model_index.json names: library and class of each."""
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{folder} is no diffusers folder: model_index.json is missing")
    values = read_config(folder / "model_index.json")
    return {name: (value[0], value[1]) for name, value in values.items() if isinstance(value, list) and value[0]}


def _left_out(folder: Path) -> dict[str, None]:
    """The parts that were saved as none; diffusers wants to be told so again."""
    values = read_config(folder / "model_index.json")
    return {name: None for name, value in values.items() if isinstance(value, list) and not any(value)}


def _part(folder: Path, base: Path, name: str, kind: tuple[str, str], options: dict[str, Any]) -> Any:
    """The part `name` of the pipeline in `base`, opened strictly; it must be of the class that `folder` names."""
    lent = _index(base).get(name)
    if lent != kind or not (base / name).is_dir() or kind[0] not in LIBRARIES:
        has = f"a {lent[1]}" if lent else "none"
        raise ModelError(f"{folder} borrows its {name}, a {kind[1]}, but {base} has {has}")
    part_class = getattr(import_module(kind[0]), kind[1])
    if not issubclass(part_class, nn.Module):
        return part_class.from_pretrained(base / name, local_files_only=True)
    return opened(base / name, part_class, options)


def opened(folder: Path, part: Any, options: dict[str, Any]) -> Any:
    """A network of the class `part` from its folder, strictly."""
    check_files(folder)
    network = part.from_pretrained(folder, local_files_only=True, use_safetensors=True, **options)
    _compare(network, folder)
    return network


def _compare(module: nn.Module, folder: Path, adapted: bool = False) -> None:
    """Raise ModelError for the first tensor of the module that its folder does not hold as it is, or the reverse.

    The motion modules of an `adapted` UNet came from an adapter, which is compared for itself.
    """
    file = next((f for f in (weights_file(folder, stem) for stem in STEMS) if f.exists()), None)
    if file is None:
        raise ModelError(f"{folder} holds no safetensors file")
    found = shapes(file)
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    if adapted:
        expected = {key: shape for key, shape in expected.items() if "motion_modules" not in key}
    compare(expected, found, str(file), optional=getattr(module, "_tied_weights_keys", None) or ())


def logs() -> tuple[Any, Any]:
    """The logging modules of the two libraries that a pipeline is made of."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    return diffusers_logging, transformers_logging
