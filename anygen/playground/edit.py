"""Edits: an instruction and the scene that it makes of another one; what is not asked for stays as it is."""

import random
from collections.abc import Callable
from dataclasses import replace

from anygen.playground.arrange import (
    COUNT_SIZES,
    fits,
    on_backdrop,
    one_thing,
    put,
    put_beside,
    put_more,
    two_things,
    upright,
)
from anygen.playground.scene import Placed, Scene, in_split, place_of, relation_of, sample_scene
from anygen.playground.things import BACKDROPS, PLACES, RELATIONS, SIZES, THINGS, thing
from anygen.playground.word import (
    BACKDROP_WORDS,
    INVERSE,
    NUMBERS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    Family,
    a,
    called,
    pick,
)

Edited = tuple[str, Scene]

BACKDROP = Family(
    "Put it {where}.",
    "Now {where}.",
    "Make it {where}.",
    "Move the scene so that it is {where}.",
    "The same {where}, please.",
    "Change the backdrop: {where}.",
    "Show it {where}.",
    "Can you put it {where}?",
    "Let it be {where}.",
    "I want it {where}.",
    "Now make it {where}.",
    "I want the scene {where}.",
    "Please move it {where}.",
    "Put the scene {where}.",
    "Change it so that it is {where}.",
    "Could you make it {where}?",
    "What would it look like {where}?",
    "Draw the same {where}.",
    "Let us see it {where}.",
    "It should be {where}.",
    more=(
        "Now show it {where}.",
        "Please put it {where}.",
        "Have it {where}.",
        "Draw it {where} instead.",
        "The same picture, but {where}.",
        "I would like it {where}.",
        "Let the scene be {where}.",
        "Can we have it {where}?",
        "Make the scene {where}.",
        "Set it {where}.",
        "Now the same {where}.",
        "Could it be {where}?",
    ),
)
BACKDROP_NAMED = Family(
    "Make it {name}.",
    "Change the backdrop to {name}.",
    "Change the background to {name}.",
    "Backdrop: {name}.",
    "Use {name} as the backdrop.",
    "Replace the backdrop with {name}.",
    "Set the backdrop to {name}.",
    "I want {name} as the backdrop.",
    "Change it to {name}.",
    "Make the background {name}.",
    "Let the backdrop be {name}.",
    "Could you use {name} as the background?",
    "The backdrop should be {name}.",
    "Take {name} as the background.",
    "Make the backdrop {name}.",
    more=(
        "Now {name}.",
        "Put {name} behind it.",
        "Change the scene to {name}.",
        "Please use {name} as the background.",
        "Can the backdrop be {name}?",
        "I would like {name} as the background.",
        "Replace the background with {name}.",
        "Show it with {name} as the backdrop.",
        "Please make {name} the backdrop.",
        "Let us have {name} as the backdrop.",
    ),
)
REPLACE = Family(
    "Replace the {x} with {y}.",
    "Change the {x} to {y}.",
    "Make the {x} {y}.",
    "Turn the {x} into {y}.",
    "Swap the {x} for {y}.",
    "Draw {y} instead of the {x}.",
    "{y} instead of the {x}, please.",
    "Replace the {x} by {y}.",
    "I would rather have {y} than the {x}.",
    "Put {y} in the place of the {x}.",
    "Can you replace the {x} with {y}?",
    "Let the {x} become {y}.",
    "The {x} should be {y}.",
    "Could you change the {x} into {y}?",
    "Use {y} instead of the {x}.",
    "Make it {y} and not the {x}.",
    "Take away the {x} and draw {y}.",
    "Instead of the {x}, draw {y}.",
    "Change the {x} for {y}.",
    "Draw {y} where the {x} is.",
    more=(
        "Please replace the {x} with {y}.",
        "Could you draw {y} instead of the {x}?",
        "Not the {x}, but {y}.",
        "Exchange the {x} for {y}.",
        "I want {y} where the {x} was.",
        "The {x} should turn into {y}.",
        "Put {y} there instead of the {x}.",
        "Let there be {y} instead of the {x}.",
        "{y} rather than the {x}, please.",
        "Show {y} in place of the {x}.",
        "Make {y} of the {x}.",
        "Could the {x} be {y}?",
    ),
)
MOVE = Family(
    "Move the {x} to the {place}.",
    "Put the {x} {at}.",
    "Place the {x} {at}.",
    "The {x} {at}, please.",
    "Draw the {x} {at} instead.",
    "Can you move the {x} to the {place}?",
    "I want the {x} {at}.",
    "Now put the {x} {at}.",
    "The {x} should be {at}.",
    "Let the {x} stand {at}.",
    "Can you put the {x} {at}?",
    "Please move the {x} to the {place}.",
    "Move it to the {place}.",
    "Bring the {x} to the {place}.",
    "Could you place the {x} {at}?",
    "I want to see the {x} {at}.",
    "Draw the {x} again, {at}.",
    "Show the {x} {at}.",
    "Let us have the {x} {at}.",
    "Change the place of the {x}: {at}.",
    more=(
        "Now draw the {x} {at}.",
        "Please put the {x} {at}.",
        "The {x} shall be {at}.",
        "Could you move the {x} to the {place}?",
        "Have the {x} {at}.",
        "I would like the {x} {at}.",
        "Shift the {x} to the {place}.",
        "Set the {x} {at}.",
        "Can the {x} be {at}?",
        "Put it {at}.",
        "Let it be {at}.",
        "The same, with the {x} {at}.",
    ),
)
RESIZE = Family(
    "Make the {x} {size}.",
    "I want a {size} {x}.",
    "Make it {size}.",
    "The {x} shall be {size}.",
    "Change the size to {size}.",
    "Can you make the {x} {size}?",
    "Draw the {x} {size}.",
    "The {x} should be {size}.",
    "Please make the {x} {size}.",
    "Let the {x} be {size}.",
    "Now a {size} {x}.",
    "Could you make it {size}?",
    "Draw a {size} {x} instead.",
    "I want it {size}.",
    "Show a {size} {x}.",
    more=(
        "Please make it {size}.",
        "It should be {size}.",
        "I want the {x} {size}.",
        "Now make the {x} {size}.",
        "Can you make it {size}?",
        "Let it be {size}.",
        "Give the {x} another size: {size}.",
        "The {x} in {size}, please.",
        "A {size} one, please.",
        "I would rather have a {size} {x}.",
        "The {x} is to be {size}.",
        "Set its size to {size}.",
        "Could the {x} be {size}?",
        "Have the {x} {size}.",
    ),
)
ADD = Family(
    "Add {y} {relation} the {x}.",
    "Put {y} {relation} the {x}.",
    "Draw {y} {relation} the {x}, too.",
    "Now add {y} {relation} it.",
    "Place {y} {relation} the {x}.",
    "I also want {y} {relation} the {x}.",
    "Can you add {y} {relation} the {x}?",
    "Add {y}, {relation} the {x}.",
    "Please put {y} {relation} the {x}.",
    "I want to see {y} {relation} the {x}, too.",
    "Also draw {y} {relation} the {x}.",
    "Let {y} stand {relation} the {x}.",
    "There should be {y} {relation} the {x}.",
    "Could you put {y} {relation} it?",
    "Now with {y} {relation} the {x}.",
    more=(
        "Add {y} that is {relation} the {x}.",
        "Now put {y} {relation} the {x}.",
        "I want {y} {relation} the {x}.",
        "The same with {y} {relation} the {x}.",
        "Could you add {y} {relation} the {x}?",
        "Set {y} {relation} the {x}.",
    ),
)
REMOVE = Family(
    "Remove the {x}.",
    "Take the {x} away.",
    "Delete the {x}.",
    "The same without the {x}.",
    "Get rid of the {x}.",
    "No {x}, please.",
    "Please remove the {x}.",
    "Can you take the {x} away?",
    "Draw it without the {x}.",
    "I want it without the {x}.",
    "Take out the {x}.",
    "Now without the {x}.",
    "Could you remove the {x}?",
    "Let the {x} go.",
    "The {x} should go away.",
    more=(
        "Take away the {x}.",
        "I do not want the {x}.",
        "It should be without the {x}.",
        "The same, but without the {x}.",
        "Please take out the {x}.",
        "Leave out the {x}.",
        "Let the {x} disappear.",
        "Make the {x} go away.",
        "Without the {x}, please.",
        "The {x} is too much.",
        "Could you leave out the {x}?",
        "There should be no {x}.",
        "Erase the {x}.",
        "Show it without the {x}.",
    ),
)
COUNT = Family(
    "Make it {xs}.",
    "I want {xs}.",
    "Draw {xs} instead.",
    "Change it to {xs}.",
    "Now {xs}, please.",
    "Show {xs} instead.",
    "Make that {xs}.",
    "I would like {xs} instead.",
    "Can you make it {xs}?",
    "Let there be {xs}.",
    "There should be {xs}.",
    "Please draw {xs} instead.",
    "Could you change it to {xs}?",
    "Let it be {xs}.",
    "Now make it {xs}.",
    more=(
        "I want to see {xs}.",
        "Please make it {xs}.",
        "It should be {xs}.",
        "Draw {xs}.",
        "Make {xs} of it.",
        "The same, but {xs}.",
        "Can you draw {xs} instead?",
    ),
)
GROW = ("bigger", "larger")
SHRINK = ("smaller", "tinier")
_SIDES = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}


def _name(placed: Placed, stream: random.Random) -> str:
    return called(thing(placed.thing), stream)


def _backdrop(scene: Scene, stream: random.Random, split: str) -> Edited:
    backdrop = stream.choice([name for name in BACKDROPS if name != scene.backdrop])
    if stream.random() < 0.4:
        ask = pick(BACKDROP_NAMED, stream, split).format(name=backdrop)
    else:
        ask = pick(BACKDROP, stream, split).format(where=stream.choice(BACKDROP_WORDS[backdrop]))
    return ask, on_backdrop(scene, backdrop)


def _replace(scene: Scene, stream: random.Random, split: str) -> Edited:
    names = [placed.thing for placed in scene.things]
    item = stream.choice([item for item in THINGS if item.name not in names])
    index = stream.randrange(len(names))
    things = [replace(p, thing=item.name) if i == index else p for i, p in enumerate(scene.things)]
    ask = pick(REPLACE, stream, split).format(x=_name(scene.things[index], stream), y=a(called(item, stream)))
    return ask, replace(scene, things=tuple(things))


def _move(scene: Scene, stream: random.Random, split: str) -> Edited:
    placed = scene.things[0]
    place = stream.choice([p for p in PLACES if p != place_of(placed.x, placed.y)])
    ask = pick(MOVE, stream, split).format(x=_name(placed, stream), place=place, at=stream.choice(PLACE_WORDS[place]))
    return ask, replace(scene, things=(put(placed.thing, placed.size, place, stream),))


def _resize(scene: Scene, stream: random.Random, split: str) -> Edited | None:
    """One step up or down by a comparative, or any size by its name; None where it would not fit on the canvas."""
    placed, sizes = scene.things[0], list(SIZES)
    size = stream.choice([size for size in sizes if size != placed.size])
    step = sizes.index(size) - sizes.index(placed.size)
    words = SIZE_WORDS[size]
    if abs(step) == 1 and stream.random() < 0.6:
        ask = stream.choice(("Make it {word}.", "Make the {x} {word}.", "Can you make it {word}?"))
        ask = ask.format(word=stream.choice(GROW if step > 0 else SHRINK), x=_name(placed, stream))
    else:
        ask = pick(RESIZE, stream, split).format(x=_name(placed, stream), size=stream.choice(words))
    resized = replace(placed, size=size)
    return (ask, replace(scene, things=(resized,))) if fits(resized) else None


def _add(scene: Scene, stream: random.Random, split: str) -> Edited | None:
    """The new thing stands in the relation to the one that was there; None where there is no room for it."""
    placed = scene.things[0]
    relation = "in front of" if placed.size == "large" else stream.choice(RELATIONS[:4])
    item = stream.choice([item for item in THINGS if item.name != placed.thing])
    added = put_beside(item.name, relation, placed, stream)
    if added is None or placed.size == "small":
        return None
    words = stream.choice(RELATION_WORDS[relation])
    ask = pick(ADD, stream, split).format(y=a(called(item, stream)), relation=words, x=_name(placed, stream))
    return ask, replace(scene, kind="pair", things=(added, placed), relation=relation)


def _remove(scene: Scene, stream: random.Random, split: str) -> Edited | None:
    """One of two, or one of three where the two others stand in a clear relation."""
    index = stream.randrange(len(scene.things))
    rest = tuple(placed for i, placed in enumerate(scene.things) if i != index)
    ask = pick(REMOVE, stream, split).format(x=_name(scene.things[index], stream))
    if len(rest) == 1:
        return ask, replace(scene, kind="one", things=rest, relation=None)
    relation = relation_of(*rest)
    return (ask, replace(scene, kind="pair", things=rest, relation=relation)) if relation else None


def _count(scene: Scene, stream: random.Random, split: str) -> Edited | None:
    """So many of the thing that is there; those that fit in the new size's row stay, others come or go."""
    count = stream.choice([n for n in (1, 2, 3, 4) if n != len(scene.things)])
    first = scene.things[0]
    xs = called(thing(first.thing), stream, plural=count > 1)
    number = str(count) if stream.random() < 0.2 else NUMBERS[count]
    ask = pick(COUNT, stream, split).format(xs=f"{number} {xs}")
    if count == 1:
        return ask, replace(scene, kind="one", things=(first,))
    things = scene.things
    if first.size not in COUNT_SIZES[count]:
        things = tuple(replace(placed, size=COUNT_SIZES[count][0]) for placed in things)
    more = put_more(things, count, stream) if all(map(fits, things)) else None
    return (ask, replace(scene, kind="count", things=more)) if more else None


EDITS: dict[str, Callable[[Scene, random.Random, str], Edited | None]] = {
    "backdrop": _backdrop,
    "replace": _replace,
    "move": _move,
    "resize": _resize,
    "add": _add,
    "remove": _remove,
    "count": _count,
}
EDITS_FOR = {
    "one": ("backdrop", "replace", "move", "resize", "add", "count"),
    "count": ("backdrop", "count"),
    "pair": ("backdrop", "replace", "remove"),
    "three": ("backdrop", "replace", "remove"),
}


def edit(
    scene: Scene, stream: random.Random, split: str = "train", *, seen: bool = True
) -> tuple[str, str, Scene] | None:
    """A kind of edit, its instruction and the edited scene; None where this try does not fit the scene or the split.

    Where the picture is not `seen` but known from its caption only, what the caption leaves open is settled by it.
    """
    kinds = EDITS_FOR[scene.kind]
    kind = stream.choice((*kinds, "remove") if split == "train" and "remove" in kinds else kinds)
    edited = EDITS[kind](scene, stream, split)
    if edited is None:
        return None
    ask, target = edited
    target = target if seen else _settled(scene, target, stream)
    return (kind, ask, target) if in_split(target, split) else None


def _settled(source: Scene, target: Scene, stream: random.Random) -> Scene:
    """The target with no place, size or relation that the source's caption does not tell."""
    if target.kind == source.kind or target.kind == "count" or source.kind == "one":
        return target
    names = [placed.thing for placed in target.things]
    if target.kind == "pair":
        settled = two_things(names[0], "left of", names[1], target.backdrop, stream)
    else:
        first = source.things[0].thing == names[0]
        relation = source.relation if first or source.relation is None else INVERSE[source.relation]
        settled = one_thing(names[0], target.backdrop, stream, place=_SIDES.get(relation or "", "middle"))
    return replace(settled, variant=target.variant)


_SOURCES = {
    "train": ("one", "one", "count", "pair", "pair", "pair", "three", "three"),
    "heldout": ("one", "one", "one", "count", "pair", "three"),
}
"""Kinds of scenes that are edited: what takes longer to learn is trained more than asked for."""


def sample_edit(stream: random.Random, split: str = "train") -> tuple[str, Scene, str, Scene]:
    """A kind of edit, a scene, an instruction and the edited scene; for "heldout" the edited scene is held out."""
    while True:
        source_split = "train" if split == "train" else stream.choice(("train", "heldout"))
        kind = stream.choice(_SOURCES[split])
        source = upright(sample_scene(stream, kind, source_split))
        edited = edit(source, stream, split)
        if edited:
            return edited[0], source, *edited[1:]
