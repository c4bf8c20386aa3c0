"""The command line: parts in order, results on stdout, one-line errors, exit codes."""

import argparse
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anygen import cli
from anygen.media import Audio, Image, Made, Text
from anygen.reply import Part, Reply

IMAGE = Image(np.full((4, 6, 3), 7, np.uint8))


def event(kind: str, **fields: Any) -> Any:
    return SimpleNamespace(**{"type": kind, "reply": None, **fields})


class FakeEngine:
    """Answers with what it was made to answer, and remembers what it was asked."""

    def __init__(self, *answer: Made) -> None:
        self.answer = answer
        self.asked: list[Any] = []
        self.options: dict[str, Any] = {}

    def generate(self, request: Any, **options: Any) -> Reply:
        return list(self.stream(request, **options))[-1].reply

    def stream(self, request: Any, **options: Any) -> Iterator[Any]:
        self.asked.append(request)
        self.options = options
        parts = tuple(Part(index=i, type=value.type, value=value) for i, value in enumerate(self.answer, 1))
        for part in parts:
            yield event("part.start", index=part.index, modality=part.type)
            if part.text is not None:
                for word in re.split("(?<= )", part.text):
                    yield event("text.delta", text=word)
            else:
                yield event("part.progress", step=1, steps=2)
            yield event("part.done", part=part)
        yield event("reply.done", reply=Reply(parts=parts, model="fake", seed=options.get("seed", 0)))

    def generate_batch(self, requests: list[Any], **options: Any) -> list[Reply]:
        return [self.generate(request, **options) for request in requests]

    def chat(self, **options: Any) -> Any:
        saved: list[str] = []
        return SimpleNamespace(stream=self.stream, save=saved.append)

    def story(self, idea: str, pages: int, seed: int | None) -> Any:
        return SimpleNamespace(save=lambda path: Path(path).write_text(f"{idea}, {pages} pages, seed {seed}"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    made = FakeEngine(Text("Here it is."))
    module = ModuleType("anygen.engine")
    module.load = lambda model="nano": made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anygen.engine", module)
    monkeypatch.chdir(tmp_path)
    return made


def parsed(*argv: str) -> argparse.Namespace:
    return cli.parser().parse_args(["generate", *argv])


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["Draw", "a", "cat"], [("word", "Draw"), ("word", "a"), ("word", "cat")]),
        (["--image", "a.png", "what?"], [("image", "a.png"), ("word", "what?")]),
        (
            ["what", "--image=a.png", "--text=-x-", "b"],
            [("word", "what"), ("image", "a.png"), ("text", "-x-"), ("word", "b")],
        ),
        (
            ["--image", "a", "x", "--audio", "b", "--video", "c"],
            [("image", "a"), ("word", "x"), ("audio", "b"), ("video", "c")],
        ),
        (["-", "what?"], [("stdin", []), ("word", "what?")]),
        (["--seed", "7", "x", "-o", "out", "--", "--image", "-"], [("word", "x"), ("word", "--image"), ("word", "-")]),
        (["--to", "image", "x", "--to", "text", "--json"], [("word", "x")]),
    ],
)
def test_parts_keep_the_order_of_the_command_line(argv: list[str], expected: list[Any]) -> None:
    assert parsed(*argv).parts == expected


def test_options_are_parsed_between_parts() -> None:
    args = parsed("--seed", "7", "x", "-o", "out", "--steps=3", "--to", "image", "--to", "audio", "--guidance", "2.5")
    assert (args.seed, args.output, args.steps, args.to, args.guidance) == (7, Path("out"), 3, ["image", "audio"], 2.5)


def test_words_beside_each_other_are_one_text(tmp_path: Path) -> None:
    path = IMAGE.save(tmp_path / "cat.png")
    given = parsed("what", "is", "--image", str(path), "this", "--text", "thing").parts
    assert cli.request(given) == [Text("what is"), IMAGE, Text("this"), Text("thing")]


def test_a_dash_reads_any_medium_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    said = Text("Draw a cat.")
    for value, data in ((IMAGE, IMAGE.encode()), (said, b"Draw a cat."), (said, b"Draw a cat.\n")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert cli.request(parsed("-", "and", "more").parts) == [value, Text("and more")]


def test_text_goes_to_stdout_and_progress_to_stderr(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "Say", "hello", "--seed", "7", "--to", "text"]) == 0
    out, err = capsys.readouterr()
    assert out == "Here it is.\n" and err == "loading nano ...\n"
    assert engine.asked == [[Text("Say hello")]] and engine.options == {"seed": 7, "to": ["text"]}
    assert not Path("answer").exists()


def test_media_are_kept_and_their_paths_printed(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.answer = (Text("Here."), IMAGE, Audio(np.zeros(9, np.float32), 8000))
    assert cli.main(["generate", "Draw a cat"]) == 0
    assert capsys.readouterr().out == "Here.\nanswer/02-image.png\nanswer/03-audio.wav\n"
    assert cli.main(["generate", "Draw a cat", "-o", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(Path("other/reply.json").read_text())
    engine.answer = (Text("Only words."),)
    assert cli.main(["generate", "Speak", "-o", "answer"]) == 0
    assert sorted(path.name for path in Path("answer").iterdir()) == ["01-text.txt", "answer.html", "reply.json"]
    assert Image("other/02-image.png") == IMAGE


def test_story_is_written(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["story", "a dog who finds a rocket", "--pages", "2", "--seed", "7", "-o", "book"]) == 0
    assert capsys.readouterr().out == "book/story.html\nbook/story.md\n"
    for name in ("story.html", "story.md"):
        assert Path("book", name).read_text() == "a dog who finds a rocket, 2 pages, seed 7"


def test_chat_takes_files_and_survives_slips(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = IMAGE.save("cat.png")
    lines = f"/image nowhere.png\n/image\n/image {path}\nwhat is this?\n\n/frob\n/save \n/save c.json\n/help\nthanks\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert cli.main(["chat"]) == 0
    out, err = capsys.readouterr()
    assert out == "Here it is.\nHere it is.\n"
    assert engine.asked == [[IMAGE, Text("what is this?")], [Text("thanks")]]
    assert "/image needs a file" in err and "/save needs a file" in err and "is said to the model" in err
    assert "no such file: nowhere.png" in err and "unknown command /frob" in err and "saved c.json" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["frob"], "invalid choice: 'frob'"),
        (["generate"], "the prompt is empty"),
        (["generate", ""], "the prompt is empty"),
        (["generate", "--frob", "x"], "unrecognized arguments: --frob"),
        (["generate", "--imag", "x"], "unrecognized arguments: --imag"),
        (["generate", "--image"], "--image: expected one argument"),
        (["generate", "--seed", "x", "y"], "--seed: invalid int value: 'x'"),
        (["generate", "--to", "smell", "x"], "invalid choice: 'smell'"),
        (["generate", "--image", "nowhere.png", "x"], "no such file: nowhere.png"),
        (["generate", "--image", "bad.png", "x"], "bad.png is not an image"),
        (["story", " "], "the idea is empty"),
        (["generate", "--frob", "x"], "see `anygen generate --help`"),
        (["generate", "x", "--seed", "-1"], "seed=-1 is outside of 0"),
        (["generate", "x", "-o", "bad.png"], "-o bad.png: this is a file; name a folder"),
        (["chat", "-o", "bad.png"], "-o bad.png: this is a file"),
        (["story", "x", "-o", "bad.png"], "-o bad.png: this is a file"),
        (["story", "x", "--pages", "0"], "a story has 1 to 8 pages"),
        (["story", "x", "--pages", "9"], "a story has 1 to 8 pages"),
        (["bench", "--processes", "-1"], "--processes -1: 0 leaves whole processes out"),
        (["train", "nano", "--set", "steps"], "--set 'steps' is not KEY=VALUE"),
        (["bench", "--repeats", "0"], "measure at least once"),
        (["data"], "required: KIND"),
        (["data", "sample", "playground", "-o", "out", "-n", "0"], "at least 1 conversation"),
    ],
)
def test_a_known_error_is_one_line_and_exit_2(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    Path("bad.png").write_bytes(b"no picture")
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("anygen: ") and err.count("\n") == 1 and message in err


def test_an_unknown_error_is_a_traceback(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "stream", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["generate", "x"])


def test_ctrl_c_is_one_line_and_exit_130(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "stream", stop)
    assert cli.main(["generate", "x"]) == 130
    assert capsys.readouterr().err.endswith("anygen: stopped\n")


def test_list_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "nano" in out and "imagebind_huge" in out and "CC-BY-NC-SA-4.0" in out and "NOT FOR COMMERCIAL USE" in out
    assert cli.main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    parts = {part["name"]: part for row in rows for part in row["parts"]}
    assert parts["imagebind_huge"]["licence"] == "CC-BY-NC-SA-4.0" and parts["imagebind_huge"]["commercial"] is False
    assert rows[0]["name"] == "nano" and rows[0]["licence"] == "Apache-2.0"


def test_eval_prints_its_cells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"right": 0.93, "low": 0.91, "high": 0.95, "n": 500}
    figures = {
        "suite": "matrix",
        "model": "nano",
        "split": "heldout",
        "seed": 0,
        "judge": {"accuracy": 0.995, "n": 1000},
        "cells": {"text->image": {"one thing": cell}},
    }
    module = ModuleType("anygen.evaluation")
    module.evaluate = lambda suite, **options: figures  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anygen.evaluation", module)
    assert cli.main(["eval", "matrix"]) == 0
    out = capsys.readouterr().out
    assert "0.930 [0.910, 0.950] n=500" in out and "the judge itself: 0.995" in out
    assert cli.main(["eval", "matrix", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == figures


def test_bench_measures_every_work(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--model", str(tiny), "--repeats", "2", "--processes", "0", "--json"]) == 0
    rows = {row["work"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [
        "first text token, engine loaded",
        "one image, engine loaded",
        "four images at once",
        "weights on disk",
    ]
    image, batch = rows["one image, engine loaded"], rows["four images at once"]
    assert set(image) == {"work", "ours", "instead", "against", "ratio", "target"}
    assert image["ours"]["n"] == 2 and image["ratio"] == pytest.approx(image["ours"]["median"] / 2, abs=1e-3)
    assert batch["against"] == "one after the other" and batch["ratio"] > 0
    assert cli.main(["bench", "--model", str(tiny), "--repeats", "1", "--processes", "0"]) == 0
    assert "MB: met" in capsys.readouterr().out  # how fast it is says the machine, not a test


@pytest.mark.parametrize(
    "command",
    ["generate", "chat", "story", "demo", "train", "convert", "eval", "data", "list", "plan", "bench", "doctor"],
)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0 and f"usage: anygen {command}" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom anygen.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'av', 'soundfile', 'transformers', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: anygen") and done.stdout.endswith("[]\n")


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "anygen", "generate", ""], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("anygen: the prompt is empty") and done.stdout == ""


def test_a_closed_pipe_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "anygen", "list"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == "" and done.returncode == 141


def test_what_is_not_installed_or_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["data", "sample", "playground", "-n", "1", "-o", str(tmp_path / "file" / "set")]) == 2
    assert "no data set can be written to" in capsys.readouterr().err
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(["train", "nano-night"]) == 2
    assert capsys.readouterr().err == "anygen: training needs peft: pip install 'anygen[train]'\n"
    assert cli.main(["demo"]) == 2
    assert "the demo needs gradio" in capsys.readouterr().err
