"""Files of depth maps, thermal pictures and motion to arrays and back: npy and npz, and grey pictures."""

import io
from typing import Any

import numpy as np
import PIL.Image

from anygen.codecs.source import known_suffix
from anygen.error import MediaError

MAX_CELLS = 64_000_000
MAX_SAMPLES = 10_000_000
_NPY, _NPZ = b"\x93NUMPY", b"PK\x03\x04"


def read_map(data: bytes, name: str, kind: str) -> np.ndarray:
    """The map in a file: an array of an npy file as it is, or the grey of a picture."""
    if data[:6] == _NPY:
        return checked_map(_load(data, name), name, kind)
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_CELLS:
                raise MediaError(f"{name} has {picture.width} x {picture.height} pixels, more than {MAX_CELLS:,}")
            picture.load()
            return from_pil(picture, name, kind)
    except MediaError:
        raise
    except Exception as error:  # Pillow's plugins raise anything
        raise MediaError(f"{name} is no {kind} map that can be read: use npy, or a grey png or tiff") from error


def from_pil(picture: PIL.Image.Image, name: str, kind: str) -> np.ndarray:
    """A picture's grey as a map: 8 and 16 bits become 0..1, floats stay."""
    if picture.mode == "F":
        return checked_map(np.asarray(picture), name, kind)
    if picture.mode.startswith("I"):  # 16 bits, which Pillow may hand out in 32
        return checked_map(np.asarray(picture).astype(np.float32) / 65535, name, kind)
    return checked_map(np.asarray(picture.convert("L")), name, kind)


def checked_map(array: np.ndarray, name: str, kind: str) -> np.ndarray:
    """A user's map as float32 [height, width], at least 0, or an error that says what is wrong with it.

    uint8 and uint16 become 0..1; a thermal map must be within it.
    """
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fu" or array.size > MAX_CELLS:
        raise MediaError(
            f"{name} must be float, uint8 or uint16 [height, width], got {array.dtype} {list(array.shape)}"
        )
    if array.dtype.kind == "u":
        return array.astype(np.float32) / np.iinfo(array.dtype).max
    found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise MediaError(f"{name} holds numbers that are not finite: what was not measured is 0")
    low, high = float(found.min()), float(found.max())
    if low < 0 or (kind == "thermal" and high > 1):
        way = "pass disparity" if kind == "depth" else "scale it, as with Thermal.of_celsius"
        raise MediaError(f"{name} goes from {low:g} to {high:g}, outside of {_RANGES[kind]}: {way}")
    return found


_RANGES = {"depth": "0 and more", "thermal": "0..1"}


def read_motion(data: bytes, name: str) -> tuple[np.ndarray, float | None]:
    """Readings and their rate from an npz file with `readings` and `rate`, or from an npy file, which has no rate."""
    if data[:6] == _NPY:
        return _load(data, name), None
    if data[:4] != _NPZ:
        raise MediaError(f"{name} is no motion that can be read: use npz with readings and rate, or npy and a rate")
    found = _load(data, name)
    if not {"readings", "rate"} <= set(found):
        raise MediaError(f"{name} holds {', '.join(found) or 'nothing'}; motion needs readings and rate")
    return found["readings"], float(found["rate"])


def checked_motion(array: np.ndarray, name: str) -> np.ndarray:
    """A user's readings as float32 [6, samples], or an error that says what is wrong with them."""
    if array.ndim != 2 or array.shape[0] != 6 or not 2 <= array.shape[1] <= MAX_SAMPLES or array.dtype.kind not in "fi":
        turned = ", put time last" if array.ndim == 2 and array.shape[1] == 6 else ""
        raise MediaError(f"{name} must be numbers [6, samples], got {array.dtype} {list(array.shape)}{turned}")
    found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise MediaError(f"{name} holds numbers that are not finite")
    return found


def write_array(array: np.ndarray, suffix: str, kind: str) -> bytes:
    """A map as the bytes of an npy file, or of a png of 16 bits, for which it must be within 0..1."""
    out = io.BytesIO()
    if known_suffix(kind, suffix, (".npy", ".png")) == ".npy":
        np.save(out, array)
        return out.getvalue()
    if float(array.max()) > 1:
        raise MediaError(f"a png holds 0..1, but the {kind} map goes up to {float(array.max()):g}: write .npy")
    PIL.Image.fromarray(np.rint(array * 65535).astype(np.uint16)).save(out, "PNG")
    return out.getvalue()


def write_motion(readings: np.ndarray, rate: float, suffix: str) -> bytes:
    """Readings as the bytes of an npz file."""
    known_suffix("imu", suffix, (".npz",))
    out = io.BytesIO()
    np.savez(out, readings=readings, rate=np.float64(rate))
    return out.getvalue()


def _load(data: bytes, name: str) -> Any:
    try:
        found = np.load(io.BytesIO(data), allow_pickle=False)
        return {key: found[key] for key in found.files} if hasattr(found, "files") else found
    except Exception as error:  # numpy and zipfile raise anything
        raise MediaError(f"{name} is a damaged array file, or one of objects: save it again") from error
