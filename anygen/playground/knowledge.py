"""What nano knows without a picture: what there is, what it is, what it sounds like, and sums (`sums.py`)."""

import random
from collections.abc import Callable, Mapping

from anygen.playground.caption import casual
from anygen.playground.knowledge_wording import (
    ABILITIES,
    ANOTHER_WORD,
    BACKDROPS_KNOWN,
    CAN_DRAW,
    HELLO,
    IS_A,
    NAME_SOME,
    PLURAL,
    SIZES_KNOWN,
    SOUND,
    THANKS,
    WHAT_IS,
    WHO_ARE_YOU,
    WHO_GOES,
)
from anygen.playground.sound import INDEX as AUDIBLE
from anygen.playground.sums import Answered, answered, count_on, count_to, plain_sum, things_sum
from anygen.playground.things import BACKDROPS, SIZES, THINGS
from anygen.playground.unknown import decline, unknown_name
from anygen.playground.word import a, article, called, listed, pick, plural_of

KINDS = {
    "animal": "an animal",
    "food": "food",
    "plant": "a plant",
    "vehicle": "a vehicle",
    "instrument": "an instrument",
}
KINDS_PLURAL = {
    "animal": "animals",
    "food": "food",
    "plant": "plants",
    "vehicle": "vehicles",
    "instrument": "instruments",
}

_ABLE = "I can draw animals, food, plants, vehicles, instruments and many other things"
_SOUNDS = [item.sound for item in THINGS]


def _abilities(stream: random.Random, split: str) -> Answered:
    return answered(pick(ABILITIES, stream, split), _ABLE)


def _name_some(stream: random.Random, split: str) -> Answered:
    category = stream.choice(list(KINDS))
    names = [item.name for item in THINGS if item.category == category][:4]
    ask = pick(NAME_SOME, stream, split).format(kinds=KINDS_PLURAL[category])
    return answered(ask, f"I can draw {listed([a(name) for name in names])}, for example")


def _can_draw(stream: random.Random, split: str) -> Answered:
    if stream.random() < 0.5:
        name = unknown_name(stream, split)
        return answered(pick(CAN_DRAW, stream, split).format(x=a(name)), decline(name)[:-1])
    item = stream.choice(THINGS)
    ask = pick(CAN_DRAW, stream, split).format(x=a(called(item, stream)))
    return answered(ask, f"Yes, I can draw {a(item.name)}", "Yes")


def _is_a(stream: random.Random, split: str) -> Answered:
    category = stream.choice(list(KINDS))
    members = [item for item in THINGS if item.category == category]
    right = stream.random() < 0.5
    item = stream.choice(members if right else [item for item in THINGS if item not in members])
    ask = pick(IS_A, stream, split).format(x=a(called(item, stream)), kind=KINDS[category])
    said, short = (f"yes, {a(item.name)} is", "yes") if right else (f"no, {a(item.name)} is not", "no")
    return answered(ask, f"{said} {KINDS[category]}", short)


def _what_is(stream: random.Random, split: str) -> Answered:
    item = stream.choice([item for item in THINGS if item.category in KINDS])
    verb = "are" if item.plural == item.name and article(item.name) == "some" else "is"
    ask = pick(WHAT_IS, stream, split)
    if item.synonyms and stream.random() < 0.4:
        name = stream.choice(item.synonyms)
        return answered(ask.format(x=a(name)), f"{a(name)} is {a(item.name)}")
    return answered(ask.format(x=a(item.name)), f"{a(item.name)} {verb} {KINDS[item.category]}", KINDS[item.category])


def _sound(stream: random.Random, split: str) -> Answered:
    voiced = stream.random() < 0.85
    silent = [item for item in THINGS if not item.sound and item.name not in AUDIBLE]
    item = stream.choice([item for item in THINGS if item.sound] if voiced else silent)
    ask = pick(SOUND, stream, split).format(x=a(called(item, stream)))
    if item.sound:
        return answered(ask, f"{a(item.name)} goes {item.sound}", item.sound)
    return answered(ask, f"I know no sound of {a(item.name)}")


def _who_goes(stream: random.Random, split: str) -> Answered:
    item = stream.choice([item for item in THINGS if item.sound and _SOUNDS.count(item.sound) == 1])
    ask = pick(WHO_GOES, stream, split).format(sound=item.sound)
    return answered(ask, f"{a(item.name)} goes {item.sound}", a(item.name))


def _backdrops(stream: random.Random, split: str) -> Answered:
    return answered(pick(BACKDROPS_KNOWN, stream, split), listed(BACKDROPS))


def _sizes(stream: random.Random, split: str) -> Answered:
    return answered(pick(SIZES_KNOWN, stream, split), listed(list(SIZES)))


def _another_word(stream: random.Random, split: str) -> Answered:
    item = stream.choice([item for item in THINGS if item.synonyms])
    ask = pick(ANOTHER_WORD, stream, split)
    if stream.random() < 0.3:
        name = stream.choice(item.synonyms)
        return answered(ask.format(x=name), f"another word for {name} is {item.name}", item.name)
    ways = [f"another word for {item.name} is {name}" for name in item.synonyms]
    return answered(ask.format(x=item.name), *ways, *item.synonyms)


def _plural(stream: random.Random, split: str) -> Answered:
    item = stream.choice(THINGS)
    if item.synonyms and stream.random() < 0.2:
        name = stream.choice(item.synonyms)
        return answered(pick(PLURAL, stream, split).format(x=name), plural_of(name))
    return answered(pick(PLURAL, stream, split).format(x=item.name), item.plural)


def _manners(stream: random.Random, split: str) -> Answered:
    kind = stream.randrange(3)
    if kind == 0:
        return answered(pick(WHO_ARE_YOU, stream, split), "I am AnyGen. I look at pictures, draw and tell stories")
    if kind == 1:
        return pick(HELLO, stream, split), ["Hello! What shall I draw?"]
    return pick(THANKS, stream, split), ["You are welcome."]


FIELDS: dict[str, Callable[[random.Random, str], Answered]] = {
    "abilities": _abilities,
    "name some": _name_some,
    "can draw": _can_draw,
    "is a": _is_a,
    "what is": _what_is,
    "sound": _sound,
    "who goes": _who_goes,
    "sum of things": things_sum,
    "sum": plain_sum,
    "count to": count_to,
    "count on": count_on,
    "backdrops": _backdrops,
    "sizes": _sizes,
    "another word": _another_word,
    "plural": _plural,
    "manners": _manners,
}
_WEIGHTS = {
    "train": (1, 2, 2, 4, 3, 4, 2, 7, 5, 1, 3, 1, 1, 2, 1, 2),
    "heldout": (1, 2, 2, 4, 3, 4, 2, 4, 2, 1, 0, 1, 1, 2, 1, 2),
}
"""How often each field is asked about; sums, which take the longest to learn, are trained more often than asked for,
and counting on, which is a step on the way to them, in training alone."""


SUMS = {
    "train": {"sum of things": 6.0, "sum": 4.0, "count on": 1.5},
    "heldout": {"sum of things": 6.0, "sum": 4.0},
}
"""Fields that are learnt by many examples, unlike what there is to know by heart."""


def world_question(
    stream: random.Random, split: str = "train", fields: Mapping[str, float] | None = None
) -> tuple[str, str, list[str]]:
    """A field of knowledge, a question from it, and its right answers, the canonical one first.

    `fields` are weights of the fields that are asked about; without them all are, as often as the split asks them.
    """
    weights = fields or dict(zip(FIELDS, _WEIGHTS[split], strict=True))
    field = stream.choices(list(weights), list(weights.values()))[0]
    ask, ways = FIELDS[field](stream, split)
    return field, casual(ask, stream), ways
