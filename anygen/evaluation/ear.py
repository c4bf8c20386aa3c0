"""The ear: says what is heard in a clip, by matched filters against the bank and none of the model's own parts."""

import math
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.error import RequestError
from anygen.mel import BINS, FRAMES, HOP, RATE, SAMPLES, log_mel
from anygen.playground.clip import EVENTS, LOUDNESSES, Clip, Played
from anygen.playground.mixer import Mixer
from anygen.playground.sound import EVENT, SOUNDS, TAIL, VARIANTS

_LEAD = 4  # frames of a filter before its onset, since a frame looks around itself
_LENGTH = 72  # frames of a filter
_COARSE = 2  # bins and frames that are one where every place is tried
_WIDTH = (_LEAD + FRAMES + _LENGTH) // _COARSE
_CUTS = (EVENT + TAIL, 9_900, 6_900, 5_900)  # samples after which an event ends, since the next may cut it off
_NOTE = 9_900  # the cut that only melodies have
_GAIN = 3_300  # at which filters are made, in the middle of what clips have
_SHIFTS = torch.arange(-1, 2)  # frames around the best coarse place that are tried
_AUDIBLE = 0.3  # where a filter is louder than this, compressed, it sounds
_STRICT = 5  # the share explained counts so many times over: two short events before a long one that covers both
_LEVELS = tuple(10 ** (step / 20) for step in (-4.5, -3, -1.5, 0, 1.5, 3, 4.5))
_QUIETER = 0.25  # by so much, compressed, a clip may be quieter than filters are
_FINAL = 8  # pairs that are compared at all levels
_MOST = 6  # events that are taken out of a clip; one has at most four


@dataclass(frozen=True, kw_only=True, slots=True)
class EarOptions:
    """Thresholds, tuned on training clips (clean, noisy and through Griffin-Lim) only."""

    quiet: float = 2e-3  # mel magnitude at which compression sets in: y = ln(1 + m / quiet)
    hum: float = 0.05  # share of the frames, the quietest of each bin, that tell what is background
    shortlist: int = 12  # filters that are tried at full resolution
    explained: float = 0.6  # least share of the squared error at its place that an event must explain
    whole: float = 0.35  # least share of itself that a filter must explain
    energy: float = 60.0  # least squared error, summed over bins and frames, that an event must explain
    rest: float = 0.004  # share left unexplained from which two sounds at once are tried
    pair: float = 0.75  # most that two sounds may leave of the error that one leaves
    company: int = 20  # filters of a recording and distance that are tried in pairs
    clear: float = 0.6  # least share of the whole clip that its events must explain
    apart: float = 0.3  # seconds between the onsets of two sounds from which one comes after the other
    swift: float = 0.72  # seconds from one onset to the next below which a row is fast


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A sound found: whose, when it begins in seconds, how high (0..4), near or far, how well it fits (0..1)."""

    thing: str
    onset: float
    pitch: int
    loudness: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What is heard in a clip, as clips are described; `kind` is None where it is like none.

    `explained` is the share of the clip that the events explain.
    """

    kind: str | None
    events: tuple[Event, ...]
    loudness: str | None = None
    tempo: str | None = None
    direction: str | None = None
    explained: float = 0.0

    @property
    def things(self) -> tuple[str, ...]:
        """What sounds, each once, in the order in which it begins."""
        return tuple(dict.fromkeys(event.thing for event in self.events))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    filter: int
    frame: int
    share: float


class Ear:
    """Finds up to six events in clips of the playground.

    Analysis by synthesis on compressed mel spectrograms Y = ln(1 + m / quiet): again and again the filter (any sound,
    recording, pitch, distance, length and onset, all tried by FFT) that best explains what is left is added to what is
    explained, X, until none explains enough. Where much is left beside one, two at once are tried.
    """

    def __init__(self, *, options: EarOptions | None = None) -> None:
        self.options = options or EarOptions()
        mixer = Mixer()
        self._kinds: list[tuple[str, int, str, int, int]] = [  # thing, variant, loudness, pitch, cut
            (sound.thing, variant, loudness, pitch, cut)
            for sound in SOUNDS
            for variant in range(VARIANTS)
            for loudness in LOUDNESSES
            for pitch in range(sound.pitches)
            for cut in _CUTS
            if sound.pitched or cut != _NOTE
        ]
        clips = [_alone(*kind) for kind in self._kinds]
        samples = _LENGTH * HOP
        mels = [log_mel(mixer.render(clips[i : i + 64])[:, :samples]) for i in range(0, len(clips), 64)]
        self._filters = self._compress(torch.cat(mels))  # [filters, bins, frames]
        self._powers = self._filters.expm1()
        self._squares = self._filters.square().sum((1, 2))
        coarse = F.avg_pool2d(self._filters, _COARSE)
        planes = torch.stack([2 * coarse, -(coarse**2), (coarse > _AUDIBLE).float()])
        spectra = torch.fft.rfft(planes, _WIDTH).conj()  # [3, filters, bins, frequencies]
        made, about = spectra[:2].permute(3, 1, 0, 2).flatten(2), spectra[2].permute(2, 0, 1)
        self._made, self._about = made.contiguous(), about.contiguous()  # [frequencies, filters, 2 or 1 * bins]
        self._far = torch.tensor([kind[2] == "far" for kind in self._kinds])
        groups: dict[tuple[int, str], list[int]] = {}
        for index, (_, variant, loudness, _, cut) in enumerate(self._kinds):
            if cut == _CUTS[0]:
                groups.setdefault((variant, loudness), []).append(index)
        self._groups = {key: torch.tensor(group) for key, group in groups.items()}

    @torch.no_grad()
    def listen(self, waves: Tensor) -> list[Heard]:
        """What is heard in each. waves: int16, or float in -1..1, [n, SAMPLES] at RATE; shorter ones are padded."""
        if waves.ndim != 2 or not (waves.dtype == torch.int16 or waves.is_floating_point()):
            raise RequestError(
                f"the ear hears int16 or float [n, {SAMPLES}] at {RATE} Hz, not {waves.dtype} {tuple(waves.shape)}"
            )
        if waves.shape[1] > SAMPLES:
            raise RequestError(f"the ear hears {SAMPLES} samples at most, not {waves.shape[1]}: cut the sound first")
        if waves.dtype == torch.int16:
            waves = waves.float() / 32768
        waves = F.pad(waves.float(), (0, SAMPLES - waves.shape[1]))
        heard: list[Heard] = []
        for chunk in waves.split(8):
            y = self._compress(log_mel(chunk), hum=True)
            heard += self._listen(F.pad(y, (_LEAD, _LENGTH)))
        return heard

    def _compress(self, mel: Tensor, hum: bool = False) -> Tensor:
        """Log-mel of `log_mel` to ln(1 + m / quiet), without the background of each bin if `hum`."""
        magnitude = ((mel - 1) * (math.log(1e5) / 2)).exp()
        if hum:
            floor = magnitude.quantile(self.options.hum, dim=-1, keepdim=True)
            magnitude = (magnitude - 2 * floor.clamp(max=self.options.quiet)).clamp_min(0)
        return torch.log1p(magnitude / self.options.quiet)

    def _listen(self, y: Tensor) -> list[Heard]:
        """y: [n, bins, _LEAD + FRAMES + _LENGTH]; a clip is near or far as a whole, and what explains more is meant."""
        near, far = (self._explain(y, loudness) for loudness in LOUDNESSES)
        return [self._describe(a if a[0] <= b[0] else b, plane) for a, b, plane in zip(near, far, y, strict=True)]

    def _explain(self, y: Tensor, loudness: str) -> list[tuple[float, list[_Found]]]:
        """For each the squared error that is left, and the events found, with filters of one distance."""
        x = torch.zeros_like(y)  # powers, e^X - 1
        found: list[list[_Found]] = [[] for _ in y]
        active = list(range(len(y)))
        while active:
            gains = self._gains(y[active], x[active], loudness)
            picks = [self._best(y[i], x[i], gain) for i, gain in zip(active, gains, strict=True)]
            for i, pick in zip(active, picks, strict=True):
                if pick:
                    found[i].append(pick)
                    self._add(x[i], pick)
            active = [i for i, pick in zip(active, picks, strict=True) if pick and len(found[i]) < _MOST]
        found = [self._paired(plane, items, loudness) for plane, items in zip(y, found, strict=True)]
        return [(self._error(plane, items), items) for plane, items in zip(y, found, strict=True)]

    def _gains(self, y: Tensor, x: Tensor, loudness: str) -> Tensor:
        """About how much error each filter would explain at each place, times the share: [rows, filters, places]."""
        free = 1 / (1 + x)
        planes = torch.stack([free * y, free, free * y * y], dim=1)  # [rows, 3, bins, frames]
        coarse = F.avg_pool2d(planes.flatten(0, 1), _COARSE).unflatten(0, (-1, 3)).flatten(1, 2)
        spectra = torch.fft.rfft(coarse, _WIDTH).permute(2, 1, 0)  # [frequencies, 3 * bins, rows]
        middle = self._made.shape[-1]
        products = torch.stack([self._made @ spectra[:, :middle], self._about @ spectra[:, middle:]])
        made, about = torch.fft.irfft(products.permute(0, 3, 2, 1), _WIDTH)
        maps = made * (made / about.clamp_min(1e-3)).clamp(0, 1) ** _STRICT
        other = self._far if loudness == "near" else ~self._far
        # a little less is asked for here than at full resolution
        slight = made * _COARSE**2 < 0.8 * self.options.whole * self._squares[:, None]
        return maps.masked_fill(slight | other[:, None], -math.inf)[..., : FRAMES // _COARSE]

    def _best(self, y: Tensor, x: Tensor, gain: Tensor) -> _Found | None:
        best, places = gain.max(-1)
        chosen = best.topk(self.options.shortlist).indices
        filters = chosen.repeat_interleave(len(_SHIFTS))
        frames = (places[chosen, None] * _COARSE + _SHIFTS).flatten().clamp(0, FRAMES - 1)
        there, known = self._patches(y, frames), self._patches(x, frames)
        joined, known = (known + self._powers[filters]).log1p(), known.log1p()
        before, after = (there - known).square(), (there - joined).square()
        gained = (before - after).sum((1, 2))
        share = (gained / (before * (joined - known > _AUDIBLE)).sum((1, 2)).clamp_min(1e-3)).clamp(0, 1)
        enough = (gained > self.options.energy) & (gained > self.options.whole * self._squares[filters])
        worth = (gained * share**_STRICT).masked_fill(~enough | (share < self.options.explained), -math.inf)
        index = int(worth.argmax())
        if worth[index] == -math.inf:
            return None
        return self._found(y, x, int(filters[index]), int(frames[index]))

    def _patches(self, plane: Tensor, frames: Tensor) -> Tensor:
        """The frames that a filter covers at each place: [bins, width] to [places, bins, _LENGTH]."""
        return plane[:, frames[:, None] + torch.arange(_LENGTH)].transpose(0, 1)

    def _found(self, y: Tensor, x: Tensor, index: int, frame: int) -> _Found:
        """The filter there, with how much of the error goes away by adding it where it is what sounds."""
        there, known = y[:, frame : frame + _LENGTH], x[:, frame : frame + _LENGTH]
        joined, known = (known + self._powers[index]).log1p(), known.log1p()
        where = joined - known > _AUDIBLE
        before, after = (there - known).square()[where].sum(), (there - joined).square()[where].sum()
        return _Found(filter=index, frame=frame, share=float(1 - after / before.clamp_min(1e-6)))

    def _add(self, x: Tensor, item: _Found) -> None:
        x[:, item.frame : item.frame + _LENGTH] += self._powers[item.filter]

    def _sum(self, y: Tensor, items: list[_Found]) -> Tensor:
        """The powers of all events together."""
        x = torch.zeros_like(y)
        for item in items:
            self._add(x, item)
        return x

    def _error(self, y: Tensor, items: list[_Found]) -> float:
        """The squared error that events leave of a clip, all of them louder or quieter as fits it best."""
        x = self._sum(y, items)
        return min(float((y - (x * level).log1p()).square().sum()) for level in _LEVELS)

    def _paired(self, y: Tensor, items: list[_Found], loudness: str) -> list[_Found]:
        """The events, with two at once in the place of one, or of some, where that explains far more."""
        for item in items:
            if item not in items:
                continue
            span = slice(item.frame, item.frame + _LENGTH)
            near = [other for other in items if abs(other.frame - item.frame) < _LENGTH // 2]
            rest = [other for other in items if other not in near]
            left = (y - self._sum(y, items).log1p())[:, span].square().sum()
            if len(near) == 1 and left < self.options.rest * y[:, span].square().sum():
                continue
            two = self._two(y, self._sum(y, rest), item.frame, loudness)
            least = self.options.pair if len(near) == 1 else 1.0
            if self._error(y, [*rest, *two]) < least * self._error(y, items):
                items = [*rest, *two]
        return items

    def _two(self, y: Tensor, x: Tensor, frame: int, loudness: str) -> list[_Found]:
        """The two filters of one recording that together explain most of what begins about here."""
        frames = torch.arange(max(0, frame - 5), min(FRAMES, frame + 6))
        start, width = int(frames[0]), _LENGTH + len(frames)
        there = self._patches(y, frames)  # [places, bins, _LENGTH]
        target, known = y[:, start : start + width], x[:, start : start + width]
        best: tuple[float, list[_Found]] = (math.inf, [])
        for variant in range(VARIANTS):
            group = self._groups[variant, loudness]
            filters = self._filters[group]
            beyond = torch.stack([(filters - patch - _QUIETER).clamp_min(0).square().sum((1, 2)) for patch in there], 1)
            # what a filter has that is not there at all: small for both of two sounds at once
            ratio, place = (beyond / self._squares[group, None]).min(1)
            few = ratio.topk(self.options.company, largest=False).indices
            planes = torch.zeros(len(few), BINS, target.shape[-1])
            for plane, k in zip(planes, few.tolist(), strict=True):
                plane[:, int(place[k]) : int(place[k]) + _LENGTH] = self._powers[group[k]]
            i, j = torch.triu_indices(len(few), len(few), 1)
            error = ((known + planes[i] + planes[j]).log1p() - target).square().sum((1, 2))
            for pair in error.topk(min(_FINAL, len(error)), largest=False).indices.tolist():
                power = planes[i[pair]] + planes[j[pair]]
                least = min(float(((known + power) * level).log1p().sub(target).square().sum()) for level in _LEVELS)
                if least < best[0]:
                    chosen = [(int(group[k]), start + int(place[k])) for k in (few[i[pair]], few[j[pair]])]
                    best = least, [self._found(y, x, *one) for one in chosen]
        return best[1]

    def _describe(self, explanation: tuple[float, list[_Found]], y: Tensor) -> Heard:
        error, items = explanation
        explained = max(0.0, 1 - error / max(float(y.square().sum()), self.options.energy))
        events = []
        for item in sorted(items, key=lambda item: item.frame):
            thing, _, loudness, pitch, _ = self._kinds[item.filter]
            onset = item.frame * HOP / RATE
            events.append(Event(thing=thing, onset=onset, pitch=pitch, loudness=loudness, score=round(item.share, 3)))
        return _heard(tuple(events), round(explained, 4), self.options)


def _alone(thing: str, variant: int, loudness: str, pitch: int, cut: int) -> Clip:
    played = Played(thing=thing, onset=_LEAD * HOP, length=cut, pitch=pitch)
    return Clip(kind="once", played=(played,), loudness=loudness, variant=variant, gain=_GAIN)


def _heard(events: tuple[Event, ...], explained: float, options: EarOptions) -> Heard:
    """The pattern that events make."""
    if not events or len(events) > EVENTS or explained < options.clear:
        return Heard(kind=None, events=events, explained=explained)
    kind, tempo, direction = _pattern(events, options)
    loudness = Counter(event.loudness for event in events).most_common(1)[0][0]
    return Heard(kind=kind, events=events, loudness=loudness, tempo=tempo, direction=direction, explained=explained)


def _pattern(events: tuple[Event, ...], options: EarOptions) -> tuple[str | None, str | None, str | None]:
    """Kind, tempo and direction of events in the order of their onsets."""
    things = {event.thing for event in events}
    beats = [b.onset - a.onset for a, b in zip(events, events[1:], strict=False)]
    steps = [b.pitch - a.pitch for a, b in zip(events, events[1:], strict=False)]
    if len(events) == 1:
        return "once", None, None
    if len(things) > 1:
        return (("together" if beats[0] < options.apart else "then") if len(events) == 2 else None), None, None
    if len(events) > 2 and all(steps):
        rising, falling = all(step > 0 for step in steps), all(step < 0 for step in steps)
        return ("melody", None, "rising" if rising else "falling") if rising or falling else (None, None, None)
    return "times", "fast" if sorted(beats)[len(beats) // 2] < options.swift else "slow", None


def sounds_like(heard: Heard, clip: Clip) -> dict[str, bool]:
    """Whether it sounds like the clip: "sounds_right" (what sounds), "pattern_right" (how), and "all"."""
    sounds = set(heard.things) == set(clip.things)
    pattern = (heard.kind, len(heard.events)) == (clip.kind, len(clip.played))
    pattern = pattern and heard.loudness == clip.loudness
    pattern = pattern and (heard.tempo, heard.direction) == (clip.tempo, clip.direction)
    if clip.kind == "then":
        pattern = pattern and heard.things == clip.things
    return {"sounds_right": sounds, "pattern_right": pattern, "all": sounds and pattern}
