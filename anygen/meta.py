"""Networks without weights: every part of a pipeline or of a transformers folder, built on the meta device."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygen.error import ModelError
from anygen.weights import quiet, read_config

STEMS = ("diffusion_pytorch_model", "model")
NETWORKS = ("unet", "transformer", "transformer_2", "vae", "text_encoder", "text_encoder_2", "vocoder")


def build(library: str, name: str, values: Mapping[str, Any], where: str) -> nn.Module:
    """The network of class `name`, of diffusers, transformers or a module of this package, with a config's values.

    ModelError if there is no such class, or if the config does not fit it.
    """
    from anygen.generators.diffusion import logs

    kept = {key: value for key, value in values.items() if not key.startswith("_")}
    try:
        with quiet(*logs()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of libraries about each other
            if library == "transformers":
                return _transformers(name, kept, where)
            cls = _class(library, name, where)
            with torch.device("meta"):
                return cls.from_config(kept)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where}: no {name} can be built from this config: {str(error).splitlines()[0]}") from error


def _class(library: str, name: str, where: str) -> Any:
    if library != "diffusers" and not library.startswith("anygen.generators."):
        raise ModelError(f"{where} names a class of {library!r}; known are diffusers and transformers")
    cls = getattr(importlib.import_module(library), name, None)
    if cls is None:
        raise ModelError(f"{where}: {library} has no class {name}")
    return cls


def _transformers(name: str, values: Mapping[str, Any], where: str) -> nn.Module:
    import transformers

    cls: Any = getattr(transformers, name, None)
    if cls is None:
        raise ModelError(f"{where}: transformers has no class {name}")
    kind: Any = getattr(cls, "config_class", None) or type(transformers.AutoConfig.for_model(values["model_type"]))
    config = kind.from_dict(dict(values))
    with torch.device("meta"):
        return cls(config) if hasattr(cls, "config_class") and cls.config_class else cls.from_config(config)


def build_llm(folder: Path) -> nn.Module:
    """The causal LLM that a transformers folder describes."""
    return build("transformers", "AutoModelForCausalLM", read_config(folder / "config.json"), str(folder))


def networks(folder: Path) -> dict[str, nn.Module]:
    """The networks of a diffusers folder, by component, or of a folder of transformers' MusicGen."""
    from anygen.generators.musicgen import CLASS, musical

    index = folder / "model_index.json"
    if musical(folder):
        whole = build("transformers", CLASS, read_config(folder / "config.json"), str(folder))
        return dict(whole.named_children())
    if not index.is_file():
        raise ModelError(f"{folder} is no diffusers folder: model_index.json is missing")
    found = {}
    for component, entry in read_config(index).items():
        if not isinstance(entry, list) or len(entry) != 2 or None in entry:
            continue
        config = folder / component / "config.json"
        if config.is_file():
            library, name = entry
            # a class of this package is named by its module's last word; diffusers finds it by what is imported
            library = library if library in ("diffusers", "transformers") else _own(library)
            found[component] = build(library, name, read_config(config), str(config))
    beside = folder / "adapter" / "config.json"  # what helps a pipeline that is whole without it
    if "adapter" not in found and beside.is_file():
        found["adapter"] = build("diffusers", "T2IAdapter", read_config(beside), str(beside))
    return found


def _own(library: str) -> str:
    return library if library.startswith("anygen.") else f"anygen.generators.{library}"
