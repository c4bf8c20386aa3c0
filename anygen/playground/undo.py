"""Edits the other way round: of a picture that was asked for, one of which it may have been made.

Who learns to keep what an edit leaves needs many pictures for one request; captions are few, and arrangements endless.
"""

import math
import random
from collections.abc import Iterable
from dataclasses import replace

from anygen.playground.arrange import fits, on_backdrop, settle
from anygen.playground.scene import VARIANTS, Placed, Scene, in_split, place_of, rearranged, relation_of
from anygen.playground.things import BACKDROPS, SIZES, THINGS

_TRIES = 60
_UNDONE = {
    "one": ("backdrop", "backdrop", "replace", "move", "resize", "remove", "remove"),
    "count": ("backdrop",),
    "pair": ("backdrop", "backdrop", "replace", "add", "remove", "remove"),
    "three": ("backdrop", "replace"),
}
"""For each kind of scene what edits end in it, the more often the more of them are asked for."""


def undone(scene: Scene, stream: random.Random) -> tuple[Scene, Scene]:
    """A picture, and the scene of this canonical caption that an edit makes of it.

    What the edit leaves is where it was, anywhere. What comes stands where the caption and what is there leave no
    choice: what is moved in the middle of its ninth, what is added straight beside the other thing, as far from it as a
    settled pair is. Nothing is shown of which a reading is held out, but where that is so of the scene itself.
    """
    for _ in range(_TRIES):
        kind, target = stream.choice(_UNDONE[scene.kind]), rearranged(scene, stream)
        source = _source(kind, target, stream)
        if source is None:
            continue
        before, after = source
        if all(map(fits, before.things)) and in_split(before, "train"):
            return replace(before, variant=stream.randrange(VARIANTS)), after
    return on_backdrop(target, _other(BACKDROPS, target.backdrop, stream)), target


def _source(kind: str, target: Scene, stream: random.Random) -> tuple[Scene, Scene] | None:
    """What an edit of this kind began with and ends in, or None where this target is not to be had so."""
    things = target.things
    if kind == "backdrop":
        return on_backdrop(target, _other(BACKDROPS, target.backdrop, stream)), target
    if kind == "replace":
        index = stream.randrange(len(things))
        other = replace(things[index], thing=_new(things, stream))
        return replace(target, things=(*things[:index], other, *things[index + 1 :])), target
    if kind == "move":
        end = settle(target)
        (placed,) = end.things
        half = SIZES[placed.size] / 2
        x, y = (round(stream.uniform(half, 1 - half), 3) for _ in range(2))
        if place_of(x, y) == place_of(placed.x, placed.y):
            return None
        return replace(target, things=(replace(placed, x=x, y=y),)), end
    if kind == "resize":
        (placed,) = things
        return replace(target, things=(replace(placed, size=_other(SIZES, placed.size, stream)),)), target
    if kind == "add":
        return _added(target)
    return _removed(target, stream)


def _added(target: Scene) -> tuple[Scene, Scene] | None:
    """The second thing alone, and the first straight beside it."""
    first, second = target.things
    one, two = settle(target).things
    x, y = second.x + one.x - two.x, second.y + one.y - two.y
    half = SIZES[first.size] / 2
    inside = [min(max(share, half), 1 - half) for share in (x, y)]
    first = replace(first, x=inside[0], y=inside[1])
    near = math.dist(inside, (second.x, second.y)) < SIZES["medium"]
    if relation_of(first, second) != target.relation or (near and target.relation != "in front of"):
        return None
    end = replace(target, things=(first, second))
    return replace(end, kind="one", things=(second,), relation=None), end


def _removed(target: Scene, stream: random.Random) -> tuple[Scene, Scene] | None:
    """The things and one more, which hides none of them."""
    things, small = target.things, target.kind == "pair" and stream.random() < 0.5
    if target.kind == "pair" and target.relation == "in front of":
        return None
    if small:  # of three in a row all are as large as each other, and small ones are more often three
        things = tuple(replace(placed, size="small") for placed in things)
        if relation_of(*things) != target.relation:
            return None
    size = things[0].size
    beside = "medium" if len(things) == 1 else size
    half = SIZES[beside] / 2
    for _ in range(_TRIES):
        x, y = (round(stream.uniform(half, 1 - half), 3) for _ in range(2))
        more = Placed(thing=_new(things, stream), size=beside, x=x, y=y)
        if any(max(abs(p.x - x), abs(p.y - y)) < 0.95 * (SIZES[p.size] + SIZES[beside]) / 2 for p in things):
            continue
        before = (*things, more)
        end = replace(target, things=things)
        if len(before) == 3:
            return replace(end, kind="three", things=tuple(sorted(before, key=lambda p: p.x)), relation=None), end
        relation = relation_of(*before)
        return (replace(end, kind="pair", things=before, relation=relation), end) if relation else None
    return None


def _new(things: tuple[Placed, ...], stream: random.Random) -> str:
    return _other([item.name for item in THINGS], {placed.thing for placed in things}, stream)


def _other(names: Iterable[str], but: str | set[str], stream: random.Random) -> str:
    """One of the names that is not `but`, or not among them."""
    taken = {but} if isinstance(but, str) else but
    return stream.choice([name for name in names if name not in taken])
