"""The audio encoder: sounds as log-mel patches, to features in the order of time and to the joint space."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.imagebind import Tower, TowerConfig, Trunk
from anygen.error import ModelError
from anygen.media import Audio
from anygen.mel import BINS, FRAMES, RATE, SAMPLES, log_mel


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioTowerConfig:
    """Sizes of the audio tower. A patch is all mel bins of `patch` frames, so that features follow time."""

    width: int = 128
    depth: int = 4
    heads: int = 4
    joint: int = 128
    patch: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelError(f"an encoder's width ({self.width}) is a multiple of its heads ({self.heads})")
        if FRAMES % self.patch:
            raise ModelError(f"an encoder's patch ({self.patch}) divides the {FRAMES} frames of a sound")


class AudioEncoder(Tower):
    """An ImageBind-style audio tower. Input: any sound; output: `tokens` features of `width`, in the order of time."""

    config_type = AudioTowerConfig

    def __init__(self, config: AudioTowerConfig) -> None:
        super().__init__()
        self.config = config
        trunk = TowerConfig(width=config.width, depth=config.depth, heads=config.heads, joint=config.joint)
        # bins are seen at a finer step than a patch first, so that an onset inside a patch is not lost
        self.stem = nn.Sequential(
            nn.Conv1d(BINS, config.width, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(config.width, config.width, config.patch, config.patch),
        )
        self.class_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(1, 1 + self.tokens, config.width) * 0.02)
        self.trunk = Trunk(trunk)
        self.head = nn.Linear(config.width, config.joint, bias=False)

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def tokens(self) -> int:
        return FRAMES // self.config.patch

    def prepare(self, audio: Audio) -> Tensor:
        """The first 4 s, mixed to mono at 16 kHz, padded with silence: the log-mel, float [BINS, FRAMES]."""
        needed = math.ceil((SAMPLES / RATE + 0.1) * audio.rate)  # the rest of a long sound need not be resampled
        sound = Audio(audio.mono().samples[:, :needed], rate=audio.rate).resample(RATE)
        wave = torch.from_numpy(np.array(sound.samples[0, :SAMPLES]))
        return log_mel(F.pad(wave, (0, SAMPLES - len(wave)))[None])[0]

    def states(self, mel: Tensor) -> Tensor:
        """[batch, BINS, FRAMES] to [batch, 1 + tokens, width], the class token first."""
        steps = self.stem(mel).transpose(1, 2)  # [batch, tokens, width]
        tokens = torch.cat([self.class_token.expand(len(steps), -1, -1), steps], 1)
        return self.trunk(tokens + self.position_embedding)

    def forward(self, mel: Tensor) -> Tensor:
        """[batch, BINS, FRAMES] to [batch, tokens, width]"""
        if mel.shape[-2:] != (BINS, FRAMES):
            raise ModelError(f"the audio encoder reads {BINS} bins x {FRAMES} frames, not {list(mel.shape)}")
        return self.states(mel)[:, 1:]

    def embed(self, mel: Tensor) -> Tensor:
        """[batch, BINS, FRAMES] to unit vectors [batch, joint]"""
        return F.normalize(self.head(self.states(mel)[:, 0]), dim=-1)
