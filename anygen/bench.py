"""Measure speed, memory and size of a model against its targets, or against doing the same work another way."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DRAW = "Draw a large cat at the top left in a meadow."
SOUND = "Let me hear a bell three times."
FILM = "Show me a film of a dog moving to the right in a meadow."
ASK = "What sound does a dog make?"
PAGES = ("Draw a cat.", "Draw a dog.", "Draw a car.", "Draw a tree.")


def measure(folder: Path, repeats: int = 5, processes: int = 3) -> list[dict[str, Any]]:
    """One row for each work: `ours`, what it is held `against` (a `target`, or `instead` the same work another way).

    `ratio` is ours / target, at most 1 where it is met, or instead / ours. The first run of each work is not counted:
    it pays for what later ones find ready. Works of a whole process are run `processes` times, not at all for 0.
    """
    from anygen.engine import load

    engine = load(folder)
    rows = []
    if "image" in engine.writes:
        rows.append(
            _target("one image, engine loaded", _timed(lambda: engine.generate(DRAW, to="image", seed=1), repeats), 2)
        )
        rows.append(
            _compared(
                "four images at once",
                _timed(lambda: engine.generate_batch(PAGES, to="image", seed=1), repeats),
                _timed(lambda: [engine.generate(page, to="image", seed=1) for page in PAGES], repeats),
                "one after the other",
            )
        )
    if "audio" in engine.writes:
        took = _timed(lambda: engine.generate(SOUND, to="audio", seed=1), repeats)
        rows.append(_target("four seconds of sound, engine loaded", took, 2))
    if "video" in engine.writes:
        took = _timed(lambda: engine.generate(FILM, to="video", seed=1), repeats)
        rows.append(_target("one film, engine loaded", took, 8))
    rows.insert(0, _target("first text token, engine loaded", _timed(lambda: _first_text(engine), repeats), 0.25))
    if processes:
        opened = [sys.executable, "-c", _LOAD, str(folder)]
        rows.append(_target("engine load, imports apart", [_loading(opened) for _ in range(processes)], 4))
        command = [sys.executable, "-m", "anygen", "generate", DRAW, "--model", str(folder), "--seed", "1"]
        with tempfile.TemporaryDirectory() as place:
            whole = [_process([*command, "-o", place]) for _ in range(processes)]
        rows.append(_target("anygen generate to an image, whole process", [seconds for seconds, _ in whole], 15))
        rows.append(_target("peak memory of that process", [memory / 1e9 for _, memory in whole], 1.5, "GB"))
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    most = 20 * len(engine.writes)
    return [*rows, _target("weights on disk", [size / 1e6], most, "MB")]


_LOAD = """
import sys, time
import torch, transformers, diffusers, anygen, anygen.engine
from diffusers import StableDiffusionPipeline
began = time.perf_counter()
engine = anygen.load(sys.argv[1])
for modality in engine.model.writes:
    engine.model.generator(modality)
print(time.perf_counter() - began)
"""


def _timed(work: Callable[[], Any], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _first_text(engine: Any) -> None:
    for event in engine.stream(ASK, seed=1):
        if event.type == "text.delta":
            return


def _figures(values: Sequence[float], unit: str) -> dict[str, Any]:
    """Median and half of the distance between the smallest and the largest."""
    spread = (max(values) - min(values)) / 2
    return {"median": round(statistics.median(values), 4), "spread": round(spread, 4), "n": len(values), "unit": unit}


def _target(work: str, values: Sequence[float], target: float, unit: str = "s") -> dict[str, Any]:
    ours = _figures(values, unit)
    ratio = round(ours["median"] / target, 4)
    return {"work": work, "ours": ours, "instead": None, "against": "target", "ratio": ratio, "target": target}


def _compared(work: str, values: Sequence[float], other: Sequence[float], against: str) -> dict[str, Any]:
    ours, instead = _figures(values, "s"), _figures(other, "s")
    ratio = round(instead["median"] / ours["median"], 4)
    return {"work": work, "ours": ours, "instead": instead, "against": against, "ratio": ratio, "target": None}


def _loading(command: Sequence[str]) -> float:
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _process(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak bytes of a process of its own; a RuntimeError with its last words if it fails."""
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            told = errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}: {told[-1] if told else ''}")
    return seconds, usage.ru_maxrss * (1024 if sys.platform != "darwin" else 1)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for a terminal."""
    lines = []
    for row in rows:
        ours, instead = row["ours"], row["instead"]
        line = f"{row['work']:44} {ours['median']:8.3f} {ours['unit']:2} +- {ours['spread']:.3f}, n={ours['n']}"
        if instead:
            line += f"; {row['against']}: {instead['median']:.3f} {instead['unit']}, x {row['ratio']:.2f}"
        else:
            line += f"; target {row['target']:g} {ours['unit']}: {'met' if row['ratio'] <= 1 else 'missed'}"
        lines.append(line)
    return "\n".join(lines)
