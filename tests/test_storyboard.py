"""Storyboards: what of a film's frames is said, that it is true, and that a generator can read it."""

import random

import pytest

from anygen.generators.video import around_frames
from anygen.playground.film import Director, sample_film, settle
from anygen.playground.motion import FRAMES, MOTIONS, pose
from anygen.playground.reading import mentions
from anygen.playground.scene import place_of
from anygen.playground.storyboard import storyboard
from anygen.playground.things import SIZES


def keys_of(text: str) -> dict[int, str]:
    return {int(key): words for key, words in (part.split(": ", 1) for part in text.split(" | "))}


@pytest.mark.parametrize(
    ("motion", "told"),
    [
        (
            "crosses from right to left",
            "0: a medium cat at the right, sea | 7: a medium cat in the middle, sea | "
            "15: a medium cat at the left, sea",
        ),
        ("appears", "0: sea | 7: sea | 8: a large cat in the middle, sea | 15: a large cat in the middle, sea"),
        (
            "grows",
            "0: a medium cat in the middle, sea | 6: a large cat in the middle, sea | "
            "15: a very large cat in the middle, sea",
        ),
        (
            "spins",
            "0: a large cat in the middle, sea | 4: a large cat in the middle, sea, turned right | "
            "8: a large cat in the middle, sea, upside down | 12: a large cat in the middle, sea, turned left | "
            "15: a large cat in the middle, sea",
        ),
    ],
)
def test_a_motion_is_told_by_hand(motion: str, told: str) -> None:
    assert storyboard(Director(random.Random(0), settled=True).one("cat", motion, "sea")) == told


def test_of_two_things_it_is_said_which_is_turned() -> None:
    director = Director(random.Random(0), settled=True)
    film = director.two("together", ("cat", "spins"), ("dog", "shrinks"), "sea")
    told = keys_of(storyboard(film))
    assert told[0] == "a medium cat at the left and a large dog at the right, sea"
    assert told[4] == "a medium cat at the left turned right and a medium dog at the right, sea"
    film = director.two("then", ("cat", "crosses from left to right"), ("dog", "spins"), "sea")
    assert any(text.endswith("upside down, sea") for text in keys_of(storyboard(film)).values())


def test_every_motion_is_told_from_its_first_frame_to_its_last() -> None:
    told = set()
    for motion in MOTIONS:
        keys = keys_of(storyboard(Director(random.Random(0), settled=True).one("dog", motion, "room")))
        numbers = list(keys)
        assert numbers == sorted(numbers) and numbers[0] == 0 and numbers[-1] == FRAMES - 1
        assert len(set(keys.values())) > 1  # something changes
        told.add(tuple(keys.items()))
    assert len(told) == len(MOTIONS)


def test_what_is_said_of_a_frame_is_true_of_it() -> None:
    stream = random.Random(5)
    for _ in range(300):
        film = sample_film(stream)
        film = settle(film) if stream.random() < 0.5 else film
        for frame, words in keys_of(storyboard(film)).items():
            seen = {actor.thing: pose(actor, frame) for actor in film.actors}
            there = {thing: now for thing, now in seen.items() if now.seen}
            assert set(mentions(words)) == set(there) and film.backdrop in words
            for now in there.values():
                assert place_of(now.x, now.y).split()[-1] in words
                near = min(SIZES, key=lambda name: abs(SIZES[name] - now.side))
                assert near in words
            assert (str(film.camera) in words) == bool(film.camera and frame >= 4)
            assert ("it gets dark" in words) == bool(film.dusk and frame >= 4)
        around = around_frames(storyboard(film), FRAMES)
        assert len(around) == FRAMES and all(0 <= share < 1 for *_, share in around)
