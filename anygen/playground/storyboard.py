"""Storyboards: a film as captions of some of its frames, as prompt travel has it: '0: a large cat ... | 15: ...'."""

import math

from anygen.playground.film import Film
from anygen.playground.motion import CHANGING, CROSSINGS, ENLARGING, FRAMES, Actor, Pose, pose, seen_by
from anygen.playground.scene import place_of
from anygen.playground.squares import COLUMNS, SIDE
from anygen.playground.things import SIZES
from anygen.playground.word import a, at

_KEYS = {
    **dict.fromkeys((*CROSSINGS, "rises"), (0, 7, 15)),
    "falls": (0, 11, 15),
    "bounces": tuple(range(0, FRAMES, 2)),
    "spins": (0, 4, 8, 12, 15),
    "circles": (0, 4, 8, 12, 15),
    "shakes": tuple(range(FRAMES)),
    "appears": (7, 8),
    "disappears": (7, 8),
    **dict.fromkeys(ENLARGING, (0, 6, 15)),
    **dict.fromkeys((name for name in CHANGING if name not in ENLARGING), (0, 8, 15)),
}
"""Frames, of sixteen, at which a motion has come to what a caption can say; between them it goes evenly."""

_TURNED = ("", "turned right", "upside down", "turned left")
_CELLS = {1: "very small", 2: "small", 3: "medium", 4: "large", 5: "very large", 6: "huge"}
"""What a thing is called that is so many eighths of the canvas large."""
_QUARTERS = ("", "a little", "half", "all the way")
UNLIKE = (*_TURNED[1:], "very large", "very small", "huge")
"""What captions of frames say, and captions of pictures never."""


def storyboard(film: Film) -> str:
    """The captions of the frames in which something has come to a place, a size or a turn that words have.

    What two captions say, a frame between them is between. A caption is that of a picture of one thing; of two things
    both are placed: 'a medium cat at the left and a medium dog at the right, sea'.
    """
    through = {FRAMES // 2} if film.camera or film.dusk else set()
    keys = sorted({0, FRAMES - 1, *through, *(key for actor in film.movers for key in keys_of(actor))})
    told = [(key, frame_caption(film, key)) for key in keys]
    around = zip(told, told[1:], told[2:], strict=False)
    middle = [one for before, one, after in around if not before[1] == one[1] == after[1]]
    return " | ".join(f"{key}: {text}" for key, text in (told[0], *middle, told[-1]))


def keys_of(actor: Actor) -> list[int]:
    """The frames of an actor's motion at which it has come to something, in its own time."""
    share = (actor.end - actor.begin - 1) / (FRAMES - 1)
    keys = {actor.begin + round(key * share) for key in _KEYS[actor.motion]}
    return sorted(keys | {actor.begin, actor.end - 1})


def frame_caption(film: Film, frame: int) -> str:
    """What a storyboard says of this frame: size and place of what is seen, turns, backdrop, camera and dusk.

    How a thing is turned that is alone comes behind the backdrop, else behind its place: of two it says which.
    """
    seen = [(actor, now) for actor in film.actors if (now := pose(actor, frame)).seen]
    turns = [_TURNED[turn_of(actor, now)] for actor, now in seen]
    alone = len(seen) == 1
    told = [_words(actor, now) for actor, now in seen]
    words = [" and ".join(told if alone else (f"{one} {turn}".strip() for one, turn in zip(told, turns, strict=True)))]
    words += [film.backdrop, *(turns if alone else ())]
    over = [film.camera] if film.camera else []  # without the word camera, which is a thing that is drawn
    over += ["it gets dark"] if film.dusk else []
    if frame >= FRAMES // 4:  # what goes on through all of the film has words for a half and for the whole of it
        words += [word if frame > 3 * FRAMES // 4 else f"{word} a little" for word in over]
    return ", ".join(word for word in words if word)


def turn_of(actor: Actor, now: Pose) -> int:
    """By how many quarters of a turn, clockwise, 0 to 3, a storyboard says that this actor is turned."""
    return (now.angle + 2) // 4 % 4 if actor.motion == "spins" else 0


def _words(actor: Actor, now: Pose) -> str:
    size = min(SIZES, key=lambda name: abs(SIZES[name] - now.side))
    if now.side > 1.25 * SIZES["large"]:
        size = "very large"
    elif now.side < 0.8 * SIZES["small"]:
        size = "very small"
    beside = "" if actor.motion != "shakes" else {-1: " to the left", 1: " to the right"}.get(_side(actor, now), "")
    return f"{a(f'{size} {actor.thing}')} {at(place_of(now.x, now.y))}{beside}"


def _side(actor: Actor, now: Pose) -> int:
    return (now.x > actor.x) - (now.x < actor.x)


# --- square by square


def squared(film: Film) -> str:
    """A storyboard in which every frame has the square, the size and the turn of each thing, as the camera sees it.

    '0: a medium cat b5, sea | 3: a medium cat c5, sea | ...': things go in steps of eighths of the canvas, as they are
    drawn on the board (`projection.Projection`'s `cell`), and there is a caption for every frame before or behind which
    another one is; nothing is between two of them.
    """
    told = [squared_caption(film, frame) for frame in range(FRAMES)]
    keys = [
        frame
        for frame in range(FRAMES)
        if frame in (0, FRAMES - 1) or not told[frame - 1] == told[frame] == told[frame + 1]
    ]
    return " | ".join(f"{key}: {told[key]}" for key in keys)


def squared_caption(film: Film, frame: int) -> str:
    """What a storyboard with squares says of this frame: 'a large cat e5 turned right and a small dog b2, sea'.

    What goes on through all of the film, a camera's way and dusk, is told by quarters of it.
    """
    told = []
    for actor, now in seen_in(film, frame):
        turn = _TURNED[turn_of(actor, now)]
        column, row, cells = on_board(now)
        words = f"{a(f'{_CELLS[cells]} {actor.thing}')} {COLUMNS[column]}{row + 1} {turn}"
        told.append(words.strip())
    over = [film.camera] if film.camera else []
    over += ["it gets dark"] if film.dusk else []
    quarter = _QUARTERS[frame * len(_QUARTERS) // FRAMES]
    over = [f"{word} {quarter}" for word in over] if quarter else []
    return ", ".join(word for word in (" and ".join(told), film.backdrop, *over) if word)


def seen_in(film: Film, frame: int) -> list[tuple[Actor, Pose]]:
    """The things of a frame in the film's order, as the camera sees them."""
    poses = ((actor, pose(actor, frame)) for actor in film.actors)
    return [(actor, seen_by(film.camera, frame, now)) for actor, now in poses if now.seen]


def on_board(now: Pose) -> tuple[int, int, int]:
    """Column and row of the square of a pose's middle, 0 to 7, and its side in squares, as it is drawn on the board."""
    cells = min(_CELLS, key=lambda count: (abs(count / SIDE - now.side), -count))
    column, row = (
        min(max(math.floor(SIDE * share - cells / 2 + 0.5) + cells // 2, 0), SIDE - 1) for share in (now.x, now.y)
    )
    return column, row, cells
