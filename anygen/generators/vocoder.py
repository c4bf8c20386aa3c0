"""The vocoder of nano's audio generator: log-mels to waveforms through an inverse STFT, in Vocos' style."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from anygen.mel import BINS, HOP, RATE, WINDOW, inverse_spectrum, magnitudes

_FREQUENCIES = WINDOW // 2 + 1
_QUIET = 1e-5  # is added to magnitudes, so that silence has a logarithm
_RANGE = 6.0  # most that a magnitude's logarithm is changed by


class _Block(nn.Module):
    """ConvNeXt in one dimension: a depthwise convolution over frames, then a perceptron, [n, frames, width]."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 3 * width)
        self.narrow = nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x.transpose(1, 2)).transpose(1, 2))
        return x + self.scale * self.narrow(F.gelu(self.widen(y)))


class Vocoder(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own bases disagree on a name
    """Tells of every frame how its magnitudes differ from those of the mel, and all phases (Vocos, arXiv 2306.00814).

    It begins with the least-squares inverse of the mel filters instead of with nothing, and has no discriminator.
    `model_in_dim`, `sampling_rate` and `upsample_rates` say what they say in transformers' vocoders, so that diffusers'
    pipelines take it in the place of one. They are those of `anygen.mel`, whose spectra this vocoder inverts; the
    product of `upsample_rates` is the hop. ValueError where they are not.
    """

    @register_to_config
    def __init__(
        self,
        model_in_dim: int = BINS,
        sampling_rate: int = RATE,
        upsample_rates: Sequence[int] = (HOP,),
        width: int = 256,
        depth: int = 5,
    ) -> None:
        super().__init__()
        given, wanted = (model_in_dim, sampling_rate, math.prod(upsample_rates)), (BINS, RATE, HOP)
        if given != wanted:
            raise ValueError(f"a vocoder's bins, rate and hop are those of its mels, {wanted}, not {given}")
        self.enter = nn.Conv1d(model_in_dim, width, 7, padding=3)
        self.before = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(_Block(width, 1 / depth) for _ in range(depth)))
        self.after = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3 * _FREQUENCIES)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.weight[:_FREQUENCIES])  # the magnitudes begin as the mel has them
        nn.init.zeros_(self.head.bias)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Log-mels of `anygen.mel`, [n, frames, bins] or [frames, bins], to samples in -1..1, [n, frames * HOP]."""
        mel = spectrogram if spectrogram.ndim == 3 else spectrogram[None]
        x = self.before(self.enter(mel.transpose(1, 2).to(self.head.weight.dtype)).transpose(1, 2))
        told = self.head(self.after(self.blocks(x))).float().transpose(1, 2)  # [n, 3 * frequencies, frames]
        with torch.autocast(told.device.type, enabled=False):
            change, real, imaginary = told.split(_FREQUENCIES, 1)
            size = (magnitudes(mel.transpose(1, 2)) + _QUIET) * change.clamp(-_RANGE, _RANGE).exp()
            size = size * (real.square() + imaginary.square() + 1e-6).rsqrt()
            waves = inverse_spectrum(torch.complex(size * real, size * imaginary))
        waves = waves.to(spectrogram.dtype)
        return waves if spectrogram.ndim == 3 else waves[0]
