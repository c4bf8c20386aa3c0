"""Text, images, sound and video in; text, images, sound and video out, in one ordered answer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anygen.chat import Chat
    from anygen.engine import Engine, load, pipeline
    from anygen.error import AnyGenError
    from anygen.media import Audio, Image, Text, Video
    from anygen.reply import Reply
    from anygen.story import Story

__version__ = "0.1.0"
__all__ = [
    "AnyGenError",
    "Audio",
    "Chat",
    "Engine",
    "Image",
    "Reply",
    "Story",
    "Text",
    "Video",
    "__version__",
    "load",
    "pipeline",
]

_HOMES = {
    "AnyGenError": "anygen.error",
    "Audio": "anygen.media",
    "Chat": "anygen.chat",
    "Engine": "anygen.engine",
    "Image": "anygen.media",
    "Reply": "anygen.reply",
    "Story": "anygen.story",
    "Text": "anygen.media",
    "Video": "anygen.media",
    "load": "anygen.engine",
    "pipeline": "anygen.engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import anygen` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anygen' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
