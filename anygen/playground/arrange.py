"""Arranging scenes that somebody asked for: a thing at a place, two things in a relation, so many of one thing."""

import math
import random
from collections.abc import Collection
from dataclasses import replace

from anygen.playground.scene import VARIANTS, Placed, Scene, is_heldout, place_of, relation_of, turned
from anygen.playground.things import PLACES, SIZES

_TRIES = 400
COUNT_SIZES = {2: ("medium",), 3: ("medium", "small"), 4: ("small",)}
"""The sizes in which so many things fit on a canvas."""


def fits(placed: Placed) -> bool:
    """Whether the whole sprite is on the canvas."""
    half = SIZES[placed.size] / 2
    return all(half <= share <= 1 - half for share in (placed.x, placed.y))


def put(name: str, size: str, place: str, stream: random.Random) -> Placed:
    """The thing somewhere in this ninth of the canvas, wholly on it."""
    half = SIZES[size] / 2
    row, column = divmod(PLACES.index(place), 3)
    x, y = (
        round(stream.uniform(max(half, ninth / 3 + 0.005), min(1 - half, (ninth + 1) / 3 - 0.005)), 3)
        for ninth in (column, row)
    )
    return Placed(thing=name, size=size, x=x, y=y)


def put_beside(name: str, relation: str, other: Placed, stream: random.Random) -> Placed | None:
    """A medium thing that stands in `relation` to the other one, or None where there is no room for it."""
    near = relation == "in front of"
    for _ in range(_TRIES):
        x, y = (round(stream.uniform(SIZES["medium"] / 2, 1 - SIZES["medium"] / 2), 3) for _ in range(2))
        placed = Placed(thing=name, size="medium", x=x, y=y)
        distance = math.dist((x, y), (other.x, other.y))
        if relation_of(placed, other) == relation and (near or distance >= SIZES["medium"]):
            return placed
    return None


def put_more(things: tuple[Placed, ...], count: int, stream: random.Random) -> tuple[Placed, ...] | None:
    """So many of the one thing from left to right, those that are there where they are; None where there is no room."""
    name, size = things[0].thing, things[0].size
    kept = list(things[:count])
    for _ in range(_TRIES):
        if len(kept) == count:
            return tuple(sorted(kept, key=lambda placed: placed.x))
        half = SIZES[size] / 2
        x, y = (round(stream.uniform(half, 1 - half), 3) for _ in range(2))
        if all(max(abs(x - p.x), abs(y - p.y)) >= 0.95 * SIZES[size] for p in kept):
            kept.append(Placed(thing=name, size=size, x=x, y=y))
    return None


def one_thing(name: str, backdrop: str, stream: random.Random, *, size: str = "medium", place: str = "middle") -> Scene:
    """A scene of one thing; size and place are those that go without saying."""
    things = (put(name, size, place, stream),)
    return Scene(kind="one", things=things, backdrop=backdrop, variant=stream.randrange(VARIANTS))


def two_things(first: str, relation: str, second: str, backdrop: str, stream: random.Random) -> Scene:
    """A scene in which the first thing stands in `relation` to the second."""
    size = "large" if relation == "in front of" else "medium"
    places = {"left of": "right", "right of": "left", "above": "bottom", "below": "top", "in front of": "middle"}
    while True:
        other = put(second, size, places[relation], stream)
        placed = put_beside(first, relation, other, stream)
        if placed:
            things = (placed, other)
            variant = stream.randrange(VARIANTS)
            return Scene(kind="pair", things=things, backdrop=backdrop, relation=relation, variant=variant)


def counted_things(name: str, count: int, backdrop: str, stream: random.Random) -> Scene:
    """A scene of two to four of one thing."""
    while True:
        size = stream.choice(COUNT_SIZES[count])
        things = put_more((put(name, size, "middle" if count == 1 else "left", stream),), count, stream)
        if things:
            return Scene(kind="count", things=things, backdrop=backdrop, variant=stream.randrange(VARIANTS))


def on_backdrop(scene: Scene, backdrop: str) -> Scene:
    """The same things before another backdrop."""
    return replace(scene, backdrop=backdrop)


def upright(scene: Scene) -> Scene:
    """The one of a picture's two captions that is told of it: 'a left of b' for 'b right of a', 'above' for 'below'.

    Who tells all words at once, as an input projector does, must not have two right answers to mix. Where the other
    caption is of the other split, the scene stays as it is.
    """
    if scene.relation not in ("right of", "below"):
        return scene
    other = turned(scene)
    return other if is_heldout(other) == is_heldout(scene) else scene


def settle(scene: Scene) -> Scene:
    """The scene with every thing where one would put it first, so that its caption alone says what stands where.

    Its backdrop is the first of those that one word names: what draws a settled scene need not choose, and mixes none.
    One thing stands in the middle of its ninth, a pair opposite each other, three in a zigzag, four in the corners of
    a square. Sides and corners of the sprites are multiples of an eighth of the canvas, a latent's cell.
    """
    if scene.kind == "one":
        (placed,) = scene.things
        row, column = divmod(PLACES.index(place_of(placed.x, placed.y)), 3)
        x, y = (_eighths(SIZES[placed.size], (ninth + 0.5) / 3) for ninth in (column, row))
        return replace(scene, things=(replace(placed, x=x, y=y),), variant=0)
    sizes: tuple[str, ...]
    if scene.kind == "pair":
        points = _OPPOSITE[scene.relation or ""]
        sizes = ("medium", "large" if scene.relation == "in front of" else "medium")
    else:
        points = _GROUPS[len(scene.things)]
        sizes = ("small" if len(points) == 4 else "medium",) * len(points)
    things = tuple(
        Placed(thing=placed.thing, size=s, x=x / 8 + SIZES[s] / 2, y=y / 8 + SIZES[s] / 2)
        for placed, s, (x, y) in zip(scene.things, sizes, points, strict=True)
    )
    return replace(scene, things=things, variant=0)


def on_cells(scene: Scene, but: Collection[Placed] = ()) -> Scene:
    """The scene with every sprite moved to the nearest whole eighths; where that would change a relation, as it is.
    What is `but` among other things, say of a picture that is edited, stays where it is."""
    things = tuple(
        p if p in but else replace(p, x=_eighths(SIZES[p.size], p.x), y=_eighths(SIZES[p.size], p.y))
        for p in scene.things
    )
    if scene.relation and relation_of(*things) != scene.relation:
        return scene
    return replace(scene, things=things)


_OPPOSITE: dict[str, tuple[tuple[int, int], ...]] = {
    "left of": ((0, 3), (5, 3)),
    "right of": ((5, 3), (0, 3)),
    "above": ((3, 0), (3, 5)),
    "below": ((3, 5), (3, 0)),
    "in front of": ((4, 3), (2, 2)),
}
"""Corners of a pair's sprites in eighths of the canvas, for each relation of the first to the second."""

_GROUPS: dict[int, tuple[tuple[int, int], ...]] = {
    2: ((0, 3), (5, 3)),
    3: ((0, 1), (3, 4), (5, 1)),
    4: ((1, 1), (1, 5), (5, 1), (5, 5)),
}
"""Corners of the sprites of so many things, from left to right."""


def _eighths(side: float, middle: float) -> float:
    """The centre nearest to `middle` of a sprite that begins on an eighth of the canvas and stands wholly on it."""
    corner = min(max(math.floor(8 * (middle - side / 2) + 0.5), 0), round(8 * (1 - side)))
    return corner / 8 + side / 2
