"""Training senses: what learns and what stays, exact steps, and a model that gets a sense keeps all that it had."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.imu import ImuTowerConfig
from anygen.encoders.relief import ReliefTowerConfig
from anygen.encoders.video import VideoEncoder, VideoTowerConfig
from anygen.error import DataError
from anygen.playground.ride import FELT
from anygen.projectors.input import ResamplerConfig, ResamplerProjector
from anygen.sensed import Depth, Imu
from anygen.testing import tiny_model, tiny_tokenizer
from anygen.training.imu_encoder import RIDES, ImuEncoderStage, anchors
from anygen.training.recipe import recipe_for
from anygen.training.relief_encoder import ReliefEncoderStage, distance
from anygen.training.run import Run
from anygen.training.sense_steps import borrowed, equip
from anygen.training.steps import DONE

SENSES = ("depth", "thermal", "imu")


def image() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, side=64, patch=16)).eval()


def resampler(tokens: int) -> ResamplerProjector:
    return ResamplerProjector(
        ResamplerConfig(tokens_in=tokens, width_in=16, width_out=32, queries=16, width=16, heads=2, layers=1)
    )


def relief_stage(kind: str) -> ReliefEncoderStage:
    with torch.random.fork_rng(devices=[]):
        seen, tokenizer = image(), tiny_tokenizer()
        lender, table = resampler(16), torch.randn(len(tokenizer), 32)
        config = ReliefTowerConfig(width=16, joint=8, bottleneck=4)
        return ReliefEncoderStage(
            kind, config, seen, tokenizer, lender=lender, projector=borrowed(lender), table=table
        ).train()


@pytest.fixture(scope="module")
def imu_stage() -> ImuEncoderStage:
    with torch.random.fork_rng(devices=[]):
        video = VideoEncoder(VideoTowerConfig(width=16, joint=8, grid=2, depth=1, heads=2), image())
        nn.init.normal_(video.temporal.time_embedding, std=1.0)
        tokenizer = tiny_tokenizer()
        config = ImuTowerConfig(width=16, depth=1, heads=2, joint=8)
        table = torch.randn(len(tokenizer), 32)
        return ImuEncoderStage(config, video, tokenizer, projector=resampler(20), table=table).train()


def step(stage: Any, steps: int = 8) -> dict[str, torch.Tensor]:
    """A few steps of training on one batch; the losses before them."""
    optimizer = torch.optim.Adam([p for p in stage.parameters() if p.requires_grad], lr=2e-3)
    first: dict[str, torch.Tensor] = {}
    for _ in range(steps):
        losses = stage(stage.prepare(0, 6, 1), torch.Generator())
        first = first or losses
        torch.stack([loss for name, loss in losses.items() if not name.startswith("_")]).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return first


@pytest.mark.parametrize("kind", ["depth", "thermal"])
def test_only_the_map_side_learns(kind: str) -> None:
    stage = relief_stage(kind)
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    first = step(stage)
    assert set(first) >= {"picture", "alike", "read", f"token_{kind}", f"distance_{kind}"}
    changed = {name for name, tensor in stage.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith(("encoder.relief.", "projector.inward.", "log_scale")) for name in changed)
    again = stage(stage.prepare(0, 6, 1), torch.Generator())
    assert again["alike"] < first["alike"] and all(bool(loss.isfinite()) for loss in again.values())


def test_no_text_reaches_the_encoders(imu_stage: ImuEncoderStage) -> None:
    stages: list[tuple[Any, str]] = [(relief_stage("depth"), "depth"), (imu_stage, "imu")]
    for stage, sense in stages:
        losses = stage(stage.prepare(0, 4, 1), torch.Generator())
        (losses[f"token_{sense}"] + losses[f"distance_{sense}"]).backward()
        assert all(p.grad is None for p in stage.encoder.parameters())
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in stage.projector.parameters())
        stage.zero_grad()


def test_a_step_is_a_function_of_seed_and_step(imu_stage: ImuEncoderStage) -> None:
    for stage in (relief_stage("thermal"), imu_stage):
        one, same, other = stage.prepare(3, 4, 7), stage.prepare(3, 4, 7), stage.prepare(4, 4, 7)
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not all(torch.equal(one[key], other[key]) for key in one)


def test_the_anchor_says_the_motion_alone(imu_stage: ImuEncoderStage) -> None:
    """Unit vectors, one for each motion, whose lengths aside sum to nothing: what all films of a take share is gone."""
    with torch.random.fork_rng(devices=[]):
        video = VideoEncoder(VideoTowerConfig(width=16, joint=8, grid=2, depth=1, heads=2), image()).eval()
    found = anchors(video, takes=2)
    assert found.shape == (2, len(RIDES), 8) and len(RIDES) == len(FELT) + 1
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, len(RIDES)))
    first = step(imu_stage)
    assert {"film", "moves", "token_imu"} <= set(first)
    assert step(imu_stage, 1)["moves"] < first["moves"]


def test_samples_are_measured(imu_stage: ImuEncoderStage, tmp_path: Path) -> None:
    figures = imu_stage.sample(tmp_path, 5)
    assert set(figures) == {"imu_to_film", "moves", "told"} and all(0 <= value <= 1 for value in figures.values())
    assert "moves" in (tmp_path / "0000005.txt").read_text()


def test_distance_is_in_units_of_spread() -> None:
    wanted = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert distance(wanted, wanted) == 0
    assert distance(torch.zeros(1, 2, 2), wanted) == pytest.approx(1.0)
    assert distance(-wanted, wanted) == pytest.approx(4.0)


def test_steps_are_there_only_if_the_media_are_named(tmp_path: Path) -> None:
    plain = Run(recipe_for("nano-night", ["media=image,audio,video"]), tmp_path)
    assert not any(step.startswith(SENSES) for step in plain.steps)
    more = Run(recipe_for("nano-night", ["media=image,audio,video,depth,thermal,imu"]), tmp_path)
    added = [step for step in more.steps if step not in plain.steps]
    assert added == ["depth-encoder", "thermal-encoder", "imu-encoder"]
    names = list(more.steps)
    assert names.index("video-encoder") < names.index(added[0]) and names.index(added[-1]) < names.index("stage1")
    begun = Run(recipe_for("nano-night", ["start=nano", "media=image,depth"]), tmp_path)
    assert list(begun.steps) == ["depth-encoder", "stage1", "stage2", "stage3", "model"]


def test_a_finished_model_gets_senses_and_keeps_all_it_had(tmp_path: Path) -> None:
    """From a model's own parts: two steps of every encoder, and everything that was there is there to the bit."""
    from anygen.engine import Engine
    from anygen.model import AnyGenModel

    start = tiny_model(tmp_path / "start", media=("image", "video"))
    short = [
        f"{sense}-encoder.{what}"
        for sense in SENSES
        for what in ("steps=2", "batch=2", "ema=0", "sample_every=0", "precision=no")
    ]
    recipe = recipe_for("nano-night", [f"start={start}", "media=image,video,depth,thermal,imu", *short])
    run = Run(recipe, tmp_path / "run")
    with pytest.raises(DataError, match="step 'depth-encoder' is not finished"):
        run.model(None)
    for sense in SENSES:
        assert run.start(f"{sense}-encoder", False)
        assert (run.folder(f"{sense}-encoder") / DONE).exists()
    before, model = AnyGenModel.load(start), run.model(None)
    assert model.reads == ("image", "video", *SENSES) and model.writes == before.writes
    rows = before.llm.get_input_embeddings().num_embeddings
    assert model.llm.get_input_embeddings().num_embeddings == rows + 9
    for name, tensor in before.state_dict().items():
        found = model.state_dict()[name]
        assert torch.equal(found[: len(tensor)] if "embed_tokens" in name or "lm_head" in name else found, tensor), name
    spans, table = model.vocabulary.spans, model.llm.get_input_embeddings().weight
    assert torch.equal(table[spans["depth"].open], table[spans["image"].open])
    assert torch.equal(table[spans["imu"].close], table[spans["video"].close])
    folder = model.save(tmp_path / "with senses")
    engine = Engine(AnyGenModel.load(folder))
    value = Depth(torch.rand(16, 16).numpy())
    reply = engine.generate([value, Imu(torch.rand(6, 99).numpy(), rate=64), "what?"], seed=0, max_new_tokens=4)
    assert reply.model == "tiny"
    assert equip(engine.model, run, SENSES) is engine.model


def test_dialogues_of_senses_train_stage_3(tmp_path: Path) -> None:
    """Maps and motions reach the language model, which learns to answer and to draw; encoders stay as they are."""
    from anygen.model import AnyGenModel
    from anygen.training.alignment import STAGE_3, AlignmentStage, mixture_for
    from anygen.training.recipe import TRAINED

    model = AnyGenModel.load(tiny_model(tmp_path / "tiny", media=("image", *SENSES), context=1024))
    wanted = {task: 1 for task in mixture_for(STAGE_3, model.reads) if task.startswith(SENSES)}
    assert len(wanted) == 8
    stage = AlignmentStage("stage3", model, wanted, TRAINED["stage3"], length=400, names=0.3, pool=32, rank=2).train()
    batch = stage.prepare(0, 3, 0)
    assert {key.split("/")[0] for key in batch if "/shown/" in key} == set(SENSES)
    losses = stage(batch, torch.Generator())
    assert "names_depth" not in losses and {"text", "condition_image"} <= set(losses)
    sum(loss for name, loss in losses.items() if not name.startswith("_")).backward()
    learnt = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert {"input_projectors.depth.inward.weight", "input_projectors.imu.mlp.0.weight"} <= learnt
    assert not any(name.startswith("encoders.") for name in learnt)
