"""The judge judged: how often it is right on renders, clean and spoilt, and how often it accepts what is wrong."""

import io
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from anygen.evaluation.judge import Judge, Verdict, shows
from anygen.evaluation.metrics import share
from anygen.playground.caption import caption
from anygen.playground.compositor import Compositor
from anygen.playground.scene import KINDS, VARIANTS, Scene, sample_scene
from anygen.playground.things import BACKDROPS

Spoil = Callable[[np.ndarray, random.Random], np.ndarray]
"""From and to float32 [height, width, 3] in 0..255."""


def blur(x: np.ndarray, stream: random.Random) -> np.ndarray:
    """Gaussian, sigma 0.7 pixels."""
    return np.asarray(_picture(x).filter(ImageFilter.GaussianBlur(0.7)), np.float32)


def noise(x: np.ndarray, stream: random.Random) -> np.ndarray:
    """Gaussian, standard deviation 10 of 255."""
    return x + np.random.default_rng(stream.getrandbits(32)).normal(0, 10, x.shape).astype(np.float32)


def jpeg(x: np.ndarray, stream: random.Random) -> np.ndarray:
    """Quality 60."""
    file = io.BytesIO()
    _picture(x).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"), np.float32)


def scale(x: np.ndarray, stream: random.Random) -> np.ndarray:
    """Up to 5 % larger or smaller around the middle."""
    side = len(x)
    half = side / 2 * (1 + stream.uniform(-0.05, 0.05))
    padded = _picture(np.pad(x, ((8, 8), (8, 8), (0, 0)), mode="edge"))
    box = (8 + side / 2 - half, 8 + side / 2 - half, 8 + side / 2 + half, 8 + side / 2 + half)
    return np.asarray(padded.resize((side, side), Image.Resampling.BICUBIC, box=box), np.float32)


def colour(x: np.ndarray, stream: random.Random) -> np.ndarray:
    """Each channel up to 8 % stronger or weaker, and up to 10 of 255 brighter or darker."""
    gain = np.array([1 + stream.uniform(-0.08, 0.08) for _ in range(3)], np.float32)
    return x * gain + np.array([stream.uniform(-10, 10) for _ in range(3)], np.float32)


def all_at_once(x: np.ndarray, stream: random.Random) -> np.ndarray:
    """Scaled, blurred, shifted in colour and noisy."""
    for spoil in (scale, blur, colour, noise):
        x = spoil(x, stream)
    return x


SPOILT: dict[str, Spoil] = {
    "blur 0.7": blur,
    "noise 10": noise,
    "JPEG 60": jpeg,
    "scale 5 %": scale,
    "colour": colour,
    "all at once": all_at_once,
}


def _picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray(x.round().clip(0, 255).astype(np.uint8))


def spoil(images: Tensor, name: str, stream: random.Random) -> Tensor:
    """uint8 [n, 3, height, width], each spoilt in one of the ways of SPOILT."""
    arrays = images.permute(0, 2, 3, 1).numpy().astype(np.float32)
    spoilt = np.stack([SPOILT[name](x, stream) for x in arrays])
    return torch.from_numpy(spoilt.round().clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def accuracy(n: int, seed: int = 0, split: str = "heldout", judge: Judge | None = None) -> dict:
    """The share of clean renders, all kinds alike, of which the judge gets everything right: {"accuracy", ..., "n"}."""
    stream = random.Random(f"judge|{seed}|{split}")
    scenes = [sample_scene(stream, KINDS[i % len(KINDS)], split) for i in range(n)]
    judge, compositor = judge or Judge(), Compositor(64)
    right = []
    for start in range(0, n, 64):
        chunk = scenes[start : start + 64]
        right += [shows(v, s)["all"] for v, s in zip(judge.look(compositor.render(chunk)), chunk, strict=True)]
    row = share(right)
    return {"accuracy": row.pop("right"), **row}


def examine(
    n: int, seed: int = 0, split: str = "heldout"
) -> tuple[dict, list[tuple[np.ndarray, Scene, Verdict]], dict]:
    """The judge's own table, its mistakes on clean renders, and its speed.

    n renders of each kind of scene clean, a third as many spoilt in each way; each render judged against another scene
    of its kind (right is to refuse it); each backdrop with nothing on it (right is to see no thing, and the backdrop).
    """
    judge, compositor = Judge(), Compositor(64)
    cells: dict[str, dict[str, dict]] = {}
    mistakes: list[tuple[np.ndarray, Scene, Verdict]] = []
    looked, began = 0, 0.0
    refused: list[bool] = []
    for kind in KINDS:
        stream = random.Random(f"examine|{kind}|{seed}|{split}")
        scenes = [sample_scene(stream, kind, split) for _ in range(n)]
        images = compositor.render(scenes)
        start = time.process_time()
        verdicts = judge.look(images)
        began += time.process_time() - start
        looked += n
        facts = [shows(v, s) for v, s in zip(verdicts, scenes, strict=True)]
        rows = {f"clean: {name}": share([f[name] for f in facts]) for name in ("all", "things_right", "count_right")}
        for image, scene, verdict, fact in zip(images, scenes, verdicts, facts, strict=True):
            if not fact["all"]:
                mistakes.append((image.permute(1, 2, 0).numpy(), scene, verdict))
        others = zip(verdicts, scenes, scenes[1:] + scenes[:1], strict=True)
        refused += [not shows(v, other)["all"] for v, scene, other in others if caption(scene) != caption(other)]
        for name in SPOILT:
            part = scenes[: max(1, n // 3)]
            seen = judge.look(spoil(images[: len(part)], name, stream))
            rows[name] = share([shows(v, s)["all"] for v, s in zip(seen, part, strict=True)])
        cells[f"render of {kind}"] = rows
    blanks = [(name, variant) for name in BACKDROPS for variant in range(VARIANTS)]
    bare = torch.stack([compositor.backdrop(*blank) for blank in blanks])
    empty = {"bare: nothing seen, backdrop right": judge.look(bare)}
    stream = random.Random(f"bare|{seed}")
    empty["bare, all at once: nothing seen, backdrop right"] = judge.look(spoil(bare, "all at once", stream))
    cells["wrong"] = {
        name: share([not v.things and v.backdrop == b for v, (b, _) in zip(verdicts, blanks, strict=True)])
        for name, verdicts in empty.items()
    }
    cells["wrong"]["another scene refused"] = share(refused)
    return cells, mistakes, {"images_per_second": round(looked / began, 1), "n": looked}
