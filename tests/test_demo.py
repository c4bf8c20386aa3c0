"""The web demo without a browser: what a visitor sees while an answer is made, and what is kept when one fails."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import REFUSAL, ScriptedEngine, picture

import anygen
from anygen.error import RequestError
from anygen.media import Audio, Image, Text, Video

pytest.importorskip("gradio", reason="the demo needs gradio")

from anygen.demo import Visit, build, drawing, launch, options_of


def said(text: str, *files: Path) -> dict[str, Any]:
    return {"text": text, "files": [str(file) for file in files]}


def visit(*answers: list[Any]) -> Visit:
    return Visit(ScriptedEngine(*answers))  # type: ignore[arg-type]


def test_parts_appear_in_order_and_text_grows() -> None:
    made = visit(["One two.", 1, "Three.", 2])
    seen = [made.shown()[-1]["content"] for _ in made.ask(said("go"), {})]
    texts = [content[0] for content in seen if content and isinstance(content[0], str)]
    assert "One " in texts and texts[-1] == "One two."
    bars = [content[1] for content in seen if len(content) == 2 and isinstance(content[1], str)]
    assert bars == [drawing("image", step, 3) for step in (0, 1, 2, 3)]
    first, shown, third, fourth = seen[-1]
    assert (first, third) == ("One two.", "Three.")
    assert Image(shown["path"]) == picture(1) and Image(fourth["path"]) == picture(2)
    made.close()
    assert not made.folder.exists()


def test_what_was_shown_is_sent_in_order(tmp_path: Path) -> None:
    made = visit(["A cat."])
    file = picture(7).save(tmp_path / "cat.png")
    *_, line = made.ask(said("What is this?", file), options_of(3.0, 2.0, 1.5))
    assert line == "seed 9, 0.5 s"
    assert made.engine.asked == [  # type: ignore[attr-defined]
        ((picture(7), Text("What is this?")), {"seed": 3, "steps": 2, "guidance": 1.5})
    ]
    assert made.shown()[0] == {"role": "user", "content": [{"path": str(file)}, "What is this?"]}
    assert options_of(None, 2, 1) == {"steps": 2, "guidance": 1}


def test_films_are_shown_and_sent_with_their_sound(tmp_path: Path) -> None:
    film = Video(np.full((4, 16, 16, 3), 90, np.uint8), fps=8, audio=Audio(np.zeros(8000), 16_000))
    made = visit(["Look.", film], ["A cat."])
    list(made.ask(said("go"), {}))
    text, shown = made.shown()[-1]["content"]
    assert text == "Look." and shown["path"].endswith(".mp4") and Video(shown["path"]).audio is not None
    list(made.ask(said("What moves?", Path(shown["path"])), {}))
    assert made.engine.asked[1][0] == (Video(shown["path"]), Text("What moves?"))  # type: ignore[attr-defined]
    made.close()


def test_an_error_is_shown_and_nothing_is_lost() -> None:
    made = visit(["Yes."], ["Half ", 1, REFUSAL], ["Now."])
    list(made.ask(said("one"), {}))
    list(made.ask(said("two"), {}))
    answer = made.shown()[-1]["content"]
    assert answer[0] == "Half" and answer[2] == f"⚠ {REFUSAL}"
    assert [message["role"] for message in made.shown()] == ["user", "assistant"] * 2
    assert len(made.chat.turns) == 1  # the model's conversation is as before
    list(made.again({}))
    assert made.shown()[2:] == [{"role": "user", "content": ["two"]}, {"role": "assistant", "content": ["Now."]}]
    assert len(made.chat.turns) == 2


def test_a_missing_file_is_an_error_in_the_chat(tmp_path: Path) -> None:
    made = visit()
    list(made.ask(said("", tmp_path / "gone.png"), {}))
    assert "no such file" in made.shown()[-1]["content"][0]


def test_stop_leaves_what_was_whole() -> None:
    made = visit(["One.", 1, "Two."], ["Again."])
    for _ in made.ask(said("go"), {}):
        if made.turns[-1].answer[1:]:
            made.stopped.set()
    assert made.shown()[-1]["content"] == ["One.", "(stopped)"] and made.chat.turns == []
    list(made.ask(said("go"), {}))
    assert made.shown()[-1]["content"] == ["Again."]


def test_take_back_and_try_again() -> None:
    made = visit(["One."], ["Two."])
    assert made.undo() is None and list(made.again({})) == []
    list(made.ask(said("go"), {}))
    list(made.again({"seed": 4}))
    assert made.shown()[-1]["content"] == ["Two."] and len(made.chat.turns) == 1
    turn = made.undo()
    assert turn is not None and turn.said == said("go") and made.shown() == [] and made.chat.turns == []


def test_the_page_answers_with_a_real_model(tiny: Path) -> None:
    engine = anygen.load(tiny, device="cpu")
    page = build(engine)
    say = next(fn for fn in page.fns.values() if fn.api_name == "say")
    assert say.fn is not None
    steps = list(say.fn({"text": "Draw a cat.", "files": []}, None, 3, 1, 1.0))
    box, shown, _, visit = steps[-1]
    assert [message["role"] for message in shown] == ["user", "assistant"]
    assert visit.turns[0].whole and visit.chat.turns[1].seed == 3
    ((_, _, line, held),) = say.fn({"text": " ", "files": []}, visit, None, 1, 1.0)
    assert held is visit and line == "say what you want, or add a file"
    visit.close()
    page.close(verbose=False)


def test_a_port_that_is_taken_is_one_line() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"cannot listen on 127.0.0.1:{port}: .*; choose another"):
            launch(ScriptedEngine(), port=port, wait=False)  # type: ignore[arg-type]
