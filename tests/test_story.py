"""Stories: pages are what the answer holds, and the files need no others."""

import re
from pathlib import Path
from typing import Any

import pytest
from scripted import ScriptedEngine, picture

import anygen
from anygen.error import MediaError, RequestError
from anygen.media import Image, Text
from anygen.playground.tale import story_request
from anygen.request import Event
from anygen.story import Page, Story, request, stream, tell


def told(*values: str | int, idea: str = "a dog") -> Story:
    return tell(ScriptedEngine(list(values)), idea)  # type: ignore[arg-type]


def test_a_text_goes_with_the_picture_that_follows_it() -> None:
    story = told(" One.\n", 1, "Two.", 2, 3, "The end.")
    assert list(story) == [
        Page(text="One.", image=picture(1), seed=10),
        Page(text="Two.", image=picture(2), seed=12),
        Page(text="", image=picture(3), seed=13),
        Page(text="The end."),
    ]
    assert story.images == [picture(1), picture(2), picture(3)]
    assert (story.title, story.idea, len(story)) == ("A dog", "a dog", 4)
    assert list(told(1)) == [Page(text="", image=picture(1), seed=9)]


def test_a_page_is_streamed_as_soon_as_it_is_whole() -> None:
    seen: list[Any] = []
    story = tell(ScriptedEngine(["One.", 1, "Two.", 2]), "a dog", on_event=seen.append)  # type: ignore[arg-type]
    kinds = [event.type if isinstance(event, Event) else type(event).__name__ for event in seen]
    page = ["part.start", "text.delta", "part.done", "part.start", *["part.progress"] * 3, "part.done", "Page"]
    assert kinds == [*page, *page, "reply.done", "Story"]
    assert seen[-1] is story and [event for event in seen if isinstance(event, Page)] == list(story)


@pytest.mark.parametrize("idea", ["a cat who wants to fly", "A cat that is hungry.", " the moon!"])
@pytest.mark.parametrize("pages", [2, 5])
def test_the_request_is_one_that_the_model_learned(idea: str, pages: int) -> None:
    engine = ScriptedEngine(["One.", 1])
    tell(engine, idea, pages=pages, seed=3)  # type: ignore[arg-type]
    assert engine.asked == [((Text(story_request(idea, pages)),), {"edit": False, "budget": pages, "seed": 3})]
    assert request("a cat", 2) == "Tell a story about a cat in 2 pages."


def test_an_answer_without_pictures_is_an_error_in_the_models_words() -> None:
    with pytest.raises(RequestError, match="'a zebra'; m says: I do not know a zebra. Try a horse.$"):
        told("I do not know a zebra.\nTry a horse.", idea="a zebra")
    with pytest.raises(RequestError, match=r"m says: \(nothing\)"):
        told()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"idea": " "}, "the idea is empty"),
        ({"idea": "..."}, "the idea is empty"),
        ({"idea": "x", "pages": 0}, "pages=0: a story has 1 to 8 pages"),
        ({"idea": "x", "pages": 9}, "pages=9"),
        ({"idea": "x", "pages": True}, "pages=True"),
        ({"idea": "x", "pages": "4"}, "pages='4'"),
    ],
)
def test_a_bad_request_is_refused_at_the_call(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        stream(ScriptedEngine(["x", 1]), **options)  # type: ignore[arg-type]


def test_html_needs_no_other_file(tmp_path: Path) -> None:
    story = told("One & <b>.", 1, "Two.", 2, idea="a <dog>")
    page = story.save(tmp_path / "story.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == page.count("<img") == 2
    assert "<h1>A &lt;dog&gt;</h1>" in page and "<p>One &amp; &lt;b&gt;.</p>" in page
    assert not re.search(r"https?:|//|@import|<script|<link", re.sub(r'"data:[^"]*"', "", page))
    assert story._repr_html_() in page
    assert [path.name for path in tmp_path.iterdir()] == ["story.html"]


def test_markdown_has_its_pictures_beside_it(tmp_path: Path) -> None:
    story = told("One * two.", 1, "End.", idea="a dog")
    text = story.save(tmp_path / "my story.md").read_text()
    assert text == ("# A dog\n\n![page 1](<my story/01.png>)\n\nOne \\* two.\n\nEnd.\n\n*told by m, seed 9*\n")
    assert Image(tmp_path / "my story" / "01.png") == picture(1)


def test_where_a_story_cannot_be_written(tmp_path: Path) -> None:
    story = told("One.", 1)
    with pytest.raises(MediaError, match="'.pdf'; use .html, .md"):
        story.save(tmp_path / "story.pdf")
    with pytest.raises(MediaError, match="cannot write the story to .*No such file"):
        story.save(tmp_path / "nowhere" / "story.html")


def test_a_real_model_tells_and_goes_on(tiny: Path, tmp_path: Path) -> None:
    engine = anygen.load(tiny, device="cpu")
    story = engine.story("a dog", pages=2, seed=0, to=("text", "image"), max_new_tokens=8)
    assert 1 <= len(story.images) <= 2
    assert story.save(tmp_path / "story.html").read_text().count("<img") == len(story.images)
    assert story.chat.send("And then?", max_new_tokens=2, to="text")
    again = engine.story("a dog", pages=2, seed=0, to=("text", "image"), max_new_tokens=8)
    assert again.pages == story.pages
