"""Log-mel spectrograms, the picture of a sound that encoder, generator and vocoder share, and Griffin-Lim back."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

RATE = 16_000
SECONDS = 4.0
SAMPLES = 64_000
HOP = 250
WINDOW = 1_024
BINS = 64
FRAMES = SAMPLES // HOP
FLOOR = 1e-5  # of a mel magnitude: what is quieter is silence
_SILENCE = 11.512925464970229  # -ln(FLOOR)


@lru_cache(maxsize=4)
def _filters(device: torch.device) -> Tensor:
    """Slaney's mel filters: [bins, frequencies]."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(WINDOW // 2 + 1, BINS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank.T).float().contiguous().to(device)


@lru_cache(maxsize=4)
def _inverse_filters(device: torch.device) -> Tensor:
    """Their least-squares inverse: [frequencies, bins]."""
    return torch.linalg.pinv(_filters(device))


@lru_cache(maxsize=4)
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(WINDOW, device=device)


def _spectrum(waves: Tensor) -> Tensor:
    """Complex STFT with one frame per HOP samples, each frame's centre in the middle of its hop."""
    padded = F.pad(waves[:, None], ((WINDOW - HOP) // 2, (WINDOW - HOP) // 2), mode="reflect")[:, 0]
    return torch.stft(
        padded, WINDOW, HOP, window=_window(waves.device), center=False, return_complex=True
    )  # [n, frequencies, frames]


def log_mel(waves: Tensor) -> Tensor:
    """Waveforms at RATE, float in -1..1 or int16, [n, samples], to [n, BINS, samples / HOP].

    The natural logarithm of mel magnitudes, scaled so that silence (FLOOR and below) is -1 and magnitude 1 is 1.
    Computed in float32 whatever autocast says.
    """
    if waves.dtype == torch.int16:
        waves = waves.float() / 32768
    if waves.shape[-1] % HOP or waves.shape[-1] < WINDOW:
        raise ValueError(f"a mel needs a multiple of {HOP} samples and at least {WINDOW}, got {waves.shape[-1]}")
    with torch.autocast(waves.device.type, enabled=False):
        magnitude = _spectrum(waves.float()).abs()
        mel = _filters(waves.device) @ magnitude
        return 2 * mel.clamp_min(FLOOR).log() / _SILENCE + 1


def magnitudes(mel: Tensor) -> Tensor:
    """The inverse of the logarithm and of the mel filters (least squares, not negative): [n, frequencies, frames]."""
    linear = ((mel.float() - 1) * (_SILENCE / 2)).exp()
    return (_inverse_filters(mel.device) @ linear).clamp_min(0)


def griffin_lim(mel: Tensor, steps: int = 60, momentum: float = 0.99, seed: int = 0) -> Tensor:
    """Log-mels [n, BINS, frames] to waveforms [n, frames * HOP] (Griffin and Lim 1984; fast: Perraudin et al. 2013)."""
    wanted = magnitudes(mel)
    rng = torch.Generator().manual_seed(seed)
    phase = torch.rand(wanted.shape, generator=rng).to(mel.device) * 2 * torch.pi
    angles = torch.polar(torch.ones_like(phase), phase)
    before = torch.zeros_like(angles)
    for _ in range(steps):
        rebuilt = _spectrum(inverse_spectrum(wanted * angles))
        angles = rebuilt - momentum / (1 + momentum) * before
        angles = angles / angles.abs().clamp_min(1e-8)
        before = rebuilt
    return inverse_spectrum(wanted * angles)


def inverse_spectrum(spectrum: Tensor) -> Tensor:
    """The inverse STFT by overlap-add: complex [n, WINDOW / 2 + 1, frames] to [n, frames * HOP]."""
    window = _window(spectrum.device)
    frames = torch.fft.irfft(spectrum, WINDOW, dim=1) * window[:, None]  # [n, window, frames]
    length = WINDOW + HOP * (spectrum.shape[-1] - 1)
    added = F.fold(frames, (1, length), (1, WINDOW), stride=(1, HOP))[:, 0, 0]
    weight = F.fold(
        (window**2)[None, :, None].expand(1, -1, spectrum.shape[-1]), (1, length), (1, WINDOW), stride=(1, HOP)
    )[:, 0, 0]
    edge = (WINDOW - HOP) // 2
    return (added / weight.clamp_min(1e-8))[:, edge : length - edge]
