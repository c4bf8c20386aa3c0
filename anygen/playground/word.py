"""The small words: articles, numbers, names of sizes, places, relations and backdrops; the choice of a template."""

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from anygen.playground.things import PLACES, Thing, thing

T = TypeVar("T")

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big", "huge"),
}

PLACE_WORDS = {
    "top left": ("at the top left", "in the top left corner", "in the upper left"),
    "top": ("at the top", "near the top edge"),
    "top right": ("at the top right", "in the top right corner", "in the upper right"),
    "left": ("at the left", "on the left", "on the left side"),
    "middle": ("in the middle", "in the center", "in the centre"),
    "right": ("at the right", "on the right", "on the right side"),
    "bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left"),
    "bottom": ("at the bottom", "near the bottom edge"),
    "bottom right": ("at the bottom right", "in the bottom right corner", "in the lower right"),
}
"""For each place what one says of it; the first is the canonical phrase."""

RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath", "underneath"),
    "in front of": ("in front of",),
    "behind": ("behind",),
}
INVERSE = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "in front of": "behind",
    "behind": "in front of",
}

BACKDROP_WORDS = {
    "meadow": ("on a meadow", "on the grass", "in a green field"),
    "night": ("at night", "under a night sky", "in the dark"),
    "sunset": ("at sunset", "at dusk", "in the evening"),
    "desert": ("in the desert", "on the sand"),
    "sea": ("at sea", "on the sea", "on the ocean"),
    "snow": ("in the snow", "in winter"),
    "room": ("in a room", "indoors"),
    "city": ("in the city", "in town"),
    "forest": ("in the forest", "in the woods"),
    "space": ("in space", "in outer space"),
}
"""For each backdrop what one says of a thing that is there; the first is the canonical phrase."""

_WITHOUT_ARTICLE = frozenset({"grapes", "scissors", "glasses", "corn", "bread", "cheese", "maize"})
_SOUNDS_LIKE_A = ("uni", "use", "ufo", "one", "eu")
_SOUNDS_LIKE_AN = ("hour", "x-ray")


def article(words: str) -> str:
    """'a', 'an' or 'some', as the words that follow ask for; 'some' is for things that English does not count."""
    last = words.split()[-1]
    if last in _WITHOUT_ARTICLE:
        return "some"
    vowel = words[0] in "aeiou" and not words.startswith(_SOUNDS_LIKE_A)
    return "an" if vowel or words.startswith(_SOUNDS_LIKE_AN) else "a"


def a(words: str) -> str:
    """The words with their article before them: 'an old owl'."""
    return f"{article(words)} {words}"


def plural_of(name: str) -> str:
    """Plural of a synonym (a thing knows its own): 'puppies', 'foxes', 'bikes'."""
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    head, of, tail = name.partition(" of ")
    return f"{head}s of {tail}" if of else name + "s"


def counted(name: str, count: int) -> str:
    """The canonical phrase for so many of a thing: 'a cat', 'three mice'."""
    return a(name) if count == 1 else f"{NUMBERS[count]} {thing(name).plural}"


def called(item: Thing, stream: random.Random, plural: bool = False) -> str:
    """A name for a thing as a user may use it: mostly the canonical one, at times a synonym."""
    if item.synonyms and stream.random() < 0.3:
        synonym = stream.choice(item.synonyms)
        return plural_of(synonym) if plural else synonym
    return item.plural if plural else item.name


def listed(words: Sequence[str], last: str = "and") -> str:
    """'a cat', 'a cat and a dog', 'a cat, a dog and a car'."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def sentence(words: str, end: str = ".") -> str:
    """The words with a capital and a full stop."""
    return words[:1].upper() + words[1:] + end


class Family(tuple[str, ...]):
    """Phrasings of one thing, with `more` that are for training alone: they leave what is held out as it was."""

    more: tuple[str, ...]

    def __new__(cls, *items: str, more: tuple[str, ...] = ()) -> "Family":
        family = super().__new__(cls, items)
        family.more = more
        return family


def split_part(items: Sequence[T], split: str) -> Sequence[T]:
    """The part of a family that a split may use: every fifth member is held out, the others are for training, as is
    what a `Family` has more of."""
    if split not in ("train", "heldout"):
        raise ValueError(f"no split is called '{split}'; there are 'train' and 'heldout'")
    if len(items) < 5:
        raise ValueError(f"a family of {len(items)} has no held-out part; it needs at least 5 members")
    if split == "heldout":
        return items[4::5]
    more: Any = items.more if isinstance(items, Family) else ()
    return [*(item for i, item in enumerate(items) if i % 5 != 4), *more]


def pick(items: Sequence[T], stream: random.Random, split: str) -> T:
    """One member of the split's part of a family."""
    return stream.choice(split_part(items, split))


def at(place: str) -> str:
    """The canonical phrase for a place: 'at the top left', 'in the middle'."""
    return PLACE_WORDS[place][0]


assert tuple(PLACE_WORDS) == PLACES
