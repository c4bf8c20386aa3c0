"""Weights in eight or four bits: which layers of which part, how they become so (torchao), and what they then take."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from anygen.error import ModelError, RequestError

KINDS = ("int8", "4bit")
PARTS = ("llm", "unet", "transformer", "transformer_2", "motion_adapter", "decoder", "text_encoder", "text_encoder_2")
"""The parts whose linear layers are quantised.

Encoders, projectors, autoencoders and vocoders stay as they are: they are small beside these, and all that is seen,
said or drawn goes through them.
"""

GROUPS = (64, 32)  # weights of a row that share a scale, in four bits; the first that divides the row
TILE = (8, 1024)  # rows and columns that the tensor cores' layout is filled up to


def check(kind: str, device: torch.device, dtype: torch.dtype | None) -> None:
    """Raise RequestError, in one line, if weights cannot be quantised so on this device or in this precision."""
    known(kind, dtype)
    if find_spec("torchao") is None:
        raise RequestError(f"quantize={kind!r} needs torchao: pip install 'anygen[quantize]'")
    if device.type not in ("cpu", "cuda"):
        raise RequestError(f"quantize={kind!r} runs on cpu and cuda, not on {device}")
    if kind == "4bit" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise RequestError(
            f"quantize='4bit' needs a GPU of compute capability 8.0, and {torch.cuda.get_device_name(device)} has "
            f"{'.'.join(map(str, torch.cuda.get_device_capability(device)))}; take int8"
        )


def known(kind: str, dtype: torch.dtype | None) -> None:
    """Raise RequestError if there is no such kind, or none in this precision."""
    if kind not in KINDS:
        raise RequestError(f"quantize={kind!r}: choose {', '.join(KINDS)}")
    if kind == "4bit" and dtype not in (None, torch.bfloat16):
        said = str(dtype).removeprefix("torch.")
        raise RequestError(f"quantize='4bit' computes in bfloat16, not in {said}: leave dtype out, or take int8")


def precision(kind: str | None, dtype: torch.dtype | None) -> torch.dtype | None:
    """What the LLM is loaded in: four bits are unpacked to bfloat16."""
    return torch.bfloat16 if kind == "4bit" else dtype


def layers(part: str, module: nn.Module) -> dict[str, nn.Linear]:
    """The layers of a part that are quantised, by name: all linear ones that share their weight with no other layer.

    A language model's output heads stay as they are, tied to the embeddings or not: errors there are errors of every
    token.
    """
    if part not in PARTS:
        return {}
    net: Any = module
    head = net.get_output_embeddings() if part in ("llm", "decoder") else None
    heads = set() if head is None else set(head.modules())
    spare = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    return {
        name: layer
        for name, layer in module.named_modules()
        if type(layer) is nn.Linear and layer not in heads and id(layer.weight) not in spare
    }


def bits(part: str, kind: str, layer: nn.Linear) -> int:
    """Bits of a weight of this layer: four only in the LLM, and only where the row is a multiple of a group."""
    return 4 if kind == "4bit" and part == "llm" and group(layer) and layer.out_features % 16 == 0 else 8


def group(layer: nn.Linear) -> int:
    """Weights of a row that share a scale in four bits; 0 if the row cannot be cut so."""
    return next((size for size in GROUPS if layer.in_features % size == 0), 0)


def size(part: str, kind: str, layer: nn.Linear, device: str) -> int:
    """Bytes of the weight of a layer once it is quantised, scales included; `device` is "cpu" or "cuda"."""
    rows, columns = layer.out_features, layer.in_features
    if bits(part, kind, layer) == 8:
        return rows * (columns + 5)  # a scale in float32 and a zero point
    if device == "cuda":
        rows, columns = (-(-n // tile) * tile for n, tile in zip((rows, columns), TILE, strict=True))
    return rows * columns // 2 + rows * (columns // group(layer)) * 4  # scale and zero point in bfloat16


def quantize(part: str, module: nn.Module, kind: str) -> None:
    """Quantise the layers of a part in place, on the device where it is; the same weights always become the same."""
    chosen = layers(part, module)
    if not chosen:
        return
    device = next(module.parameters()).device
    by_bits: dict[tuple[int, int], list[str]] = {}
    for name, layer in chosen.items():
        count = bits(part, kind, layer)
        by_bits.setdefault((count, group(layer) if count == 4 else 0), []).append(name)
    try:
        from torchao.quantization import quantize_

        for (count, width), names in by_bits.items():
            quantize_(module, _config(count, width, device.type), filter_fn=partial(_named, frozenset(names)))
    except (ImportError, ValueError, RuntimeError, AssertionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{part} cannot be quantised to {kind} on {device.type}: {said}") from error


def _named(names: frozenset[str], module: nn.Module, name: str) -> bool:
    return name in names


def _config(count: int, width: int, device: str) -> Any:
    """What torchao calls these bits on this device."""
    from torchao import quantization

    if count == 8:
        return quantization.Int8WeightOnlyConfig(set_inductor_config=False)
    if device == "cpu":
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

        return PrototypeInt4WeightOnlyConfig(group_size=width, set_inductor_config=False)
    return quantization.Int4WeightOnlyConfig(
        group_size=width, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
    )


def held(module: nn.Module) -> Iterator[Tensor]:
    """The plain tensors that a module really holds, those inside of quantised weights included, each once."""
    seen: set[int] = set()

    def plain(tensor: Tensor) -> Iterator[Tensor]:
        if hasattr(tensor, "__tensor_flatten__"):
            for name in tensor.__tensor_flatten__()[0]:
                yield from plain(getattr(tensor, name))
        else:
            yield tensor

    for tensor in (*module.parameters(), *module.buffers()):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield from plain(tensor)
