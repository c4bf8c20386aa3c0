"""Adapters of the image encoder: what stands in front of another thing is learnt, all that reads its blocks stays."""

import random
from pathlib import Path

import pytest
import torch

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.error import RequestError
from anygen.model import AnyGenModel
from anygen.playground.compositor import Compositor
from anygen.playground.scene import in_split
from anygen.testing import tiny_model
from anygen.training.image_vae import to_pixels
from anygen.training.overlap import OVER, OverlapStage, adapted, overlapped, sometimes_overlapped
from anygen.training.recipe import recipe_for
from anygen.training.run import Run

SHORT = ("steps=3", "batch=8", "ema=0", "sample_every=3", "precision=no", "rate=1e-2", "warmup=1")


def stage_of(folder: Path, bottleneck: int = 8) -> OverlapStage:
    model = AnyGenModel.load(folder)
    table = model.llm.get_input_embeddings().weight
    sees, projector = model.encoders["image"], model.input_projectors["image"]
    return OverlapStage(sees, projector, model.tokenizer, table, bottleneck=bottleneck)


def disturb(encoder: ImageEncoder) -> None:
    for name, weight in encoder.adapters.named_parameters():
        if name.endswith("up.weight"):
            torch.nn.init.normal_(weight)


def test_adapters_begin_as_nothing_and_are_of_patches_alone() -> None:
    plain = ImageEncoder(TowerConfig(width=16, depth=2, heads=2, joint=8)).eval()
    wider = adapted(plain, 4).eval()
    assert wider.config.bottleneck == 4 and len(wider.adapters) == 2
    assert adapted(wider, 9) is wider
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    assert torch.equal(wider(pixels), plain(pixels))
    disturb(wider)
    assert not torch.allclose(wider(pixels), plain(pixels), atol=1e-2)
    assert torch.equal(wider.embed(pixels), plain.embed(pixels))
    assert torch.equal(wider.states(pixels), plain.states(pixels))


def test_an_adapted_encoder_is_opened_as_it_was_saved(tmp_path: Path) -> None:
    wider = adapted(ImageEncoder(TowerConfig(width=16, depth=2, heads=2, joint=8)), 4).eval()
    disturb(wider)
    wider.save_pretrained(tmp_path)
    again = ImageEncoder.from_pretrained(tmp_path)
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    assert again.config == wider.config and torch.equal(again(pixels), wider(pixels))


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_overlapped_scenes_are_of_their_split(split: str) -> None:
    stream = random.Random(3)
    scenes = [overlapped(stream, split) for _ in range(20)]
    assert all(scene.relation == OVER and in_split(scene, split) for scene in scenes)


def test_a_share_of_what_is_learnt_from_overlaps(tmp_path: Path) -> None:
    stage = stage_of(tiny_model(tmp_path, media=("image",)))
    over = torch.cat([stage.prepare(step, 50, 0)["over"] for step in range(8)]).float().mean()
    assert 0.33 < over < 0.53  # four tenths, and one of twenty of the rest
    batch = stage.prepare(0, 6, 0)
    assert batch["told"].shape == (6, stage.projector.tokens)
    assert torch.equal(batch["told"], stage.prepare(0, 6, 0)["told"])


def test_only_adapters_learn_and_the_loss_falls(tmp_path: Path) -> None:
    stage = stage_of(tiny_model(tmp_path, media=("image",)), bottleneck=32)
    learning = [name for name, p in stage.named_parameters() if p.requires_grad]
    assert learning and all(name.startswith("encoder.adapters.") for name in learning)
    batch, optimizer = stage.prepare(0, 8, 0), torch.optim.Adam(stage.encoder.adapters.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        found = stage(batch, torch.Generator())
        losses.append(found["token_image"].item())
        optimizer.zero_grad()
        (found["token_image"] + found["distance_image"]).backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_pictures_learn_on_and_what_reads_their_blocks_stays(tmp_path: Path) -> None:
    start = tiny_model(tmp_path / "start", media=("image", "video", "depth"))
    settings = [f"start={start}", "media=image,video,depth", "onward=image-encoder", "bottleneck=8"]
    recipe = recipe_for("nano-night", [*settings, *(f"image-encoder.{what}" for what in SHORT)])
    run = Run(recipe, tmp_path / "run")
    assert list(run.steps)[0] == "image-encoder"
    assert run.start("image-encoder", False) and run.start("model", False)
    before, after = AnyGenModel.load(start), AnyGenModel.load(tmp_path / "run" / "model" / "nano-night")
    old, new = before.state_dict(), after.state_dict()
    fresh = new.keys() - old.keys()
    assert fresh and all(".adapters." in name for name in fresh)
    assert all(torch.equal(old[name].half().float(), new[name].float()) for name in old)
    assert after.encoders["depth"].image is after.encoders["image"] is after.encoders["video"].image
    stream = random.Random(1)
    scenes = [overlapped(stream) for _ in range(4)]
    side = after.encoders["image"].config.side
    pixels = to_pixels(Compositor(side).render(scenes))
    with torch.no_grad():
        seen = [model.encoders["image"].float()(pixels) for model in (before, after)]
        maps = [model.encoders["depth"].float()(pixels[:, :1]) for model in (before, after)]
    assert (seen[0] - seen[1]).abs().max() > 0.05
    torch.testing.assert_close(maps[0], maps[1], atol=0.02, rtol=0)  # half precision
    samples = (tmp_path / "run" / "image-encoder" / "samples").glob("*.txt")
    assert [line.split()[0] for file in samples for line in file.read_text().splitlines()] == ["told", "told_over"]


def test_a_model_without_pictures_of_its_own_cannot_learn_to_see(tmp_path: Path) -> None:
    start = tiny_model(tmp_path / "start", media=("audio",))
    run = Run(recipe_for("nano-night", [f"start={start}", "media=audio", "onward=image-encoder"]), tmp_path / "run")
    with pytest.raises(RequestError, match="has no image encoder of this package's own"):
        run.start("image-encoder", False)


def test_senses_see_as_many_as_they_are_told_to() -> None:
    stream = random.Random(5)
    assert all(sometimes_overlapped(stream, 1.0).relation == OVER for _ in range(10))
    some = sum(sometimes_overlapped(stream, 0.0).relation == OVER for _ in range(200))
    assert 2 <= some <= 22
