"""Requests: every spelling of the same request gives the same parts, bad ones say what is wrong."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anygen.error import MediaError, RequestError
from anygen.media import Audio, Image, Message, Text, Video, data_url, messages, parts

IMAGE = Image(np.full((4, 4, 3), 7, np.uint8))
AUDIO = Audio(np.zeros(160, np.float32), 16000)
VIDEO = Video(
    np.repeat(np.repeat(np.arange(3, dtype=np.uint8)[:, None, None, None] * 99, 8, 1), 8, 2).repeat(3, 3), fps=5
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_every_spelling_of_a_picture(tmp_path: Path) -> None:
    path = IMAGE.save(tmp_path / "cat.png")
    spellings: list[Any] = [
        IMAGE,
        path,
        path.read_bytes(),
        IMAGE.pil(),
        {"type": "image", "image": IMAGE.pil()},
        {"type": "image", "image": str(path)},
        {"type": "image", "path": str(path)},
        {"type": "image", "url": str(path)},
        {"type": "image", "url": data_url(IMAGE)},
        {"type": "image", "base64": b64(path.read_bytes())},
        {"type": "image_url", "image_url": {"url": data_url(IMAGE)}},
        {"type": "image_url", "image_url": {"url": path.as_uri(), "detail": "auto"}},
        {"type": "image_url", "image_url": str(path)},
    ]
    for spelling in spellings:
        assert parts(spelling) == parts([spelling]) == (IMAGE,), spelling
    with path.open("rb") as file:
        assert parts(file) == parts(io.BytesIO(path.read_bytes())) == (IMAGE,)
    assert parts([spellings, "what?"]) == (*[IMAGE] * len(spellings), Text("what?"))


def test_every_spelling_of_sound_and_film(tmp_path: Path) -> None:
    wav = AUDIO.save(tmp_path / "sound.wav")
    assert (
        parts(wav) == parts({"type": "audio", "path": str(wav)}) == parts({"type": "audio", "audio": AUDIO}) == (AUDIO,)
    )
    assert parts({"type": "audio_url", "audio_url": {"url": data_url(AUDIO)}}) == (AUDIO,)
    assert parts({"type": "input_audio", "input_audio": {"data": b64(wav.read_bytes()), "format": "wav"}}) == (AUDIO,)
    mp4 = VIDEO.save(tmp_path / "film.mp4")
    film = Video(mp4)
    assert (
        parts(mp4)
        == parts({"type": "video", "path": mp4})
        == parts({"type": "video_url", "video_url": {"url": str(mp4)}})
        == (film,)
    )
    assert parts(VIDEO.save(tmp_path / "film.gif"))[0].type == "video"


def test_a_file_is_what_its_content_says(tmp_path: Path) -> None:
    note = tmp_path / "note.png"
    note.write_text("Draw a cat.")
    assert parts(note) == (Text("Draw a cat."),)
    note.write_bytes(AUDIO.encode(".flac"))
    assert parts(note) == (AUDIO,)
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".gif"):
        note.write_bytes(IMAGE.encode(suffix))
        assert parts(note)[0].type == "image"
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        note.write_bytes(AUDIO.encode(suffix))
        assert parts(note)[0].type == "audio"
    note.write_bytes(b"\x00\x01\x02\xfe")
    with pytest.raises(MediaError, match="neither text, image, audio nor video"):
        parts(note)


@given(st.binary(max_size=80))
def test_any_bytes_are_parts_or_a_known_error(data: bytes) -> None:
    try:
        assert len(parts(data)) == 1
    except (MediaError, RequestError) as error:
        assert "\n" not in str(error)


@given(st.text(min_size=1).filter(str.strip))
def test_text_is_kept_as_it_is(text: str) -> None:
    assert parts(text) == parts([text]) == parts({"type": "text", "text": text}) == (Text(text),)
    assert Text(text).hash == Text(text).hash != Text(text + "!").hash


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "the prompt is empty"),
        (" \n", "the prompt is empty"),
        ([], "the prompt is empty"),
        (["", {"type": "text", "text": " "}], "the prompt is empty"),
        (None, "cannot use a NoneType"),
        (3.5, "cannot use a float as part of a request: pass a string, a path"),
        (np.zeros((4, 4, 3), np.uint8), r"array of shape \(4, 4, 3\) could be anything: wrap it in Image"),
        ({"type": "smell", "smell": 1}, "unknown part type 'smell'; types are text, image"),
        ({"text": "x"}, "unknown part type None"),
        ({"type": "text"}, "text must be a string, got NoneType"),
        ({"type": "text", "text": "x", "colour": 1}, "unknown key 'colour' in the text part; keys are type, text"),
        ({"type": "image", "file": "x"}, "unknown key 'file' in the image part"),
        ({"type": "image"}, "needs exactly one of url, path, image, base64; got none"),
        ({"type": "image", "url": "x", "path": "y"}, "exactly one of"),
        ({"type": "image", "url": "http://example.com/x.png"}, "works offline: download it"),
        ({"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}, "works offline: download it"),
        ({"type": "image_url", "image_url": {"url": "x.png", "detail": "high"}}, "detail='high' is not supported"),
        ({"type": "image_url", "image_url": {"link": "x.png"}}, "unknown key 'link' in the image_url"),
        ({"type": "image_url"}, "image_url needs"),
        ({"type": "input_audio", "input_audio": {}}, "input_audio needs"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_bad_requests_say_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        parts(value)
    assert "\n" not in str(caught.value)


def test_messages_of_a_chat_and_of_a_single_request() -> None:
    single = (Message("user", (IMAGE, Text("what?"))),)
    assert messages([IMAGE, "what?"]) == messages([{"role": "user", "content": [IMAGE, "what?"]}]) == single
    assert messages(single) == single == messages({"role": "user", "content": [IMAGE, "what?"]})
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        Message("assistant", (IMAGE,)),
    ]
    assert [message.role for message in messages(chat)] == ["system", "user", "assistant"]
    assert messages("Hi") == messages([{"type": "text", "text": "Hi"}]) == (Message("user", (Text("Hi"),)),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"role": "user", "content": "x"}, "y"], "item 2 of the chat is no message"),
        ([{"role": "king", "content": "x"}], "unknown role 'king' in a message; roles are system, user, assistant"),
        ([{"role": "user"}], "has no 'content'"),
        ([{"role": "user", "content": ""}], "prompt is empty"),
        ([{"role": "user", "content": "x", "name": "me"}], "unknown key 'name' in the message"),
    ],
)
def test_bad_chats_say_what_is_wrong(value: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        messages(value)
