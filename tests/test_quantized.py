"""QLoRA: four-bit matrices stay as they are, what learns around them is kept beside the full ones."""

import sys
from pathlib import Path

import pytest
import torch

from anygen.error import RequestError
from anygen.model import AnyGenModel
from anygen.training.alignment import STAGE_3, AlignmentStage
from anygen.training.loop import FitOptions, fit
from anygen.training.recipe import recipe_for
from anygen.training.run import Run

ALL = {"input", "output", "signals", "lora"}


def test_without_the_package_one_line_says_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(RequestError, match=r"needs bitsandbytes: pip install 'anygen\[qlora\]'"):
        AlignmentStage("stage3", AnyGenModel.load(tiny), STAGE_3, ALL, quantize="nf4")


def test_what_cannot_be_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="quantize='int1': there is nf4"):
        AlignmentStage("stage3", AnyGenModel.load(tiny), STAGE_3, ALL, quantize="int1")
    recipe = recipe_for("nano-night", [f"start={tiny}", "pool=0", "quantize=nf4", "stage1.shard=true"])
    with pytest.raises(RequestError, match="stage1: four-bit weights cannot be in pieces"):
        Run(recipe, tmp_path).start("stage1", resume=False)


def test_an_adapter_learns_on_four_bits(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    model = AnyGenModel.load(tiny)
    full = {name: p.detach().clone() for name, p in model.llm.named_parameters()}
    stage = AlignmentStage("stage3", model, STAGE_3, ALL, rank=2, length=600, quantize="nf4")
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    stage.to("cpu")
    small = {name: p.detach().clone() for name, p in stage.named_parameters() if p.dtype == torch.uint8}
    assert len(small) == 7 * model.llm.config.num_hidden_layers
    assert sum(p.nbytes for p in small.values()) * 8 == sum(
        p.nbytes
        for name, p in full.items()
        if "proj" in name  # float32
    )
    before = {name: p.detach().clone() for name, p in stage.named_parameters() if p.requires_grad}
    assert any("lora_A" in name for name in before) and not any(name in small for name in before)
    fit(stage, FitOptions(steps=3, batch=2, rate=1e-2, warmup=1, precision="no", sample_every=0), tmp_path)
    now = dict(stage.named_parameters())
    assert all(torch.equal(p, now[name]) for name, p in small.items())
    assert any(not torch.equal(p, now[name]) for name, p in before.items() if "lora_B" in name)


def test_what_is_kept_is_the_full_model_with_the_adapter_merged(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    settings = [f"start={tiny}", "pool=0", "names=0", "quantize=nf4", "rank=2"]
    settings += [f"stage3.{one}" for one in ("steps=2", "batch=1", "rate=0.01", "warmup=1", "precision=no")]
    run = Run(recipe_for("nano-night", [*settings, "stage3.sample_every=0"]), tmp_path)
    (tmp_path / "stage2").mkdir()
    AnyGenModel.load(tiny).save(tmp_path / "stage2" / "model")
    (tmp_path / "stage2" / "done.json").write_text("{}")
    assert run.start("stage3", resume=False)
    old, new = AnyGenModel.load(tiny), AnyGenModel.load(tmp_path / "stage3" / "model")
    name = "model.layers.0.self_attn.q_proj.weight"
    change = new.llm.state_dict()[name] - old.llm.state_dict()[name]
    assert change.dtype == torch.float32 and change.any()
    assert torch.linalg.matrix_rank(change) <= 2  # the adapter alone: nothing was rounded to four bits
