"""A user's own data set as the data of an alignment stage: chats from a folder, features from the cache."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygen.error import AnyGenError, DataError
from anygen.media import MEDIA, Image, sounds
from anygen.model import AnyGenModel
from anygen.template import IGNORE, Rendered
from anygen.training.cache import FeatureCache, fingerprint, key_of
from anygen.training.data import Example, read_chats
from anygen.training.loop import Batch
from anygen.training.order import epoch_order
from anygen.training.shards import content, medium, named


class FolderChats:
    """The chats of a data set (see `anygen.training.data`), one per row of a batch, each once per epoch.

    `train` is what the stage trains: "input" alone takes the chats in which the user shows something, "output" without
    "input" those in which the assistant does, both together take all.
    The target of a medium of the assistant is the generator's own condition of its caption: the part's "caption", or
    else the text right before it. Encoder features and conditions are computed here, once, into `cache`.
    With `pictures`, batches hold the assistant's pictures too, for the generator's own loss.
    """

    def __init__(
        self, source: str | Path, model: AnyGenModel, train: set[str], cache: FeatureCache, pictures: bool = False
    ) -> None:
        self.source, self.model, self.cache, self.pictures = Path(source), model, cache, pictures
        self.draws = "output" in train
        self.chats: list[Rendered] = []
        self.examples: list[Example] = []
        for example in read_chats(source):
            self._add(_heard(example) if "audio" in model.reads else example, train)
        if not self.chats:
            needed = "shows a medium to the assistant" if not self.draws else "has a medium in its answer"
            raise DataError(f"no chat of {source} {needed}: this stage has nothing to learn there")
        files: dict[str, list[int]] = {}  # the file, or the shards, that chats are in
        for place, example in enumerate(self.examples):
            files.setdefault(example.where.rpartition(":")[0], []).append(place)
        self.shards = list(files.values())
        self._order: tuple[tuple[int, int, int], list[int]] = ((-1, -1, -1), [])  # that of one epoch
        self.canvas = model.generator("image").prepare if pictures else None
        self._features: dict[tuple[str, str], str] = {}  # by modality and path
        self._conditions: dict[tuple[str, str], str] = {}  # by modality and caption
        for modality in model.reads:
            self._encode(modality)
        for modality in model.writes if self.draws else ():
            self._condition(modality)

    def __len__(self) -> int:
        return len(self.chats)

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        """The batch of a step, a function of the arguments alone: `ids` and `labels` [size, length], and per modality
        `features_<modality>` [n, tokens, width] and `conditions_<modality>` [k, length, width] in the order of places.
        """
        chosen = [self.chats[self._place(step * size + i, seed, size)] for i in range(size)]
        length = max(len(chat.ids) for chat in chosen)
        batch = {
            "ids": torch.tensor([chat.ids + [self.model.vocabulary.pad] * (length - len(chat.ids)) for chat in chosen]),
            "labels": torch.tensor([chat.labels + [IGNORE] * (length - len(chat.labels)) for chat in chosen]),
        }
        inputs = [part for chat in chosen for part in chat.inputs]
        outputs = [part for chat in chosen for part in chat.outputs]
        for modality in MEDIA:
            if shown := [self._features[modality, part["path"]] for part in inputs if part["type"] == modality]:
                batch[f"features_{modality}"] = self.cache.read(shown)
            made = [part for part in outputs if part["type"] == modality]
            if made and self.draws:
                keys = [self._conditions[modality, part["caption"]] for part in made]
                batch[f"conditions_{modality}"] = self.cache.read(keys)
            if made and modality == "image" and self.canvas:
                batch["drawn"] = torch.stack([self._drawn(part["path"]) for part in made])
        return batch

    def questions(self, count: int) -> list[tuple[Rendered, dict[str, Tensor], str]]:
        """The first turns of `count` chats, as they are asked, with their features, and what the data set answers."""
        found = []
        for example in self.examples[:count]:
            turns = example.messages[: 2 + (example.messages[0]["role"] == "system")]
            asked = self.model.render(turns[:-1], answer=True)
            features = {
                modality: self.cache.read([self._features[modality, part["path"]] for part in parts])
                for modality in MEDIA
                if (parts := [part for part in asked.inputs if part["type"] == modality])
            }
            said = [part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in turns[-1]["content"]]
            found.append((asked, features, " ".join(said)))
        return found

    def _place(self, number: int, seed: int, size: int = 1) -> int:
        """Which chat is number `number` of an endless reading that shuffles every epoch."""
        epoch, place = divmod(number, len(self.chats))
        which = (epoch, seed, size)
        if self._order[0] != which:
            self._order = (which, epoch_order(self.shards, size, epoch, seed))
        return self._order[1][place]

    def _add(self, example: Example, train: set[str]) -> None:
        messages = [dict(message) for message in example.messages]
        for message in messages:
            if message["role"] == "assistant" and self.draws:
                message["content"] = _captioned(message["content"], example.where)
        try:
            chat = self.model.render(messages)
        except AnyGenError as error:
            raise DataError(f"{example.where}: {error}") from error
        if missing := {part["type"] for part in chat.outputs if part["type"] not in self.model.writes}:
            writes = ", ".join(("text", *self.model.writes))
            raise DataError(f"{example.where}: no generator for {sorted(missing)[0]!r}; this model writes {writes}")
        if len(chat.ids) > self.model.context:
            raise DataError(
                f"{example.where}: the chat is {len(chat.ids)} tokens long, the model holds {self.model.context}: "
                "shorten it or split it in two"
            )
        if ("output" in train or chat.inputs) and ("input" in train or chat.outputs):
            self.chats.append(chat)
            self.examples.append(example)

    def _encode(self, modality: str) -> None:
        parts = [part for chat in self.chats for part in chat.inputs if part["type"] == modality]
        paths = list(dict.fromkeys(part["path"] for part in parts))
        if not paths:
            return
        encoder = self.model.encoders[modality]
        mark = fingerprint(encoder, str(getattr(encoder, "config", "")))
        keys = [key_of(mark, content(path) or Path(path).read_bytes()) for path in paths]

        def make(places: list[int]) -> Tensor:
            return self.model.encode(modality, [_open(modality, paths[place]) for place in places]).float()

        self.cache.fill(keys, make)
        self._features |= {(modality, path): key for path, key in zip(paths, keys, strict=True)}

    def _condition(self, modality: str) -> None:
        parts = [part for chat in self.chats for part in chat.outputs if part["type"] == modality]
        captions = list(dict.fromkeys(part["caption"] for part in parts))
        if not captions:
            return
        generator = self.model.generator(modality)
        mark = text_fingerprint(generator.pipeline)
        keys = [key_of(mark, text.encode()) for text in captions]
        self.cache.fill(keys, lambda places: generator.condition([captions[place] for place in places]).float())
        self._conditions |= {(modality, text): key for text, key in zip(captions, keys, strict=True)}

    def _drawn(self, path: str) -> Tensor:
        prepare: Callable[[Image], Tensor] | None = self.canvas
        assert prepare is not None
        return (prepare(_open("image", path)) * 255).round().to(torch.uint8)  # [3, height, width]


def text_fingerprint(pipeline: Any) -> str:
    """A digest of the pipeline's text encoders and tokenizers."""
    marks = []
    for name, part in sorted(pipeline.components.items()):
        if name.startswith("tokenizer") and part is not None:
            marks.append(json.dumps([part.get_vocab(), part.model_max_length], sort_keys=True))
        if name.startswith("text_encoder") and part is not None:
            marks.append(fingerprint(part))
    return key_of("condition", "\n".join(marks).encode())[:42]


def _captioned(content: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """The parts of an assistant's turn, its media with the caption that they are to be drawn from."""
    found: list[dict[str, Any]] = []
    for part in content:
        if part["type"] != "text" and "caption" not in part:
            if not found or found[-1]["type"] != "text":
                raise DataError(
                    f"{where}: the {part['type']} {Path(part['path']).name} of the assistant has no text right before "
                    'it; write one, or give the part a "caption"'
                )
            part = {**part, "caption": found[-1]["text"].strip()}
        found.append(part)
    return found


def _heard(example: Example) -> Example:
    """The chat with the sound of every film that the user shows after it."""
    messages = []
    for message in example.messages:
        content: list[dict[str, Any]] = []
        for part in message["content"]:
            content.append(part)
            if message["role"] == "user" and part["type"] == "video" and sounds(medium(part["path"])):
                content.append({"type": "audio", "path": part["path"]})
        messages.append({**message, "content": content})
    return replace(example, messages=tuple(messages))


def _open(modality: str, path: str) -> Any:
    try:
        return MEDIA[modality](medium(path))
    except AnyGenError as error:
        raise DataError(named(path, error)) from error
