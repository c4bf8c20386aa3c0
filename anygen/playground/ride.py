"""Rides: what an inertial sensor measures that a thing carries through its film, and what is said of that."""

import hashlib
import random
from dataclasses import replace

import numpy as np

from anygen.playground.arrange import fits
from anygen.playground.film import Director, Film, is_heldout, scene_at
from anygen.playground.motion import FPS, FRAMES, MOTIONS, STILL, Actor, pose
from anygen.playground.scene import Scene
from anygen.playground.things import BACKDROPS, THINGS
from anygen.playground.watching import moves
from anygen.playground.word import a

RATE = 64
"""Samples per second."""

SAMPLES = 160
"""Of one ride: the two seconds of a film with a quarter of a second before and after it."""

UNITS = 256
"""Readings are kept as whole numbers of so many parts of their unit."""

UNFELT = ("grows", "shrinks", "appears", "disappears")
"""Motions of which whoever carries the sensor feels nothing: only the picture changes."""
FELT = tuple(motion for motion in MOTIONS if motion not in UNFELT)
LEADING = ("crosses from left to right", "crosses from right to left", "rises", "falls", "comes near", "goes away")
"""Motions after which a thing is somewhere else."""

_METRES = 4.0  # what the canvas is wide
_GRAVITY = 9.81
_SOFT = 0.05  # seconds over which a change of speed is spread
_NOISE = np.array([0.12, 0.12, 0.12, 0.03, 0.03, 0.03])[:, None]  # deviation, metres per second squared, radians per s
_STILL_SHARE = len(FELT)  # one ride in so many and one stands still


def _path(actor: Actor) -> np.ndarray:
    """Right, up and towards the camera in metres and clockwise turn in radians, in every frame: float [4, FRAMES]."""
    rows = []
    before = turned = 0
    for frame in range(FRAMES):
        now = pose(actor, frame)
        turned += (now.angle - before) % 16 if actor.motion == "spins" else 0
        before = now.angle
        # a thing that comes near is seen larger; one that grows stays where it is
        near = np.log2(now.side / pose(actor, 0).side) if actor.motion in ("comes near", "goes away") else 0.0
        still = actor.motion in UNFELT
        x, y = (actor.x, actor.y) if still else (now.x, now.y)
        height = 0.0 if actor.motion in ("comes near", "goes away") else -y * _METRES  # it walks on level ground
        rows.append((x * _METRES, height, near * _METRES, turned * np.pi / 8))
    return np.array(rows).T


def readings(film: Film) -> np.ndarray:
    """What the sensor on the film's first thing measures: int16 [6, SAMPLES] in parts of 1 / UNITS.

    Accelerometer (right, up, towards the camera; metres per second squared, 9.81 upwards when at rest, as such sensors
    measure) and gyroscope (radians per second around the same axes). The noise is the film's own.
    """
    times = (np.arange(-SAMPLES, 2 * SAMPLES) + 0.5) / RATE - (SAMPLES / RATE - FRAMES / FPS) / 2
    frames = (np.arange(FRAMES) + 0.5) / FPS
    path = np.stack([np.interp(times, frames, row) for row in _path(film.actors[0])])
    reach = np.arange(-16, 17) / RATE
    window = np.exp(-0.5 * (reach / _SOFT) ** 2)
    smooth = np.stack([np.convolve(row, window / window.sum(), "same") for row in path])
    speed = np.gradient(smooth, 1 / RATE, axis=1)
    pull = np.gradient(speed[:3], 1 / RATE, axis=1)
    pull[1] += _GRAVITY
    turn = smooth[3]
    # the sensor turns with the thing: clockwise by `turn`, seen from the camera
    right = np.cos(turn) * pull[0] - np.sin(turn) * pull[1]
    up = np.sin(turn) * pull[0] + np.cos(turn) * pull[1]
    rest = np.zeros_like(turn)
    exact = np.stack([right, up, pull[2], rest, rest, -speed[3]])[:, SAMPLES : 2 * SAMPLES]
    words = f"ride|{film.actors[0]}|{film.variant}"
    seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
    noise = np.random.default_rng(seed).standard_normal(exact.shape) * _NOISE
    return np.rint((exact + noise) * UNITS).astype(np.int16)


def in_units(whole: np.ndarray) -> np.ndarray:
    """What `readings` gave as metres per second squared and radians per second: float32 [..., 6, SAMPLES]."""
    return whole.astype(np.float32) / UNITS


def sample_ride(stream: random.Random, split: str = "train", motions: tuple[str, ...] = ()) -> Film:
    """A film of one thing that carries a sensor: in any motion that is felt, or of these, or (never held out) at rest.

    `split` is that of films: "train" never gives a thing in a motion that is held out.
    """
    if split not in ("train", "heldout"):
        raise ValueError(f"no split '{split}'; there are train, heldout")
    while True:
        still = not motions and split == "train" and stream.randrange(_STILL_SHARE + 1) == 0
        thing, backdrop = stream.choice(THINGS).name, stream.choice(BACKDROPS)
        film = Director(stream).one(thing, STILL if still else stream.choice(motions or FELT), backdrop)
        if is_heldout(film) == (split == "heldout"):
            return film


def ride_caption(film: Film) -> str:
    """What a ride tells: 'it rises'. Who carries the sensor and where is not felt."""
    return f"it {felt(film)}"


def felt(film: Film) -> str:
    """The motion that is felt, one of FELT or STILL."""
    motion = film.actors[0].motion
    return motion if motion in FELT else STILL


def told_ride(film: Film) -> str:
    """The same of its thing, as an answer says it: 'A cat rises.'"""
    name = film.actors[0].thing
    motion = felt(film)
    does = "stands still" if motion == STILL else moves(name, motion)
    if motion == STILL and moves(name, "rises") != "rises":
        does = "stand still"
    said = f"{a(name)} {does}."
    return said[0].upper() + said[1:]


def end_of(film: Film) -> Scene | None:
    """The picture of where the ride ends, begun where its caption alone would have it begin; None where none says it.

    What was felt tells how far and which way, not from where: that is what goes without saying.
    """
    (actor,) = film.actors
    size = "small" if actor.motion == "comes near" else None  # and is large in the end
    settled = Director(random.Random(0), settled=True).one(actor.thing, actor.motion, film.backdrop, size=size)
    settled = replace(settled, variant=film.variant)
    scene = scene_at(settled, FRAMES - 1)
    return scene if scene and all(map(fits, scene.things)) else None
