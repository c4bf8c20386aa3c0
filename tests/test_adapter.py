"""Pictures that are edited: the adapter that sees them, what it learns from, and the pipeline that carries it."""

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anygen.error import ModelError, RequestError
from anygen.generators.image import ImageGenerator
from anygen.media import Image
from anygen.meta import networks
from anygen.playground.arrange import on_cells
from anygen.playground.scene import Placed, place_of, relation_of, sample_scene
from anygen.playground.things import SIZES
from anygen.training.image_generator import ImageGeneratorStage, pictures_of
from anygen.training.image_pipeline import GeneratorSizes
from anygen.training.image_vae import build_vae
from anygen.training.tokenizer import train_tokenizer

SIZES_OF = GeneratorSizes(channels=(16, 16), text_width=16, text_depth=1, heads=2)


@pytest.fixture(scope="module")
def stage() -> ImageGeneratorStage:
    torch.manual_seed(0)
    return ImageGeneratorStage(build_vae(16, (8, 8), 4), train_tokenizer(700), 16, SIZES_OF, looks=0, edits=0.5)


@pytest.fixture(scope="module")
def generator(stage: ImageGeneratorStage, tmp_path_factory: pytest.TempPathFactory) -> ImageGenerator:
    folder = tmp_path_factory.mktemp("adapted")
    ImageGenerator(copy.deepcopy(stage).pipeline()).save_pretrained(folder)
    return ImageGenerator.from_pretrained(folder)


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    rng = np.random.default_rng(0)
    return [Image(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(2)]


def test_without_a_picture_the_adapter_has_no_say(generator: ImageGenerator) -> None:
    from diffusers import StableDiffusionPipeline

    assert type(generator.pipeline).__name__ == "StableDiffusionAdapterPipeline"
    parts = {name: part for name, part in generator.pipeline.components.items() if name != "adapter"}
    plain = ImageGenerator(StableDiffusionPipeline(**parts, image_encoder=None, requires_safety_checker=False))
    condition = generator.condition(["a cat", "a dog"])
    assert generator.generate(condition, [1, 2], steps=3) == plain.generate(condition, [1, 2], steps=3)


def test_an_edit_depends_on_the_picture_by_its_strength(generator: ImageGenerator, pictures: list[Image]) -> None:
    condition = generator.condition(["a cat"])
    plain = generator.generate(condition, [0], steps=3)[0].pixels.astype(int)

    def edit(picture: Image, strength: float) -> Any:
        return generator.generate(condition, [0], steps=3, source=picture, strength=strength)[0].pixels.astype(int)

    whole, other, faint = edit(pictures[0], 1.0), edit(pictures[1], 1.0), edit(pictures[0], 1e-3)
    assert (whole != other).any() and np.abs(whole - plain).mean() > 4 * np.abs(faint - plain).mean()
    assert (generator.generate(condition, [0], steps=3)[0].pixels == plain).all()  # nothing is left behind
    assert (generator.generate(condition, [0], steps=3, source=pictures[0])[0].pixels == plain).all()


def test_a_row_of_edits_is_the_single_edit_and_steps_are_reported(
    generator: ImageGenerator, pictures: list[Image]
) -> None:
    condition = generator.condition(["a cat", "a red car"])
    both = generator.generate(condition, [3, 4], steps=4, source=pictures[0], strength=1.0)
    seen: list[Any] = []
    (single,) = generator.generate(
        condition[1:],
        [4],
        steps=4,
        source=pictures[0],
        strength=1.0,
        on_step=lambda step, steps, preview: seen.append((step, steps, preview())),
    )
    assert np.abs(single.pixels.astype(int) - both[1].pixels).max() <= 1
    assert [step[:2] for step in seen] == [(k, 4) for k in range(1, 5)]
    assert np.abs(single.pixels.astype(int) - seen[-1][2][0].pixels).max() <= 1


def test_plain_diffusers_opens_the_folder_and_draws_from_a_prompt(
    generator: ImageGenerator, pictures: list[Image], tmp_path: Path
) -> None:
    from diffusers import DiffusionPipeline, T2IAdapter

    generator.save_pretrained(tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    rng = torch.Generator().manual_seed(5)
    made = pipeline("a cat", height=16, width=16, num_inference_steps=2, guidance_scale=2.0, generator=rng).images[0]
    (wanted,) = generator.generate(generator.condition(["a cat"]), [5], steps=2, guidance=2.0)
    assert np.abs(np.asarray(made).astype(int) - wanted.pixels).max() <= 1
    beside = T2IAdapter.from_pretrained(tmp_path / "adapter").state_dict()
    assert all(torch.equal(beside[key], value) for key, value in generator.pipeline.adapter.state_dict().items())
    again, condition = ImageGenerator.from_pretrained(tmp_path), generator.condition(["a cat"])
    edits = [g.generate(condition, [0], steps=2, source=pictures[0], strength=1.0) for g in (generator, again)]
    assert edits[0] == edits[1]
    (tmp_path / "adapter" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="adapter"):
        ImageGenerator.from_pretrained(tmp_path)


def test_a_folder_of_diffusers_own_pipeline_with_an_adapter_opens(
    stage: ImageGeneratorStage, generator: ImageGenerator, tmp_path: Path
) -> None:
    stage.pipeline().save_pretrained(tmp_path)
    opened = ImageGenerator.from_pretrained(tmp_path)
    condition = generator.condition(["a cat"])
    assert opened.generate(condition, [1], steps=2) == generator.generate(condition, [1], steps=2)
    assert networks(tmp_path).keys() == {"vae", "unet", "text_encoder", "adapter"}
    generator.save_pretrained(tmp_path / "beside")
    assert networks(tmp_path / "beside").keys() == {"vae", "unet", "text_encoder", "adapter"}
    assert not any("_name_or_path" in path.read_text() for path in (tmp_path / "beside").rglob("*.json"))


def test_a_generator_keeps_the_adapter_that_it_has(stage: ImageGeneratorStage) -> None:
    pipeline = copy.deepcopy(stage).pipeline()
    kept = pictures_of(pipeline, focus=1.0, settled=0.5, edits=0.5, adapter="full_adapter")
    assert kept.adapter is pipeline.adapter and kept.who is not None and kept.who.weight.requires_grad
    with pytest.raises(RequestError, match="adapter=light_adapter: this generator has a full_adapter, which learns on"):
        pictures_of(pipeline, focus=1.0, settled=0.5, edits=0.5, adapter="light_adapter")


def test_the_adapter_learns_from_edits_alone(stage: ImageGeneratorStage) -> None:
    batch = stage.prepare(0, 32, 0)
    given = batch["given"]
    assert 0 < given.sum() < len(given) == 16
    features = stage.features(batch, stage.seen(batch))
    assert features is not None and [level.shape[1:] for level in features] == [(16, 8, 8), (16, 4, 4)]
    there = features[0].abs().sum((1, 2, 3)) > 0
    assert there.tolist() == given.tolist() * 2  # at both noise levels, and nothing where no picture is
    stage(batch, torch.Generator().manual_seed(0))["flow"].backward()
    assert stage.adapter is not None
    assert stage.adapter.adapter.conv_in.weight.grad.abs().sum() > 0
    stage.zero_grad()
    stage(batch | {"given": torch.zeros_like(given)}, torch.Generator().manual_seed(0))["flow"].backward()
    assert stage.adapter.adapter.conv_in.weight.grad.abs().sum() == 0
    stage.zero_grad()


def test_where_a_thing_was_counts_as_much_as_where_one_is(
    stage: ImageGeneratorStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is taken away leaves a blot, which is a small share of a picture."""
    batch = stage.prepare(1, 64, 0)
    now, before = (stage.compositor.cover(batch[name], stage.cells).any(1) for name in ("layers", "source_layers"))
    given, under = batch["given"], stage.under(batch)
    assert torch.equal(under[given], (now | before)[given]) and torch.equal(under[~given], now[~given])
    assert (before & ~now)[given].any()
    monkeypatch.setattr(stage, "focus", 5.0)
    weight = stage.weight(under, torch.zeros(len(under), 4, stage.cells, stage.cells)).unflatten(0, (2, -1))
    assert torch.equal(weight[0], weight[1]) and abs(float(weight.mean()) - 1) < 1e-6
    light, heavy = weight[0].flatten(1)[~under].unique(), weight[0].flatten(1)[under].unique()
    assert torch.allclose(heavy, 5 * light)


def test_edits_are_samples_of_the_playground(stage: ImageGeneratorStage, tmp_path: Path) -> None:
    pairs = [stage.edited(random.Random(seed)) for seed in range(300)]
    sources = [source for source, _ in pairs if source]
    assert 0.4 < len(sources) / len(pairs) < 0.6
    shared = [
        bool({p.thing for p in source.things} & {p.thing for p in target.things})
        for source, target in pairs
        if source is not None
    ]
    assert 0.5 < sum(shared) / len(shared) < 0.97  # some are replaced, and some have nothing to do with each other
    plain = ImageGeneratorStage(build_vae(16, (8, 8), 4), train_tokenizer(700), 16, SIZES_OF, looks=0)
    assert plain.adapter is None and "given" not in plain.prepare(0, 8, 0)
    batch = plain.prepare(0, 8, 0)
    assert plain.seen(batch) is None and plain.features(batch, None) is None and plain.who is None
    assert set(plain(batch, torch.Generator().manual_seed(0))) == {"flow"}


def test_what_an_edit_leaves_stays_to_the_pixel(stage: ImageGeneratorStage) -> None:
    stays = comes = 0
    for seed in range(300):
        source, target = stage.edited(random.Random(seed))
        if source is None or target.relation:  # where cells would change a relation, all is as it is
            continue
        for placed in target.things:
            if placed in source.things:
                stays += any(corner % 1 > 1e-6 for corner in corners(placed))
            elif placed.thing in {p.thing for p in source.things}:  # not another picture's
                comes += 1
                assert all(abs(corner - round(corner)) < 1e-9 for corner in corners(placed))
    assert stays > 20 and comes > 10


def corners(placed: Placed) -> list[float]:
    return [8 * (middle - SIZES[placed.size] / 2) for middle in (placed.x, placed.y)]


def test_scenes_move_to_the_nearest_cells() -> None:
    stream = random.Random(0)
    for _ in range(200):
        scene = sample_scene(stream)
        moved = on_cells(scene)
        for before, after in zip(scene.things, moved.things, strict=True):
            assert max(abs(before.x - after.x), abs(before.y - after.y)) <= 1 / 16 + 1e-9
            corner = 8 * (after.x - SIZES[after.size] / 2)
            assert moved == scene or abs(corner - round(corner)) < 1e-9
        if scene.relation:
            assert relation_of(*moved.things) == scene.relation
    assert place_of(0.5, 0.5) == "middle"
