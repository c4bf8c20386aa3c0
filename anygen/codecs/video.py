"""Film files to uint8 arrays [frames, height, width, 3] and back, with PyAV, and with Pillow for GIF."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
import PIL.Image

from anygen.codecs import audio, image
from anygen.codecs.source import known_suffix, sniff
from anygen.error import MediaError

MAX_FRAMES = 1024
MAX_PIXELS = 512_000_000
FORMATS = (".mp4", ".gif")
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
Sound = tuple[np.ndarray, int]


def read(data: bytes, name: str, first: int | None = None) -> tuple[np.ndarray, float, Sound | None]:
    """The film in a file: frames, fps, and its sound if any; only the `first` frames if given."""
    if first is not None and first < 1:
        raise MediaError(f"first={first} keeps no frame: it must be at least 1")
    if data[:4] == b"GIF8":
        frames, fps = _read_gif(data, name, first)
        return frames, fps, None
    with _opened(data, name) as container:
        if not container.streams.video:
            raise MediaError(f"{name} has no picture in it: pass it as Audio")
        stream = _decodable(container.streams.video[0], name)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        if not 0 < fps <= 240:
            raise MediaError(f"{name} says {fps:g} frames per second; between 0 and 240 can be read")
        frames = _gathered((_upright(frame) for frame in container.decode(stream)), name, first)
    sound = _sound(data, name) if _has_sound(data, name) else None
    if sound and first is not None:
        sound = sound[0][:, : max(1, round(len(frames) / fps * sound[1]))], sound[1]
    return frames, fps, sound


def read_audio(data: bytes, name: str) -> Sound:
    """The sound of any file that FFmpeg reads as float32 [channels, samples], and its rate."""
    if not _has_sound(data, name):
        raise MediaError(f"{name} has no sound in it")
    return _sound(data, name)


def write(frames: np.ndarray, fps: float, sound: Sound | None, suffix: str) -> bytes:
    """Frames, uint8 [frames, height, width, 3], as the bytes of a film: .mp4 (H.264, AAC) or .gif (no sound)."""
    kind = known_suffix("video", suffix, FORMATS)
    return _gif(frames, fps) if kind == ".gif" else _mp4(frames, fps, sound)


def checked(array: np.ndarray) -> np.ndarray:
    """A user's array if it is uint8 [frames, height, width, 3], or an error that says what is wrong with it."""
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or not array.size:
        raise MediaError(
            f"a video array must be uint8 [frames, height, width, 3], got {array.dtype} {list(array.shape)}; "
            "scale to 0..255, put channels last"
        )
    _check_size(len(array), array.shape[1], array.shape[2], "video array")
    return array


def _check_size(frames: int, height: int, width: int, name: str) -> None:
    if frames > MAX_FRAMES or frames * height * width > MAX_PIXELS:
        most = max(1, min(MAX_FRAMES, MAX_PIXELS // (height * width)))
        raise MediaError(
            f"{name} has more than the {most} frames of {width} x {height} that fit: "
            f"cut it, scale it down, or read its start with Video(..., first={most})"
        )


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Any]:
    try:
        # the demuxer is named, since a playlist could otherwise make FFmpeg open other files
        with av.open(io.BytesIO(data), format=_demuxer(data, name)) as container:
            yield container
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name} is damaged or is no film or sound that can be read ({error})"[:300]) from error


def _demuxer(data: bytes, name: str) -> str:
    known = {b"RIFF": "avi" if data[8:12] == b"AVI " else "wav", b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg"}
    known |= {b"fLaC": "flac", b"FORM": "aiff"}
    if data[4:8] == b"ftyp":
        return "mov"
    if data[:4] not in known and audio.is_mpeg(data):
        return "aac" if data[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9") else "mp3"
    if data[:4] not in known:
        looks = {"text": "text", "image": "an image", "video": "a film without sound"}.get(sniff(data) or "")
        raise MediaError(
            f"{name} {f'looks like {looks}' if looks else 'is no film or sound that can be read'}: "
            "use mp4, webm, gif or avi for film, wav, flac, ogg, mp3 or m4a for sound"
        )
    return known[data[:4]]


def _upright(frame: av.VideoFrame) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)


def _gathered(frames: Iterator[np.ndarray], name: str, first: int | None) -> np.ndarray:
    """Frames into one array, stopping at `first` or, with an error, at the limit."""
    kept: list[np.ndarray] = []
    for frame in frames:
        _check_size(len(kept) + 1, frame.shape[0], frame.shape[1], name)
        if kept and frame.shape != kept[0].shape:
            raise MediaError(f"{name} changes its size from {kept[0].shape[:2]} to {frame.shape[:2]}: encode it again")
        kept.append(frame)
        if len(kept) == first:
            break
    if not kept:
        raise MediaError(f"{name} has no frames in it")
    return np.stack(kept)


def _decodable(stream: Any, name: str) -> Any:
    if stream.codec_context is None:
        raise MediaError(f"{name} is damaged or of an unknown codec: its {stream.type} cannot be decoded")
    return stream


def _has_sound(data: bytes, name: str) -> bool:
    with _opened(data, name) as container:
        return bool(container.streams.audio)


def _sound(data: bytes, name: str) -> Sound:
    with _opened(data, name) as container:
        stream = _decodable(container.streams.audio[0], name)
        rate = int(stream.rate)
        seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        if seconds > audio.MAX_SECONDS + 1:  # told by the file itself, which may be off by its padding
            raise MediaError(audio.too_long(name, seconds))
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        chunks: list[np.ndarray] = []
        length = early = 0
        for frame in container.decode(stream):
            if not chunks and frame.pts is not None and frame.pts < 0:
                # what an encoder puts before the beginning
                early = round(-frame.pts * frame.time_base * rate)
            for piece in resampler.resample(frame):
                chunks.append(piece.to_ndarray())
                if len(chunks[-1]) != len(chunks[0]):
                    raise MediaError(
                        f"{name} changes its channels from {len(chunks[0])} to {len(chunks[-1])}: save it again"
                    )
                length += chunks[-1].shape[1]
            if length > audio.MAX_SECONDS * rate:
                raise MediaError(audio.too_long(name, length / rate))
        end = early + round(stream.duration * stream.time_base * rate) if stream.duration else None
    if not chunks:
        raise MediaError(f"{name} holds no sound")
    samples = np.concatenate(chunks, axis=1)[:, early:end].astype(np.float32)
    return audio.checked(np.clip(samples, -1.0, 1.0), rate, name), rate


def _read_gif(data: bytes, name: str, first: int | None) -> tuple[np.ndarray, float]:
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            count = getattr(picture, "n_frames", 1)
            milliseconds = []
            for index in range(count):
                picture.seek(index)
                milliseconds.append(picture.info.get("duration") or 100)
            # a GIF gives every frame its own duration: sample it at the shortest of them
            tick, total = min(milliseconds), sum(milliseconds)
            ends = np.cumsum(milliseconds)
            shown = [int(np.searchsorted(ends, (i + 0.5) * tick)) for i in range(max(1, round(total / tick)))]

            def frames() -> Iterator[np.ndarray]:
                last, pixels = -1, np.empty(0)
                for index in shown:
                    if index != last:
                        picture.seek(index)
                        last, pixels = index, image.from_pil(picture.copy(), name)
                    yield pixels

            return _gathered(frames(), name, first), 1000 / tick
    except MediaError:
        raise
    except Exception as error:  # Pillow's plugins raise anything
        raise MediaError(f"{name} is a damaged GIF ({error}): save it again"[:300]) from error


def _gif(frames: np.ndarray, fps: float) -> bytes:
    pictures = [PIL.Image.fromarray(frame).quantize(256, dither=PIL.Image.Dither.NONE) for frame in frames]
    # GIF counts in 10 ms; rounding the ends keeps the whole duration
    ends = [10 * round(100 * (i + 1) / fps) for i in range(len(frames))]
    durations = [max(10, end - start) for start, end in zip([0, *ends], ends, strict=False)]
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return out.getvalue()


def _mp4(frames: np.ndarray, fps: float, sound: Sound | None) -> bytes:
    # yuv420p halves the colour planes, so an odd edge is doubled
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        picture: Any = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        picture.height, picture.width, picture.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        # one thread: x264's bytes depend on how many it uses
        picture.options = {"crf": "18", "x264-params": "threads=1"}
        voice = _aac(container, sound) if sound else None
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(picture.encode(None))
        if voice and sound:
            _encode_sound(container, voice, sound)
    return out.getvalue()


def _aac(container: Any, sound: Sound) -> Any:
    rate = sound[1] if sound[1] in AAC_RATES else 48000
    return container.add_stream("aac", rate=rate, layout="mono" if len(sound[0]) == 1 else "stereo")


def _encode_sound(container: Any, stream: Any, sound: Sound) -> None:
    samples, rate = sound
    if len(samples) > 2:
        samples = np.repeat(samples.mean(axis=0, keepdims=True), 2, axis=0)
    layout = "mono" if len(samples) == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=stream.rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
