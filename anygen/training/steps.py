"""Steps of a training run: in order, each in its own folder, skipped when done, resumed when begun."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from anygen.error import DataError, RequestError
from anygen.training.loop import fit

DONE = "done.json"


class Steps:
    """One recipe (anything with `seed` and `fits`) in one output folder: `steps` in order, each with its own folder.

    A step is a function of its folder; it says whether it is finished. `overall` is told how far it is.
    """

    def __init__(self, recipe: Any, output: Path) -> None:
        self.recipe, self.output = recipe, output
        self.overall: Any = None
        self.steps: dict[str, Callable[[Path], bool]] = {}

    def folder(self, step: str) -> Path:
        return self.output / step

    def done(self, step: str) -> bool:
        return (self.folder(step) / DONE).exists()

    def need(self, step: str) -> Path:
        """The folder of a finished earlier step."""
        if not self.done(step):
            raise DataError(f"step '{step}' is not finished in {self.output}; train it first (--stage {step})")
        return self.folder(step)

    def start(self, only: str | None, resume: bool) -> bool:
        """Runs all steps, or one. Finished ones are skipped, a started one needs `resume`. True when none is left."""
        if only is not None and only not in self.steps:
            raise RequestError(f"no stage '{only}'; there are {', '.join(self.steps)}")
        for step, run in self.steps.items():
            if only not in (None, step) or self.done(step):
                continue
            folder = self.folder(step)
            if not resume and (folder / "checkpoint.safetensors").exists():
                raise DataError(f"{folder} holds a started run; go on with --resume, or use another --output")
            torch.manual_seed(self.recipe.seed)  # initial weights
            started = time.time()
            if not run(folder):
                return False
            (folder / DONE).write_text(json.dumps({"step": step, "seconds": round(time.time() - started, 1)}) + "\n")
            if self.overall:
                self.overall.finish(step)
        return True

    def _fit(self, stage: Any, folder: Path, step: str) -> bool:
        options = dataclasses.replace(self.recipe.fits[step], seed=self.recipe.seed)
        overall = self.overall
        return fit(stage, options, folder, tell=(lambda share: overall.show(step, share)) if overall else None)
