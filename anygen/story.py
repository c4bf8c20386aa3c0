"""Interleaved stories: pages of text and picture, told in one conversation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygen.error import RequestError
from anygen.media import Image, data_url
from anygen.reply import STYLE, Reply

if TYPE_CHECKING:
    from anygen.chat import Chat
    from anygen.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page: its text, and its pictures in order."""

    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """A story as the model told it. `chat` is the conversation it was told in, for going on or asking about it."""

    idea: str
    pages: tuple[Page, ...]
    reply: Reply
    chat: Chat

    def __iter__(self) -> Iterator[Page]:
        return iter(self.pages)

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def images(self) -> list[Image]:
        """All pictures in order."""
        return [image for page in self.pages for image in page.images]

    def html(self) -> str:
        """The story as one web page that needs no other file."""
        return (
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(self.idea)}</title>\n'
            f"<style>{STYLE}</style>\n<main>\n<h1>{escape(self.idea)}</h1>\n{self._repr_html_()}\n</main>\n"
            f"<footer>{escape(self.reply.model)}, seed {self.reply.seed}</footer>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write `html` to a file and return its path."""
        path = Path(path)
        path.write_text(self.html(), encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        sections = []
        for page in self.pages:
            pictures = "".join(
                f'<img src="{data_url(image)}" style="width:100%;image-rendering:{_rendering(image)}" alt="">'
                for image in page.images
            )
            sections.append(f"<section>{pictures}<p>{escape(page.text)}</p></section>")
        return "\n".join(sections)


def _rendering(image: Image) -> str:
    return "pixelated" if image.width < 256 else "auto"


def tell(engine: Engine, idea: str, *, pages: int = 4, **options: Any) -> Story:
    """Ask for a story about `idea` with at most `pages` pictures. Options are those of `Engine.generate`."""
    if not idea.strip():
        raise RequestError("the idea is empty: say what the story is about")
    if pages < 1:
        raise RequestError(f"pages={pages}: a story has at least 1 page")
    chat = engine.chat()
    reply = chat.send(
        f"Tell a story about {idea.strip()} in {pages} pages.", **{"edit": False, "budget": pages, **options}
    )
    return Story(idea=idea.strip(), pages=tuple(turn_pages(reply)), reply=reply, chat=chat)


def turn_pages(reply: Reply) -> Iterator[Page]:
    """The parts of an answer as pages: a page ends where text follows a picture."""
    text = ""
    images: list[Image] = []
    for part in reply:
        if part.text is not None and images:
            yield Page(text=text.strip(), images=tuple(images))
            text, images = "", []
        if part.text is not None:
            text += part.text
        elif isinstance(part.value, Image):
            images.append(part.value)
    if text.strip() or images:
        yield Page(text=text.strip(), images=tuple(images))
