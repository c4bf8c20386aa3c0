"""Output projectors: hidden states [batch, count, width_in] -> condition [batch, length, width_out]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anygen.blocks import Block, divides, positive
from anygen.error import ModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearOutputConfig:
    count: int
    width_in: int
    length: int
    width_out: int
    add_embeddings: bool = False

    def __post_init__(self) -> None:
        positive(self, "count", "width_in", "length", "width_out")


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
    moments: int = 1  # the condition is so many parts, each of the same queries at another moment
    sights: int = 0  # so many features of the medium that is edited are seen beside the signals; 0: none are
    sight_width: int = 0

    def __post_init__(self) -> None:
        positive(self, "count", "width_in", "length", "width_out", "width", "heads", "feedforward", "decoder_layers")
        positive(self, "spread", "moments")
        if self.sights:
            positive(self, "sights", "sight_width")
        divides(self, "heads", "width")
        divides(self, "moments", "length")


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
        positive(self, "count", "width_in", "length", "width_out", "width", "heads", "feedforward")
        positive(self, "encoder_layers", "decoder_layers")
        divides(self, "heads", "width")


EYES = {"image": "image", "video": "image"}
"""Media whose output projectors may be sighted, and through which encoder: films begin with pictures."""


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

    @property
    def moments(self) -> int:
        """Equal parts of a condition that are told by the same queries."""
        return 1

    @property
    def sighted(self) -> bool:
        """Whether it sees the medium that is edited."""
        return False

    def forward(
        self,
        hidden: Tensor,
        embeddings: Tensor | None = None,
        parts: Tensor | None = None,
        seen: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Hidden states at the signal tokens [batch, count, width_in] -> condition [batch, length, width_out].

        `embeddings` [count, width_in] are the input embeddings of the same tokens; used when `add_embeddings` is on.
        `parts` names those of the `moments` parts of the condition that are wanted; None: all. `seen` are features
        [sights, sight_width] of the media that are edited, None where there is none; used by a `sighted` projector.
        """
        if self.config.add_embeddings:
            if embeddings is None:
                raise ModelError("this output projector adds the signal tokens' input embeddings, but none were given")
            hidden = hidden + embeddings
        unit = self.look(hidden, parts, seen) if self.sighted else self.predict(hidden, parts)
        return unit * self.part(self.condition_std, parts) + self.part(self.condition_mean, parts)

    def part(self, condition: Tensor, parts: Tensor | None) -> Tensor:
        """Those of the `moments` parts of [..., length, width]."""
        if parts is None:
            return condition
        return condition.unflatten(-2, (self.moments, -1))[..., parts, :, :].flatten(-3, -2)

    def predict(self, hidden: Tensor, parts: Tensor | None = None) -> Tensor:
        raise AssertionError("subclasses predict")

    def look(self, hidden: Tensor, parts: Tensor | None, seen: Sequence[Tensor | None] | None) -> Tensor:
        raise AssertionError("subclasses that are sighted look")


class LinearOutput(OutputProjector):
    """Linear in width and in place: one matrix over the width, one over the positions."""

    config_type = LinearOutputConfig

    def __init__(self, config: LinearOutputConfig) -> None:
        super().__init__(config)
        self.width = nn.Linear(config.width_in, config.width_out)
        self.place = nn.Linear(config.count, config.length)

    def predict(self, hidden: Tensor, parts: Tensor | None = None) -> Tensor:
        return self.place(self.width(hidden).transpose(1, 2)).transpose(1, 2)


class QueryTransformer(OutputProjector):
    """Encoder-decoder transformer with learned queries, one per token of the condition (GILL, NExT-GPT section 3).

    With `spread` s, the memory is s tokens of each of the K signals' states: token j K + k is the j-th of signal k, as
    in `anygen.training.recall`. Where they are as many as there are queries, each is added to its query.

    With `moments` m, there is a query for each of length / m tokens, and what it found is told m times: by MLPs that
    know which time it is, and a block between them, as the same word has another place when more is said before it.
    That is for generators whose frames are told one by one.

    With `sights`, the queries also look at an encoder's features of the medium that is edited: words say what shall be
    there, and where it stands is seen. Rows without one look at a token of its own that stands for nothing.
    """

    config_type = QueryConfig
    config: QueryConfig

    def __init__(self, config: QueryConfig) -> None:
        super().__init__(config)
        self.spread = config.spread
        self.inward = nn.Linear(config.width_in, config.spread * config.width)
        self.place = nn.Parameter(torch.randn(config.spread * config.count, config.width) * 0.02)
        self.encoder = nn.ModuleList(
            Block(config.width, config.heads, config.feedforward) for _ in range(config.encoder_layers)
        )
        self.norm_memory = nn.LayerNorm(config.width)
        self.queries = nn.Parameter(torch.randn(config.length // config.moments, config.width))
        self.decoder = nn.ModuleList(
            Block(config.width, config.heads, config.feedforward, cross=True) for _ in range(config.decoder_layers)
        )
        if config.moments > 1:
            self.times = nn.ModuleList(Moment(config.width, 2 * config.width, config.moments) for _ in range(2))
            self.within = Block(config.width, config.heads, config.feedforward, cross=True)
        self.outward = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.width_out))
        if config.sights:
            self.sight = nn.Linear(config.sight_width, config.width)
            self.sight_place = nn.Parameter(torch.randn(config.sights, config.width) * 0.02)
            self.sight_norm = nn.LayerNorm(config.width)
            self.blind = nn.Parameter(torch.randn(config.width) * 0.02)

    @property
    def moments(self) -> int:
        return self.config.moments

    @property
    def sighted(self) -> bool:
        return self.config.sights > 0

    def look(self, hidden: Tensor, parts: Tensor | None, seen: Sequence[Tensor | None] | None) -> Tensor:
        return self.predict(hidden, parts, self.sights(seen or [None] * len(hidden)))

    def sights(self, seen: Sequence[Tensor | None]) -> Tensor:
        """What is seen of each row's medium, and of none: [rows, sights, width]."""
        size = (self.config.sights, self.config.sight_width)
        if wrong := [list(one.shape) for one in seen if one is not None and tuple(one.shape) != size]:
            raise ModelError(f"this output projector sees features of {list(size)}, not of {wrong[0]}")
        blind = self.blind.expand(self.config.sights, -1)
        given = [one for one in seen if one is not None]
        if not given:
            return blind.expand(len(seen), -1, -1)
        found = iter(self.sight_norm(self.sight(torch.stack(given).to(blind)) + self.sight_place))
        return torch.stack([blind if one is None else next(found) for one in seen])

    def predict(self, hidden: Tensor, parts: Tensor | None = None, sights: Tensor | None = None) -> Tensor:
        memory = self.inward(hidden).unflatten(-1, (self.spread, -1)).transpose(1, 2).flatten(1, 2)
        memory = memory + self.place  # [batch, spread * count, width]
        for block in self.encoder:
            memory = block(memory)
        memory = self.norm_memory(memory)
        x = self.queries.expand(len(hidden), -1, -1)  # [batch, length / moments, width]
        if self.spread > 1 and memory.shape[1] >= x.shape[1] > 1:
            x = x + memory[:, : x.shape[1]]
        if sights is not None:
            memory = torch.cat([memory, sights], 1)
        for block in self.decoder:
            x = block(x, memory)
        if self.moments > 1:
            parts = torch.arange(self.moments, device=x.device) if parts is None else parts
            begin, end = self.times
            x = begin(x[:, None].expand(-1, len(parts), -1, -1), parts)  # [batch, parts, tokens, width]
            x = self.within(x.flatten(0, 1), memory.repeat_interleave(len(parts), 0)).unflatten(0, x.shape[:2])
            x = end(x, parts).flatten(1, 2)
        return self.outward(x)


class Moment(nn.Module):
    """An MLP that knows the time: what each of the moments is called is added to it first."""

    def __init__(self, width: int, feedforward: int, moments: int) -> None:
        super().__init__()
        self.names = nn.Parameter(torch.randn(moments, 1, width))
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, feedforward), nn.GELU(), nn.Linear(feedforward, width))

    def forward(self, x: Tensor, parts: Tensor) -> Tensor:  # [batch, parts, tokens, width]
        return x + self.mlp(self.norm(x) + self.names[parts])


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

    def predict(self, hidden: Tensor, parts: Tensor | None = None) -> Tensor:
        memory = self.encoder(self.inward(hidden))  # [batch, count, width]
        return self.outward(self.decoder(self.queries.expand(len(hidden), -1, -1), memory))
