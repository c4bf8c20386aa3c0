"""A model that reads depth, heat and motion: requests, errors, folders, and what its answers cannot hold."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anygen.chat import Chat
from anygen.engine import Engine, load
from anygen.error import ModelError, RequestError
from anygen.evaluation import suites
from anygen.evaluation.cells import World
from anygen.evaluation.sense_cells import MATRIX, TARGETS
from anygen.reply import Part, Reply
from anygen.sensed import Depth, Imu, Thermal
from anygen.signals import SignalTokens, find_spans
from anygen.testing import tiny_model

SENSES = ("depth", "thermal", "imu")
DEPTH = Depth(np.random.default_rng(0).random((20, 20), dtype=np.float32))
THERMAL = Thermal(DEPTH.values)
IMU = Imu(np.random.default_rng(1).standard_normal((6, 40)), rate=16)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(tiny_model(tmp_path_factory.mktemp("senses") / "tiny", media=("image", *SENSES)), device="cpu")


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_it_reads_them_and_does_not_make_them(engine: Engine) -> None:
    assert engine.reads == ("text", "image", *SENSES) and engine.writes == ("text", "image")
    assert engine.model.tokens == {"image": 4, "depth": 4, "thermal": 4, "imu": 2}
    with pytest.raises(RequestError, match="to='depth': modalities are text, image, audio, video"):
        engine.generate("a cat", to="depth")
    spelt = [
        {"type": "depth", "depth": DEPTH.values},
        {"type": "thermal", "thermal": THERMAL.values},
        {"type": "imu", "imu": IMU.readings, "rate": 16},
        "what?",
    ]
    one, other = (engine.generate(given, seed=1, max_new_tokens=8) for given in ([DEPTH, THERMAL, IMU, "what?"], spelt))
    assert [part.value for part in one] == [part.value for part in other] and one.usage == other.usage


def test_each_stands_in_its_own_brackets(engine: Engine) -> None:
    ids = engine.model.render([{"role": "user", "content": [DEPTH, IMU]}]).ids
    spans = engine.model.vocabulary.spans
    for sense, count in (("depth", 4), ("imu", 2)):
        span = spans[sense]
        start = ids.index(span.open)
        assert ids[start : start + count + 2] == [span.open, *[span.placeholder] * count, span.close]
        assert span.signals == () and ids.count(span.placeholder) == count
    assert find_spans(ids, engine.model.vocabulary) == []
    template = engine.model.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "depth"}, {"type": "imu"}]}], tokenize=True, return_dict=False
    )
    assert list(template) == ids


@torch.no_grad()
def test_the_map_matters_and_is_read_with_the_projector_of_pictures(engine: Engine) -> None:
    model = engine.model
    one, other = (engine.encode(value) for value in (DEPTH, Depth(1 - DEPTH.values)))
    assert one.shape == (4, 32) and not torch.allclose(one, other)
    features = model.encode("depth", [DEPTH])
    torch.testing.assert_close(one, model.project("image", features)[0])
    assert engine.encode(DEPTH) is one  # kept by content
    assert not torch.allclose(one, engine.encode(THERMAL))  # the same numbers are another medium


def test_a_chat_with_a_map_goes_on_and_is_kept(engine: Engine, tmp_path: Path) -> None:
    chat = engine.chat(seed=3, max_new_tokens=6)
    chat.send([DEPTH, "what is this?"])
    chat.send([IMU, "and this?"])
    path = chat.save(tmp_path / "chat.json") or tmp_path / "chat.json"
    again = Chat.load(engine, path)
    shown = [part for message in again.history for part in message.parts if part.type in SENSES]
    assert shown == [DEPTH, IMU]


def test_who_lacks_the_sense_says_so(tmp_path: Path) -> None:
    plain = load(tiny_model(tmp_path / "plain"), device="cpu")
    with pytest.raises(RequestError, match="^no encoder for 'depth'; this model reads text, image$"):
        plain.generate([DEPTH, "what?"])
    with pytest.raises(ModelError, match="no cell of matrix"):
        suites.evaluate("matrix", model=plain, cells=["depth->*", "imu->*"], limit=1, progress=None)


def test_signals_of_what_is_only_read() -> None:
    assert SignalTokens(modality="imu", count=0).names == ("<|imu|>", "<|/imu|>", "<|imu_in|>")
    with pytest.raises(ModelError, match="depth has 2 signal tokens, but is only read: give it 0"):
        SignalTokens(modality="depth", count=2)
    with pytest.raises(ModelError, match="no signal tokens for 'smell'; media are image, audio, video, depth"):
        SignalTokens(modality="smell", count=0)


def test_the_folder_comes_back(engine: Engine, tmp_path: Path) -> None:
    folder = engine.model.save(tmp_path / "again")
    described = json.loads((folder / "input_projectors" / "config.json").read_text())
    assert described["depth"]["type"] == "borrowed" and described["depth"]["lender"] == "image"
    opened = load(folder, device="cpu")
    for value in (DEPTH, THERMAL, IMU):
        assert torch.equal(opened.encode(value), engine.encode(value))


@pytest.mark.parametrize("cell", ["depth->text", "thermal->text", "imu->text", "depth->image", "imu->image"])
def test_cells_are_asked_and_their_own_answers_are_right(cell: str, world: World) -> None:
    source = MATRIX[cell][0](world, random.Random(cell), "heldout")
    cases = [next(source) for _ in range(4)]
    for case in cases:
        outcome = case.check(as_reply(case.answer))
        assert case.cell == cell and all(outcome.rows.values()), (case.expected, outcome)
        assert not next(iter(case.check(as_reply(())).rows.values()))
    assert TARGETS[cell][0] in case_rows(cases)


def case_rows(cases: list[Any]) -> set[str]:
    return {row for case in cases for row in case.check(as_reply(case.answer)).rows}


def as_reply(values: tuple[Any, ...]) -> Reply:
    parts = tuple(
        Part(index=index, type=value.type, value=value, seed=0, seconds=0.0) for index, value in enumerate(values, 1)
    )
    return Reply(parts=parts, model="m", seed=0)


def test_retrieval_says_what_is_emergent(tmp_path: Path) -> None:
    """Every row of the senses is there, over all things and motions; without the senses there is none."""
    from anygen.evaluation.sense_suites import retrieval

    engine = load(tiny_model(tmp_path / "tiny", media=("image", *SENSES)), device="cpu")
    table = retrieval(engine, 3, 0, "heldout")
    assert set(table) == {"depth->image", "thermal->image"}  # this model has no towers for text and films
    assert {row: figures["n"] for row, figures in table["depth->image"].items()} == {"recall@1 of 129": 3}
    assert retrieval(load(tiny_model(tmp_path / "plain"), device="cpu"), 3, 0, "heldout") == {}
