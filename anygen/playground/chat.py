"""A sampled chat: messages of text, scenes, clips and films, and the facts by which its answers are judged."""

import random
from dataclasses import dataclass, field
from typing import Any

from anygen.playground.caption import caption, casual
from anygen.playground.clip import Clip
from anygen.playground.film import Film
from anygen.playground.scene import Scene
from anygen.playground.word import sentence

Part = dict[str, Any]
Message = dict[str, Any]
Medium = Scene | Clip | Film


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """Messages as `{"role", "content": [parts]}`; an image part holds its scene, an audio part its clip and so on.

    An audio part directly behind a video part is that film's soundtrack. In an assistant turn the medium is to be made.
    `facts` say what is right: `scene`, `clip`, `film` or `target` is what is to be told or made, `accept` the right
    short answers to the last question, `unknown` or `unheard` the name of what must be declined, `drawn` and `played`
    what is to be made where both are.
    """

    messages: tuple[Message, ...]
    task: str
    facts: dict[str, Any] = field(default_factory=dict)


def text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def image_part(scene: Scene, source: Scene | None = None) -> Part:
    """A picture; one that the assistant makes of another one knows that as its `source`."""
    part: Part = {"type": "image", "scene": scene}
    return part if source is None else part | {"source": source}


def audio_part(clip: Clip) -> Part:
    return {"type": "audio", "clip": clip}


def video_part(film: Film, source: Scene | None = None) -> Part:
    """A film; one that the assistant lets begin with a picture knows that as its `source`."""
    part: Part = {"type": "video", "film": film}
    return part if source is None else part | {"source": source}


def user(*parts: str | Medium) -> Message:
    """A user's turn from texts, scenes, clips and films."""
    return _turn("user", parts)


def assistant(*parts: str | Medium) -> Message:
    """An assistant's turn from texts, scenes, clips and films."""
    return _turn("assistant", parts)


def _turn(role: str, parts: tuple[str | Medium, ...]) -> Message:
    return {"role": role, "content": [_part(part) for part in parts]}


def _part(value: str | Medium) -> Part:
    if isinstance(value, str):
        return text_part(value)
    if isinstance(value, Film):
        return video_part(value)
    return image_part(value) if isinstance(value, Scene) else audio_part(value)


def asked(medium: Medium, ask: str, stream: random.Random) -> Message:
    """A user's turn with a picture, a sound or a film and a question, the medium mostly first."""
    ask = casual(ask, stream)
    return user(medium, ask) if stream.random() < 0.8 else user(ask, medium)


def drawn(scene: Scene) -> Message:
    """The assistant's turn that draws a scene: what it draws in canonical words, then the picture."""
    return assistant(f"Here it is: {caption(scene)}.", scene)


def told(scene: Scene) -> str:
    """The assistant's sentence for what a picture shows: the canonical caption."""
    return sentence(caption(scene))


def scenes_of(chat: Chat) -> list[Scene]:
    """All pictures of the chat in their order."""
    return [part["scene"] for message in chat.messages for part in message["content"] if part["type"] == "image"]


def clips_of(chat: Chat) -> list[Clip]:
    """All sounds of the chat in their order."""
    return [part["clip"] for message in chat.messages for part in message["content"] if part["type"] == "audio"]


def films_of(chat: Chat) -> list[Film]:
    """All films of the chat in their order."""
    return [part["film"] for message in chat.messages for part in message["content"] if part["type"] == "video"]
