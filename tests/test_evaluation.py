"""Suites with an oracle, which must be right everywhere, and with a mute and a mistaken engine, which must not."""

import json
import random
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anygen import evaluation
from anygen.error import RequestError
from anygen.evaluation import suites
from anygen.evaluation.cells import World, kept
from anygen.evaluation.judge import Seen, Verdict
from anygen.evaluation.sheet import sheet
from anygen.media import Image
from anygen.playground.scene import Placed, Scene
from anygen.reply import Part, Reply

ASKED = ("matrix", "vqa", "pope", "caption", "dialogue", "story")


class Fixed:
    """Answers each request, known by its seed, with given values."""

    name = "fixed"

    def __init__(self, answers: dict[int, tuple[Any, ...]]) -> None:
        self.answers = answers

    def generate(self, request: Any, *, seed: int) -> Reply:
        values = self.answers.get(seed, ())
        parts = (Part(index=i, type=value.type, value=value) for i, value in enumerate(values, 1))
        return Reply(parts=tuple(parts), model=self.name, seed=seed)

    def generate_batch(self, requests: list[Any], *, seed: list[int]) -> list[Reply]:
        return [self.generate(request, seed=number) for request, number in zip(requests, seed, strict=True)]


def answers(suite: str, limit: int, seed: int = 0) -> dict[int, tuple[Any, ...]]:
    """The right answers to the suite's own requests."""
    world, right = World(), {}
    for name, (cell, _) in suites.ASKED[suite][0].items():
        source = cell(world, random.Random(f"{suite}|{name}|{seed}|heldout"), "heldout")
        for _ in range(limit):
            case = next(source)
            right[case.seed] = case.answer
    return right


@pytest.mark.parametrize("suite", ASKED)
def test_an_oracle_is_right(suite: str) -> None:
    if suite == "caption":
        pytest.importorskip("pycocoevalcap")
    figures = evaluation.evaluate(suite, model=Fixed(answers(suite, 6)), limit=6)
    assert set(figures["cells"]) == set(suites.ASKED[suite][0])
    for cell, rows in figures["cells"].items():
        for row, values in rows.items():
            assert values["right"] == 1 and values["n"] >= 1 and values["low"] < 1 == values["high"], (cell, row)


@pytest.mark.parametrize("suite", ASKED)
def test_a_mute_engine_is_wrong(suite: str) -> None:
    if suite == "caption":
        pytest.importorskip("pycocoevalcap")
    figures = evaluation.evaluate(suite, model=Fixed({}), limit=3)
    for rows in figures["cells"].values():
        assert all(values["right"] == 0 for values in rows.values())


def test_a_wrong_picture_is_wrong() -> None:
    right = answers("matrix", 4)
    pictures = [seed for seed, values in right.items() if any(isinstance(value, Image) for value in values)]
    shifted = {seed: right[other] for seed, other in zip(pictures, pictures[1:] + pictures[:1], strict=True)}
    cells = evaluation.evaluate("matrix", model=Fixed(shifted), limit=4)["cells"]
    assert all(values["right"] == 0 for row, values in cells["text->image"].items() if "backdrop" in row)
    assert cells["image->image"]["change made, rest kept"]["right"] == 0


def test_figures_have_the_public_shape(tmp_path: Path) -> None:
    figures = evaluation.evaluate("matrix", model=Fixed(answers("matrix", 6)), limit=6, output=tmp_path)
    keys = ["suite", "model", "split", "seed", "cells", "seconds", "measures", "judge", "ear", "watcher", "command"]
    assert list(figures)[: len(keys)] == keys and {"machine", "torch"} <= set(figures)
    assert (figures["suite"], figures["model"], figures["split"], figures["seed"]) == ("matrix", "fixed", "heldout", 0)
    for judge in ("judge", "ear", "watcher"):
        assert 0 < figures[judge]["n"] <= 24 and 0 <= figures[judge]["accuracy"] <= 1
    assert set(figures["seconds"]) == set(figures["cells"])
    assert {"median", "p95"} <= set(figures["seconds"]["text->image"])
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    items = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert len(items) == 6 * len(suites.ASKED["matrix"][0])
    for item in items:
        kept_files = [p["path"] for m in item["request"] for p in m["content"] if p["type"] != "text"]
        kept_files += [part["path"] for part in item["answer"] if part["type"] != "text"]
        assert all((tmp_path / path).is_file() for path in kept_files)
        assert all(item["right"].values())
    assert (tmp_path / "text-image.png").is_file() and (tmp_path / "image-image.png").is_file()


def test_same_seed_same_requests() -> None:
    first, again, other = answers("matrix", 3), answers("matrix", 3), answers("matrix", 3, seed=1)
    assert first == again and first.keys().isdisjoint(other)


def test_cells_that_a_model_cannot_do_are_left_out() -> None:
    engine = Fixed(answers("matrix", 2))
    engine.reads, engine.writes = ("text", "image"), ("text",)  # type: ignore[attr-defined]
    assert set(evaluation.evaluate("matrix", model=engine, limit=2)["cells"]) == {"text->text", "image->text"}
    figures = evaluation.evaluate("matrix", model=engine, limit=1, cells=["image->*", "*->video"])
    assert set(figures["cells"]) == {"image->text"}
    assert figures["command"] == "anygen eval matrix --seed 0 --limit 1 --cells 'image->*' '*->video'"


def test_an_untouched_thing_must_stay() -> None:
    cat, dog = (Placed(thing=name, size="medium", x=x, y=0.5) for name, x in (("cat", 0.25), ("dog", 0.75)))
    source = Scene(kind="pair", things=(cat, dog), backdrop="sea", relation="left of")
    target = Scene(kind="one", things=(cat,), backdrop="sea")

    def verdict(x: float) -> Verdict:
        seen = Seen(thing="cat", size="medium", x=x, y=0.5, score=1.0)
        return Verdict(things=(seen,), backdrop="sea", backdrop_score=1.0)

    assert kept(verdict(0.35), source, target) and not kept(verdict(0.45), source, target)


def test_unknown_suites_and_limits_are_named() -> None:
    with pytest.raises(RequestError, match="no suite is called 'taste'; there are matrix"):
        evaluation.evaluate("taste")
    with pytest.raises(RequestError, match="limit=0"):
        evaluation.evaluate("matrix", limit=0)
    with pytest.raises(RequestError, match=r"no cell of matrix is called 'image->smell'; there are text->text, text->"):
        evaluation.evaluate("matrix", model=Fixed({}), cells=["text->*", "image->smell"])
    with pytest.raises(RequestError, match="the suite 'judge' has no cells to choose from"):
        evaluation.evaluate("judge", cells=["*"])


def test_the_judge_suite(tmp_path: Path) -> None:
    figures = evaluation.evaluate("judge", limit=6, output=tmp_path)
    assert figures["model"] == "none"
    assert figures["cells"]["render of one"]["clean: all"]["right"] == 1
    assert figures["cells"]["wrong"]["another scene refused"]["right"] == 1


def test_sheet_sizes() -> None:
    images = [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 48, 3), np.uint8), np.zeros((200, 100, 3), np.uint8)]
    plain, captioned = sheet(images, columns=2), sheet(images, ["a", "b", "c"], columns=2, right=[True, False, None])
    assert plain.width == captioned.width and plain.height < captioned.height
    with pytest.raises(ValueError, match="1 captions for 3 images"):
        sheet(images, ["a"])
    strips = [np.full((20, 160, 3), 200, np.uint8)] * 3
    assert sheet(strips, columns=1, side=160).size == (6 + 160 + 6 + 6, 6 + 3 * (20 + 6 + 6))


def test_curves_are_drawn_of_what_a_step_has_logged(tmp_path: Path) -> None:
    tool = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "draw_curves.py"))
    rows = [{"step": step, "rate": 1.0, "per_second": 2.0, "text": 2.0 / step, "_right": 0.5} for step in (50, 100)]
    rows.insert(1, {"step": 50, "right_draw": 0.5})  # figures of a sample
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tool["losses"](tmp_path) == {"text": [(50, pytest.approx(0.04)), (100, pytest.approx(0.02))]}
    assert tool["smooth"]([(n, 3.0) for n in range(1000)])[0] == (9, pytest.approx(3.0))
    picture = tool["sheet"]([tmp_path] * 4)
    assert picture.size == (3 * tool["WIDE"], 2 * tool["HIGH"])
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(SystemExit, match="fewer than two rows"):
        tool["panel"](tmp_path)
