"""A conversation: its history, its media, and a KV cache that lives from turn to turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.decoding import Session
from anygen.engine import Asked, Engine
from anygen.error import DataError, RequestError
from anygen.media import READABLE, Message, Text, Value, data_url, messages
from anygen.reply import Reply
from anygen.request import Event, Options
from anygen.streaming import consume

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message, and the tokens that it is in the conversation; an answer's text alone would not give them back."""

    message: Message
    ids: tuple[int, ...]
    seed: int | None = None


class Chat:
    """Turns that remember: only what is new is run, and what was generated can be referred to later.

    `options` are defaults for every turn. With a `seed`, turn k (from 0) is answered with seed + 1000 * k.
    """

    def __init__(self, engine: Engine, *, system: str | None = None, seed: int | None = None, **options: Any) -> None:
        Options.of({**options, "seed": seed})
        self.engine = engine
        self.seed = seed
        self.options = options
        self.turns: list[Turn] = []
        self.session = Session()
        if system is not None:
            self._append(Message("system", (Text(system),)))

    @property
    def history(self) -> tuple[Message, ...]:
        """Every message so far."""
        return tuple(turn.message for turn in self.turns)

    @property
    def media(self) -> tuple[Value, ...]:
        """Every medium of the conversation, given or generated, in order."""
        return tuple(part for message in self.history for part in message.parts if not isinstance(part, Text))

    def send(self, request: Any, **options: Any) -> Reply:
        """Say something and get the answer. Options are those of `Engine.generate`."""
        return consume(self.stream(request, **options))

    def stream(self, request: Any, **options: Any) -> Iterator[Event]:
        """The events of the next answer. A stream that is left early leaves the conversation as it was."""
        said = messages(request)
        if len(said) != 1 or said[0].role != "user":
            raise RequestError("a chat takes one turn of the user at a time: a string, a part or a list of parts")
        chosen = {**self.options, **options}
        if chosen.get("seed") is None and self.seed is not None:
            chosen["seed"] = self.seed + 1000 * sum(turn.message.role == "user" for turn in self.turns)
        asked = self.engine.ask(self.session, said, Options.of(chosen), self.history)
        return self._stream(said[0], asked, len(self.session.ids))

    def _stream(self, said: Message, asked: Asked, start: int) -> Iterator[Event]:
        if start != len(self.session.ids):
            raise RequestError("the conversation went on since this turn was asked: read one stream to its end first")
        middle = start + len(asked.rendered.ids)
        for event in self.engine.answer(self.session, asked):
            if event.reply is not None:
                reply = event.reply
                answer = Message("assistant", tuple(part.value for part in reply))
                self.turns += [
                    Turn(message=said, ids=tuple(self.session.ids[start:middle])),
                    Turn(message=answer, ids=tuple(self.session.ids[middle:]), seed=reply.seed),
                ]
            yield event

    def undo(self) -> Message:
        """Take the last question and its answer back, and return the question, for asking it anew."""
        if not self.turns or self.turns[-1].message.role != "assistant":
            raise RequestError("there is no answer to take back: the conversation is empty")
        asked = self.turns[-2].message
        del self.turns[-2:]
        kept = [turn.message for turn in self.turns if turn.message.role != "assistant"]
        del self.session.ids[sum(len(turn.ids) for turn in self.turns) :]
        del self.session.media[sum(len(self.engine.inputs(message)) for message in kept) :]
        self.session.cache = None
        return asked

    def _append(self, message: Message) -> None:
        """Add a message that is not answered by the model; the LLM reads it with the next turn."""
        rendered = self.engine.model.render([message], begin=not self.session.ids)
        self._remember(message, tuple(rendered.ids), None)

    def _remember(self, message: Message, ids: tuple[int, ...], seed: int | None) -> None:
        self.session.ids += ids
        if message.role != "assistant":
            self.session.media += [(medium.type, self.engine.encode(medium)) for medium in self.engine.inputs(message)]
        self.turns.append(Turn(message=message, ids=ids, seed=seed))

    def save(self, path: str | Path) -> Path:
        """Write the conversation as one JSON file that needs no other: media are data: URLs (png, wav, mp4).

        Of these mp4 alone is not exact: a conversation with films goes on from nearly what they were.
        """
        path = Path(path)
        turns = [
            {
                "role": turn.message.role,
                "content": [
                    {"type": "text", "text": part.text}
                    if isinstance(part, Text)
                    else {"type": part.type, "url": data_url(part)}
                    for part in turn.message.parts
                ],
                "ids": list(turn.ids),
                "seed": turn.seed,
            }
            for turn in self.turns
        ]
        record = {"format": FORMAT, "model": self.engine.name, "seed": self.seed, "turns": turns}
        if not path.name or path.is_dir():
            raise DataError(f"cannot save the chat to {str(path)!r}: this is a folder; name a file in it")
        temporary = path.with_name(path.name + ".part")
        try:
            temporary.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise DataError(f"cannot save the chat to {path}: {error.strerror}") from None
        return path

    @classmethod
    def load(cls, engine: Engine, path: str | Path, **options: Any) -> Chat:
        """Continue a saved conversation. Under another model its turns are laid out anew."""
        path = Path(path)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        except ValueError as error:
            raise DataError(f"{path} is no saved chat: {error}") from None
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise DataError(f"{path} is no saved chat of format {FORMAT}")
        chat = cls(engine, seed=record.get("seed"), **options)
        for turn in record["turns"]:
            message = _message(turn)
            if record["model"] == engine.name:
                chat._remember(message, tuple(turn["ids"]), turn["seed"])
            else:
                chat._append(message)
        return chat


def _message(turn: dict[str, Any]) -> Message:
    parts = (
        Text(part["text"]) if part["type"] == "text" else READABLE[part["type"]](part["url"])
        for part in turn["content"]
    )
    return Message(turn["role"], tuple(parts))
