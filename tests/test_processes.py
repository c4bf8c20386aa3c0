"""Training in several processes: the numbers of one, exact resume, one writer; in copies and in pieces."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Pair, dialogues, launch, options
from torch import nn

from anygen.model import AnyGenModel
from anygen.playground.dataset import write_dataset
from anygen.testing import tiny_model
from anygen.training import train
from anygen.training.cache import FeatureCache
from anygen.training.checkpoint import read_checkpoint
from anygen.training.loop import fit
from anygen.training.processes import Processes
from anygen.training.sharding import Used, blocks
from anygen.training.shards import pack

STEPS = 8
IN_PARTS: list[dict[str, Any]] = [{"minutes": 1e-9, "done": False}] * 2 + [{}]


def run(folder: str, *, done: Any = True, stop: Any = None, model: str | None = None, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"folder": folder, "done": done, "options": {"steps": STEPS, **more}}
    return said | ({"stop": stop} if stop else {}) | ({"model": model} if model else {})


def curve(folder: Path) -> list[dict[str, float]]:
    """The rows of the log, without its times."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "per_second"} for row in rows]


def same(left: list[dict[str, float]], right: list[dict[str, float]]) -> None:
    assert [row.keys() for row in left] == [row.keys() for row in right]
    for one, other in zip(left, right, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=2e-5)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = read_checkpoint(folder)
    assert found is not None
    return found[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """What two processes trained; in folders without "one" in their names."""
    folder = tmp_path_factory.mktemp("runs")
    asked = []
    kinds: dict[str, dict[str, Any]] = {"copies": {}, "pieces": {"shard": True}}
    for kind, more in kinds.items():
        asked += [run(kind, **more), run(f"{kind}-twice", accumulate=2, **more)]
        asked += [run(f"{kind}-in-parts", **more, **part) for part in IN_PARTS]
        asked += [run(f"{kind}-stopped", done=None, stop={"batch": 7}, **more)]  # batch 7 is the second process's
        asked += [run(f"{kind}-stage3", model=str(tiny), steps=3, batch=1, rate=1e-3, **more)]
    for said in launch(["tests/processes.py", str(folder), json.dumps(asked)]):
        assert said.returncode == 0, said.stderr
    fit(Pair(), options(STEPS, accumulate=2), folder / "one")
    fit(Pair(), options(STEPS, accumulate=4), folder / "one-twice")
    return folder


@pytest.mark.parametrize("kind", ["copies", "pieces"])
@pytest.mark.parametrize("often", ["", "-twice"])
def test_two_processes_have_the_numbers_of_one(runs: Path, kind: str, often: str) -> None:
    same(curve(runs / f"{kind}{often}"), curve(runs / f"one{often}"))
    ours, theirs = tensors(runs / f"{kind}{often}"), tensors(runs / f"one{often}")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-5, rtol=1e-3), name
    assert torch.equal(
        ours["weights.embed_rows"][[0, 1, 3, 4]], Pair().embed_rows.detach()[[0, 1, 3, 4]]
    )  # their hook holds


@pytest.mark.parametrize("kind", ["copies", "pieces"])
def test_two_processes_resume_exactly(runs: Path, kind: str) -> None:
    ours, theirs = tensors(runs / f"{kind}-in-parts"), tensors(runs / kind)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("kind", ["copies", "pieces"])
def test_a_signal_to_one_process_stops_both_with_a_checkpoint(runs: Path, kind: str) -> None:
    """Batch 7 is in step 4; one process then opens what two have left, and ends as if it had been alone."""
    found = read_checkpoint(runs / f"{kind}-stopped")
    assert found is not None and found[1]["step"] == 4 and found[1]["batches"] == 8
    stage = Pair()
    assert fit(stage, options(STEPS, accumulate=2), runs / f"{kind}-stopped")
    whole = tensors(runs / "one")
    for name, tensor in tensors(runs / f"{kind}-stopped").items():
        assert torch.allclose(tensor, whole[name], atol=1e-5, rtol=1e-3), name


@pytest.mark.parametrize("kind", ["copies", "pieces"])
def test_stage_3_in_two_processes(runs: Path, kind: str, tiny: Path, tmp_path: Path) -> None:
    stage = dialogues(tiny)
    fit(stage, options(3, batch=1, rate=1e-3, accumulate=2), tmp_path)
    same(curve(runs / f"{kind}-stage3"), curve(tmp_path))
    ours, theirs = tensors(runs / f"{kind}-stage3"), tensors(tmp_path)
    weights = [name for name in ours if name.startswith("weights.")]
    assert any("lora_A" in name for name in weights) and any("embed_tokens" in name for name in weights)
    for name in weights:
        assert torch.allclose(ours[name], theirs[name], atol=1e-4), name


@pytest.mark.parametrize("kind", ["copies", "pieces"])
def test_the_main_process_alone_writes(runs: Path, kind: str) -> None:
    assert [row["step"] for row in curve(runs / kind)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]  # 4 and 8 with samples
    assert sorted(path.name for path in (runs / kind / "samples").iterdir()) == ["4.txt", "8.txt"]
    assert sorted({path.name for path in (runs / kind).iterdir()} - {"tensorboard"}) == [
        "checkpoint.safetensors",
        "log.jsonl",
        "samples",
    ]


def test_a_finished_run_in_pieces_is_opened_whole(runs: Path) -> None:
    stage = Pair()
    assert fit(stage, options(STEPS, accumulate=2), runs / "pieces")
    average = tensors(runs / "pieces")["average.first.0.0.weight"]
    assert torch.equal(stage.first[0][0].weight, average)  # type: ignore[index]


def test_the_command_under_accelerate(tmp_path: Path) -> None:
    """Stage 1 of a data set in shards is the same in two processes as in one; a model folder is there afterwards."""
    pack(write_dataset(tmp_path / "edits", 8, size=16, task="edit"), tmp_path / "shards", 2)
    start = tiny_model(tmp_path / "tiny", context=4096)
    settings: dict[str, Any] = {"start": start, "data": tmp_path / "shards", "seed": 3}
    settings |= {f"stage1.{key}": value for key, value in {"steps": 2, "batch": 2, "log_every": 1}.items()}
    settings |= {"stage1.precision": "no", "stage1.sample_every": 0, "stage1.rate": 0.01, "stage1.warmup": 1}
    words = ["anygen", "train", "nano-night", "--stage", "stage1"]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", "0", "-m", *words, "--set", "stage1.shard=true"]
    launcher += ["--output", str(tmp_path / "two")]
    said = subprocess.run(launcher, capture_output=True, text=True, timeout=600, check=False)
    assert said.returncode == 0, said.stderr
    assert not said.stdout and "FAILED" not in said.stderr
    alone = [f"{key}={value}" for key, value in settings.items()] + ["stage1.accumulate=2"]
    train("nano-night", stage="stage1", output=tmp_path / "one", set=alone)
    same(curve(tmp_path / "two" / "stage1"), curve(tmp_path / "one" / "stage1"))
    assert json.loads((tmp_path / "two" / "stage1" / "done.json").read_text())["step"] == "stage1"
    features = [FeatureCache(tmp_path / name / "features") for name in ("one", "two")]
    assert sorted(features[0]._places) == sorted(features[1]._places) and len(features[0]) >= 8
    assert len(set(features[1]._places.values())) == 2  # a file of each process
    models = [AnyGenModel.load(tmp_path / name / "stage1" / "model") for name in ("one", "two")]
    for one, two in zip(*(model.input_projectors.parameters() for model in models), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_blocks_are_those_that_run_in_every_batch() -> None:
    stage = Pair()
    assert blocks(stage) == list(stage.base)
    shared = Pair()
    shared.base[1] = nn.Sequential(shared.first[0][0])  # type: ignore[index]
    assert blocks(shared) == [shared.base[0]]
    assert blocks(nn.Linear(1, 1)) == []


def test_what_was_needed_is_found_in_the_graph() -> None:
    stage, used = Pair(), Used()
    batch = stage.prepare(0, 2, 0) | {"step": torch.tensor(9)}
    losses = stage(batch, torch.Generator().manual_seed(0))
    total = used.touch(stage, losses["base"] + losses["rows"])
    assert used.names == {name for name, _ in stage.named_parameters() if name.startswith(("base", "embed_rows"))}
    assert torch.equal(total, losses["base"] + losses["rows"])
    total.backward()
    gradient = stage.first[0][0].weight.grad  # type: ignore[index]
    assert gradient is not None and not gradient.any()


def test_one_process_is_its_own_group() -> None:
    alone = Processes()
    assert alone.main and alone.agree(3) == 3 and alone.any(True, torch.device("cpu"))
    assert alone.mean([{"a": torch.tensor(1.0)}, {"a": torch.tensor(2.0), "b": torch.tensor(5.0)}]) == {
        "a": 1.5,
        "b": 5,
    }
