"""Answers: order, what reply.json says, and the folder that is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anygen.error import MediaError
from anygen.media import Audio, Image, Made, Text, Video
from anygen.reply import Part, Reply

IMAGE = Image(np.full((4, 6, 3), 7, np.uint8))
AUDIO = Audio(np.zeros(1600, np.float32), 16000)
VIDEO = Video(np.zeros((3, 16, 16, 3), np.uint8), fps=8)


def reply(*values: Made) -> Reply:
    parts = tuple(
        Part(index=index, type=value.type, value=value, seed=7 + index, seconds=0.25)
        for index, value in enumerate(values, 1)
    )
    usage, seconds = {"prompt_tokens": 5, "completion_tokens": 9}, {"load": 0.0, "first_text": 0.1, "total": 1.23456}
    return Reply(parts=parts, model="nano", seed=7, usage=usage, seconds=seconds)


def test_order_and_views() -> None:
    answer = reply(Text("Here <it> is."), IMAGE, Text("Und schön."), AUDIO, VIDEO)
    assert [part.type for part in answer] == ["text", "image", "text", "audio", "video"]
    assert len(answer) == 5 and answer[1].value is IMAGE
    assert answer.text == "Here <it> is.\nUnd schön."
    assert (answer.images, answer.audios, answer.videos) == ([IMAGE], [AUDIO], [VIDEO])
    assert [part.text for part in answer] == ["Here <it> is.", None, "Und schön.", None, None]


def test_save_writes_every_part_and_reply_json(tmp_path: Path) -> None:
    answer = reply(Text("Here <it> is."), IMAGE, AUDIO, VIDEO)
    folder = answer.save(tmp_path / "deep" / "answer")
    names = ["01-text.txt", "02-image.png", "03-audio.wav", "04-video.mp4", "answer.html", "reply.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "01-text.txt").read_text() == "Here <it> is."
    assert Image(folder / "02-image.png") == IMAGE and Audio(folder / "03-audio.wav") == AUDIO
    written = json.loads((folder / "reply.json").read_text())
    assert written == answer.describe()
    assert written == {
        "model": "nano",
        "seed": 7,
        "parts": [
            {"index": 1, "type": "text", "text": "Here <it> is."},
            {"index": 2, "type": "image", "path": "02-image.png", "mime": "image/png", "seed": 9, "seconds": 0.25},
            {"index": 3, "type": "audio", "path": "03-audio.wav", "mime": "audio/wav", "seed": 10, "seconds": 0.25},
            {"index": 4, "type": "video", "path": "04-video.mp4", "mime": "video/mp4", "seed": 11, "seconds": 0.25},
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9},
        "seconds": {"load": 0.0, "first_text": 0.1, "total": 1.2346},
    }


def test_the_page_needs_no_other_file() -> None:
    page = reply(Text("Here <it> is."), IMAGE, AUDIO, VIDEO).html()
    assert "Here &lt;it&gt; is." in page and "<it>" not in page
    for kind in ("image/png", "audio/wav", "video/mp4"):
        assert f'src="data:{kind};base64,' in page
    assert "http" not in page and 'src="0' not in page


def test_a_new_answer_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "07-image.png").write_text("mine, before there was an answer")
    reply(Text("one"), IMAGE, IMAGE).save(tmp_path)
    assert (tmp_path / "07-image.png").exists()
    reply(Text("two")).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01-text.txt", "answer.html", "notes.txt", "reply.json"]


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        reply(Text("x"), IMAGE, AUDIO, VIDEO).save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_saving_where_a_file_is_says_so(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text("a file")
    with pytest.raises(MediaError, match="cannot write the answer to .*answer: File exists"):
        reply(Text("x")).save(tmp_path / "answer")


def test_parts_are_numbered_and_typed() -> None:
    one: dict[str, Any] = {"type": "text", "value": Text("x")}
    with pytest.raises(ValueError, match=r"numbered from 1 in order, got \[2\]"):
        Reply(parts=(Part(index=2, **one),), model="nano", seed=0)
    with pytest.raises(ValueError, match="of type 'image' but holds 'text'"):
        Part(index=1, type="image", value=Text("x"))
