"""The mixer: clips to samples in batches, in integer maths, so that every device gives the same bits."""

import random
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from anygen.playground.clip import EVENTS, Clip
from anygen.playground.sound import CLIP, EVENT, INDEX, TAIL, VARIANTS, events, sound_of

_WINDOW = EVENT + TAIL  # samples that an event has at most, echo included
_FADE = 9  # an event that is cut ends in a ramp of 2 ** _FADE samples
_SHARE = 12  # gains are shares of 2 ** _SHARE
_DULL = tuple(round(4096 * 0.36 * 0.64**k) for k in range(12))
"""A low-pass for what is far, in shares of 4096: 12 dB less at 6 kHz than at 200 Hz."""


def _echo() -> list[tuple[int, int]]:
    """Delays in samples and gains in shares of 4096 of what is far: itself, and a room's many reflections."""
    stream = random.Random("echo")
    taps = [(0, 1150)]
    for step in range(48):
        delay = 240 + step * 77 + stream.randrange(60)
        taps.append((delay, round(stream.choice((-1, 1)) * 330 * 0.952**step)))
    return taps


def _far(near: np.ndarray) -> np.ndarray:
    """An event as it is heard from afar: duller, quieter, with an echo. int16 [samples] to int16 [samples + TAIL]."""
    dull = np.convolve(near.astype(np.int64), np.array(_DULL, dtype=np.int64))[: len(near)]
    dull = dull >> _SHARE
    far = np.zeros(len(near) + TAIL, dtype=np.int64)
    for delay, gain in _echo():
        far[delay : delay + len(dull)] += dull * gain
    return (far >> _SHARE).clip(-32768, 32767).astype(np.int16)


Places = dict[tuple[str, str, int, int], tuple[int, int]]
"""Start and length of what is in the bank, by thing, loudness, recording and pitch."""


@lru_cache(maxsize=1)
def _bank() -> tuple[Tensor, Places]:
    """All events near and far one after the other, int16 [samples], and start and length of each."""
    pieces, places, start = [], {}, 0
    for name, recorded in events().items():
        pitches = sound_of(name).pitches
        for number, near in enumerate(recorded):
            for loudness, piece in (("near", near), ("far", _far(near))):
                places[name, loudness, *divmod(number, pitches)] = start, len(piece)
                pieces.append(piece)
                start += len(piece)
    # a window that is read from the last start stays inside
    return torch.from_numpy(np.concatenate([*pieces, np.zeros(_WINDOW, dtype=np.int16)])), places


def _with_extra(bank: Tensor, places: Places, extra: Mapping[str, np.ndarray]) -> tuple[Tensor, Places]:
    """A bank with more events, near and far, behind those that it has."""
    pieces, places, start = [bank[:-_WINDOW].numpy()], dict(places), len(bank) - _WINDOW
    for name, near in extra.items():
        for loudness, piece in (("near", near), ("far", _far(near))):
            places[name, loudness, 0, 0] = start, len(piece)
            pieces.append(piece)
            start += len(piece)
    return torch.from_numpy(np.concatenate([*pieces, np.zeros(_WINDOW, dtype=np.int16)])), places


class Mixer:
    """Renders clips as they are heard: int16 at RATE, CLIP samples each.

    `extra` are events of things that the playground does not have, by the names that clips call them: int16 [at most
    EVENT]; they have one recording at one pitch. All else is played as without.
    """

    def __init__(self, device: str | torch.device = "cpu", *, extra: Mapping[str, np.ndarray] | None = None) -> None:
        self.device = torch.device(device)
        bank, self._places = _bank()
        if extra:
            bank, self._places = _with_extra(bank, self._places, extra)
        self._extra = frozenset(extra or ())
        self._windows = bank.to(self.device).unfold(0, _WINDOW, 1)  # [bank starts, _WINDOW], a view

    def orders(self, clips: list[Clip]) -> Tensor:
        """What to play, as integers on the CPU, cheap to send to a device.

        [clips, EVENTS, 4] of bank start, length, onset and gain (length 0: nothing).
        """
        orders = np.zeros((len(clips), EVENTS, 4), dtype=np.int64)
        for row, clip in enumerate(clips):
            for column, played in enumerate(clip.played):
                variant, pitch = clip.variant % VARIANTS, played.pitch
                if played.thing in self._extra:
                    variant, pitch = 0, 0
                else:
                    pitch = min(pitch, sound_of(played.thing).pitches - 1)
                start, length = self._places[played.thing, clip.loudness, variant, pitch]
                length = min(length, played.length, CLIP - played.onset)
                orders[row, column] = start, length, played.onset, clip.gain
        return torch.from_numpy(orders)

    def sounds(self, clips: list[Clip]) -> Tensor:
        """Of what the events of `orders` are: indices into SOUNDS, -1 for nothing and for extra: [clips, EVENTS]."""
        sounds = torch.full((len(clips), EVENTS), -1)
        for row, clip in enumerate(clips):
            sounds[row, : len(clip.played)] = torch.tensor([INDEX.get(played.thing, -1) for played in clip.played])
        return sounds

    def render(self, clips: list[Clip]) -> Tensor:
        """int16 [clips, CLIP]"""
        return self.mix(self.orders(clips))

    def mix(self, orders: Tensor) -> Tensor:
        """Plays what `orders` gave: int16 [clips, CLIP]."""
        playing = orders[..., 1] > 0
        start, length, onset, gain = orders[playing].to(self.device).unbind(-1)
        window = torch.arange(int(length.max()) if len(length) else 0, dtype=torch.int32, device=self.device)
        heard = self._windows[start, : len(window)].to(torch.int32)  # [events, window]
        heard.mul_(gain.to(torch.int32)[:, None]).bitwise_right_shift_(_SHARE)
        ramp = length.to(torch.int32)[:, None] - window  # 0 where the event is over
        heard.mul_(ramp.clamp_(0, 1 << _FADE)).bitwise_right_shift_(_FADE)
        mixed = torch.zeros(len(orders), CLIP + _WINDOW, dtype=torch.int32, device=self.device)
        rows = playing.nonzero()[:, 0].tolist()
        for row, moment, samples in zip(rows, onset.tolist(), heard, strict=True):
            mixed[row, moment : moment + len(window)] += samples
        return mixed[:, :CLIP].clamp_(-32768, 32767).to(torch.int16)
