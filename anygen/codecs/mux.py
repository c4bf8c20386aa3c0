"""Frames, uint8 [frames, height, width, 3], and sound to film files, with PyAV, and with Pillow for GIF."""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import PIL.Image

from anygen.codecs.container import Sound
from anygen.codecs.source import known_suffix


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A container, its codecs and their options, and the rates that its sound may have."""

    container: str
    picture: str
    options: dict[str, str]
    sound: str
    rates: tuple[int, ...]


# one thread: the bytes depend on how many an encoder uses
KINDS = {
    ".mp4": Kind(
        container="mp4",
        picture="libx264",
        options={"crf": "18", "x264-params": "threads=1"},
        sound="aac",
        rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
    ".webm": Kind(
        container="webm",
        picture="libvpx-vp9",
        options={"crf": "24", "b": "0", "threads": "1", "cpu-used": "4"},
        sound="libopus",
        rates=(8000, 12000, 16000, 24000, 48000),
    ),
}
FORMATS = (*KINDS, ".gif")
BT601, LIMITED = 6, 1  # of ITU-T H.273: what swscale makes of RGB


def write(frames: np.ndarray, fps: float, sound: Sound | None, suffix: str) -> bytes:
    """The bytes of a film: .mp4 (H.264, AAC), .webm (VP9, Opus) or .gif (no sound)."""
    suffix = known_suffix("video", suffix, FORMATS)
    return _gif(frames, fps) if suffix == ".gif" else _film(frames, fps, sound, KINDS[suffix])


def _gif(frames: np.ndarray, fps: float) -> bytes:
    pictures = [PIL.Image.fromarray(frame).quantize(256, dither=PIL.Image.Dither.NONE) for frame in frames]
    # GIF counts in 10 ms; rounding the ends keeps the whole duration
    ends = [10 * round(100 * (i + 1) / fps) for i in range(len(frames))]
    durations = [max(10, end - start) for start, end in zip([0, *ends], ends, strict=False)]
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return out.getvalue()


def _film(frames: np.ndarray, fps: float, sound: Sound | None, kind: Kind) -> bytes:
    height, width = frames.shape[1:3]
    out = io.BytesIO()
    with av.open(out, "w", format=kind.container, container_options={"fflags": "+bitexact"}) as container:
        rate = Fraction(fps).limit_denominator(1001 if fps >= 1 else 1_000_000) or Fraction(1, 1_000_000)
        picture: Any = container.add_stream(kind.picture, rate=rate)
        # yuv420p halves the colour planes, so an odd edge is doubled
        picture.height, picture.width, picture.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        picture.options = dict(kind.options)
        coder = picture.codec_context
        # said, since players take unnamed colours for others as soon as a film is large
        coder.colorspace = coder.color_primaries = coder.color_trc = BT601
        coder.color_range = LIMITED
        voice = _voice(container, sound, kind) if sound else None
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        container.mux(picture.encode(None))
        if voice and sound:
            _encode_sound(container, voice, sound)
    return out.getvalue()


def _voice(container: Any, sound: Sound, kind: Kind) -> Any:
    rate = sound[1] if sound[1] in kind.rates else 48000
    return container.add_stream(kind.sound, rate=rate, layout="mono" if len(sound[0]) == 1 else "stereo")


def _encode_sound(container: Any, stream: Any, sound: Sound) -> None:
    samples, rate = sound
    if len(samples) > 2:
        samples = np.repeat(samples.mean(axis=0, keepdims=True), 2, axis=0)
    layout = "mono" if len(samples) == 1 else "stereo"
    resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=stream.rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
