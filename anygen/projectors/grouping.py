"""An input projector that groups features in stages, as NExT-GPT's does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anygen.blocks import Block, divides, positive
from anygen.error import ModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupingConfig:
    tokens_in: int
    width_in: int
    width_out: int
    groups: tuple[int, ...]  # of each stage; the last are the tokens
    width: int
    heads: int
    layers: int = 1  # blocks before features are grouped, in each stage

    def __post_init__(self) -> None:
        positive(self, "tokens_in", "width_in", "width_out", "width", "heads", "layers")
        divides(self, "heads", "width")
        if not self.groups or min(self.groups) < 1:
            raise ModelError(
                f"GroupingConfig: groups are {list(self.groups)}; at least one stage of at least 1 is needed"
            )


class GroupingProjector(nn.Module):
    """Features that belong together become one token, in stages (GroupViT, arXiv 2202.11094, section 3.1, eq. 2 to 4).

    NExT-GPT's "concept tokens" are made so. The noise on the choice of a group is left out: a run stays repeatable.
    """

    config_type = GroupingConfig

    def __init__(self, config: GroupingConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = config.groups[-1]
        self.inward = nn.Linear(config.width_in, config.width)
        self.place = nn.Parameter(torch.randn(config.tokens_in, config.width) * 0.02)
        self.stages = nn.ModuleList(
            Grouping(config.width, config.heads, config.layers, groups) for groups in config.groups
        )
        self.outward = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.width_out))

    def forward(self, features: Tensor) -> Tensor:
        x = self.inward(features) + self.place
        for stage in self.stages:
            x = stage(x)
        return self.outward(x)


class Grouping(nn.Module):
    """One stage: learned group tokens and features see each other, then every feature joins one group."""

    def __init__(self, width: int, heads: int, layers: int, groups: int) -> None:
        super().__init__()
        self.groups = nn.Parameter(torch.randn(groups, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(layers))
        self.norm_groups, self.norm_features = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:  # [batch, features, width] -> [batch, groups, width]
        x = torch.cat([self.groups.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        groups, x = x.split([len(self.groups), x.shape[1] - len(self.groups)], 1)
        x = self.norm_features(x)
        joins = self.choose(self.query(self.norm_groups(groups)), self.key(x))
        mean = joins / (joins.sum(-1, keepdim=True) + 1)  # of an empty group nothing, of a small one less
        groups = groups + self.out(mean @ self.value(x))
        return groups + self.mlp(self.norm_mlp(groups))

    def choose(self, query: Tensor, key: Tensor) -> Tensor:
        """Which group a feature joins: [batch, groups, features], 1 for the likeliest and 0 for the others.

        Gradients are those of the softmax over the groups.
        """
        soft = (query @ key.transpose(1, 2) / math.sqrt(query.shape[-1])).softmax(1)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
        return hard + soft - soft.detach()
