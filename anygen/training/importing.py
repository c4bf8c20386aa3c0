"""Importing: a public annotation file and the folder of its media become a data set; what is left out is counted."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from anygen.error import DataError
from anygen.training.data import DATA_FILE, parse_chat
from anygen.training.formats import FORMATS, Skipped

MEDIA = "media"  # the link to the media's folder, inside a data set
SKIPPED = "skipped.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """Rows that were read, chats that were written, and how many rows were left out for which reason."""

    rows: int
    chats: int
    skipped: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        left = sum(self.skipped.values())
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(self.skipped.items()))
        return f"{self.rows} rows, {self.chats} chats, {left} rows left out" + (f" ({why})" if why else "")


def convert_annotations(
    kind: str, source: Path, media: Path, output: Path, *, strict: bool = False, copy: bool = False
) -> Imported:
    """Write the data set `output` from the annotations in `source`, of a format of `FORMATS`, and their `media` folder.

    Media stay where they are, behind a link, or are copied. A row that does not fit is left out, named with file and
    line in skipped.txt and counted by its reason; with `strict` it is a DataError instead. So is a file that is no such
    format at all, and one of which no row fits.
    """
    if kind not in FORMATS:
        raise DataError(f"no annotation format {kind!r}; formats are {', '.join(FORMATS)}")
    if not source.is_file():
        raise DataError(f"{source} is missing")
    if not media.is_dir():
        raise DataError(f"{media} is not a folder; it is to hold the media that {source.name} names")
    if (output / DATA_FILE).exists():
        raise DataError(f"{output / DATA_FILE} is there already; give another folder")
    output.mkdir(parents=True, exist_ok=True)
    if not copy and not (output / MEDIA).exists():
        (output / MEDIA).symlink_to(media.absolute(), target_is_directory=True)

    def find(kind: str, *names: object) -> str:
        for name in names:
            path = PurePosixPath(str(name))
            if not str(name) or path.is_absolute() or ".." in path.parts:
                raise Skipped("path", f"{name!r} is not a path inside of {media}")
            if (media / path).is_file():
                if copy:
                    (output / MEDIA / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(media / path, output / MEDIA / path)
                return f"{MEDIA}/{path}"
        raise Skipped(f"no {kind} file", f"there is no {kind} {names[0]} in {media}")

    rows = chats = 0
    reasons: Counter[str] = Counter()
    notes: list[str] = []
    part = output / f"{DATA_FILE}.part"
    try:
        with part.open("w", encoding="utf-8") as out:
            for number, (line, row) in enumerate(FORMATS[kind].rows(source)):
                rows += 1
                where = f"{source}:{line}"
                try:
                    made = FORMATS[kind].chats(row, find, number)
                    for chat in made:
                        _check(chat, where, output)
                except Skipped as skip:
                    if strict:
                        raise DataError(f"{where}: {skip}") from None
                    reasons[skip.reason] += 1
                    notes.append(f"{where}: {skip}")
                    continue
                chats += len(made)
                out.writelines(json.dumps(chat, ensure_ascii=False) + "\n" for chat in made)
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}") from None
    if notes:
        (output / SKIPPED).write_text("\n".join(notes) + "\n", encoding="utf-8")
    if not chats:
        raise DataError(f"no row of {source} fits: {notes[0] if notes else 'it is empty'}")
    part.replace(output / DATA_FILE)
    return Imported(rows=rows, chats=chats, skipped=dict(reasons))


def _check(chat: dict[str, object], where: str, folder: Path) -> None:
    try:
        parse_chat(chat, where, folder)
    except DataError as error:
        raise Skipped("roles", str(error).removeprefix(f"{where}: ")) from None
