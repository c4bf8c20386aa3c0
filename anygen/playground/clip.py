"""Clips: which sounds are heard when, and which of them are held out from training."""

import hashlib
import random
from dataclasses import dataclass, replace

from anygen.playground.sound import CLIP, EVENT, INDEX, PITCHES, RATE, SOUNDS, TAIL, VARIANTS, Sound, depths, sound_of

KINDS = ("once", "times", "melody", "then", "together")
TEMPOS = ("slow", "fast")
DIRECTIONS = ("rising", "falling")
LOUDNESSES = ("near", "far")
TIMES = (2, 3, 4)
NOTES = 4  # of a melody
EVENTS = 4  # that a clip has at most
FULL = 4096  # the gain of what is played as it was baked
KIND_WEIGHTS = (4, 5, 2, 4, 4)
"""How often clips are of each of the `KINDS`."""
_HELD_OUT_SHARE = 10  # one of so many combinations of sounds and patterns is never trained on
_QUIETEST = 2600  # least gain of a clip
_NOTES = (0, 1, 3, 4)  # of a melody that is left to nobody
_PAUSE = 1600  # samples between the end of a repeated event and the next
_BEATS = {"slow": (15_000, 16_200), "fast": (7_200, 8_800), "melody": (9_000, 11_000)}
"""Samples from one onset to the next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """An event of a clip: whose sound, at which sample it begins, after how many it is over, and its pitch 0..4."""

    thing: str
    onset: int
    length: int
    pitch: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """What is heard in four seconds.

    `tempo` is said of "times" only, `direction` of "melody" only; `variant` chooses the recording, `gain` (FULL: as
    baked) makes the same thing a little louder or quieter.
    """

    kind: str
    played: tuple[Played, ...]
    loudness: str = "near"
    tempo: str | None = None
    direction: str | None = None
    variant: int = 0
    gain: int = FULL

    @property
    def things(self) -> tuple[str, ...]:
        """What sounds, each once, in the order in which it begins."""
        return tuple(dict.fromkeys(played.thing for played in self.played))


def _held_out(*words: str) -> bool:
    digest = hashlib.sha256("|".join(("clip", *words)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % _HELD_OUT_SHARE == 0


def is_heldout(clip: Clip) -> bool:
    """Whether training never plays this: a sound at this distance, so often and fast, in this direction, this pair."""
    names = clip.things
    if clip.kind == "once":
        return _held_out("once", names[0], clip.loudness)
    if clip.kind == "times":
        return _held_out("times", names[0], str(len(clip.played)), clip.tempo or "")
    if clip.kind == "melody":
        return _held_out("melody", names[0], clip.direction or "")
    return _held_out("pair", *sorted(names))


def one_way(clip: Clip) -> bool:
    """Whether it is a melody of training whose sound only ever rises there, or falls, as the other is held out.

    Who learns which way that goes learns it of the sound, not of the notes, and is wrong of every held-out melody:
    which way is not to be learnt of these. So it is with what is repeated at one of two tempos only.
    """
    if is_heldout(clip):
        return False
    if clip.kind == "times":
        return any(is_heldout(replace(clip, tempo=tempo)) for tempo in TEMPOS)
    return clip.kind == "melody" and any(is_heldout(replace(clip, direction=way)) for way in DIRECTIONS)


class Player:
    """Makes clips to order: `loudness`, recording and gain are one for a clip, onsets are free or on a grid.

    With `grid` (samples) every onset is a multiple of it. A `settled` player leaves nothing to chance: it begins at
    once, and plays in the middle of the scale what is asked for at no pitch.
    """

    def __init__(
        self,
        stream: random.Random,
        grid: int | None = None,
        *,
        loudness: str = "near",
        variant: int | None = None,
        gain: int | None = None,
        settled: bool = False,
    ) -> None:
        self.stream, self.grid, self.loudness, self.settled = stream, grid or 1, loudness, settled
        self.variant = stream.randrange(VARIANTS) if variant is None else variant
        self.gain = stream.randint(_QUIETEST, FULL) if gain is None else gain
        self.length = EVENT + (TAIL if loudness == "far" else 0)

    def _onset(self, low: int, high: int) -> int:
        """A moment from low to high, on the grid."""
        first = -(-low // self.grid)
        return self.grid * (first if self.settled else self.stream.randint(first, max(first, high // self.grid)))

    def _beat(self, name: str) -> int:
        low, high = _BEATS[name]
        middle = (low + high) // 2
        if self.grid == 1 and not self.settled:
            return self.stream.randint(low, high)
        return round(middle / self.grid) * self.grid or self.grid

    def _pitch(self, name: str) -> int:
        if not sound_of(name).pitched:
            return 0
        return PITCHES // 2 if self.settled else self.stream.randrange(PITCHES)

    def _clip(self, kind: str, played: list[Played], **said: str) -> Clip:
        return Clip(
            kind=kind, played=tuple(played), loudness=self.loudness, variant=self.variant, gain=self.gain, **said
        )

    def once(self, name: str, pitch: int | None = None) -> Clip:
        """The sound at any moment."""
        onset = self._onset(0, CLIP - self.length)
        pitch = self._pitch(name) if pitch is None else pitch
        return self._clip("once", [Played(thing=name, onset=onset, length=self.length, pitch=pitch)])

    def times(self, name: str, count: int, tempo: str, pitch: int | None = None) -> Clip:
        """The same sound two to four times, about one a second when slow, two a second when fast."""
        pitches = [self._pitch(name) if pitch is None else pitch] * count
        return self._clip("times", self._row(name, pitches, self._beat(tempo), _PAUSE), tempo=tempo)

    def melody(self, name: str, direction: str) -> Clip:
        """Four notes of the scale, one after the other."""
        notes = list(_NOTES) if self.settled else self.stream.sample(range(PITCHES), NOTES)
        notes.sort(reverse=direction == "falling")
        return self._clip("melody", self._row(name, notes, self._beat("melody"), 0), direction=direction)

    def _row(self, name: str, pitches: list[int], beat: int, pause: int) -> list[Played]:
        length = min(self.length, beat - pause)
        start = self._onset(0, CLIP - (len(pitches) - 1) * beat - length)
        return [Played(thing=name, onset=start + i * beat, length=length, pitch=p) for i, p in enumerate(pitches)]

    def then(self, first: str, second: str) -> Clip:
        """One sound, and when it is over another one."""
        apart = self._onset(self.length + _PAUSE, self.length + 8_000)
        start = self._onset(0, CLIP - apart - self.length)
        return self._clip("then", self._two(first, start, second, start + apart))

    def together(self, first: str, second: str) -> Clip:
        """Two sounds that begin at about the same time."""
        later = 0 if self.grid > 1 or self.settled else self.stream.randint(0, 800)
        start = self._onset(0, CLIP - later - self.length)
        return self._clip("together", self._two(first, start, second, start + later))

    def _two(self, first: str, onset: int, second: str, later: int) -> list[Played]:
        return [
            Played(thing=name, onset=at, length=self.length, pitch=self._pitch(name))
            for name, at in ((first, onset), (second, later))
        ]


def upright(clip: Clip) -> Clip:
    """The one of a sound's two captions that is told of it: of two that sound together, the table's first is first.

    What is not in the table comes last.
    """
    if clip.kind != "together":
        return clip
    return replace(clip, played=tuple(sorted(clip.played, key=lambda played: INDEX.get(played.thing, len(INDEX)))))


def deepest_first(clip: Clip) -> Clip:
    """Of two that sound together the deeper one first, which can be heard, and what has no recording here last.

    Who tells both names at once has to know which comes first: by a table it is known only to who knows both.
    """
    if clip.kind != "together":
        return clip
    return replace(clip, played=tuple(sorted(clip.played, key=lambda played: depths().get(played.thing, RATE))))


def settle(clip: Clip, grid: int | None = None) -> Clip:
    """The clip as its caption alone says it: from the beginning, one recording, at middling gain and pitch."""
    gain = (_QUIETEST + FULL) // 2
    player = Player(random.Random(0), grid, loudness=clip.loudness, variant=0, gain=gain, settled=True)
    first, last = clip.played[0].thing, clip.played[-1].thing
    if clip.kind == "once":
        return player.once(first)
    if clip.kind == "times":
        return player.times(first, len(clip.played), clip.tempo or "slow")
    if clip.kind == "melody":
        return player.melody(first, clip.direction or "rising")
    return (player.then if clip.kind == "then" else player.together)(first, last)


_MELODIC = tuple(sound for sound in SOUNDS if sound.pitched)


def sample_clip(stream: random.Random, kind: str | None = None, split: str = "train", grid: int | None = None) -> Clip:
    """A random clip of the kind (any when None). `split` "train" never gives a held-out clip, "heldout" only such.

    With `grid` (samples, such as 2000) each onset is a multiple of it; without, it is anywhere.
    """
    if split not in ("train", "heldout"):
        raise ValueError(f"no split '{split}'; there are train, heldout")
    if kind is not None and kind not in KINDS:
        raise ValueError(f"no clip is of kind '{kind}'; there are {', '.join(KINDS)}")
    while True:
        chosen = kind or stream.choices(KINDS, KIND_WEIGHTS)[0]
        loudness = "far" if stream.random() < 0.3 else "near"
        clip = _play(Player(stream, grid, loudness=loudness), chosen, stream)
        if is_heldout(clip) == (split == "heldout"):
            return clip


def sample_heard(stream: random.Random, kind: str | None = None, split: str = "train") -> Clip:
    """A random clip that shall be told: in training no melody that goes `one_way` only, as who has to tell such
    melodies need not listen which way they go, and then does not listen to held-out ones either."""
    while True:
        clip = sample_clip(stream, kind, split)
        if clip.kind != "melody" or not one_way(clip):
            return clip


def _play(player: Player, kind: str, stream: random.Random) -> Clip:
    if kind == "once":
        return player.once(stream.choice(SOUNDS).thing)
    if kind == "times":
        return player.times(stream.choice(SOUNDS).thing, stream.choice(TIMES), stream.choice(TEMPOS))
    if kind == "melody":
        return player.melody(stream.choice(_MELODIC).thing, stream.choice(DIRECTIONS))
    pair: list[Sound] = stream.sample(SOUNDS, 2)
    return (player.then if kind == "then" else player.together)(pair[0].thing, pair[1].thing)
