"""Squares: where things stand to an eighth of the canvas, in words that a generator is told behind their names.

The canvas is a board of eight by eight. Columns are a to h from the left, rows 1 to 8 from the top: 'a dog b4 left of a
cat g5, meadow'. A caption leaves open where exactly things stand; what edits a picture has to keep it. Behind its name
a thing's square is next to what it belongs to; behind the whole caption a small text encoder hardly learns whose it is.
"""

import math
import re

from anygen.playground.caption import caption
from anygen.playground.reading import mentions
from anygen.playground.scene import Placed, Scene
from anygen.playground.things import SIZES

SIDE = 8
COLUMNS = "abcdefgh"
_SQUARE = re.compile(r"\b[a-h][1-8]\b")


def square_of(placed: Placed) -> str:
    """The square that holds the middle of the thing's sprite, brought to whole squares: 'b4'."""
    cells = round(SIDE * SIZES[placed.size])
    column, row = (_corner(share, cells) + cells // 2 for share in (placed.x, placed.y))
    return f"{COLUMNS[column]}{row + 1}"


def centre_of(square: str, size: str) -> tuple[float, float]:
    """The centre of a sprite of this size at a square, as shares of the canvas: the inverse of `square_of`."""
    if len(square) != 2 or square[0] not in COLUMNS or square[1] not in "12345678":
        raise ValueError(f"no square '{square}'; columns are a to h from the left, rows 1 to 8 from the top")
    cells = round(SIDE * SIZES[size])
    at = (COLUMNS.index(square[0]), int(square[1]) - 1)
    x, y = ((min(max(place - cells // 2, 0), SIDE - cells) + cells / 2) / SIDE for place in at)
    return x, y


def placed_caption(scene: Scene, said: str = "") -> str:
    """The canonical caption, or what is `said` for it, with the squares of its things behind their names.

    'a dog b4 left of a cat g5, meadow', 'two fish b4 g5, sea'. Of two or three things that are small it says so, as
    their caption does not: 'three owls small b2 d5 g3, city'. The squares of things that it does not name stand at its
    end: 'it, city: b2'.
    """
    text, squares = said or caption(scene), dict[str, list[str]]()
    for placed in scene.things:
        squares.setdefault(placed.thing, []).append(square_of(placed))
    small = "small " if len(scene.things) in (2, 3) and scene.things[0].size == "small" else ""
    for name, end in sorted(mentions(text).items(), key=lambda named: -named[1]):
        if name in squares:
            text = f"{text[:end]} {small}{' '.join(squares.pop(name))}{text[end:]}"
    rest = " ".join(square for some in squares.values() for square in some)
    return f"{text}: {small}{rest}" if rest else text


def squares_in(text: str) -> list[int]:
    """Where in a text each of its squares ends."""
    return [found.end() for found in _SQUARE.finditer(text)]


def _corner(middle: float, cells: int) -> int:
    """The first whole square of so many whose middle is nearest to `middle`, with all of them on the canvas."""
    return min(max(math.floor(SIDE * middle - cells / 2 + 0.5), 0), SIDE - cells)
