"""Squares: where things stand to an eighth of the canvas, in words that a generator is told behind a caption.

The canvas is a board of eight by eight. Columns are a to h from the left, rows 1 to 8 from the top: 'a dog left of a
cat, meadow: b4 g5'. A caption leaves open where exactly things stand; what edits a picture has to keep it.
"""

import math

from anygen.playground.caption import caption
from anygen.playground.scene import Placed, Scene
from anygen.playground.things import SIZES

SIDE = 8
COLUMNS = "abcdefgh"


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
    """The canonical caption, or what is `said` for it, and the squares of its things: 'two fish, sea: b4 g5'.

    Of three things that are small it says so, as its caption does not: 'three owls, city: small b2 d5 g3'.
    """
    squares = " ".join(map(square_of, scene.things))
    small = len(scene.things) == 3 and scene.things[0].size == "small"
    return f"{said or caption(scene)}: {'small ' if small else ''}{squares}"


def _corner(middle: float, cells: int) -> int:
    """The first whole square of so many whose middle is nearest to `middle`, with all of them on the canvas."""
    return min(max(math.floor(SIDE * middle - cells / 2 + 0.5), 0), SIDE - cells)
