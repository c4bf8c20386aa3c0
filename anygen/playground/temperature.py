"""How warm the things and the backdrops of the playground are, in degrees Celsius."""

import hashlib

from anygen.playground.things import BACKDROPS, THINGS, Thing

COLDEST, STEP = -20.0, 0.5
"""Of a thermal map: degrees that 0 stands for, and how many more each step of a byte is; 255 is 107.5 degrees."""

_CATEGORIES = {
    "animal": 37.0,
    "food": 19.0,
    "plant": 16.0,
    "vehicle": 48.0,
    "instrument": 22.0,
    "object": 21.0,
    "place": 24.0,
    "sky": 8.0,
    "person": 36.0,
}
_THINGS = {
    **dict.fromkeys(("duck", "chicken", "owl", "penguin", "parrot", "flamingo"), 41.0),
    **dict.fromkeys(("frog", "turtle", "snake", "dinosaur", "snail", "butterfly", "bee", "ladybug"), 23.0),
    **dict.fromkeys(("fish", "shark", "octopus", "crab"), 14.0),
    "ice cream": -9.0,
    "coffee": 68.0,
    "egg": 82.0,
    "pizza": 62.0,
    "hamburger": 56.0,
    "hot dog": 54.0,
    "bread": 34.0,
    "cake": 26.0,
    "bicycle": 24.0,
    "sailboat": 17.0,
    "rocket": 96.0,
    "flying saucer": 72.0,
    "candle": 76.0,
    "light bulb": 88.0,
    "television": 42.0,
    "robot": 46.0,
    "camera": 31.0,
    "telephone": 29.0,
    "volcano": 104.0,
    "fountain": 9.0,
    "castle": 13.0,
    "tower": 27.0,
    "tent": 20.0,
    "sun": 106.0,
    "fire": 102.0,
    "star": 92.0,
    "rainbow": 11.0,
    "cloud": 2.0,
    "moon": -12.0,
    "planet": -16.0,
    "snowflake": -14.0,
    "snowman": -6.0,
    "ghost": -10.0,
}
"""What differs from its kind: birds are warmer, fish and frogs as cold as what is around them, a fire is hot."""

_BACKDROPS = {
    "meadow": 18.0,
    "night": 6.0,
    "sunset": 25.0,
    "desert": 44.0,
    "sea": 12.0,
    "snow": -5.0,
    "room": 21.0,
    "city": 30.0,
    "forest": 15.0,
    "space": -20.0,
}

assert set(_BACKDROPS) == set(BACKDROPS) and set(_THINGS) <= {thing.name for thing in THINGS}


def temperature(thing: Thing) -> float:
    """Degrees of a thing: those of its kind, or its own, and up to 3 more or less, since no two are alike."""
    digest = hashlib.sha256(f"temperature|{thing.name}".encode()).digest()
    return _THINGS.get(thing.name, _CATEGORIES[thing.category]) + (digest[0] % 13 - 6) / 2


def warmth(backdrop: str) -> float:
    """Degrees of the ground of a backdrop."""
    return _BACKDROPS[backdrop]


def level(degrees: float) -> int:
    """The byte that stands for so many degrees in a thermal map; what is out of its reach is at its end."""
    return min(255, max(0, round((degrees - COLDEST) / STEP)))
