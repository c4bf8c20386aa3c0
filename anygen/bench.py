"""How fast this machine does the common works, and what doing them another way would cost."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from anygen.media import Image

SUBJECTS = ("a cat", "a dog", "a car", "a tree")


def measure(load: Callable[[], Any], repeats: int = 5) -> list[dict[str, Any]]:
    """One row for each work: `ours`, and where there is another way, `instead` and `ratio` = instead / ours.

    The first run of each work is not counted: it pays for what later ones find ready.
    """
    engine = load()
    picture = Image(np.full((64, 64, 3), 128, np.uint8))
    pages = [f"Draw {subject}." for subject in SUBJECTS]
    return [
        _row("load", _timed(load, repeats)),
        _row("say hello", _timed(lambda: engine.generate("Hello!", to="text", seed=0), repeats)),
        _row("draw one picture", _timed(lambda: engine.generate(pages[0], to="image", seed=0), repeats)),
        _row(
            "describe a picture", _timed(lambda: engine.generate([picture, "Describe it."], to="text", seed=0), repeats)
        ),
        _row(
            "draw four pictures",
            _timed(lambda: engine.generate_batch(pages, to="image", seed=0), repeats),
            _timed(lambda: [engine.generate(page, to="image", seed=0) for page in pages], repeats),
            "one after the other",
        ),
    ]


def _timed(work: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Median and half of the interquartile range, in seconds."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    low, _, high = statistics.quantiles(seconds[1:], n=4, method="inclusive") if repeats > 1 else seconds[1:] * 3
    return {"median": statistics.median(seconds[1:]), "spread": (high - low) / 2, "n": repeats, "unit": "s"}


def _row(
    work: str, ours: dict[str, Any], instead: dict[str, Any] | None = None, against: str | None = None
) -> dict[str, Any]:
    ratio = instead["median"] / ours["median"] if instead else None
    return {"work": work, "ours": ours, "instead": instead, "against": against, "ratio": ratio, "target": None}
