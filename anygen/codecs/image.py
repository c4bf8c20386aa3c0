"""Picture files to uint8 arrays [height, width, 3] and back, with Pillow."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps

from anygen.codecs.source import known_suffix, sniff
from anygen.error import MediaError

MAX_PIXELS = 64_000_000
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF"}


def write(pixels: np.ndarray, suffix: str) -> bytes:
    """Pixels, uint8 [height, width, 3], as the bytes of a picture file of the kind that `suffix` names."""
    kind = known_suffix("image", suffix, tuple(FORMATS))
    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, FORMATS[kind])
    return out.getvalue()


def read(data: bytes, name: str) -> np.ndarray:
    """The picture in a file as uint8 [height, width, 3]."""
    try:
        picture = PIL.Image.open(io.BytesIO(data))
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name} is too large: {error}"[:200]) from error
    except Exception as error:  # Pillow's plugins raise anything
        hint = {"audio": "Audio", "video": "Video"}.get(sniff(data) or "")
        wayout = f"it looks like {hint.lower()}: pass it as {hint}" if hint else "use png, jpeg, webp, gif, bmp or tiff"
        raise MediaError(f"{name} is not an image that can be read; {wayout}") from error
    with picture:
        return from_pil(picture, name)


def from_pil(picture: PIL.Image.Image, name: str) -> np.ndarray:
    """Any PIL image as uint8 [height, width, 3]: upright, on white, 8 bits; the size is checked before decoding."""
    width, height = picture.size
    if not width or not height:
        raise MediaError(f"{name} has no pixels: {width} x {height}")
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{name} has {width} x {height} = {width * height / 1e6:.0f} million pixels, "
            f"more than {MAX_PIXELS // 1_000_000} million: scale it down first"
        )
    try:
        picture.load()
        picture = PIL.ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I") or picture.mode == "F":
            return _eight_bit(np.asarray(picture))
        if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            white = PIL.Image.new("RGBA", picture.size, "white")
            picture = PIL.Image.alpha_composite(white, picture)
        return np.asarray(picture.convert("RGB"))
    except Exception as error:  # Pillow's plugins raise anything
        raise MediaError(f"{name} is a damaged or truncated image ({error}): save it again"[:300]) from error


def _eight_bit(grey: np.ndarray) -> np.ndarray:
    """16-bit, 32-bit or float grey [height, width] as uint8 [height, width, 3]."""
    if not np.isfinite(grey).all():
        raise ValueError("pixels that are not finite")
    top = float(grey.max())
    scale = 255.0 if grey.dtype.kind == "f" and top <= 1 else 1.0 if top <= 255 and grey.itemsize > 2 else 1 / 257.0
    eight = np.clip(np.rint(grey.astype(np.float64) * scale), 0, 255).astype(np.uint8)
    return np.repeat(eight[..., None], 3, axis=2)


def checked(array: np.ndarray) -> np.ndarray:
    """A user's array as uint8 [height, width, 3], or an error that says what is wrong with it."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise MediaError(
            f"an image array must be uint8 [height, width, 3], got {array.dtype} {list(array.shape)}; "
            "scale to 0..255, put channels last"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not array.size:
        raise MediaError(f"an image array must not be empty, got {list(array.shape)}")
    return from_pil(PIL.Image.fromarray(np.ascontiguousarray(array)), "image array")
