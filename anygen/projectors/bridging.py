"""Feature-level bridging: the LLM's own blocks see a medium's features, through gated cross-attention (Flamingo).

The way in is otherwise token by token: what a projector makes of a medium stands in the prompt. Here one token stands
for the medium, and before the blocks of the LLM others look from the text to its features (arXiv 2204.14198, 3.1.2).
Their gates begin closed: what has learnt nothing yet changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anygen.blocks import Attention, divides, positive
from anygen.error import ModelError

NOWHERE = 1 << 40  # a place that no token reaches


@dataclass(frozen=True, kw_only=True, slots=True)
class GatedConfig:
    """Sizes. `layers` are the blocks of the LLM; before the first of every `every` of them is one that looks."""

    tokens_in: int
    width_in: int
    width_out: int
    layers: int
    heads: int
    every: int = 1

    def __post_init__(self) -> None:
        positive(self, "tokens_in", "width_in", "width_out", "layers", "heads", "every")
        divides(self, "heads", "width_out")


class Sight(NamedTuple):
    """What a pass may look at: features [batch, media, tokens, width], and which of a row's media each of its tokens
    sees: [batch, length], the last one before it, -1 for none."""

    features: Tensor
    latest: Tensor


class Held(NamedTuple):
    """Features [batch, media, tokens, width] of each row's media, and the places [batch, media] of their tokens."""

    features: Tensor
    places: Tensor

    def sight(self, positions: Tensor) -> Sight:
        """What the tokens at these positions [batch, length] see."""
        return Sight(self.features, (self.places.unsqueeze(1) <= positions.unsqueeze(2)).sum(-1) - 1)


class GatedBlock(nn.Module):
    """Cross-attention and an MLP, each behind a gate that begins closed; text before the first medium is left alone."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, sight: Sight) -> Tensor:  # [batch, length, width]
        count, tokens = sight.features.shape[1:3]
        sees = sight.latest.unsqueeze(-1) == torch.arange(count, device=x.device)  # [batch, length, media]
        any_ = sees.any(-1, keepdim=True)
        mask = (sees | ~any_).repeat_interleave(tokens, -1).unsqueeze(1)  # who sees none looks anywhere, for nothing
        opened = self.gates.tanh()
        x = x + any_ * opened[0] * self.attend(self.norm(x), sight.features.flatten(1, 2), mask)
        return x + any_ * opened[1] * self.mlp(self.norm_mlp(x))


class GatedProjector(nn.Module):
    """A medium's token and, behind it, the features that blocks look at: [batch, 1 + tokens_in, width_out]."""

    config_type = GatedConfig

    def __init__(self, config: GatedConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = 1
        self.stand = nn.Parameter(torch.randn(1, config.width_out) * 0.02)
        self.inward = nn.Linear(config.width_in, config.width_out)
        self.place = nn.Parameter(torch.randn(config.tokens_in, config.width_out) * 0.02)
        self.norm = nn.LayerNorm(config.width_out)
        self.blocks = nn.ModuleDict(
            {str(n): GatedBlock(config.width_out, config.heads) for n in range(0, config.layers, config.every)}
        )

    def forward(self, features: Tensor) -> Tensor:
        stand = self.stand.expand(len(features), -1, -1)
        return torch.cat([stand, self.norm(self.inward(features) + self.place)], dim=1)

    def look(self, number: int, hidden: Tensor, sight: Sight) -> Tensor:
        """The LLM's states [batch, length, width] before its block of this number, once they have seen."""
        name = str(number)
        if name not in self.blocks:
            return hidden
        weight = self.stand.dtype
        return self.blocks[name](hidden.to(weight), Sight(sight.features.to(weight), sight.latest)).to(hidden)


_SIGHTS: ContextVar[Mapping[str, Sight] | None] = ContextVar("sights", default=None)


@contextmanager
def seeing(sights: Mapping[str, Sight]) -> Iterator[None]:
    """What the LLM's blocks see of each modality, inside."""
    before = _SIGHTS.set(sights or None)
    try:
        yield
    finally:
        _SIGHTS.reset(before)


def gated(projectors: Any) -> dict[str, GatedProjector]:
    """Those of a model's input projectors whose features the blocks see, by modality."""
    return {modality: p for modality, p in projectors.items() if isinstance(p, GatedProjector)}


def attach(llm: Any, projectors: Any) -> None:
    """Have the blocks of the LLM look, wherever a projector (by modality) is of this kind."""
    found = gated(projectors)
    if not found:
        return
    blocks = llm.get_decoder().layers
    for modality, projector in found.items():
        if projector.config.layers != len(blocks):
            raise ModelError(
                f"input projector {modality} looks from {projector.config.layers} blocks, the LLM has {len(blocks)}"
            )
    for number, block in enumerate(blocks):
        block.register_forward_pre_hook(partial(_look, projectors, number), with_kwargs=True)


def _look(projectors: Any, number: int, block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    sights = _SIGHTS.get()
    if sights is None:
        return None
    hidden = args[0] if args else kwargs["hidden_states"]
    for modality, sight in sights.items():
        hidden = projectors[modality].look(number, hidden, sight)
    return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})


def shown(projector: Any, given: Tensor) -> Tensor:
    """Of what a projector makes of media [n, tokens, width], that which stands in the prompt."""
    return given[:, : projector.tokens] if isinstance(projector, GatedProjector) else given


def held(
    projectors: Any, ids: Tensor, positions: Tensor, projected: Mapping[str, Tensor], spans: Mapping[str, Any]
) -> dict[str, Held]:
    """The features of a batch [batch, length] of tokens at `positions`; `projected` in the order of their places."""
    found = {}
    for modality in gated(projectors):
        if modality not in projected:
            continue
        features = projected[modality][:, 1:]
        there = ids == spans[modality].placeholder
        rows, columns = there.nonzero(as_tuple=True)
        order = (there.cumsum(-1) - 1)[rows, columns]  # which of its row's media each is
        most = max(1, int(there.sum(-1).max()))
        whole = features.new_zeros(len(ids), most, *features.shape[1:])
        places = positions.new_full((len(ids), most), NOWHERE)
        found[modality] = Held(
            whole.index_put((rows, order), features), places.index_put((rows, order), positions[rows, columns])
        )
    return found


def stacked(rows: Sequence[Mapping[str, tuple[Sequence[int], Tensor]]], device: torch.device) -> dict[str, Held]:
    """The same from each row's places and features [media, tokens, width], rows of fewer media filled up."""
    found = {}
    for modality in dict.fromkeys(modality for row in rows for modality in row):
        some = [row.get(modality) for row in rows]
        features = next(given[1] for given in some if given is not None)
        most = max(len(given[0]) for given in some if given is not None)
        whole = features.new_zeros(len(rows), most, *features.shape[1:])
        places = torch.full((len(rows), most), NOWHERE, device=device)
        for index, given in enumerate(some):
            if given is not None:
                whole[index, : len(given[0])] = given[1]
                places[index, : len(given[0])] = torch.tensor(given[0], device=device)
        found[modality] = Held(whole, places)
    return found
