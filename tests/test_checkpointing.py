"""Gradient checkpointing: the same gradients from fewer kept activations."""

from pathlib import Path
from typing import Any

import pytest
import torch

from anygen.model import AnyGenModel
from anygen.training.alignment import STAGE_1, STAGE_3, AlignmentStage
from anygen.training.recipe import recipe_for


def gradients(model: AnyGenModel, train: set[str], checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of a batch by name, and the bytes that autograd kept for them."""
    torch.manual_seed(0)
    mixture: Any = STAGE_3 if "lora" in train else STAGE_1
    stage = AlignmentStage("stage", model, mixture, train, rank=2, length=600, checkpointing=checkpointing)
    for name, parameter in stage.named_parameters():
        if "lora_B" in name:  # zero at first, so that nothing would reach the other factor
            torch.nn.init.normal_(parameter, std=0.1)
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = stage.train()(stage.prepare(0, 2, 0), torch.Generator().manual_seed(0))
    sum(losses.values(), torch.zeros(())).backward()
    return {name: p.grad for name, p in stage.named_parameters() if p.grad is not None}, kept


@pytest.mark.parametrize("train", [{"input"}, {"input", "output", "signals", "lora"}], ids=["stage1", "stage3"])
def test_checkpointing_changes_no_gradient(train: set[str], tiny: Path) -> None:
    (plain, much), (ours, little) = (gradients(AnyGenModel.load(tiny), train, choice) for choice in (False, True))
    assert plain.keys() == ours.keys() and any(gradient.any() for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-7)
    assert little < 0.7 * much


def test_a_recipe_may_ask_for_it() -> None:
    assert recipe_for("nano", ["checkpointing=true"]).checkpointing is True
