"""Encoders: one file per modality, from a medium to features; this table names them, and the kinds from elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygen.encoders.audio import AudioEncoder
from anygen.encoders.depth import DepthEncoder
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import Tower
from anygen.encoders.imagebind_encoder import ImageBindEncoder
from anygen.encoders.imu import ImuEncoder
from anygen.encoders.pretrained import PretrainedEncoder
from anygen.encoders.text import TextEncoder
from anygen.encoders.thermal import ThermalEncoder
from anygen.encoders.video import VideoEncoder
from anygen.error import ModelError
from anygen.weights import fill

ENCODERS: dict[str, type[Tower]] = {
    "text": TextEncoder,
    "image": ImageEncoder,
    "audio": AudioEncoder,
    "video": VideoEncoder,
    "depth": DepthEncoder,
    "thermal": ThermalEncoder,
    "imu": ImuEncoder,
}
KINDS: dict[str, type[ImageBindEncoder] | type[PretrainedEncoder]] = {
    "imagebind": ImageBindEncoder,
    "transformers": PretrainedEncoder,
}
OWN = "tower"  # the kind of the encoders in the first table


def open_encoder(
    modality: str,
    place: Path,
    kind: str = OWN,
    options: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    base: nn.Module | None = None,
) -> Any:
    """The encoder of `modality` at `place`. `options` are those of its kind, strictly; `base` is the encoder it stands
    on, where it does."""
    if kind == OWN:
        if options:
            raise ModelError(f"the {modality} encoder is of kind {kind!r}, which has no option {next(iter(options))!r}")
        if modality not in ENCODERS:
            raise ModelError(f"no encoder class for {modality!r}; there are {', '.join(ENCODERS)}")
        return ENCODERS[modality].from_pretrained(place, device=device, dtype=dtype, base=base)
    if kind not in KINDS:
        raise ModelError(f"no kind of encoder {kind!r}; there are {', '.join((OWN, *KINDS))}")
    where = f"options of the {modality} encoder"
    try:
        chosen: Any = fill(KINDS[kind].options_type, options or {}, where)
    except TypeError as error:
        raise ModelError(f"{where}: {error}") from error
    return KINDS[kind].open(modality, place, chosen, device, dtype)


def open_encoders(
    parts: Mapping[str, tuple[Path, str, Mapping[str, Any]]],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> dict[str, nn.Module]:
    """The encoders at these places, each with its kind and options, by modality; one may share another."""
    base = {m: ENCODERS[m].base if kind == OWN and m in ENCODERS else None for m, (_, kind, _) in parts.items()}
    found: dict[str, nn.Module] = {}
    for modality in sorted(parts, key=lambda modality: base[modality] is not None):
        place, kind, options = parts[modality]
        shared = found.get(base[modality] or "")
        found[modality] = open_encoder(modality, place, kind, options, device, dtype, shared)
    return {modality: found[modality] for modality in parts}
