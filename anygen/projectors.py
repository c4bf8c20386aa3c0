"""Projectors: encoder features to LLM embeddings going in, hidden states to a generator's condition going out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anygen.error import ModelError
from anygen.weights import fill


def _positive(config: Any, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ModelError(f"{type(config).__name__}: {name} is {getattr(config, name)}; it must be at least 1")


def _divides(config: Any, heads: str, width: str) -> None:
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
    """Multi-head attention of `x` to `context`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [batch, heads, tokens, width / heads]
        key, value = self.key_value(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value)
        return self.out(y.transpose(1, 2).flatten(2))


# --- input: features [batch, tokens_in, width_in] -> embeddings [batch, tokens, width_out]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearConfig:
    tokens_in: int
    width_in: int
    width_out: int

    def __post_init__(self) -> None:
        _positive(self, "tokens_in", "width_in", "width_out")


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
        _positive(self, "tokens_in", "width_in", "width_out", "hidden", "merge", "run")
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

    def __post_init__(self) -> None:
        _positive(self, "tokens_in", "width_in", "width_out", "queries", "width", "heads", "layers")
        _divides(self, "heads", "width")


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
class GroupingConfig:
    tokens_in: int
    width_in: int
    width_out: int
    groups: tuple[int, ...]  # of each stage; the last are the tokens
    width: int
    heads: int
    layers: int = 1  # blocks before features are grouped, in each stage

    def __post_init__(self) -> None:
        _positive(self, "tokens_in", "width_in", "width_out", "width", "heads", "layers")
        _divides(self, "heads", "width")
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


# --- output: hidden states [batch, count, width_in] -> condition [batch, length, width_out]


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearOutputConfig:
    count: int
    width_in: int
    length: int
    width_out: int
    add_embeddings: bool = False

    def __post_init__(self) -> None:
        _positive(self, "count", "width_in", "length", "width_out")


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryConfig:
    count: int
    width_in: int
    length: int
    width_out: int
    width: int = 512
    heads: int = 4
    feedforward: int = 2048
    encoder_layers: int = 4
    decoder_layers: int = 4
    add_embeddings: bool = False
    spread: int = 1  # so many tokens of the memory are read from each signal's state

    def __post_init__(self) -> None:
        _positive(self, "count", "width_in", "length", "width_out", "width", "heads", "feedforward", "decoder_layers")
        _positive(self, "spread")
        _divides(self, "heads", "width")


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformerConfig:
    count: int
    width_in: int
    length: int
    width_out: int
    width: int = 512
    heads: int = 4
    feedforward: int = 2048
    encoder_layers: int = 4
    decoder_layers: int = 4
    add_embeddings: bool = True

    def __post_init__(self) -> None:
        _positive(self, "count", "width_in", "length", "width_out", "width", "heads", "feedforward")
        _positive(self, "encoder_layers", "decoder_layers")
        _divides(self, "heads", "width")


class OutputProjector(nn.Module):
    """Base of the output projectors: they predict at unit scale; the condition's own mean and deviation scale it back.

    `condition_mean` and `condition_std` [length, width_out] belong to the weights; `measure` sets them from conditions
    of the generator's text encoder, before training.
    """

    condition_mean: Tensor
    condition_std: Tensor

    def __init__(self, config: LinearOutputConfig | QueryConfig | TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("condition_mean", torch.zeros(config.length, config.width_out))
        self.register_buffer("condition_std", torch.ones(config.length, config.width_out))

    @torch.no_grad()
    def measure(self, conditions: Tensor) -> None:
        """Set mean and deviation from `conditions` [n, length, width_out], n >= 2.

        Numbers that never change (the first token of a causal text encoder) get a small deviation, not zero.
        """
        if conditions.ndim != 3 or conditions.shape[1:] != self.condition_mean.shape or len(conditions) < 2:
            raise ModelError(
                f"conditions are {list(conditions.shape)}; at least 2 of {list(self.condition_mean.shape)} are needed"
            )
        conditions = conditions.double()
        std = conditions.std(dim=0)
        floor = 0.01 * std.square().mean().sqrt().clamp_min(1e-6)
        self.condition_mean.copy_(conditions.mean(dim=0))
        self.condition_std.copy_(std.clamp_min(floor))

    def forward(self, hidden: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """Hidden states at the signal tokens [batch, count, width_in] -> condition [batch, length, width_out].

        `embeddings` [count, width_in] are the input embeddings of the same tokens; used when `add_embeddings` is on.
        """
        if self.config.add_embeddings:
            if embeddings is None:
                raise ModelError("this output projector adds the signal tokens' input embeddings, but none were given")
            hidden = hidden + embeddings
        unit = self.predict(hidden)
        return unit * self.condition_std + self.condition_mean

    def predict(self, hidden: Tensor) -> Tensor:
        raise AssertionError("subclasses predict")


class LinearOutput(OutputProjector):
    """Linear in width and in place: one matrix over the width, one over the positions."""

    config_type = LinearOutputConfig

    def __init__(self, config: LinearOutputConfig) -> None:
        super().__init__(config)
        self.width = nn.Linear(config.width_in, config.width_out)
        self.place = nn.Linear(config.count, config.length)

    def predict(self, hidden: Tensor) -> Tensor:
        return self.place(self.width(hidden).transpose(1, 2)).transpose(1, 2)


class QueryTransformer(OutputProjector):
    """Encoder-decoder transformer with learned queries, one per token of the condition (GILL, NExT-GPT section 3).

    With `spread` s, the memory is s tokens of each of the K signals' states: token j K + k is the j-th of signal k, as
    in `anygen.training.recall`. Where they are as many as the condition has, each is added to its query.
    """

    config_type = QueryConfig

    def __init__(self, config: QueryConfig) -> None:
        super().__init__(config)
        self.spread = config.spread
        self.inward = nn.Linear(config.width_in, config.spread * config.width)
        self.place = nn.Parameter(torch.randn(config.spread * config.count, config.width) * 0.02)
        self.encoder = nn.ModuleList(
            Block(config.width, config.heads, config.feedforward) for _ in range(config.encoder_layers)
        )
        self.norm_memory = nn.LayerNorm(config.width)
        self.queries = nn.Parameter(torch.randn(config.length, config.width))
        self.decoder = nn.ModuleList(
            Block(config.width, config.heads, config.feedforward, cross=True) for _ in range(config.decoder_layers)
        )
        self.outward = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.width_out))

    def predict(self, hidden: Tensor) -> Tensor:
        memory = self.inward(hidden).unflatten(-1, (self.spread, -1)).transpose(1, 2).flatten(1, 2)
        memory = memory + self.place  # [batch, spread * count, width]
        for block in self.encoder:
            memory = block(memory)
        memory = self.norm_memory(memory)
        x = self.queries.expand(len(hidden), -1, -1)  # [batch, length, width]
        if self.spread > 1 and memory.shape[1] >= x.shape[1] > 1:
            x = x + memory[:, : x.shape[1]]
        for block in self.decoder:
            x = block(x, memory)
        return self.outward(x)


class TransformerOutput(OutputProjector):
    """torch's own pre-norm transformer with learned queries, tensor for tensor as in GILL (arXiv 2305.17216, 3.2).

    It holds the weights of published NExT-GPT checkpoints exactly. The signals have no places: they are told apart by
    their embeddings, which are added to their states.
    """

    config_type = TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        sizes: dict[str, Any] = {
            "d_model": config.width,
            "nhead": config.heads,
            "dim_feedforward": config.feedforward,
            "dropout": 0.0,
            "norm_first": True,
            "batch_first": True,
        }
        self.inward = nn.Linear(config.width_in, config.width)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes),
            config.encoder_layers,
            nn.LayerNorm(config.width),
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**sizes), config.decoder_layers, nn.LayerNorm(config.width)
        )
        self.queries = nn.Parameter(torch.randn(config.length, config.width))
        self.outward = nn.Linear(config.width, config.width_out)

    def predict(self, hidden: Tensor) -> Tensor:
        memory = self.encoder(self.inward(hidden))  # [batch, count, width]
        return self.outward(self.decoder(self.queries.expand(len(hidden), -1, -1), memory))


INPUT_PROJECTORS: dict[str, type] = {
    "linear": LinearProjector,
    "mlp": MlpProjector,
    "resampler": ResamplerProjector,
    "grouping": GroupingProjector,
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
