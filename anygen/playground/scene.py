"""Scenes: which things stand where on which backdrop, and which of them are held out from training."""

import hashlib
import math
import random
from dataclasses import dataclass, replace

from anygen.playground.things import BACKDROPS, PLACES, RELATIONS, SIZES, THINGS
from anygen.playground.word import INVERSE

VARIANTS = 16  # drawings of each backdrop
KINDS = ("one", "count", "pair", "three")
_KIND_WEIGHTS = (4, 2, 4, 2)
_HELD_OUT_SHARE = 10  # one of so many pairs, relations and thing-backdrop combinations is never trained on


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A thing in a scene: its canonical name, its size, and its centre as shares of the canvas (y points down)."""

    thing: str
    size: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What a picture shows. In a pair `things[0]` stands in `relation` to `things[1]`; three go from left to right."""

    kind: str
    things: tuple[Placed, ...]
    backdrop: str
    relation: str | None = None
    variant: int = 0


def place_of(x: float, y: float) -> str:
    """The name of the ninth of the canvas that holds the point."""
    column = min(2, int(3 * x))
    row = min(2, int(3 * y))
    return PLACES[3 * row + column]


def relation_of(a: Placed, b: Placed) -> str | None:
    """How `a` stands to `b`: one of RELATIONS, or None where two of them would be as true."""
    dx, dy = a.x - b.x, a.y - b.y
    reach = (SIZES[a.size] + SIZES[b.size]) / 2
    if max(abs(dx), abs(dy)) < 0.62 * reach:
        return "in front of"
    if abs(dx) > 1.6 * abs(dy):
        return "left of" if dx < 0 else "right of"
    if abs(dy) > 1.6 * abs(dx):
        return "above" if dy < 0 else "below"
    return None


def _held_out(*words: str) -> bool:
    digest = hashlib.sha256("|".join(words).encode()).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_SHARE == 0


def is_heldout(scene: Scene) -> bool:
    """Whether training never shows this scene: a thing on this backdrop, this pair, or this thing in this relation."""
    names = [placed.thing for placed in scene.things]
    if scene.kind == "one":
        return _held_out("backdrop", names[0], scene.backdrop)
    if scene.kind == "count":
        return _held_out("count", names[0], str(len(names)))
    if scene.kind == "pair":
        return _held_out("pair", *sorted(names)) or _held_out("relation", names[0], scene.relation or "")
    return _held_out("three", *sorted(names)[:2])


def in_split(scene: Scene, split: str) -> bool:
    """Whether the split has this scene.

    Training has none of which either reading is held out: who shows a cat left of a dog has shown a dog right of a cat.
    And where a cat is never in front of a dog, no dog is in front of a cat: a cat that is always behind is known to be
    behind without a look at which covers which, and what is learnt so is wrong of every held-out scene.
    """
    if split == "heldout":
        return is_heldout(scene)
    return not is_heldout(scene) and not (scene.relation and is_heldout(_other(scene)))


def _other(scene: Scene) -> Scene:
    """The pair's other reading; where one is in front of the other, the other in front of the one."""
    return turned(scene) if scene.relation in RELATIONS[:4] else replace(scene, things=scene.things[::-1])


def turned(scene: Scene) -> Scene:
    """The same picture said the other way round: 'a dog right of a cat' for 'a cat left of a dog'."""
    assert scene.relation
    return replace(scene, things=scene.things[::-1], relation=INVERSE[scene.relation])


def _between(stream: random.Random, low: float, high: float) -> float:
    return round(stream.uniform(low, high), 3)


def _inside(stream: random.Random, size: str, grid: int | None) -> tuple[float, float]:
    """A centre for a sprite that stands wholly on the canvas; on a grid its corner is a corner of a cell."""
    half = SIZES[size] / 2
    if grid is None:
        return _between(stream, half, 1 - half), _between(stream, half, 1 - half)
    free = int(grid * (1 - 2 * half))
    return stream.randint(0, free) / grid + half, stream.randint(0, free) / grid + half


def _one(stream: random.Random, grid: int | None) -> tuple[Placed, ...]:
    size = stream.choice(("small", "medium", "medium", "large", "large"))
    x, y = _inside(stream, size, grid)
    return (Placed(thing=stream.choice(THINGS).name, size=size, x=x, y=y),)


def _count(stream: random.Random, grid: int | None) -> tuple[Placed, ...]:
    number = stream.choice((2, 3, 4))
    size = "medium" if number == 2 else stream.choice(("small", "medium")) if number == 3 else "small"
    name = stream.choice(THINGS).name
    return _apart(stream, [name] * number, size, grid)


def _apart(stream: random.Random, names: list[str], size: str, grid: int | None) -> tuple[Placed, ...]:
    """The named things at points whose sprites hardly overlap, from left to right."""
    while True:
        points = sorted(_inside(stream, size, grid) for _ in names)
        gaps = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for i, a in enumerate(points) for b in points[:i]]
        if min(gaps) >= 0.95 * SIZES[size]:
            return tuple(Placed(thing=n, size=size, x=x, y=y) for n, (x, y) in zip(names, points, strict=True))


def _pair(stream: random.Random, relation: str, grid: int | None) -> tuple[Placed, ...]:
    a, b = stream.sample(THINGS, 2)
    sizes = ("medium", "large") if relation == "in front of" else ("medium", "medium")
    while True:
        first, second = (_inside(stream, size, grid) for size in sizes)
        pair = tuple(
            Placed(thing=t.name, size=s, x=x, y=y) for t, s, (x, y) in zip((a, b), sizes, (first, second), strict=True)
        )
        distance = math.dist(first, second)
        apart = 0.14 <= distance <= 0.25 if relation == "in front of" else distance >= SIZES["medium"]
        if apart and relation_of(*pair) == relation:
            return pair


def _three(stream: random.Random, grid: int | None) -> tuple[Placed, ...]:
    names = [t.name for t in stream.sample(THINGS, 3)]
    while True:
        things = _apart(stream, names, stream.choice(("small", "medium")), grid)
        if all(b.x - a.x >= 0.08 for a, b in zip(things, things[1:], strict=False)):
            return things


def sample_scene(
    stream: random.Random,
    kind: str | None = None,
    split: str = "train",
    grid: int | None = None,
    relation: str | None = None,
) -> Scene:
    """A random scene of the kind (any when None), or a pair in this `relation`.

    `split` "train" never gives a held-out scene, "heldout" only such (`in_split`).

    With `grid` (cells on a side, a multiple of 8) every sprite covers whole cells; without, it stands anywhere.
    """
    if split not in ("train", "heldout"):
        raise ValueError(f"no split '{split}'; there are train, heldout")
    while True:
        chosen = "pair" if relation else kind or stream.choices(KINDS, _KIND_WEIGHTS)[0]
        stands = relation or (stream.choice(RELATIONS) if chosen == "pair" else None)
        if stands:
            things = _pair(stream, stands, grid)
        else:
            things = {"one": _one, "count": _count, "three": _three}[chosen](stream, grid)
        scene = Scene(
            kind=chosen,
            things=things,
            backdrop=stream.choice(BACKDROPS),
            relation=stands,
            variant=stream.randrange(VARIANTS),
        )
        if in_split(scene, split):
            return scene


def rearranged(scene: Scene, stream: random.Random, grid: int | None = None) -> Scene:
    """Another picture of the same canonical caption: things of the same names elsewhere, the backdrop in any variant.

    Where a caption does not tell sizes, they are drawn anew, too.
    """
    names = [placed.thing for placed in scene.things]
    while True:
        if scene.relation:
            things = _pair(stream, scene.relation, grid)
        elif scene.kind == "one":
            (like,) = scene.things
            x, y = _inside(stream, like.size, grid)
            if place_of(x, y) != place_of(like.x, like.y):
                continue
            things = (replace(like, x=x, y=y),)
        elif scene.kind == "three":
            things = _three(stream, grid)
        else:
            size = {2: "medium", 4: "small"}.get(len(names)) or stream.choice(("small", "medium"))
            things = _apart(stream, names, size, grid)
        things = tuple(replace(placed, thing=name) for placed, name in zip(things, names, strict=True))
        return replace(scene, things=things, variant=stream.randrange(VARIANTS))
