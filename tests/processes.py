"""Runs of a stage that several processes take together; a test starts this file with torchrun's variables."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anygen.training.loop import FitOptions, fit

ROOT = Path(__file__).resolve().parent.parent
COUNT = 2


class Pair(nn.Module):
    """Three stacks that learn to undo noise. `base` always learns, the first rests from batch 6 on, the second until
    batch 3 and then in every third batch; `embed_rows` learns in one of its rows only, and `frozen` never."""

    name = "pair"

    def __init__(self, stop: dict[str, int] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2))
        self.first = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2))
        self.second = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(2))
        self.embed_rows = nn.Parameter(torch.randn(5, 6))
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        mask = torch.zeros(5, 1).index_fill_(0, torch.tensor(2), 1)
        self.embed_rows.register_hook(lambda gradient: gradient * mask)
        self.stop = stop

    @property
    def stacks(self) -> list[nn.Module]:
        return [self.base]

    def prepare(self, step: int, size: int, seed: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(1000 * seed + step)
        return {"x": torch.randn(size, 6, generator=rng), "step": torch.tensor(step)}

    def forward(self, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
        number = int(batch["step"])
        if self.stop is not None and number == self.stop["batch"]:
            os.kill(os.getpid(), signal.SIGTERM)
        noisy = batch["x"] + 0.1 * torch.randn(batch["x"].shape, generator=rng)
        state = noisy + self.embed_rows.mean(0)
        losses = {"_looked": state.square().mean()}  # is logged, not learnt
        for block in self.base:
            state = state + block(state)
        losses["base"] = 0.1 * (state - batch["x"]).square().mean()
        with torch.set_grad_enabled(torch.is_grad_enabled() and number < 6):
            for block in self.first:
                state = state + block(state)
        if number < 6:
            losses["first"] = (state - batch["x"]).square().mean()
        if number >= 3 and number % 3:
            for block in self.second:
                state = state + block(state)
            losses["second"] = (self.frozen(state) - batch["x"]).square().mean()
        elif number >= 6:
            losses["rows"] = (self.embed_rows[2] - batch["x"]).square().mean()
        return losses

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        state = torch.ones(1, 6) + self.embed_rows.mean(0)
        for block in (*self.base, *self.first):
            state = block(state)
        (folder / f"{step}.txt").write_text(f"{float(state.sum()):.6f}")
        return {"sampled": round(float(state.sum()), 5)}


def options(steps: int, **more: Any) -> FitOptions:
    values: dict[str, Any] = {"batch": 3, "rate": 0.02, "precision": "no", "warmup": 2, "log_every": 1}
    return FitOptions(steps=steps, **{**values, "sample_every": 4, "save_every": 100, "ema": 0.9, "clip": 0.5, **more})


def launch(arguments: list[str], count: int = COUNT, **variables: str) -> list[subprocess.CompletedProcess[str]]:
    """Starts `python ARGUMENTS` in `count` processes, as torchrun does, and waits for them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for rank in range(count):
        about: dict[str, Any] = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        about |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1, "PYTHONPATH": ROOT}
        environment = os.environ | {key: str(value) for key, value in about.items()} | variables
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT, **pipes))
    ended = []
    try:
        for process in started:
            said = process.communicate(timeout=300)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, *said))
    finally:
        for process in started:
            process.kill()
    return ended


def dialogues(model: Path) -> Any:
    """Stage 3 on a tiny model: an adapter, projectors, and rows of the embeddings."""
    from anygen.model import AnyGenModel
    from anygen.training.alignment import STAGE_3, AlignmentStage

    torch.manual_seed(0)
    parts = {"input", "output", "signals", "lora"}
    stage = AlignmentStage("stage3", AnyGenModel.load(model), STAGE_3, parts, length=600, rank=2)
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    return stage


def main(folder: Path, runs: list[dict[str, Any]]) -> None:
    """Runs one after the other: `folder` below the given one, FitOptions, the `model` of a stage 3 in place of a Pair,
    `stop` in the batch of that number by a signal to the process that has it."""
    from anygen.training.processes import part_ways

    for run in runs:
        stage = dialogues(Path(run["model"])) if "model" in run else Pair(run.get("stop"))
        try:
            done: bool | None = fit(stage, options(**run["options"]), folder / run["folder"])
        except KeyboardInterrupt:
            done = None
        assert done == run.get("done", True), run
    part_ways()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
