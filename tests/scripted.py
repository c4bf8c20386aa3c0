"""An engine that answers from a script, for tests of what stands on top of engines."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from anygen.error import RequestError
from anygen.media import Image, Text, parts
from anygen.reply import Part, Reply
from anygen.request import Event

STEPS = 3


def picture(value: int, side: int = 4) -> Image:
    """A picture of one grey."""
    return Image(np.full((side, side, 3), value, np.uint8))


class ScriptedEngine:
    """Gives one answer of the script after the other: each a list of texts, pictures, numbers (a grey) or an error."""

    name = "m"
    reads = writes = ("text", "image")

    def __init__(self, *answers: list[Any], seed: int = 9) -> None:
        self.answers = list(answers)
        self.seed = seed
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        usual = {"image": SimpleNamespace(steps=STEPS, guidance=2.0)}
        self.model = SimpleNamespace(config=SimpleNamespace(generators=usual))

    def chat(self, **options: Any) -> "ScriptedChat":
        return ScriptedChat(self)


class ScriptedChat:
    """A conversation with the script; `turns` are those that were answered to the end."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.turns: list[Any] = []

    def stream(self, asked: Any, **options: Any) -> Iterator[Event]:
        asked = parts(asked)
        self.engine.asked.append((asked, options))
        return self._events(asked, self.engine.answers.pop(0))

    def undo(self) -> None:
        self.turns.pop()

    def _events(self, asked: Any, answer: list[Any]) -> Iterator[Event]:
        made: list[Part] = []
        for index, item in enumerate(answer, 1):
            if isinstance(item, Exception):
                raise item
            value = Text(item) if isinstance(item, str) else picture(item) if isinstance(item, int) else item
            yield Event(type="part.start", index=index, modality=value.type)
            if isinstance(value, Text):
                for word in value.text.split(" "):
                    yield Event(type="text.delta", index=index, modality="text", text=f"{word} ")
            else:
                for step in range(1, STEPS + 1):
                    yield Event(type="part.progress", index=index, modality=value.type, step=step, steps=STEPS)
            seed = None if value.type == "text" else self.engine.seed + index - 1
            made.append(Part(index=index, type=value.type, value=value, seed=seed))
            yield Event(type="part.done", index=index, modality=value.type, part=made[-1])
        self.turns.append(asked)
        reply = Reply(parts=tuple(made), model="m", seed=self.engine.seed, seconds={"total": 0.5})
        yield Event(type="reply.done", reply=reply)


REFUSAL = RequestError("the request is too long: shorten it")
