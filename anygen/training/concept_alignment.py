"""Second of an own concept's phases: dialogues in which it takes part, with the generators' new conditions."""

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.model import AnyGenModel
from anygen.playground.chat import Chat
from anygen.playground.compositor import Compositor
from anygen.playground.concept import Concept, events_of, own_chat, own_parts, own_tasks, sprites_of, with_rival
from anygen.playground.dialogue import in_words
from anygen.playground.mixer import Mixer
from anygen.playground.reading import plain
from anygen.playground.slips import slipped
from anygen.projectors.input import ResamplerProjector
from anygen.training.alignment import STAGE_3, AlignmentStage, answer
from anygen.training.loop import Batch
from anygen.training.sense import Hearing, Part, Sight
from anygen.training.telling import Telling

ASKED = ("draw", "caption", "vqa", "pope")
"""What is asked of the concept in samples."""

_RIVALS = 0.1  # share of the chats without the concept in which one of its rivals stands
_TELLING = 0.3  # weight of telling; only directions count: after stage 3 the tokens are longer than embeddings


class OwnSight(Sight):
    """Pictures with own things in them."""

    def __init__(self, model: AnyGenModel, draws: bool, concepts: Sequence[Concept]) -> None:
        self.extra = sprites_of(concepts)
        super().__init__(model, draws)

    def to(self, device: torch.device) -> None:
        self.compositor = Compositor(self.side, device, extra=self.extra)
        self.painter = Compositor(self.canvas, device, extra=self.extra)


class OwnHearing(Hearing):
    """Sounds with own things among them."""

    def __init__(self, model: AnyGenModel, draws: bool, concepts: Sequence[Concept]) -> None:
        self.extra = events_of(concepts)
        super().__init__(model, draws)
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        self.mixer = Mixer(device, extra=self.extra)


class ConceptStage(AlignmentStage):
    """Stage 3 on dialogues of which a share `own` has to do with the first of `concepts`; the rest is as it was.

    Concepts that the model has learnt before share in the rest. Beside that the input projectors tell `told` pictures
    (and where it has sounds, clips) with the concept in the language model's own words, as in stage 1, and of as many
    others what they told before (both only where the projector's tokens stand for words, as a resampler's do). Those of
    media in which the concept never is stay as they are.
    """

    def __init__(
        self,
        model: AnyGenModel,
        concepts: Sequence[Concept],
        *,
        rank: int = 16,
        own: float = 0.5,
        told: int = 8,
        length: int = 160,
    ) -> None:
        learns = {"input", "output", "signals", "lora"}
        super().__init__("alignment", model, STAGE_3, learns, length=length, rank=rank, words=0.1)
        self.concept, self.earlier, self.own = concepts[0], tuple(concepts[1:]), own
        self.own_mixtures = [own_tasks(concept, self.mixture) for concept in concepts]
        kinds: dict[str, Any] = {"image": OwnSight, "audio": OwnHearing}
        self.senses |= {m: kind(model, m in model.writes, concepts) for m, kind in kinds.items() if m in self.senses}
        self.count = told
        self.before: dict[str, Any] = {}
        shown = ("image", "audio") if self.concept.sounds else ("image",)
        for modality, projector in model.input_projectors.items():
            if modality not in shown:  # the concept is never seen there
                projector.requires_grad_(False)
        if told:
            telling = [m for m in shown if isinstance(model.input_projectors[m], ResamplerProjector)]
            # in a dictionary, not as submodules: they are no part of what is trained or saved
            self.before = {m: deepcopy(model.input_projectors[m]).requires_grad_(False) for m in telling}
        self.telling = Telling(model.tokenizer, model.llm.get_input_embeddings().weight)

    def to(self, *args: Any, **kwargs: Any) -> "ConceptStage":
        super().to(*args, **kwargs)
        for projector in self.before.values():
            projector.to(self.model.device)
        return self

    def chat(self, stream: random.Random, split: str = "train") -> Chat:
        """A chat with the concept, with an earlier one, or of the playground as it is."""
        if stream.random() < self.own:
            return self.own_chat(stream, 0, split)
        if self.earlier and stream.random() < 0.3:
            return self.own_chat(stream, stream.randrange(len(self.earlier)) + 1, split)
        return with_rival(self.concept, stream, super().chat(stream, split), _RIVALS if split == "train" else 0.0)

    def own_chat(self, stream: random.Random, number: int, split: str) -> Chat:
        """A chat with the concept of this number."""
        concept, mixture = (self.concept, *self.earlier)[number], self.own_mixtures[number]
        task = stream.choices(list(mixture), list(mixture.values()))[0]
        chat = own_chat(concept, stream, task, split)
        if split == "train":
            chat = careless(chat, concept, stream, self.slips)
        return in_words(chat) if stream.random() < self.words else chat

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        batch = super().prepare(step, size, seed)
        stream = random.Random(f"{seed}|{step}|telling")
        for modality in self.before:
            sense, own = self.senses[modality], list[Part]()
            while len(own) < self.count:
                part = sense.sample(stream)
                own += own_parts(self.concept, stream, [part.get("scene") or part["clip"]]) or []
            parts = own + [sense.sample(stream) for _ in range(self.count)]
            before = self.before[modality]
            words = (
                self.telling.slots([part["slots"] for part in own], before.tokens)
                if before.config.slots
                else self.telling.words([part["told"] for part in own], before.tokens)
            )
            batch |= {f"telling/{modality}/{key}": value for key, value in sense.shown(parts).items()}
            batch[f"words/{modality}"] = words
        return batch

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        losses = super().forward(batch, rng)
        for modality, before in self.before.items():
            prefix = f"telling/{modality}/"
            shown = {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}
            with torch.no_grad():
                features = self.model.encoders[modality](self.senses[modality].features_of(shown)).float()
                kept = before(features[self.count :])
            projected = self.model.project(modality, features)
            said = self.telling.losses(projected[: self.count], batch[f"words/{modality}"], modality)
            losses[f"token_{modality}"] = _TELLING * said[f"token_{modality}"]
            losses[f"_right_{modality}"] = said[f"_right_{modality}"]
            apart = F.mse_loss(projected[self.count :].float(), kept.float())
            losses[f"keep_{modality}"] = apart / kept.float().square().mean()
        return losses

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Greedy answers to held-out chats with the concept: whether they say word for word what is right."""
        stream, right, lines = random.Random("answers"), dict[str, list[bool]](), list[str]()
        for task in ASKED * 12:
            chat = own_chat(self.concept, stream, task, "heldout")
            said = answer(self.model, chat, self.senses)
            wanted = " ".join(part["text"] for part in chat.messages[1]["content"] if part["type"] == "text")
            right.setdefault(task, []).append(plain(said) in map(plain, (wanted, *chat.facts.get("accept", ()))))
            asked = [part.get("text") or f"<{part['told']}>" for part in chat.messages[0]["content"]]
            lines.append(f"{'ok ' if right[task][-1] else 'BAD'} {task}: {' '.join(asked)} -> {said}\n")
        (folder / f"{step:07d}.txt").write_text("".join(sorted(lines)))
        return {f"own_{task}": round(sum(marks) / len(marks), 3) for task, marks in right.items()}


def careless(chat: Chat, concept: Concept, stream: random.Random, share: float) -> Chat:
    """The chat with slips in what users say, but none between an owner and what is owned, and now and then no capitals.

    Without its "my" a robot is another one.
    """
    owner = concept.noun.owner
    small = concept.name != concept.name.lower() and stream.random() < 0.3

    def said(text: str, tied: bool) -> str:
        if tied and small:
            text = text.lower()
        for form in dict.fromkeys((owner, owner.lower(), owner.capitalize())) if owner else ():
            text = text.replace(f"{form} ", f"{form}_") if tied else text.replace(f"{form}_", f"{form} ")
        return text

    chat = _users(chat, lambda text: said(text, True))
    return _users(slipped(chat, stream, share), lambda text: said(text, False))


def _users(chat: Chat, change: Any) -> Chat:
    """The chat with all that users say changed."""
    messages = [
        message
        | {"content": [p | {"text": change(p["text"])} if p["type"] == "text" else p for p in message["content"]]}
        if message["role"] == "user"
        else message
        for message in chat.messages
    ]
    return replace(chat, messages=tuple(messages))
