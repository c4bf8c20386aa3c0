"""Film: files round-trip closely, limits hold, bad files say what is wrong."""

import io
import struct
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anygen.codecs import video as codec
from anygen.error import MediaError
from anygen.media import Audio, Image, Video, data_url, parts


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


def coded(
    frames: np.ndarray, times: Any = None, fps: int | Fraction = 8, codec: str = "libx264", kind: str = "mp4"
) -> bytes:
    """A film as another program may have written it: frame k is shown from `times[k]` seconds on."""
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "x264-params": "threads=1"} if codec == "libx264" else {}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = round(1000 * (index / fps if times is None else times[index]))
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def greys(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame k is all of the grey 10 + 7 k."""
    return np.broadcast_to((10 + 7 * np.arange(count))[:, None, None, None], (count, height, width, 3)).astype(np.uint8)


def seen(video: Video) -> list[int]:
    """Which frame of `greys` every frame shows."""
    return [round((float(frame.mean()) - 10) / 7) for frame in video.frames]


def difference(one: Video, other: Video) -> float:
    return float(np.abs(one.frames.astype(int) - other.frames).mean())


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("audio", [None, beep(), beep(44100, 2), beep(10000), beep(16000, 3)])
def test_films_round_trip(tmp_path: Path, audio: Audio | None, suffix: str) -> None:
    video = film(audio=audio)
    again = Video(video.save(tmp_path / f"film{suffix}"))
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
    assert film(audio=beep()).encode(".webm") == film(audio=beep()).encode(".webm")


def test_gif_round_trips() -> None:
    again = Video(film().encode(".gif"))
    assert again.frames.shape == (6, 32, 48, 3)
    assert abs(again.fps - 8) < 0.5 and difference(film(), again) < 1
    still = Video(np.repeat(film(1).frames, 5, axis=0), fps=10)
    assert Video(still.encode(".gif")).frames.shape[1:] == (32, 48, 3)


def test_avi_is_read() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in greys(6)), None]:
            container.mux(stream.encode(frame))
    video = Video(out.getvalue())
    assert (video.fps, video.audio, seen(video)) == (8, None, list(range(6)))


def test_a_title_in_another_encoding_does_not_matter() -> None:
    data = film().encode()
    assert data.count(b"VideoHandler") == 1
    assert Video(data.replace(b"VideoHandler", b"Vid\xe9oHandler")) == Video(data)


def test_odd_sides_are_padded() -> None:
    assert Video(film(2, 31, 47).encode()).frames.shape == (2, 32, 48, 3)


def test_first_keeps_the_beginning() -> None:
    video = Video(film(audio=beep()).encode(), first=4)
    assert len(video.frames) == 4 and video.audio is not None and abs(video.audio.seconds - 0.5) < 0.01
    assert len(Video(film().encode(".gif"), first=2).frames) == 2
    with pytest.raises(MediaError, match="first=0 keeps no frame"):
        Video(film().encode(), first=0)


def test_long_films_are_sampled_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, moving = film(audio=beep()).encode(), film().encode(".gif")
    monkeypatch.setattr(codec, "MAX_FRAMES", 4)
    for data in (whole, moving):
        again = Video(data)
        assert len(again.frames) == 3 and again.seconds == pytest.approx(0.75, abs=0.05)
        assert np.abs(again.frames.astype(int) - Video(data, first=4).frames[0]).max() > 100  # the later frames, too
        assert len(Video(data, first=4).frames) == 4
    assert Video(whole).audio is not None
    with pytest.raises(MediaError, match="6 frames of 48 x 32 is too large: at most 4 of that size fit"):
        film()


def test_fps_asks_for_fewer_frames() -> None:
    video = Video(coded(greys(16)), fps=2)
    assert (video.fps, video.seconds, seen(video)) == (2, 2, [2, 6, 10, 14])
    assert Video(coded(greys(16)), fps=8) == Video(coded(greys(16)))
    with pytest.raises(MediaError, match="fps=25 was asked for, but the video has 8: ask for fewer"):
        Video(coded(greys(16)), fps=25)
    with pytest.raises(MediaError, match="fps=True was asked for"):
        Video(coded(greys(16)), fps=True)


def test_value_is_equal_by_content_and_describes_itself() -> None:
    video = film()
    assert video == film() == Video(video) != film(5) and len({video, film()}) == 1
    assert video != film(audio=beep())
    assert "6 frames of 48x32, 8 fps" in repr(video)
    assert data_url(video).startswith("data:video/mp4;base64,") and "<video" in video._repr_html_()


@settings(max_examples=25)
@given(st.binary(min_size=1, max_size=60), st.sampled_from([".mp4", ".gif", ".webm"]), st.integers(0, 2400))
def test_damaged_bytes_give_film_or_a_media_error(noise: bytes, suffix: str, at: int) -> None:
    whole = FILES[suffix]
    try:
        assert Video(whole[:at] + noise + whole[at + len(noise) :]).frames.shape[3] == 3
    except MediaError as error:
        assert "\n" not in str(error)


FILES = {suffix: film(3, audio=beep()).encode(suffix) for suffix in (".mp4", ".gif", ".webm")}


@pytest.mark.parametrize(
    ("source", "fps", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), None, "needs its fps"),
        (np.zeros((2, 4, 4, 3), np.uint8), 0, "needs its fps"),
        (np.zeros((2, 3, 4, 4), np.uint8), 8, "channels last"),
        (np.zeros((2, 4, 4, 3)), 8, "must be uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), 8, "must be uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), float("nan"), "needs its fps"),
        (b"", None, "is empty"),
        (b"#EXTM3U\n/etc/passwd\n", None, "use mp4, webm, gif, mov or avi"),
        (FILES[".mp4"][:300], None, "damaged"),
        (FILES[".mp4"].replace(b"avc1", b"none"), None, "unknown codec: its video cannot be decoded"),
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


# --- time


@pytest.mark.parametrize(("kind", "codec_"), [("mp4", "libx264"), ("mov", "libx264"), ("webm", "libvpx-vp9")])
def test_a_variable_rate_is_sampled_by_time(kind: str, codec_: str) -> None:
    times = [0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5, 2.9]
    video = Video(coded(greys(8), times, codec=codec_, kind=kind))
    assert video.seconds == pytest.approx(3.0, abs=0.15)
    for place, shown in enumerate(seen(video)):
        time = (place + 0.5) / video.fps
        assert shown == sum(begin <= time + 1e-3 for begin in times) - 1


def test_the_rate_of_a_film_that_does_not_say_it_is_measured() -> None:
    """As browsers record: at irregular times, and all that the file says is that they are in milliseconds."""
    times = [0, 0.084, 0.189, 0.316, 0.359, 0.5, 0.61, 0.7]
    video = Video(coded(greys(8), times, fps=1000, codec="libvpx-vp9", kind="webm"))
    assert video.fps == pytest.approx(10) and video.seconds == pytest.approx(0.7, abs=0.11)
    for place, shown in enumerate(seen(video)):
        assert shown == sum(begin <= (place + 0.5) / video.fps + 1e-3 for begin in times) - 1
    assert seen(Video(coded(greys(1), fps=1000, codec="libvpx-vp9", kind="webm"))) == [0]


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33, 100, 255])
@pytest.mark.parametrize("told", [None, 0.2, 1.0])
def test_a_film_that_does_not_say_how_long_it_is_gets_sparser(
    count: int, told: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "MAX_FRAMES", 16)
    sampler = codec.Sampler(8, None if told is None else told * count / 8)
    grey = partial(np.full, (1, 1, 3), dtype=np.uint8)
    for index in range(count - 1):
        sampler.show((index + 1) / 8, partial(grey, index))
        assert len(sampler.frames) <= 16
    frames, fps = sampler.film(count / 8, partial(grey, count - 1))
    step = round(8 / fps)
    assert step in (1, 2, 4, 8, 16, 32) and abs(len(frames) * step - count) <= step / 2 and len(frames) > count / 32
    assert (np.diff(frames[:, 0, 0, 0].astype(int)) == step).all() and frames[0, 0, 0, 0] < step


def test_a_gif_shows_each_frame_for_its_time() -> None:
    out = io.BytesIO()
    first, *rest = (Image(frame).pil() for frame in greys(3))
    first.save(out, "GIF", save_all=True, append_images=rest, duration=[100, 400, 200])
    video = Video(out.getvalue())
    assert (video.fps, seen(video)) == (10, [0, 1, 1, 1, 1, 2, 2])


def test_films_are_sampled_at_even_times() -> None:
    video = Video(greys(16), fps=8, audio=beep())
    assert seen(video.sample(16, seconds=2)) == list(range(16))
    assert seen(video.sample(4)) == [2, 6, 10, 14] and video.sample(4).fps == 2 and video.sample(4).audio == beep()
    assert seen(video.sample(4, seconds=1)) == [1, 3, 5, 7]
    assert seen(video.sample(4, seconds=4)) == [4, 12, 15, 15]  # the last frame is held
    assert seen(video.sample(32)) == [place // 2 for place in range(32)]
    assert seen(Video(greys(1), fps=25).sample(16)) == [0] * 16
    for count, rate in ((7, 29.97), (35, 30), (16, 1 / 3)):  # as many as there are gives what is there
        assert seen(Video(greys(count), fps=rate).sample(count)) == list(range(count))
    for wrong in (0, 2000, 1.5, True):
        with pytest.raises(MediaError, match=f"frames={wrong}: a film is sampled at 1 to 1024 times"):
            video.sample(wrong)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="seconds=0: more than 0"):
        video.sample(4, seconds=0)


@pytest.mark.parametrize("fps", [1 / 3600, 0.3, 23.976, 30000 / 1001, 240])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_any_rate_is_written(fps: float, suffix: str) -> None:
    video = Video(Video(greys(5), fps=fps).encode(suffix))
    assert video.fps == pytest.approx(fps, rel=1e-3) and seen(video) == list(range(5))


def test_sound_that_begins_later_is_later() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        picture: Any = container.add_stream("libx264", rate=8)
        picture.height, picture.width, picture.pix_fmt = 32, 48, "yuv420p"
        voice: Any = container.add_stream("aac", rate=16000, layout="mono")
        for pixels in greys(16):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(picture.encode(None))
        tone = (0.5 * np.sin(np.arange(16000) / 16000 * 2 * np.pi * 300)).astype(np.float32)
        for place in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, place : place + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 12000 + place, Fraction(1, 16000)
            container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    sound = Video(out.getvalue()).audio
    assert sound is not None and np.argmax(np.abs(sound.samples[0]) > 0.2) / 16000 == pytest.approx(0.75, abs=0.01)
    early = Video(out.getvalue(), first=4).audio
    assert early is not None and early.seconds == 0.5 and not early.samples.any()


def test_a_film_gets_another_sound_of_its_own_length() -> None:
    video = film(16)
    for sound in (beep(16000), Audio(np.ones((2, 4 * 22050)) / 2, 22050)):
        audio = video.with_audio(sound).audio
        assert audio is not None and (audio.seconds, audio.rate, audio.channels) == (2, sound.rate, sound.channels)
        kept = min(sound.samples.shape[1], audio.samples.shape[1])
        np.testing.assert_array_equal(audio.samples[:, :kept], sound.samples[:, :kept])
        assert not audio.samples[:, kept:].any()
    assert video.with_audio(beep()).with_audio(None) == video


# --- what it looks like


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_colours_stay_and_are_named(suffix: str) -> None:
    colours = [(120, 180, 230), (90, 160, 80), (230, 60, 50), (255, 255, 255), (10, 10, 200), (0, 255, 0)]
    frames = np.array(colours, np.uint8).repeat(16, 0)[None, None].repeat(2, 0).repeat(32, 1)  # six stripes
    data = Video(frames, fps=8).encode(suffix)
    assert np.abs(Video(data).frames[:, 8:24, 8::16].astype(int) - colours).max() <= 5
    with av.open(io.BytesIO(data)) as container:
        coder = container.streams.video[0].codec_context
        assert (coder.colorspace, coder.color_primaries, coder.color_trc, coder.color_range) == (6, 6, 6, 1)


def turned_file(a: int, b: int, c: int, d: int) -> bytes:
    """A dark film with a bright upper left corner, 48 x 32, whose display matrix was written by a telephone."""
    frames = np.full((2, 32, 48, 3), 20, np.uint8)
    frames[:, :12, :16] = 240
    data = bytearray(Video(frames, fps=8).encode())
    at = data.find(b"tkhd") + 44  # after version, times, track, duration, layer and volume
    assert struct.unpack(">9i", data[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *(65536 * v for v in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    return bytes(data)


@pytest.mark.parametrize(
    ("matrix", "upright", "corner"),
    [
        ((1, 0, 0, 1), False, "upper left"),
        ((0, 1, -1, 0), True, "upper right"),  # held upright: to be turned clockwise
        ((-1, 0, 0, -1), False, "lower right"),
        ((0, -1, 1, 0), True, "lower left"),
        ((-1, 0, 0, 1), False, "upper right"),  # a mirror image
        ((1, 0, 0, -1), False, "lower left"),
        ((0, 1, 1, 0), True, "upper left"),
        ((0, -1, -1, 0), True, "lower right"),
    ],
)
def test_films_are_turned_as_they_were_held(matrix: tuple[int, ...], upright: bool, corner: str) -> None:
    video = Video(turned_file(*matrix))
    assert (video.width, video.height) == ((32, 48) if upright else (48, 32))
    rows, columns = {"upper": 2, "lower": -3}, {"left": 2, "right": -3}
    bright = [
        f"{row} {column}"
        for row, y in rows.items()
        for column, x in columns.items()
        if video.frames[0, y, x].mean() > 150
    ]
    assert bright == [corner]


def test_a_contact_sheet_shows_frames_times_and_sound() -> None:
    silent, loud = (Video(greys(16), fps=8, audio=audio) for audio in (None, beep()))
    sheet = silent.plot(frames=8, columns=4, width=400).pixels
    assert sheet.shape[1] == 400
    cells = [sheet[6 + y * 86 + 10, 6 + x * 98 + 10] for y in (0, 1) for x in range(4)]
    assert [int(cell[0]) for cell in cells] == [10 + 7 * (2 * place + 1) for place in range(8)]
    with_sound = loud.plot(frames=8, columns=4, width=400).pixels
    assert with_sound.shape[0] == sheet.shape[0] + 80  # a waveform below either row
    first = with_sound[6 + 64 + 16 : 6 + 64 + 16 + 40].astype(int)
    drawn = (np.abs(first - (64, 92, 158)).sum(-1) == 0).sum(0)
    assert drawn[6:196].max() <= 2 < 20 < drawn[204:388].min()  # of the first row's second the tone fills the half
    assert Video(greys(1), fps=1).plot().pixels.shape[1] == 1024
    for wrong in ({"columns": 0}, {"columns": 9, "width": 200}, {"width": 9000}):
        with pytest.raises(MediaError, match=r"a sheet of \d columns on \d+ pixels"):
            loud.plot(**wrong)


def test_a_page_shows_small_films_large_and_silent_ones_by_themselves() -> None:
    assert "autoplay muted" in film()._repr_html_() and "width:240px" in film()._repr_html_()
    assert "autoplay" not in film(audio=beep())._repr_html_()


# --- bad files


def test_a_film_without_frames_is_named() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", container_options={"movflags": "empty_moov"}) as container:
        stream: Any = container.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(MediaError, match="video bytes has no frames in it"):
        Video(out.getvalue())


@pytest.mark.parametrize(("kind", "codec_"), [("mp4", "libx264"), ("webm", "libvpx-vp9")])
def test_one_frame_is_a_film(kind: str, codec_: str) -> None:
    video = Video(coded(greys(1), codec=codec_, kind=kind))
    assert video.frames.shape == (1, 32, 48, 3) and video.seconds == 0.125 and video.audio is None
    assert Video(video.encode(".gif")).frames.shape == (1, 32, 48, 3)
    assert video.plot().width == 1024


def test_an_hour_is_sampled_and_its_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hour.mp4"
    shades = 10 + 7 * (np.arange(1200) // 40)  # a frame every three seconds, a shade for every two minutes
    frames = np.broadcast_to(shades[:, None, None, None], (1200, 48, 64, 3)).astype(np.uint8)
    path.write_bytes(coded(frames, fps=Fraction(1, 3)))
    del frames
    monkeypatch.setattr(codec, "MAX_FRAMES", 128)
    held = []
    keep = codec.Sampler._keep

    def counted(sampler: codec.Sampler, pixels: np.ndarray) -> None:
        keep(sampler, pixels)
        held.append(len(sampler.frames))

    monkeypatch.setattr(codec.Sampler, "_keep", counted)
    tracemalloc.start()
    video = Video(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 64 < len(video.frames) <= max(held) <= 128
    assert peak < 2 * 128 * 48 * 64 * 3 < 1200 * 48 * 64 * 3 / 4
    assert video.seconds == pytest.approx(3600, abs=1 / video.fps)
    for place, shown in enumerate(seen(video)):
        assert shown - int((place + 0.5) / video.fps / 120) in (0, -1)


def test_the_decoders_own_memory_is_bounded_too(tmp_path: Path) -> None:
    frames = np.broadcast_to(np.arange(300)[:, None, None, None] % 256, (300, 360, 640, 3)).astype(np.uint8)
    (tmp_path / "film.mp4").write_bytes(coded(frames, fps=30, codec="mpeg4"))
    code = """
import gc, resource, sys
from anygen.codecs import video
from anygen.media import Video
most = lambda: 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
video.MAX_FRAMES = 64
Video(sys.argv[1], first=1)
gc.disable()  # what is let go of is gone at once
before = most()
assert len(Video(sys.argv[1]).frames) == 37
print(most() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "film.mp4")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2 * 64 * 360 * 640 * 3 < 300 * 360 * 640 * 1.5  # all frames as the decoder has them


def test_a_film_of_a_few_frames_may_last_an_hour() -> None:
    video = Video(coded(greys(4), [0, 900, 1800, 2700]))
    assert video.seconds == pytest.approx(2700, abs=1) and seen(video) == [0, 1, 1, 2]  # at 337, 1012, 1687, 2362 s


def test_8k_is_scaled_down_while_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = np.zeros((2, 4320, 7680, 3), np.uint8)
    large[:, :2160, :3840] = 200
    data = coded(large, codec="mpeg4")
    del large
    monkeypatch.setattr(codec, "READ_PIXELS", 1_000_000)
    tracemalloc.start()
    video = Video(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert video.width / video.height == pytest.approx(16 / 9, rel=0.01)
    assert 200_000 < video.width * video.height <= 500_000 and peak < 8_000_000 < 7680 * 4320 * 3
    frame = video.frames[1].astype(int)
    half = frame[: video.height // 2 - 4, : video.width // 2 - 4]
    assert np.abs(half - 200).max() < 12 and frame[video.height // 2 + 4 :].max() < 12
    monkeypatch.setattr("anygen.codecs.image.MAX_PIXELS", 30_000_000)
    with pytest.raises(MediaError, match="frames of 7680 x 4320 pixels, more than 30 million: scale it down first"):
        Video(data)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_damaged_middle_is_passed_over(suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (16, 8, 12, 1), dtype=np.uint8).repeat(4, 1).repeat(4, 2).repeat(3, 3)
    data = bytearray(Video(noise, fps=8, audio=beep()).encode(suffix))
    middle = slice(int(0.45 * len(data)), int(0.5 * len(data)))
    data[middle] = rng.integers(0, 256, len(data[middle]), dtype=np.uint8).tobytes()
    video = Video(bytes(data))
    assert 0.5 < video.seconds <= 2 and np.abs(video.frames[0].astype(int) - noise[0]).mean() < 10
    assert suffix == ".webm" or len(video.frames) == 16
    assert capfd.readouterr().err == ""


def test_more_damage_than_film_is_an_error() -> None:
    rng = np.random.default_rng(0)
    data = bytearray(Video(rng.integers(0, 256, (16, 32, 48, 3), dtype=np.uint8), fps=8).encode())
    body = slice(100, int(0.95 * len(data)))
    data[body] = rng.integers(0, 256, len(data[body]), dtype=np.uint8).tobytes()
    with pytest.raises(MediaError, match="is damaged: .* of its video cannot be decoded|is damaged or is no film"):
        Video(bytes(data))


def test_files_with_the_wrong_name_are_what_they_hold(tmp_path: Path) -> None:
    picture, moving = tmp_path / "photo.mp4", tmp_path / "film.png"
    for suffix in (".png", ".jpg", ".webp"):
        picture.write_bytes(Image(greys(1)[0]).encode(suffix))
        with pytest.raises(MediaError, match=r"photo\.mp4 looks like an image: pass it as Image, or use mp4"):
            Video(picture)
        assert parts(picture)[0].type == "image"
    moving.write_bytes(film().encode())
    with pytest.raises(MediaError, match=r"film\.png is not an image .* looks like video: pass it as Video"):
        Image(moving)
    assert parts(moving) == (Video(moving),)
    moving.write_bytes(film().encode().replace(b"ftyp", b"free", 1))  # QuickTime had no "ftyp" once
    assert parts(moving)[0].type == "video"
    (tmp_path / "words.txt").write_text("The wide world.")
    assert parts(tmp_path / "words.txt")[0].type == "text"


def test_a_film_on_disk_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(film().encode() + struct.pack(">I4s", 50_000_008, b"free") + bytes(50_000_000))
    tracemalloc.start()
    for read in (Video(path), *parts(path), Video(path.as_uri())):
        assert read == Video(film().encode())
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_long_sound_of_a_film_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Video(greys(8), fps=8, audio=beep()).encode()
    monkeypatch.setattr("anygen.codecs.audio.MAX_SECONDS", 0.25)
    audio = Video(data).audio
    assert audio is not None and audio.seconds == 0.25
    with pytest.raises(MediaError, match="lasts .* s, more than 0 s: cut it first"):
        Audio(data)
