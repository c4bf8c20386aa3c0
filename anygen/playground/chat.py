"""A sampled chat: messages of text and scenes, and the facts by which its answers are judged."""

from dataclasses import dataclass, field
from typing import Any

from anygen.playground.caption import caption
from anygen.playground.scene import Scene
from anygen.playground.word import sentence

Part = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """Messages as `{"role", "content": [parts]}`; an image part holds its scene.

    In an assistant turn the picture is to be drawn. `facts` say what is right: `scene` or `target` is what is to be
    told or shown, `accept` the right short answers to the last question, `unknown` the name that must be declined.
    """

    messages: tuple[Message, ...]
    task: str
    facts: dict[str, Any] = field(default_factory=dict)


def text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def image_part(scene: Scene) -> Part:
    return {"type": "image", "scene": scene}


def user(*parts: str | Scene) -> Message:
    """A user's turn from texts and scenes."""
    return _turn("user", parts)


def assistant(*parts: str | Scene) -> Message:
    """An assistant's turn from texts and scenes."""
    return _turn("assistant", parts)


def _turn(role: str, parts: tuple[str | Scene, ...]) -> Message:
    return {"role": role, "content": [text_part(p) if isinstance(p, str) else image_part(p) for p in parts]}


def drawn(scene: Scene) -> Message:
    """The assistant's turn that draws a scene: what it draws in canonical words, then the picture."""
    return assistant(f"Here it is: {caption(scene)}.", scene)


def told(scene: Scene) -> str:
    """The assistant's sentence for what a picture shows: the canonical caption."""
    return sentence(caption(scene))


def scenes_of(chat: Chat) -> list[Scene]:
    """All pictures of the chat in their order."""
    return [part["scene"] for message in chat.messages for part in message["content"] if part["type"] == "image"]
