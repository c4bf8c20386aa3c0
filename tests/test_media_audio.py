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
from anygen.media import Audio, Image, Video, data_url


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
        (b"no sound at all", None, "audio bytes looks like text: use mp4, webm"),
        (b"\0\1\2\3\4\5", None, "audio bytes is no film or sound that can be read: use mp4"),
        (np.zeros(10), True, "needs its rate"),
        (tone().encode()[:20], None, "damaged"),
        (tone().encode(), 8000, "rate=8000 was asked for, but the sound has 16000.*resample\\(8000\\)"),
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


def sine(frequency: float, rate: int, seconds: float = 1.0) -> Audio:
    return Audio(0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate), rate)


def decibels(error: np.ndarray) -> float:
    """Power in dB against the sine above, the ends left out, where a filter rings."""
    return float(10 * np.log10(np.mean(error[0, 1000:-1000].astype(np.float64) ** 2) / 0.125 + 1e-20))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 192000])
def test_a_sine_stays_the_same_sine_at_another_rate(rate: int) -> None:
    frequency = 0.85 * min(rate, 16000) / 2
    resampled = sine(frequency, rate).resample(16000)
    assert (resampled.rate, resampled.channels, resampled.seconds) == (16000, 1, 1.0)
    assert decibels(resampled.samples - sine(frequency, 16000).samples) < -80


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 192000])
def test_what_a_lower_rate_cannot_hold_leaves_no_alias(rate: int) -> None:
    for frequency in (8050, 0.9 * rate / 2):
        assert decibels(sine(frequency, rate).resample(16000).samples) < -80


def test_resampling_against_scipy() -> None:
    signal = pytest.importorskip("scipy.signal")
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 22050)).astype(np.float32)
    low = signal.sosfilt(signal.butter(12, 5000, fs=44100, output="sos"), noise)
    theirs = signal.resample_poly(low, 160, 441, axis=1, window=("kaiser", 9.0))
    ours = Audio(low.astype(np.float32), 44100).resample(16000).samples
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs)[:, 500:-500].max() < 1e-3 * np.abs(theirs).max()


def test_resampling_keeps_what_is_constant_and_the_range() -> None:
    square = np.sign(np.sin(np.arange(8000) / 30.0))
    assert np.abs(Audio(square, 8000).resample(16000).samples).max() <= 1
    flat = Audio(np.full((3, 4000), 0.25), 48000).resample(44100).samples
    assert flat.shape == (3, 3675) and np.abs(flat[:, 200:-200] - 0.25).max() < 1e-5
    audio = tone()
    assert audio.resample(16000) is audio
    with pytest.raises(MediaError, match="1000 to 384000, got 16000.0"):
        audio.resample(16000.0)  # type: ignore[arg-type]


def test_mono_is_the_mean() -> None:
    both = Audio(np.array([[0.5, -0.5, 1.0], [0.1, 0.5, 0.0]]), 16000).mono()
    assert both.channels == 1 and np.allclose(both.samples, [[0.3, 0.0, 0.5]])
    assert both.mono() is both


def test_a_plot_shows_when_how_loud_and_how_high() -> None:
    seconds = np.arange(16000) / 16000
    high_then_nothing = Audio(0.9 * np.sin(2 * np.pi * 4000 * seconds) * (seconds < 0.5), 16000)
    picture = high_then_nothing.plot(width=100, height=90)
    assert isinstance(picture, Image) and picture.pixels.shape == (90, 100, 3)
    wave, spectrum = picture.pixels[:30].astype(int), picture.pixels[30:].astype(int).sum(-1)
    drawn = (np.abs(wave - (64, 92, 158)).sum(-1) == 0).sum(0)  # the stroke's height in each column
    assert drawn[:48].min() >= 25 and drawn[52:].max() <= 2
    assert spectrum[:, 60:].max() < 100 < spectrum[:, :45].max(0).min()
    mel = 2595 * np.log10(1 + np.array([4000, 8000]) / 700)
    assert abs((60 - spectrum[:, 20].argmax()) - 60 * mel[0] / mel[1]) < 2  # brightest at 4 kHz, counted from below
    with pytest.raises(MediaError, match="a plot of 4 x 90 pixels"):
        high_then_nothing.plot(width=4, height=90)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(16000), np.zeros(1), np.ones((1, 1)), np.zeros((8, 192)), np.array([1.0, -1.0])],
    ids=["silence", "one sample", "one loud sample", "8 channels", "two samples"],
)
@pytest.mark.parametrize("rate", [1000, 16000, 192000])
def test_odd_sound_is_mixed_resampled_shown_and_played(samples: np.ndarray, rate: int) -> None:
    audio = Audio(samples, rate)
    small = audio.mono().resample(16000)
    assert small.samples.shape[1] == -(-audio.samples.shape[1] * 16000 // rate)
    assert np.isfinite(small.samples).all() and bool(small.samples.any()) == bool(audio.samples.any())
    assert audio.plot(64, 32).pixels.shape == (32, 64, 3)
    played = audio._repr_html_()
    assert played.startswith('<audio controls src="data:audio/wav;base64,')
    heard = Audio(played.split('"')[1])
    assert heard.channels <= 2 and heard.rate <= 48000


def test_files_with_many_channels_or_a_high_rate_are_read(tmp_path: Path) -> None:
    audio = tone(0.5, 192000, 8)
    for suffix in (".wav", ".flac"):
        again = Audio(audio.save(tmp_path / f"eight{suffix}"))
        assert (again.rate, again.channels) == (192000, 8)
        assert decibels(again.mono().resample(16000).samples - tone(0.5).samples) < -80
    for suffix in (".mp3", ".ogg"):
        try:
            audio.save(tmp_path / f"eight{suffix}")
        except MediaError as error:
            assert "cannot hold 8 channels at 192000 Hz: use mono() and resample(48000) first" in str(error)
    with pytest.raises(MediaError, match="mp3 cannot hold"):
        audio.save(tmp_path / "eight.mp3")


def test_the_sound_of_a_film_is_taken_and_a_silent_film_is_refused(tmp_path: Path) -> None:
    frames = np.zeros((10, 32, 32, 3), np.uint8)
    sounding = Video(frames, fps=20, audio=tone(0.5)).save(tmp_path / "film.mp4")
    assert abs(Audio(sounding).seconds - 0.5) < 0.1
    silent = Video(frames, fps=20).save(tmp_path / "silent.mp4")
    with pytest.raises(MediaError, match=r"silent\.mp4 has no sound in it"):
        Audio(silent)


def test_what_is_no_sound_is_named(tmp_path: Path) -> None:
    text, picture = tmp_path / "notes.wav", tmp_path / "photo.mp3"
    text.write_text("These are my notes, not a sound.\n" * 50)
    with pytest.raises(MediaError, match=r"notes\.wav looks like text: use .* wav, flac, ogg, mp3 or m4a for sound"):
        Audio(text)
    picture.write_bytes(Image(np.zeros((8, 8, 3), np.uint8)).encode(".png"))
    with pytest.raises(MediaError, match=r"photo\.mp3 looks like an image"):
        Audio(picture)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_mp3_gives_what_is_there_or_one_line(
    tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = tone(2.0).encode(".mp3")
    path = tmp_path / "cut.mp3"
    path.write_bytes(whole[: int(share * len(whole))])
    try:
        found = Audio(path)
    except MediaError as error:
        assert share <= 0.1 and str(path) in str(error) and "\n" not in str(error)
    else:
        assert share >= 0.5 and 0.5 < found.seconds <= 2.0
        assert np.argmax(np.abs(np.fft.rfft(found.samples[0]))) / found.seconds == pytest.approx(440, rel=0.02)
    assert capfd.readouterr().err == ""  # no decoder grumbles past our one line


@pytest.mark.parametrize(
    ("suffix", "rate", "seconds"), [(".wav", 1000, 3600), (".flac", 1000, 3600), (".mp3", 8000, 605)]
)
def test_an_hour_is_refused(tmp_path: Path, suffix: str, rate: int, seconds: int) -> None:
    import soundfile

    path = tmp_path / f"hour{suffix}"
    soundfile.write(path, np.zeros(seconds * rate, np.float32), rate)
    with pytest.raises(MediaError, match=f"lasts {seconds} s, more than 600 s: cut it first"):
        Audio(path)
    with pytest.raises(MediaError, match="lasts 3600 s"):
        Audio(np.zeros(3600 * 1000, np.float32), 1000)


def test_a_wav_of_floats_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0.0, np.nan, 0.5], np.float32), 16000, subtype="FLOAT")
    with pytest.raises(MediaError, match=r"nan\.wav holds samples that are not finite"):
        Audio(path)
