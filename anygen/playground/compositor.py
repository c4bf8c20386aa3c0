"""The compositor: scenes to pictures in batches, in integer maths, so that every device gives the same bits."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from anygen.playground.backdrop import draw_backdrop
from anygen.playground.scene import VARIANTS, Placed, Scene
from anygen.playground.things import BACKDROPS, INDEX, SIZES, THINGS

LAYERS = 4  # a scene has at most so many things
BAKED = 64  # side of a sprite in the atlas
_COLUMNS = 16


@lru_cache(maxsize=8)
def _sprites(side: int) -> Tensor:
    """All sprites at `side` pixels: uint8 [things, side, side, 4], straight alpha."""
    with Image.open(str(files("anygen.playground") / "assets" / "atlas.png")) as file:
        atlas = file.convert("RGBA")
    sprites = []
    for index in range(len(THINGS)):
        left, top = index % _COLUMNS * BAKED, index // _COLUMNS * BAKED
        sprites.append(_scaled(atlas.crop((left, top, left + BAKED, top + BAKED)), side))
    return torch.from_numpy(np.stack(sprites))


def _scaled(sprite: Image.Image, side: int) -> np.ndarray:
    """An RGBA sprite at `side` pixels: uint8 [side, side, 4]."""
    return np.asarray(sprite.convert("RGBa").resize((side, side), Image.Resampling.BOX).convert("RGBA"))


@lru_cache(maxsize=4)
def _backdrops(side: int) -> Tensor:
    """Every variant of every backdrop: uint8 [backdrops * VARIANTS, 3, side, side]."""
    return torch.stack([draw_backdrop(name, variant, side) for name in BACKDROPS for variant in range(VARIANTS)])


class Compositor:
    """Renders scenes on a square canvas of `size` pixels (a multiple of 16); later things cover earlier ones.

    In a pair "in front of" the first thing is drawn last. `extra` are sprites of things that the playground does not
    have, by the names that scenes call them: uint8 [BAKED, BAKED, 4], straight alpha. All else is drawn as without.
    """

    def __init__(
        self, size: int = 64, device: str | torch.device = "cpu", *, extra: Mapping[str, np.ndarray] | None = None
    ) -> None:
        if size % 16:
            raise ValueError(f"a canvas side is a multiple of 16, not {size}")
        self.size, self.device = size, torch.device(device)
        self.sides = {name: round(share * size) for name, share in SIZES.items()}
        banks = [_sprites(side).reshape(-1, 4) for side in self.sides.values()]
        starts = np.cumsum([0, *(len(bank) for bank in banks)])
        self.starts = {name: int(start) for name, start in zip(self.sides, starts, strict=False)}
        self._extra: dict[tuple[str, str], Tensor] = {}  # by name and size
        self._extra_starts: dict[tuple[str, str], int] = {}
        start = int(starts[-1])
        for name, sprite in (extra or {}).items():
            picture = Image.fromarray(sprite)
            for size_name, side in self.sides.items():
                self._extra[name, size_name] = torch.from_numpy(_scaled(picture, side).copy())
                self._extra_starts[name, size_name] = start
                banks.append(self._extra[name, size_name].reshape(-1, 4))
                start += side * side
        self._bank = torch.cat(banks).to(self.device)  # [pixels of all sprites of all sizes, 4]
        self._ground = _backdrops(size).to(self.device)

    def backdrop(self, name: str, variant: int) -> Tensor:
        """uint8 [3, size, size]"""
        return self._ground[BACKDROPS.index(name) * VARIANTS + variant]

    def sprite(self, thing: str, size: str) -> Tensor:
        """uint8 [4, side, side], straight alpha"""
        own = self._extra.get((thing, size))
        return (_sprites(self.sides[size])[INDEX[thing]] if own is None else own).permute(2, 0, 1)

    def _start(self, placed: Placed) -> int:
        """Where in the bank the pixels of a placed thing begin."""
        own = self._extra_starts.get((placed.thing, placed.size))
        return self.starts[placed.size] + INDEX[placed.thing] * self.sides[placed.size] ** 2 if own is None else own

    def corner(self, centre: float, side: int) -> int:
        """First pixel of a sprite of `side` pixels whose centre is at this share of the canvas."""
        return int(centre * self.size - side / 2 + 0.5)

    def orders(self, scenes: list[Scene]) -> tuple[Tensor, Tensor]:
        """What to draw, as integers on the CPU, cheap to send to a device.

        Layers [LAYERS, scenes, 4] of bank start, side, left, top (side 0: nothing), and backdrops [scenes].
        """
        layers = np.zeros((LAYERS, len(scenes), 4), dtype=np.int64)
        for column, scene in enumerate(scenes):
            things = scene.things[::-1] if scene.relation == "in front of" else scene.things
            for row, placed in enumerate(things):
                side = self.sides[placed.size]
                layers[row, column] = (
                    self._start(placed),
                    side,
                    self.corner(placed.x, side),
                    self.corner(placed.y, side),
                )
        ground = [BACKDROPS.index(scene.backdrop) * VARIANTS + scene.variant for scene in scenes]
        return torch.from_numpy(layers), torch.tensor(ground)

    def things(self, scenes: list[Scene]) -> Tensor:
        """Of what the layers of `orders` are: indices into THINGS, -1 for nothing and for extra: [scenes, LAYERS]."""
        things = torch.full((len(scenes), LAYERS), -1)
        for row, scene in enumerate(scenes):
            order = scene.things[::-1] if scene.relation == "in front of" else scene.things
            things[row, : len(order)] = torch.tensor([INDEX.get(placed.thing, -1) for placed in order])
        return things

    def render(self, scenes: list[Scene]) -> Tensor:
        """uint8 [scenes, 3, size, size]"""
        return self.draw(*self.orders(scenes))

    def draw(self, layers: Tensor, ground: Tensor) -> Tensor:
        """Draws what `orders` gave: uint8 [scenes, 3, size, size]."""
        layers, ground = layers.to(self.device), ground.to(self.device)
        picture = self._ground[ground].permute(0, 2, 3, 1).to(torch.int32)
        picture = picture.contiguous()  # [scenes, size, size, 3]
        for texel, alpha in self._texels(layers):
            picture = (texel[..., :3] * alpha + picture * (255 - alpha) + 127) // 255
        return picture.to(torch.uint8).permute(0, 3, 1, 2).contiguous()

    def _texels(self, layers: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each layer what it paints on the whole canvas: [scenes, size, size, 4], and its alpha there [..., 1]."""
        line = torch.arange(self.size, device=self.device)
        for start, side, left, top in (layer.unbind(-1) for layer in layers):
            u = line[None, :] - left[:, None]  # [scenes, size], column inside the sprite
            v = line[None, :] - top[:, None]
            inside = ((v >= 0) & (v < side[:, None]))[:, :, None] & ((u >= 0) & (u < side[:, None]))[:, None, :]
            where = start[:, None, None] + v[:, :, None] * side[:, None, None] + u[:, None, :]
            texel = self._bank[where.where(inside, 0)].to(torch.int32)  # [scenes, size, size, 4]
            yield texel, texel[..., 3:] * inside[..., None]

    def seen(self, layers: Tensor, cells: int) -> Tensor:
        """Which layer of `orders` each of `cells` x `cells` cells shows most: [scenes, cells * cells].

        -1 where it is the backdrop: where no layer is seen in a quarter of the cell.
        """
        layers = layers.to(self.device)
        shown = torch.full((layers.shape[1], self.size, self.size), -1, device=self.device)
        for row, (_, alpha) in enumerate(self._texels(layers)):
            shown[alpha[..., 0] > 127] = row
        rows = torch.arange(len(layers), device=self.device)
        shares = (shown[:, None] == rows[:, None, None]).float()  # [scenes, LAYERS, size, size]
        share, most = F.adaptive_avg_pool2d(shares, cells).flatten(2).max(1)
        return most.where(share >= 0.25, -1)

    def cover(self, layers: Tensor, cells: int) -> Tensor:
        """Which of `cells` x `cells` cells have their centre under a sprite: bool [scenes, LAYERS, cells * cells].

        `layers` is what `orders` gave; rows of nothing cover nothing.
        """
        centre = (torch.arange(cells, device=layers.device) + 0.5) * (self.size / cells)
        side, left, top = (part.T[..., None] for part in layers.unbind(-1)[1:])  # each [scenes, layers, 1]
        across = (centre > left) & (centre < left + side)
        down = (centre > top) & (centre < top + side)
        return (down[..., :, None] & across[..., None, :]).flatten(2)
