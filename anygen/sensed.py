"""Three more values that a model may read: `Depth | Thermal | Imu`, named and read as ImageBind's modalities."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import PIL.Image

from anygen.codecs import sensed
from anygen.codecs import source as files
from anygen.error import MediaError
from anygen.value import digest, freeze, is_array

SENSED = ("depth", "thermal", "imu")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class _Map:
    """A map: `values`, float32 [height, width], read-only."""

    type: ClassVar[str]
    mime: ClassVar[str] = "application/x-npy"
    suffix: ClassVar[str] = ".npy"
    values: np.ndarray
    hash: str

    def __init__(self, source: Any) -> None:
        kind = self.type
        if isinstance(source, type(self)):
            values = source.values
        elif isinstance(source, PIL.Image.Image):
            values = sensed.from_pil(source, f"the {kind} picture", kind)
        elif is_array(source):
            values = sensed.checked_map(np.asarray(source), f"a {kind} map", kind)
        else:
            data, name = files.read(source, kind)
            values = sensed.read_map(data, name, kind)
        freeze(self, values=values, hash=digest(kind, values))

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    def grey(self) -> np.ndarray:
        """The map as a picture, uint8 [height, width, 3]; its greatest number is white if it is above 1."""
        grey = np.rint(255 * self.values / max(1.0, float(self.values.max()))).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)

    def _repr_html_(self) -> str:
        from anygen.media import Image

        return Image(self.grey())._repr_html_()

    def encode(self, suffix: str = ".npy") -> bytes:
        """The bytes of an .npy file, or of a .png of 16 bits."""
        return sensed.write_array(self.values, suffix, self.type)

    def save(self, path: str | Path) -> Path:
        """Write the map in the format that the suffix names and return the path."""
        return files.write(Path(path), self.encode(Path(path).suffix))

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.width}x{self.height}, {self.hash[:8]})"


class Depth(_Map):
    """A depth map as disparity, which is one over distance: float32 [height, width], 0 or more, larger is nearer.

    `source` is a path, a data: URL, the bytes of a file or an open file (npy, or a grey png or tiff), a grey PIL image,
    or an array [height, width] of float, uint8 or uint16. Whole numbers become 0..1; 0 is far away or not measured.
    """

    __slots__ = ()
    type: ClassVar[str] = "depth"

    @classmethod
    def of_metres(cls, metres: Any, nearest: float) -> Self:
        """From distances in metres [height, width]: `nearest` of them becomes 1; 0 and what is not finite, 0."""
        found = np.asarray(metres, dtype=np.float32)
        if not nearest > 0:
            raise MediaError(f"nearest={nearest!r}: the distance in metres that becomes 1 is above 0")
        measured = np.isfinite(found) & (found > 0)
        return cls(np.where(measured, np.float32(nearest) / np.where(measured, found, 1), 0).clip(0, 1))


class Thermal(_Map):
    """A thermal picture: float32 [height, width] in 0..1, larger is warmer.

    `source` is a path, a data: URL, the bytes of a file or an open file (npy, or a grey picture), a PIL image, or an
    array [height, width] of float in 0..1, uint8 or uint16.
    """

    __slots__ = ()
    type: ClassVar[str] = "thermal"

    @classmethod
    def of_celsius(cls, degrees: Any, coldest: float = -20.0, hottest: float = 107.5) -> Self:
        """From temperatures [height, width]: `coldest` and below is 0, `hottest` and above is 1."""
        if not hottest > coldest:
            raise MediaError(f"hottest={hottest!r} must be above coldest={coldest!r}")
        found = (np.asarray(degrees, dtype=np.float32) - coldest) / (hottest - coldest)
        return cls(found.clip(0, 1))


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Imu:
    """What an inertial sensor measured: `readings`, float32 [6, samples], read-only, at `rate` samples per second.

    Rows are the accelerometer's x, y, z in metres per second squared (9.81 upwards when at rest) and the gyroscope's in
    radians per second. `source` is a path, a data: URL, the bytes of a file or an open file (npz with `readings` and
    `rate`, or npy), or an array [6, samples]; npy and arrays need `rate`.
    """

    type: ClassVar[str] = "imu"
    mime: ClassVar[str] = "application/x-npz"
    suffix: ClassVar[str] = ".npz"
    readings: np.ndarray
    rate: float
    hash: str

    def __init__(self, source: Any, rate: float | None = None) -> None:
        native: float | None
        if isinstance(source, Imu):
            found, native = source.readings, source.rate
        elif is_array(source):
            found, native = sensed.checked_motion(np.asarray(source), "an IMU array"), None
        else:
            data, name = files.read(source, "imu")
            array, native = sensed.read_motion(data, name)
            found = sensed.checked_motion(array, name)
        if native is not None and rate is not None and rate != native:
            raise MediaError(f"rate={rate} was asked for, but the motion has {native:g}; leave rate out")
        known = rate if native is None else native
        if isinstance(known, bool) or not isinstance(known, int | float) or not 0 < known <= 100_000:
            raise MediaError(f"an IMU array needs its rate in samples per second, above 0, got {known!r}")
        freeze(self, readings=found, rate=float(known), hash=digest(f"imu {float(known):g}", found))

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.readings.shape[1] / self.rate

    def plot(self, width: int = 512, height: int = 192) -> Any:
        """A picture of the motion: above the accelerometer's three lines up to 20 m/s2, below the gyroscope's to 8."""
        from anygen.codecs.plot import waveform
        from anygen.media import Image

        if not (8 <= width <= 8192 and 24 <= height <= 8192):
            raise MediaError(f"a plot of {width} x {height} pixels: choose 8 to 8192 wide and 24 to 8192 high")
        mean = np.array([0, 9.81, 0, 0, 0, 0], np.float32)[:, None]  # at rest
        lines = np.repeat(((self.readings - mean) / np.repeat([20, 8], 3)[:, None]).clip(-1, 1), 8, axis=1)
        edges = [height * row // 6 for row in range(7)]
        rows = [waveform(line, width, high - low) for line, low, high in zip(lines, edges, edges[1:], strict=False)]
        return Image(np.concatenate(rows))

    def _repr_html_(self) -> str:
        return self.plot()._repr_html_()

    def encode(self, suffix: str = ".npz") -> bytes:
        """The bytes of an .npz file with `readings` and `rate`."""
        return sensed.write_motion(self.readings, self.rate, suffix)

    def save(self, path: str | Path) -> Path:
        """Write an .npz file and return the path."""
        return files.write(Path(path), self.encode(Path(path).suffix))

    def __eq__(self, other: object) -> bool:
        return self.hash == other.hash if isinstance(other, Imu) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"Imu({self.seconds:.2f} s at {self.rate:g} Hz, {self.hash[:8]})"


SensedValue = Depth | Thermal | Imu
SENSED_MEDIA: dict[str, type[Depth] | type[Thermal] | type[Imu]] = {"depth": Depth, "thermal": Thermal, "imu": Imu}
assert tuple(SENSED_MEDIA) == SENSED
