"""The motions of the playground: where a thing is in each frame, how large it is and how it is turned."""

from collections.abc import Callable
from dataclasses import dataclass

from anygen.playground.things import SIZES

FRAMES = 16
"""Frames of a film."""

FPS = 8
"""Frames per second."""

STILL = "stands still"
ANGLES = 16  # turns of a thing that spins, clockwise, in equal steps
SHAKE = 4 / 64  # how far a thing that shakes moves to either side, as a share of the canvas
BEAT = 4  # frames of one bounce, and of one shake
GROWTH = 2.0  # how often as large a thing becomes
ZOOM = 4 / 3  # how often as large everything is at the near end of a zoom
PAN = 16 / 64  # how far a pan goes, as a share of the canvas


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A thing in a film: its name, its motion, its size at the start of it, and where it is.

    `x`, `y` is its centre when the motion begins, `x2`, `y2` the point that the motion leads to: the end of a way, the
    top of a bounce, the centre of a circle; both as shares of the canvas (y points down). It moves from frame `begin`
    up to the one before `end`.
    """

    thing: str
    motion: str
    size: str
    x: float
    y: float
    x2: float
    y2: float
    begin: int = 0
    end: int = FRAMES


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """A thing in one frame: centre and side as shares of the canvas, clockwise turn 0..ANGLES - 1, if it is there."""

    x: float
    y: float
    side: float
    angle: int = 0
    seen: bool = True


CIRCLE = (
    *((0, -1000), (383, -924), (707, -707), (924, -383), (1000, 0), (924, 383), (707, 707), (383, 924)),
    *((0, 1000), (-383, 924), (-707, 707), (-924, 383), (-1000, 0), (-924, -383), (-707, -707), (-383, -924)),
)
"""Points of a circle in thousandths of its radius, clockwise from its top: the same on every machine."""

_Move = Callable[[Actor, float, int, int], Pose]
"""From an actor, how much of its time has gone (0..1), frames since its beginning and frames that it has, to a pose."""


def _pose(actor: Actor, q: float, scale: float = 1.0, angle: int = 0) -> Pose:
    """On the straight way, so far along it, so often as large."""
    x, y = actor.x + (actor.x2 - actor.x) * q, actor.y + (actor.y2 - actor.y) * q
    return Pose(x=x, y=y, side=SIZES[actor.size] * scale, angle=angle)


def _travel(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, q)


def _fall(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, q * q)


def _bounce(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, (0.0, 0.75, 1.0, 0.75)[frame % BEAT])


def _spin(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, 0, angle=int(ANGLES * q + 0.5) % ANGLES)


def _grow(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, q, 1 + (GROWTH - 1) * q)


def _shrink(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, q, 1 - (1 - 1 / GROWTH) * q)


def _circle(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    """Clockwise around its second point, once, from the top."""
    radius = actor.y2 - actor.y
    x, y = CIRCLE[int(len(CIRCLE) * q + 0.5) % len(CIRCLE)]
    return Pose(x=actor.x2 + radius * x / 1000, y=actor.y2 + radius * y / 1000, side=SIZES[actor.size])


def _shake(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return Pose(x=actor.x + (0, SHAKE, 0, -SHAKE)[frame % BEAT], y=actor.y, side=SIZES[actor.size])


def _appear(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return Pose(x=actor.x, y=actor.y, side=SIZES[actor.size], seen=frame >= frames // 2)


def _disappear(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return Pose(x=actor.x, y=actor.y, side=SIZES[actor.size], seen=frame < frames // 2)


def _stand(actor: Actor, q: float, frame: int, frames: int) -> Pose:
    return _pose(actor, 0)


MOVES: dict[str, _Move] = {
    "crosses from left to right": _travel,
    "crosses from right to left": _travel,
    "rises": _travel,
    "falls": _fall,
    "bounces": _bounce,
    "spins": _spin,
    "grows": _grow,
    "shrinks": _shrink,
    "circles": _circle,
    "shakes": _shake,
    "appears": _appear,
    "disappears": _disappear,
    "comes near": _grow,
    "goes away": _shrink,
}
MOTIONS = tuple(MOVES)
CROSSINGS = MOTIONS[:2]
ENLARGING = ("grows", "comes near")
CHANGING = (*ENLARGING, "shrinks", "goes away")
"""Motions in which the size changes."""
REPEATED = ("bounces", "shakes")
"""Motions with a beat."""


def pose(actor: Actor, frame: int) -> Pose:
    """The actor in this frame of its film; before its motion begins it waits, and after the end it stays."""
    frames = actor.end - actor.begin
    since = min(max(frame - actor.begin, 0), frames - 1)
    if frame >= actor.end and actor.motion in REPEATED:
        since = 0  # back where it began
    return MOVES.get(actor.motion, _stand)(actor, since / (frames - 1), since, frames)


def poses(actor: Actor) -> list[Pose]:
    """The actor in every frame."""
    return [pose(actor, frame) for frame in range(FRAMES)]


def zoom_at(step: int) -> float:
    """How often as large everything is, 0..FRAMES - 1 steps into a zoom."""
    return 1 + (ZOOM - 1) * step / (FRAMES - 1)


def seen_by(camera: str | None, frame: int, now: Pose) -> Pose:
    """A pose as the camera sees it."""
    if camera is None:
        return now
    if camera.startswith("pans"):
        shift = PAN * frame / (FRAMES - 1) * (-1 if camera == "pans right" else 1)
        return Pose(x=now.x + shift, y=now.y, side=now.side, angle=now.angle, seen=now.seen)
    zoom = zoom_at(frame if camera == "zooms in" else FRAMES - 1 - frame)
    x, y = 0.5 + (now.x - 0.5) * zoom, 0.5 + (now.y - 0.5) * zoom
    return Pose(x=x, y=y, side=now.side * zoom, angle=now.angle, seen=now.seen)
