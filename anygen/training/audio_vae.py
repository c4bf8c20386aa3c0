"""The audio autoencoder of nano's generator: log-mels to a small latent grid and back."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.mel import log_mel
from anygen.playground.clip import Clip, sample_clip
from anygen.playground.mixer import Mixer
from anygen.training.image_vae import KL_WEIGHT
from anygen.training.loop import Batch


def clips_of(step: int, size: int, seed: int, split: str = "train", grid: int | None = None) -> list[Clip]:
    """The clips of a step's batch, from (seed, step) alone."""
    stream = random.Random(f"{seed}|{step}|{split}|audio")
    return [sample_clip(stream, split=split, grid=grid) for _ in range(size)]


def build_audio_vae(channels: tuple[int, ...], latents: int) -> Any:
    """An `AutoencoderKL` of one channel that halves frames and bins once per channel entry but the first."""
    from diffusers import AutoencoderKL

    depth = len(channels)
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        latent_channels=latents,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
    )


def to_mel(waves: Tensor) -> Tensor:
    """int16 waveforms [n, samples] to what the autoencoder sees: log-mels [n, 1, frames, bins]."""
    return log_mel(waves).transpose(1, 2)[:, None]


class AudioVAEStage(nn.Module):
    """Reconstruction (L1 and MSE) of log-mels and a light KL term on endless fresh clips.

    Where the encoder `rests` the decoder alone learns, and what was trained on the latents goes on with them.
    """

    name = "audio-vae"

    def __init__(self, vae: Any, *, rests: bool = False) -> None:
        super().__init__()
        self.vae, self.rests = vae, rests
        self.mixer = Mixer()

    def to(self, *args: Any, **kwargs: Any) -> "AudioVAEStage":
        super().to(*args, **kwargs)
        self.mixer = Mixer(next(self.parameters()).device)
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        return {"orders": self.mixer.orders(clips_of(step, size, seed))}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        mel = to_mel(self.mixer.mix(batch["orders"]))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.rests):
            posterior = self.vae.encode(mel).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=rng, device=mel.device)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        return {"l1": F.l1_loss(decoded, mel), "mse": 4 * F.mse_loss(decoded, mel), "kl": KL_WEIGHT * kl}

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """The mean distance of held-out log-mels to what comes back, in their unit (11.5 dB each 0.23)."""
        mel = to_mel(self.mixer.mix(self.mixer.orders(clips_of(0, 32, 0, "heldout"))))
        decoded = self.vae.decode(self.vae.encode(mel).latent_dist.mean).sample.float()
        pairs = torch.stack([mel[:12], decoded[:12]], 1).flatten(0, 1)[:, 0]
        mel_sheet(pairs).save(folder / f"{step:07d}.png")
        return {"heldout_l1": round(float(F.l1_loss(decoded, mel)), 4)}


@torch.no_grad()
def set_audio_scaling(vae: Any, device: Any, count: int = 256) -> None:
    """Sets `scaling_factor` so that scaled latents of training clips have deviation 1."""
    mixer = Mixer(device)
    latents = [
        vae.encode(to_mel(mixer.mix(mixer.orders(clips_of(step, 32, 1234))))).latent_dist.mean.float()
        for step in range(count // 32)
    ]
    vae.register_to_config(scaling_factor=1 / float(torch.cat(latents).std()))


def mel_sheet(mels: Tensor, captions: list[str] | None = None) -> Any:
    """Log-mels [n, frames, bins] as a contact sheet, time to the right and high bins above."""
    from anygen.evaluation.sheet import sheet

    grey = ((mels.float().cpu().clamp(-1, 1) + 1) * 127.5).to(torch.uint8).transpose(1, 2).flip(1)
    return sheet(list(grey[..., None].expand(-1, -1, -1, 3).numpy()), captions)
