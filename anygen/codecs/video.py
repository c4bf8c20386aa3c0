"""Film files to uint8 arrays [frames, height, width, 3], sampled by time, with PyAV, and with Pillow for GIF."""

import math
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import PIL.Image

from anygen.codecs import audio, container, image
from anygen.codecs.container import Sound
from anygen.error import MediaError

MAX_FRAMES = 1024
MAX_PIXELS = 512_000_000  # of all frames of an array together
READ_PIXELS = 128_000_000  # of all that is kept of a file: 384 MB
MAX_FPS = 240.0  # that are kept of a file
Matrix = tuple[int, int, int, int]
UPRIGHT: Matrix = (1, 0, 0, 1)
GUESS = 256  # frames of a film that does not say how long it is


def read(
    file: BinaryIO, name: str, fps: float | None = None, first: int | None = None
) -> tuple[np.ndarray, float, Sound | None]:
    """The film in a file: frames, fps, and its sound if any; `fps` asks for fewer frames, `first` ends after so many.

    A film is decoded as a stream. Of one with more frames than fit every second, fourth, ... is kept; one with larger
    frames than fit is scaled down while it is decoded.
    """
    if first is not None and first < 1:
        raise MediaError(f"first={first} keeps no frame: it must be at least 1")
    file.seek(0)
    if file.read(4) == b"GIF8":
        return *_read_gif(file, name, fps, first), None
    rate = _rate(file, name)
    with container.opened(file, name) as opened:
        stream = opened.streams.video[0]
        sampler = Sampler(_wanted(fps, rate), _seconds(opened, stream), first)
        begin = start = 0.0
        matrix = UPRIGHT
        shown: Any = None
        for frame in container.decoded(opened, stream, name):
            # a frame without a time of its own comes after the last one
            time = begin + start + 1 / rate if frame.pts is None else float(frame.pts * frame.time_base)
            if shown is None:
                # asked of one frame only: who looks at the side data of a frame keeps it until Python cleans up
                begin, matrix = time, _matrix(frame)
            else:
                sampler.show(time - begin, _pixels(shown, sampler, matrix))
            if sampler.full:
                break
            shown, start = frame, max(start, time - begin)
        if shown is None:
            raise MediaError(f"{name} has no frames in it")
        length = float((shown.duration or 0) * shown.time_base) or 1 / rate
        frames, fps = sampler.film(math.inf if sampler.full else start + length, _pixels(shown, sampler, matrix))
    sound = None
    if container.has_sound(file, name):
        most = audio.MAX_SECONDS if first is None else min(audio.MAX_SECONDS, len(frames) / fps)
        sound = container.sound(file, name, begin, most)
    return frames, fps, sound


def checked(array: np.ndarray) -> np.ndarray:
    """A user's array if it is uint8 [frames, height, width, 3], or an error that says what is wrong with it."""
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or not array.size:
        raise MediaError(
            f"a video array must be uint8 [frames, height, width, 3], got {array.dtype} {list(array.shape)}; "
            "scale to 0..255, put channels last"
        )
    frames, height, width = array.shape[:3]
    if frames > MAX_FRAMES or frames * height * width > MAX_PIXELS:
        most = max(1, min(MAX_FRAMES, MAX_PIXELS // (height * width)))
        raise MediaError(
            f"a video array of {frames} frames of {width} x {height} is too large: at most {most} of that size fit; "
            "cut it or scale it down"
        )
    return array


def _wanted(fps: float | None, native: float) -> float:
    """How many frames of every second are to be kept of a film that has `native`."""
    if fps is None:
        return native
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= native * 1.0001:
        raise MediaError(f"fps={fps!r} was asked for, but the video has {native:g}: ask for fewer, or leave fps out")
    return float(fps)


class Sampler:
    """Takes what a film shows in the order of time, and keeps `fps` frames of every second.

    Frame k shows the time (k + 1/2) / fps. As soon as no more frames fit, every second one goes and fps halves: a film
    of any length stays within the limits, and its time stays true. `seconds` is how long it says that it is: it decides
    how large frames may be, and fps halves beforehand where that must happen. After `first` frames nothing is kept.
    """

    def __init__(self, fps: float, seconds: float | None = None, first: int | None = None) -> None:
        self.until = math.inf if first is None else first / fps
        while seconds is not None and round(min(self.until, seconds) * fps) > MAX_FRAMES:
            fps /= 2
        self.fps, self.offset = fps, 0.5 / fps
        count = math.ceil(min(self.until, GUESS / fps if seconds is None else seconds) * fps + 0.5)
        self.expected = max(1, min(count, MAX_FRAMES))
        self.count = 0
        self.frames = np.empty((0, 1, 1, 3), np.uint8)
        self._size: tuple[int, int] | None = None

    @property
    def time(self) -> float:
        """Which time the next frame is to show, in seconds."""
        return self.count / self.fps + self.offset

    @property
    def full(self) -> bool:
        """Whether nothing that comes is kept any more."""
        return self.time >= self.until

    def fit(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that all frames are kept at, if the first has these."""
        if self._size is None:
            scale = min(1.0, math.sqrt(READ_PIXELS / (self.expected * height * width)))
            self._size = max(1, int(height * scale)), max(1, int(width * scale))
        return self._size

    def show(self, end: float, pixels: Callable[[], np.ndarray]) -> None:
        """`pixels()` [height, width, 3] is what is seen until `end` seconds."""
        shown: np.ndarray | None = None
        while self.time < min(end, self.until):
            shown = pixels() if shown is None else shown
            self._keep(shown)

    def film(self, end: float, last: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
        """All that was kept, and its frames per second; what is seen last, until `end`, is `last()`."""
        self.show(end, last)
        if not self.count:
            self._keep(last())
        count = max(1, min(self.count, round(min(end, self.until) * self.fps)))
        frames = self.frames[:count] if 2 * count > len(self.frames) else self.frames[:count].copy()
        frames.flags.writeable = False  # nobody else has it: a value need not copy it
        return frames, self.fps

    def _keep(self, pixels: np.ndarray) -> None:
        room = max(2, min(MAX_FRAMES, READ_PIXELS // (pixels.shape[0] * pixels.shape[1])) // 2 * 2)
        if not self.count:
            self.frames = np.empty((min(self.expected, room), *pixels.shape), np.uint8)
        if self.count == room:
            # frame k of the new film is frame 2 k of the old, for all that are there and those that come
            self.count, self.fps = room // 2, self.fps / 2
            for index in range(1, self.count):
                self.frames[index] = self.frames[2 * index]
        elif self.count == len(self.frames):
            more = np.empty((min(room, 2 * self.count) - self.count, *pixels.shape), np.uint8)
            self.frames = np.concatenate([self.frames, more])
        self.frames[self.count] = pixels
        self.count += 1


def _check_size(height: int, width: int, name: str) -> None:
    if height * width > image.MAX_PIXELS:
        raise MediaError(
            f"{name} has frames of {width} x {height} pixels, more than {image.MAX_PIXELS // 1_000_000} million: "
            "scale it down first"
        )


def _rate(file: BinaryIO, name: str) -> float:
    """Frames per second: the mean of all, which is that of every frame unless the rate varies."""
    with container.opened(file, name) as opened:
        if not opened.streams.video:
            raise MediaError(f"{name} has no picture in it{': pass it as Audio' if opened.streams.audio else ''}")
        stream = container.decodable(opened.streams.video[0], name)
        _check_size(stream.height or 0, stream.width or 0, name)
        rate = float(stream.average_rate or 0)
        if not 0 < rate <= MAX_FPS:  # as a browser records, which only says how precise its times are
            ticks = [packet.pts for packet in opened.demux(stream) if packet.pts is not None]
            seconds = float((max(ticks) - min(ticks)) * stream.time_base) if ticks else 0.0
            rate = (len(ticks) - 1) / seconds if seconds > 0 else float(stream.guessed_rate or 0)
    return min(rate, MAX_FPS) if rate > 0 else 25.0


def _seconds(opened: Any, stream: Any) -> float | None:
    """How long a film says that it is."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return opened.duration / 1e6 if opened.duration else None


def _pixels(frame: Any, sampler: Sampler, matrix: Matrix) -> Callable[[], np.ndarray]:
    """How to get a decoded frame as it is to be seen: scaled to what fits, upright."""

    def pixels() -> np.ndarray:
        height, width = sampler.fit(frame.height, frame.width)
        array = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
        return turned(array, *matrix)

    return pixels


def _matrix(frame: Any) -> Matrix:
    """a, b, c, d of the display matrix: what is at (x, y) is to be seen at (a x + c y, b x + d y)."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(data)[:20], np.int32).tolist()
            return a, b, c, d
    return UPRIGHT


def turned(array: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Pixels [height, width, 3] by a display matrix, to the nearest of the quarter turns or their mirror images."""
    if abs(b) + abs(c) > abs(a) + abs(d):
        array, a, d = array.swapaxes(0, 1), c, b
    return array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _read_gif(file: BinaryIO, name: str, fps: float | None, first: int | None) -> tuple[np.ndarray, float]:
    try:
        file.seek(0)
        with PIL.Image.open(file) as picture:
            milliseconds = []
            for index in range(getattr(picture, "n_frames", 1)):
                picture.seek(index)
                milliseconds.append(picture.info.get("duration") or 100)
            # a GIF gives every frame its own duration: sample it at the shortest of them
            rate = min(MAX_FPS, 1000 / min(milliseconds))
            ends = np.cumsum(milliseconds) / 1000
            sampler = Sampler(_wanted(fps, rate), float(ends[-1]), first)

            def pixels() -> np.ndarray:
                array = image.from_pil(picture.copy(), name)
                height, width = sampler.fit(*array.shape[:2])
                if array.shape[:2] == (height, width):
                    return array
                return np.asarray(PIL.Image.fromarray(array).resize((width, height), PIL.Image.Resampling.BOX))

            for index, end in enumerate(ends):
                picture.seek(index)
                sampler.show(end, pixels)
            return sampler.film(float(ends[-1]), pixels)
    except MediaError:
        raise
    except Exception as error:  # Pillow's plugins raise anything
        raise MediaError(f"{name} is a damaged GIF ({error}): save it again"[:300]) from error
