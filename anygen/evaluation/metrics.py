"""The figures that a suite quotes: shares with their intervals, POPE, caption scores, distances and seconds."""

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anygen.error import AnyGenError

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""Points of the transform, hop and window of `stft_distance`, in samples (Parallel WaveGAN, table 1)."""


def wilson(right: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """95 % interval of a share of `right` in `n` (Wilson 1927); (0, 1) when nothing was asked."""
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}: right must lie in 0..n")
    if n == 0:
        return 0.0, 1.0
    share, square = right / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(verdicts: Sequence[bool]) -> dict:
    """A row of a table: {"right", "low", "high", "n"}; right is None when nothing was asked."""
    right, n = sum(map(bool, verdicts)), len(verdicts)
    low, high = wilson(right, n)
    return {"right": round(right / n, 4) if n else None, "low": round(low, 4), "high": round(high, 4), "n": n}


def says_yes(answer: str) -> bool | None:
    """Whether a free answer means yes, no, or neither (None): the first word of either kind decides."""
    for word in re.findall(r"[a-z]+", answer.lower()):
        if word in ("yes", "yeah", "yep"):
            return True
        if word in ("no", "not", "nope", "none"):
            return False
    return None


def pope(answers: Sequence[bool | None], truths: Sequence[bool]) -> dict:
    """Accuracy, precision, recall, F1, yes-rate of yes/no answers (POPE, Li et al. 2023); None is wrong and no yes."""
    if len(answers) != len(truths):
        raise ValueError(f"{len(answers)} answers for {len(truths)} questions: give one for each")
    n = len(truths)
    hit = sum(answer is True and truth for answer, truth in zip(answers, truths, strict=True))
    yes, there = sum(answer is True for answer in answers), sum(map(bool, truths))
    precision, recall = hit / yes if yes else 0.0, hit / there if there else 0.0
    return {
        "accuracy": sum(answer is bool(truth) for answer, truth in zip(answers, truths, strict=True)) / n if n else 0.0,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "yes_rate": yes / n if n else 0.0,
        "n": n,
    }


def words(text: str) -> str:
    """Tokenise as the caption metrics want it: lower-case words without punctuation, one space between."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def caption_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict:
    """BLEU-4 and CIDEr of answers, each against its own references (pycocoevalcap, words split by `words`)."""
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers for {len(references)} sets of references: give one for each")
    if not answers:
        return {"bleu4": None, "cider": None, "n": 0}
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        raise AnyGenError("caption scores need pycocoevalcap: pip install pycocoevalcap") from error
    said = {i: [words(answer)] for i, answer in enumerate(answers)}
    truth = {i: [words(text) for text in texts] for i, texts in enumerate(references)}
    bleu, _ = Bleu(4).compute_score(truth, said, verbose=0)
    cider, _ = Cider().compute_score(truth, said)
    return {"bleu4": float(bleu[3]), "cider": float(cider), "n": len(answers)}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays of one shape; infinite where they are equal."""
    if a.shape != b.shape:
        raise ValueError(f"cannot compare {a.shape} with {b.shape}: give arrays of one shape")
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def stft_distance(truth: Tensor, given: Tensor, floor: float = 10**-3.5) -> Tensor:
    """Multi-resolution STFT distance of waveforms, float in -1..1 [n, samples], of each from its truth: [n].

    The mean over three resolutions of |S - G| / |S| + mean |log S - log G|, with S and G the magnitudes of truth and
    given (Parallel WaveGAN, arXiv 1910.11480, equations 4 to 6). Magnitudes below `floor`, 113 dB under a full sine at
    the first resolution, are silence.
    """
    if truth.shape != given.shape or truth.ndim != 2:
        raise ValueError(f"cannot compare {tuple(truth.shape)} with {tuple(given.shape)}: give two [n, samples]")
    found = []
    for points, hop, window in RESOLUTIONS:
        shape = torch.hann_window(window, device=truth.device)
        s, g = (
            torch.stft(x.float(), points, hop, window, shape, return_complex=True).abs().clamp_min(floor)
            for x in (truth, given)
        )  # [n, frequencies, frames]
        convergence = (s - g).flatten(1).norm(dim=1) / s.flatten(1).norm(dim=1)
        found.append(convergence + (s.log() - g.log()).abs().mean((1, 2)))
    return torch.stack(found).mean(0)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|m - n|^2 + tr(S + T - 2 (S T)^(1/2)): the Fréchet distance of two normal distributions (Dowson, Landau 1982).

    a, b: float [samples, width], of which m, n are the means and S, T the covariances.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"cannot compare {a.shape} with {b.shape}: give two [samples, width], at least 2 samples each")
    a, b = a.astype(np.float64), b.astype(np.float64)
    s, t = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # (S T)^(1/2) has the trace of (R T R)^(1/2), where R R = S, which is symmetric
    cross = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * cross
    return float(max(0.0, distance))


def recall_at_one(queries: np.ndarray, gallery: np.ndarray, truth: Sequence[int]) -> list[bool]:
    """For each query, [n, width], whether the most similar of the gallery, [m, width], is the one that truth names."""
    if len(truth) != len(queries):
        raise ValueError(f"{len(truth)} truths for {len(queries)} queries: give one for each")
    found = (queries.astype(np.float64) @ gallery.astype(np.float64).T).argmax(axis=1)
    return [bool(index == right) for index, right in zip(found, truth, strict=True)]


def spread(seconds: Sequence[float]) -> dict:
    """Median and 95th percentile of the seconds that requests took."""
    if not seconds:
        return {"median": None, "p95": None, "n": 0}
    median, p95 = np.percentile(np.asarray(seconds, dtype=np.float64), [50, 95])
    return {"median": round(float(median), 4), "p95": round(float(p95), 4), "n": len(seconds)}
