"""Films: which things move how on which backdrop, what they sound like, and which films are held out from training."""

import hashlib
import random
from dataclasses import dataclass, replace

from anygen.playground.arrange import fits
from anygen.playground.clip import EVENTS, Clip, Played
from anygen.playground.motion import (
    BEAT,
    CHANGING,
    CROSSINGS,
    ENLARGING,
    FPS,
    FRAMES,
    GROWTH,
    MOTIONS,
    REPEATED,
    SHAKE,
    STILL,
    Actor,
    pose,
    seen_by,
)
from anygen.playground.scene import VARIANTS, Placed, Scene, relation_of
from anygen.playground.sound import EVENT, INDEX, PITCHES, RATE, sound_of
from anygen.playground.sound import VARIANTS as RECORDINGS
from anygen.playground.things import BACKDROPS, SIZES, THINGS

__all__ = [
    *("CAMERAS", "FPS", "FRAMES", "KINDS", "Actor", "Director", "Film", "can_get_dark", "is_heldout", "sample_film"),
    *("scene_at", "settle", "soundtrack", "suits", "upright"),
]

KINDS = ("one", "beside", "together", "then")
"""One thing moves; one moves and another stands still; two move at the same time; one moves and then the other."""

CAMERAS = ("pans left", "pans right", "zooms in", "zooms out")
LIGHT = tuple(name for name in BACKDROPS if name not in ("night", "space"))
"""Backdrops on which it can get dark."""

_KIND_WEIGHTS = (5, 2, 2, 3)
_HELD_OUT_SHARE = 10  # one of so many things in a motion, and of pairs, is never trained on
_GAIN = 3348  # of a soundtrack, in the middle of what clips have
_AFTER = 0.3  # seconds between two sounds from which one comes after the other
_SPREAD = 26 / 64  # the most that a thing bounces
_RADIUS = 16 / 64  # the most of a circle
_INSIDE = 0.585  # how far from the middle a thing may reach under a camera


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """What two seconds show. `actors[0]` is the one that moves, moves first, or is said first; later ones are in front.

    `variant` chooses the drawing of the backdrop; `camera` is one of CAMERAS, or None where it stands still; with
    `dusk` day turns to night.
    """

    kind: str
    actors: tuple[Actor, ...]
    backdrop: str
    variant: int = 0
    camera: str | None = None
    dusk: bool = False

    @property
    def things(self) -> tuple[str, ...]:
        """The names of what is seen."""
        return tuple(actor.thing for actor in self.actors)

    @property
    def movers(self) -> tuple[Actor, ...]:
        """Those that move."""
        return tuple(actor for actor in self.actors if actor.motion != STILL)


def _held_out(*words: str) -> bool:
    digest = hashlib.sha256("|".join(("film", *words)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_SHARE == 0


def is_heldout(film: Film) -> bool:
    """Whether training never shows this film: a thing in this motion, or this pair."""
    if any(_held_out("motion", actor.thing, actor.motion) for actor in film.movers):
        return True
    return len(film.actors) == 2 and _held_out("pair", *sorted(film.things))


def can_get_dark(backdrop: str) -> bool:
    """Whether this backdrop has a day that could turn to night."""
    return backdrop in LIGHT


Region = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of the canvas, as shares of it."""

_WHOLE: Region = (0, 0, 1, 1)
_LANE, _REST = 26 / 64, 38 / 64  # of the canvas, for what crosses and for what does not

_ALONE = {
    "spins": ("large", "medium"),
    "grows": ("medium", "small"),
    "shrinks": ("large", "medium"),
    "circles": ("medium", "small"),
    "shakes": ("large", "medium", "small"),
    "appears": ("large", "medium", "small"),
    "disappears": ("large", "medium", "small"),
    "comes near": ("medium", "small"),
    "goes away": ("large",),
}
"""Sizes of a thing that is alone; the first goes without saying. Others are medium or large."""
_BESIDE = {"grows": "small", "comes near": "small", "circles": "small", "shrinks": "large", "goes away": "large"}
"""Sizes of a thing that is not alone, where it is not medium."""


class Director:
    """Makes films to order; what is not ordered the stream chooses, or it is as it goes without saying (`settled`)."""

    def __init__(self, stream: random.Random, *, settled: bool = False, variant: int | None = None) -> None:
        self.stream, self.settled = stream, settled
        self.variant = variant if variant is not None else 0 if settled else stream.randrange(VARIANTS)

    def _between(self, low: float, high: float, usual: float | None = None) -> float:
        """A share of the canvas from low to high in 64ths; where all is settled, the usual one or the middle."""
        if high <= low:
            return (low + high) / 2
        value = self.stream.uniform(low, high) if not self.settled else (low + high) / 2 if usual is None else usual
        return round(value * 64) / 64

    def _near(self, edge: float, spread: float) -> float:
        """The edge itself where all is settled, or up to so far inside."""
        return edge if self.settled else round((edge + self.stream.uniform(0, 1) * spread) * 64) / 64

    def one(self, thing: str, motion: str, backdrop: str, *, size: str | None = None) -> Film:
        """One thing that moves."""
        sizes = _ALONE.get(motion, ("medium", "large"))
        chosen = size or (sizes[0] if self.settled else self.stream.choice(sizes))
        return self._film("one", (self._place(thing, motion, chosen, _WHOLE),), backdrop)

    def two(self, kind: str, first: tuple[str, str], second: tuple[str, str], backdrop: str) -> Film:
        """Two things, each with its motion, "beside", "together" or "then"."""
        regions = self._regions(first[1], second[1])
        half = FRAMES // 2
        times = ((0, half), (half, FRAMES)) if kind == "then" else ((0, FRAMES), (0, FRAMES))
        actors = tuple(
            replace(self._place(*who, self._size(who[1], region), region), begin=begin, end=end)
            for who, region, (begin, end) in zip((first, second), regions, times, strict=True)
        )
        return self._film(kind, actors, backdrop)

    def _size(self, motion: str, region: Region) -> str:
        """The size of a thing that is not alone; what goes up or down is small where there is less room for it."""
        low = region[3] - region[1] == _REST
        return "small" if low and motion in ("rises", "falls", "bounces") else _BESIDE.get(motion, "medium")

    def _film(self, kind: str, actors: tuple[Actor, ...], backdrop: str) -> Film:
        return Film(kind=kind, actors=actors, backdrop=backdrop, variant=self.variant)

    def _regions(self, *motions: str) -> tuple[Region, Region]:
        """Columns, or one above the other where something crosses; the first on the left, what crosses below."""
        turned = not self.settled and self.stream.random() < 0.5
        crossing = [motion in CROSSINGS for motion in motions]
        if not any(crossing):
            pair: tuple[Region, Region] = (0, 0, 0.5, 1), (0.5, 0, 1, 1)
        elif all(crossing):
            pair = (0, 0, 1, _LANE), (0, 1 - _LANE, 1, 1)
        else:
            pair = ((0, 0, 1, _LANE), (0, _LANE, 1, 1)) if turned else ((0, _REST, 1, 1), (0, 0, 1, _REST))
            return pair if crossing[0] else pair[::-1]
        return pair[::-1] if turned else pair

    def _place(self, thing: str, motion: str, size: str, region: Region) -> Actor:
        """An actor that moves inside the region."""
        left, top, right, bottom = region
        side = SIZES[size]
        # what stands lower can be reached from here: the space that the thing needs on either side of its centre
        need = side * {"spins": 0.7}.get(motion, GROWTH / 2 if motion in ENLARGING else 0.5)
        across = min(need + (SHAKE if motion == "shakes" else 0), (right - left) / 2)
        down = min(need, (bottom - top) / 2)
        x = self._between(left + across, right - across)
        y = self._between(top + down, bottom - down)
        x2, y2 = x, y
        half, little = side / 2, (4 if region == _WHOLE else 1) / 64
        if motion in CROSSINGS:
            x, x2 = self._near(left + half, little), self._near(right - half, -little)
            y = y2 = self._between(top + half, bottom - half)
            if motion == CROSSINGS[1]:
                x, x2 = x2, x
        elif motion in ("rises", "falls"):
            y, y2 = self._near(bottom - half, -little), self._near(top + half, little)
            if motion == "falls":
                y, y2 = y2, y
        elif motion == "bounces":
            height = min(_SPREAD, bottom - top - side - 2 / 64)
            y = self._near(bottom - half, -min(little, bottom - top - side - height))
            y2 = y - height
        elif motion == "circles":
            radius = min(_RADIUS, (min(right - left, bottom - top) - side) / 2)
            x = x2 = self._between(left + radius + half, right - radius - half)
            y2 = self._between(top + radius + half, bottom - radius - half)
            y = y2 - radius
        elif motion == "comes near":
            y, y2 = top + max(half, 0.3 * (bottom - top)), self._near(bottom - side, -little)
            y = self._near(y, -min(little, y - top - half))
        elif motion == "goes away":
            y, y2 = self._near(bottom - half, -little), self._near(top + 0.3 * (bottom - top), -little)
        return Actor(thing=thing, motion=motion, size=size, x=x, y=y, x2=x2, y2=y2)

    def animate(self, scene: Scene, motion: str) -> Film | None:
        """A film that begins with this picture of one thing, which then moves; None where there is no room for that."""
        (placed,) = scene.things
        x, y = placed.x, placed.y
        side = SIZES[placed.size]
        half, room = side / 2, 20 / 64
        x2, y2 = x, y
        if motion in CROSSINGS:
            x2 = 1 - half if motion == CROSSINGS[0] else half
        elif motion in ("rises", "falls"):
            y2 = half if motion == "rises" else 1 - half
        elif motion == "bounces":
            y2 = max(half, y - _SPREAD)
        elif motion == "circles":
            y2 = y + min(_RADIUS, (1 - half - y) / 2, 1 - half - x, x - half)
        elif motion == "comes near":
            y2 = 1 - side
        elif motion == "goes away":
            y2 = 0.3
        far = abs(x2 - x) + abs(y2 - y)
        forwards = y2 > y if motion == "comes near" else y2 < y if motion == "goes away" else True
        edge = side if motion in ENLARGING else 0.5 * side
        inside = edge <= min(x2, y2) and max(x2, y2) <= 1 - edge and (placed.size != "large" or motion not in ENLARGING)
        least = {"circles": 8 / 64, "comes near": 8 / 64, "goes away": 8 / 64, "bounces": 14 / 64}.get(motion, room)
        moves = motion in (*CROSSINGS, "rises", "falls", *("bounces", "circles", "comes near", "goes away"))
        if motion == "appears" or not inside or not forwards or (moves and far < least) or not fits(placed):
            return None
        if motion in ("shrinks", "goes away") and placed.size == "small":
            return None
        actor = Actor(thing=placed.thing, motion=motion, size=placed.size, x=x, y=y, x2=x2, y2=y2)
        return Film(kind="one", actors=(actor,), backdrop=scene.backdrop, variant=scene.variant)

    def again(self, film: Film) -> Film:
        """A film that is told alike, made anew."""
        first, *others = ((actor.thing, actor.motion) for actor in film.actors)
        if others:
            made = self.two(film.kind, first, others[0], film.backdrop)
        else:
            made = self.one(*first, film.backdrop)
        return replace(made, camera=film.camera, dusk=film.dusk)


def upright(film: Film) -> Film:
    """The one of a film's two captions that is told of it: of two that move together, the left one is first.

    Where both cross they move one above the other, and the upper one is; where one does, the other is. So it is when
    the film is settled, too. The order of a table would have to be known by heart, of every two things.
    """
    if film.kind != "together":
        return film
    crosses = [actor.motion in CROSSINGS for actor in film.actors]
    if all(crosses):
        actors = sorted(film.actors, key=lambda actor: actor.y + actor.y2)
    elif any(crosses):
        actors = sorted(film.actors, key=lambda actor: actor.motion in CROSSINGS)
    else:
        actors = sorted(film.actors, key=lambda actor: actor.x + actor.x2)
    return replace(film, actors=tuple(actors))


def settle(film: Film) -> Film:
    """The film as its caption alone says it: where nothing is said, everything is as one would put it first."""
    return Director(random.Random(0), settled=True).again(film)


def beside(film: Film, across: float, down: float) -> Film:
    """The film with all of its things so much farther to the right and down, in shares of the canvas."""
    actors = tuple(
        replace(actor, x=actor.x + across, x2=actor.x2 + across, y=actor.y + down, y2=actor.y2 + down)
        for actor in film.actors
    )
    return replace(film, actors=actors)


def suits(film: Film, camera: str) -> bool:
    """Whether what moves is still clear under this camera: no way across under a pan, no change of size in a zoom, and
    nothing leaves the canvas by more than a twelfth, neither here nor where all is settled."""
    motions = [actor.motion for actor in film.actors]
    confused = CROSSINGS if camera.startswith("pans") else (*CHANGING, "spins")
    if any(motion in confused for motion in motions):
        return False
    return all(
        abs(now.x - 0.5) + now.side / 2 < _INSIDE and abs(now.y - 0.5) + now.side / 2 < _INSIDE
        for made in (film, settle(film))
        for actor in made.actors
        for now in (seen_by(camera, frame, pose(actor, frame)) for frame in range(FRAMES))
    )


def sample_film(stream: random.Random, kind: str | None = None, split: str = "train") -> Film:
    """A random film of the kind (any when None). `split` "train" never gives a held-out film, "heldout" only such."""
    if split not in ("train", "heldout"):
        raise ValueError(f"no split '{split}'; there are train, heldout")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"no film is of kind '{kind}'; there are {', '.join(KINDS)}")
    while True:
        chosen = kind or stream.choices(KINDS, _KIND_WEIGHTS)[0]
        backdrop = stream.choice(BACKDROPS)
        names = [item.name for item in stream.sample(THINGS, 2)]
        motions = [stream.choice(MOTIONS), STILL if chosen == "beside" else stream.choice(MOTIONS)]
        director = Director(stream)
        if chosen == "one":
            film = director.one(names[0], motions[0], backdrop)
        else:
            film = director.two(chosen, (names[0], motions[0]), (names[1], motions[1]), backdrop)
        camera, dusk = stream.choice(CAMERAS), stream.random() < 0.12
        if stream.random() < 0.5 and suits(film, camera):
            film = replace(film, camera=camera)
        film = replace(film, dusk=dusk and can_get_dark(backdrop))
        if is_heldout(film) == (split == "heldout"):
            return film


# --- what a film sounds like


def _onsets(actor: Actor) -> list[int]:
    """Frames in which an actor sounds: with each beat, when it appears, or when its motion begins."""
    if actor.motion in REPEATED:
        return list(range(actor.begin, actor.end, BEAT))
    return [(actor.begin + actor.end) // 2 if actor.motion == "appears" else actor.begin]


def soundtrack(film: Film) -> Clip | None:
    """What the things that move sound like, in time with their motion; None where none of them has a sound.

    One thing sounds with each bounce or shake, or once; of two, each sounds once, as its motion begins.
    """
    actors = [actor for actor in film.movers if actor.thing in INDEX]
    if not actors:
        return None
    step = RATE // FPS
    moments = [
        (frame * step, actor.thing) for actor in actors for frame in _onsets(actor)[: 1 if actors[1:] else EVENTS]
    ]
    moments.sort(key=lambda moment: moment[0])
    ends = [onset for onset, _ in moments[1:]] + [FRAMES * step]
    apart = moments[-1][0] - moments[0][0]
    played = []
    for (onset, name), end in zip(moments, ends, strict=True):
        # what is repeated ends a little before it comes again, as in a clip
        room = end - onset - (1600 if len(actors) == 1 and len(moments) > 1 else 0)
        if len(actors) == 2 and apart < _AFTER * RATE:
            room = FRAMES * step - onset
        pitch = PITCHES // 2 if sound_of(name).pitched else 0
        played.append(Played(thing=name, onset=onset, length=min(EVENT, room), pitch=pitch))
    kind = "once" if len(played) == 1 else "times"
    if len(actors) == 2:
        kind = "then" if apart >= _AFTER * RATE else "together"
    tempo = "fast" if kind == "times" else None
    return Clip(kind=kind, played=tuple(played), tempo=tempo, variant=film.variant % RECORDINGS, gain=_GAIN)


# --- what a frame of it shows


def scene_at(film: Film, frame: int) -> Scene | None:
    """The picture that this frame is, or None where no scene says it: none or an odd size, or no clear relation."""
    placed = []
    for actor in film.actors:
        now = pose(actor, frame)
        if not now.seen:
            continue
        size = min(SIZES, key=lambda name: abs(SIZES[name] - now.side))
        if abs(SIZES[size] - now.side) > 1 / 64 or now.angle:
            return None
        placed.append(Placed(thing=actor.thing, size=size, x=now.x, y=now.y))
    if not placed or film.camera or (film.dusk and frame) or not all(map(fits, placed)):
        return None
    if len(placed) == 1:
        return Scene(kind="one", things=tuple(placed), backdrop=film.backdrop, variant=film.variant)
    relation = relation_of(*placed)
    if relation is None or placed[0].thing == placed[1].thing:
        return None
    if relation == "in front of":
        return None
    return Scene(kind="pair", things=tuple(placed), backdrop=film.backdrop, relation=relation, variant=film.variant)
