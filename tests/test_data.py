"""Data sets: what is written is read back, and what is wrong is named with file, line and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from anygen.error import DataError
from anygen.playground.clip import Clip
from anygen.playground.dataset import clip_from_json, scene_from_json, scene_to_json, write_dataset
from anygen.playground.scene import Scene
from anygen.training.data import check, read_chats


def ask(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content) or "What is this?"}


ANSWER = {"role": "assistant", "content": "A cat."}


def write(folder: Path, *lines: Any) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "data.jsonl").write_text("".join(text + "\n" for text in texts))
    return folder


def test_a_sampled_set_is_checked_and_read_back(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", 60, seed=3, split="heldout", size=32)
    summary = check(folder)
    examples = list(read_chats(folder))
    assert summary.chats == len(examples) == 60
    parts = [part["type"] for example in examples for part in example.media]
    assert summary.media == {kind: parts.count(kind) for kind in ("image", "audio")}
    assert str(summary).startswith("60 chats, ")
    for example in examples:
        known = [
            values if isinstance(values, list) else [values] for values in (example.scene or [], example.clip or [])
        ]
        assert [len(values) for values in known] == [
            sum(part["type"] == kind for part in example.media) for kind in ("image", "audio")
        ]
        assert all(isinstance(scene_from_json(values), Scene) for values in known[0])
        assert all(isinstance(clip_from_json(values), Clip) for values in known[1])
    assert sorted(path.name for path in folder.iterdir()) == ["data.jsonl", "images", "sounds"]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    folders = [write_dataset(tmp_path / name, 12, seed=5, size=16) for name in "ab"]
    files = [sorted(path for path in folder.rglob("*") if path.is_file()) for folder in folders]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_a_scene_survives_json() -> None:
    import random

    from anygen.playground.scene import sample_scene

    stream = random.Random(0)
    for _ in range(100):
        scene = sample_scene(stream)
        assert scene_from_json(json.loads(json.dumps(scene_to_json(scene)))) == scene
    with pytest.raises(DataError, match="colour"):
        scene_from_json({**scene_to_json(scene), "colour": "red"})


@pytest.mark.parametrize(
    ("n", "size", "message"), [(0, 64, "at least 1 chat, not 0"), (1, 40, "multiple of 16 pixels, not 40")]
)
def test_writing_refuses_what_cannot_be(tmp_path: Path, n: int, size: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_dataset(tmp_path, n, size=size)


def test_writing_spoils_no_other_set(tmp_path: Path) -> None:
    write_dataset(tmp_path, 1, size=16)
    with pytest.raises(DataError, match=r"data\.jsonl is there already"):
        write_dataset(tmp_path, 1, size=16)


def test_a_minimal_chat_is_read(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    (example,) = read_chats(write(tmp_path, {"messages": [system, ask(), ANSWER]}))
    assert example.messages[2] == {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}
    assert example.task is None and example.scene is None and example.media == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "an empty line"),
        ("{", "not JSON"),
        ('{"messages": [], "messages": []}', "key 'messages' is there twice"),
        ([], "the chat is a list, not an object"),
        ({}, "no key 'messages'"),
        ({"messages": []}, "'messages' is a list"),
        ({"messages": [ask(), ANSWER], "tusk": "vqa"}, "unknown key 'tusk'; known are messages, task, scene"),
        ({"messages": [ask(), ANSWER], "task": 3}, "'task' is a number"),
        ({"messages": [ask(), ANSWER], "scene": "cat"}, "'scene' is a string"),
        ({"messages": [ask()]}, "ends without an answer"),
        ({"messages": [ANSWER]}, "messages[0] is of the assistant, but the user must speak there"),
        ({"messages": [ask(), ask(), ANSWER]}, "messages[1] is of the user, but the assistant must speak there"),
        ({"messages": [{"role": "dog", "content": "woof"}]}, "messages[0]: unknown role 'dog'"),
        ({"messages": [{"role": "user"}]}, "messages[0] has no key 'content'"),
        ({"messages": [{"role": "user", "content": []}]}, "'content' is a list"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages[0] has an unknown key 'name'"),
        ({"messages": [ask({"type": "smell"})]}, "messages[0].content[0]: unknown type 'smell'"),
        ({"messages": [ask({"type": "text", "text": " "})]}, "'text' must be a string that is not empty"),
        ({"messages": [ask({"type": "text", "text": "a", "path": "b"})]}, "unknown key 'path'; known are type, text"),
        ({"messages": [ask({"type": "image", "url": "b"})]}, "unknown key 'url'"),
        ({"messages": [ask({"type": "image"})]}, "content[0] has no key 'path'"),
        ({"messages": [ask({"type": "image", "path": "/etc/x.png"})]}, "must be relative"),
        ({"messages": [ask({"type": "image", "path": "../x.png"})]}, "must be relative"),
        ({"messages": [ask({"type": "image", "path": "images/1.png"})]}, "missing image images/1.png"),
        ({"messages": [{"role": "system", "content": [{"type": "image", "path": "data.jsonl"}]}]}, "text only"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, line: Any, message: str) -> None:
    write(tmp_path, {"messages": [ask(), ANSWER]}, line)
    with pytest.raises(DataError) as error:
        check(tmp_path)
    assert f"{tmp_path / 'data.jsonl'}:2: " in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    write(tmp_path, {"messages": [ask({"type": "image", "path": "x.png"}), ANSWER]})
    with pytest.raises(DataError, match=r"data\.jsonl:1: .*x\.png"):
        check(tmp_path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"messages": "\xff"}\n')
    with pytest.raises(DataError, match=r"data\.jsonl:1: not UTF-8: byte 0xff"):
        check(tmp_path)


def test_no_set_and_an_empty_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set at"):
        read_chats(tmp_path)
    (tmp_path / "data.jsonl").touch()
    with pytest.raises(DataError, match="has no chats"):
        check(tmp_path)
