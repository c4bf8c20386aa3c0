"""The loop, its checkpoints and the stages: exact resume, frozen parts, full disks, Ctrl-C, settings."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anygen.error import DataError, RequestError
from anygen.model import AnyGenModel
from anygen.playground.arrange import fits, settle
from anygen.playground.caption import caption
from anygen.playground.scene import KINDS, Scene, relation_of, sample_scene
from anygen.playground.things import SIZES, THINGS
from anygen.training import checkpoint
from anygen.training.alignment import STAGE_1, STAGE_2, STAGE_3, AlignmentStage
from anygen.training.checkpoint import read_checkpoint, write_checkpoint
from anygen.training.image_vae import ImageVAEStage, build_vae, psnr
from anygen.training.loop import FitOptions, fit
from anygen.training.recipe import RECIPES, recipe_for
from anygen.training.run import Run


class Line(nn.Module):
    """Learns y = 2 x + 1 from noisy samples; stops as told."""

    name = "line"

    def __init__(self, interrupt: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.interrupt, self.calls = interrupt, 0

    def prepare(self, step: int, size: int, seed: int) -> dict[str, Tensor]:
        return {"x": torch.randn(size, 1, generator=torch.Generator().manual_seed(seed * 1000 + step))}

    def forward(self, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
        self.calls += 1
        if self.interrupt is not None and self.calls > self.interrupt:
            raise KeyboardInterrupt
        noise = 0.1 * torch.randn(batch["x"].shape, generator=rng)
        return {"squared": (self.layer(batch["x"]) - 2 * batch["x"] - 1 + noise).square().mean()}

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        return {"slope": float(self.layer.weight.detach())}


def options(steps: int, **more: object) -> FitOptions:
    values: dict[str, Any] = {
        "batch": 4,
        "rate": 0.05,
        "precision": "no",
        "warmup": 2,
        "log_every": 1,
        "sample_every": 5,
        "save_every": 2,
    }
    return FitOptions(steps=steps, **{**values, **more})


def test_rate_warms_up_and_decays() -> None:
    chosen = options(100, rate=1.0, warmup=10, decay_share=0.5)
    assert chosen.rate_at(0) == pytest.approx(0.1)
    assert chosen.rate_at(30) == 1.0
    assert chosen.rate_at(75) == pytest.approx(0.5)


def test_the_loop_learns_and_logs(tmp_path: Path) -> None:
    stage = Line()
    assert fit(stage, options(200, rate=0.1), tmp_path)
    assert float(stage.layer.weight.detach()) == pytest.approx(2, abs=0.2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[0]["squared"] > 10 * rows[-2]["squared"]
    assert any("slope" in row for row in rows)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_equals_uninterrupted(tmp_path: Path, ema: float, accumulate: int) -> None:
    whole, first, second = Line(), Line(interrupt=5 * accumulate), Line()
    chosen = options(12, ema=ema, accumulate=accumulate)
    fit(whole, chosen, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(first, chosen, tmp_path / "parts")
    found = read_checkpoint(tmp_path / "parts")
    assert found is not None and found[1]["step"] == 5  # Ctrl-C leaves a checkpoint of where it was
    assert fit(second, chosen, tmp_path / "parts")
    assert torch.equal(whole.layer.weight, second.layer.weight)
    assert torch.equal(whole.layer.bias, second.layer.bias)


def test_a_limit_of_minutes_leaves_a_resumable_run(tmp_path: Path) -> None:
    whole, stopped = Line(), Line()
    fit(whole, options(6), tmp_path / "whole")
    assert not fit(stopped, options(6, minutes=1e-9), tmp_path / "parts")
    for _ in range(5):
        stopped = Line()
        fit(stopped, options(6, minutes=1e-9), tmp_path / "parts")
    assert torch.equal(whole.layer.weight, stopped.layer.weight)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, {"a": torch.ones(3)}, {"step": 1})

    def full(*_: object, **__: object) -> None:
        (tmp_path / "checkpoint.tmp").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(DataError, match="No space left on device.*untouched"):
        write_checkpoint(tmp_path, {"a": torch.zeros(3)}, {"step": 2})
    found = read_checkpoint(tmp_path)
    assert found is not None and found[1]["step"] == 1 and torch.equal(found[0]["a"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not tensors")
    with pytest.raises(DataError, match="checkpoint.safetensors is not a checkpoint"):
        fit(Line(), options(2), tmp_path)


def test_a_checkpoint_of_another_width_is_refused(tmp_path: Path) -> None:
    fit(Line(), options(2), tmp_path)
    wider = Line()
    wider.layer = nn.Linear(1, 7)
    with pytest.raises(DataError, match=r"layer.weight is \[1, 1\], the stage has \[7, 1\]"):
        fit(wider, options(4), tmp_path)


# --- the real stages, on the tiny model


@pytest.mark.parametrize(
    ("mixture", "train"),
    [
        (STAGE_1, {"input"}),
        (STAGE_2, {"output", "signals"}),
        (STAGE_3, {"input", "output", "signals", "lora"}),
        (STAGE_3, {"input", "output", "signals", "llm"}),
    ],
    ids=["stage1", "stage2", "stage3", "stage3-whole"],
)
@pytest.mark.parametrize("media", ["tiny", "tiny_sound"])
def test_what_is_frozen_stays_bit_identical(
    media: str, tmp_path: Path, mixture: dict, train: set, request: pytest.FixtureRequest
) -> None:
    model = AnyGenModel.load(request.getfixturevalue(media))
    names, diffusion = 0.1 * ("input" in train), 0.1 * ("output" in train)
    stage = AlignmentStage(
        "stage",
        model,
        mixture,
        train - {"llm"} | ({"lora"} if "llm" in train else set()),
        length=900,
        rank=0 if "llm" in train else 2,
        names=names,
        diffusion=diffusion,
        pool=32,
    )
    generators = [part for modality in model.writes for part in model.generator(modality).modules()]
    frozen = {name: p.detach().clone() for name, p in stage.named_parameters() if not p.requires_grad}
    frozen |= {f"generator.{i}.{n}": t.clone() for i, m in enumerate(generators) for n, t in m.state_dict().items()}
    rows = model.llm.get_input_embeddings().weight.detach().clone()
    before = {name: p.detach().clone() for name, p in stage.named_parameters() if p.requires_grad}
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    fit(stage, FitOptions(steps=3, batch=2, rate=1e-2, warmup=1, precision="no"), tmp_path)
    now = dict(stage.named_parameters())
    now |= {f"generator.{i}.{n}": t for i, m in enumerate(generators) for n, t in m.state_dict().items()}
    for name, tensor in frozen.items():
        assert torch.equal(tensor, now[name]), name
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}
    for part in train:
        mark = {"input": "input_projectors", "output": "output_projectors", "signals": "embed_tokens", "lora": "lora_B"}
        mark |= {"llm": "llm.model.layers"}
        assert any(mark[part] in name for name in changed), part
    if "signals" in train:
        mask = model.signal_parameter_mask(model.writes)
        weight = model.llm.get_input_embeddings().weight
        assert torch.equal(weight[~mask], rows[~mask])
        assert not torch.equal(weight[mask], rows[mask])


def test_vae_stage_lowers_its_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage = ImageVAEStage(build_vae(16, (8, 8), 4), 16)
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    fit(stage, FitOptions(steps=30, batch=4, rate=3e-3, warmup=2, precision="no", log_every=1), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["l1"] for row in rows if "l1" in row]
    assert losses[-1] < 0.85 * losses[0]


def test_psnr_of_a_known_error() -> None:
    a = torch.zeros(2, 3, 4, 4)
    assert psnr(a, a + 0.2) == pytest.approx(20, abs=1e-3)  # an error of 0.1 of the range is 20 dB


def test_a_budget_of_time_ends_the_schedule() -> None:
    options = FitOptions(steps=1000, batch=1, rate=1.0, warmup=1, decay_share=0.5, budget=10)
    assert options.rate_at(10, 0) == options.rate_at(10, 300) == 1.0
    assert options.rate_at(10, 450) == pytest.approx(0.5)
    assert options.rate_at(10, 601) == 0.0
    assert options.rate_at(999, 0) == pytest.approx(0.002)  # the steps end it, too


def test_a_stage_is_done_when_its_budget_is_spent(tmp_path: Path) -> None:
    stage = Line()
    options = FitOptions(steps=10**6, batch=2, rate=1e-3, warmup=1, precision="no", budget=0.01)
    assert fit(stage, options, tmp_path)
    found = read_checkpoint(tmp_path)
    assert found and 0 < found[1]["step"] < 10**6 and found[1]["seconds"] > 0.5
    assert fit(stage, options, tmp_path)  # resumed, it has nothing left to do
    again = read_checkpoint(tmp_path)
    assert again and again[1]["step"] == found[1]["step"]


# --- recipes


def test_settings_change_a_recipe() -> None:
    recipe = recipe_for("nano-night", ["image-vae.steps=7", "side=128", "vae_channels=8,16", "edit_strength=0.5"])
    assert recipe.fits["image-vae"].steps == 7
    assert (recipe.side, recipe.vae_channels, recipe.edit_strength) == (128, (8, 16), 0.5)
    assert RECIPES["nano-night"].side == 64
    assert recipe_for("nano", ["aligned=false"]).aligned is False


def test_from_nothing_a_recipe_trains_everything_and_from_a_start_only_what_is_asked(tmp_path: Path) -> None:
    whole = Run(recipe_for("nano"), tmp_path)
    assert set(whole.steps) == {"tokenizer", "model", *recipe_for("nano").fits}
    begun = Run(recipe_for("nano", ["start=nano"]), tmp_path)
    assert list(begun.steps) == ["stage1", "stage2", "stage3", "model"]
    assert recipe_for("nano", ["media=image,depth"]).media == ("image", "depth")


def test_a_gpu_that_is_there_for_an_hour_is_enough() -> None:
    """By the clock: no step takes more than ten minutes of training, and all together fewer than sixty."""
    budgets = [fit.budget for fit in recipe_for("nano").fits.values()]
    assert all(0 < budget <= 10 for budget in budgets) and sum(budgets) < 60
    assert not any(fit.budget for fit in recipe_for("nano-night").fits.values())  # its numbers depend on no clock


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("giant", "side=64", "no recipe 'giant'; there are nano, nano-night"),
        ("nano", "side", "'side' is not key=value"),
        ("nano", "colour=red", "no setting 'colour'"),
        ("nano", "side=big", "'side' is a int, not 'big'"),
        ("nano", "aligned=perhaps", "'aligned' is a bool, not 'perhaps'"),
        ("nano", "stage9.steps=1", "no step 'stage9'"),
        ("nano", "stage1.steps=0", "at least 1"),
    ],
)
def test_wrong_settings_are_named(name: str, setting: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe_for(name, [setting])


def test_a_step_needs_those_before_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="step 'tokenizer' is not finished"):
        Run(recipe_for("nano-night"), tmp_path).start("llm", resume=True)
    with pytest.raises(RequestError, match="no stage 'stage9'"):
        Run(recipe_for("nano-night"), tmp_path).start("stage9", resume=True)


def test_a_started_step_is_not_overwritten(tmp_path: Path) -> None:
    run = Run(recipe_for("nano-night"), tmp_path)
    write_checkpoint(tmp_path / "llm", {"a": torch.ones(1)}, {"step": 1})
    with pytest.raises(DataError, match="--resume"):
        run.start("llm", resume=False)


# --- the image generator's text encoder learns what things look like


def test_a_name_is_found_at_its_last_token() -> None:
    from anygen.training.image_generator import ImageGeneratorStage
    from anygen.training.image_pipeline import GeneratorSizes
    from anygen.training.image_vae import build_vae
    from anygen.training.tokenizer import train_tokenizer

    torch.manual_seed(0)
    sizes = GeneratorSizes(channels=(16, 16), text_width=16, text_depth=1, heads=2)
    stage = ImageGeneratorStage(build_vae(32, (8, 8), 4), train_tokenizer(700), 32, sizes)
    texts = ["a hot dog left of a puppy, snow", "", "two mice, meadow"]
    ids, ends = stage.tokens(texts)
    rows = stage.named(texts, ends).tolist()
    assert [(row, THINGS[thing].name) for row, _, thing, _ in rows] == [(0, "hot dog"), (0, "dog"), (2, "mouse")]
    said = [stage.tokenizer.decode(ids[row][: token + 1]).strip() for row, token, _, _ in rows]
    assert said == ["a hot dog", "a hot dog left of a puppy", "two mice"]
    batch = stage.prepare(0, 8, 0)
    losses = stage(batch, torch.Generator().manual_seed(0))
    assert set(losses) == {"looks", "where", "flow"}
    (losses["looks"] + losses["where"]).backward()
    assert stage.text_encoder.get_input_embeddings().weight.grad.abs().sum() > 0
    stage.sketch_steps = 1
    assert set(stage(batch, torch.Generator().manual_seed(0))) == {"looks", "where"}
    assert set(stage(batch | {"step": torch.tensor(1)}, torch.Generator())) == {"looks", "where", "flow"}


def test_a_settled_scene_stands_where_its_caption_alone_says() -> None:
    stream = random.Random(4)
    settled: dict[str, Scene] = {}
    for kind in KINDS * 300:
        scene = sample_scene(stream, kind, grid=stream.choice((None, 8)))
        calm = settle(scene)
        assert caption(calm) == caption(scene) and settle(calm) == calm
        assert settled.setdefault(caption(calm), calm) == calm  # before the same backdrop of those of one name, too
        for placed in calm.things:
            assert fits(placed) and ((placed.x - SIZES[placed.size] / 2) * 8).is_integer()
        if scene.relation:
            assert relation_of(*calm.things) == scene.relation


def test_a_share_of_the_generators_scenes_is_settled() -> None:
    from anygen.training.image_generator import ImageGeneratorStage
    from anygen.training.image_pipeline import GeneratorSizes
    from anygen.training.tokenizer import train_tokenizer

    sizes = GeneratorSizes(channels=(16, 16), text_width=16, text_depth=1, heads=2)
    stage = ImageGeneratorStage(build_vae(16, (8, 8), 4), train_tokenizer(700), 16, sizes, looks=0, settled=0.7)
    scenes = [stage.scene(random.Random(seed)) for seed in range(300)]
    assert 0.6 < sum(settle(scene) == scene for scene in scenes) / len(scenes) < 0.85


def test_things_on_a_grid_cover_whole_cells() -> None:
    stream = random.Random(3)
    for kind in KINDS * 20:
        scene = sample_scene(stream, kind, grid=8)
        for placed in scene.things:
            for centre in (placed.x, placed.y):
                assert ((centre - SIZES[placed.size] / 2) * 8).is_integer()
        if scene.relation:
            assert relation_of(*scene.things) == scene.relation
