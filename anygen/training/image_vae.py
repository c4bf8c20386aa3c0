"""The image autoencoder of nano's generator: pixels to a small latent grid and back."""

import math
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.playground.compositor import Compositor
from anygen.playground.scene import Scene, sample_scene
from anygen.training.loop import Batch

KL_WEIGHT = 1e-4


def scenes_of(step: int, size: int, seed: int, split: str = "train") -> list[Scene]:
    """The scenes of a step's batch, from (seed, step) alone."""
    stream = random.Random(f"{seed}|{step}|{split}")
    return [sample_scene(stream, split=split) for _ in range(size)]


def build_vae(side: int, channels: tuple[int, ...], latents: int) -> Any:
    """An `AutoencoderKL` that halves the picture once per channel entry but the first."""
    from diffusers import AutoencoderKL

    depth = len(channels)
    return AutoencoderKL(
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        latent_channels=latents,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        sample_size=side,
        scaling_factor=1.0,
    )


def to_pixels(images: Tensor) -> Tensor:
    """uint8 0..255 to float -1..1"""
    return images.float() / 127.5 - 1


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures in -1..1, [n, 3, height, width]."""
    error = ((a.clamp(-1, 1) - b.clamp(-1, 1)) / 2).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    return float((-10 * error.log10()).mean())


class ImageVAEStage(nn.Module):
    """Reconstruction (L1 and MSE) and a light KL term on endless fresh scenes.

    A share `aligned` of them has its things on the latent grid, as the generator draws them. After `encoder_steps` the
    encoder rests, so that a generator can begin on its latents while the decoder goes on.
    """

    name = "image-vae"

    def __init__(self, vae: Any, side: int, aligned: float = 0.0, encoder_steps: int | None = None) -> None:
        super().__init__()
        self.vae, self.side = vae, side
        self.aligned, self.encoder_steps = aligned, encoder_steps
        self.grid = side // 2 ** (len(vae.config.block_out_channels) - 1)
        self.compositor = Compositor(side)

    def to(self, *args: Any, **kwargs: Any) -> "ImageVAEStage":
        super().to(*args, **kwargs)
        self.compositor = Compositor(self.side, next(self.parameters()).device)
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|vae")
        grids = [self.grid if stream.random() < self.aligned else None for _ in range(size)]
        layers, ground = self.compositor.orders([sample_scene(stream, grid=grid) for grid in grids])
        return {"layers": layers, "ground": ground, "step": torch.tensor(step)}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        pixels = to_pixels(self.compositor.draw(batch["layers"], batch["ground"]))
        rests = self.encoder_steps is not None and int(batch["step"]) >= self.encoder_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and not rests):
            posterior = self.vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=rng, device=pixels.device)
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        squared = F.mse_loss(decoded, pixels)
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).float().mean()
        with torch.no_grad():
            decibel = -10 * torch.log10(squared / 4)
        return {"l1": F.l1_loss(decoded, pixels), "mse": 4 * squared, "kl": KL_WEIGHT * kl, "_psnr": decibel}

    def reconstruct(self, images: Tensor) -> Tensor:
        """uint8 pictures through the autoencoder's mean latents, in -1..1."""
        pixels = to_pixels(images).to(next(self.vae.parameters()).device)
        return self.vae.decode(self.vae.encode(pixels).latent_dist.mean).sample.float()

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        from anygen.evaluation.sheet import sheet

        images = self.compositor.render(scenes_of(0, 64, 0, "heldout"))
        decoded = self.reconstruct(images)
        pairs = torch.stack([images[:16], _to_bytes(decoded[:16])], 1).flatten(0, 1)
        sheet(list(pairs.permute(0, 2, 3, 1).cpu().numpy())).save(folder / f"{step:07d}.png")
        return {"heldout_psnr": round(psnr(decoded, to_pixels(images)), 3)}


def _to_bytes(pixels: Tensor) -> Tensor:
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


@torch.no_grad()
def set_scaling(vae: Any, side: int, device: Any, count: int = 512) -> None:
    """Sets `scaling_factor` so that scaled latents of training scenes have deviation 1."""
    compositor = Compositor(side, device)
    latents = []
    for step in range(count // 32):
        pixels = to_pixels(compositor.render(scenes_of(step, 32, 1234)))
        latents.append(vae.encode(pixels).latent_dist.mean.float())
    values = torch.cat(latents)
    deviation = float(values.std())
    if not math.isfinite(deviation) or deviation <= 0:
        raise ValueError(f"the latents' deviation is {deviation}")
    vae.register_to_config(scaling_factor=1 / deviation)
