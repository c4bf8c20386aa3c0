"""Trains the vocoder of nano's audio generator: log-mels to waveforms."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.generators.vocoder import Vocoder
from anygen.mel import HOP, RATE, griffin_lim, log_mel
from anygen.playground.mixer import Mixer
from anygen.training.audio_vae import clips_of
from anygen.training.loop import Batch

RESOLUTIONS = ((1024, 256), (512, 128), (256, 64), (2048, 512))
"""Window and hop of the spectra that are compared, in samples."""

FLOOR = 10**-3.5
"""Is added to the magnitudes' squares as its own square: what is below is silence, and has little gradient."""


def spectral_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Multi-resolution STFT loss of waveforms [n, samples]: convergence and log magnitude (arXiv 1910.11480)."""
    total = made.new_zeros(())
    for window, hop in RESOLUTIONS:
        taper = torch.hann_window(window, device=made.device)
        a, b = (_magnitude(wave, window, hop, taper) for wave in (made, wanted))
        convergence = ((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1).clamp_min(1e-2)).mean()
        total = total + convergence + (a.log() - b.log()).abs().mean()
    return total / len(RESOLUTIONS)


def _magnitude(wave: Tensor, window: int, hop: int, taper: Tensor) -> Tensor:
    spectrum = torch.view_as_real(torch.stft(wave, window, hop, window=taper, return_complex=True))
    return (spectrum.square().sum(-1) + FLOOR**2).sqrt()


class VocoderStage(nn.Module):
    """Learns segments of `frames` frames from their own mels, by spectra at several resolutions and the mel itself."""

    name = "audio-vocoder"

    def __init__(self, vocoder: Vocoder, frames: int = 64) -> None:
        super().__init__()
        self.vocoder, self.frames = vocoder, frames
        self.mixer = Mixer()

    def to(self, *args: Any, **kwargs: Any) -> "VocoderStage":
        super().to(*args, **kwargs)
        self.mixer = Mixer(next(self.parameters()).device)
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        return {"orders": self.mixer.orders(clips_of(step, size, seed))}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        waves = self.mixer.mix(batch["orders"]).float() / 32768
        mels = log_mel(waves)  # [n, bins, frames]
        loud = waves.abs().unflatten(1, (-1, HOP)).amax(-1)  # a segment begins where there is something to hear
        likely = F.avg_pool1d(loud[:, None], self.frames, 1)[:, 0] + 1e-3
        start = torch.multinomial(likely.cpu(), 1, generator=torch.Generator().manual_seed(rng.initial_seed()))
        rows = torch.arange(len(waves))[:, None]
        frames = start + torch.arange(self.frames)
        samples = start * HOP + torch.arange(self.frames * HOP)
        mel = mels.transpose(1, 2)[rows, frames]  # [n, frames, bins]
        wanted = waves[rows, samples]
        made = self.vocoder(mel).float()
        with torch.autocast(made.device.type, enabled=False):
            spectra = spectral_loss(made, wanted)
            return {"spectra": spectra, "mel": 10 * F.l1_loss(log_mel(made), log_mel(wanted))}

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """The spectral distance on whole held-out clips, and Griffin-Lim's on the same mels."""
        import soundfile

        from anygen.evaluation.metrics import stft_distance

        waves = self.mixer.mix(self.mixer.orders(clips_of(0, 24, 0, "heldout"))).float() / 32768
        mel = log_mel(waves)
        made = self.vocoder(mel.transpose(1, 2)).float()
        rebuilt = griffin_lim(mel)
        both = torch.stack([waves[:4], made[:4]], 1).flatten(0, 1).flatten()
        soundfile.write(str(folder / f"{step:07d}.wav"), both.cpu().numpy(), RATE)
        ours, theirs = (float(stft_distance(waves, given).mean()) for given in (made, rebuilt))
        return {"spectra": ours, "griffin_lim": theirs, "ratio": ours / theirs}
