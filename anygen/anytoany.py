"""The call shape of transformers' `pipeline("any-to-any")`, answered by an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anygen.engine import Engine
from anygen.error import RequestError
from anygen.media import Audio, Image, Made, Text, Value, Video, parts
from anygen.reply import Reply

MODES = ("text", "image", "audio", "video", "interleaved")


class AnyToAny:
    """`pipe(text="Draw a cat", generation_mode="image")` -> `[{"input_text": ..., "generated_image": PIL image}]`.

    `text` is a string, a list of strings, a chat, or a list of chats. `images`, `audio`, `videos` are one medium or a
    list: for one text all of them, for several texts one entry each. `generated_image` is a PIL image,
    `generated_audio` float32 [channels, samples], `generated_video` uint8 [frames, height, width, 3] and
    `generated_interleaved` a list of content parts. As in transformers, `generated_text` starts with the input unless
    `return_full_text` is False.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __call__(
        self,
        text: Any = None,
        images: Any = None,
        videos: Any = None,
        audio: Any = None,
        *,
        generation_mode: str | None = None,
        return_full_text: bool = True,
        generate_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Any]:
        mode = generation_mode or "text"
        if mode not in MODES:
            raise RequestError(f"generation_mode={mode!r}: choose {', '.join(MODES)}")
        options = {**(generate_kwargs or {}), **options, "to": None if mode == "interleaved" else (mode,)}
        media = {"image": images, "audio": audio, "video": videos}
        if _is_chat(text) or (_is_list(text) and text and all(_is_chat(chat) for chat in text)):
            if any(given is not None for given in media.values()):
                raise RequestError("a chat holds its media itself: put them into its content")
            chats = [text] if _is_chat(text) else list(text)
            replies = self.engine.generate_batch(chats, **options)
            records = [
                [_record(chat, reply, mode, return_full_text)] for chat, reply in zip(chats, replies, strict=True)
            ]
            return records[0] if _is_chat(text) else records
        many = _is_list(text)
        texts = list(text) if many else [text]
        given = {kind: _spread(kind, values, len(texts), many) for kind, values in media.items()}
        requests = [
            parts([part for kind in media for part in given[kind][row]] + ([] if one is None else [Text(one)]))
            for row, one in enumerate(texts)
        ]
        replies = self.engine.generate_batch(requests, **options)
        return [_record(one, reply, mode, return_full_text) for one, reply in zip(texts, replies, strict=True)]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_chat(value: Any) -> bool:
    return _is_list(value) and bool(value) and isinstance(value[0], Mapping) and "role" in value[0]


def _spread(kind: str, values: Any, rows: int, many: bool) -> list[list[Value]]:
    """Media per text."""
    make = {"image": Image, "audio": Audio, "video": Video}[kind]
    if values is None:
        return [[] for _ in range(rows)]
    if not many:
        return [[make(value) for value in (values if _is_list(values) else [values])]]
    if not _is_list(values) or len(values) != rows:
        raise RequestError(f"{rows} texts need a list of as many {kind} entries")
    return [[make(value) for value in (row if _is_list(row) else [row])] for row in values]


def _record(given: Any, reply: Reply, mode: str, full: bool) -> dict[str, Any]:
    return {"input_text": given, f"generated_{mode}": _generated(given, reply, mode, full)}


def _generated(given: Any, reply: Reply, mode: str, full: bool) -> Any:
    if mode == "text":
        if not full or given is None:
            return reply.text
        return [*given, {"role": "assistant", "content": reply.text}] if _is_chat(given) else given + reply.text
    if mode == "interleaved":
        return [{"type": part.type, part.type: _plain(part.value)} for part in reply]
    found: Sequence[Any] = [part.value for part in reply if part.type == mode]
    return _plain(found[0])


def _plain(value: Made) -> Any:
    """The value as transformers has it."""
    if isinstance(value, Text):
        return value.text
    if isinstance(value, Image):
        return value.pil()
    return value.samples if isinstance(value, Audio) else value.frames
