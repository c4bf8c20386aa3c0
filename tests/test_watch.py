"""The watcher on films, clean and spoilt, on what it must refuse, and the cells that it judges."""

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from anygen.error import RequestError
from anygen.evaluation import film_cells, suites
from anygen.evaluation.case import Case, Result, contact_sheet, keep
from anygen.evaluation.cells import World
from anygen.evaluation.track import HALVES, WHOLE, Track, explain, fit
from anygen.evaluation.viewing import spoil
from anygen.evaluation.watch import Watcher, shows_film
from anygen.media import Audio, Image, Text, Video
from anygen.playground.film import Director, sample_film
from anygen.playground.motion import FRAMES, MOTIONS, STILL, Actor, poses
from anygen.reply import Part, Reply


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def watcher(world: World) -> Watcher:
    return world.watcher


# --- motions from tracks


def track_of(actor: Actor, shift: float = 0.0, seed: int = 0) -> Track:
    rng = np.random.default_rng(seed)
    way = poses(actor)
    x, y, side = (np.array([getattr(now, name) for now in way]) for name in ("x", "y", "side"))
    x, y, side = (values + rng.normal(0, shift, FRAMES) for values in (x, y, side))
    gain = {slot: 20.0 if actor.motion == "spins" and slot == (actor.begin, actor.end) else -9.0
            for slot in (WHOLE, *HALVES)}  # fmt: skip
    at = {slot: np.stack([x, y, side], 1) for slot in gain}
    return Track(x=x, y=y, side=side, seen=np.array([now.seen for now in way]), turned=gain, turned_at=at)


@pytest.mark.parametrize("shift", [0.0, 0.4 / 64])
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_track_tells_its_motion(motion: str, shift: float) -> None:
    for seed in range(6):
        (actor,) = Director(random.Random(seed)).one("cat", motion, "sea").actors
        kind, fits = explain([track_of(actor, shift, seed)])
        assert (kind, [f.motion for f in fits]) == ("one", [motion])


@pytest.mark.parametrize("kind", ["beside", "together", "then"])
def test_two_tracks_tell_who_moves_when(kind: str) -> None:
    stream = random.Random(1)
    for seed in range(40):
        film = sample_film(stream, kind)
        told, fits = explain([track_of(actor, 0.2 / 64, seed) for actor in film.actors[::-1]])
        assert told == kind and [f.motion for f in fits[::-1]] == [actor.motion for actor in film.actors]


def test_the_opposite_does_not_fit() -> None:
    (actor,) = Director(random.Random(2)).one("cat", "rises", "sea").actors
    track = track_of(actor)
    assert fit(track, "rises", WHOLE).cost < 3 and not np.isfinite(fit(track, "falls", WHOLE).cost)
    assert fit(track, STILL, WHOLE).cost > 50


# --- films


@pytest.mark.parametrize("kind", ["one", "then"])
def test_clean_films_are_seen(watcher: Watcher, kind: str) -> None:
    stream = random.Random(f"test|{kind}")
    films = [sample_film(stream, kind, "heldout") for _ in range(2)]
    watched = watcher.watch(watcher.projection.render(films))
    for seen, film in zip(watched, films, strict=True):
        assert all(shows_film(seen, film).values()), (seen, film)


def test_cameras_dusk_and_sizes_are_seen(watcher: Watcher) -> None:
    director = Director(random.Random(3), settled=True)
    film = replace(director.one("horse", "spins", "city", size="large"), camera="pans left", dusk=True)
    (seen,) = watcher.watch(spoil(watcher.projection.render([film]), "noise 10", random.Random(0)))
    assert all(shows_film(seen, film).values()), seen
    assert (seen.camera, seen.dusk, seen.actors[0].size, seen.actors[0].seen) == ("pans left", True, "large", 16)
    for wrong in (
        replace(film, camera=None),
        replace(film, dusk=False),
        replace(film, backdrop="sea"),
        replace(director.one("horse", "rises", "city"), camera="pans left", dusk=True),
        replace(director.one("cow", "spins", "city"), camera="pans left", dusk=True),
    ):
        assert not shows_film(seen, wrong)["all"]


def test_order_counts_and_a_lost_thing_is_noticed(watcher: Watcher) -> None:
    director = Director(random.Random(4), settled=True)
    then = director.two("then", ("cat", "rises"), ("dog", "bounces"), "snow")
    frames = watcher.projection.render([then])
    turned = director.two("then", ("dog", "bounces"), ("cat", "rises"), "snow")
    other = watcher.projection.render([director.one("cow", "rises", "snow")])
    alone = director.one("cat", "shakes", "snow")
    spoilt = watcher.projection.render([alone])
    spoilt[:, 5:8] = other[:, 5:8]
    seen, broken = watcher.watch(torch.cat([frames, spoilt]))
    assert shows_film(seen, then)["all"] and not shows_film(seen, turned)["motion_right"]
    facts = shows_film(broken, alone)
    assert not facts["consistent"] and broken.consistent <= 13


def test_nothing_is_nothing_and_other_shapes_are_read(watcher: Watcher) -> None:
    film = Director(random.Random(5), settled=True).one("cat", "falls", "desert")
    bare = watcher.projection.render([replace(film, actors=())])
    (empty,) = watcher.watch(bare)
    assert empty.actors == () and empty.kind is None and empty.backdrop == "desert"
    assert not shows_film(empty, film)["things_right"]
    frames = watcher.projection.render([film]).repeat_interleave(2, 1).repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert all(shows_film(watcher.watch(frames)[0], film).values())
    with pytest.raises(RequestError, match=r"torch.float32 \(1, 16, 3, 64, 64\)"):
        watcher.watch(bare.float())


# --- cells


def reply(*values: Any) -> Reply:
    return Reply(parts=tuple(Part(index=i, type=v.type, value=v) for i, v in enumerate(values, 1)), model="m", seed=0)


def cases(world: World, cell: str, n: int) -> list[Case]:
    source = film_cells.MATRIX[cell][0](world, random.Random(f"test|{cell}"), "heldout")
    return [next(source) for _ in range(n)]


@pytest.mark.parametrize("cell", film_cells.MATRIX)
def test_right_answers_pass_and_wrong_ones_fail(world: World, cell: str) -> None:
    (case,) = cases(world, cell, 1)
    right = case.check(reply(*case.answer))
    assert all(right.rows.values()), (case.expected, right)
    assert not any(case.check(reply()).rows.values())
    if cell in film_cells.TARGETS:
        assert film_cells.TARGETS[cell][0] == next(iter(right.rows))
    headline = next(iter(right.rows))
    media = [value for value in case.answer if not isinstance(value, Text)]
    if media:
        assert not case.check(reply(Text(case.expected))).rows[headline]
        assert not case.check(reply(*case.answer, *media)).rows[headline]
    else:
        assert not case.check(reply(*case.answer, Image(np.zeros((8, 8, 3), np.uint8)))).rows[headline]


def test_a_film_with_sound_is_one_part(world: World) -> None:
    (made,), (given,) = cases(world, "text->video+audio", 1), cases(world, "video+audio->text", 1)
    video = next(value for value in made.answer if isinstance(value, Video))
    assert video.audio and not any(isinstance(value, Audio) for value in made.answer)
    assert any(isinstance(value, Video) and value.audio for value in given.request[0]["content"])
    silent = made.check(reply(Text("Here it is."), Video(video.frames, video.fps)))
    assert not silent.rows["sound"] and silent.rows["thing and motion"]


def test_only_models_with_films_have_these_cells() -> None:
    hearer = SimpleNamespace(reads=("text", "image", "audio"), writes=("text", "image", "audio"))
    assert not [cell for cell in film_cells.MATRIX if suites._can(hearer, cell)]
    seer = SimpleNamespace(reads=("text", "image", "video"), writes=("text", "image", "video"))
    able = [cell for cell in film_cells.MATRIX if suites._can(seer, cell)]
    assert "video->text" in able and "image->video" in able and "video->audio" not in able
    assert set(film_cells.MATRIX) < set(suites.ASKED["matrix"][0]) and "watcher" in suites.SUITES


def test_films_are_kept_and_shown(world: World, tmp_path: Path) -> None:
    asked = cases(world, "video->text", 1)
    answer = reply(*asked[0].answer)
    results = [Result(case=asked[0], reply=answer, outcome=asked[0].check(answer))]
    keep(results, tmp_path)
    assert len(Video(next((tmp_path / "media").glob("00000-asked-*.mp4"))).frames) == FRAMES
    assert Image(tmp_path / "video-text.png").width > 128 and contact_sheet(results).size[0] == 140 + 6
