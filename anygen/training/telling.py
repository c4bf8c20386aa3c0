"""Telling: an input projector's tokens as the words that stand for a medium, in the language model's embeddings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.playground.arrange import upright
from anygen.playground.caption import caption
from anygen.playground.scene import Scene
from anygen.playground.slots import EITHER, NOTHING, Slot, scene_slots
from anygen.template import IGNORE, encode

_SHARPNESS = 20.0  # cosines to logits
ONE_OF = -1000  # less the number of what is in slots.EITHER: a token that is to be one of these


class Telling(nn.Module):
    """Measures how well projected tokens say captions, under the frozen embeddings `table` [vocabulary, width].

    The language model has learnt to answer when media are told in words, "[a cat, meadow]"; a projector whose tokens
    are those words lets it see with what it can do already. All tokens are said at once, so what is told is the one
    caption that the medium itself decides (`dialogue.told_of`); tokens behind it are full stops.
    """

    table: Tensor

    def __init__(self, tokenizer: Any, table: Tensor) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.rest = encode(tokenizer, ".")[-1]
        self.either = [[encode(tokenizer, f" {word}")[-1] for word in words] for words in EITHER]
        self.register_buffer("table", table.detach().float().clone(), persistent=False)

    def words(self, captions: Sequence[str], tokens: int, unasked: Sequence[str] = ()) -> Tensor:
        """Captions as what is to be said of them: token ids [captions, tokens].

        `unasked` names for each caption the words of it that count for nothing, IGNORE; an empty text for none.
        """
        rows = []
        for said, left_out in zip(captions, unasked or [""] * len(captions), strict=True):
            ids = encode(self.tokenizer, f"[{said}]")
            before, found, _ = f"[{said}]".partition(f" {left_out}") if left_out else ("", "", "")
            if found:
                first, last = (len(encode(self.tokenizer, text)) for text in (before, before + found))
                ids[first:last] = [IGNORE] * (last - first)
            rows.append((ids + [self.rest] * tokens)[:tokens])
        return torch.tensor(rows)

    def slots(self, rows: Sequence[Sequence[Slot]], tokens: int) -> Tensor:
        """Media in slots as what is to be said of them: token ids [media, tokens].

        Less than 0 is what is not asked: IGNORE, or where one of EITHER is to be said, ONE_OF less its number.
        """
        return torch.tensor([self._slots(row, tokens) for row in rows])

    def spoken(self, rows: Sequence[Sequence[Slot]], tokens: int) -> Tensor:
        """Slots as what is given in a medium's place: token ids [media, tokens], a full stop for what is not asked."""
        ids = self.slots(rows, tokens)
        return ids.where(ids >= 0, self.rest)

    def scenes(self, scenes: Sequence[Scene], tokens: int, slots: bool) -> Tensor:
        """What a picture of each of the scenes shows, in slots or else as its caption: token ids [scenes, tokens]."""
        if slots:
            return self.slots(list(map(scene_slots, scenes)), tokens)
        return self.words([caption(upright(scene)) for scene in scenes], tokens)

    def _slots(self, row: Sequence[Slot], tokens: int) -> list[int]:
        ids = encode(self.tokenizer, " [")[-1:]
        for slot in row:
            said = encode(self.tokenizer, f" {slot.said}") if slot.said != NOTHING else [self.rest]
            fitted = said[: slot.tokens - 1] + said[-1:] if len(said) >= slot.tokens else said
            fitted = fitted + fitted[-1:] * (slot.tokens - len(fitted))
            unasked = ONE_OF - EITHER.index(slot.either) if slot.either else IGNORE
            ids += fitted if slot.asked else [unasked] * slot.tokens
        return (ids + [self.rest] * tokens)[:tokens]

    def near(self, projected: Tensor) -> Tensor:
        """Cosines of projected tokens [n, tokens, width] to all embeddings: [n, tokens, vocabulary]."""
        return F.linear(F.normalize(projected.float(), dim=-1), F.normalize(self.table, dim=-1))

    def losses(self, projected: Tensor, wanted: Tensor, modality: str) -> dict[str, Tensor]:
        """Cross-entropy of each token [n, tokens], distance to its embedding; IGNORE in `wanted` counts for nothing.

        Where one of EITHER is to be said, their probabilities are added up, and the nearest one is near.
        """
        near, counts = self.near(projected), wanted != IGNORE
        likely = (_SHARPNESS * near).log_softmax(-1)
        unit = self.table.square().sum(-1).mean()
        single = wanted.clamp_min(0)
        unlikely = -likely.gather(-1, single[..., None])[..., 0]
        apart = (projected.float() - self.table[single]).square().sum(-1)
        said, right = near.argmax(-1), near.argmax(-1) == wanted
        for number, ids in enumerate(self.either):
            these = wanted == ONE_OF - number
            if bool(these.any()):
                unlikely = unlikely.masked_scatter(these, -likely[these][:, ids].logsumexp(-1))
                away = (projected[these].float()[:, None] - self.table[ids]).square().sum(-1)
                apart = apart.masked_scatter(these, away.amin(-1))
                right = right | (these & (said[..., None] == torch.tensor(ids, device=said.device)).any(-1))
        total = counts.sum().clamp_min(1)
        return {
            f"token_{modality}": (unlikely * counts).sum() / total,
            f"distance_{modality}": (apart * counts).sum() / unit / total,
            f"_right_{modality}": (right | ~counts).all(1).float().mean(),
        }
