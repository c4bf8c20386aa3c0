"""Parts of a model and what they take once they are loaded, by headers of files or by networks on meta."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygen.error import ModelError
from anygen.weights import read_config

HALF = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
SIZES = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2}  # bytes; any other is one


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one part takes once it is loaded."""

    parameters: int
    bytes: int
    dtype: str
    tensors: int

    def __add__(self, other: Part) -> Part:
        if not self.tensors or not other.tensors:
            return self if self.tensors else other
        dtype = self.dtype if self.dtype == other.dtype else "mixed"
        return Part(
            parameters=self.parameters + other.parameters,
            bytes=self.bytes + other.bytes,
            dtype=dtype,
            tensors=self.tensors + other.tensors,
        )


NOTHING = Part(parameters=0, bytes=0, dtype="", tensors=0)


def counted(module: nn.Module, dtype: torch.dtype | None) -> Part:
    """A network on meta, its floating-point tensors in `dtype`; None keeps what they are."""
    seen: dict[int, Any] = {id(tensor): tensor for tensor in module.state_dict(keep_vars=True).values()}
    widths = [t.numel() * ((dtype or t.dtype).itemsize if t.is_floating_point() else t.itemsize) for t in seen.values()]
    parameters = sum(tensor.numel() for tensor in module.parameters())
    first = dtype or next(module.parameters()).dtype
    return Part(parameters=parameters, bytes=sum(widths), dtype=spelt(first), tensors=len(seen))


def stored(file: Path, dtype: torch.dtype | None, within: str = "") -> Part:
    """The tensors of a safetensors file, or of all shards of an index, as they are once loaded, by their headers.

    Only those whose names begin with `within` are counted.
    """
    from safetensors import SafetensorError, safe_open

    if file.name.endswith(".index.json"):
        shards = sorted(set(read_config(file)["weight_map"].values()))
        return sum((stored(file.parent / shard, dtype, within) for shard in shards), NOTHING)
    if not file.is_file():
        raise ModelError(f"{file} is missing")
    total, kinds, count, size = 0, set(), 0, 0
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in (name for name in tensors.keys() if name.startswith(within)):
                about = tensors.get_slice(name)
                number, kind = torch.Size(about.get_shape()).numel(), about.get_dtype()
                floating = HALF.get(kind)
                count, total = count + 1, total + number
                size += number * ((dtype or floating).itemsize if floating else SIZES.get(kind, 1))
                kinds |= {dtype or floating} if floating else set()
    except SafetensorError as error:
        raise ModelError(f"{file} is truncated or not a safetensors file: {error}") from None
    precision = spelt(kinds.pop()) if len(kinds) == 1 else "mixed"
    return Part(parameters=total, bytes=size, dtype=precision, tensors=count)


def spelt(dtype: torch.dtype) -> str:
    """A precision as plans spell it."""
    return str(dtype).removeprefix("torch.")
