"""Transformer blocks that projectors are made of, and the checks of their sizes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from anygen.error import ModelError


def positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ModelError(f"{type(config).__name__}: {name} is {getattr(config, name)}; it must be at least 1")


def divides(config: Any, heads: str, width: str) -> None:
    if getattr(config, width) % getattr(config, heads):
        whole, part = getattr(config, width), getattr(config, heads)
        raise ModelError(f"{type(config).__name__}: {width} {whole} is not a multiple of {heads} {part}")


class Block(nn.Module):
    """A pre-norm transformer block: attention to itself, then an MLP.

    With `cross`, a second attention, to `context`, stands between the two (Vaswani et al. 2017, section 3.1).
    """

    def __init__(self, width: int, heads: int, feedforward: int, cross: bool = False) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.attend_self = Attention(width, heads)
        self.cross = cross
        if cross:
            self.norm_cross = nn.LayerNorm(width)
            self.attend_cross = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))

    def forward(self, x: Tensor, context: Any = None) -> Tensor:  # [batch, tokens, width]
        normed = self.norm_self(x)
        x = x + self.attend_self(normed, normed)
        if self.cross:
            x = x + self.attend_cross(self.norm_cross(x), context)
        return x + self.mlp(self.norm_mlp(x))


class Attention(nn.Module):
    """Multi-head attention of `x` to `context`, where `mask` [batch, 1, tokens, tokens of the context] is true."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, heads, tokens, width / heads]
        key, value = self.key_value(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))
