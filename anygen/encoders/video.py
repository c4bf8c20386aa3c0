"""The video encoder: the image encoder over frames, folded into tubelets and read together in the order of time."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import Block, Tower
from anygen.error import ModelError
from anygen.media import Image, Video


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoTowerConfig:
    """Sizes of what the video encoder adds to the image encoder, whose `width` and `joint` it has.

    A tubelet is `tubelet` frames that follow each other; its features are a square of `grid` x `grid`.
    """

    width: int = 128
    joint: int = 128
    frames: int = 16
    tubelet: int = 2
    grid: int = 4
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelError(f"an encoder's width ({self.width}) is a multiple of its heads ({self.heads})")
        if self.frames % self.tubelet:
            raise ModelError(f"an encoder's tubelet ({self.tubelet}) divides its frames ({self.frames})")


class Temporal(nn.Module):
    """Folds patches of neighbouring frames into one feature, marks its time, and lets all features see each other.

    It begins as a mean: a film that stands still has the features of its picture until training says otherwise.
    """

    def __init__(self, config: VideoTowerConfig, merge: int) -> None:
        super().__init__()
        self.config, self.merge = config, merge
        together = config.tubelet * merge * merge
        self.fold = nn.Linear(together * config.width, config.width)
        self.time_embedding = nn.Parameter(torch.zeros(1, config.frames // config.tubelet, 1, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        with torch.no_grad():
            self.fold.weight.copy_(torch.eye(config.width).repeat(1, together) / together)
            self.fold.bias.zero_()
        blocks: Any = self.blocks
        for block in blocks:
            for last in (block.out, block.fc2):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Image states [batch, frames, 1 + patches, width] to [batch, 1 + tokens, width], a class token first."""
        config, merge, grid = self.config, self.merge, self.config.grid
        batch, width = len(states), config.width
        patches = states[:, :, 1:].reshape(batch, -1, config.tubelet, grid, merge, grid, merge, width)
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)  # [batch, tubelets, grid, grid, together]
        tokens = self.fold(patches).flatten(2, 3) + self.time_embedding  # [batch, tubelets, grid * grid, width]
        x = torch.cat([states[:, :, 0].mean(1, keepdim=True), tokens.flatten(1, 2)], 1)
        for block in self.blocks:
            x = block(x)
        return x


class VideoEncoder(Tower):
    """ImageBind's way with films, tubelets of frames, on the image encoder's own weights (arXiv 2305.05665, 3.2).

    Input: any film; output: `tokens` features of `width`, tubelet by tubelet. Only what comes after the image encoder
    is stored with it; the image encoder is the model's, given as `base`.
    """

    config_type = VideoTowerConfig
    base: ClassVar[str | None] = "image"

    def __init__(self, config: VideoTowerConfig, image: Any) -> None:
        super().__init__()
        if not isinstance(image, ImageEncoder):
            raise ModelError("the video encoder reads frames with the model's image encoder, but there is none")
        for what in ("width", "joint"):
            ours, theirs = getattr(config, what), getattr(image.config, what)
            if ours != theirs:
                raise ModelError(f"the video encoder's {what} is {ours}, but that of its image encoder {theirs}")
        side = image.config.side // image.config.patch
        if side % config.grid:
            raise ModelError(f"the video encoder's grid ({config.grid}) divides the image encoder's {side} patches")
        self.config = config
        self.image = image
        self.temporal = Temporal(config, side // config.grid)

    def own(self) -> nn.Module:
        return self.temporal

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def tokens(self) -> int:
        return self.config.frames // self.config.tubelet * self.config.grid**2

    def prepare(self, video: Video) -> Tensor:
        """Frames from the middles of equal shares of the film's time: float [frames, 3, side, side] in -1..1."""
        frames = video.sample(self.config.frames).frames
        return torch.stack([self.image.prepare(Image(frame)) for frame in frames])

    def states(self, films: Tensor) -> Tensor:
        """[batch, frames, 3, side, side] to [batch, 1 + tokens, width], the class token first."""
        side, frames = self.image.config.side, self.config.frames
        if films.ndim != 5 or films.shape[1] != frames or films.shape[-2:] != (side, side):
            raise ModelError(
                f"the video encoder reads {frames} frames of {side} x {side} pixels, not {list(films.shape)}"
            )
        states = self.image.states(films.flatten(0, 1)).unflatten(0, (-1, frames))
        return self.temporal(states)

    def forward(self, films: Tensor) -> Tensor:
        """[batch, frames, 3, side, side] to [batch, tokens, width], in the order of time"""
        return self.states(films)[:, 1:]

    def embed(self, films: Tensor) -> Tensor:
        """[batch, frames, 3, side, side] to unit vectors [batch, joint]"""
        return F.normalize(self.image.head(self.states(films)[:, 0]), dim=-1)
