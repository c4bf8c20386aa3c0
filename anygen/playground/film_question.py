"""Questions about a film, with the one short answer to each and everything that counts as the same answer."""

import random
from collections.abc import Callable

from anygen.playground.film import Film, can_get_dark, sample_film
from anygen.playground.film_wording import (
    BACKDROP,
    CAMERA,
    DESCRIBE,
    DUSK,
    FIRST,
    IS_THERE,
    LAST,
    ORDER,
    STANDS,
    WHAT_ALL,
    WHAT_DOES,
    WHAT_DOES_IT,
    WHAT_MOVES,
    WHICH_WAY,
)
from anygen.playground.motion import STILL
from anygen.playground.question import Answered
from anygen.playground.things import THINGS, thing
from anygen.playground.watching import CAMERA_WORDS, MOTION_WORDS, STILL_CAMERA, does, moves
from anygen.playground.word import BACKDROP_WORDS, a, called, listed, pick, sentence

WAYS = {
    "crosses from left to right": ("from left to right", "to the right", "right"),
    "crosses from right to left": ("from right to left", "to the left", "left"),
    "rises": ("up", "upwards", "to the top"),
    "falls": ("down", "downwards", "to the bottom"),
    "comes near": ("nearer", "closer", "near", "to the front"),
    "goes away": ("away", "into the distance", "farther away"),
}
"""Where the motions lead that lead somewhere; the first is the answer."""


def describe_film(stream: random.Random, split: str = "train") -> str:
    """A request for a caption of a film."""
    return pick(DESCRIBE, stream, split)


def _answer(ask: str, ways: list[str]) -> Answered:
    ways = [sentence(way) for way in dict.fromkeys(ways)]
    return ask, ways[0], ways


def _names(name: str) -> list[str]:
    """All ways to name a thing, the canonical one first."""
    return [a(word) for word in (name, *thing(name).synonyms)]


def _acts(name: str, motion: str) -> list[str]:
    """All ways to say what a thing does, the canonical one first: 'a cat rises', 'the cat goes up'."""
    words = [moves(name, motion), *(does(word) for word in MOTION_WORDS[motion])]
    return [f"{who} {word}" for word in words for who in (a(name), f"the {name}", "it")]


def _asked(family: tuple[str, ...], name: str, stream: random.Random, split: str) -> str:
    return pick(family, stream, split).format(x=called(thing(name), stream))


def _what_moves(film: Film, stream: random.Random, split: str) -> Answered:
    names = [_names(actor.thing) for actor in film.movers]
    if len(names) == 1:
        return _answer(pick(WHAT_MOVES, stream, split), names[0])
    ways = [listed([x, y]) for x in names[0] for y in names[1]]
    return _answer(pick(WHAT_ALL, stream, split), ways + [listed([y, x]) for x in names[0] for y in names[1]])


def _what_does(film: Film, stream: random.Random, split: str) -> Answered:
    actor = stream.choice(film.movers)
    family = WHAT_DOES_IT if film.kind == "one" and stream.random() < 0.4 else WHAT_DOES
    ways = _acts(actor.thing, actor.motion)
    return _answer(_asked(family, actor.thing, stream, split), [f"it {moves(actor.thing, actor.motion)}", *ways])


def _which_way(film: Film, stream: random.Random, split: str) -> Answered:
    actor = film.movers[0]
    ways = list(WAYS[actor.motion])
    more = [f"it {does(words)}" for words in MOTION_WORDS[actor.motion]]
    return _answer(_asked(WHICH_WAY, actor.thing, stream, split), [*ways, *(f"it goes {way}" for way in ways), *more])


def _first(film: Film, stream: random.Random, split: str) -> Answered:
    actor = film.actors[0]
    return _answer(pick(FIRST, stream, split), _acts(actor.thing, actor.motion))


def _last(film: Film, stream: random.Random, split: str) -> Answered:
    actor = film.actors[1]
    return _answer(pick(LAST, stream, split), _acts(actor.thing, actor.motion))


def _order(film: Film, stream: random.Random, split: str) -> Answered:
    if film.kind == "together":
        return _answer(pick(ORDER, stream, split), ["at the same time", "both at the same time", "together", "at once"])
    return _answer(pick(ORDER, stream, split), ["one after the other"])


def _camera(film: Film, stream: random.Random, split: str) -> Answered:
    words = [STILL_CAMERA] if film.camera is None else [w for w in CAMERA_WORDS[film.camera] if w.startswith("the")]
    return _answer(pick(CAMERA, stream, split), words)


def _dusk(film: Film, stream: random.Random, split: str) -> Answered:
    ways = ["yes, it gets dark", "yes"] if film.dusk else ["no, it does not get dark", "no"]
    return _answer(pick(DUSK, stream, split), ways)


def _backdrop(film: Film, stream: random.Random, split: str) -> Answered:
    return _answer(pick(BACKDROP, stream, split), [*BACKDROP_WORDS[film.backdrop], film.backdrop])


def _stands(film: Film, stream: random.Random, split: str) -> Answered:
    still = next(actor for actor in film.actors if actor.motion == STILL)
    return _answer(pick(STANDS, stream, split), _names(still.thing))


ASK: dict[str, Callable[[Film, random.Random, str], Answered]] = {
    "what moves": _what_moves,
    "what does it do": _what_does,
    "which way": _which_way,
    "first": _first,
    "last": _last,
    "order": _order,
    "camera": _camera,
    "dusk": _dusk,
    "backdrop": _backdrop,
    "stands still": _stands,
}
QUESTIONS_FOR = {
    "one": ("what moves", "what does it do", "what does it do", "backdrop", "camera"),
    "beside": ("what moves", "what does it do", "stands still", "stands still", "backdrop"),
    "together": ("what moves", "what does it do", "what does it do", "order", "backdrop"),
    "then": ("what moves", "what does it do", "first", "first", "last", "last", "order"),
}


def film_question(film: Film, stream: random.Random, split: str = "train") -> tuple[str, Answered]:
    """The name of a kind of question that fits the film, with a question of that kind."""
    kinds = list(QUESTIONS_FOR[film.kind])
    if film.kind in ("one", "beside") and film.movers[0].motion in WAYS:
        kinds += ["which way"] * 3
    if film.camera:
        kinds += ["camera"] * 3
    if film.dusk or (can_get_dark(film.backdrop) and stream.random() < 0.15):
        kinds += ["dusk"] * 3
    kind = stream.choice(kinds)
    return kind, ASK[kind](film, stream, split)


def is_seen(film: Film, stream: random.Random, split: str = "train") -> Answered:
    """A question after one thing; as often yes as no, and half of what is not there is of a category that is."""
    ask = pick(IS_THERE, stream, split)
    if stream.random() < 0.5:
        item = thing(stream.choice(film.things))
        ways = [f"yes, there is {a(item.name)}", "yes", *(f"yes, there is {a(word)}" for word in item.synonyms)]
        return _answer(ask.format(x=a(called(item, stream))), ways)
    others = [item for item in THINGS if item.name not in film.things]
    category = thing(stream.choice(film.things)).category
    alike = [item for item in others if item.category == category]
    item = stream.choice(alike if alike and stream.random() < 0.5 else others)
    ways = [f"no, there is no {item.name}", "no", *(f"no, there is no {word}" for word in item.synonyms)]
    return _answer(ask.format(x=a(called(item, stream))), ways)


def film_to_ask(stream: random.Random, split: str = "train") -> Film:
    """A film for a question; what happens first more frequent than chance would."""
    return sample_film(stream, stream.choice(("one", "one", "one", "beside", "together", "then", "then")), split)
