"""Cut-outs: what a user's pictures show, as sprites, and what their recordings play, as events."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.error import AnyGenError, DataError
from anygen.media import Audio, Image
from anygen.playground.compositor import BAKED
from anygen.playground.sound import EVENT, RATE

PICTURES = (5, 20)  # least and most
RECORDINGS = (1, 10)
PICTURE_FILES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SOUND_FILES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus", ".aiff", ".aif")

_WORKED = 256  # longest side at which a background is looked for
_OPAQUE = 250  # a picture whose alpha is nowhere lower has no transparency
_NEAR = 28  # largest difference of a channel at which a pixel is still of the background's colour
_FLAT = 0.7  # least share of the border that a flat background has
_LEAST, _MOST = 0.01, 0.98  # share of the picture that is left of it where a background was found
_MARGIN = 0.03  # free rim of a sprite
_PEAK, _LOUD = 0.49, 0.105  # loudest sample and loudest fifth of a second of an event, as the playground's are
_SILENT = 0.02  # share of the peak below which a recording has not begun
_FADE = 400  # samples


def cut_outs(folder: str | Path) -> list[np.ndarray]:
    """A sprite for every picture in a folder, by name: uint8 [BAKED, BAKED, 4], straight alpha."""
    return [cut_out(_picture(path)) for path in _files(folder, "pictures", PICTURE_FILES, PICTURES)]


def events(folder: str | Path) -> list[np.ndarray]:
    """An event for every recording in a folder, by name: int16 [at most EVENT] at RATE."""
    return [event(_recording(path), str(path)) for path in _files(folder, "recordings", SOUND_FILES, RECORDINGS)]


def _files(folder: str | Path, what: str, suffixes: tuple[str, ...], limits: tuple[int, int]) -> list[Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one with {limits[0]} to {limits[1]} {what}")
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in suffixes)
    if not limits[0] <= len(found) <= limits[1]:
        kinds = ", ".join(suffix[1:] for suffix in suffixes)
        raise DataError(f"{folder} holds {len(found)} {what} ({kinds}); {limits[0]} to {limits[1]} are needed")
    return found


def _picture(path: Path) -> np.ndarray:
    """uint8 [height, width, 4], upright."""
    try:
        pixels = Image(path).pixels  # with the checks of every medium
    except AnyGenError as error:
        raise DataError(str(error)) from error
    with PIL.Image.open(path) as file:
        if "A" in file.getbands() or "a" in file.getbands() or "transparency" in file.info:
            upright: Any = PIL.ImageOps.exif_transpose(file)
            return np.array(upright.convert("RGBA"))
    return np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], 2)


def cut_out(picture: np.ndarray) -> np.ndarray:
    """What a picture, uint8 [height, width, 4], shows: cropped to a square of BAKED pixels, straight alpha.

    That is what its alpha says; or else what is left without a background of one colour that reaches the border; or
    else all of it.
    """
    if picture[..., 3].min() >= _OPAQUE:
        worked = PIL.Image.fromarray(picture)
        worked.thumbnail((_WORKED, _WORKED))
        picture = np.array(worked)
        picture[..., 3] = 255 * foreground(picture[..., :3])
    there = (picture[..., 3] > 12).nonzero()
    if not len(there[0]):
        raise DataError("a picture is transparent everywhere: it shows nothing to learn")
    top, left = (int(axis.min()) for axis in there)
    bottom, right = (int(axis.max()) + 1 for axis in there)
    side = max(bottom - top, right - left)
    square = PIL.Image.new("RGBA", (side, side))
    shown = PIL.Image.fromarray(picture[top:bottom, left:right])
    square.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    rim = round(_MARGIN * BAKED) if picture[..., 3].min() < _OPAQUE else 0
    inner = BAKED - 2 * rim
    small = square.convert("RGBa").resize((inner, inner), PIL.Image.Resampling.BOX).convert("RGBA")
    return np.pad(np.asarray(small), ((rim, rim), (rim, rim), (0, 0)))


def foreground(pixels: np.ndarray) -> np.ndarray:
    """Where a picture, uint8 [height, width, 3], is not the flat background that its border shows, if there is one."""
    whole = np.ones(pixels.shape[:2], dtype=bool)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    colour = np.median(border, axis=0)
    if (np.abs(border - colour).max(1) <= _NEAR).mean() < _FLAT:
        return whole
    near = torch.from_numpy(np.abs(pixels - colour).max(2) <= _NEAR)
    outside = F.max_pool2d(_from_border(near).float()[None], 3, 1, 1)[0].bool().numpy()  # a rim is of both colours
    return ~outside if _LEAST <= (~outside).mean() <= _MOST else whole


def _from_border(free: Tensor) -> Tensor:
    """What of [height, width] can be reached from the border through what is free."""
    reached = torch.zeros_like(free)
    reached[[0, -1]], reached[:, [0, -1]] = free[[0, -1]], free[:, [0, -1]]
    while True:
        wider = F.max_pool2d(reached.float()[None, None], 3, 1, 1)[0, 0].bool() & free
        if torch.equal(wider, reached):
            return reached
        reached = wider


def _recording(path: Path) -> np.ndarray:
    """float32 [samples] at RATE."""
    try:
        return np.array(Audio(path).mono().resample(RATE).samples[0])
    except AnyGenError as error:
        raise DataError(str(error)) from error


def event(samples: np.ndarray, name: str = "a recording") -> np.ndarray:
    """The first EVENT samples of a recording in -1..1 once it has begun, as loud as the playground's, int16."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak < 1e-3:
        raise DataError(f"{name} is silent (its loudest sample is {peak:.5f}): record it again, louder")
    begin = int((np.abs(samples) >= _SILENT * peak).argmax())
    cut = samples[begin : begin + EVENT].astype(np.float64)
    fade = min(_FADE, len(cut))
    cut[-fade:] *= np.linspace(1, 0, fade)
    power = np.convolve(cut**2, np.full(RATE // 5, 5 / RATE))
    cut *= min(_LOUD / max(float(power.max()) ** 0.5, 1e-9), _PEAK / float(np.abs(cut).max()))
    return np.rint(cut * 32767).astype(np.int16)
