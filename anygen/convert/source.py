"""Reading checkpoints from elsewhere: safetensors, or pickles of tensors and nothing else, one tensor at a time."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.doctor import digest
from anygen.error import ModelError
from anygen.weights import read_config, shapes

Shapes = Mapping[str, tuple[int, ...]]


def open_pickle(file: Path, expected_bytes: int = 0) -> dict[str, Tensor]:
    """The tensors of a pickled state dict, memory-mapped; nothing but tensors is let in.

    ModelError for a file that is missing, smaller than `expected_bytes` of tensors, or no state dict.
    """
    if not file.is_file():
        raise ModelError(f"{file} is missing")
    size = file.stat().st_size
    if size < expected_bytes:
        raise ModelError(
            f"{file} is truncated: {size} bytes, its tensors alone are {expected_bytes} (sha256 {digest(file)}); "
            "fetch it again"
        )
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{file} is truncated or no state dict (sha256 {digest(file)}): {what}") from error
    if not isinstance(held, dict) or not all(isinstance(tensor, Tensor) for tensor in held.values()):
        raise ModelError(f"{file} holds no state dict: names and tensors, and nothing else, are expected")
    return {name: tensor.detach() for name, tensor in held.items()}


class Weights:
    """The tensors of a folder in any of its published spellings, by name; `read` reads one of them.

    `stem` names the safetensors files, `pickled` those that are pickles: one file each, or shards with an index.
    """

    def __init__(self, folder: Path, stem: str = "model", pickled: str = "pytorch_model") -> None:
        self.folder = folder
        self.files: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        for name, ending in ((stem, ".safetensors"), (pickled, ".bin")):
            index, single = folder / f"{name}{ending}.index.json", folder / f"{name}{ending}"
            if index.is_file():
                held = read_config(index).get("weight_map")
                if not isinstance(held, dict):
                    raise ModelError(f"{index} has no 'weight_map'")
                parts = sorted({folder / part for part in held.values()})
            elif single.is_file():
                parts = [single]
            else:
                continue
            self.shapes: dict[str, tuple[int, ...]] = {}
            for part in parts:
                found = self._shapes(part)
                self.shapes |= found
                self.files |= dict.fromkeys(found, part)
            return
        raise ModelError(f"{folder} holds no weights: {stem}.safetensors or {pickled}.bin, or an index of shards")

    def _shapes(self, file: Path) -> dict[str, tuple[int, ...]]:
        if file.suffix == ".safetensors":
            return shapes(file)
        self._open[file] = open_pickle(file)
        return {name: tuple(tensor.shape) for name, tensor in self._open[file].items()}

    def read(self, name: str) -> Tensor:
        """One tensor; a view of the file where it is a pickle."""
        file = self.files[name]
        if file not in self._open:
            from safetensors import safe_open

            self._open[file] = safe_open(file, framework="pt").__enter__()
        held = self._open[file]
        return held[name] if isinstance(held, dict) else held.get_tensor(name)


def write_shards(
    folder: Path, sizes: Mapping[str, int], read: Any, limit: int = 4 * 2**30, stem: str = "model"
) -> None:
    """Write tensors as `stem`.safetensors, or in shards of at most `limit` bytes with their index.

    `sizes` are bytes by name, in the order of the files; `read(name)` makes a tensor when its shard is written, so
    that one shard at a time is in memory.
    """
    import json

    from safetensors.torch import save_file

    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        single = len(shards) == 1
        file = f"{stem}.safetensors" if single else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: read(name).contiguous().clone() for name in names}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def without(found: Shapes, endings: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """`found` less the names with one of `endings`: buffers that older versions of a library saved."""
    return {name: shape for name, shape in found.items() if not name.endswith(tuple(endings))}
