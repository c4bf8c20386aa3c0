"""Any vision or audio model of transformers as an encoder: CLIP, SigLIP, DINOv2, CLAP, Whisper, AST, and their like."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from anygen.error import ModelError
from anygen.media import Audio, Image, Video
from anygen.weights import check_files, quiet, read_config

READS = {"pixel_values": ("image", "video"), "input_features": ("audio",), "input_values": ("audio",)}
TOWERS = ("vision_model", "audio_model", "encoder")  # where a model of several towers keeps the one that sees or hears
LEADING = ("class_embedding", "cls_token", "distillation_token", "register_tokens")  # stand before the patches


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainedOptions:
    """What of a transformers model becomes features."""

    pooled: bool = False  # one vector per medium, as the model pools it; else the states of all patches
    layer: int | None = None  # hidden state to read, -2 is the last but one (LLaVA); None: the last, with its norm
    classes: bool = False  # keep class and register tokens, which stand before the patches
    frames: int = 8  # of a film, evenly spread, each seen as a picture
    seconds: float | None = None  # of sound, for a model that hears any length; None: as long as the model hears

    def __post_init__(self) -> None:
        if self.pooled and (self.layer is not None or self.classes):
            raise ModelError("an encoder with pooled=true has one vector: leave layer and classes out")
        if self.frames < 1:
            raise ModelError(f"an encoder looks at 1 frame of a film or more, not at frames={self.frames}")
        if self.seconds is not None and not 0 < self.seconds <= 600:
            raise ModelError(f"an encoder hears 0 to 600 seconds, not seconds={self.seconds}")


class PretrainedEncoder(nn.Module):
    """The seeing or hearing part of a transformers model, with that model's own preprocessing, frozen.

    `prepare` makes of a medium what the model reads, `forward` gives [batch, tokens, width]. The folder is what
    `save_pretrained` of transformers writes, with the processor's (or feature extractor's) configuration in it.
    """

    options_type: ClassVar[type] = PretrainedOptions

    def __init__(self, modality: str, options: PretrainedOptions, model: Any, processor: Any, where: str) -> None:
        super().__init__()
        self.modality, self.options, self.processor, self.where = modality, options, processor, where
        self.prefix, self.tower = _tower(model)
        self.described = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
        self.reads = _reads(self.tower, modality, where)
        self.leading = 0 if options.classes or options.pooled else _leading(self.tower)
        self.tower.requires_grad_(False).eval()
        if modality == "audio" and self._heard(1.0).shape != self._heard(2.0).shape:
            raise ModelError(f"{where}: {type(self.tower).__name__} hears sound of any length; set the option seconds")
        self.tokens, self.width = self._sizes()

    @property
    def config(self) -> tuple[Any, ...]:
        """What the features depend on beside the weights."""
        return self.modality, asdict(self.options), self.described, self.processor.to_dict()

    # --- from a medium to features

    def prepare(self, medium: Image | Audio | Video) -> Tensor:
        """What the model reads of one medium, by the model's own processor; a film's frames stand in front."""
        if isinstance(medium, Audio):
            rate = int(self.processor.sampling_rate)
            wave = medium.mono().resample(rate).samples[0]
            longest = self._longest(rate)
            wave = wave[:longest]  # an extractor might cut at random
            if self.options.seconds is not None:
                wave = np.pad(wave, (0, int(self.options.seconds * rate) - len(wave)))
            return self._processed(wave, sampling_rate=rate)
        if isinstance(medium, Video):
            places = np.linspace(0, len(medium.frames) - 1, self.options.frames).round().astype(int)
            return torch.stack([self._processed(Image(medium.frames[place]).pil()) for place in places])
        return self._processed(medium.pil())

    def forward(self, x: Tensor) -> Tensor:
        """What `prepare` made, stacked, to features [batch, tokens, width]; of a film, frame after frame."""
        batch = len(x)
        made = self._states(self.tower, x.flatten(0, 1) if self.modality == "video" else x)
        return made.reshape(batch, -1, made.shape[-1])

    def _states(self, tower: Any, x: Tensor) -> Tensor:
        """[n, ...] to [n, tokens, width]"""
        o, name = self.options, type(tower).__name__
        more: dict[str, Any] = {} if o.layer is None else {"output_hidden_states": True}
        if getattr(self.tower.config, "enable_fusion", False):  # a CLAP that wants to know which sounds were cut: none
            more["is_longer"] = torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)
        out = tower(**{self.reads: x}, **more)
        if o.pooled:
            pooled = getattr(out, "pooler_output", None)
            if pooled is None:
                raise ModelError(f"{self.where}: {name} pools nothing; leave pooled out")
            return pooled.flatten(1).unsqueeze(1)
        if o.layer is None:
            states = getattr(out, "last_hidden_state", None)
        else:
            hidden = getattr(out, "hidden_states", None) or ()
            if hidden and not -len(hidden) <= o.layer < len(hidden):
                raise ModelError(f"{self.where}: {name} has {len(hidden)} hidden states, there is no layer {o.layer}")
            states = hidden[o.layer] if hidden else None
        if states is None or states.ndim not in (3, 4):
            raise ModelError(f"{self.where}: {name} has no hidden states that could be features")
        if states.ndim == 4:  # a grid, channels first
            states = states.flatten(2).transpose(1, 2)
        return states[:, self.leading :]

    def _processed(self, medium: Any, **more: Any) -> Tensor:
        made = self.processor(medium, **more, return_tensors="pt")[self.reads][0]
        return made if isinstance(made, Tensor) else torch.from_numpy(np.asarray(made))

    def _longest(self, rate: int) -> int | None:
        """Samples that are heard; None: the extractor knows."""
        if self.options.seconds is not None:
            return int(self.options.seconds * rate)
        longest = getattr(self.processor, "nb_max_samples", None)
        return None if longest is None else int(longest)

    def _heard(self, seconds: float) -> Tensor:
        rate = int(self.processor.sampling_rate)
        return self.prepare(Audio(np.zeros(int(seconds * rate), np.float32), rate=rate))

    @torch.no_grad()
    def _sizes(self) -> tuple[int, int]:
        """Tokens and width of the features, from a network without weights where that can run."""
        frames = self.options.frames if self.modality == "video" else 1
        blank = self._heard(1.0) if self.modality == "audio" else self.prepare(Image(np.zeros((8, 8, 3), np.uint8)))
        wrong = f"{self.where}: {type(self.tower).__name__} cannot read what its processor makes"

        def empty() -> Tensor:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                tower = type(self.tower)(self.tower.config).eval()
            return self._states(tower, blank[None].to("meta"))

        def whole() -> Tensor:
            weight = next(self.tower.parameters())
            return self._states(self.tower, blank[None].to(weight.device, weight.dtype))

        try:
            made = empty()
        except (RuntimeError, TypeError) as error:
            needs_values = "meta" in str(error).lower()  # as torch and numpy say it of a tensor that has none
            if not needs_values:
                raise ModelError(f"{wrong}: {' '.join(str(error).split())[:200]}") from error
            made = _try(whole, wrong)
        return frames * made.shape[1], made.shape[2]

    # --- a folder

    @classmethod
    def open(
        cls,
        modality: str,
        place: Path,
        options: PretrainedOptions,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Self:
        """The encoder in a transformers folder. Raises ModelError, in one line, for what is no such folder."""
        if "model_type" not in read_config(place / "config.json"):
            raise ModelError(f"{place / 'config.json'} names no model_type: this is no folder of transformers")
        from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel
        from transformers.utils import logging

        check_files(place)
        wanted = dtype or (torch.float32 if torch.device(device).type == "cpu" else "auto")

        def network() -> Any:
            # what is drawn for parts that are not in the folder must not come from the global random state
            with torch.random.fork_rng(devices=[]):
                return AutoModel.from_pretrained(
                    place,
                    dtype=wanted,
                    local_files_only=True,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # reported below, with both shapes
                    output_loading_info=True,
                )

        with quiet(logging):
            model, found = _try(network, f"{place} does not open as a model of transformers")
            _reads(_tower(model)[1], modality, str(place))
            kind = AutoFeatureExtractor if modality == "audio" else AutoImageProcessor
            processor = _try(
                lambda: kind.from_pretrained(place, local_files_only=True), f"{place} has no processor for {modality}"
            )
        _check(model, found, place)
        return cls(modality, options, model.to(device), processor, str(place))

    def save_pretrained(self, folder: Path) -> None:
        """Writes a transformers folder: the whole model's configuration, this part's weights, the processor."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.described, indent=2, sort_keys=True) + "\n")
        held = {self.prefix + name: tensor.cpu().contiguous() for name, tensor in self.tower.state_dict().items()}
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
        self.processor.save_pretrained(folder)


def _tower(model: Any) -> tuple[str, Any]:
    """The part of a model that sees or hears, and what its tensors' names begin with."""
    for name in TOWERS:
        part = getattr(model, name, None)
        if part is not None and hasattr(part, "main_input_name") and model.main_input_name != part.main_input_name:
            return f"{name}.", part
    if getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "encoder"):
        return "encoder.", model.encoder
    if hasattr(model, "vision_model") and hasattr(model, "text_model"):
        return "vision_model.", model.vision_model
    return "", model


def _reads(tower: Any, modality: str, where: str) -> str:
    """The name of what a tower reads, which must be what `modality` is made into."""
    reads = str(tower.main_input_name)
    if modality not in READS.get(reads, ()):
        raise ModelError(f"{where}: {type(tower).__name__} reads {reads}, it is no encoder for {modality!r}")
    return reads


def _leading(tower: Any) -> int:
    """How many tokens stand before the patches."""
    found = {name.rsplit(".", 1)[-1]: p for name, p in tower.named_parameters()}
    return sum(found[name].shape[-2] if found[name].ndim == 3 else 1 for name in LEADING if name in found)


def _check(model: Any, found: dict[str, Any], place: Path) -> None:
    """Every tensor of the part that is used fits; other parts, a text tower or a classifier, may be what they are."""
    prefix, tower = _tower(model)
    expected = {prefix + name: list(tensor.shape) for name, tensor in tower.state_dict().items()}
    parts = {f"{prefix}{name}." for name, _ in tower.named_children()}
    for name, stored, needed in sorted(found["mismatched_keys"]):
        if name in expected:
            raise ModelError(f"{place}: tensor {name} is {list(stored)}, the model needs {list(needed)}")
    for name in sorted(found["missing_keys"]):
        if name in expected:
            raise ModelError(f"{place}: tensor {name} {expected[name]} is missing")
    for name in sorted(found["unexpected_keys"]):
        if any(name.startswith(part) for part in parts):
            raise ModelError(f"{place}: tensor {name} has no place in the model")


def _try(make: Callable[[], Any], wrong: str) -> Any:
    try:
        return make()
    except ModelError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise ModelError(f"{wrong}: {' '.join(str(error).split())[:200]}") from error
