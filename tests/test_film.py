"""The playground's films: motions are what they say, soundtracks keep time, and the projection gives known bits."""

import hashlib
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from anygen.playground.clip import Clip, sample_clip
from anygen.playground.compositor import Compositor
from anygen.playground.film import (
    CAMERAS,
    FPS,
    FRAMES,
    KINDS,
    Director,
    Film,
    can_get_dark,
    is_heldout,
    sample_film,
    scene_at,
    settle,
    soundtrack,
    suits,
    upright,
)
from anygen.playground.film_dialogue import sample_animated
from anygen.playground.motion import CROSSINGS, MOTIONS, STILL, Actor, pose, poses, seen_by
from anygen.playground.projection import Projection
from anygen.playground.scene import sample_scene
from anygen.playground.sound import CLIP, INDEX, RATE, SOUNDS
from anygen.playground.things import BACKDROPS, SIZES, THINGS

SPLITS = ("train", "heldout")


@pytest.fixture(scope="module")
def projection() -> Projection:
    return Projection()


def alone(motion: str, thing: str = "cat", seed: int | None = None) -> Actor:
    stream = random.Random(seed or 0)
    return Director(stream, settled=seed is None).one(thing, motion, "meadow").actors[0]


# --- motions


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("motion", MOTIONS)
def test_motions_are_what_they_say(motion: str, seed: int | None) -> None:
    way = poses(alone(motion, seed=seed))
    x, y, side = (np.array([getattr(now, name) for now in way]) for name in ("x", "y", "side"))
    dx, dy, ds = (np.diff(values) for values in (x, y, side))
    seen, angles = [now.seen for now in way], [now.angle for now in way]
    assert all(dx > 0) == (motion == "crosses from left to right")
    assert all(dx < 0) == (motion == "crosses from right to left")
    assert all(dy < 0) == (motion in ("rises", "goes away"))
    assert all(dy > 0) == (motion in ("falls", "comes near"))
    assert all(ds > 0) == (motion in ("grows", "comes near"))
    assert all(ds < 0) == (motion in ("shrinks", "goes away"))
    assert (max(angles) > 0) == (motion == "spins")
    assert all(seen) == (motion not in ("appears", "disappears"))
    if motion in CROSSINGS or motion in ("rises", "falls"):
        assert np.ptp(x) + np.ptp(y) >= 0.3
    if motion == "spins":
        assert set(np.diff(angles[:-1])) <= {1, 2} and angles[0] == angles[-1] == 0
        assert not dx.any() and not dy.any()
    if motion == "bounces":
        assert [frame for frame in range(FRAMES) if y[frame] == y.max()] == [0, 4, 8, 12] and np.ptp(y) > 0.3
    if motion == "circles":
        assert np.ptp(x) == pytest.approx(np.ptp(y), abs=0.03) and np.ptp(x) >= 0.25 and (x[0], y[0]) == (x[-1], y[-1])
        assert x[4] > x[0]  # clockwise from the top
    if motion == "shakes":
        assert np.ptp(x) == 2 * 4 / 64 and not dy.any()
    if motion == "appears":
        assert seen == [False] * 8 + [True] * 8
    if motion == "disappears":
        assert seen == [True] * 8 + [False] * 8


@pytest.mark.parametrize("split", SPLITS)
def test_everything_stays_on_the_canvas(split: str) -> None:
    stream = random.Random(1)
    kinds = set()
    for _ in range(400):
        film = sample_film(stream, split=split)
        kinds.add(film.kind)
        assert is_heldout(film) == (split == "heldout")
        assert len(film.actors) == (1 if film.kind == "one" else 2)
        assert sum(actor.motion != STILL for actor in film.actors) == (1 if film.kind in ("one", "beside") else 2)
        assert not film.camera or suits(film, film.camera)
        assert not film.dusk or can_get_dark(film.backdrop)
        for actor in film.actors:
            for now in poses(actor):
                assert now.side / 2 - 0.02 <= min(now.x, now.y) and max(now.x, now.y) <= 1 - now.side / 2 + 0.02
    assert kinds == set(KINDS)


def test_then_is_one_after_the_other() -> None:
    film = Director(random.Random(2)).two("then", ("cat", "rises"), ("dog", "bounces"), "snow")
    first, second = map(poses, film.actors)
    assert len(set(first[8:])) == 1 and len(set(first[:8])) == 8
    assert len(set(second[:9])) == 1 and len(set(second[8:])) > 1
    late = Director(random.Random(2)).two("then", ("cat", "rises"), ("dog", "appears"), "snow").actors[1]
    assert [pose(late, frame).seen for frame in range(FRAMES)] == [False] * 12 + [True] * 4


def test_a_tenth_is_held_out_but_every_motion_and_thing_is_seen_in_training() -> None:
    director = Director(random.Random(3), settled=True)
    table = np.array([[is_heldout(director.one(t.name, m, "sea")) for m in MOTIONS] for t in THINGS])
    assert 0.07 < table.mean() < 0.13 and not table.all(0).any() and not table.all(1).any() and table.any(0).all()
    pairs = [(("cat", "spins"), (item.name, "spins")) for item in THINGS if item.name != "cat"]
    out = [is_heldout(director.two("together", *pair, "sea")) for pair in pairs]
    assert out == [is_heldout(director.two("together", *pair[::-1], "sea")) for pair in pairs]
    assert 0.05 < np.mean(out) < 0.35


def test_a_settled_film_is_the_same_for_all_that_are_told_alike() -> None:
    stream = random.Random(4)
    settled: dict[str, Film] = {}
    for _ in range(600):
        film = sample_film(stream)
        told = (film.kind, [(a.thing, a.motion) for a in film.actors], film.backdrop, film.camera, film.dusk)
        calm = settle(film)
        assert (calm.kind, [(a.thing, a.motion) for a in calm.actors], calm.backdrop, calm.camera, calm.dusk) == told
        assert settle(calm) == calm and settled.setdefault(str(told), calm) == calm
        assert is_heldout(calm) == is_heldout(film)


@pytest.mark.parametrize(("kind", "split", "named"), [("two", "train", "'two'"), ("one", "test", "'test'")])
def test_what_is_no_kind_or_split_names_itself(kind: str, split: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        sample_film(random.Random(0), kind, split)


def test_the_same_stream_gives_the_same_films() -> None:
    one, two = random.Random(19), random.Random(19)
    assert [sample_film(one) for _ in range(100)] == [sample_film(two) for _ in range(100)]


# --- soundtracks


def test_a_soundtrack_keeps_time_with_what_moves() -> None:
    director = Director(random.Random(5), settled=True)

    def onsets(motion: str) -> list[float]:
        clip = soundtrack(director.one("dog", motion, "meadow"))
        assert clip and clip.things == ("dog",)
        return [played.onset / RATE for played in clip.played]

    assert onsets("bounces") == [0, 0.5, 1, 1.5] and onsets("rises") == [0] and onsets("appears") == [1]
    assert soundtrack(director.one("pear", "bounces", "meadow")) is None
    both = soundtrack(director.two("then", ("dog", "spins"), ("cat", "rises"), "meadow"))
    assert both and both.kind == "then" and [p.onset for p in both.played] == [0, RATE]
    turned = soundtrack(director.two("together", ("dog", "appears"), ("cat", "rises"), "meadow"))
    assert turned and turned.kind == "then" and turned.things == ("cat", "dog")
    silent = soundtrack(director.two("then", ("pear", "spins"), ("cat", "appears"), "meadow"))
    assert silent and silent.kind == "once" and silent.played[0].onset == 12 * RATE // FPS
    assert soundtrack(director.two("beside", ("pear", "spins"), ("cat", STILL), "meadow")) is None


def test_soundtracks_lie_in_the_film_and_are_clips_as_others_are() -> None:
    stream = random.Random(6)
    shapes = {(c.kind, len(c.played), c.tempo) for c in (sample_clip(stream) for _ in range(800))}
    found: set[str] = set()
    names = [sound.thing for sound in SOUNDS]
    for _ in range(400):
        kind = stream.choice(KINDS[2:])
        first, second = ((stream.choice(names), stream.choice(MOTIONS)) for _ in range(2))
        film = Director(stream).two(kind, first, second, "sea")
        if stream.random() < 0.5:
            film = Director(stream).one(stream.choice(names), stream.choice(MOTIONS), "sea")
        clip = soundtrack(film)
        assert isinstance(clip, Clip) and (clip.kind, len(clip.played), clip.tempo) in shapes
        assert all(0 <= p.onset and p.onset + p.length <= FRAMES * RATE // FPS < CLIP for p in clip.played)
        assert all(p.length >= 4000 and p.thing in INDEX for p in clip.played)
        found.add(clip.kind)
    assert found == {"once", "times", "then", "together"}


# --- pictures and films


def test_a_film_begins_with_the_picture_that_it_animates(projection: Projection) -> None:
    stream = random.Random(7)
    compositor = Compositor()
    moved: set[str] = set()
    for _ in range(200):
        scene = sample_scene(stream, "one")
        motion = stream.choice(MOTIONS)
        film = Director(stream).animate(scene, motion)
        if film is None:
            continue
        moved.add(motion)
        first = scene_at(film, 0)
        assert first and first.things == scene.things and first.backdrop == scene.backdrop
        assert torch.equal(projection.render([film])[0, 0], compositor.render([scene])[0])
    assert moved == set(MOTIONS) - {"appears"}


def test_key_frames_are_pictures(projection: Projection) -> None:
    stream = random.Random(8)
    compositor, found = Compositor(), 0
    for _ in range(60):
        film = replace(sample_film(stream), dusk=False)
        frame = stream.choice((0, FRAMES - 1))
        scene = scene_at(film, frame)
        if scene:
            found += 1
            apart = projection.render([film])[0, frame].float() - compositor.render([scene])[0].float()
            assert apart.abs().mean() < 2  # a pixel's shift at the edges of a sprite
    assert found > 25


# --- the projection


def test_a_still_film_is_a_picture_and_a_batch_is_its_rows(projection: Projection) -> None:
    stream = random.Random(9)
    films = [sample_film(stream, kind) for kind in KINDS for _ in range(3)]
    batch = projection.render(films)
    assert batch.shape == (12, FRAMES, 3, 64, 64) and batch.dtype == torch.uint8
    for film, row in zip(films, batch, strict=True):
        assert torch.equal(projection.render([film])[0], row)
    layers, grounds = projection.orders(films)
    layers[..., 1] = 0
    bare = projection.draw(layers, grounds)
    for film, row in zip(films, bare, strict=True):
        if film.camera != "zooms out":
            assert torch.equal(row[0], Compositor().backdrop(film.backdrop, film.variant))
        if not film.camera and not film.dusk:
            assert all(torch.equal(row[0], frame) for frame in row)


@pytest.mark.parametrize("camera", CAMERAS)
def test_cameras_move_everything(projection: Projection, camera: str) -> None:
    still = Director(random.Random(10), settled=True).one("horse", "shakes", "city")
    calm, moved = projection.render([still, replace(still, camera=camera)])[:, :, :, :, :].unbind(0)
    if camera.startswith("pans"):
        shift = -16 if camera == "pans right" else 16
        assert torch.equal(calm[0], moved[0])
        last, there = calm[15].roll(shift, -1), slice(16, 64) if shift > 0 else slice(0, 48)
        assert torch.equal(moved[15][..., there], last[..., there])
    else:
        near, plain = (15, 0) if camera == "zooms in" else (0, 15)
        assert torch.equal(moved[plain], calm[plain]) and not torch.equal(moved[near], calm[near])


def test_dusk_darkens_step_by_step(projection: Projection) -> None:
    film = replace(Director(random.Random(11), settled=True).one("cat", "shakes", "meadow"), dusk=True)
    light = projection.render([film])[0].float().mean((1, 2, 3))
    assert all(light.diff() < 0) and light[15] < 0.6 * light[0]
    assert not can_get_dark("night") and can_get_dark("snow") and set(BACKDROPS) > {"night", "space"}


def test_a_turned_thing_comes_round(projection: Projection) -> None:
    """Turned by a half more it is the same upside down, but for how its points fall on pixels."""
    film = Director(random.Random(12), settled=True).one("castle", "spins", "meadow")
    assert [pose(film.actors[0], frame).angle for frame in (1, 8)] == [1, 9]
    one, other = projection.render([film])[0, [1, 8]].float()
    bare = Compositor().backdrop("meadow", 0).float()
    change, about = one - bare, (other - bare)
    assert SIZES[film.actors[0].size] == 0.5 and (film.actors[0].x, film.actors[0].y) == (0.5, 0.5)
    upside = Compositor().backdrop("meadow", 0).float()
    there = (change.abs().sum(0) > 30) & (about.flip(1, 2).abs().sum(0) > 30)
    assert there.sum() > 300
    apart = (one - other.flip(1, 2)).abs().mean(0)[there]
    assert apart.mean() < 12 < (one - upside).abs().mean(0)[there].mean()


def test_in_steps_of_a_cell_things_have_few_looks(projection: Projection) -> None:
    """They stand on whole cells, as large as whole cells, turned by quarters, and nearly where they would be."""
    stepped, stream = Projection(cell=8), random.Random(15)
    films = [sample_film(stream, kind) for kind in KINDS for _ in range(8)]
    films += [Director(stream).one("castle", motion, "sea") for motion in MOTIONS for _ in range(6)]
    (layers, grounds), (real, same) = stepped.orders(films), projection.orders(films)
    assert torch.equal(grounds, same) and torch.equal(layers[..., 1] > 0, real[..., 1] > 0)
    looks = set()
    for film, row in zip(films, layers, strict=True):
        for actor, frames in zip(film.actors, row.unbind(1), strict=False):
            for frame, (_, square, left, top) in enumerate(frames.tolist()):
                now = seen_by(film.camera, frame, pose(actor, frame))
                if not now.seen:
                    assert square == 0
                    continue
                side, around, *corner = stepped.place(stepped._shown(now))
                assert (around, *corner) == (square, left, top) and abs(side - 64 * now.side) <= 6
                assert side % 8 == 0 and all((edge + (square - side) // 2) % 8 == 0 for edge in (left, top))
                assert max(abs(left + square / 2 - 64 * now.x), abs(top + square / 2 - 64 * now.y)) <= 4.5
                looks.add((side, stepped._shown(now).angle))
    assert looks >= {(side, 0) for side in (16, 24, 32, 40, 48)} and {a for _, a in looks} == {0, 4, 8, 12}
    assert stepped.render(films[:2]).shape == (2, FRAMES, 3, 64, 64)
    with pytest.raises(ValueError, match="no thing's side is a multiple of 56 pixels on a canvas of 64"):
        Projection(cell=56)


def test_in_steps_of_a_cell_a_given_first_frame_is_as_it_is(projection: Projection) -> None:
    """Its thing may stand anywhere there, and steps onto the grid from it."""
    stepped, stream = Projection(cell=8), random.Random(16)
    films = [sample_animated(stream)[1] for _ in range(60)]
    (layers, grounds), (real, same) = stepped.orders(films, given=True), projection.orders(films)
    assert torch.equal(layers[:, 0], real[:, 0]) and torch.equal(grounds, same)
    assert torch.equal(layers[:, 1:], stepped.orders(films)[0][:, 1:])
    off = layers[:, 0, 0, 2:] % 8
    assert int(off.any(-1).sum()) > 20


def test_the_bits_are_known(projection: Projection) -> None:
    """Integer maths: the same on every machine. The digest changes with the atlas and the motions only."""
    stream = random.Random(13)
    frames = projection.render([sample_film(stream, kind) for kind in KINDS for _ in range(4)])
    assert hashlib.sha256(frames.numpy().tobytes()).hexdigest()[:16] == "094ca52368c8bbfe"


def test_rendering_leaves_the_random_state_alone(projection: Projection) -> None:
    state = torch.get_rng_state()
    projection.render([sample_film(random.Random(14))])
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="multiple of 64, not 96"):
        Projection(96)


def test_of_two_that_move_together_one_is_always_told_first() -> None:
    stream, orders = random.Random(4), set()
    for _ in range(200):
        film = sample_film(stream, "together")
        told = upright(film)
        assert upright(replace(film, actors=film.actors[::-1])) == told
        assert upright(settle(told)) == settle(told)  # what is made of its caption is told alike
        first, second = told.actors
        crossing = (first.motion in CROSSINGS, second.motion in CROSSINGS)
        assert crossing != (True, False)
        assert first.y < second.y if all(crossing) else any(crossing) or first.x < second.x
        orders.add((crossing, told == film))
    assert len(orders) == 6
    then = sample_film(stream, "then")
    assert upright(then) is then
