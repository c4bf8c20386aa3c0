"""Measure speed, memory and size of a model (the bundled one unless told) against the targets."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from anygen.error import AnyGenError
from anygen.evaluation.suites import machine

DRAW = "Draw a large cat at the top left in a meadow."
ASK = "What sound does a dog make?"
TIMES = 5  # of each work in this process; works of a whole process are done fewer times
PROCESSES = 3


def bench(model: str | Path | None = None) -> list[dict[str, Any]]:
    """Measure every work and return its line: {"work", "ours", "instead", "against", "ratio", "target"}.

    `ours` holds median, spread (largest less smallest), n, unit; `ratio` is ours / target, at most 1 where it is met.
    """
    from anygen.engine import find, load

    folder = find(model)
    engine = load(folder)
    engine.generate(ASK, seed=0)  # warm-up: the first call of a process pays for what later ones reuse
    generate = [
        sys.executable,
        "-m",
        "anygen",
        "generate",
        DRAW,
        "--to",
        "image",
        "--model",
        str(folder),
        "--seed",
        "1",
    ]
    opened = [sys.executable, "-c", "import sys, anygen; anygen.load(sys.argv[1])", str(folder)]
    lines = [
        _line("first text token, engine loaded", _times(lambda: _first_text(engine)), "s", 0.25),
        _line("one image, engine loaded", _times(lambda: _image(engine)), "s", 2),
        _line("engine load, fresh process", [_process(opened)[0] for _ in range(PROCESSES)], "s", 4),
    ]
    with tempfile.TemporaryDirectory() as place:
        whole = [_process([*generate, "-o", place]) for _ in range(PROCESSES)]
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    return [
        *lines,
        _line("anygen generate to an image, whole process", [seconds for seconds, _ in whole], "s", 15),
        _line("peak memory of that process", [memory / 1e9 for _, memory in whole], "GB", 1.5),
        _line("weights on disk", [size / 1e6], "MB", 40),
    ]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines for a terminal."""
    rows = []
    for line in lines:
        ours = line["ours"]
        verdict = "met" if line["ratio"] <= 1 else "missed"
        rows.append(
            f"{line['work']:44} {ours['median']:9.3f} {ours['unit']:2}  +-{ours['spread'] / 2:7.3f}  n={ours['n']}"
            f"   target {line['target']:g} {ours['unit']}: {verdict} ({line['ratio']:.2f})"
        )
    return "\n".join(rows)


def _line(work: str, values: Sequence[float], unit: str, target: float) -> dict[str, Any]:
    ours = {
        "median": round(median(values), 4),
        "spread": round(max(values) - min(values), 4),
        "n": len(values),
        "unit": unit,
    }
    goal = {"median": target, "spread": 0, "n": 0, "unit": unit}
    ratio = round(median(values) / target, 4)
    return {"work": work, "ours": ours, "instead": goal, "against": "target", "ratio": ratio, "target": target}


def _times(work: Callable[[], float]) -> list[float]:
    return [work() for _ in range(TIMES)]


def _first_text(engine: Any) -> float:
    began = time.perf_counter()
    for event in engine.stream(ASK, seed=1):
        if event.type == "text.delta":
            break
    return time.perf_counter() - began


def _image(engine: Any) -> float:
    began = time.perf_counter()
    engine.generate(DRAW, to="image", seed=1)
    return time.perf_counter() - began


def _process(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak bytes of a process of its own."""
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if child.returncode:
            errors.seek(0)
            told = errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(
                f"{' '.join(command)} ended with {child.returncode}: {told[-1] if told else 'no message'}"
            )
    return seconds, usage.ru_maxrss * (1024 if sys.platform != "darwin" else 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", metavar="M", help="a preset or a model folder (default: nano)")
    parser.add_argument("--json", action="store_true", help="print the lines as JSON")
    args = parser.parse_args()
    try:
        lines = bench(args.model)
    except AnyGenError as error:
        print(f"anygen: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(lines, indent=2))
        return 0
    about = machine()
    print(f"{about['machine']}, {about['threads']} threads, torch {about['torch']}, Python {about['python']}")
    print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
