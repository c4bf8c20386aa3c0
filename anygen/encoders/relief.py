"""What the encoders of depth maps and thermal pictures share: the image encoder's trunk behind a stem of their own."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import Block, Tower, patch_stem
from anygen.error import ModelError
from anygen.sensed import Depth, Thermal


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliefTowerConfig:
    """Sizes of what such an encoder adds to the image encoder, whose `width` and `joint` it has.

    `depth` blocks of its own stand before the trunk, and behind every block of that features pass through `bottleneck`
    numbers.
    """

    width: int = 128
    joint: int = 128
    depth: int = 1
    bottleneck: int = 64


def contrast(maps: Tensor) -> Tensor:
    """How much a map stands out from the mean of what is around it, much enlarged: [batch, 1, side, side] in -1..1."""
    return (6 * (maps - F.avg_pool2d(maps, 9, 1, 4, count_include_pad=False))).clamp(-1, 1)


class Adapter(nn.Module):
    """x plus what a narrow MLP makes of it (Houlsby et al. 2019, section 2.1); it begins as x alone."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:  # [batch, tokens, width]
        return x + self.up(F.gelu(self.down(self.norm(x))))


class Relief(nn.Module):
    """A stem for a map and its contrast, a class token, places, blocks before the image's trunk, adapters inside it."""

    def __init__(self, config: ReliefTowerConfig, image: ImageEncoder) -> None:
        super().__init__()
        self.stem = patch_stem(image.config, 2)
        self.class_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        self.position_embedding = nn.Parameter(torch.randn(1, 1 + image.tokens, config.width) * 0.02)
        self.blocks = nn.ModuleList(Block(config.width, image.config.heads) for _ in range(config.depth))
        blocks: Any = self.blocks
        for block in blocks:  # they begin as nothing
            for last in (block.out, block.fc2):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.adapters = nn.ModuleList(Adapter(config.width, config.bottleneck) for _ in range(image.config.depth))


class ReliefEncoder(Tower):
    """A map of one channel, read with the blocks, the norm and the head of the model's image encoder.

    Input: a map; output: `tokens` patch features of `width`, as the image encoder has of a picture. Only what is
    its own is stored with it; the image encoder is the model's, given as `base`.
    """

    config_type = ReliefTowerConfig
    base: ClassVar[str | None] = "image"
    modality: ClassVar[str]

    def __init__(self, config: ReliefTowerConfig, image: Any) -> None:
        super().__init__()
        if not isinstance(image, ImageEncoder):
            raise ModelError(f"the {self.modality} encoder stands on the model's image encoder, but there is none")
        for what in ("width", "joint"):
            ours, theirs = getattr(config, what), getattr(image.config, what)
            if ours != theirs:
                raise ModelError(f"the {self.modality} encoder's {what} is {ours}, that of its image encoder {theirs}")
        self.config = config
        self.image = image
        self.relief = Relief(config, image)

    def own(self) -> nn.Module:
        return self.relief

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def tokens(self) -> int:
        return self.image.tokens

    def begin_like_pictures(self) -> None:
        """Start training from the image encoder's own stem, for grey, and its places and class token."""
        with torch.no_grad():
            for name, own in self.relief.stem.state_dict().items():
                theirs = self.image.stem.state_dict()[name]
                if own.shape != theirs.shape:  # grey, and nothing of the contrast
                    theirs = F.pad(theirs.sum(1, keepdim=True), (0, 0, 0, 0, 0, 1))
                own.copy_(theirs)
            self.relief.class_token.copy_(self.image.class_token)
            self.relief.position_embedding.copy_(self.image.position_embedding)

    def prepare(self, medium: Depth | Thermal) -> Tensor:
        """The square in the middle, resized by area: float [1, side, side] in -1..1 from 0..1.

        Of a map that goes above 1, its greatest number counts as 1.
        """
        from PIL import Image as Picture

        side = self.image.config.side
        values = medium.values / max(1.0, float(medium.values.max()))
        if values.shape != (side, side):
            height, width = values.shape
            least = min(height, width)
            left, top = (width - least) // 2, (height - least) // 2
            box = (left, top, left + least, top + least)
            resized = Picture.fromarray(values).resize((side, side), Picture.Resampling.BOX, box=box)
            values = np.asarray(resized)
        return torch.from_numpy(values.astype(np.float32))[None] * 2 - 1

    def states(self, maps: Tensor) -> Tensor:
        """[batch, 1, side, side] to [batch, 1 + patches, width], the class token first."""
        side = self.image.config.side
        if maps.ndim != 4 or maps.shape[1:] != (1, side, side):
            raise ModelError(f"the {self.modality} encoder reads 1 x {side} x {side} numbers, not {list(maps.shape)}")
        grid = (
            self.relief.stem(torch.cat([maps, contrast(maps)], 1)).flatten(2).transpose(1, 2)
        )  # [batch, patches, width]
        x = torch.cat([self.relief.class_token.expand(len(grid), -1, -1), grid], 1) + self.relief.position_embedding
        for block in self.relief.blocks:
            x = block(x)
        for block, adapter in zip(self.image.trunk.blocks, self.relief.adapters, strict=True):
            x = adapter(block(x))
        return self.image.trunk.norm(x)

    def forward(self, maps: Tensor) -> Tensor:
        """[batch, 1, side, side] to [batch, tokens, width]"""
        return self.states(maps)[:, 1:]

    def embed(self, maps: Tensor) -> Tensor:
        """[batch, 1, side, side] to unit vectors [batch, joint]"""
        return F.normalize(self.image.head(self.states(maps)[:, 0]), dim=-1)
