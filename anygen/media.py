"""The media values `Text | Image | Audio | Video`, and the parts and messages that a request is made of.

What may only be read, `Depth | Thermal | Imu`, is in `anygen.sensed`.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image

from anygen.codecs import source as files
from anygen.codecs.source import Named
from anygen.error import MediaError, RequestError
from anygen.sensed import SENSED_MEDIA, Depth, Imu, SensedValue, Thermal
from anygen.value import digest as _digest
from anygen.value import freeze as _freeze
from anygen.value import is_array as _is_array

MODALITIES = ("text", "image", "audio", "video")
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    type: ClassVar[str] = "text"
    mime: ClassVar[str] = "text/plain"
    suffix: ClassVar[str] = ".txt"
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise RequestError(f"text must be a string, got {type(self.text).__name__}")
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"text is not valid Unicode: {error.reason} at position {error.start}") from error

    @property
    def hash(self) -> str:
        """sha256 of the text, in hex."""
        return hashlib.sha256(b"text\0" + self.text.encode()).hexdigest()

    def encode(self, suffix: str = ".txt") -> bytes:
        """The text as UTF-8."""
        files.known_suffix("text", suffix, (".txt",))
        return self.text.encode()

    def save(self, path: str | Path) -> Path:
        """Write the text as UTF-8 and return the path."""
        return files.write(Path(path), self.text.encode())

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Image:
    """A picture: `pixels`, uint8 [height, width, 3], read-only.

    `source` is a path, a data: URL, the bytes of a file, an open file, a PIL image, or a uint8 array [height, width],
    or [height, width, 1 or 3 or 4]. Transparency is laid on white, and EXIF orientation applied.
    """

    type: ClassVar[str] = "image"
    mime: ClassVar[str] = "image/png"
    suffix: ClassVar[str] = ".png"
    pixels: np.ndarray
    hash: str

    def __init__(self, source: Any) -> None:
        from anygen.codecs import image

        if isinstance(source, Image):
            pixels = source.pixels
        elif isinstance(source, PIL.Image.Image):
            pixels = image.from_pil(source, "PIL image")
        elif _is_array(source):
            pixels = image.checked(np.asarray(source))
        else:
            data, name = files.read(source, "image")
            pixels = image.read(data, name)
        _freeze(self, pixels=pixels, hash=_digest("image", pixels))

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.pixels.shape[1])

    def pil(self) -> PIL.Image.Image:
        """The picture as a PIL image in mode RGB."""
        return PIL.Image.fromarray(self.pixels)

    def encode(self, suffix: str = ".png") -> bytes:
        """The bytes of a picture file of the kind that `suffix` names."""
        from anygen.codecs import image

        return image.write(self.pixels, suffix)

    def save(self, path: str | Path) -> Path:
        """Write the picture in the format that the suffix names and return the path."""
        return files.write(Path(path), self.encode(Path(path).suffix))

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Image) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Image({self.width}x{self.height}, {self.hash[:8]})"

    def _repr_html_(self) -> str:
        zoom = max(1, 256 // max(self.height, self.width))
        style = f"width:{self.width * zoom}px;max-width:100%;image-rendering:{'pixelated' if zoom > 1 else 'auto'}"
        return f'<img src="{data_url(self)}" style="{style}" alt="picture, {self.width} x {self.height}">'


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Audio:
    """Sound: `samples`, float32 [channels, samples] in -1..1, read-only, at `rate` samples per second.

    `source` is a path, a data: URL, the bytes of a file, an open file, or an array [samples] or [channels, samples] of
    float in -1..1 or int16; only an array needs `rate`.
    """

    type: ClassVar[str] = "audio"
    mime: ClassVar[str] = "audio/wav"
    suffix: ClassVar[str] = ".wav"
    samples: np.ndarray
    rate: int
    hash: str

    def __init__(self, source: Any, rate: int | None = None) -> None:
        from anygen.codecs import audio

        if isinstance(source, Audio):
            samples, native = source.samples, source.rate
        elif _is_array(source):
            rate = _known_rate(rate)
            samples, native = audio.checked(np.asarray(source), rate), rate
        else:
            data, name = files.read(source, "audio")
            samples, native = audio.read(data, name)
        if rate is not None and rate != native:
            raise MediaError(
                f"rate={rate} was asked for, but the sound has {native}; leave rate out, then use resample({rate})"
            )
        _freeze(self, samples=samples, rate=native, hash=_digest(f"audio {native}", samples))

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return int(self.samples.shape[0])

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples.shape[1] / self.rate

    def mono(self) -> "Audio":
        """The mean of all channels, as one channel."""
        return self if self.channels == 1 else Audio(self.samples.mean(axis=0, dtype=np.float32), self.rate)

    def resample(self, rate: int) -> "Audio":
        """The sound at another rate; what the new rate cannot hold is filtered out, without aliases."""
        from anygen.codecs.resample import resample

        _known_rate(rate)
        return self if rate == self.rate else Audio(np.clip(resample(self.samples, self.rate, rate), -1, 1), rate)

    def plot(self, width: int = 512, height: int = 192) -> Image:
        """A picture of the sound: above its waveform, below a mel spectrogram up to 8 kHz."""
        from anygen.codecs.plot import plot

        if not (8 <= width <= 8192 and 8 <= height <= 8192):
            raise MediaError(f"a plot of {width} x {height} pixels: choose between 8 and 8192 for either")
        return Image(plot(self.samples, self.rate, width, height))

    def encode(self, suffix: str = ".wav") -> bytes:
        """The bytes of a sound file of the kind that `suffix` names; wav and flac keep 16 bits."""
        from anygen.codecs import audio

        return audio.write(self.samples, self.rate, suffix)

    def save(self, path: str | Path) -> Path:
        """Write the sound in the format that the suffix names and return the path."""
        return files.write(Path(path), self.encode(Path(path).suffix))

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Audio) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Audio({self.seconds:.2f} s, {self.channels} x {self.rate} Hz, {self.hash[:8]})"

    def _repr_html_(self) -> str:
        # browsers play no more than this
        sound = self if self.channels <= 2 and self.rate <= 48000 else self.mono().resample(min(self.rate, 48000))
        return f'<audio controls src="{data_url(sound)}"></audio>'


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Video:
    """A film: `frames`, uint8 [frames, height, width, 3], read-only, at `fps`, with an optional `audio`.

    `source` is a path, a data: URL, the bytes of a file, an open file, or such an array, which needs its `fps`. A file
    is decoded as a stream and sampled by time: `fps` may ask for fewer frames than it has, `first` for so many of its
    beginning. Of a film with more frames than fit (1024) every second, fourth, ... is kept, so that `fps` is lower and
    `seconds` still true; one of larger frames than fit (128 million pixels in all) is scaled down. Of a film's sound
    the first ten minutes are kept.
    """

    type: ClassVar[str] = "video"
    mime: ClassVar[str] = "video/mp4"
    suffix: ClassVar[str] = ".mp4"
    frames: np.ndarray
    fps: float
    audio: Audio | None
    hash: str

    def __init__(
        self, source: Any, fps: float | None = None, audio: Audio | None = None, first: int | None = None
    ) -> None:
        from anygen.codecs import video

        if isinstance(source, Video):
            frames, native, sound = source.frames, source.fps, source.audio
            if fps is not None and fps != native:
                raise MediaError(
                    f"fps={fps} was asked for, but the video has {native:g}: use sample() for other frames"
                )
        elif _is_array(source):
            if fps is None or isinstance(fps, bool) or not 0 < fps <= 100_000:
                raise MediaError(f"a video array needs its fps, above 0 and at most 100000, got {fps!r}")
            frames, native, sound = video.checked(np.asarray(source)), float(fps), None
        else:
            with files.opened(source, "video") as (file, name):
                frames, native, heard = video.read(file, name, fps, first)
            sound = Audio(*heard) if heard else None
        if audio is not None and not isinstance(audio, Audio):
            raise MediaError(f"audio of a video must be an Audio, got {type(audio).__name__}")
        sound = audio or sound
        found = _digest(f"video {native:g} {sound.hash if sound else ''}", frames)
        _freeze(self, frames=frames, fps=native, audio=sound, hash=found)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return int(self.frames.shape[2])

    @property
    def seconds(self) -> float:
        """Duration of the pictures."""
        return len(self.frames) / self.fps

    def sample(self, frames: int, seconds: float | None = None) -> "Video":
        """The film in so many frames, evenly spread over its time or over its first `seconds`; the sound stays whole.

        Frame k is what is seen at (k + 1/2) seconds / frames. A film that is shorter than `seconds` holds its last
        frame, and one with fewer frames shows some of them twice.
        """
        from anygen.codecs import video

        if isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= video.MAX_FRAMES:
            raise MediaError(f"frames={frames!r}: a film is sampled at 1 to {video.MAX_FRAMES} times")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise MediaError(f"seconds={seconds!r}: more than 0 are needed")
        seconds = self.seconds if seconds is None else seconds
        times = (np.arange(frames) + 0.5) * seconds / frames
        # a time at the very seam of two frames belongs to the later one, whichever way it was rounded
        places = np.minimum((times * self.fps + 1e-6).astype(int), len(self.frames) - 1)
        chosen = self.frames[places]
        chosen.flags.writeable = False  # nobody else has it: it need not be copied
        return Video(chosen, fps=frames / seconds, audio=self.audio)

    def with_audio(self, audio: Audio | None) -> "Video":
        """The film with this sound, cut to its length or padded with silence (ten minutes at most); None takes it."""
        if audio is None:
            return Video(self.frames, fps=self.fps)
        from anygen.codecs.audio import MAX_SECONDS

        needed = max(1, round(min(self.seconds, MAX_SECONDS) * audio.rate))
        samples = audio.samples[:, :needed]
        samples = np.pad(samples, ((0, 0), (0, needed - samples.shape[1])))
        return Video(self.frames, fps=self.fps, audio=Audio(samples, audio.rate))

    def plot(self, frames: int = 16, columns: int = 8, width: int = 1024) -> Image:
        """A contact sheet: frames at even times, each with its time, and the sound of each row as a waveform below."""
        from anygen.codecs.contact import sheet

        if not 1 <= columns <= 64 or not 24 * columns <= width <= 8192:
            raise MediaError(f"a sheet of {columns} columns on {width} pixels: each needs 24, and 8192 is the most")
        shown = self.sample(min(frames, len(self.frames)) if isinstance(frames, int) else frames)
        sound = (self.audio.samples, self.audio.rate) if self.audio else None
        return Image(sheet(shown.frames, self.seconds, sound, columns, width))

    def encode(self, suffix: str = ".mp4") -> bytes:
        """The bytes of a film: .mp4 (H.264, AAC), .webm (VP9, Opus) or .gif (no sound)."""
        from anygen.codecs import mux

        sound = (self.audio.samples, self.audio.rate) if self.audio else None
        return mux.write(self.frames, self.fps, sound, suffix)

    def save(self, path: str | Path) -> Path:
        """Write the film in the format that the suffix names and return the path."""
        return files.write(Path(path), self.encode(Path(path).suffix))

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Video) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        sound = ", with sound" if self.audio else ""
        return (
            f"Video({len(self.frames)} frames of {self.width}x{self.height}, {self.fps:g} fps{sound}, {self.hash[:8]})"
        )

    def _repr_html_(self) -> str:
        zoom = max(1, 256 // max(self.height, self.width))
        style = f"width:{self.width * zoom}px;max-width:100%;image-rendering:{'pixelated' if zoom > 1 else 'auto'}"
        # browsers let nothing play by itself that can be heard
        play = "controls loop" if self.audio else "controls loop autoplay muted"
        return f'<video {play} playsinline src="{data_url(self)}" style="{style}"></video>'


Made = Text | Image | Audio | Video
"""What an answer may hold."""
Value = Made | SensedValue
MEDIA: dict[str, type[Image] | type[Audio] | type[Video]] = {"image": Image, "audio": Audio, "video": Video}
READABLE: dict[str, Any] = MEDIA | SENSED_MEDIA
"""Everything that a request may hold beside text, by its type."""


def sounds(source: str | Path | bytes) -> bool:
    """Whether the file of a film, or its bytes, has a sound track; what cannot be read has none. Nothing is decoded."""
    from anygen.codecs import container

    try:
        with files.opened(source if isinstance(source, bytes) else Path(source), "video") as (file, name):
            return container.has_sound(file, name)
    except MediaError:
        return False


def data_url(value: Value) -> str:
    """The value as a data: URL (png, wav, mp4)."""
    return f"data:{value.mime};base64,{base64.b64encode(value.encode(value.suffix)).decode()}"


def _known_rate(rate: Any) -> int:
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1000 <= rate <= 384_000:
        raise MediaError(f"an audio array needs its rate in samples per second, 1000 to 384000, got {rate!r}")
    return rate


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: who speaks, and the parts in order."""

    role: str
    parts: tuple[Value, ...]


def parts(value: Any) -> tuple[Value, ...]:
    """The parts of one request in order: strings are text, paths and bytes what their content says they are."""
    found = _parts(value)
    if not any(part.text.strip() if isinstance(part, Text) else True for part in found):
        raise RequestError("the prompt is empty: say what you want, or pass a picture, a sound or a video")
    return found


def messages(value: Any) -> tuple[Message, ...]:
    """A chat, `[{"role": ..., "content": ...}, ...]`, as messages; any other request is one message of the user."""
    if isinstance(value, Mapping) and "role" in value:
        value = [value]
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray) else []
    chat = [isinstance(item, Message) or (isinstance(item, Mapping) and "role" in item) for item in items]
    if not any(chat):
        return (Message("user", parts(value)),)
    if not all(chat):
        raise RequestError(f"item {chat.index(False) + 1} of the chat is no message: each needs 'role' and 'content'")
    return tuple(item if isinstance(item, Message) else _message(item) for item in items)


def _message(item: Mapping[str, Any]) -> Message:
    _known_keys("message", item, ("role", "content"))
    if item["role"] not in ROLES:
        raise RequestError(f"unknown role {item['role']!r} in a message; roles are {', '.join(ROLES)}")
    if "content" not in item:
        raise RequestError(f"the message of {item['role']!r} has no 'content'")
    return Message(item["role"], parts(item["content"]))


def _parts(value: Any) -> tuple[Value, ...]:
    if isinstance(value, Text | Image | Audio | Video | Depth | Thermal | Imu):
        return (value,)
    if isinstance(value, str):
        return (Text(value),)
    if isinstance(value, PIL.Image.Image):
        return (Image(value),)
    if isinstance(value, Mapping):
        return (_dict_part(value),)
    if isinstance(value, list | tuple):
        return tuple(part for item in value for part in _parts(item))
    if isinstance(value, os.PathLike | bytes | bytearray | memoryview) or hasattr(value, "read"):
        return (_by_content(value),)
    if isinstance(value, np.ndarray):
        raise RequestError(f"an array of shape {value.shape} could be anything: wrap it in Image, Audio or Video")
    raise RequestError(
        f"cannot use a {type(value).__name__} as part of a request: pass a string, a path, a PIL image, "
        "Image, Audio, Video, or a dict with 'type'"
    )


def _by_content(source: Any) -> Value:
    with files.opened(source, "part") as (file, name):
        head = file.read(4096)
        if isinstance(source, os.PathLike) and files.sniff(head) == "video":
            return Video(source)  # reads only what it needs of a long file
        data = head + file.read()
    kind = files.sniff(data)
    if kind in MEDIA:
        return MEDIA[kind](Named(data, name))
    if kind == "text":
        return Text(data.decode())
    raise MediaError(f"{name} is neither text, image, audio nor video that can be read here")


def _dict_part(part: Mapping[str, Any]) -> Value:
    kind = part.get("type")
    if kind == "text":
        _known_keys("text part", part, ("type", "text"))
        return Text(part.get("text"))  # type: ignore[arg-type]
    if kind in ("image_url", "video_url", "audio_url"):
        _known_keys(f"{kind} part", part, ("type", kind))
        holder = part.get(kind)
        if isinstance(holder, Mapping):
            _known_keys(kind, holder, ("url", "detail"))
            if holder.get("detail", "auto") != "auto":
                raise RequestError(f"detail={holder['detail']!r} is not supported in {kind}: leave it out")
            holder = holder.get("url")
        if not isinstance(holder, str):
            raise RequestError(f'{kind} needs {{"url": "..."}}, a data: URL or a path, got {type(holder).__name__}')
        return MEDIA[kind.removesuffix("_url")](holder)
    if kind == "input_audio":
        _known_keys("input_audio part", part, ("type", "input_audio"))
        holder = part.get("input_audio")
        if not isinstance(holder, Mapping) or "data" not in holder:
            raise RequestError('input_audio needs {"data": "<base64>", "format": "wav"}')
        _known_keys("input_audio", holder, ("data", "format"))
        return Audio(Named(files.from_base64(holder["data"], "input_audio"), "input_audio"))
    if kind in READABLE:
        sources = ("url", "path", kind, "base64")
        more = ("rate",) if kind == "imu" else ()
        _known_keys(f"{kind} part", part, ("type", *sources, *more))
        given = [key for key in sources if part.get(key) is not None]
        if len(given) != 1:
            raise RequestError(
                f"the {kind} part needs exactly one of {', '.join(sources)}; got {', '.join(given) or 'none'}"
            )
        source = part[given[0]]
        if given[0] == "base64":
            source = Named(files.from_base64(source, f"{kind} part"), f"base64 of the {kind} part")
        return READABLE[kind](source, **{key: part[key] for key in more if key in part})
    raise RequestError(
        f"unknown part type {kind!r}; types are text, image, audio, video, depth, thermal, imu, image_url, audio_url, "
        "video_url, input_audio"
    )


def _known_keys(what: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        raise RequestError(f"unknown key {unknown[0]!r} in the {what}; keys are {', '.join(known)}")
