"""Projectors: encoder features to LLM embeddings going in, hidden states to a generator's condition going out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import nn

from anygen.error import ModelError
from anygen.projectors.bridging import GatedProjector
from anygen.projectors.grouping import GroupingProjector
from anygen.projectors.input import BorrowedProjector, LinearProjector, MlpProjector, ResamplerProjector
from anygen.projectors.output import LinearOutput, QueryTransformer, TransformerOutput
from anygen.weights import fill

INPUT_PROJECTORS: dict[str, type] = {
    "linear": LinearProjector,
    "mlp": MlpProjector,
    "resampler": ResamplerProjector,
    "borrowed": BorrowedProjector,
    "grouping": GroupingProjector,
    "gated": GatedProjector,
}
OUTPUT_PROJECTORS: dict[str, type] = {
    "linear": LinearOutput,
    "query": QueryTransformer,
    "transformer": TransformerOutput,
}


def build(table: dict[str, type], values: dict[str, Any], where: str) -> nn.Module:
    """A projector from its description, `{"type": row of the table, ...config}`."""
    values = dict(values)
    kind = values.pop("type", None)
    if kind not in table:
        raise ModelError(f"{where}: no projector type {kind!r}; types are {', '.join(table)}")
    maker: Any = table[kind]
    return maker(fill(maker.config_type, values, where))


def describe(table: dict[str, type], projector: Any) -> dict[str, Any]:
    """The inverse of `build`: what stands in config.json."""
    name = next(name for name, kind in table.items() if type(projector) is kind)
    return {"type": name, **asdict(projector.config)}
