"""Sensors: scenes as depth maps and as thermal pictures, in integer maths, so that every device gives the same bits."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from anygen.playground.backdrop import draw_backdrop
from anygen.playground.compositor import LAYERS, Compositor
from anygen.playground.scene import VARIANTS, Scene
from anygen.playground.temperature import level, temperature, warmth
from anygen.playground.things import BACKDROPS, INDEX, SIZES, THINGS

_NEARNESS = {"small": 92, "medium": 132, "large": 172}
"""Disparity of a thing by its size: what is larger is nearer."""
_LOWER = 24  # what stands at the lower edge is so much nearer than what is at the upper
_IN_FRONT = 24  # what is in front is at least so much nearer than what it covers
_DOME, _CARVED = 18, 22  # a thing's relief: how much its middle stands out, and how much light parts do
_WARM, _RIM = 24, 16  # how much warmer light parts of a thing are, in steps, and how much cooler its edge

_GROUNDS: dict[str, tuple[int, int, float]] = {
    "meadow": (0, 86, 0.55),
    "night": (0, 52, 0.74),
    "sunset": (0, 66, 0.68),
    "desert": (0, 98, 0.50),
    "sea": (0, 44, 0.40),
    "snow": (0, 92, 0.55),
    "room": (58, 80, 0.76),
    "city": (30, 74, 0.82),
    "forest": (40, 70, 0.78),
    "space": (0, 0, 1.00),
}
"""Of each backdrop: disparity at its back and of the ground at the lower edge, and the height at which that begins."""
_DRAWN = {"depth": 10, "thermal": 8}  # how much light parts of a backdrop's drawing stand out of it


def _luminance(pixels: Tensor) -> Tensor:
    """int32 [..., 3] in 0..255 to 0..255."""
    red, green, blue = pixels.unbind(-1)
    return (77 * red + 150 * green + 29 * blue) >> 8


def _dome(alpha: Tensor) -> Tensor:
    """How far inside its silhouette a pixel is: int32 [n, side, side] alpha in 0..255 to 0 at the edge .. 255."""
    inside = (alpha >= 128).to(torch.int32)
    depth, rings = inside.clone(), max(2, alpha.shape[-1] // 4)
    for _ in range(rings - 1):
        padded = torch.nn.functional.pad(inside, (1, 1, 1, 1))
        inside = inside & padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
        depth += inside
    return 255 * depth // rings


@lru_cache(maxsize=8)
def _backs(kind: str, side: int) -> Tensor:
    """Every variant of every backdrop as a map: int32 [backdrops * VARIANTS, side, side]."""
    rows = []
    line = (2 * torch.arange(side) + 1).to(torch.int64)  # twice the middle of a row
    for name in BACKDROPS:
        for variant in range(VARIANTS):
            drawn = _luminance(draw_backdrop(name, variant, side).permute(1, 2, 0).to(torch.int32))
            relief = (drawn - 128) * _DRAWN[kind] // 128
            if kind == "depth":
                back, near, height = _GROUNDS[name]
                # the disparity of level ground grows with the row, from the horizon on
                horizon = round(2 * height * side)
                below = (line - horizon).clamp_min(0)
                ground = back + (near - back) * below // max(1, 2 * side - horizon)
                rows.append((ground[:, None] + relief).clamp(0, 255).to(torch.int32))
            else:
                rows.append((level(warmth(name)) + relief).clamp(0, 255).to(torch.int32))
    return torch.stack(rows)


class Sensor:
    """What both maps share: things as their silhouettes with a relief, later ones over earlier ones, on the backdrop.

    Maps are bytes on a square canvas of `size` pixels, as of the compositor, whose orders these are with one more
    number: the level of each thing.
    """

    kind: ClassVar[str]

    def __init__(self, size: int = 64, device: str | torch.device = "cpu") -> None:
        self.size, self.device = size, torch.device(device)
        self.compositor = Compositor(size)
        self._bank = self._reliefs().to(self.device)  # [pixels of all sprites of all sizes, 2]: relief, alpha
        self._ground = _backs(self.kind, size).to(self.device)

    def relief(self, light: Tensor, dome: Tensor) -> Tensor:
        """What is added to a thing's level, from luminance and dome, int32 [n, side, side] in 0..255."""
        raise AssertionError("sensors have their own")

    def levels(self, scene: Scene) -> list[int]:
        """The level of each thing of the scene, in the order in which they are drawn."""
        raise AssertionError("sensors have their own")

    def _reliefs(self) -> Tensor:
        found = []
        for size in self.compositor.sides:  # the order of the compositor's bank
            sprites = torch.stack([self.compositor.sprite(thing.name, size) for thing in THINGS])
            sprites = sprites.permute(0, 2, 3, 1).to(torch.int32)  # [things, side, side, 4]
            alpha = sprites[..., 3]
            relief = self.relief(_luminance(sprites[..., :3]), _dome(alpha))
            found.append(torch.stack([relief, alpha], -1).flatten(0, 2))
        return torch.cat(found)

    def orders(self, scenes: list[Scene]) -> tuple[Tensor, Tensor]:
        """What to draw, as integers on the CPU: layers [LAYERS, scenes, 5], the compositor's and a level; backdrops."""
        layers, ground = self.compositor.orders(scenes)
        levels = torch.zeros(LAYERS, len(scenes), 1, dtype=torch.int64)
        for column, scene in enumerate(scenes):
            for row, value in enumerate(self.levels(scene)):
                levels[row, column] = value
        return torch.cat([layers, levels], -1), ground

    def render(self, scenes: list[Scene]) -> Tensor:
        """uint8 [scenes, 1, size, size]"""
        return self.draw(*self.orders(scenes))

    def draw(self, layers: Tensor, ground: Tensor) -> Tensor:
        """Draws what `orders` gave: uint8 [scenes, 1, size, size]."""
        layers, ground = layers.to(self.device), ground.to(self.device)
        canvas = self._ground[ground]  # [scenes, size, size]
        line = torch.arange(self.size, device=self.device)
        for start, side, left, top, base in (layer.unbind(-1) for layer in layers):
            u = line[None, :] - left[:, None]
            v = line[None, :] - top[:, None]
            inside = ((v >= 0) & (v < side[:, None]))[:, :, None] & ((u >= 0) & (u < side[:, None]))[:, None, :]
            where = start[:, None, None] + v[:, :, None] * side[:, None, None] + u[:, None, :]
            relief, alpha = self._bank[where.where(inside, 0)].unbind(-1)
            value = (base[:, None, None].to(torch.int32) + relief).clamp(0, 255)
            alpha = alpha * inside
            canvas = (value * alpha + canvas * (255 - alpha) + 127) // 255
        return canvas.to(torch.uint8)[:, None]


def _drawn_order(scene: Scene) -> list[tuple[str, str, float]]:
    """Name, size and height of each thing, in the compositor's order."""
    things = scene.things[::-1] if scene.relation == "in front of" else scene.things
    return [(placed.thing, placed.size, placed.y) for placed in things]


class DepthSensor(Sensor):
    """Disparity, which is one over distance, as ImageBind reads depth: 255 is nearest, 0 is as far as the sky.

    A thing is the nearer the larger it is and the lower it stands, and what is in front is nearer than what it covers.
    Its middle stands out, and so do its light parts, by 40 of 255 together.
    """

    kind = "depth"

    def relief(self, light: Tensor, dome: Tensor) -> Tensor:
        return (_DOME * dome + _CARVED * light) // 255

    def levels(self, scene: Scene) -> list[int]:
        found: list[int] = []
        for _, size, y in _drawn_order(scene):
            value = _NEARNESS[size] + round(_LOWER * y)
            if found and scene.relation == "in front of":
                value = max(value, found[-1] + _IN_FRONT)
            found.append(value)
        return found


class ThermalSensor(Sensor):
    """Temperature, from -20 degrees (0) to 107.5 (255); each thing has its own, and so has each backdrop.

    Light parts of a thing are warmer, by 12 degrees at most, and its edge is cooler, by 8: a thing as warm as what is
    behind it is still seen.
    """

    kind = "thermal"

    def relief(self, light: Tensor, dome: Tensor) -> Tensor:
        return (_WARM * light - _RIM * (255 - dome)) // 255

    def levels(self, scene: Scene) -> list[int]:
        return [level(temperature(THINGS[INDEX[name]])) for name, _, _ in _drawn_order(scene)]


def map_of(pixels: Tensor) -> np.ndarray:
    """Bytes [1, side, side] as a map of 0..1: float32 [side, side]."""
    return pixels[0].cpu().numpy().astype(np.float32) / 255


SENSORS: dict[str, type[Sensor]] = {"depth": DepthSensor, "thermal": ThermalSensor}
assert set(_GROUNDS) == set(BACKDROPS) and set(_NEARNESS) == set(SIZES)
