"""Public annotation formats become chats; what does not fit is named with file and line, and counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from anygen import cli
from anygen.error import DataError
from anygen.training.data import read_chats
from anygen.training.formats import FORMATS, json_rows
from anygen.training.importing import Imported, convert_annotations


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder of files with names as the data sets have them; importing does not open them."""
    folder = tmp_path / "files"
    names = [
        "coco/1.jpg", "000000000.jpg", "cat.png", "0001/77.mp4", "78.mp4", "rqfQRErjfk8_170.wav", "Yabc.flac",
        "dog.jpg", "bark.wav", "run.mp4", "mosit_i_0000000_00.jpg", "mosit_v_0000000_01.mp4",
    ]  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def run(kind: str, content: str, media: Path, **options: Any) -> tuple[Imported, list[Any], list[str]]:
    """What was imported, its messages without roles, and the notes on what was left out."""
    source, output = media.parent / f"{kind}.txt", media.parent / f"{kind}-set"
    source.write_text(content, encoding="utf-8")
    imported = convert_annotations(kind, source, media, output, **options)
    chats = [[brief(message["content"], output) for message in one.messages] for one in read_chats(output)]
    notes = (output / "skipped.txt").read_text().splitlines() if (output / "skipped.txt").exists() else []
    assert len(chats) == imported.chats and len(notes) == sum(imported.skipped.values())
    return imported, chats, [note.removeprefix(f"{source}:") for note in notes]


def brief(content: list[dict[str, Any]], output: Path) -> list[str]:
    """`image coco/1.jpg` or, with a caption, `image coco/1.jpg = a cat`."""
    found = []
    for part in content:
        if part["type"] == "text":
            found.append(part["text"])
        else:
            path = Path(part["path"]).relative_to(output.absolute() / "media").as_posix()
            found.append(f"{part['type']} {path}" + (f" = {part['caption']}" if "caption" in part else ""))
    return found


def say(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def test_llava(media: Path) -> None:
    rows = [
        {"id": "1", "image": "coco/1.jpg", "conversations": say("<image>\nWhat is it?", "A cat.", "And why?", "So.")},
        {"id": "2", "image": "coco/1.jpg", "conversations": say("Look.\n<image>", "Yes.")},
        {"id": "3", "conversations": say("Hi", "Hello.")},
        {"id": "4", "image": "coco/9.jpg", "conversations": say("<image>\nWhat?", "Gone.")},
        {"id": "5", "image": "coco/1.jpg", "conversations": say("What?", "No place.")},
        {"id": "6", "conversations": say("<image>\nWhat?", "No file.")},
        {"id": "7", "conversations": say("No answer")},
        {"id": "8", "image": "../secret.jpg", "conversations": say("<image>\nWhat?", "Out.")},
        {"id": "9", "conversations": [{"from": "dog", "value": "woof"}]},
        {"id": "10"},
    ]
    imported, chats, notes = run("llava", json.dumps(rows, indent=0), media)
    assert chats == [
        [["image coco/1.jpg", "What is it?"], ["A cat."], ["And why?"], ["So."]],
        [["Look.", "image coco/1.jpg"], ["Yes."]],
        [["Hi"], ["Hello."]],
    ]
    assert imported.rows == 10
    assert imported.skipped == {"no image file": 1, "media": 2, "roles": 1, "path": 1, "no conversation": 2}
    assert "there is no image coco/9.jpg in" in notes[0] and "has no place <image>" in notes[1]
    lines = [int(note.split(":")[0]) for note in notes]
    text = json.dumps(rows, indent=0).split("\n")
    assert [text[line - 1] + text[line] for line in lines] == [
        f'{{"id": "{n}"' + ("," if n < 10 else "") for n in range(4, 11)
    ]


def test_cc3m(media: Path) -> None:
    lines = ['a "cat" sits\thttp://x.org/a.jpg', "no tab", "lost\thttp://x.org/b.jpg", ""]
    lines += ["by name\thttp://x.org/y/cat.png?w=1", " \thttp://x/cat.png", ""]
    content = "\n".join(lines)
    imported, chats, notes = run("cc3m", content, media)
    assert chats == [
        [["image 000000000.jpg", "What is in this picture?"], ['a "cat" sits']],
        [['Draw this: a "cat" sits'], ['image 000000000.jpg = a "cat" sits']],
        [["image cat.png", "What is in this picture?"], ["by name"]],
        [["Draw this: by name"], ["image cat.png = by name"]],
    ]
    assert imported.skipped == {"cells": 1, "no image file": 1, "no text": 1}
    assert [note.split(":")[0] for note in notes] == ["2", "3", "6"]


def test_webvid(media: Path) -> None:
    content = (
        "videoid,contentUrl,duration,page_dir,name\n"
        '77,https://x/77.mp4,PT00H00M10S,0001,"A dog, running\nfast"\n'
        "78,https://x/78.mp4,PT00H00M10S,0002,A cat\n"
        "79,https://x/79.mp4,PT00H00M10S,0002,Lost\n"
        "80,short\n"
    )
    imported, chats, notes = run("webvid", content, media)
    assert [chat[0][0] for chat in chats] == [
        "video 0001/77.mp4", "Show me a video: A dog, running\nfast", "video 78.mp4", "Film this: A cat",
    ]  # fmt: skip
    assert chats[3][1] == ["video 78.mp4 = A cat"]
    assert imported.skipped == {"no video file": 1, "cells": 1} and [note.split(":")[0] for note in notes] == ["5", "6"]
    with pytest.raises(DataError, match=r"webvid.txt:1: the header has no column 'videoid'; it has a, b"):
        convert_annotations("webvid", written(media, "webvid.txt", "a,b\n1,2\n"), media, media.parent / "other")


def written(media: Path, name: str, content: str) -> Path:
    (media.parent / name).write_text(content)
    return media.parent / name


def test_audiocaps(media: Path) -> None:
    content = (
        "audiocap_id,youtube_id,start_time,caption\n"
        "103549,rqfQRErjfk8,170,A large crowd cheers\n"
        "2,abc,30,Rain\n"
        "3,none,0,Nothing\n"
    )
    imported, chats, notes = run("audiocaps", content, media)
    assert chats[0] == [["audio rqfQRErjfk8_170.wav", "What can be heard?"], ["A large crowd cheers"]]
    assert chats[3] == [["Make a sound: Rain"], ["audio Yabc.flac = Rain"]]
    assert str(imported) == "3 rows, 4 chats, 1 rows left out (no audio file 1)"
    assert notes[0].startswith("4: there is no audio none_0.wav in ")


def test_nextgpt_captions_and_instructions(media: Path) -> None:
    rows = [
        {"caption": "a dog", "id": 1, "image_name": "dog.jpg"},
        {"audio_id": 2, "audio_name": "bark.wav", "caption": "it barks"},
        {"caption": "it runs", "video_name": "run.mp4"},
        # T2M: text in, text and a medium out
        {
            "mm_name": "dog.jpg",
            "output_modality": "image",
            "conversation": [
                {"from": "human", "value": "Show me a dog.", "input_modality": "text"},
                {"from": "gpt", "value": "Here.", "caption": "a dog", "output_modality": "image"},
            ],
        },
        # a medium in, text out
        {
            "image_name": "dog.jpg",
            "conversation": [
                {"from": "human", "value": "<image>\nWhat?", "input_modality": "image"},
                {"from": "gpt", "value": "A dog.", "caption": "", "output_modality": "text"},
            ],
        },
        # the newer spelling
        {"input_video": "run.mp4", "conversations": say("<video>\nWhat happens?", "It runs.")},
        {
            "output_audio": "bark.wav",
            "audio_captions": "it barks",
            "conversations": say("Bark!", "Sure thing! <audio>"),
        },
        {"id": 3},
        {"mm_name": "dog.jpg", "conversation": say("Hi", "Hello.")},
        {"output_image": ["dog.jpg"], "image_captions": ["a", "b"], "conversations": say("Draw", "<image>")},
    ]
    imported, chats, notes = run("nextgpt", "\n".join(json.dumps(row) for row in rows), media)
    assert chats == [
        [["image dog.jpg", "What is in this picture?"], ["a dog"]],
        [["Draw this: a dog"], ["image dog.jpg = a dog"]],
        [["audio bark.wav", "Describe the sound."], ["it barks"]],
        [["Make a sound: it barks"], ["audio bark.wav = it barks"]],
        [["video run.mp4", "Write a caption for this video."], ["it runs"]],
        [["Make a video of the following. it runs"], ["video run.mp4 = it runs"]],
        [["Show me a dog."], ["Here.", "image dog.jpg = a dog"]],
        [["image dog.jpg", "What?"], ["A dog."]],
        [["video run.mp4", "What happens?"], ["It runs."]],
        [["Bark!"], ["Sure thing!", "audio bark.wav = it barks"]],
    ]
    assert imported.skipped == {"no conversation": 1, "media": 1, "captions": 1}
    assert [note.split(":")[0] for note in notes] == ["8", "9", "10"]


def test_nextgpt_mosit(media: Path) -> None:
    row = {
        "image_list": [{"image_name": "mosit_i_0000000_00.jpg", "data_source": "mosit", "caption": "a beach"}],
        "video_list": [{"video_name": "mosit_v_0000000_01.mp4", "data_source": "mosit", "caption": "waves"}],
        "audio_list": [],
        "conversation": say(
            "Where shall I go?",
            "Here. <Image>mosit_i_0000000_00.jpg</Image> <Video>mosit_v_0000000_01.mp4</Video>",
            "And what is this? <Image>dog.jpg</Image>",
            "A dog.",
        ),
    }
    _, chats, _ = run("nextgpt", json.dumps([row]), media)
    assert chats == [
        [
            ["Where shall I go?"],
            ["Here.", "image mosit_i_0000000_00.jpg = a beach", "video mosit_v_0000000_01.mp4 = waves"],
            ["And what is this?", "image dog.jpg"],
            ["A dog."],
        ]
    ]


def test_strict_stops_at_the_first_row_that_does_not_fit(media: Path) -> None:
    content = "a cat\thttp://x/1.jpg\nno tab\n"
    with pytest.raises(DataError, match=r"cc3m\.txt:2: 1 cells, not 2"):
        run("cc3m", content, media, strict=True)
    assert not (media.parent / "cc3m-set" / "data.jsonl").exists()
    with pytest.raises(DataError, match=r"no row of .*llava\.txt fits: it is empty"):
        run("llava", "[]", media)


def test_copied_media_need_no_link(media: Path) -> None:
    imported, _, _ = run("cc3m", "a cat\thttp://x/1.jpg\n", media, copy=True)
    output = media.parent / "cc3m-set"
    assert imported.chats == 2 and not (output / "media").is_symlink()
    assert [path.name for path in (output / "media").iterdir()] == ["000000000.jpg"]


@pytest.mark.parametrize("content", ['[{"a": 1},\n{"a": ]', '[{"a": 1}\n{"a": 2}]', '[{"a": 1},\n', "[1"])
def test_a_cut_json_file_is_named_with_its_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json:[12]: "):
        list(json_rows(tmp_path / "x.json"))


def test_the_command_line_imports(media: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(media, "cc3m.tsv", "a cat\thttp://x/1.jpg\nno tab\n")
    output = media.parent / "set"
    command = ["data", "import", "cc3m", str(source), "--media", str(media), "-o", str(output)]
    assert cli.main(command) == 0
    out = capsys.readouterr()
    assert out.out == "2 rows, 2 chats, 1 rows left out (cells 1)\n" and str(output / "skipped.txt") in out.err
    assert cli.main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["data", "import", "cc3m", str(source), "--media", str(source), "-o", str(output)]) == 2
    assert "is not a folder" in capsys.readouterr().err
    assert set(FORMATS) == {"llava", "nextgpt", "cc3m", "webvid", "audiocaps"}
