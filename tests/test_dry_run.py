"""Dry runs say of a model that is not there what the same model holds where it is."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anygen import cli
from anygen.error import RequestError
from anygen.model import AnyGenModel
from anygen.training import train
from anygen.training.alignment import STAGE_1, STAGE_2, STAGE_3, AlignmentStage
from anygen.training.assembly import anew
from anygen.training.dry import Held, dry_run
from anygen.training.loop import FitOptions, optimizer_for
from anygen.training.recipe import TRAINED, recipe_for

MIXTURES = {"stage1": STAGE_1, "stage2": STAGE_2, "stage3": STAGE_3}


def size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values())


def lasting(module: nn.Module) -> Iterable[Tensor]:
    """What a network keeps: its parameters and the buffers that it stores."""
    yield from module.parameters()
    stored = module.state_dict()
    yield from (buffer for name, buffer in module.named_buffers() if name in stored)


@pytest.mark.parametrize(("step", "rank"), [*((step, 2) for step in TRAINED), ("stage3", 0)])
@pytest.mark.parametrize("media", ["tiny", "tiny_sound"])
def test_a_dry_run_has_the_numbers_of_the_real_one(
    media: str, step: str, rank: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(media)
    settings = [f"start={folder}", f"rank={rank}", "lora_matrices=q_proj,v_proj", f"{step}.ema=0.9"]
    told = dry_run(recipe_for("nano-night", settings))[step]
    model = AnyGenModel.load(folder)
    stage = AlignmentStage(
        step, model, MIXTURES[step], TRAINED[step], rank=rank, length=600, matrices=("q_proj", "v_proj")
    )
    before = {name: p.detach().clone() for name, p in stage.named_parameters()}
    trained = [p for p in stage.parameters() if p.requires_grad]
    optimizer = optimizer_for(list(stage.named_parameters()), FitOptions(steps=1, batch=1, rate=1e-3))
    for parameter in trained:  # as if every one had been used
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
    whole = told["all"]
    assert whole.parameters == sum(p.numel() for p in stage.parameters()) == sum(p.numel() for p in before.values())
    assert whole.weights == size(lasting(stage.model))
    assert whole.gradients == whole.average == size(p.grad for p in trained if p.grad is not None)
    assert whole.optimizer == size(moments)
    rows = int(model.signal_parameter_mask(model.writes).sum()) if "signals" in TRAINED[step] else 0
    ends = {id(model.llm.get_input_embeddings().weight), id(model.llm.get_output_embeddings().weight)}
    learning = sum(rows * p.shape[1] if id(p) in ends else p.numel() for p in trained)
    assert whole.learning == learning
    assert whole == sum((held for name, held in told.items() if name != "all"), Held(parameters=0, weights=0))
    assert ("adapter" in told) == ("lora" in TRAINED[step] and rank > 0)


def test_the_paper_at_full_size(capsys: pytest.CaptureFixture[str]) -> None:
    """The published figures: projectors of 4,198,400 and 31,958,784 + 32,090,112 + 31,788,544, an adapter of 33 M."""
    told = dry_run(recipe_for("nextgpt-paper"))
    assert {step: held["all"].learning for step, held in told.items()} == {
        "stage1": 3 * 4_198_400,
        "stage2": 31_958_784 + 32_090_112 + 31_788_544 + 2 * 38 * 4096,
        "stage3": 3 * 4_198_400 + 95_837_440 + 2 * 38 * 4096 + 33_554_432,
    }
    assert told["stage3"]["llm"].parameters == 6_738_415_616 + 2 * 41 * 4096  # Vicuna, with 41 tokens more
    small = dry_run(recipe_for("nextgpt-paper", ["quantize=nf4"]))["stage3"]["llm"]
    assert small.weights < 0.2 * told["stage3"]["llm"].weights and small.learning == told["stage3"]["llm"].learning


def test_the_command_shows_the_table(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "nano-night", "--dry-run", "--set", f"start={tiny}"]) == 0
    said = capsys.readouterr().out
    assert "stage2: 2500 steps of 40 chats per process, rate 0.002" in said and said.count("output_projectors") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nano"], "recipe 'nano' trains its own parts: name one with --set start=MODEL"),
        (["concept", "--name", "x"], "--dry-run is of recipes with the three alignment stages"),
        (["nextgpt-paper", "--set", "start=elsewhere"], "unknown model 'elsewhere'"),
    ],
)
def test_what_has_no_dry_run_says_so(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", *words, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_projectors_begin_anew(tiny: Path, tmp_path: Path) -> None:
    old, new = AnyGenModel.load(tiny), anew(AnyGenModel.load(tiny))
    for side in ("input_projectors", "output_projectors"):
        left, right = getattr(old, side), getattr(new, side)
        assert all(torch.equal(one, two) for one, two in zip(left.buffers(), right.buffers(), strict=True))
        pairs = [(one, two) for one, two in zip(left.parameters(), right.parameters(), strict=True) if one.ndim > 1]
        assert pairs and not any(torch.equal(one, two) for one, two in pairs)
    with pytest.raises(RequestError, match="'nextgpt-paper' learns from a data set: name one with --set data=DIR"):
        train("nextgpt-paper", output=tmp_path)
