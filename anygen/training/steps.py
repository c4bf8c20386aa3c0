"""Steps of a training run: in order, each in its own folder, skipped when done, resumed when begun.

Several processes take every step together. They all train; what is to be written afterwards, and steps in which nothing
is trained, are the main process's alone, and the others hear from it how it went.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from anygen.error import DataError, RequestError
from anygen.training.loop import fit, in_pieces
from anygen.training.processes import Processes, processes

DONE = "done.json"


class Steps:
    """One recipe (anything with `seed` and `fits`) in one output folder: `steps` in order, each with its own folder.

    A step is a function of its folder; it says whether it is finished. `overall` is told how far it is.
    """

    def __init__(self, recipe: Any, output: Path) -> None:
        self.recipe, self.output = recipe, output
        self.overall: Any = None
        self.steps: dict[str, Callable[[Path], bool]] = {}
        self._pieces = False  # what was trained is in pieces
        self._alone = False  # the main process puts together what all have trained in pieces

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
        group = processes()
        for step, run in self.steps.items():
            if only not in (None, step) or group.agree(self.done(step)):
                continue
            folder = self.folder(step)
            if not resume and group.agree((folder / "checkpoint.safetensors").exists()):
                raise DataError(f"{folder} holds a started run; go on with --resume, or use another --output")
            torch.manual_seed(self.recipe.seed)  # initial weights
            started = time.time()
            if not group.agree(self._take(step, run, folder, group)):
                return False
            if group.main:
                facts = {"step": step, "seconds": round(time.time() - started, 1)}
                (folder / DONE).write_text(json.dumps(facts) + "\n")
            if self.overall:
                self.overall.finish(step)
            group.agree(None)  # none looks for what is done before it is written
        return True

    def _take(self, step: str, run: Callable[[Path], bool], folder: Path, group: Processes) -> bool:
        """Runs a step; whether it is finished, as far as the main process knows."""
        fit = self.recipe.fits.get(step)
        if not group.main and fit is None:
            return False
        finished = run(folder)
        if group.main and self._pieces:
            self._alone, self._pieces = True, False
            try:
                torch.manual_seed(self.recipe.seed)
                finished = run(folder)
            finally:
                self._alone = False
        return finished

    def _fit(self, stage: Any, folder: Path, step: str) -> bool:
        """Trains the stage in all processes. True in the main one, which alone goes on with what has been learnt."""
        options = dataclasses.replace(self.recipe.fits[step], seed=self.recipe.seed)
        overall = self.overall
        tell = (lambda share: overall.show(step, share)) if overall else None
        if self._alone:
            return fit(stage, options, folder, tell=tell)
        group = processes()
        finished = fit(stage, options, folder, tell=tell)
        self._pieces = finished and in_pieces(options, group)
        return finished and group.main and not self._pieces
