"""Stage 2 from cached states: output projectors alone, on what the frozen language model leaves at its signals."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anygen.model import AnyGenModel, condition_loss
from anygen.playground.dialogue import in_words, sample_chat
from anygen.projectors.input import tells_slots
from anygen.projectors.output import EYES
from anygen.template import Rendered
from anygen.training.alignment import mixture_for, padding_weights
from anygen.training.features import chosen
from anygen.training.loop import Batch
from anygen.training.packing import pack
from anygen.training.sense import SENSES
from anygen.training.sighting import seen_anew, sources, told_beside, told_to
from anygen.training.telling import Telling

ASKED = 4
"""Moments of a condition that has several which a batch is asked for."""

_LOOKS = 16  # chats of a task that are looked at for what its answers hold


class States(NamedTuple):
    """Answers' hidden states [n, signals, width], their conditions [n, length, width] and weights [n, length]."""

    hidden: Tensor
    conditions: Tensor
    weights: Tensor
    captions: list[str]
    seen: Tensor | None = None  # features of the media that are edited [n, tokens, width], of which some are none:
    edits: Tensor | None = None  # [n]
    parts: tuple[dict[str, Any], ...] = ()  # what was asked for

    def of(self, rows: Tensor) -> "States":
        """These rows."""
        numbers = rows.tolist()
        tensors = {k: v[rows] for k, v in self._asdict().items() if isinstance(v, Tensor)}
        return self._replace(
            **tensors, captions=[self.captions[i] for i in numbers], parts=tuple(self.parts[i] for i in numbers)
        )

    def at(self, projector: Any, moments: Tensor | None) -> "States":
        """The same with these moments of the conditions; None: all."""
        weights = projector.part(self.weights[:, :, None], moments)[..., 0]
        return self._replace(conditions=projector.part(self.conditions, moments), weights=weights)

    def sights(self) -> list[Tensor | None] | None:
        """What is seen of the media behind these answers."""
        if self.seen is None or self.edits is None:
            return None
        return [one.float() if edits else None for one, edits in zip(self.seen, self.edits.tolist(), strict=True)]


class StatesStage(nn.Module):
    """Trains the output projectors on a pool of `pool` media of training answers; media that are given are in words.

    Nothing before the projectors changes, so the language model and the text encoders run once over the pool and never
    again: a step costs the projectors alone. The signal tokens' embeddings stay as the language model learnt them. With
    `spoken` media that a projector tells in slots are given in these, which a language model reads after stage 3. With
    `only` the projectors of these media alone learn, from the tasks in whose answers they are. A sighted projector's
    media are given as they are, and it sees those that are edited: in every batch others (`sighting.seen_anew`), so
    that a small pool of requests teaches where things are in endless pictures.
    """

    short = True

    def __init__(
        self,
        name: str,
        model: AnyGenModel,
        mixture: Mapping[str, float],
        *,
        pool: int,
        length: int = 192,
        only: Sequence[str] = (),
        spoken: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.model, self.pool_size, self.length = name, model, pool, length
        self.mixture = mixture_for(mixture, {*model.reads, *model.writes})
        self.media = chosen(model.output_projectors, only, "writes")
        if only:
            self.mixture = {task: weight for task, weight in self.mixture.items() if self._answers(task)}
        self.pool: dict[str, States] = {}
        self.sighted = [modality for modality in self.media if model.output_projectors[modality].sighted]
        slotted = [m for m in model.reads if SENSES[m].slotted and tells_slots(model.input_projectors, m)]
        self.shown = sorted({EYES[modality] for modality in self.sighted})  # media that are given as they are
        self.spoken = [m for m in slotted if spoken and m not in self.shown]
        self.senses = {modality: SENSES[modality](model, False) for modality in (*self.shown, *self.spoken)}
        self.telling = Telling(model.tokenizer, model.llm.get_input_embeddings().weight)
        model.requires_grad_(False)
        for modality in self.media:
            model.output_projectors[modality].requires_grad_(True)

    def _answers(self, task: str) -> bool:
        """Whether the task's answers hold one of the media; of those that hold it now and then, a few are looked at."""
        stream = random.Random(f"answers {task}")
        chats = [sample_chat(stream, task, "train") for _ in range(_LOOKS)]
        return any(
            part["type"] in self.media
            for chat in chats
            for message in chat.messages
            if message["role"] == "assistant"
            for part in message["content"]
        )

    def to(self, *args: Any, **kwargs: Any) -> "StatesStage":
        super().to(*args, **kwargs)
        for modality in self.media:
            self.model.generator(modality).to(self.model.device)
        for sense in self.senses.values():
            sense.to(self.model.device)
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        """Where in the pool the batch lies: numbers in 0..1 for each modality; and at which moments it is asked."""
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = {modality: torch.rand(size, generator=rng) for modality in self.media}
        counts = {modality: self.model.output_projectors[modality].moments for modality in self.media}
        turns = {f"{m}/turns": torch.randint(2**31, (size,), generator=rng) for m in self.sighted}
        asked = {f"{m}/parts": torch.randperm(n, generator=rng)[:ASKED] for m, n in counts.items() if n > 1}
        return rows | turns | asked

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        self.pool = self.pool or self.states("train", self.pool_size)
        losses = {}
        for modality, pool in self.pool.items():
            projector, parts = self.model.output_projectors[modality], batch.get(f"{modality}/parts")
            asked = pool.of(self._rows(modality, pool, batch[modality])).at(projector, parts)
            if modality in self.sighted:
                asked = self._seen_anew(modality, asked, batch[f"{modality}/turns"].tolist(), parts)
            predicted = self.model.predict_condition(modality, asked.hidden.float(), parts, asked.sights())
            losses[f"condition_{modality}"] = condition_loss(
                predicted.float(),
                asked.conditions.float(),
                projector.part(projector.condition_std, parts),
                asked.weights,
            )
        return losses

    def _rows(self, modality: str, pool: States, shares: Tensor) -> Tensor:
        """Rows of the pool at these shares of it [n]. Where a projector of films sees, every other one begins with a
        picture, as long as there are such: where things are takes longer to learn than what is asked."""
        rows = (shares * len(pool.hidden)).long()
        if modality in self.sighted and modality == "video":
            begun = torch.tensor([row for row, part in enumerate(pool.parts) if "source" in part], dtype=torch.long)
            rows[::2] = begun[(shares[::2] * len(begun)).long()] if len(begun) else rows[::2]
        return rows

    @torch.no_grad()
    def _seen_anew(self, modality: str, asked: States, turns: list[int], moments: Tensor | None = None) -> States:
        """The same requests, at these moments of their conditions, beside other pictures."""
        generator = self.model.generator(modality)
        pairs = [
            seen_anew(generator, part, told, random.Random(turn))
            for part, told, turn in zip(asked.parts, asked.captions, turns, strict=True)
        ]
        texts = [text for _, text in pairs]
        other = [row for row, text in enumerate(texts) if text != asked.captions[row]]
        if other:
            told = self._told(modality, asked.hidden, [texts[row] for row in other], moments)
            kept = {name: getattr(asked, name).clone() for name in ("conditions", "weights")}
            for name, values in kept.items():
                values[other] = told[name]
            asked = asked._replace(**kept, captions=texts)
        return self._behind(modality, asked, [source for source, _ in pairs])

    @torch.no_grad()
    def states(self, split: str, count: int) -> dict[str, States]:
        """States of at least `count` media of random answers, the same in every run."""
        stream = random.Random(f"states {split}")
        device, vocabulary = self.model.device, self.model.vocabulary
        found: dict[str, list[States]] = {modality: [] for modality in self.media}
        while sum(len(part.captions) for parts in found.values() for part in parts) < count:
            chats: list[Rendered] = []
            while sum(len(chat.ids) for chat in chats) < 16 * self.length:
                task = stream.choices(list(self.mixture), list(self.mixture.values()))[0]
                chat = in_words(sample_chat(stream, task, split), [*self.shown, *self.spoken])
                chats.append(self.model.render(chat.messages))
            batch, given, made = pack(chats, 16, self.length, vocabulary.pad)
            ids = batch["ids"].to(device)
            shown = {m: [part for part in given if part["type"] == m] for m in self.shown}
            media = {m: self.model.project(m, self._features(m, parts)) for m, parts in shown.items() if parts}
            said = {m: [part for part in given if part["type"] == m] for m in self.spoken}
            media |= {m: self._spoken(m, parts) for m, parts in said.items() if parts}
            embedded = self.model.embed(ids, media)
            out = self.model.llm(inputs_embeds=embedded, use_cache=False, output_hidden_states=True, logits_to_keep=1)
            for modality in self.media:
                if parts := [part for part in made if part["type"] == modality]:
                    hidden = self.model.span_states(modality, ids, out.hidden_states[-1])
                    found[modality].append(self._states(modality, hidden, parts, stream, split))
        return {modality: _together(parts) for modality, parts in found.items() if parts}

    def _spoken(self, modality: str, parts: list[dict[str, Any]]) -> Tensor:
        """The words that media are to be told in, as embeddings [n, tokens, width]."""
        rows = list(map(self.senses[modality].slots, parts))
        return self.telling.table[self.telling.spoken(rows, self.model.input_projectors[modality].tokens)]

    def _features(self, modality: str, parts: list[dict[str, Any]]) -> Tensor:
        """Encoder features of media of the playground [n, tokens, width]."""
        sense = self.senses[modality]
        shown = {key: value.to(self.model.device) for key, value in sense.shown(parts).items()}
        return self.model.encoders[modality](sense.features_of(shown)).float()

    def _states(
        self, modality: str, hidden: Tensor, parts: list[dict[str, Any]], stream: random.Random, split: str
    ) -> States:
        generator, sighted = self.model.generator(modality), modality in self.sighted
        shown = sighted and split == "heldout"
        behind = sources(parts, stream) if shown else [None] * len(parts)
        captions = told_beside(generator, parts, behind) if sighted else [told_to(generator, part) for part in parts]
        states = States(hidden.bfloat16(), parts=tuple(parts), **self._told(modality, hidden, captions))
        return self._behind(modality, states, behind) if shown else states

    def _told(
        self, modality: str, hidden: Tensor, captions: list[str], moments: Tensor | None = None
    ) -> dict[str, Any]:
        """What these captions tell the generator, or of storyboards these moments, as fields of the states."""
        generator = self.model.generator(modality)
        coded = {key: value.to(hidden.device) for key, value in generator.coded(captions).items()}
        if moments is not None:
            coded = {key: value[:, moments] for key, value in coded.items()}
        told = generator.tell(**coded)  # [n, length, width]
        weights = padding_weights(coded["attention_mask"])
        if weights.shape[1] != told.shape[1]:
            weights = weights.new_ones(told.shape[:2])
        return {"conditions": told.bfloat16(), "weights": weights, "captions": captions}

    def _behind(self, modality: str, states: States, behind: list[Any]) -> States:
        """The states with the features of the scenes behind them."""
        encoder, device, sees = self.model.eye(modality), states.hidden.device, EYES[modality]
        seen = torch.zeros(len(behind), encoder.tokens, encoder.width, dtype=torch.bfloat16, device=device)
        edits = torch.tensor([source is not None for source in behind], device=device)
        if scenes := [{"type": sees, "scene": source} for source in behind if source is not None]:
            seen[edits] = self._features(sees, scenes).bfloat16()
        return states._replace(seen=seen, edits=edits)

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Of held-out answers, how many of the predicted conditions are nearest to that of their own caption."""
        figures, lines = {}, []
        for modality, held in self.states("heldout", 240).items():
            predicted = self.model.predict_condition(modality, held.hidden.float(), seen=held.sights()).float()
            weight = held.weights[:, :, None]
            right = []
            for row, caption in enumerate(held.captions):
                apart = ((predicted[row] - held.conditions.float()).square() * weight).sum((1, 2)) / weight.sum((1, 2))
                nearest = held.captions[int(apart.argmin())]
                right.append(nearest == caption)
                lines.append(f"{'ok ' if right[-1] else 'BAD'} {caption} -> {nearest}\n")
            figures[f"nearest_{modality}"] = round(sum(right) / len(right), 3)
        (folder / f"{step:07d}.txt").write_text("".join(lines))
        return figures


def _together(states: list[States]) -> States:
    """Several states as one."""
    fields = [name for name, value in states[0]._asdict().items() if isinstance(value, Tensor)]
    tensors = {name: torch.cat([getattr(one, name) for one in states]) for name in fields}
    captions = [caption for one in states for caption in one.captions]
    return states[0]._replace(**tensors, captions=captions, parts=tuple(part for one in states for part in one.parts))
