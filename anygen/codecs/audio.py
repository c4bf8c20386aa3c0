"""Sound files to float32 arrays [channels, samples] and back, with libsndfile, and PyAV for what that cannot read."""

import io

import numpy as np
import soundfile

from anygen.codecs.source import known_suffix
from anygen.error import MediaError

MAX_SECONDS = 600.0
FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}


def write(samples: np.ndarray, rate: int, suffix: str) -> bytes:
    """Samples, float32 [channels, samples], as the bytes of a sound file; wav and flac keep 16 bits."""
    kind = FORMATS[known_suffix("audio", suffix, tuple(FORMATS))]
    out = io.BytesIO()
    if kind in ("WAV", "FLAC"):
        # rounded here, so that reading gives back exactly what was rounded
        data = np.clip(np.rint(samples.T * 32768.0), -32768, 32767).astype(np.int16)
        soundfile.write(out, data, rate, format=kind, subtype="PCM_16")
    else:
        try:
            soundfile.write(out, samples.T, rate, format=kind)
        except soundfile.SoundFileError as error:
            raise MediaError(
                f"{kind.lower()} cannot hold {len(samples)} channels at {rate} Hz: "
                "use mono() and resample(48000) first, or .wav"
            ) from error
    return out.getvalue()


def read(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """The sound in a file as float32 [channels, samples], and its rate."""
    from anygen.codecs import container

    try:
        if is_mpeg(data):  # libsndfile reads it too, but grumbles on stderr about one that was cut short
            raise soundfile.SoundFileError
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > MAX_SECONDS * file.samplerate:
                raise MediaError(too_long(name, file.frames / file.samplerate))
            samples, rate = file.read(dtype="float32", always_2d=True).T, int(file.samplerate)
    except soundfile.SoundFileError:
        samples, rate = container.read_audio(data, name)
    return checked(np.clip(samples, -1.0, 1.0), rate, name), rate


def is_mpeg(data: bytes) -> bool:
    """Whether a file begins as mp3 or raw AAC does."""
    return data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] >= b"\xe0")


def checked(array: np.ndarray, rate: int, name: str = "audio array") -> np.ndarray:
    """A user's array as float32 [channels, samples] in -1..1, or an error that says what is wrong with it."""
    if array.dtype == np.int16:
        array = array.astype(np.float32) / 32768.0
    if array.dtype.kind != "f" or array.ndim not in (1, 2):
        raise MediaError(
            f"{name} must be float in -1..1 or int16, [samples] or [channels, samples]; "
            f"got {array.dtype} {list(array.shape)}"
        )
    array = np.atleast_2d(array).astype(np.float32)
    if not array.size:
        raise MediaError(f"{name} holds no sound: {list(array.shape)}")
    if array.shape[0] > 8:
        wayout = "put channels first, at most 8" if name == "audio array" else "mix it down to 8 or fewer first"
        raise MediaError(f"{name} has {array.shape[0]} channels of {array.shape[1]} samples; {wayout}")
    if array.shape[1] > MAX_SECONDS * rate:
        raise MediaError(too_long(name, array.shape[1] / rate))
    if not np.isfinite(array).all():
        raise MediaError(f"{name} holds samples that are not finite (NaN or infinite)")
    if (peak := float(np.abs(array).max())) > 1.0:
        raise MediaError(f"{name} has a peak of {peak:.3g}, outside -1..1: divide by the peak")
    return array


def too_long(name: str, seconds: float) -> str:
    """What is said of a sound beyond the limit."""
    return f"{name} lasts {seconds:.0f} s, more than {MAX_SECONDS:.0f} s: cut it first"
