"""Storyboards: what of a film's frames is said, that it is true, and that a generator can read it."""

import random
import re
from types import SimpleNamespace

import pytest

from anygen.catalog import find
from anygen.error import ModelError
from anygen.generators.video import FilmOptions, around_frames
from anygen.playground.film import Director, beside, sample_film, settle
from anygen.playground.film_dialogue import sample_animated
from anygen.playground.motion import FRAMES, MOTIONS, pose
from anygen.playground.projection import Projection
from anygen.playground.reading import mentions
from anygen.playground.scene import place_of
from anygen.playground.squares import squares_in
from anygen.playground.storyboard import seen_in, squared, squared_caption, storyboard
from anygen.playground.things import SIZES
from anygen.training.sighting import told_to


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


# --- square by square


@pytest.mark.parametrize(
    ("motion", "told"),
    [
        (
            "grows",
            "0: a medium cat e5, sea | 2: a medium cat e5, sea | 3: a large cat e5, sea | 7: a large cat e5, sea | "
            "8: a very large cat e5, sea | 12: a very large cat e5, sea | 13: a huge cat e5, sea | "
            "15: a huge cat e5, sea",
        ),
        (
            "spins",
            "0: a large cat e5, sea | 1: a large cat e5, sea | 2: a large cat e5 turned right, sea | "
            "5: a large cat e5 turned right, sea | 6: a large cat e5 upside down, sea | "
            "8: a large cat e5 upside down, sea | 9: a large cat e5 turned left, sea | "
            "12: a large cat e5 turned left, sea | 13: a large cat e5, sea | 15: a large cat e5, sea",
        ),
    ],
)
def test_a_motion_is_told_by_squares(motion: str, told: str) -> None:
    assert squared(Director(random.Random(0), settled=True).one("cat", motion, "sea")) == told


def test_squares_of_films_are_those_that_things_are_drawn_on() -> None:
    """Of every frame, whether the film begins on the board or with a picture that shows its thing anywhere."""
    stream, projection = random.Random(1), Projection(64, cell=8)
    seen = 0
    for turn in range(120):
        given = turn % 4 == 0
        film = sample_animated(stream)[1] if given else sample_film(stream)
        film = film if given or turn % 3 else settle(film)
        layers, _ = projection.orders([film], given)
        told = around_frames(squared(film), FRAMES)
        for frame in range(FRAMES):
            before, after, between = told[frame]
            assert before == squared_caption(film, frame) and (before == after or not between)
            drawn = [layer[1:] for layer in layers[0, frame].tolist() if layer[1]]
            squares = [before[end - 2 : end] for end in squares_in(before)]
            assert len(drawn) == len(squares) == len(seen_in(film, frame))
            for (square, left, top), told_of, (_, now) in zip(drawn, squares, seen_in(film, frame), strict=True):
                cells = min(range(1, 7), key=lambda count: (abs(count / 8 - now.side), -count))
                assert square in (8 * cells, 12 * cells)  # of what is turned the square is half as large again
                middles = [(edge + square / 2) / 8 for edge in (left, top)]
                column, row = "abcdefgh".index(told_of[0]), int(told_of[1]) - 1
                for middle, square_told in zip(middles, (column, row), strict=True):
                    apart = abs(min(max(middle - cells / 2, -(cells // 2)), 7 - cells // 2) - square_told + cells // 2)
                    assert apart == 0 or (given and frame == 0 and apart <= 9 / 16)  # a given thing stands anywhere
                seen += 1
    assert seen > 2000


def test_what_goes_on_through_a_film_is_told_by_quarters() -> None:
    stream = random.Random(3)
    film = next(film for film in iter(lambda: sample_film(stream), None) if film.camera and film.dusk)
    ends = ["", ", {} a little, it gets dark a little", ", {} half, it gets dark half"]
    for frame, end in enumerate([*ends, ", {} all the way, it gets dark all the way"]):
        assert squared_caption(film, 4 * frame + 1).endswith(f"{film.backdrop}{end.format(film.camera)}")


def test_captions_with_squares_fit_into_what_the_text_encoder_reads() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(find("nano") / "generators" / "image" / "tokenizer")
    stream = random.Random(4)
    films = [sample_film(stream) for _ in range(400)]
    texts = [squared_caption(film, frame) for film in films for frame in (0, 5, 9, 15)]
    assert max(map(len, tokenizer(texts).input_ids)) <= tokenizer.model_max_length


def test_who_takes_squares_is_told_squares() -> None:
    stream = random.Random(6)
    scene, film, _ = sample_animated(stream)
    plain, taught = (
        SimpleNamespace(moments=FRAMES, film=FilmOptions(storyboards=True, squares=s)) for s in (False, True)
    )
    part = {"type": "video", "film": film}
    assert told_to(plain, part) == storyboard(settle(film))
    assert told_to(taught, part) == squared(settle(film))
    assert told_to(taught, part | {"source": scene}) == squared(film)
    with pytest.raises(ModelError, match="squares are told in storyboards"):
        FilmOptions(squares=True)


def test_a_film_may_go_a_square_beside_itself() -> None:
    film = Director(random.Random(0), settled=True).one("cat", "bounces", "sea")
    plain, moved = (re.findall(r" ([a-h])([1-8])", squared(one)) for one in (film, beside(film, 1 / 8, -1 / 8)))
    assert len(plain) == len(moved) and {int(b[1]) - int(a[1]) for a, b in zip(plain, moved, strict=True)} <= {-1, 0}
    assert {ord(b[0]) - ord(a[0]) for a, b in zip(plain, moved, strict=True)} == {1}
    assert set(re.findall(r" ([a-h])[1-8]", squared(beside(film, 7 / 8, 0)))) == {"h"}
