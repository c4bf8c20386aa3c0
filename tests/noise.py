"""Noise that is the same on every machine: what golden files are made from, and compared with."""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from anygen.media import Audio, Image, Video


def noise(name: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform in -1..1, from `name` and the place alone (splitmix64, Steele et al. 2014)."""
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 20)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    values = (z >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Values for a published ImageBind of these shapes: none is 0 or 1, so that no part can be left out unnoticed."""
    made = {}
    for name, shape in shapes.items():
        drawn = noise(name, shape)
        if name.endswith("text.mask"):
            made[name] = torch.full(shape, float("-inf")).triu(1)
        elif name.endswith("log_logit_scale"):
            made[name] = torch.tensor(5.0) if ".text." in name else 1.5 + drawn
        elif len(shape) > 1 and "pos_embed" not in name and "cls_token" not in name and "attn.bias_" not in name:
            fan = 1 if "token_embedding" in name else int(np.prod(shape[1:]))
            made[name] = drawn * (3 / fan) ** 0.5
        elif name.endswith("weight"):
            made[name] = 1 + 0.3 * drawn
        else:
            made[name] = drawn * 0.5
    return made


def picture(width: int, height: int) -> Image:
    """A coarse pattern under fine noise."""
    coarse = noise("picture", (1, 3, 5, 7)).numpy()[0].transpose(1, 2, 0)
    big = np.kron(coarse, np.ones((-(-height // 5), -(-width // 7), 1)))[:height, :width]
    fine = noise(f"grain {width} {height}", (height, width, 3)).numpy()
    return Image(np.clip(128 + 90 * big + 30 * fine, 0, 255).astype(np.uint8))


def film(width: int, height: int, frames: int, fps: float) -> Video:
    """Frames that all differ."""
    first = picture(width, height).pixels
    return Video(np.stack([np.roll(first, 3 * number, 1) // (1 + number % 3) for number in range(frames)]), fps=fps)


def sound(seconds: float, rate: int, channels: int) -> Audio:
    """Noise that swells, off centre, in whole 16-bit steps."""
    samples = int(seconds * rate)
    swell = 0.02 + 0.3 * np.linspace(0, 1, samples, dtype=np.float64) ** 2
    wave = noise(f"sound {rate}", (channels, samples)).numpy() * swell + 0.01
    return Audio(np.rint(wave * 32768).astype(np.int16), rate=rate)


TEXTS = (
    "a cat",
    "The DOG's  42 barks &amp; caf\u00e9 (low, lower)!",
    "\u201cIt\u2019s\u201d \ufb01ne \uff21",
    "low " * 90,
    "",
)
MERGES = ("l o", "lo w</w>", "c a", "ca t</w>", "t h", "th e</w>", "lo w", "d o", "e r</w>", "low er</w>")
