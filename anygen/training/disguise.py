"""Disguises: sounds that nobody knows, made of known ones, so that when and how high is not guessed from by whom."""

import random
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from anygen.playground.clip import DIRECTIONS, Clip
from anygen.playground.hearing import COUNT_WORDS, sound_caption
from anygen.playground.sound import sound_of

_LEAST, _MOST = 6, 20  # mel bins that a disguised sound is moved by
_NOTHING = -1.0  # silence in a log-mel
_ALONE = ("once", "times", "melody")  # kinds of clips in which one thing sounds


def disguised(part: dict[str, Any], stream: random.Random) -> dict[str, Any]:
    """The part with a random disguise of its clip; where two things sound, as it is."""
    return part | {"disguise": sample_disguise(stream)} if part["clip"].kind in _ALONE else part


def pattern(clip: Clip) -> str:
    """What the canonical caption of the clip says of how often, how fast and which way: 'three times, fast'."""
    if clip.kind == "melody":
        return clip.direction or ""
    return f"{COUNT_WORDS[len(clip.played)][0]}, {clip.tempo}" if clip.kind == "times" else ""


def seeming(clip: Clip, how: tuple[int, int]) -> Clip:
    """The clip as it sounds in that disguise: upside down, what rose falls."""
    if clip.kind == "melody" and how[1]:
        return replace(clip, direction=DIRECTIONS[1 - DIRECTIONS.index(clip.direction or "")])
    return clip


def told_in_disguise(clip: Clip, how: tuple[int, int]) -> str:
    """The canonical caption of the clip in that disguise: 'the sound of something, rising'."""
    return sound_caption(seeming(clip, how)).replace(sound_of(clip.things[0]).heard, "something", 1)


def sample_disguise(stream: random.Random) -> tuple[int, int]:
    """Bins that a sound is moved by, up or down, and whether its spectrum is turned upside down (0 or 1)."""
    return stream.choice((-1, 1)) * stream.randint(_LEAST, _MOST), stream.randrange(2)


def disguise(mel: Tensor, how: Tensor) -> Tensor:
    """Log-mels [n, bins, frames] in the disguises `how` [n, 2] that `sample_disguise` gave; (0, 0) changes nothing.

    Onsets, tempo and loudness stay. Moved harmonics are no harmonics any more, so the timbre goes; upside down, what
    rose falls.
    """
    bins = mel.shape[1]
    shift, flip = how.to(mel.device).unbind(1)
    line = torch.arange(bins, device=mel.device)
    source = torch.where(flip[:, None] > 0, bins - 1 - line, line.expand(len(mel), -1)) - shift[:, None]
    moved = mel.gather(1, source.clamp(0, bins - 1)[..., None].expand_as(mel))
    return torch.where(((source >= 0) & (source < bins))[..., None], moved, _NOTHING)
