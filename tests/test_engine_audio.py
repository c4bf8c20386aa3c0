"""The request path with sounds: in, out, beside pictures, streamed, kept, and from the command line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import anygen
from anygen.cli import main
from anygen.engine import Engine
from anygen.error import MediaError, RequestError


@pytest.fixture(scope="module")
def engine(tiny_sound: Path) -> Engine:
    return anygen.load(tiny_sound)


def tone(hertz: float, rate: int = 22_050, seconds: float = 1.5) -> anygen.Audio:
    wave = 0.3 * np.sin(2 * math.pi * hertz * np.arange(int(rate * seconds)) / rate)
    return anygen.Audio((wave * 32767).round().astype(np.int16), rate=rate)  # exact when it is kept in 16 bits


def test_it_hears_and_plays(engine: Engine) -> None:
    assert engine.reads == ("text", "image", "audio") == engine.writes
    reply = engine.generate([tone(440), "and louder"], to="audio", seed=3, max_new_tokens=4)
    (sound,) = reply.audios
    assert (sound.rate, sound.seconds, sound.channels) == (16_000, 4.0, 1)
    assert engine.generate([tone(440), "and louder"], to="audio", seed=3, max_new_tokens=4).audios == [sound]


def test_a_picture_and_a_sound_in_one_request(engine: Engine) -> None:
    picture = anygen.Image(np.full((20, 20, 3), 90, np.uint8))
    reply = engine.generate([picture, tone(440), "?"], to=["image", "audio"], seed=1, max_new_tokens=4)
    assert [part.type for part in reply if part.type != "text"] == ["image", "audio"]


def test_the_stream_previews_sounds(engine: Engine) -> None:
    events = list(engine.stream("hm", to="audio", seed=2, max_new_tokens=2, preview=1))
    previews = [event.preview for event in events if event.type == "part.preview"]
    assert previews and all(isinstance(preview, anygen.Audio) for preview in previews)
    reply = events[-1].reply
    assert reply is not None and reply.audios == engine.generate("hm", to="audio", seed=2, max_new_tokens=2).audios


def test_a_batch_gives_what_single_requests_give(engine: Engine) -> None:
    asked = ["one", [tone(300), "two"]]
    together = engine.generate_batch(asked, to="audio", seed=5, max_new_tokens=3)
    for request, reply in zip(asked, together, strict=True):
        single = engine.generate(request, to="audio", seed=5, max_new_tokens=3)
        np.testing.assert_allclose(reply.audios[0].samples, single.audios[0].samples, atol=1e-4)


def test_a_chat_keeps_its_sounds(engine: Engine, tmp_path: Path) -> None:
    chat = engine.chat(seed=4)
    first = chat.send([tone(500), "hear"], to="audio", max_new_tokens=2)
    chat.save(tmp_path / "chat.json")
    again = anygen.Chat.load(engine, tmp_path / "chat.json")
    options = {"to": "audio", "max_new_tokens": 2}
    one, other = (talk.send("more", **options) for talk in (chat, again))
    assert one.text == other.text and [part.seed for part in one] == [part.seed for part in other]
    assert np.abs(one.audios[0].samples).max() > 0.01
    np.testing.assert_allclose(one.audios[0].samples, other.audios[0].samples, atol=1e-4)
    assert first.audios[0].seconds == 4.0


def test_the_command_line_writes_a_wav(tiny_sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone(440).save(tmp_path / "in.flac")
    command = ["generate", "--model", str(tiny_sound), "--audio", str(tmp_path / "in.flac"), "louder", "--to", "audio"]
    assert main([*command, "--seed", "1", "--json", "-o", str(tmp_path / "out")]) == 0
    answer = json.loads(capsys.readouterr().out)
    (part,) = [part for part in answer["parts"] if part["type"] == "audio"]
    assert part["mime"] == "audio/wav"
    assert anygen.Audio(tmp_path / "out" / part["path"]).seconds == 4.0


def test_models_without_sound_and_files_without_sound_are_named(engine: Engine, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no encoder for 'audio'; this model reads text, image"):
        anygen.load(tiny).generate([tone(440), "?"])
    with pytest.raises(RequestError, match="audio"):
        anygen.load(tiny).generate("hm", to="audio")
    (tmp_path / "voice.wav").write_text("no sound, only words")
    with pytest.raises(MediaError, match=r"voice\.wav"):
        engine.generate([{"type": "audio", "path": tmp_path / "voice.wav"}, "?"])
