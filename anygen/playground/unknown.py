"""What the playground lacks: names of things and places that nano must say it does not know."""

import random

from anygen.playground.caption import REQUESTS, casual
from anygen.playground.things import BACKDROPS, THINGS, thing
from anygen.playground.word import BACKDROP_WORDS, a, called, pick, sentence

UNKNOWN = (
    *("zebra", "goat", "donkey", "wolf", "squirrel", "beaver", "otter", "walrus", "seal", "moose", "ostrich"),
    *("peacock", "lizard", "jellyfish", "starfish", "ant", "mosquito", "rhino", "hippo", "gorilla", "cheetah"),
    *("leopard", "pelican", "raven", "dragon", "unicorn", "vampire", "witch", "knight", "queen", "wizard"),
    *("potato", "tomato", "onion", "avocado", "mango", "sandwich", "soup", "pancake", "waffle", "cucumber"),
    *("peach", "kiwi", "noodle", "sausage", "pumpkin", "daisy", "orchid", "bush", "bamboo", "ivy"),
    *("submarine", "bulldozer", "skateboard", "sled", "tank", "wagon", "yacht", "hovercraft", "excavator", "gondola"),
    *("flute", "harp", "cello", "banjo", "xylophone", "harmonica", "tuba", "clarinet", "oboe", "organ"),
    *("table", "lamp", "sofa", "mirror", "pillow", "blanket", "spoon", "fork", "knife", "plate", "bottle", "cup"),
    *("pencil", "broom", "bucket", "ladder", "shovel", "screw", "vase", "basket", "carpet", "curtain", "wallet"),
    *("computer", "laptop", "printer", "calculator", "compass", "telescope", "anchor", "kite", "sword", "shield"),
    *("bridge", "windmill", "lighthouse", "pyramid", "igloo", "barn", "statue", "tunnel", "dam", "stadium"),
    *("comet", "tornado", "puddle", "waterfall", "iceberg", "glacier", "canyon", "meteor", "tomahawk", "totem"),
    *("glove", "scarf", "belt", "jacket", "skirt", "boot", "necklace", "mask", "helmet", "wig"),
)
"""Names that are no things of the playground and no synonyms; every third is held out."""

PLACES_UNKNOWN = (
    *("kitchen", "bathroom", "school", "library", "hospital", "museum", "theater", "garage", "swamp", "jungle"),
    *("cave", "prison", "factory", "farm", "harbor", "market", "office", "subway", "bakery", "cinema"),
)
"""Places that are no backdrops; every third is held out."""

EXAMPLES = ("cat", "car", "apple")
WITH_PLACE = (
    "{x} {where}",
    "{where}, {x}",
    "{x}, {where}",
    "a scene {where} with {x}",
    "{x} all alone {where}",
    "a view {where} that has {x}",
    "{x} that stands {where}",
    "{where} and with {x}",
    "just {x} {where}",
    "a picture {where} of {x}",
)
WITH_THING = (
    "{x} and {y}",
    "{y} and {x}",
    "{x} next to {y}",
    "{y} above {x}",
    "{y} with {x}",
    "{x} left of {y}",
    "{x} beside {y}",
    "{x} with {y}",
    "{y} right of {x}",
    "{x} below {y}",
    "a scene with {x} and {y}",
    "{y} next to {x}",
    "{y} in front of {x}",
    "{x} together with {y}",
)
_ONSETS = (
    *"b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p ph pl pr".split(),
    *"qu r rh s sc sh sk sn sp st str sw t th tr v w wh y z".split(),
)
_VOWELS = "a a ai e e ea ee i i ie o o oo ou u y".split()
_CODAS = (
    *"b ck d er et ff g in ing k l le ll m mp n na nd o on or p r".split(),
    *"ra rd rf rk rp rt s sh st t th tle ton w x y zz".split(),
)
_KNOWN = frozenset(
    word for item in THINGS for name in (item.name, item.plural, *item.synonyms) for word in name.split()
) | frozenset(BACKDROPS)


def thirds(names: tuple[str, ...], split: str) -> list[str]:
    """The names of a split: every third is held out."""
    return [name for i, name in enumerate(names) if (i % 3 == 2) == (split == "heldout")]


def nonsense(stream: random.Random) -> str:
    """A made-up word, so that not knowing is not learned as a list: 'snooffig', or two halves of names: 'zebroat'."""
    while True:
        if stream.random() < 0.3:
            one, two = (stream.choice(thirds(UNKNOWN, "train")) for _ in range(2))
            word = one[: (len(one) + 1) // 2] + two[len(two) // 2 :]
            if word not in _KNOWN and word not in UNKNOWN:
                return word
            continue
        pieces = [
            part
            for _ in range(stream.choice((1, 2, 2, 3)))
            for part in (stream.choice(_ONSETS), stream.choice(_VOWELS))
        ]
        word = "".join(pieces) + stream.choice(_CODAS)
        if word not in _KNOWN and word not in UNKNOWN:
            return word


def unknown_name(stream: random.Random, split: str = "train") -> str:
    """A name that must be declined."""
    if split == "train" and stream.random() < 0.6:
        return nonsense(stream)
    return stream.choice(thirds(UNKNOWN, split))


def decline(name: str) -> str:
    """The one answer to a request for what is not there."""
    examples = ", ".join(a(example) for example in EXAMPLES[:-1])
    return f"I do not know how to draw {a(name)}. I can draw {examples} or {a(EXAMPLES[-1])}, for example."


def unknown_request(stream: random.Random, split: str = "train") -> tuple[str, str]:
    """A request for something unknown, alone or beside what is known, or for an unknown place; and its name."""
    name = unknown_name(stream, split)
    form = stream.random()
    if form < 0.5:
        x = a(name)
    elif form < 0.7:
        where = stream.choice(BACKDROP_WORDS[stream.choice(BACKDROPS)])
        x = pick(WITH_PLACE, stream, split).format(x=a(name), where=where)
    elif form < 0.9:
        y = a(called(stream.choice(THINGS), stream))
        x = pick(WITH_THING, stream, split).format(x=a(name), y=y)
    else:
        name = stream.choice(thirds(PLACES_UNKNOWN, split))
        x = f"{a(called(stream.choice(THINGS), stream))} in {a(name)}"
    return casual(sentence(pick(REQUESTS, stream, split).format(x=x), end=""), stream), name


assert all(thing(name) for name in EXAMPLES)
