"""Slots: what a medium shows in words that each have a place of their own, for what tells all of its tokens at once.

In a caption the second thing begins where the first one's name ends, and who tells all words at once has to know the
one to say the other. In slots the same is said at the same place of every medium, and nothing has two right answers:
of two things the left, the upper, the nearer comes first, whoever is said first in the caption.
"""

from typing import NamedTuple

from anygen.playground.clip import Clip
from anygen.playground.film import FRAMES, Film, scene_at
from anygen.playground.scene import Placed, Scene, place_of, relation_of
from anygen.playground.word import INVERSE, NUMBERS


class Slot(NamedTuple):
    """A word or name for so many tokens: its first ones and its last, which is repeated where there are fewer.

    What would be known by heart is not `asked`: it does not count, or it is enough to say one of what it may be, which
    is one of EITHER.
    """

    said: str
    tokens: int = 1
    asked: bool = True
    either: tuple[str, ...] = ()


NOTHING = "."
_NAME = 2
_MOTION = 4
WAYS, PACES, TIMES = ("r", "f"), ("slow", "fast"), ("two", "three", "four")
EITHER = (WAYS, PACES, TIMES)
"""Which way a melody goes, how fast something is repeated, and how often."""
_RELATIONS = {"left of": "left", "above": "above", "in front of": "front", "behind": "behind"}
_CAMERAS = {"pans left": "p left", "pans right": "p right", "zooms in": "z in", "zooms out": "z out"}


def scene_slots(scene: Scene) -> list[Slot]:
    """How many, the first thing, what it is to the next or its place, the second, the third, and the backdrop.

    Of two also where each of them is, row and column. In words with one token each: 'a large cat at cat top cat left
    sea sea sea', 'a cat cat above dog dog and and sea sea sea top left middle left', 'two owl owl two owl owl two two
    sea sea sea'. Of three what the first is to the second, the second to the third and the first to the third, where
    that is clear: 'a cat cat and dog dog pig pig sea sea sea above . left'.
    """
    first, ground = scene.things[0], Slot(scene.backdrop, 3)
    if scene.kind == "one":
        begin, end = _ends(first.thing)
        row, column = _lines(place_of(first.x, first.y))
        return [*map(Slot, ("a", first.size, begin, "at", end, row, begin, column)), ground]
    names = [Slot(placed.thing, _NAME) for placed in scene.things]
    if scene.kind == "count":
        number = Slot(NUMBERS[len(names)])
        return [number, names[0], number, names[0], number, number, ground]
    if scene.kind == "three":
        near = [_stands(scene.things[i], scene.things[j]) for i, j in ((0, 1), (1, 2), (0, 2))]
        return [Slot("a"), names[0], Slot("and"), *names[1:], ground, *near]
    relation, things = scene.relation or "", scene.things
    if relation == "in front of":
        # which of the two stands left, or upper, is easier to see than which is in front
        first, second = things
        across, down = second.x - first.x, second.y - first.y
        turned = (across if abs(across) >= abs(down) else down) < 0
    else:
        turned = relation not in _RELATIONS
    if turned:
        names, relation, things = names[::-1], INVERSE[relation], things[::-1]
    places = [Slot(word) for placed in things for word in _lines(place_of(placed.x, placed.y))]
    return [Slot("a"), names[0], Slot(_RELATIONS[relation]), names[1], Slot("and"), Slot("and"), ground, *places]


def _stands(first: Placed, second: Placed) -> Slot:
    """How the first stands to the second: one word, or none where two would be as true."""
    relation = relation_of(first, second)
    return Slot(_RELATIONS.get(relation, relation.split()[0]) if relation else NOTHING)


def film_slots(film: Film) -> list[Slot]:
    """How the two go together, each thing with its motion, the backdrop, the camera, dusk, the names again, and how the
    first and the last frame look."""
    how = {"one": "a", "beside": "beside", "together": "and", "then": "then"}[film.kind]
    things = [Slot(actor.thing, _NAME) for actor in film.actors]
    motions = [Slot(actor.motion.removeprefix("crosses "), _MOTION) for actor in film.actors]
    things += [Slot(NOTHING, _NAME)] * (2 - len(things))
    motions += [Slot(NOTHING, _MOTION)] * (2 - len(motions))
    camera = Slot(_CAMERAS[film.camera] if film.camera else NOTHING, 2)
    dusk = Slot("dark" if film.dusk else NOTHING)
    ends = [slot for frame in (0, FRAMES - 1) for slot in _frame_slots(film, frame)]
    said = [Slot(how), things[0], motions[0], things[1], motions[1], Slot(film.backdrop, 3), camera, dusk]
    return [*said, *things, *ends]


def _frame_slots(film: Film, frame: int) -> list[Slot]:
    """Of a frame that a caption can say: size and place of one thing, or what the first of two is to the second."""
    scene = scene_at(film, frame)
    if scene is None:
        return [Slot(NOTHING)] * 3
    if scene.kind == "one":
        (placed,) = scene.things
        return [Slot(placed.size), *map(Slot, _lines(place_of(placed.x, placed.y)))]
    return [_stands(*scene.things), Slot(NOTHING), Slot(NOTHING)]


def clip_slots(clip: Clip, named: bool = True, asked: bool = True) -> list[Slot]:
    """How it sounds, how fast or which way, how near, and what, all of it twice.

    Not `named`, it does not say what sounds, as nobody could; not `asked`, how often and which way is not to be known,
    only that it is one of those that there are.
    """
    how = {"once": "a", "melody": "to", "then": "then", "together": "and"}.get(clip.kind) or NUMBERS[len(clip.played)]
    way = clip.tempo or {"rising": "r", "falling": "f"}.get(clip.direction or "", NOTHING)
    things = [Slot(name, _NAME) for name in clip.things] if named else [Slot("sound", _NAME)]
    things += [Slot(NOTHING, _NAME)] * (2 - len(things))
    often = Slot(how, 1, asked or clip.kind == "melody", TIMES if clip.kind == "times" else ())
    goes = Slot(way, 1, asked, {"times": PACES, "melody": WAYS}.get(clip.kind, ()))
    told = [often, goes, Slot(clip.loudness), *things]
    return told * 2


def _ends(name: str) -> tuple[str, str]:
    words = name.split()
    return words[0], words[-1]


def _lines(place: str) -> tuple[str, str]:
    """Row and column of a ninth of the canvas."""
    row = next((word for word in ("top", "bottom") if word in place), "middle")
    return row, next((word for word in ("left", "right") if word in place), "middle")
