"""Generators: one file per modality, from a condition to a medium; this table names them, and opens those of others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from anygen.error import ModelError
from anygen.generators.adapter import MediumOptions, PipelineGenerator, adapts
from anygen.generators.audio import AudioGenerator
from anygen.generators.diffusion import DiffusionGenerator
from anygen.generators.image import ImageGenerator
from anygen.generators.musicgen import MusicgenGenerator, musical
from anygen.generators.tokens import TokenOptions
from anygen.generators.video import VideoGenerator
from anygen.weights import fill

GENERATORS: dict[str, type[DiffusionGenerator]] = {
    "image": ImageGenerator,
    "audio": AudioGenerator,
    "video": VideoGenerator,
}


def open_generator(
    modality: str,
    folder: Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    base: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """The generator of `modality` in a folder: of the class in the table, through a condition contract, or MusicGen."""
    tells = musical(folder)
    makes = MusicgenGenerator.modality if tells else adapts(folder)
    if makes is None:
        if options:
            raise ModelError(f"{folder} makes media of its own size: it has no option {next(iter(options))!r}")
        return GENERATORS[modality].from_pretrained(folder, device=device, dtype=dtype, base=base)
    if makes != modality:
        raise ModelError(f"{folder} makes {makes}, it is no generator for {modality!r}")
    if base is not None:
        raise ModelError(f"{folder} is a generator of others, which borrows nothing; take its base from anygen.json")
    where = f"options of the {modality} generator"
    try:
        chosen: Any = fill(TokenOptions if tells else MediumOptions, options or {}, where)
    except TypeError as error:
        raise ModelError(f"{where}: {error}") from error
    if tells:
        return MusicgenGenerator.from_pretrained(folder, device, dtype, chosen)
    return PipelineGenerator.open(folder, device, dtype, chosen)
