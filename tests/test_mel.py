"""Log-mel spectrograms and Griffin-Lim against closed forms."""

import math

import pytest
import torch

from anygen.mel import (
    BINS,
    FRAMES,
    HOP,
    RATE,
    SAMPLES,
    WINDOW,
    _spectrum,
    griffin_lim,
    inverse_spectrum,
    log_mel,
    magnitudes,
)


def sine(hertz: float, samples: int = SAMPLES, loud: float = 0.5) -> torch.Tensor:
    return loud * torch.sin(2 * math.pi * hertz * torch.arange(samples) / RATE)


def test_a_clip_has_its_frames_and_silence_is_minus_one() -> None:
    mel = log_mel(torch.zeros(2, SAMPLES))
    assert mel.shape == (2, BINS, FRAMES)
    assert torch.equal(mel, -torch.ones_like(mel))


def test_a_tone_is_loudest_in_its_bin_and_ten_times_quieter_is_as_much_lower() -> None:
    loud, quiet = log_mel(torch.stack([sine(440), sine(440, loud=0.05)]))
    peaks = loud.mean(-1).argmax(), log_mel(sine(1760)[None])[0].mean(-1).argmax()
    assert 0 < peaks[0] < peaks[1] < BINS - 1
    drop = (loud - quiet)[peaks[0]].mean()
    assert drop == pytest.approx(2 * math.log(10) / 11.512925, rel=1e-3)


def test_int16_is_the_same_sound() -> None:
    wave = (sine(300) * 32767).round().to(torch.int16)[None]
    assert torch.allclose(log_mel(wave), log_mel(wave.float() / 32768))


def test_a_frame_stands_where_its_sound_is() -> None:
    wave = torch.zeros(1, SAMPLES)
    wave[0, 100 * HOP + HOP // 2] = 1.0  # a click in the middle of hop 100
    assert int(log_mel(wave)[0].mean(0).argmax()) == 100


def test_wrong_lengths_are_named() -> None:
    with pytest.raises(ValueError, match="a multiple of 250 samples and at least 1024, got 300"):
        log_mel(torch.zeros(1, 300))


def test_overlap_add_inverts_the_spectrum() -> None:
    wave = torch.randn(2, 8 * WINDOW // HOP * HOP, generator=torch.Generator().manual_seed(0)) * 0.1
    back = inverse_spectrum(_spectrum(wave))
    inner = slice(WINDOW, -WINDOW)
    assert torch.allclose(back[:, inner], wave[:, inner], atol=1e-5)


def test_griffin_lim_gives_the_mel_back_better_with_more_steps() -> None:
    wave = (sine(220, 16_000) + sine(660, 16_000, 0.2))[None]
    mel = log_mel(wave)
    wanted = magnitudes(mel)
    errors = [float((_spectrum(griffin_lim(mel, steps)).abs() - wanted).norm() / wanted.norm()) for steps in (1, 30)]
    assert errors[1] < 0.6 * errors[0]
    assert torch.equal(griffin_lim(mel, 2), griffin_lim(mel, 2))
