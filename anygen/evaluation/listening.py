"""The ear judged: how often it is right on clips, clean and spoilt, and how often it accepts what is wrong."""

import random
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.evaluation.ear import Ear, Heard, sounds_like
from anygen.evaluation.metrics import share
from anygen.mel import SAMPLES, griffin_lim, log_mel
from anygen.playground.clip import KINDS, Clip, sample_clip
from anygen.playground.mixer import Mixer
from anygen.playground.sound import EVENT

BATCH = 16


def _noisy(x: Tensor, rng: torch.Generator, deviation: float) -> Tensor:
    return x + torch.randn(x.shape, generator=rng) * deviation


def noise(waves: Tensor, rng: torch.Generator) -> Tensor:
    """White, standard deviation 0.003 of full scale."""
    return _noisy(waves, rng, 0.003)


def phase(waves: Tensor, rng: torch.Generator) -> Tensor:
    """Through the mel and back by Griffin-Lim, with another phase."""
    return griffin_lim(log_mel(waves), steps=32)


def blur(waves: Tensor, rng: torch.Generator) -> Tensor:
    """A mel blurred over three bins and frames, with noise of 0.03, and back by Griffin-Lim."""
    mel = F.avg_pool2d(F.pad(log_mel(waves)[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    return griffin_lim(_noisy(mel, rng, 0.03).clamp(-1), steps=32)


SPOILT: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "noise 0.003": noise,
    "Griffin-Lim": phase,
    "blurred mel, Griffin-Lim": blur,
}
"""From and to float [n, samples] in -1..1."""


def spoil(waves: Tensor, name: str, seed: int) -> Tensor:
    """int16 [n, samples], spoilt in one of the ways of SPOILT: float [n, samples] in -1..1."""
    rng = torch.Generator().manual_seed(seed)
    parts = [SPOILT[name](part.float() / 32768, rng) for part in waves.split(BATCH)]
    return torch.cat(parts).clamp(-1, 1)


def accuracy(n: int, seed: int = 0, split: str = "heldout", ear: Ear | None = None) -> dict:
    """The share of clean clips, all kinds alike, of which the ear gets everything right: {"accuracy", ..., "n"}."""
    stream = random.Random(f"ear|{seed}|{split}")
    clips = [sample_clip(stream, KINDS[i % len(KINDS)], split) for i in range(n)]
    ear, mixer = ear or Ear(), Mixer()
    right: list[bool] = []
    for start in range(0, n, BATCH):
        chunk = clips[start : start + BATCH]
        right += [sounds_like(h, c)["all"] for h, c in zip(ear.listen(mixer.render(chunk)), chunk, strict=True)]
    row = share(right)
    return {"accuracy": row.pop("right"), **row}


def examine(n: int, seed: int = 0, split: str = "heldout") -> tuple[dict, list[tuple[Tensor, Clip, Heard]], dict]:
    """The ear's own table, its mistakes on clean clips, and its speed.

    n clips in all, each kind alike, clean; a third as many spoilt in each way; each clip judged against another one of
    its kind (right is to refuse it); silence and noise (right is to hear nothing).
    """
    ear, mixer = Ear(), Mixer()
    cells: dict[str, dict[str, dict]] = {}
    mistakes: list[tuple[Tensor, Clip, Heard]] = []
    refused: list[bool] = []
    seconds, every = 0.0, []
    for kind in KINDS:
        stream = random.Random(f"examine|{kind}|{seed}|{split}")
        clips = [sample_clip(stream, kind, split) for _ in range(max(1, n // len(KINDS)))]
        waves = mixer.render(clips)
        began = time.process_time()
        heard = ear.listen(waves)
        seconds += time.process_time() - began
        facts = [sounds_like(h, c) for h, c in zip(heard, clips, strict=True)]
        every += [fact["all"] for fact in facts]
        mistakes += [(w, c, h) for w, c, h, fact in zip(waves, clips, heard, facts, strict=True) if not fact["all"]]
        rows = {f"clean: {name}": share([fact[name] for fact in facts]) for name in facts[0]}
        others = zip(heard, clips, clips[1:] + clips[:1], strict=True)
        refused += [not sounds_like(h, other)["all"] for h, clip, other in others if _differ(clip, other)]
        for name in SPOILT:
            part = clips[: max(1, len(clips) // 3)]
            again = ear.listen(spoil(waves[: len(part)], name, stream.getrandbits(31)))
            rows[name] = share([sounds_like(h, c)["all"] for h, c in zip(again, part, strict=True)])
        cells[f"clip of {kind}"] = rows
    cells["clip of any kind"] = {"clean: all": share(every)}
    rng = torch.Generator().manual_seed(seed)
    nothing = torch.stack([torch.randn(SAMPLES, generator=rng) * level for level in (0, 1e-4, 0.01, 0.1, 0.3)])
    nothing[1, EVENT:] = 0
    cells["wrong"] = {
        "another clip refused": share(refused),
        "silence and noise: no clip heard": share([heard.kind is None for heard in ear.listen(nothing.clamp(-1, 1))]),
    }
    return cells, mistakes, {"clips_per_second": round(len(every) / max(seconds, 1e-9), 2), "n": len(every)}


def _differ(a: Clip, b: Clip) -> bool:
    """Whether two clips are told apart by what is asked of the ear."""
    said = [
        (set(c.things), len(c.played), c.loudness, c.tempo, c.direction, c.kind == "then" and c.things) for c in (a, b)
    ]
    return said[0] != said[1]
