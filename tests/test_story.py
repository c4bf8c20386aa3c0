"""Stories: pages are what the answer holds, and the file needs no other."""

from pathlib import Path

import numpy as np
import pytest

import anygen
from anygen.error import RequestError
from anygen.media import Image, Text
from anygen.reply import Part, Reply
from anygen.story import Page, turn_pages


def picture(value: int) -> Image:
    return Image(np.full((4, 4, 3), value, np.uint8))


def reply(*values) -> Reply:
    given = [Text(value) if isinstance(value, str) else picture(value) for value in values]
    parts = tuple(Part(index=index, type=value.type, value=value) for index, value in enumerate(given, 1))
    return Reply(parts=parts, model="m", seed=0)


def test_a_page_ends_where_text_follows_a_picture():
    assert list(turn_pages(reply("One. ", 1, "Two.", 2, 3, " The end."))) == [
        Page(text="One.", images=(picture(1),)),
        Page(text="Two.", images=(picture(2), picture(3))),
        Page(text="The end."),
    ]
    assert list(turn_pages(reply())) == []
    assert list(turn_pages(reply(1))) == [Page(text="", images=(picture(1),))]


def test_a_story_is_one_file(tiny: Path, tmp_path: Path):
    engine = anygen.load(tiny, device="cpu")
    story = engine.story("a <dog>", pages=2, seed=0, to=("text", "image"), max_new_tokens=8)
    assert 1 <= len(story.images) <= 2
    assert len(story) == len(list(story))
    page = story.save(tmp_path / "story.html").read_text()
    assert page.count("data:image/png;base64,") == len(story.images)
    assert "a &lt;dog&gt;" in page and "http" not in page
    assert story.chat.send("And then?", max_new_tokens=2, to="text")
    for bad in ({"idea": " "}, {"idea": "x", "pages": 0}):
        with pytest.raises(RequestError):
            engine.story(**bad)
