"""Sound: files round-trip, bad files and arrays say what is wrong."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from anygen.error import MediaError
from anygen.media import Audio, data_url


def tone(seconds: float = 0.5, rate: int = 16000, channels: int = 1) -> Audio:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    return Audio(np.tile(wave, (channels, 1)), rate)


@given(npst.arrays(np.int16, st.tuples(st.integers(1, 2), st.integers(1, 300))), st.sampled_from([8000, 16000, 44100]))
def test_lossless_files_round_trip(samples: np.ndarray, rate: int) -> None:
    audio = Audio(samples, rate)
    assert audio.samples.dtype == np.float32 and audio.samples.shape == samples.shape
    for suffix in (".wav", ".flac"):
        assert Audio(audio.encode(suffix)) == audio
    assert Audio(data_url(audio)) == audio


@given(st.binary(max_size=60), st.sampled_from([".wav", ".flac", ".ogg", ".mp3"]), st.integers(0, 400))
def test_damaged_bytes_give_sound_or_a_media_error(noise: bytes, suffix: str, at: int) -> None:
    whole = tone(0.05).encode(suffix)
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    try:
        assert np.isfinite(Audio(damaged).samples).all()
    except MediaError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_compressed_files_keep_the_sound(tmp_path: Path, suffix: str, channels: int) -> None:
    audio = tone(channels=channels)
    again = Audio(audio.save(tmp_path / f"tone{suffix}"))
    assert (again.rate, again.channels) == (16000, channels)
    assert abs(again.seconds - 0.5) < 0.1
    assert np.argmax(np.abs(np.fft.rfft(again.samples[0, :8000]))) == 220


def test_what_libsndfile_cannot_read_goes_through_ffmpeg() -> None:
    out = io.BytesIO()
    audio = tone(1.0, 44100, 2)
    with av.open(out, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(audio.samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, 0
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=44100)
        for piece in [*resampler.resample(frame), None]:
            container.mux(stream.encode(piece))
    again = Audio(out.getvalue())
    assert (again.rate, again.channels) == (44100, 2)
    assert abs(again.seconds - 1.0) < 0.05
    assert np.corrcoef(again.samples[0, 4000:40000], audio.samples[0, 4000:40000])[0, 1] > 0.99


def test_value_is_frozen_equal_by_content_and_describes_itself() -> None:
    audio = tone()
    assert audio == tone() != tone(0.4) and len({audio, tone()}) == 1
    assert audio != Audio(audio.samples, 8000)
    assert repr(audio).startswith("Audio(0.50 s, 1 x 16000 Hz")
    assert audio._repr_html_().startswith("<audio controls")
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0] = 0


@pytest.mark.parametrize(
    ("source", "rate", "message"),
    [
        (np.zeros(10, np.float32), None, "needs its rate"),
        (np.zeros(10, np.float32), 0, "needs its rate"),
        (np.array([0.0, np.nan]), 16000, "not finite"),
        (np.array([0.0, np.inf]), 16000, "not finite"),
        (np.array([0.0, 2.0]), 16000, "peak of 2, outside -1..1: divide by the peak"),
        (np.zeros((1, 0), np.float32), 16000, "holds no sound"),
        (np.zeros((1, 2, 3), np.float32), 16000, r"got float32 \[1, 2, 3\]"),
        (np.zeros((4000, 2), np.float32), 16000, "put channels first|channels first"),
        (np.zeros(10, np.int32), 16000, "float in -1..1 or int16"),
        (np.zeros(601 * 1000, np.float32), 1000, "lasts 601 s, more than 600 s"),
        (b"", None, "is empty"),
        (b"no sound at all", None, "use mp4, webm"),
        (tone().encode()[:20], None, "damaged"),
        (tone().encode(), 8000, "rate=8000 was asked for, but the sound has 16000"),
    ],
)
def test_bad_sound_says_what_is_wrong(source: Any, rate: int | None, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        Audio(source, rate)
    assert "\n" not in str(caught.value)


def test_a_long_file_is_refused_before_it_is_decoded() -> None:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.zeros(601 * 1000, np.int16), 1000, format="WAV")
    with pytest.raises(MediaError, match="lasts 601 s"):
        Audio(out.getvalue())
