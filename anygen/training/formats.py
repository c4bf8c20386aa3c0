"""Public annotation formats: their rows, and the chats that a row becomes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.error import DataError

Row = tuple[int, Any]  # the line that it begins in, from 1, and what stands there
Find = Callable[..., str]  # (kind, *names) -> path in the data set of the first of these files that is there


class Skipped(Exception):
    """A row that becomes no chat: `reason` is counted, `detail` is said of this row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How a file is cut into rows, and what chats a row becomes (row, find, number of the row)."""

    about: str
    rows: Callable[[Path], Iterator[Row]]
    chats: Callable[[Any, Find, int], list[dict[str, Any]]]


# --- rows


def json_rows(file: Path) -> Iterator[Row]:
    """The items of a JSON list with the lines that they begin in, or the lines of JSON lines."""
    text = file.read_text(encoding="utf-8")
    decoder = json.JSONDecoder()
    space = re.compile(r"\s*")
    place = space.match(text).end()  # type: ignore[union-attr]
    listed = text[place : place + 1] == "["
    place = space.match(text, place + listed).end()  # type: ignore[union-attr]
    line, counted = 1, 0
    while place < len(text) and not (listed and text[place] == "]"):
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
        yield line, value
        place = space.match(text, place).end()  # type: ignore[union-attr]
        if listed and text[place : place + 1] == ",":
            place = space.match(text, place + 1).end()  # type: ignore[union-attr]
        elif listed and text[place : place + 1] != "]":
            raise DataError(f"{file}:{line + text.count(chr(10), counted, place)}: the list is cut: no , or ] follows")
    if listed and place >= len(text):
        raise DataError(f"{file}:{1 + text.count(chr(10))}: the list is cut: it does not end with ]")


def csv_rows(*columns: str) -> Callable[[Path], Iterator[Row]]:
    """Rows of a CSV file with a header that has at least `columns`."""

    def rows(file: Path) -> Iterator[Row]:
        reader = csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""))
        header = next(reader, [])
        for name in columns:
            if name not in header:
                raise DataError(f"{file}:1: the header has no column {name!r}; it has {', '.join(header) or 'nothing'}")
        before = reader.line_num
        for cells in reader:
            line, before = before + 1, reader.line_num
            yield line, dict(zip(header, cells, strict=True)) if len(cells) == len(header) else cells

    return rows


def tsv_rows(file: Path) -> Iterator[Row]:
    """Lines of tab-separated cells without a header; quotes are ordinary characters."""
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip("\r"):
            yield number, line.rstrip("\r").split("\t")


# --- chats

READ = {
    "image": ("What is in this picture?", "Describe the picture.", "Write a caption for this."),
    "audio": ("What can be heard?", "Describe the sound.", "Write a caption for this sound."),
    "video": ("What happens in this video?", "Describe the video.", "Write a caption for this video."),
}
MAKE = {
    "image": ("Draw this: {}", "Show me a picture: {}", "Make an image of the following. {}"),
    "audio": ("Let me hear this: {}", "Make a sound: {}", "Generate the following sound. {}"),
    "video": ("Show me a video: {}", "Film this: {}", "Make a video of the following. {}"),
}
KINDS = ("image", "audio", "video")


def captioned(kind: str, path: str, caption: str, number: int) -> list[dict[str, Any]]:
    """Two chats of a captioned medium: it is shown and told, and it is asked for and made."""
    caption = words(caption, "caption")
    shown = {"type": kind, "path": path}
    asked = READ[kind][number % len(READ[kind])]
    wanted = MAKE[kind][number % len(MAKE[kind])].format(caption)
    return [
        chat([turn("user", [shown, text(asked)]), turn("assistant", [text(caption)])], f"{kind}-to-text"),
        chat([turn("user", [text(wanted)]), turn("assistant", [{**shown, "caption": caption}])], f"text-to-{kind}"),
    ]


def words(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Skipped("no text", f"{name} is {value!r}, not a text")
    return value.strip()


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def turn(role: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    if not content:
        raise Skipped("no text", f"a turn of the {role} is empty")
    return {"role": role, "content": content}


def chat(messages: list[dict[str, Any]], task: str) -> dict[str, Any]:
    return {"messages": messages, "task": task}


def cells(row: Any, count: int | None = None) -> Any:
    """A row that has the cells that it must have."""
    if count is None and not isinstance(row, dict):
        raise Skipped("cells", f"{len(row)} cells do not fit the header")
    if count is not None and len(row) != count:
        raise Skipped("cells", f"{len(row)} cells, not {count}")
    return row


def cc3m(row: Any, find: Find, number: int) -> list[dict[str, Any]]:
    """`caption <tab> url`; the picture is named by its row, as downloaders do, or as in its address."""
    caption, url = cells(row, 2)
    stem = f"{number:09d}"
    names = [f"{stem}{ending}" for ending in (".jpg", ".png", ".webp")] + [
        f"{number}.jpg",
        url.split("?")[0].split("/")[-1],
    ]
    return captioned("image", find("image", *names), caption, number)


def webvid(row: Any, find: Find, number: int) -> list[dict[str, Any]]:
    """`videoid, contentUrl, duration, page_dir, name`; files are page_dir/videoid.mp4 or videoid.mp4."""
    row = cells(row)
    file = f"{row['videoid']}.mp4"
    return captioned(
        "video",
        find("video", *([f"{row['page_dir']}/{file}"] if row.get("page_dir") else []), file),
        row["name"],
        number,
    )


def audiocaps(row: Any, find: Find, number: int) -> list[dict[str, Any]]:
    """`audiocap_id, youtube_id, start_time, caption`; a clip is named by its video and start, or by its id."""
    row = cells(row)
    video, start = row["youtube_id"], row["start_time"]
    stems = (f"{video}_{start}", f"Y{video}_{start}", f"Y{video}", video, row["audiocap_id"])
    names = [f"{stem}{ending}" for stem in stems for ending in (".wav", ".flac", ".mp3")]
    return captioned("audio", find("audio", *names), row["caption"], number)


ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def turns(row: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Role, words and the rest of every turn of a LLaVA-like conversation."""
    if not isinstance(row, dict):
        raise Skipped("no conversation", f"a {type(row).__name__}, not an object")
    said = row.get("conversations", row.get("conversation"))
    if not isinstance(said, list) or not said:
        raise Skipped("no conversation", "it has no 'conversations'")
    found = []
    for entry in said:
        if not isinstance(entry, dict) or entry.get("from") not in ROLES:
            who = entry.get("from") if isinstance(entry, dict) else entry
            raise Skipped("no conversation", f"a turn is from {who!r}; known are {', '.join(ROLES)}")
        if not isinstance(entry.get("value"), str):
            raise Skipped("no text", f"a turn's value is {entry.get('value')!r}, not a text")
        found.append((ROLES[entry["from"]], entry["value"], entry))
    return found


PLACE = re.compile(r"<(image|audio|video)>")
TAG = re.compile(r"<(Image|Audio|Video)>(.*?)</\1>", re.DOTALL)


def llava(row: Any, find: Find, number: int) -> list[dict[str, Any]]:
    """`{"image": file, "conversations": [{"from", "value": "<image>\\n..."}]}`; media take places in their order."""
    said = turns(row)
    media = {kind: [{"type": kind, "path": find(kind, f)} for f in listed(row.get(kind))] for kind in KINDS}
    messages = [turn(role, places(value, media)) for role, value, _ in said]
    return [settle(messages, media, "conversation")]


def nextgpt(row: Any, find: Find, number: int) -> list[dict[str, Any]]:
    """Every JSON of NExT-GPT: captions (T-X), T2M and other instructions, MosIT, and the newer spelling of each."""
    if not isinstance(row, dict):
        raise Skipped("no conversation", f"a {type(row).__name__}, not an object")
    if "conversation" not in row and "conversations" not in row:
        for kind in KINDS:
            if name := row.get(f"{kind}_name"):
                return captioned(kind, find(kind, name), row.get("caption", ""), number)
        raise Skipped("no conversation", "neither a conversation nor a captioned medium: it has " + ", ".join(row))
    if any(f"{kind}_list" in row for kind in KINDS):
        return mosit(row, find)
    if any(f"{way}_{kind}" in row for way in ("input", "output") for kind in KINDS):
        return newer(row, find)
    return instruction(row, find)


def mosit(row: dict[str, Any], find: Find) -> list[dict[str, Any]]:
    """`<Image>file</Image>` inside what is said, with captions in `image_list`, `video_list`, `audio_list`."""
    captions: dict[tuple[str, str], Any] = {}
    for kind in KINDS:
        for entry in row.get(f"{kind}_list") or ():
            captions[kind, entry.get(f"{kind}_name", "")] = entry.get("caption")
    messages = []
    for role, value, _ in turns(row):
        content, at = [], 0
        for match in TAG.finditer(value):
            kind, name = match[1].lower(), match[2].strip()
            content += worded(value[at : match.start()])
            content.append(medium(role, kind, find(kind, name), captions.get((kind, name))))
            at = match.end()
        messages.append(turn(role, content + worded(value[at:])))
    return [chat(messages, "mosit")]


def newer(row: dict[str, Any], find: Find) -> list[dict[str, Any]]:
    """`input_image` for the user's places, `output_image` with `image_captions` for the assistant's."""
    media: dict[str, dict[str, list[dict[str, Any]]]] = {"user": {}, "assistant": {}, "system": {}}
    for kind in KINDS:
        told = listed(row.get(f"{kind}_captions"))
        media["user"][kind] = [{"type": kind, "path": find(kind, f)} for f in listed(row.get(f"input_{kind}"))]
        made = listed(row.get(f"output_{kind}"))
        if told and len(told) != len(made):
            raise Skipped("captions", f"{len(made)} of output_{kind}, but {len(told)} captions")
        media["assistant"][kind] = [
            medium("assistant", kind, find(kind, f), told[i] if told else None) for i, f in enumerate(made)
        ]
    messages = [turn(role, places(value, media[role])) for role, value, _ in turns(row)]
    left = {kind: [*media["user"][kind], *media["assistant"][kind]] for kind in KINDS}
    return [settle(messages, left, "instruction")]


def instruction(row: dict[str, Any], find: Find) -> list[dict[str, Any]]:
    """`mm_name` or `image_name`, which belongs to the turn whose `input_modality` or `output_modality` is its kind."""
    names = [row[key] for key in ("mm_name", "image_name", "video_name", "audio_name") if row.get(key)]
    messages = []
    for role, value, entry in turns(row):
        kind = entry.get("input_modality" if role == "user" else "output_modality") or "text"
        content = worded(PLACE.sub("", value))
        if kind != "text":
            if kind not in KINDS:
                raise Skipped("no conversation", f"a turn's modality is {kind!r}; known are text, {', '.join(KINDS)}")
            if not names:
                raise Skipped("media", f"a turn of the {role} has {kind}, but the row names no more files")
            shown = medium(role, kind, find(kind, names.pop(0)), entry.get("caption"))
            content = [shown, *content] if role == "user" else [*content, shown]
        messages.append(turn(role, content))
    if names:
        raise Skipped("media", f"no turn takes {names[0]}")
    return [chat(messages, "instruction")]


def listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def worded(value: str) -> list[dict[str, Any]]:
    return [text(value.strip())] if value.strip() else []


def medium(role: str, kind: str, path: str, caption: Any) -> dict[str, Any]:
    part = {"type": kind, "path": path}
    return (
        {**part, "caption": caption.strip()}
        if role == "assistant" and isinstance(caption, str) and caption.strip()
        else part
    )


def places(value: str, media: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The parts of a turn; a place `<image>` takes the next of `media`, which it is taken out of."""
    content, at = [], 0
    for match in PLACE.finditer(value):
        if not media.get(match[1]):
            raise Skipped("media", f"a place for {match[0]} has no file")
        content += worded(value[at : match.start()])
        content.append(media[match[1]].pop(0))
        at = match.end()
    return content + worded(value[at:])


def settle(messages: list[dict[str, Any]], left: dict[str, list[dict[str, Any]]], task: str) -> dict[str, Any]:
    """A chat of which no medium is left without a place."""
    for kind, parts in left.items():
        if parts:
            raise Skipped("media", f"{Path(parts[0]['path']).name} has no place <{kind}> in what is said")
    return chat(messages, task)


FORMATS = {
    "llava": Format(about="LLaVA's conversations", rows=json_rows, chats=llava),
    "nextgpt": Format(
        about="NExT-GPT's T-X captions, T2M, MosIT and their newer spelling", rows=json_rows, chats=nextgpt
    ),
    "cc3m": Format(about="Conceptual Captions, TSV", rows=tsv_rows, chats=cc3m),
    "webvid": Format(about="WebVid, CSV", rows=csv_rows("videoid", "name"), chats=webvid),
    "audiocaps": Format(
        about="AudioCaps, CSV", rows=csv_rows("audiocap_id", "youtube_id", "start_time", "caption"), chats=audiocaps
    ),
}
