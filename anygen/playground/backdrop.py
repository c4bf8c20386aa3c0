"""The backdrops, drawn by code: smooth skies and grounds with soft edges, a few variants of each."""

import hashlib
import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

Colour = tuple[float, float, float]


class Canvas:
    """A float picture [3, side, side] in 0..255 with the few strokes that the backdrops need; coordinates are 0..1."""

    def __init__(self, side: int, stream: random.Random) -> None:
        self.side, self.stream = side, stream
        line = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        self.y, self.x = torch.meshgrid(line, line, indexing="ij")
        self.picture = torch.zeros(3, side, side, dtype=torch.float64)

    def near(self, value: float, spread: float) -> float:
        return value + self.stream.uniform(-spread, spread)

    def fill(self, top: Colour, bottom: Colour) -> None:
        """A vertical gradient."""
        for channel, (a, b) in enumerate(zip(top, bottom, strict=True)):
            self.picture[channel] = a + (b - a) * self.y

    def blend(self, share: Tensor, colour: Colour) -> None:
        """`colour` over the picture where share [side, side] in 0..1 is 1."""
        for channel, value in enumerate(colour):
            self.picture[channel] = self.picture[channel] * (1 - share) + value * share

    def soft(self, distance: Tensor, width: float = 0.02) -> Tensor:
        """1 where the signed distance is well below 0, 0 well above, a ramp of `width` between."""
        return (0.5 - distance / width).clamp(0, 1)

    def ground(self, height: float, colour: Colour, wave: float = 0.0, waves: float = 1.0) -> None:
        """Everything below a wavy line at `height`."""
        phase = self.stream.uniform(0, 2 * math.pi)
        line = height + wave * torch.sin(2 * math.pi * waves * self.x + phase)
        self.blend(self.soft(line - self.y), colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, width: float = 0.02) -> None:
        self.blend(self.soft(((self.x - x) ** 2 + (self.y - y) ** 2).sqrt() - radius, width), colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        edge = torch.maximum(torch.maximum(left - self.x, self.x - right), torch.maximum(top - self.y, self.y - bottom))
        self.blend(self.soft(edge), colour)

    def stars(self, number: int, colour: Colour) -> None:
        for _ in range(number):
            self.disc(self.stream.random(), self.stream.random() * 0.8, 0.008, colour, 0.03)


def _meadow(c: Canvas) -> None:
    c.fill((125, 200, 250), (215, 240, 255))
    c.ground(c.near(0.55, 0.06), (130, 200, 90), 0.03, 1)
    c.ground(c.near(0.72, 0.05), (95, 175, 70), 0.03, 1.5)


def _night(c: Canvas) -> None:
    c.fill((14, 18, 58), (48, 52, 110))
    c.stars(9, (235, 235, 200))
    c.ground(c.near(0.74, 0.05), (24, 44, 48), 0.03, 1.2)


def _sunset(c: Canvas) -> None:
    c.fill((120, 70, 150), (255, 170, 90))
    c.disc(c.near(0.5, 0.25), c.near(0.6, 0.04), 0.15, (255, 220, 120), 0.05)
    c.ground(c.near(0.68, 0.04), (110, 55, 75), 0.02, 1)


def _desert(c: Canvas) -> None:
    c.fill((150, 215, 235), (235, 235, 210))
    c.ground(c.near(0.5, 0.06), (240, 205, 130), 0.05, 0.8)
    c.ground(c.near(0.7, 0.06), (222, 175, 100), 0.05, 1.1)


def _sea(c: Canvas) -> None:
    c.fill((190, 225, 250), (225, 240, 250))
    height = c.near(0.4, 0.06)
    for step, colour in enumerate(((60, 150, 200), (40, 125, 185), (28, 100, 165))):
        c.ground(height + 0.18 * step, colour, 0.012, 4)


def _snow(c: Canvas) -> None:
    c.fill((165, 185, 205), (205, 215, 228))
    c.ground(c.near(0.55, 0.06), (235, 240, 248), 0.04, 0.8)
    c.ground(c.near(0.75, 0.05), (250, 252, 255), 0.03, 1.2)


def _room(c: Canvas) -> None:
    c.fill((245, 225, 200), (235, 210, 180))
    left = c.near(0.12, 0.08) if c.stream.random() < 0.5 else c.near(0.62, 0.08)
    c.box(left, 0.12, left + 0.26, 0.42, (255, 255, 255))
    c.box(left + 0.03, 0.15, left + 0.23, 0.39, (165, 215, 245))
    c.ground(c.near(0.76, 0.03), (165, 110, 70))


def _city(c: Canvas) -> None:
    c.fill((175, 200, 220), (225, 225, 225))
    edge = 0.0
    while edge < 1:
        width = c.near(0.17, 0.04)
        shade = c.near(130, 25)
        c.box(edge, c.near(0.42, 0.16), edge + width - 0.02, 1, (shade, shade, shade + 14))
        edge += width
    c.ground(c.near(0.82, 0.02), (85, 85, 92))


def _forest(c: Canvas) -> None:
    c.fill((150, 205, 180), (190, 225, 190))
    for step in range(5):
        x = step * 0.22 + c.near(0.05, 0.06)
        c.box(x - 0.025, 0.4, x + 0.025, 0.85, (95, 70, 50))
        c.disc(x, c.near(0.36, 0.06), c.near(0.16, 0.03), (40, 105, 65))
    c.ground(c.near(0.78, 0.04), (55, 95, 50), 0.02, 1)


def _space(c: Canvas) -> None:
    c.fill((8, 6, 20), (30, 10, 50))
    c.disc(c.near(0.5, 0.45), c.near(0.5, 0.45), 0.28, (70, 25, 95), 0.5)
    c.stars(14, (255, 255, 255))


_DRAW: dict[str, Callable[[Canvas], None]] = {
    "meadow": _meadow,
    "night": _night,
    "sunset": _sunset,
    "desert": _desert,
    "sea": _sea,
    "snow": _snow,
    "room": _room,
    "city": _city,
    "forest": _forest,
    "space": _space,
}


def draw_backdrop(name: str, variant: int, side: int) -> Tensor:
    """Draws one backdrop: uint8 [3, side, side]. The variant moves hills, windows and stars."""
    seed = int.from_bytes(hashlib.sha256(f"{name}|{variant}".encode()).digest()[:8], "big")
    canvas = Canvas(side, random.Random(seed))
    _DRAW[name](canvas)
    return canvas.picture.clamp(0, 255).round().to(torch.uint8)
