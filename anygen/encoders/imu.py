"""The IMU encoder: what an inertial sensor measured, to features in the order of time and to the joint space."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.imagebind import Tower, TowerConfig, Trunk
from anygen.error import ModelError
from anygen.sensed import Imu

_SCALE = (10.0, 10.0, 10.0, 4.0, 4.0, 4.0)  # what counts as much: metres per second squared, radians per second
_GRAVITY = 9.81


@dataclass(frozen=True, kw_only=True, slots=True)
class ImuTowerConfig:
    """Sizes of the IMU tower: `samples` at `rate` per second, of which each `patch` is a feature."""

    width: int = 64
    depth: int = 3
    heads: int = 4
    joint: int = 128
    samples: int = 160
    rate: int = 64
    patch: int = 8

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelError(f"an encoder's width ({self.width}) is a multiple of its heads ({self.heads})")
        if self.samples % self.patch:
            raise ModelError(f"an encoder's patch ({self.patch}) divides the {self.samples} samples of a motion")


class ImuEncoder(Tower):
    """An ImageBind-style tower for motion (arXiv 2305.05665, 3.2). Output: `tokens` features, in the order of time."""

    config_type = ImuTowerConfig

    def __init__(self, config: ImuTowerConfig) -> None:
        super().__init__()
        self.config = config
        trunk = TowerConfig(width=config.width, depth=config.depth, heads=config.heads, joint=config.joint)
        self.stem = nn.Sequential(
            nn.Conv1d(6, config.width, 5, padding=2),
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
        return self.config.samples // self.config.patch

    def prepare(self, motion: Imu) -> Tensor:
        """The middle of the motion at the encoder's rate, linear between samples: float [6, samples], `scaled`.

        A shorter motion rests before and after: its first and last reading of the accelerometer, and no turning.
        """
        config = self.config
        count = motion.readings.shape[1]
        steps = np.arange(config.samples) - (config.samples - 1) / 2
        places = (count - 1) / 2 + steps * (motion.rate / config.rate)
        inside = (places > -0.5) & (places < count - 0.5)
        known = np.arange(count)
        found = np.stack([np.interp(places, known, row) for row in motion.readings])
        found[3:] *= inside
        return scaled(torch.from_numpy(found.astype(np.float32)))

    def states(self, motion: Tensor) -> Tensor:
        """[batch, 6, samples] to [batch, 1 + tokens, width], the class token first."""
        if motion.ndim != 3 or motion.shape[1:] != (6, self.config.samples):
            raise ModelError(f"the imu encoder reads 6 x {self.config.samples} numbers, not {list(motion.shape)}")
        steps = self.stem(motion).transpose(1, 2)  # [batch, tokens, width]
        tokens = torch.cat([self.class_token.expand(len(steps), -1, -1), steps], 1)
        return self.trunk(tokens + self.position_embedding)

    def forward(self, motion: Tensor) -> Tensor:
        """[batch, 6, samples] to [batch, tokens, width]"""
        return self.states(motion)[:, 1:]

    def embed(self, motion: Tensor) -> Tensor:
        """[batch, 6, samples] to unit vectors [batch, joint]"""
        return F.normalize(self.head(self.states(motion)[:, 0]), dim=-1)


def scaled(readings: Tensor) -> Tensor:
    """Readings [..., 6, samples] in their units as the tower reads them: without gravity, all about as large."""
    rest = readings.new_tensor((0.0, _GRAVITY, 0.0, 0.0, 0.0, 0.0))[:, None]
    return ((readings - rest) / readings.new_tensor(_SCALE)[:, None]).clamp(-4, 4)
