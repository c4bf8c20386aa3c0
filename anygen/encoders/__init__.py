"""Encoders: one file per modality, from a medium to features; this table names them, and the kinds from elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygen.encoders.audio import AudioEncoder
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import Tower
from anygen.encoders.imagebind_encoder import ImageBindEncoder
from anygen.encoders.pretrained import PretrainedEncoder
from anygen.encoders.text import TextEncoder
from anygen.error import ModelError
from anygen.weights import fill

ENCODERS: dict[str, type[Tower]] = {"text": TextEncoder, "image": ImageEncoder, "audio": AudioEncoder}
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
) -> nn.Module:
    """The encoder of `modality` at `place`. `options` are those of its kind, strictly."""
    if kind == OWN:
        if options:
            raise ModelError(f"the {modality} encoder is of kind {kind!r}, which has no option {next(iter(options))!r}")
        if modality not in ENCODERS:
            raise ModelError(f"no encoder class for {modality!r}; there are {', '.join(ENCODERS)}")
        return ENCODERS[modality].from_pretrained(place, device=device, dtype=dtype)
    if kind not in KINDS:
        raise ModelError(f"no kind of encoder {kind!r}; there are {', '.join((OWN, *KINDS))}")
    where = f"options of the {modality} encoder"
    try:
        chosen: Any = fill(KINDS[kind].options_type, options or {}, where)
    except TypeError as error:
        raise ModelError(f"{where}: {error}") from error
    return KINDS[kind].open(modality, place, chosen, device, dtype)
