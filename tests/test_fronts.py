"""Which of two things is in front: scenes of it, what each patch shows, and the image encoder that is told both."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.text import TextEncoder
from anygen.playground.compositor import Compositor
from anygen.playground.scene import Placed, Scene, in_split, sample_scene
from anygen.playground.things import INDEX
from anygen.projectors.input import ResamplerConfig, ResamplerProjector
from anygen.training.image_encoder import ImageEncoderStage
from anygen.training.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(600, iter(["a small dog left of a large cat, sea"] * 20))
CONFIG = TowerConfig(width=16, depth=1, heads=2, joint=8, side=32, patch=8, stem="patch")
TEXT = TowerConfig(width=16, depth=1, heads=2, joint=8, vocabulary=len(TOKENIZER), length=32)


def stage(fronts: float = 0.5, **more: Any) -> ImageEncoderStage:
    torch.manual_seed(0)
    sizes = ResamplerConfig(tokens_in=16, width_in=16, width_out=24, queries=16, width=16, heads=2, slots=True)
    table = torch.randn(len(TOKENIZER), 24)
    projector = ResamplerProjector(sizes)
    return ImageEncoderStage(CONFIG, TOKENIZER, projector=projector, table=table, fronts=fronts, **more)


def pair(front: tuple[float, float], behind: tuple[float, float]) -> Scene:
    things = (
        Placed(thing="panda", size="medium", x=front[0], y=front[1]),
        Placed(thing="bread", size="large", x=behind[0], y=behind[1]),
    )
    return Scene(kind="pair", things=things, backdrop="sea", relation="in front of")


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_pair_is_drawn_in_the_relation_that_is_asked_for(split: str) -> None:
    for seed in range(20):
        scene = sample_scene(random.Random(seed), split=split, relation="in front of")
        assert scene.kind == "pair" and scene.relation == "in front of" and in_split(scene, split)


def test_a_cell_shows_what_covers_it_last() -> None:
    compositor = Compositor(64)
    scene = pair((0.5, 0.5), (0.6, 0.6))
    layers, _ = compositor.orders([scene])
    both = compositor.seen(layers, 8)[0].view(8, 8)
    (alone,) = compositor.seen(layers[:1], 8).view(-1, 8, 8)  # the one behind, without the one in front
    assert set(both.unique().tolist()) == {-1, 0, 1} and set(alone.unique().tolist()) == {-1, 0}
    assert both[4, 4] == 1 and alone[4, 4] == 0  # the middle of both shows the panda
    assert torch.equal(both == -1, (alone == -1) & (both != 1))  # what is seen of either is not the backdrop
    assert int((both == 0).sum()) < int((alone == 0).sum())
    assert compositor.things([scene])[0, :2].tolist() == [INDEX["bread"], INDEX["panda"]]


def test_patches_learn_whose_they_are_and_who_is_in_front(tmp_path: Path) -> None:
    learner = stage(fronts=0.5)
    batch = learner.prepare(0, 16, 0)
    assert 0 < int(batch["front"].sum()) < 16
    optimizer = torch.optim.AdamW(learner.parameters(), lr=5e-3)
    seen = []
    for _ in range(25):
        losses = learner(batch, torch.Generator())
        (losses["patch"] + losses["stands"]).backward()
        assert learner.encoder.class_token.grad is not None  # it is the encoder that learns it
        optimizer.step()
        optimizer.zero_grad()
        seen.append([float(losses[name].detach()) for name in ("patch", "stands", "_stands_right")])
    assert seen[-1][0] < 0.9 * seen[0][0] and seen[-1][1] < 0.9 * seen[0][1]
    assert 0 <= learner.sample(tmp_path, 1)["told_in_front"] <= 1
    plain = stage(fronts=0.0)
    assert "stands" not in plain(plain.prepare(0, 8, 0), torch.Generator()) and plain.stands is None


def test_the_two_in_a_pair_are_told_apart_by_who_is_drawn_last() -> None:
    """Perfect patches: what says of layer 1 'in front', of layer 0 'behind', is right everywhere."""
    learner = stage(fronts=1.0)
    batch = learner.prepare(0, 8, 0)
    assert learner.stands is not None and bool(batch["front"].all())
    layer = learner.compositor.seen(batch["layers"], 4)
    with torch.no_grad():
        learner.stands.weight.zero_()
        learner.stands.bias.zero_()
        learner.stands.weight[1, 0], learner.stands.weight[2, 1] = 9.0, 9.0
    patches = torch.zeros(8, 16, 16)
    patches[..., 0], patches[..., 1] = (layer == 1).float(), (layer == 0).float()
    names = torch.nn.functional.normalize(torch.randn(129, 8), dim=-1)
    assert float(learner._apart(batch, patches, names)["_stands_right"]) == 1
    swapped = torch.stack([patches[..., 1], patches[..., 0]], -1)
    assert float(learner._apart(batch, torch.nn.functional.pad(swapped, (0, 14)), names)["_stands_right"]) == 0


def test_an_encoder_that_learns_on_begins_where_it_was_and_texts_rest() -> None:
    torch.manual_seed(1)
    before, text = ImageEncoder(CONFIG), TextEncoder(TEXT)
    learner = stage(fronts=0.5, before=(before, text)).train()
    batch = learner.prepare(0, 8, 0)
    losses = learner(batch, torch.Generator())
    assert float(losses["near"].detach()) < 1e-6 and not text.training and not before.training
    sum(losses[name] for name in ("caption", "patch", "near")).backward()
    assert all(weight.grad is None for part in (text, before) for weight in part.parameters())
    with torch.no_grad():
        learner.encoder.trunk.norm.weight.mul_(0.5)
    assert float(learner(batch, torch.Generator())["near"].detach()) > 0.1
    all_in_front = batch | {"front": torch.ones(8, dtype=torch.bool)}
    assert float(learner(all_in_front, torch.Generator())["near"].detach()) == 0  # there it may change
