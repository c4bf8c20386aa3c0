"""Illustrated stories: an idea goes in, pages of text and picture come out, told in one conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anygen.error import MediaError, RequestError
from anygen.media import Image, data_url
from anygen.reply import Reply
from anygen.request import Event

if TYPE_CHECKING:
    from anygen.chat import Chat
    from anygen.engine import Engine

REQUEST = "Tell a story about {idea} in {pages} pages."
MOST_PAGES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page: a text and the picture beside it, with the seed that it was made with; either may be missing."""

    text: str
    image: Image | None = None
    seed: int | None = None


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
    def title(self) -> str:
        """The idea as a heading."""
        return self.idea[:1].upper() + self.idea[1:]

    @property
    def images(self) -> list[Image]:
        """All pictures in order."""
        return [page.image for page in self.pages if page.image is not None]

    def html(self) -> str:
        """The story as one web page that needs no other file."""
        about = f"told by {self.reply.model}, seed {self.reply.seed}"
        return (
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n"
            f"<style>{STYLE}</style>\n<main>\n<h1>{escape(self.title)}</h1>\n{self._repr_html_()}\n</main>\n"
            f"<footer>{escape(about)}</footer>\n</html>\n"
        )

    def markdown(self, folder: str) -> str:
        """The story as Markdown whose pictures are 01.png, 02.png, ... in `folder`."""
        blocks = [f"# {_plain(self.title)}"]
        for number, page in enumerate(self.pages, 1):
            if page.image is not None:
                blocks.append(f"![page {number}](<{folder}/{number:02d}.png>)")
            if page.text:
                blocks.append(_plain(page.text))
        return "\n\n".join([*blocks, f"*told by {_plain(self.reply.model)}, seed {self.reply.seed}*"]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the story and return its path: `.html` is one file, `.md` has its pictures in a folder beside it."""
        path = Path(path)
        if path.suffix not in (".html", ".md"):
            raise MediaError(f"cannot write a story as {path.suffix or 'a file without suffix'!r}; use .html, .md")
        try:
            if path.suffix == ".html":
                path.write_text(self.html(), encoding="utf-8")
                return path
            folder = path.with_suffix("")
            folder.mkdir(exist_ok=True)
            for number, page in enumerate(self.pages, 1):
                if page.image is not None:
                    page.image.save(folder / f"{number:02d}.png")
            path.write_text(self.markdown(folder.name), encoding="utf-8")
        except OSError as error:
            raise MediaError(f"cannot write the story to {path}: {error.strerror}") from error
        return path

    def _repr_html_(self) -> str:
        sections = []
        for number, page in enumerate(self.pages, 1):
            shown = "" if page.image is None else _picture(page.image, number)
            said = f"<p>{escape(page.text)}</p>" if page.text else ""
            sections.append(f"<section>{shown}{said}</section>")
        return "\n".join(sections)


STYLE = """
body{font:21px/1.6 Georgia,'Iowan Old Style','DejaVu Serif',serif;color:#2b2622;background:#fbf7ef;margin:0}
main{max-width:30rem;margin:0 auto;padding:3rem 1.2rem 1rem}
h1{font-size:1.9rem;line-height:1.25;font-weight:600;text-align:center;text-wrap:balance;margin:0 0 3rem}
section{margin:0 0 3.2rem} p{margin:1rem .2rem 0;white-space:pre-wrap;text-wrap:pretty}
img{display:block;width:100%;border-radius:14px;box-shadow:0 6px 28px #0002}
footer{color:#9a8f84;font:.72rem system-ui,sans-serif;text-align:center;padding:0 1rem 3rem}
@media(prefers-color-scheme:dark){body{color:#ece5dc;background:#1d1a18} img{box-shadow:none} footer{color:#8a8078}}
@media print{section{break-inside:avoid} img{box-shadow:none}}
"""


def _picture(image: Image, number: int) -> str:
    rendering = "pixelated" if image.width < 64 else "auto"
    style = f"width:100%;image-rendering:{rendering}"
    return f'<img src="{data_url(image)}" style="{style}" alt="the picture of page {number}">'


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in r"\`*_[]<>#|!" else c for c in text)


def tell(
    engine: Engine,
    idea: str,
    *,
    pages: int = 4,
    on_event: Callable[[Event | Page | Story], None] | None = None,
    **options: Any,
) -> Story:
    """A story about `idea`, as in "a dog who finds a rocket"; `on_event` is called with all that `stream` yields."""
    for event in stream(engine, idea, pages=pages, **options):
        if on_event is not None:
            on_event(event)
        if isinstance(event, Story):
            return event
    raise AssertionError("a stream ends with its story")


def stream(engine: Engine, idea: str, *, pages: int = 4, **options: Any) -> Iterator[Event | Page | Story]:
    """The events of the answer as they happen, every page once it is whole, and last the story.

    The request is checked at the call. Options are those of `Engine.generate`. An answer without a picture is a
    RequestError in the model's own words: it does not know what the story is to be about.
    """
    idea = idea.strip().rstrip(".!?")
    if not idea:
        raise RequestError("the idea is empty: say what the story is about")
    if isinstance(pages, bool) or not isinstance(pages, int) or not 1 <= pages <= MOST_PAGES:
        raise RequestError(f"pages={pages!r}: a story has 1 to {MOST_PAGES} pages")
    chat = engine.chat()
    events = chat.stream(request(idea, pages), **{"edit": False, "budget": pages, **options})
    return _follow(events, idea, chat)


def request(idea: str, pages: int) -> str:
    """What the model is asked."""
    return REQUEST.format(idea=idea[:1].lower() + idea[1:], pages=pages)


def _follow(events: Iterator[Event], idea: str, chat: Chat) -> Iterator[Event | Page | Story]:
    told: list[Page] = []
    text = ""
    for event in events:
        yield event
        if event.part is not None and event.part.text is not None:
            text += event.part.text
        elif event.part is not None and isinstance(event.part.value, Image):
            told.append(Page(text=text.strip(), image=event.part.value, seed=event.part.seed))
            text = ""
            yield told[-1]
        if event.reply is not None:
            if not told:
                raise RequestError(f"no story was told about {idea!r}; {event.reply.model} says: {_one_line(text)}")
            if text.strip():
                told.append(Page(text=text.strip()))
                yield told[-1]
            yield Story(idea=idea, pages=tuple(told), reply=event.reply, chat=chat)


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "(nothing)"
