"""The image encoder: pictures to patch features and to the joint space."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.encoders.imagebind import ImageTower
from anygen.error import ModelError
from anygen.media import Image


class ImageEncoder(ImageTower):
    """An ImageBind-style vision tower. Input: any picture; output: `tokens` patch features of `width`."""

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def tokens(self) -> int:
        return (self.config.side // self.config.patch) ** 2

    def prepare(self, image: Image) -> Tensor:
        """Centre-crops to a square and resizes with area filtering: float [3, side, side] in -1..1."""
        from PIL import Image as Picture

        side = self.config.side
        picture = image.pil()
        if picture.size != (side, side):
            least = min(picture.size)
            left, top = (picture.width - least) // 2, (picture.height - least) // 2
            box = (left, top, left + least, top + least)
            picture = picture.resize((side, side), Picture.Resampling.BOX, box=box)
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))
        return pixels.permute(2, 0, 1).float() / 127.5 - 1

    def forward(self, pixels: Tensor) -> Tensor:
        """[batch, 3, side, side] to [batch, tokens, width]"""
        if pixels.shape[-2:] != (self.config.side, self.config.side):
            raise ModelError(
                f"the image encoder reads {self.config.side} x {self.config.side} pixels, not {list(pixels.shape)}"
            )
        return self.states(pixels)[:, 1:]

    def embed(self, pixels: Tensor) -> Tensor:
        """[batch, 3, side, side] to unit vectors [batch, joint]"""
        return F.normalize(self.head(self.states(pixels)[:, 0]), dim=-1)
