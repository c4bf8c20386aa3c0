"""Metrics against known answers and against reference libraries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anygen.evaluation import metrics


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_wilson_known_answers(right: int, n: int, low: float, high: float) -> None:
    assert metrics.wilson(right, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(pair: tuple[int, int]) -> None:
    right, n = pair
    low, high = metrics.wilson(right, n)
    assert 0 <= low <= right / n + 1e-12 and right / n - 1e-12 <= high <= 1
    mirrored = metrics.wilson(n - right, n)
    assert (low, high) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]), abs=1e-9)


def test_wilson_refuses_more_right_than_asked() -> None:
    with pytest.raises(ValueError, match="11 right of 10"):
        metrics.wilson(11, 10)


def test_share_is_a_row() -> None:
    assert metrics.share([True, True, False, True]) == {"right": 0.75, "low": 0.3006, "high": 0.9544, "n": 4}
    assert metrics.share([])["right"] is None


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ("Yes, there is a cat.", True),
        ("No.", False),
        ("There is not a cat", False),
        ("I do know a cat", None),
        ("", None),
        ("yes, not small", True),
    ],
)
def test_says_yes(answer: str, meaning: bool | None) -> None:
    assert metrics.says_yes(answer) is meaning


def test_pope_by_hand() -> None:
    # Of three that are there two are said; of two that are not there one is said, and the other is not answered at all.
    result = metrics.pope([True, True, False, True, None], [True, True, True, False, False])
    assert result == pytest.approx(
        {"accuracy": 2 / 5, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "yes_rate": 3 / 5, "n": 5}
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_pope_against_torchmetrics(pairs: list[tuple[bool, bool]]) -> None:
    classification = pytest.importorskip("torchmetrics.functional.classification")
    answers, truths = map(list, zip(*pairs, strict=True))
    ours = metrics.pope(answers, truths)
    said, true = torch.tensor(answers).int(), torch.tensor(truths).int()
    for name in ("accuracy", "precision", "recall"):
        assert ours[name] == pytest.approx(float(getattr(classification, f"binary_{name}")(said, true)), abs=1e-6)
    assert ours["f1"] == pytest.approx(float(classification.binary_f1_score(said, true)), abs=1e-6)


def test_bleu_against_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    answers = ["a large cat at the top left of a wide meadow", "three dogs and a small car stand in the desert"]
    references = ["a large cat at the top left of the meadow", "three dogs and a car stand in the hot desert"]
    ours = metrics.caption_scores(answers, [[text] for text in references])["bleu4"]
    theirs = sacrebleu.corpus_bleu(answers, [references], tokenize="none", smooth_method="none").score / 100
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_caption_scores_of_the_reference_itself() -> None:
    pytest.importorskip("pycocoevalcap")
    texts = ["a large cat at the top left, meadow", "three dogs in the wide desert", "a car left of a boat, sea"]
    result = metrics.caption_scores(texts, [[text] for text in texts])
    assert result["bleu4"] == pytest.approx(1.0, abs=1e-6)
    assert result["cider"] == pytest.approx(10.0, abs=1e-6)  # CIDEr-D is scaled by ten
    assert metrics.caption_scores(["red blue"] * 3, [[text] for text in texts])["cider"] == pytest.approx(0, abs=1e-6)


def test_words() -> None:
    assert metrics.words("A cat,  left of the Dog's house.") == "a cat left of the dog's house"


def test_psnr() -> None:
    zero, one = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 1, np.uint8)
    assert metrics.psnr(zero, one) == pytest.approx(20 * math.log10(255))
    assert metrics.psnr(zero, zero) == math.inf
    with pytest.raises(ValueError, match=r"\(8, 8, 3\) with \(4, 8, 3\)"):
        metrics.psnr(zero, one[:4])


def test_psnr_against_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    stream = np.random.default_rng(0)
    a, b = (stream.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    theirs = functional.peak_signal_noise_ratio(torch.tensor(a).float(), torch.tensor(b).float(), data_range=255.0)
    assert metrics.psnr(a, b) == pytest.approx(float(theirs), abs=1e-4)


def test_spread() -> None:
    assert metrics.spread([1.0, 2.0, 3.0]) == {"median": 2.0, "p95": 2.9, "n": 3}
    assert metrics.spread([])["median"] is None


def test_stft_distance_of_a_scaled_copy_is_known() -> None:
    noise = torch.randn(3, 16000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert metrics.stft_distance(noise, noise).tolist() == [0, 0, 0]
    halves = metrics.stft_distance(noise, noise / 2)
    assert halves.tolist() == pytest.approx([0.5 + math.log(2)] * 3, rel=1e-3)  # nothing here is near the floor
    doubled = metrics.stft_distance(noise, 2 * noise)
    assert doubled.tolist() == pytest.approx([1 + math.log(2)] * 3, rel=1e-3)
    assert metrics.stft_distance(noise, -noise).max() < 1e-4  # magnitudes only


def test_stft_distance_of_silence() -> None:
    silence, noise = torch.zeros(1, 8000), torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert metrics.stft_distance(silence, silence).item() == 0
    assert 4 < metrics.stft_distance(noise, silence).item() < math.inf
    with pytest.raises(ValueError, match=r"\(1, 8000\) with \(1, 4000\)"):
        metrics.stft_distance(silence, noise[:, :4000])


def test_stft_distance_rows_are_alone() -> None:
    stream = torch.Generator().manual_seed(1)
    a, b = (torch.randn(4, 9000, generator=stream) for _ in range(2))
    alone = [metrics.stft_distance(x[None], y[None]).item() for x, y in zip(a, b, strict=True)]
    assert metrics.stft_distance(a, b).tolist() == pytest.approx(alone, rel=1e-5)


def with_moments(mean: list[float], deviation: list[float]) -> np.ndarray:
    """Points with exactly this mean, these standard deviations and no correlation: [2 ** width, width]."""
    signs = np.array(np.meshgrid(*[(-1, 1)] * len(mean))).reshape(len(mean), -1).T
    return np.array(mean) + signs * np.array(deviation) * math.sqrt((len(signs) - 1) / len(signs))


def test_frechet_known_answers() -> None:
    a, b = with_moments([0, 0, 0], [1, 2, 3]), with_moments([3, 4, 0], [2, 2, 1])
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet(a, a + [3, 4, 0]) == pytest.approx(25)
    assert metrics.frechet(a, b) == pytest.approx(25 + 1 + 0 + 4)  # sum of (s - t)^2 where covariances commute
    assert metrics.frechet(np.zeros((4, 2)), np.ones((2, 2))) == pytest.approx(2)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert metrics.frechet(a @ turn, b @ turn) == pytest.approx(30)


def test_frechet_against_scipy() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    stream = np.random.default_rng(0)
    a, b = (stream.normal(size=(200, 6)) @ stream.normal(size=(6, 6)) for _ in range(2))
    s, t = np.cov(a.T), np.cov(b.T)
    theirs = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real)
    assert metrics.frechet(a, b) == pytest.approx(float(theirs), rel=1e-6)
    with pytest.raises(ValueError, match=r"\(200, 6\) with \(200, 5\)"):
        metrics.frechet(a, b[:, :5])


def test_recall_at_one() -> None:
    gallery = np.eye(3)
    queries = np.array([[0.9, 0.1, 0], [0.6, 0.5, 0], [0, 0.2, 0.8]])
    assert metrics.recall_at_one(queries, gallery, [0, 1, 2]) == [True, False, True]
    with pytest.raises(ValueError, match="2 truths for 3 queries"):
        metrics.recall_at_one(queries, gallery, [0, 1])
