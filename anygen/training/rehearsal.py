"""Rehearsals: how long each step of a recipe takes on this machine, from a few batches of every one."""

import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from anygen.training.recipe import Recipe

PLAN = "plan.json"
_BATCHES = 4  # of each step
_POOL = 64  # media that cached stages are rehearsed with
_CACHED = ("stage1", "stage2")


def rehearse(recipe: Recipe, report: Callable[[str], Any] = lambda step: None) -> dict[str, float]:
    """Seconds that each step of the recipe takes here, in order: a few batches of every one are trained and forgotten.

    The first batch warms up, the others' median counts. A step with a `budget` takes that at most. Making the pool of
    features is counted by its size; samples and checkpoints are not counted.
    """
    from anygen.training.run import Run

    short = {
        name: dataclasses.replace(fit, steps=_BATCHES, log_every=1, sample_every=0, budget=0.0, minutes=0.0)
        for name, fit in recipe.fits.items()
    }
    alone: dict[str, Any] = {"sketch_steps": 0, "motion_sketch": 0, "motion_looks": 0}
    small = dataclasses.replace(recipe, fits=short, pool=min(recipe.pool, _POOL), **alone)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        run = Run(small, Path(folder))
        for step in run.steps:
            report(step)
            began = time.perf_counter()
            with redirect_stderr(nowhere):  # progress bars of four batches
                run.start(step, True)
            whole = time.perf_counter() - began
            seconds[step] = _estimate(recipe, run.folder(step), step, whole) if step in recipe.fits else whole
    return seconds


def _estimate(recipe: Recipe, folder: Path, step: str, whole: float) -> float:
    """Seconds of the whole step from the log of its first batches and what it took besides."""
    fit = recipe.fits[step]
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    each = [fit.batch * fit.accumulate / row["per_second"] for row in rows if "per_second" in row]
    usual = statistics.median(each[1:] or each)
    first = max(0.0, each[0] - usual)
    if step in _CACHED and recipe.pool > _POOL and not recipe.data:
        first *= recipe.pool / _POOL
    besides = max(0.0, whole - sum(each))
    taken = besides + first + usual * fit.steps
    return min(taken, 60 * fit.budget) if fit.budget else taken


def plan(recipe: Recipe, output: Path, report: Callable[[str], Any] = lambda step: None) -> dict[str, float]:
    """The rehearsal's seconds, kept in the output folder for as long as the recipe stays the same."""
    file, said = output / PLAN, json.loads(json.dumps(dataclasses.asdict(recipe)))
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["recipe"] == said:
            return kept["seconds"]
    seconds = rehearse(recipe, report)
    output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"recipe": said, "seconds": seconds}, indent=2) + "\n")
    return seconds


def clock(seconds: float) -> str:
    """'2 h 5 min', '12 min', '40 s'."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Overall:
    """One progress bar for all steps of a run, in seconds as they were planned."""

    def __init__(self, seconds: dict[str, float], done: set[str]) -> None:
        from tqdm import tqdm

        self.seconds = seconds
        whole = sum(seconds.values())
        self.passed = sum(value for step, value in seconds.items() if step in done)
        for step, value in seconds.items():
            print(f"{step:16} {'done' if step in done else 'about ' + clock(value)}", file=sys.stderr)
        print(f"{'in all':16} about {clock(whole)}, {clock(whole - self.passed)} of them left", file=sys.stderr)
        shape = "{desc}: {percentage:3.0f}%|{bar}| {postfix}"
        self.bar = tqdm(total=whole, initial=self.passed, desc="all steps", position=1, bar_format=shape, leave=False)

    def show(self, step: str, share: float) -> None:
        """A share 0..1 of the step is done."""
        now = self.passed + share * self.seconds[step]
        self.bar.set_postfix_str(f"{step}, about {clock(self.bar.total - now)} left", refresh=False)
        self.bar.update(now - self.bar.n)

    def finish(self, step: str) -> None:
        """The step is done."""
        self.passed += self.seconds[step]
        self.show(step, 0.0)

    def close(self) -> None:
        self.bar.close()
