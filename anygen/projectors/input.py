"""Input projectors: features [batch, tokens_in, width_in] -> embeddings [batch, tokens, width_out]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anygen.blocks import Block, divides, positive
from anygen.error import ModelError
from anygen.projectors.bridging import GatedProjector


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearConfig:
    tokens_in: int
    width_in: int
    width_out: int

    def __post_init__(self) -> None:
        positive(self, "tokens_in", "width_in", "width_out")


class LinearProjector(nn.Module):
    """One matrix, token by token (NExT-GPT section 3, "linear projection")."""

    config_type = LinearConfig

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = config.tokens_in
        self.linear = nn.Linear(config.width_in, config.width_out)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features)


@dataclass(frozen=True, kw_only=True, slots=True)
class MlpConfig:
    tokens_in: int
    width_in: int
    width_out: int
    hidden: int
    merge: int = 1  # merge x merge neighbouring patches of the square grid become one token
    run: int = 1  # so many features that follow one another become one token, for what has an order in time

    def __post_init__(self) -> None:
        positive(self, "tokens_in", "width_in", "width_out", "hidden", "merge", "run")
        if self.run > 1 and (self.merge > 1 or self.tokens_in % self.run):
            raise ModelError(f"MlpConfig: runs of {self.run} do not divide {self.tokens_in} tokens, or merge is not 1")
        side = math.isqrt(self.tokens_in)
        if self.merge > 1 and (side * side != self.tokens_in or side % self.merge):
            raise ModelError(
                f"MlpConfig: {self.tokens_in} tokens are not a square grid that {self.merge} x {self.merge} divides"
            )


class MlpProjector(nn.Module):
    """Neighbouring features side by side, then a two-layer MLP (LLaVA-1.5; patch merging as in Qwen2-VL)."""

    config_type = MlpConfig

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        together = config.merge**2 * config.run
        self.tokens = config.tokens_in // together
        width = config.width_in * together
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.width_out))

    def forward(self, features: Tensor) -> Tensor:
        if self.config.run > 1:
            features = features.unflatten(1, (-1, self.config.run)).flatten(2)
        return self.mlp(self.norm(merge_patches(features, self.config.merge)))


def merge_patches(x: Tensor, merge: int) -> Tensor:
    """[batch, side * side, width] -> [batch, (side / merge)^2, merge^2 * width], row by row."""
    if merge == 1:
        return x
    batch, tokens, width = x.shape
    side = math.isqrt(tokens)
    x = x.view(batch, side // merge, merge, side // merge, merge, width).transpose(2, 3)
    return x.reshape(batch, tokens // merge**2, merge**2 * width)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResamplerConfig:
    tokens_in: int
    width_in: int
    width_out: int
    queries: int
    width: int
    heads: int
    layers: int = 2
    slots: bool = False  # its tokens have learnt to tell slots (`anygen.playground.slots`), not captions

    def __post_init__(self) -> None:
        positive(self, "tokens_in", "width_in", "width_out", "queries", "width", "heads", "layers")
        divides(self, "heads", "width")


class ResamplerProjector(nn.Module):
    """Learned queries that attend to the features (Perceiver Resampler, Flamingo section 3.1)."""

    config_type = ResamplerConfig

    def __init__(self, config: ResamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = config.queries
        self.inward = nn.Linear(config.width_in, config.width)
        self.place = nn.Parameter(torch.randn(config.tokens_in, config.width) * 0.02)
        self.norm = nn.LayerNorm(config.width)
        self.queries = nn.Parameter(torch.randn(config.queries, config.width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, 4 * config.width, cross=True) for _ in range(config.layers)
        )
        self.outward = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.width_out))

    def forward(self, features: Tensor) -> Tensor:
        context = self.norm(self.inward(features) + self.place)
        x = self.queries.expand(len(features), -1, -1)  # [batch, queries, width]
        for block in self.blocks:
            x = block(x, context)
        return self.outward(x)


@dataclass(frozen=True, kw_only=True, slots=True)
class BorrowedConfig:
    """Whose projector is borrowed, and the sizes that it has."""

    lender: str
    tokens_in: int
    width_in: int
    tokens: int
    width_out: int

    def __post_init__(self) -> None:
        positive(self, "tokens_in", "width_in", "tokens", "width_out")


class BorrowedProjector(nn.Module):
    """A matrix that turns features into such as another modality has, and then that modality's own projector.

    It begins as that projector alone: what is much like a picture is told as a picture is. The lender's weights are its
    own: they are neither saved nor counted here. `lend` puts the two together.
    """

    config_type = BorrowedConfig

    def __init__(self, config: BorrowedConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = config.tokens
        self.inward = nn.Linear(config.width_in, config.width_in)
        nn.init.zeros_(self.inward.weight)
        nn.init.zeros_(self.inward.bias)
        self._lender: tuple[nn.Module, ...] = ()  # in a tuple it is no part of this module

    def borrow(self, lender: Any) -> None:
        """Read with this projector from now on; one of other sizes is a ModelError."""
        ours = (self.config.tokens_in, self.config.width_in, self.config.tokens, self.config.width_out)
        theirs = (lender.config.tokens_in, lender.config.width_in, lender.tokens, lender.config.width_out)
        if ours != theirs:
            raise ModelError(
                f"the projector of {self.config.lender} is {list(theirs)}, who borrows it has {list(ours)}"
            )
        self._lender = (lender,)

    def forward(self, features: Tensor) -> Tensor:
        if not self._lender:
            raise ModelError(f"a borrowed projector needs that of {self.config.lender}, and nobody has lent it")
        (lender,) = self._lender
        return lender(features + self.inward(features))


def lend(projectors: Any) -> None:
    """Give every projector of a model (by modality) that borrows from another the one that it needs."""
    for modality, projector in projectors.items():
        if isinstance(projector, BorrowedProjector):
            lender = projector.config.lender
            if lender not in projectors or isinstance(projectors[lender], BorrowedProjector | GatedProjector):
                raise ModelError(f"input projector {modality} borrows that of {lender}, which has none to lend")
            projector.borrow(projectors[lender])


def tells_slots(projectors: Any, modality: str) -> bool:
    """Whether the tokens of a modality's projector, or of the one that it borrows, have learnt to tell slots."""
    config = projectors[modality].config
    return bool(getattr(projectors[config.lender].config if isinstance(config, BorrowedConfig) else config, "slots", 0))
