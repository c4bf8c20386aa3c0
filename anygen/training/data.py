"""Data sets: JSONL of chats with media as relative paths; reading them, and checking them before a training run does.

A data set is a folder with a `data.jsonl`, one chat per line:

    {"messages": [{"role": "user", "content": [{"type": "image", "path": "images/000001.png"},
                                               {"type": "text", "text": "What is this?"}]},
                  {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}],
     "task": "vqa"}

or it is a folder of shards (`anygen.training.shards`) that hold the same chats with their media.
A medium of the assistant may have a "caption", the words that it is to be made from; without one, these are the text
right before it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from anygen.error import DataError, MediaError
from anygen.training import shards

DATA_FILE = "data.jsonl"
ROLES = ("system", "user", "assistant")
MEDIA = ("image", "audio", "video")

_CHAT_KEYS = ("messages", "task", "scene", "clip", "film")
_MESSAGE_KEYS = ("role", "content")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One chat of a data set: messages whose content is a list of parts, media parts with an absolute `path`.

    `where` is file and line, or shard and key, for errors; the `path` of a medium in a shard is `SHARD#MEMBER`. `scene`
    is what the playground knows of its pictures, `clip` of its sounds, `film` of its films.
    """

    messages: tuple[dict[str, Any], ...]
    where: str
    task: str | None = None
    scene: dict[str, Any] | list[dict[str, Any]] | None = None
    clip: dict[str, Any] | list[dict[str, Any]] | None = None
    film: dict[str, Any] | list[dict[str, Any]] | None = None

    @property
    def media(self) -> list[dict[str, Any]]:
        """The media parts in their order."""
        return [part for message in self.messages for part in message["content"] if part["type"] != "text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What is in a data set: chats, chats per task, different media files per type."""

    chats: int
    tasks: dict[str, int] = field(default_factory=dict)
    media: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        media = ", ".join(f"{count} {kind} files" for kind, count in self.media.items()) or "no media"
        tasks = ", ".join(f"{name} {count}" for name, count in sorted(self.tasks.items()))
        return f"{self.chats} chats, {media}" + (f" ({tasks})" if tasks else "")


def read_chats(source: str | Path) -> Iterator[Example]:
    """The chats of a data set folder, of one JSONL file or of shards; each is checked as it is read, its media for
    existing."""
    if shards.tars(source):
        return shards.read(source)
    return (example for _, example in _read(_file(source)))


def raw_chats(source: str | Path) -> Iterator[tuple[dict[str, Any], Example]]:
    """The chats of a data set folder or of one JSONL file, as its lines have them and as they are read."""
    if shards.tars(source):
        raise DataError(f"{source} is in shards already")
    return _read(_file(source))


def _file(source: str | Path) -> Path:
    file = Path(source)
    file = file / DATA_FILE if file.is_dir() else file
    if not file.is_file():
        raise DataError(f"no data set at {source}: there is no file {file}, and no shard *.tar")
    return file


def check(directory: str | Path) -> Summary:
    """Read every chat and open every medium of a data set; the first thing that is wrong is a DataError."""
    tasks: Counter[str] = Counter()
    opened: dict[str, str] = {}
    chats = 0
    for example in read_chats(directory):
        chats += 1
        if example.task:
            tasks[example.task] += 1
        for part in example.media:
            if part["path"] not in opened:
                _open(part, example.where)
                opened[part["path"]] = part["type"]
            elif opened[part["path"]] != part["type"]:
                kinds = f"{opened[part['path']]} before and {part['type']} here"
                raise DataError(f"{example.where}: {part['path']} is used as {kinds}")
    if not chats:
        raise DataError(f"{directory} has no chats: its {DATA_FILE} or its shards are empty")
    return Summary(chats=chats, tasks=dict(tasks), media=dict(Counter(opened.values())))


def _open(part: dict[str, Any], where: str) -> None:
    from anygen.media import Audio, Image, Video

    try:
        {"image": Image, "audio": Audio, "video": Video}[part["type"]](shards.medium(part["path"]))
    except MediaError as error:
        raise DataError(f"{where}: {shards.named(part['path'], error)}") from error


def _read(file: Path) -> Iterator[tuple[dict[str, Any], Example]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{file}:{number}"
            chat = decode(line, where)
            yield chat, parse_chat(chat, where, file.parent)


def decode(line: bytes, where: str) -> Any:
    """What the JSON of one chat says; `where` begins what a DataError says."""
    try:
        return json.loads(line.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8: byte {line[error.start]:#04x} at column {error.start + 1}") from error
    except json.JSONDecodeError as error:
        what = "an empty line" if not line.strip() else f"not JSON: {error.msg} at column {error.colno}"
        raise DataError(f"{where}: {what}; each line is one chat") from error
    except _DuplicateError as error:
        raise DataError(f"{where}: key '{error}' is there twice") from error


class _DuplicateError(Exception):
    """A key that is twice in one JSON object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise _DuplicateError(key)
    return dict(pairs)


def _keys(value: Any, required: tuple[str, ...], allowed: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{where} is {_kind(value)}, not an object")
    for key in required:
        if key not in value:
            raise DataError(f"{where} has no key '{key}'")
    for key in value:
        if key not in allowed:
            raise DataError(f"{where} has an unknown key '{key}'; known are {', '.join(allowed)}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


Place = Path | Callable[[str], str | None]  # a folder, or what finds media by their paths


def parse_chat(chat: Any, where: str, folder: Place) -> Example:
    """One chat of a data set in `folder`, checked; `where` begins what a DataError says."""
    _keys(chat, ("messages",), _CHAT_KEYS, f"{where}: the chat")
    messages = chat["messages"]
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: 'messages' is {_kind(messages)}, it must be a list that is not empty")
    read = tuple(_message(message, f"{where}: messages[{i}]", folder) for i, message in enumerate(messages))
    _check_roles([message["role"] for message in read], where)
    if not isinstance(chat.get("task", ""), str):
        raise DataError(f"{where}: 'task' is {_kind(chat['task'])}, not a string")
    for key in ("scene", "clip", "film"):
        if not isinstance(chat.get(key, {}), dict | list):
            raise DataError(f"{where}: '{key}' is {_kind(chat[key])}, not an object or a list of objects")
    known = {key: chat.get(key) for key in ("task", "scene", "clip", "film")}
    return Example(messages=read, where=where, **known)


def _check_roles(roles: list[str], where: str) -> None:
    turns = roles[1:] if roles[0] == "system" else roles
    first = len(roles) - len(turns)
    for i, role in enumerate(turns):
        expected = "assistant" if i % 2 else "user"
        if role != expected:
            raise DataError(f"{where}: messages[{first + i}] is of the {role}, but the {expected} must speak there")
    if len(turns) < 2 or turns[-1] != "assistant":
        raise DataError(f"{where}: the chat ends without an answer of the assistant")


def _message(message: Any, where: str, folder: Place) -> dict[str, Any]:
    _keys(message, _MESSAGE_KEYS, _MESSAGE_KEYS, where)
    role, content = message["role"], message["content"]
    if role not in ROLES:
        raise DataError(f"{where}: unknown role {role!r}; roles are {', '.join(ROLES)}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise DataError(f"{where}: 'content' is {_kind(content)}, it must be a string or a list of parts, not empty")
    parts = [_part(part, f"{where}.content[{i}]", folder) for i, part in enumerate(content)]
    if role == "system" and any(part["type"] != "text" for part in parts):
        raise DataError(f"{where}: a system message holds text only")
    return {"role": role, "content": parts}


def _part(part: Any, where: str, folder: Place) -> dict[str, Any]:
    _keys(part, ("type",), ("type", "text", "path", "caption"), where)
    kind = part["type"]
    if kind == "text":
        _keys(part, ("type", "text"), ("type", "text"), where)
        if not isinstance(part["text"], str) or not part["text"].strip():
            raise DataError(f"{where}: 'text' must be a string that is not empty, got {part['text']!r}")
        return dict(part)
    if kind not in MEDIA:
        raise DataError(f"{where}: unknown type {kind!r}; types are text, {', '.join(MEDIA)}")
    _keys(part, ("type", "path"), ("type", "path", "caption"), where)
    if "caption" in part and not (isinstance(part["caption"], str) and part["caption"].strip()):
        raise DataError(f"{where}: 'caption' must be a string that is not empty, got {part['caption']!r}")
    path = part["path"]
    if not isinstance(path, str) or not path:
        raise DataError(f"{where}: 'path' must be a relative path, got {path!r}")
    if "\\" in path or "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise DataError(
            f"{where}: path {path!r} must be relative and stay inside the data set, with / between its parts"
        )
    if not isinstance(folder, Path):
        found = folder(path)
        if found is None:
            raise DataError(f"{where}: missing {kind} {path}; there is no such member in the sample")
        return {**part, "path": found}
    full = folder / path
    if not full.is_file():
        raise DataError(f"{where}: missing {kind} {path}; there is no such file in {folder}")
    return {**part, "path": str(full.absolute())}
