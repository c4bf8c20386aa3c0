"""A model is a folder: its description, anygen.json, and strict reading of parts without a file of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygen.dialect import Dialect, MediumTokens
from anygen.encoders import OWN
from anygen.error import ModelError
from anygen.projectors import build, describe
from anygen.signals import SignalTokens
from anygen.weights import check_files, fill, load_strict, quiet, read_config, save

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Where a generator is and its usual options; `edit_strength` None means that edits are drawn anew.

    Otherwise it is what `ImageGenerator.generate` takes as `strength` with the picture that is edited.
    `base` is the modality whose generator lends the parts that this one's folder does not have.
    """

    path: str
    steps: int
    guidance: float
    edit_strength: float | None = None
    base: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # sizes of media, of a pipeline made by others

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ModelError(f"generator {self.path}: steps is {self.steps}; at least 1 is needed")
        if self.edit_strength is not None and not 0 < self.edit_strength <= 1:
            raise ModelError(f"generator {self.path}: edit_strength is {self.edit_strength}, outside of 0..1")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """Where an encoder is, of which kind (`anygen.encoders.KINDS`), and the options of its kind."""

    path: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.endswith(".pth") and is_local(self.path):
            raise ModelError(f"encoder {self.path} is a file that others published: give its absolute path")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """anygen.json: the parts.

    A path is relative to the model folder, absolute, `hub:owner/name@revision`, or `catalog:NAME`, a part that the
    catalog knows. `dialect` is how a checkpoint from elsewhere spells a conversation.
    """

    format: int
    name: str
    signals: Mapping[str, int]  # modality -> signal tokens per span
    llm: str
    encoders: Mapping[str, str | EncoderConfig]  # a bare path is a tower of this package
    generators: Mapping[str, GeneratorConfig]
    dialect: Dialect | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ModelError(f"anygen.json has format {self.format!r}; this version reads format {FORMAT}")
        for modality, count in self.signals.items():
            SignalTokens(modality=modality, count=count)
        for modality in (*self.encoders, *self.generators):
            if modality not in (*self.signals, "text"):
                raise ModelError(f"anygen.json names a part for {modality!r} but no signal tokens for it")
        for modality, options in self.generators.items():
            lender = self.generators.get(options.base) if options.base is not None else None
            if options.base is not None and (lender is None or lender is options or lender.base is not None):
                others = [m for m, other in self.generators.items() if other.base is None and m != modality]
                raise ModelError(
                    f"generators.{modality}: base is {options.base!r}; a generator that could lend it parts is "
                    f"{', '.join(others) or 'not there'}"
                )

    @classmethod
    def read(cls, file: Path) -> ModelConfig:
        """anygen.json, strictly: an unknown and a missing key are errors."""
        values = read_config(file)
        encoders = values.get("encoders")
        if isinstance(encoders, dict):
            values["encoders"] = {
                modality: fill(EncoderConfig, where, f"{file}: encoders.{modality}")
                if isinstance(where, dict)
                else where
                for modality, where in encoders.items()
            }
        generators = values.get("generators")
        if isinstance(generators, dict):
            values["generators"] = {
                modality: fill(GeneratorConfig, options, f"{file}: generators.{modality}")
                for modality, options in generators.items()
            }
        spelt = values.get("dialect")
        if isinstance(spelt, dict):
            media = {
                modality: fill(MediumTokens, names, f"{file}: dialect.media.{modality}")
                for modality, names in spelt.get("media", {}).items()
            }
            values["dialect"] = fill(Dialect, {**spelt, "media": media}, f"{file}: dialect")
        return fill(cls, values, str(file))

    def encoder(self, modality: str) -> EncoderConfig:
        """Where the encoder of `modality` is, and of which kind."""
        where = self.encoders[modality]
        return where if isinstance(where, EncoderConfig) else EncoderConfig(path=where, kind=OWN)

    def write(self, file: Path) -> None:
        values = asdict(self)
        for part in (*values["encoders"].values(), *values["generators"].values()):
            if isinstance(part, dict) and not part["options"]:
                del part["options"]
        if self.dialect is None:
            del values["dialect"]
        file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def is_local(where: str) -> bool:
    """True if a part lies inside the model folder."""
    return not where.startswith(("hub:", "catalog:")) and not Path(where).is_absolute()


def locate(folder: Path | None, where: str) -> Path:
    """The folder of a part. A hub reference is downloaded once, at its pinned revision."""
    if where.startswith("catalog:"):
        from anygen.catalog import place_of

        return place_of(where.removeprefix("catalog:"))
    if not where.startswith("hub:"):
        return (folder or Path()) / where
    name, _, revision = where.removeprefix("hub:").partition("@")
    if not revision:
        raise ModelError(f"{where!r} names no revision; write hub:owner/name@revision")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"cannot fetch {name} at {revision}: {str(error).splitlines()[0]}") from error


def load_llm(folder: Path, device: str | torch.device, dtype: torch.dtype | None) -> tuple[Any, nn.Module]:
    """Tokenizer and causal LLM from a transformers folder, strictly."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing")
    check_files(folder)
    wanted = dtype or (torch.float32 if torch.device(device).type == "cpu" else "auto")
    try:
        # reading must not draw from the global random state, whatever a library initialises
        with quiet(logging), torch.random.fork_rng(devices=[]):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            opened: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=wanted,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, with both shapes
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder} does not open as an LLM: {str(error).splitlines()[0]}") from error
    llm, found = opened
    for name, stored, needed in sorted(found["mismatched_keys"]):
        raise ModelError(f"{folder}: tensor {name} is {list(stored)}, the model needs {list(needed)}")
    expected = llm.state_dict()
    for name in sorted(found["missing_keys"]):
        raise ModelError(f"{folder}: tensor {name} {list(expected[name].shape)} is missing")
    for name in sorted(found["unexpected_keys"]):
        raise ModelError(f"{folder}: tensor {name} has no place in the model")
    return tokenizer, llm.to(device)


def merge_adapter(llm: nn.Module, folder: Path) -> nn.Module:
    """The LLM with a peft adapter merged into its weights."""
    try:
        from peft import PeftModel
    except ImportError:
        raise ModelError(f"{folder} needs peft: pip install 'anygen[train]'") from None
    check_files(folder)
    return PeftModel.from_pretrained(llm, folder, use_safetensors=True).merge_and_unload()


def load_projectors(
    table: dict[str, type], folder: Path, device: str | torch.device, dtype: torch.dtype | None
) -> dict[str, nn.Module]:
    """All projectors of one side: config.json maps a modality to its description."""
    described = read_config(folder / "config.json")
    with torch.device("meta"):
        projectors = nn.ModuleDict(
            {modality: build(table, values, f"{folder}: {modality}") for modality, values in described.items()}
        )
    if described:
        load_strict(projectors, folder / "model.safetensors", device, dtype)
    return dict(projectors.items())


def save_projectors(table: dict[str, type], projectors: nn.ModuleDict, folder: Path) -> None:
    """The inverse of `load_projectors`."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {modality: describe(table, projector) for modality, projector in projectors.items()}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if described:
        save(projectors, folder / "model.safetensors")
