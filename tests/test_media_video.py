"""Film: files round-trip closely, limits hold, bad files say what is wrong."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anygen.codecs import video as codec
from anygen.error import MediaError
from anygen.media import Audio, Video, data_url


def film(count: int = 6, height: int = 32, width: int = 48, audio: Audio | None = None) -> Video:
    """A bright square that walks to the right over a grey ground."""
    frames = np.full((count, height, width, 3), 90, np.uint8)
    for index in range(count):
        frames[index, 8:24, 4 * index : 4 * index + 12] = (240, 200, 40)
    return Video(frames, fps=8, audio=audio)


def beep(rate: int = 16000, channels: int = 1) -> Audio:
    """Half silence, half tone."""
    times = np.arange(rate) / rate
    return Audio(np.tile(0.8 * np.sin(2 * np.pi * 300 * times) * (times >= 0.5), (channels, 1)), rate)


def difference(one: Video, other: Video) -> float:
    return float(np.abs(one.frames.astype(int) - other.frames).mean())


@pytest.mark.parametrize("audio", [None, beep(), beep(44100, 2), beep(10000), beep(16000, 3)])
def test_mp4_round_trips(tmp_path: Path, audio: Audio | None) -> None:
    video = film(audio=audio)
    again = Video(video.save(tmp_path / "film.mp4"))
    assert again.frames.shape == video.frames.shape and again.fps == 8
    assert difference(video, again) < 4
    assert video.seconds == 0.75
    if audio is None:
        assert again.audio is None
    else:
        assert again.audio is not None and again.audio.channels == min(audio.channels, 2)
        # in step with the pictures: the tone begins where it began
        onset = np.argmax(np.abs(again.audio.samples[0]) > 0.4) / again.audio.rate
        assert abs(onset - 0.5) < 0.005 and abs(again.audio.seconds - 1) < 0.005


def test_the_same_film_gives_the_same_bytes() -> None:
    assert film(audio=beep()).encode() == film(audio=beep()).encode()
    assert film().encode(".gif") == film().encode(".gif")


def test_gif_round_trips() -> None:
    again = Video(film().encode(".gif"))
    assert again.frames.shape == (6, 32, 48, 3)
    assert abs(again.fps - 8) < 0.5 and difference(film(), again) < 1
    still = Video(np.repeat(film(1).frames, 5, axis=0), fps=10)
    assert Video(still.encode(".gif")).frames.shape[1:] == (32, 48, 3)


def test_webm_is_read() -> None:
    out = io.BytesIO()
    video = film()
    with av.open(out, "w", format="webm") as container:
        stream: Any = container.add_stream("libvpx-vp9", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in video.frames), None]:
            container.mux(stream.encode(frame))
    again = Video(out.getvalue())
    assert again.frames.shape == video.frames.shape and again.fps == 8 and difference(video, again) < 6


def test_odd_sides_are_padded() -> None:
    assert Video(film(2, 31, 47).encode()).frames.shape == (2, 32, 48, 3)


def test_first_keeps_the_beginning() -> None:
    video = Video(film(audio=beep()).encode(), first=4)
    assert len(video.frames) == 4 and video.audio is not None and abs(video.audio.seconds - 0.5) < 0.01
    assert len(Video(film().encode(".gif"), first=2).frames) == 2
    with pytest.raises(MediaError, match="first=0 keeps no frame"):
        Video(film().encode(), first=0)


def test_long_films_are_refused_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, moving = film().encode(), film().encode(".gif")
    monkeypatch.setattr(codec, "MAX_FRAMES", 4)
    for data in (whole, moving):
        with pytest.raises(MediaError, match=r"more than the 4 frames of 48 x 32 .* first=4"):
            Video(data)
        assert len(Video(data, first=4).frames) == 4
    with pytest.raises(MediaError, match="4 frames"):
        film()


def test_value_is_equal_by_content_and_describes_itself() -> None:
    video = film()
    assert video == film() == Video(video) != film(5) and len({video, film()}) == 1
    assert video != film(audio=beep())
    assert "6 frames of 48x32, 8 fps" in repr(video)
    assert data_url(video).startswith("data:video/mp4;base64,") and "<video" in video._repr_html_()


@settings(max_examples=25)
@given(st.binary(min_size=1, max_size=60), st.sampled_from([".mp4", ".gif"]), st.integers(0, 1200))
def test_damaged_bytes_give_film_or_a_media_error(noise: bytes, suffix: str, at: int) -> None:
    whole = FILES[suffix]
    try:
        assert Video(whole[:at] + noise + whole[at + len(noise) :]).frames.shape[3] == 3
    except MediaError as error:
        assert "\n" not in str(error)


FILES = {suffix: film(3).encode(suffix) for suffix in (".mp4", ".gif")}


@pytest.mark.parametrize(
    ("source", "fps", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), None, "needs its fps"),
        (np.zeros((2, 4, 4, 3), np.uint8), 0, "needs its fps"),
        (np.zeros((2, 3, 4, 4), np.uint8), 8, "channels last"),
        (np.zeros((2, 4, 4, 3)), 8, "must be uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), 8, "must be uint8"),
        (b"", None, "is empty"),
        (b"#EXTM3U\n/etc/passwd\n", None, "use mp4, webm, gif or avi"),
        (FILES[".mp4"][:300], None, "damaged"),
        (FILES[".gif"][:30], None, "damaged"),
        (beep().encode(), None, "has no picture in it: pass it as Audio"),
        (FILES[".mp4"], 25, "fps=25 was asked for, but the video has 8"),
    ],
)
def test_bad_film_says_what_is_wrong(source: Any, fps: float | None, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        Video(source, fps)
    assert "\n" not in str(caught.value)


def test_audio_must_be_audio() -> None:
    with pytest.raises(MediaError, match="must be an Audio, got str"):
        Video(film().frames, fps=8, audio="beep.wav")  # type: ignore[arg-type]
