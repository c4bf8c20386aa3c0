"""Edits of films: an instruction and the film that it makes of another one; what is not asked for stays as it is."""

import random
from collections.abc import Callable
from dataclasses import replace

from anygen.playground.film import (
    CAMERAS,
    Director,
    Film,
    can_get_dark,
    is_heldout,
    sample_film,
    suits,
    upright,
)
from anygen.playground.motion import MOTIONS, STILL
from anygen.playground.things import BACKDROPS, THINGS, thing
from anygen.playground.watching import CAMERA_WORDS, MOTION_WORDS
from anygen.playground.word import BACKDROP_WORDS, Family, a, called, pick, sentence

Edited = tuple[str, Film]

BACKDROP = Family(
    "The same {where}.",
    "Now {where}.",
    "Make it {where}.",
    "The same film {where}.",
    "Let it happen {where}.",
    "I want the same film {where}.",
    "Can you show it {where}?",
    "Put it {where}.",
    "Film the same {where}.",
    "Let me see it {where}.",
    more=(
        "Show the same {where}.",
        "Now the same {where}.",
        "Make the film {where}.",
        "Could it happen {where}?",
        "It should happen {where}.",
        "Move it so that it is {where}.",
        "The same, but {where}.",
    ),
)
BY_NIGHT = Family(
    "The same by night.",
    "The same, but by night.",
    "Now by night.",
    "Show it by night.",
    "Make it by night.",
    more=(
        "By night, please.",
        "I want it by night.",
        "The same film by night.",
        "Let it be by night.",
        "Can you show it by night?",
    ),
)
MOTION = Family(
    "Let the {x} {do} instead.",
    "Make the {x} {do}.",
    "The {x} should {do} instead.",
    "Now let the {x} {do}.",
    "I want the {x} to {do}.",
    "Can you let the {x} {do}?",
    "Let the {x} {do}.",
    "The same, but let the {x} {do}.",
    "I want to see the {x} {do} instead.",
    "Could the {x} {do} instead?",
    more=(
        "Now make the {x} {do}.",
        "Please let the {x} {do}.",
        "The {x} should {do}.",
        "I would rather see the {x} {do}.",
        "Could you make the {x} {do}?",
        "Would you let the {x} {do}?",
        "Instead, let the {x} {do}.",
    ),
)
MOTION_IT = Family(
    "Let it {do} instead.",
    "Make it {do}.",
    "It should {do} instead.",
    "Now let it {do}.",
    "I want it to {do}.",
    more=(
        "The same, but let it {do}.",
        "I want to see it {do} instead.",
        "Can you make it {do}?",
        "Can you let it {do}?",
        "Could it {do} instead?",
        "Please make it {do}.",
        "It should {do}.",
        "Now it should {do}.",
        "I would rather see it {do}.",
        "Instead, let it {do}.",
    ),
)
REPLACE = Family(
    "Replace the {x} with {y}.",
    "Change the {x} to {y}.",
    "The same with {y} instead of the {x}.",
    "{y} instead of the {x}, please.",
    "I want {y} instead of the {x}.",
    "Let {y} do it instead of the {x}.",
    "The same, but with {y} instead of the {x}.",
    "Turn the {x} into {y}.",
    "Take {y} instead of the {x}.",
    "Now {y} instead of the {x}.",
    more=(
        "Can you replace the {x} with {y}?",
        "Could it be {y} instead of the {x}?",
        "Not the {x} but {y}.",
        "It should be {y} and not the {x}.",
    ),
)
TURN = Family(
    "The other way round.",
    "In the other direction, please.",
    "Turn the direction around.",
    "Now the other way round.",
    "The opposite, please.",
    "Let it move the other way.",
    more=(
        "Turn it around.",
        "Let it go the other way.",
        "The same in the opposite direction.",
        "Reverse the direction.",
        "The reverse, please.",
        "Now the opposite.",
        "I want the opposite.",
        "Do the opposite.",
        "The same, but the other way round.",
        "Could it go the other way?",
        "Make it move in the other direction.",
        "Let it do the opposite.",
    ),
)
SWAP = Family(
    "In the other order, please.",
    "Let the {y} begin.",
    "First the {y}, then the {x}.",
    "Change the order.",
    "The {y} should move first.",
    "The same in the other order.",
    more=(
        "Swap the order.",
        "The other one first, please.",
        "Let the {y} go first.",
        "Begin with the {y}.",
        "The {y} first, then the {x}.",
        "I want the {y} to begin.",
        "Start with the {y}.",
        "The {x} after the {y}, please.",
        "Now in the other order.",
        "Exchange the order of the two.",
        "Let the {x} come last.",
    ),
)
DUSK = Family(
    "Let it get dark.",
    "Let night fall.",
    "Make the day turn to night.",
    "The same, but it gets dark.",
    "Now let it become night.",
    "Can you make it get dark?",
    more=(
        "Make it get dark.",
        "I want it to get dark.",
        "Let day turn to night.",
        "The same while night falls.",
        "It should get dark.",
        "The same, but night falls.",
        "Now let night fall.",
        "Let it grow dark.",
        "Could night fall?",
        "Let the day turn into night.",
        "Let it turn dark.",
    ),
)
DAY = Family(
    "Do not let it get dark.",
    "Keep the light.",
    "The same without the night.",
    "Let it stay bright.",
    "Do not let night fall.",
    more=(
        "It should stay bright.",
        "Let it stay light.",
        "Do not make it dark.",
        "It should not get dark.",
        "The same, but it stays bright.",
        "Night should not fall.",
        "Keep it bright.",
        "Let there be no night at the end.",
    ),
)
CAMERA = Family(
    "The same, but {camera}.",
    "Film it again so that {camera}.",
    "Now {camera}.",
    "I want that {camera}.",
    "The same while {camera}.",
    "Show it so that {camera}.",
    more=(
        "The same film, but {camera}.",
        "Once more, and {camera}.",
        "Let it be so that {camera}.",
        "The same, and {camera}.",
        "Again, but {camera}.",
        "This time {camera}.",
        "Show the same, but {camera}.",
        "Can you film it so that {camera}?",
    ),
)
OPPOSITES = {
    "crosses from left to right": "crosses from right to left",
    "rises": "falls",
    "grows": "shrinks",
    "appears": "disappears",
    "comes near": "goes away",
}
OPPOSITES |= {other: motion for motion, other in OPPOSITES.items()}


def _restaged(film: Film, actors: list[tuple[str, str]], stream: random.Random) -> Film | None:
    """The same place, camera and light with these things and motions, placed anew; None where no camera suits that."""
    director = Director(stream, variant=film.variant)
    if len(actors) == 1:
        made = director.one(*actors[0], film.backdrop)
    else:
        made = director.two(film.kind, actors[0], actors[1], film.backdrop)
    if film.camera and not suits(made, film.camera):
        return None
    return replace(made, camera=film.camera, dusk=film.dusk)


def _cast(film: Film) -> list[tuple[str, str]]:
    return [(actor.thing, actor.motion) for actor in film.actors]


def _backdrop(film: Film, stream: random.Random, split: str) -> Edited | None:
    backdrop = stream.choice([name for name in BACKDROPS if name != film.backdrop])
    if film.backdrop != "night" and stream.random() < 0.2:
        backdrop = "night"
    if film.dusk and not can_get_dark(backdrop):
        return None
    if backdrop == "night" and stream.random() < 0.5:
        ask = pick(BY_NIGHT, stream, split)
    else:
        ask = pick(BACKDROP, stream, split).format(where=stream.choice(BACKDROP_WORDS[backdrop]))
    return ask, replace(film, backdrop=backdrop)


def _motion(film: Film, stream: random.Random, split: str) -> Edited | None:
    cast = _cast(film)
    index = stream.choice([i for i, (_, motion) in enumerate(cast) if motion != STILL])
    name, motion = cast[index]
    cast[index] = name, stream.choice([other for other in MOTIONS if other != motion])
    words = MOTION_WORDS[cast[index][1]]
    do = words[0] if stream.random() < 0.5 else stream.choice(words)
    family = MOTION_IT if film.kind == "one" and stream.random() < 0.5 else MOTION
    made = _restaged(film, cast, stream)
    if made is None:
        return None
    return pick(family, stream, split).format(x=called(thing(name), stream), do=do), made


def _replace(film: Film, stream: random.Random, split: str) -> Edited:
    index = stream.randrange(len(film.actors))
    item = stream.choice([item for item in THINGS if item.name not in film.things])
    x = called(thing(film.actors[index].thing), stream)
    ask = sentence(pick(REPLACE, stream, split).format(x=x, y=a(called(item, stream))), end="")
    actors = [replace(actor, thing=item.name) if i == index else actor for i, actor in enumerate(film.actors)]
    return ask, replace(film, actors=tuple(actors))


def _turn(film: Film, stream: random.Random, split: str) -> Edited | None:
    if film.kind not in ("one", "beside") or film.movers[0].motion not in OPPOSITES:
        return None
    cast = [(name, OPPOSITES.get(motion, motion)) for name, motion in _cast(film)]
    made = _restaged(film, cast, stream)
    return (pick(TURN, stream, split), made) if made else None


def _swap(film: Film, stream: random.Random, split: str) -> Edited | None:
    if film.kind != "then":
        return None
    x, y = (called(thing(name), stream) for name in film.things)
    made = _restaged(film, _cast(film)[::-1], stream)
    return (pick(SWAP, stream, split).format(x=x, y=y), made) if made else None


def _dusk(film: Film, stream: random.Random, split: str) -> Edited | None:
    if not can_get_dark(film.backdrop):
        return None
    return pick(DAY if film.dusk else DUSK, stream, split), replace(film, dusk=not film.dusk)


def _camera(film: Film, stream: random.Random, split: str) -> Edited | None:
    camera = stream.choice([name for name in CAMERAS if name != film.camera])
    if not suits(film, camera):
        return None
    words = stream.choice([words for words in CAMERA_WORDS[camera] if words.startswith("the")])
    return pick(CAMERA, stream, split).format(camera=words), replace(film, camera=camera)


FILM_EDITS: dict[str, Callable[[Film, random.Random, str], Edited | None]] = {
    "backdrop": _backdrop,
    "motion": _motion,
    "replace": _replace,
    "turn": _turn,
    "swap": _swap,
    "dusk": _dusk,
    "camera": _camera,
}
_WEIGHTS = (6, 6, 4, 3, 3, 2, 2)


def edit_film(film: Film, stream: random.Random, split: str = "train") -> tuple[str, str, Film] | None:
    """A kind of edit, its instruction and the edited film; None where this try does not fit the film or the split."""
    kind = stream.choices(list(FILM_EDITS), _WEIGHTS)[0]
    edited = FILM_EDITS[kind](film, stream, split)
    if edited is None or is_heldout(edited[1]) != (split == "heldout"):
        return None
    return kind, *edited


_SOURCES = {
    "train": ("one", "one", "beside", "together", "then", "then"),
    "heldout": ("one", "one", "one", "beside", "together", "then"),
}
"""Kinds of films that are edited: what takes longer to learn is trained more than asked for."""


def sample_film_edit(stream: random.Random, split: str = "train") -> tuple[str, Film, str, Film]:
    """A kind of edit, a film, an instruction and the edited film; for "heldout" the edited film is held out."""
    while True:
        source_split = "train" if split == "train" else stream.choice(("train", "heldout"))
        kind = stream.choice(_SOURCES[split])
        source = upright(sample_film(stream, kind, source_split))
        edited = edit_film(source, stream, split)
        if edited:
            return edited[0], source, *edited[1:]
