"""What a track is the track of: the motion that best explains where a thing was seen, by least squares."""

import math
from dataclasses import dataclass, field

import numpy as np

from anygen.playground.motion import BEAT, CHANGING, CIRCLE, FRAMES, MOTIONS, STILL

Slot = tuple[int, int]
"""The first frame of a motion and the one after its last."""

WHOLE: Slot = (0, FRAMES)
HALVES: tuple[Slot, Slot] = (0, FRAMES // 2), (FRAMES // 2, FRAMES)

_PIXEL = 1 / 64
_SIGMA = np.array([1.5, 1.5, 2.0]) * _PIXEL  # of x, y and side
_MOST = 9.0  # cost of a frame in which the thing is somewhere else, as good as not there
_MISSED = 7.0  # cost of a frame in which it should be seen and is not, or the reverse
_MORE = 1.5  # cost of each number that a motion has and standing still has not


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """Where a thing was found in each frame, in the world's own coordinates: shares of the canvas, float [FRAMES].

    `turned` says for each slot how much better a turning thing explains its frames than an upright one (cost), and
    `turned_at` where it then is, [FRAMES, 3].
    """

    x: np.ndarray
    y: np.ndarray
    side: np.ndarray
    seen: np.ndarray
    turned: dict[Slot, float] = field(default_factory=dict)
    turned_at: dict[Slot, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A motion, when it is made, what it costs, and in which frames the thing should then be there (bool [FRAMES])."""

    motion: str
    slot: Slot
    cost: float
    there: np.ndarray


def _course(motion: str, slot: Slot) -> np.ndarray:
    """How x, y and side go over the frames, up to a factor, 0 where they stay: float [FRAMES, 3]."""
    begin, end = slot
    since = np.clip(np.arange(FRAMES) - begin, 0, end - begin - 1)
    q = since / (end - begin - 1)
    course = np.zeros((FRAMES, 3))
    if motion.startswith("crosses"):
        course[:, 0] = q
    elif motion in ("rises", "falls"):
        course[:, 1] = q if motion == "rises" else q * q
    elif motion in ("bounces", "shakes"):
        beat = np.array((0, 0.75, 1, 0.75) if motion == "bounces" else (0, 1, 0, -1))[since % BEAT]
        course[:, 1 if motion == "bounces" else 0] = np.where(np.arange(FRAMES) < end, beat, 0)
    elif motion == "circles":
        course[:, :2] = np.array(CIRCLE)[(q * len(CIRCLE) + 0.5).astype(int) % len(CIRCLE)] / 1000
    elif motion in CHANGING:
        course[:, 2] = q
        if motion in ("comes near", "goes away"):
            course[:, :2] = q[:, None]
    return course


def _there(motion: str, slot: Slot) -> np.ndarray:
    middle = (slot[0] + slot[1]) // 2
    frames = np.arange(FRAMES)
    if motion == "appears":
        return frames >= middle
    return frames < middle if motion == "disappears" else np.ones(FRAMES, bool)


_SLOTS = (WHOLE, *HALVES)
_COURSES = {(motion, slot): _course(motion, slot) for motion in (*MOTIONS, STILL) for slot in _SLOTS}
_THERE = {(motion, slot): _there(motion, slot) for motion in (*MOTIONS, STILL) for slot in _SLOTS}


def _allowed(motion: str, start: np.ndarray, by: np.ndarray) -> bool:
    """Whether numbers that fit are those of such a motion: far enough, and in its direction."""
    x, y, side = by
    ratio = (start[2] + side) / max(start[2], _PIXEL)
    if motion.startswith("crosses"):
        return bool((x if motion.endswith("right") else -x) > 14 * _PIXEL)
    if motion in ("rises", "falls"):
        return bool((y if motion == "falls" else -y) > 12 * _PIXEL)
    if motion == "bounces":
        return bool(-y > 7 * _PIXEL)
    if motion == "shakes":
        return bool(1.5 * _PIXEL < abs(x) < 8 * _PIXEL)
    if motion == "circles":
        return bool(min(x, y) > 3.5 * _PIXEL)
    if motion in ("grows", "comes near"):
        return bool(ratio > 1.35 and (motion == "grows" or y > 4 * _PIXEL))
    if motion in ("shrinks", "goes away"):
        return bool(ratio < 0.75 and (motion == "shrinks" or -y > 4 * _PIXEL))
    return True


def fit(track: Track, motion: str, slot: Slot) -> Fit:
    """How well this motion in these frames explains the track; infinitely badly where its numbers are of another."""
    course, there = _COURSES[motion, slot], _THERE[motion, slot]
    at = np.stack([track.x, track.y, track.side], 1)
    cost = 0.0
    if motion == "spins":
        if slot not in track.turned:
            return Fit(motion=motion, slot=slot, cost=math.inf, there=there)
        at, cost = track.turned_at[slot], -track.turned[slot]
    known = track.seen & there
    if known.sum() < 3:
        return Fit(motion=motion, slot=slot, cost=math.inf, there=there)
    at = np.where(known[:, None], at, 0)
    weight = np.repeat(known[:, None], 3, 1).astype(float)
    moves = np.ptp(course[known], axis=0) > 0
    for _ in range(5):
        total = weight.sum(0).clip(1e-6)
        mean, middle = (weight * course).sum(0) / total, (weight * at).sum(0) / total
        spread = (weight * (course - mean) ** 2).sum(0)
        by = np.where(moves, (weight * (course - mean) * (at - middle)).sum(0) / spread.clip(1e-9), 0)
        start = middle - by * mean
        off = (at - start - by * course) / _SIGMA
        weight = known[:, None] / (1 + off**2 / 4)
    if not _allowed(motion, start, by):
        return Fit(motion=motion, slot=slot, cost=math.inf, there=there)
    cost += float(np.minimum((off**2).sum(1), _MOST)[known].sum())
    cost += _MISSED * float((track.seen != there).sum()) + _MORE * float(moves.sum())
    return Fit(motion=motion, slot=slot, cost=cost, there=there)


def fits(track: Track, slots: tuple[Slot, ...] = _SLOTS) -> dict[Slot, Fit]:
    """For each slot the motion that explains the track best; standing still is under the slot of the whole film."""
    best = {slot: min((fit(track, motion, slot) for motion in MOTIONS), key=lambda f: f.cost) for slot in slots}
    return best


def explain(tracks: list[Track]) -> tuple[str, list[Fit]]:
    """The kind of film that the tracks of one or two things are of, and the motion of each."""
    if len(tracks) == 1:
        moved, still = fits(tracks[0], (WHOLE,))[WHOLE], fit(tracks[0], STILL, WHOLE)
        return "one", [moved if moved.cost < still.cost else still]
    one, two = map(fits, tracks)
    rest = [fit(track, STILL, WHOLE) for track in tracks]
    early, late = HALVES
    ways = [
        ("together", [one[WHOLE], two[WHOLE]]),
        ("then", [one[early], two[late]]),
        ("then", [one[late], two[early]]),
        ("beside", [one[WHOLE], rest[1]]),
        ("beside", [rest[0], two[WHOLE]]),
        ("beside", rest),
    ]
    return min(ways, key=lambda way: sum(f.cost for f in way[1]))
