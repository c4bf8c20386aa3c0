"""Stage 1 from cached features: input projectors alone, on what the frozen encoders make of the playground's media."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anygen.error import RequestError
from anygen.model import AnyGenModel
from anygen.projectors.bridging import gated
from anygen.projectors.input import ResamplerProjector, tells_slots
from anygen.training.loop import Batch
from anygen.training.sense import SENSES, Part, Sense
from anygen.training.telling import Telling


class Told(NamedTuple):
    """Encoder features [n, tokens, width] and the words that stand for each medium, as token ids [n, projected]."""

    features: Tensor
    ids: Tensor


def pooled(size: int, fresh: int, step: int) -> list[int]:
    """The numbers of the media that a pool holds after this step's new ones: the last `size`, each in its row."""
    last = size + step * fresh
    return [row + size * ((last - 1 - row) // size) for row in range(size)]


def chosen(projectors: Any, only: Sequence[str], does: str) -> tuple[str, ...]:
    """The media of these projectors, or `only` some of them; others are an error."""
    if missing := [modality for modality in only if modality not in projectors]:
        raise RequestError(f"only={missing[0]}: the model {does} {', '.join(projectors)}")
    return tuple(only) or tuple(projectors)


class FeaturesStage(nn.Module):
    """Trains the input projectors to say a medium's caption in the language model's own embeddings, token by token.

    The losses are those of `Telling`. Encoders fill a pool of `pool` media per modality once; then `fresh` new media
    take the places of the oldest in every step (fewer of those that cost more to encode), so that each is seen a few
    times and none is learnt by heart. With `only` the projectors of these media alone are there and learn. With `slots`
    what is told has a place for every word (`anygen.playground.slots`), and is no caption; projectors that have told
    slots before go on with them. A share `hidden` of every medium's features is zero in training, another one whenever
    it comes: one cannot be known by heart by a few of them.
    """

    short = True

    def __init__(
        self,
        name: str,
        model: AnyGenModel,
        *,
        pool: int,
        fresh: int = 16,
        only: Sequence[str] = (),
        slots: bool = False,
        hidden: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= hidden < 1:
            raise RequestError(f"hidden={hidden:g} is a share of the features: 0 or more, and less than 1")
        if fresh > pool:
            raise RequestError(f"a pool of {pool} media cannot take {fresh} new ones in every step")
        if other := gated(model.input_projectors):
            raise RequestError(f"what is seen by the LLM's blocks tells no captions ({', '.join(other)}): use pool=0")
        self.name, self.model, self.pool_size, self.fresh, self.hidden = name, model, pool, fresh, hidden
        media = chosen(model.input_projectors, only, "reads")
        self.senses = {modality: SENSES[modality](model, False) for modality in media}
        self.telling = Telling(model.tokenizer, model.llm.get_input_embeddings().weight)
        self.pool: dict[str, Told] = {}
        model.requires_grad_(False)
        for modality in media:
            projector = model.input_projectors[modality].requires_grad_(True)
            if slots and isinstance(projector, ResamplerProjector) and self.senses[modality].slotted:
                projector.config = replace(projector.config, slots=True)  # who goes on from here is to know

    def to(self, *args: Any, **kwargs: Any) -> "FeaturesStage":
        super().to(*args, **kwargs)
        for sense in self.senses.values():
            sense.to(self.model.device)
        return self

    def train(self, mode: bool = True) -> "FeaturesStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.model.encoders.eval()
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        """The step, and where in the pool the batch lies: numbers in 0..1 for each modality."""
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return {"step": torch.tensor(step)} | {modality: torch.rand(size, generator=rng) for modality in self.senses}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        self.renew(int(batch["step"]))
        losses: dict[str, Tensor] = {}
        for modality, pool in self.pool.items():
            rows = (batch[modality] * len(pool.ids)).long()
            features = pool.features[rows].float()  # [n, length, width]
            if self.hidden:
                seen = torch.rand(features.shape[:2], generator=rng, device=features.device) >= self.hidden
                features = features * seen[..., None]
            projected = self.model.project(modality, features)  # [n, tokens, width]
            losses |= self.telling.losses(projected, pool.ids[rows], modality)
        return losses

    def renew(self, step: int) -> None:
        """Puts the step's new media into the pool, or fills it with those that it holds at this step."""
        for modality, sense in self.senses.items():
            fresh = self.fresh and max(1, self.fresh // sense.cost)
            last = self.pool_size + step * fresh
            if modality not in self.pool:
                self.pool[modality] = self.told(modality, "train", pooled(self.pool_size, fresh, step))
            elif fresh:
                new = self.told(modality, "train", range(last - fresh, last))
                rows = torch.arange(last - fresh, last, device=self.model.device) % self.pool_size
                pool = self.pool[modality]
                pool.features[rows], pool.ids[rows] = new.features, new.ids

    @torch.no_grad()
    def told(self, modality: str, split: str, numbers: Sequence[int]) -> Told:
        """Features and words of random media by their numbers, the same in every run."""
        sense, device = self.senses[modality], self.model.device
        tokens = self.model.input_projectors[modality].tokens
        features, rows = [], []
        for start in range(0, len(numbers), 32):
            parts = [self._part(sense, split, number) for number in numbers[start : start + 32]]
            shown = {key: value.to(device) for key, value in sense.shown(parts).items()}
            features.append(self.model.encoders[modality](sense.features_of(shown)).bfloat16())
            rows.append(self._words(sense, parts, tokens).to(device))
        return Told(torch.cat(features), torch.cat(rows))

    def _words(self, sense: Sense, parts: list[Part], tokens: int) -> Tensor:
        """What the projector shall say of these media: token ids [media, tokens]."""
        if sense.slotted and tells_slots(self.model.input_projectors, sense.modality):
            return self.telling.slots(list(map(sense.slots, parts)), tokens)
        return self.telling.words(list(map(sense.told, parts)), tokens, list(map(sense.unasked, parts)))

    def _part(self, sense: Sense, split: str, number: int) -> Part:
        stream = random.Random(f"features {split} {number}")
        part = sense.sample(stream, split)
        return sense.varied(part, stream) if split == "train" else part

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out media whose every token is nearest to the embedding of the right word."""
        figures, lines = {}, []
        for modality in self.senses:
            held = self.told(modality, "heldout", range(256))
            said = self.telling.near(self.model.project(modality, held.features.float())).argmax(-1)
            right = ((said == held.ids) | (held.ids < 0)).all(1).tolist()
            figures[f"told_{modality}"] = round(sum(right) / len(right), 3)
            for one, two, ok in zip(held.ids.tolist(), said.tolist(), right, strict=True):
                words, told = (self.model.tokenizer.decode([max(0, i) for i in ids]) for ids in (one, two))
                lines.append(f"{'ok ' if ok else 'BAD'} {words} -> {told}\n")
        (folder / f"{step:07d}.txt").write_text("".join(lines))
        return figures
