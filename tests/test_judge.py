"""The judge on renders, clean and spoilt, and on what it must refuse."""

import random
from dataclasses import replace

import pytest
import torch

from anygen.error import RequestError
from anygen.evaluation.judge import Judge, Seen, Verdict, shows
from anygen.evaluation.judging import SPOILT, accuracy, spoil
from anygen.playground.compositor import Compositor
from anygen.playground.scene import KINDS, Placed, Scene, sample_scene
from anygen.playground.things import BACKDROPS


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def compositor() -> Compositor:
    return Compositor(64)


def scenes_of(kind: str, n: int) -> list[Scene]:
    stream = random.Random(f"test|{kind}")
    return [sample_scene(stream, kind, "heldout") for _ in range(n)]


@pytest.mark.parametrize("kind", KINDS)
def test_clean_renders_are_read(judge: Judge, compositor: Compositor, kind: str) -> None:
    scenes = scenes_of(kind, 40)
    verdicts = judge.look(compositor.render(scenes))
    assert sum(shows(v, s)["all"] for v, s in zip(verdicts, scenes, strict=True)) >= 39


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_renders_are_read(judge: Judge, compositor: Compositor, name: str) -> None:
    scenes = scenes_of("one", 12) + scenes_of("pair", 12)
    verdicts = judge.look(spoil(compositor.render(scenes), name, random.Random(0)))
    assert sum(shows(v, s)["all"] for v, s in zip(verdicts, scenes, strict=True)) >= 22


def test_things_stand_where_they_were_put(judge: Judge, compositor: Compositor) -> None:
    scenes = scenes_of("one", 20)
    for verdict, scene in zip(judge.look(compositor.render(scenes)), scenes, strict=True):
        (seen,), (placed,) = verdict.things, scene.things
        assert (seen.thing, seen.size) == (placed.thing, placed.size)
        assert abs(seen.x - placed.x) < 1 / 64 and abs(seen.y - placed.y) < 1 / 64


def test_bare_backdrops_hold_nothing(judge: Judge, compositor: Compositor) -> None:
    bare = torch.stack([compositor.backdrop(name, variant) for name in BACKDROPS for variant in (0, 7)])
    for verdict, name in zip(judge.look(bare), [name for name in BACKDROPS for _ in range(2)], strict=True):
        assert verdict.things == () and verdict.backdrop == name


def test_what_is_no_scene_is_refused(judge: Judge) -> None:
    noise = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    flat = torch.tensor([255, 0, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    for verdict in judge.look(torch.cat([noise, flat])):
        assert verdict.things == () and verdict.backdrop is None


def test_another_scene_is_refused(judge: Judge, compositor: Compositor) -> None:
    for kind in KINDS:
        scenes = scenes_of(kind, 12)
        verdicts = judge.look(compositor.render(scenes))
        assert not any(shows(v, s)["all"] for v, s in zip(verdicts, scenes[1:] + scenes[:1], strict=True))


@pytest.mark.parametrize("change", ["thing", "backdrop", "size", "place"])
def test_one_wrong_fact_is_seen(judge: Judge, compositor: Compositor, change: str) -> None:
    scene = Scene(kind="one", things=(Placed(thing="cat", size="medium", x=0.3, y=0.7),), backdrop="sea")
    placed = scene.things[0]
    wrong = {
        "thing": replace(scene, things=(replace(placed, thing="dog"),)),
        "backdrop": replace(scene, backdrop="desert"),
        "size": replace(scene, things=(replace(placed, size="large"),)),
        "place": replace(scene, things=(replace(placed, x=0.7),)),
    }[change]
    facts = shows(judge.look(compositor.render([scene]))[0], wrong)
    fact = {"thing": "things_right"}.get(change, f"{change}_right")
    assert not facts[fact] and not facts["all"]


def test_a_batch_is_read_as_single_pictures_are(judge: Judge, compositor: Compositor) -> None:
    images = compositor.render([scene for kind in KINDS for scene in scenes_of(kind, 3)])
    together, alone = judge.look(images), [judge.look(image[None])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert [(s.thing, s.size, s.x, s.y) for s in a.things] == [(s.thing, s.size, s.x, s.y) for s in b.things]
        assert a.backdrop == b.backdrop


def test_other_sizes_are_scaled(judge: Judge) -> None:
    scenes = scenes_of("pair", 6)
    verdicts = judge.look(Compositor(128).render(scenes))
    assert sum(shows(v, s)["all"] for v, s in zip(verdicts, scenes, strict=True)) >= 5


def test_shows_counts_and_orders() -> None:
    def seen(thing: str, x: float, y: float = 0.5) -> Seen:
        return Seen(thing=thing, size="small", x=x, y=y, score=1.0)

    def verdict(*things: Seen) -> Verdict:
        return Verdict(things=things, backdrop="sea", backdrop_score=1.0)

    def placed(thing: str, x: float) -> Placed:
        return Placed(thing=thing, size="small", x=x, y=0.5)

    two = Scene(kind="count", things=(placed("cat", 0.2), placed("cat", 0.8)), backdrop="sea")
    assert shows(verdict(seen("cat", 0.4), seen("cat", 0.6)), two)["all"]
    facts = shows(verdict(seen("cat", 0.5)), two)
    assert facts["things_right"] and not facts["count_right"] and not facts["all"]
    pair = Scene(kind="pair", things=(placed("cat", 0.2), placed("dog", 0.8)), backdrop="sea", relation="left of")
    assert shows(verdict(seen("dog", 0.9), seen("cat", 0.1)), pair)["all"]
    assert not shows(verdict(seen("dog", 0.1), seen("cat", 0.9)), pair)["relation_right"]
    three = Scene(kind="three", things=(placed("cat", 0.2), placed("dog", 0.5), placed("car", 0.8)), backdrop="sea")
    assert shows(verdict(seen("car", 0.9), seen("cat", 0.1), seen("dog", 0.4)), three)["all"]
    assert not shows(verdict(seen("car", 0.1), seen("cat", 0.9), seen("dog", 0.4)), three)["relation_right"]


def test_accuracy_is_a_share() -> None:
    figures = accuracy(8, seed=3)
    assert figures["n"] == 8 and figures["low"] <= figures["accuracy"] <= figures["high"]


def test_wrong_shapes_are_named(judge: Judge) -> None:
    with pytest.raises(RequestError, match=r"torch.float32 \(2, 3, 64, 64\)"):
        judge.look(torch.zeros(2, 3, 64, 64))
