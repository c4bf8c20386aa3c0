"""An answer: its parts in order, and the folder it is kept in."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from anygen.error import MediaError
from anygen.media import MODALITIES, Audio, Image, Made, Text, Video


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of an answer: its place (from 1), its value, the seed it was made with and how long it took."""

    index: int
    type: str
    value: Made
    seed: int | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.type not in MODALITIES or self.type != self.value.type:
            raise ValueError(f"part {self.index} is of type {self.type!r} but holds {self.value.type!r}")

    @property
    def text(self) -> str | None:
        """The text of a text part, None of any other."""
        return self.value.text if isinstance(self.value, Text) else None

    @property
    def filename(self) -> str:
        """What the part is called in an answer's folder: 01-text.txt, 02-image.png, ..."""
        return f"{self.index:02d}-{self.type}{self.value.suffix}"

    def describe(self) -> dict[str, Any]:
        """The part's entry in reply.json."""
        if isinstance(self.value, Text):
            return {"index": self.index, "type": "text", "text": self.value.text}
        entry = {"index": self.index, "type": self.type, "path": self.filename, "mime": self.value.mime}
        return {**entry, "seed": self.seed, "seconds": round(self.seconds, 4)}

    def _repr_html_(self) -> str:
        return self.value._repr_html_()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An ordered answer: `for part in reply`, or `text`, `images`, `audios`, `videos`.

    `usage` counts prompt_tokens and completion_tokens; `seconds` holds load, first_text and total.
    """

    parts: tuple[Part, ...]
    model: str
    seed: int
    usage: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if [part.index for part in self.parts] != list(range(1, len(self.parts) + 1)):
            raise ValueError(f"parts must be numbered from 1 in order, got {[part.index for part in self.parts]}")

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Part:
        return self.parts[index]

    @property
    def text(self) -> str:
        """All text of the answer, one part per line."""
        return "\n".join(part.text for part in self.parts if part.text is not None)

    @property
    def images(self) -> list[Image]:
        """The pictures in order."""
        return [part.value for part in self.parts if isinstance(part.value, Image)]

    @property
    def audios(self) -> list[Audio]:
        """The sounds in order."""
        return [part.value for part in self.parts if isinstance(part.value, Audio)]

    @property
    def videos(self) -> list[Video]:
        """The films in order."""
        return [part.value for part in self.parts if isinstance(part.value, Video)]

    def describe(self) -> dict[str, Any]:
        """What reply.json holds."""
        return {
            "model": self.model,
            "seed": self.seed,
            "parts": [part.describe() for part in self.parts],
            "usage": dict(self.usage),
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }

    def save(self, directory: str | Path) -> Path:
        """Write every part, reply.json and a self-contained answer.html; an earlier answer there is replaced."""
        directory = prepare(directory)
        try:
            for part in self.parts:
                part.value.save(directory / part.filename)
            (directory / "answer.html").write_text(self.html())
            (directory / "reply.json").write_text(json.dumps(self.describe(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise MediaError(f"cannot write the answer to {directory}: {error.strerror}") from error
        return directory

    def html(self) -> str:
        """The answer as one page that needs no other file."""
        about = f"{self.model}, seed {self.seed}"
        if "total" in self.seconds:
            about += f", {self.seconds['total']:.1f} s"
        return (
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>AnyGen: {escape(about)}</title>\n'
            f"<style>{STYLE}</style>\n<main>\n{self._repr_html_()}\n</main>\n<footer>{escape(about)}</footer>\n</html>\n"
        )

    def _repr_html_(self) -> str:
        return "\n".join(f'<section class="{part.type}">{part._repr_html_()}</section>' for part in self.parts)


STYLE = """
body{font:18px/1.5 system-ui,sans-serif;color:#222;background:#faf9f7;margin:0 auto;max-width:40rem;padding:2rem 1rem}
section{margin:1rem 0} p{margin:0;white-space:pre-wrap} img,video{border-radius:8px} audio{width:100%}
footer{color:#888;font-size:.8rem;margin-top:2rem}
@media(prefers-color-scheme:dark){body{color:#eee;background:#191919}}
"""


def prepare(directory: str | Path) -> Path:
    """Make a folder ready for an answer: an earlier one's parts go, since a shorter one would end in their tail."""
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / "reply.json").is_file():
            for path in directory.iterdir():
                if re.fullmatch(rf"\d{{2,}}-({'|'.join(MODALITIES)})\.\w+", path.name) and path.is_file():
                    path.unlink()
            (directory / "reply.json").unlink()
    except OSError as error:
        raise MediaError(f"cannot write the answer to {directory}: {error.strerror}") from error
    return directory
