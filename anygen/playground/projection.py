"""The projection: films to frames in batches, in integer maths, so that every device gives the same bits."""

from dataclasses import replace
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from anygen.playground.backdrop import draw_backdrop
from anygen.playground.film import Film
from anygen.playground.motion import ANGLES, CIRCLE, FRAMES, PAN, Pose, poses, seen_by, zoom_at
from anygen.playground.scene import VARIANTS
from anygen.playground.things import BACKDROPS, INDEX, SIZES, THINGS

LAYERS = 2  # a film has at most so many things
_BAKED = 64  # side of a sprite in the atlas
_COLUMNS = 16
_SIDES = tuple(range(6, 50, 2))  # sides of upright sprites, in 64ths of the canvas
_TURNED = 1.5  # side of the square that holds a sprite however it is turned
_NIGHT = (104, 112, 160)  # what is left of red, green and blue in the dark, in shares of 256


def _thing(atlas: Image.Image, index: int) -> Image.Image:
    left, top = index % _COLUMNS * _BAKED, index // _COLUMNS * _BAKED
    return atlas.crop((left, top, left + _BAKED, top + _BAKED)).convert("RGBa")


def _packed(pixels: np.ndarray) -> np.ndarray:
    """uint8 [..., 4] to int32 [...]: red in the lowest byte, alpha in the highest."""
    return np.ascontiguousarray(pixels).view("<i4")[..., 0].astype(np.int32)


def _turned(atlas: Tensor, angle: int, sides: list[int], size: int) -> list[np.ndarray]:
    """The things turned clockwise, each in the middle of a square: uint8 [things, square, square, 4] for each side.

    A square, its side in pixels, is half as large again as the thing. Nine points of the atlas or more make a pixel.

    atlas: premultiplied float [things, 4, points + 1], in 0..255.
    """
    cells = 144 * size // 64  # points on a line: a multiple of all squares
    side, (sine, minus) = round(_BAKED * _TURNED), CIRCLE[angle]
    cosine = -minus
    middle = 2 * np.arange(cells) + 1 - cells
    x, y = middle[None, :], middle[:, None]
    unit = 2 * 1000 * cells
    left = (side * (cosine * x + sine * y) + unit * _BAKED // 2) // unit
    top = (side * (cosine * y - sine * x) + unit * _BAKED // 2) // unit
    inside = (left >= 0) & (left < _BAKED) & (top >= 0) & (top < _BAKED)
    where = np.where(inside, top * _BAKED + left, _BAKED * _BAKED)  # the last point is empty
    points = atlas.index_select(2, torch.from_numpy(where.reshape(-1))).unflatten(2, (cells, cells))
    found = []
    for square in sides:
        step = cells // square
        total = (F.avg_pool2d(points, step) * step * step).round().to(torch.int64)  # so few bytes add up exactly
        colour, alpha = total[:, :3], total[:, 3:]
        straight = (255 * colour + alpha // 2) // alpha.clamp_min(1)
        alpha = (alpha + step * step // 2) // (step * step)
        found.append(torch.cat([straight.clamp_max(255), alpha], 1).permute(0, 2, 3, 1).to(torch.uint8).numpy())
    return found


@lru_cache(maxsize=2)
def _sprites(size: int) -> tuple[Tensor, dict[tuple[int, int], int]]:
    """All things at all sides and angles, packed int32 [pixels]; first pixel of each (side in pixels, angle).

    A turned sprite, angle 1 to ANGLES - 1, is in the middle of a square half as large again.
    """
    with Image.open(str(files("anygen.playground") / "assets" / "atlas.png")) as file:
        atlas = file.convert("RGBA")
    things = [_thing(atlas, index) for index in range(len(THINGS))]
    banks: dict[tuple[int, int], np.ndarray] = {}
    for side in (share * size // 64 for share in _SIDES):
        upright = [thing.resize((side, side), Image.Resampling.BOX).convert("RGBA") for thing in things]
        banks[side, 0] = np.stack([np.asarray(sprite) for sprite in upright])
    sides = [round(share * size) for share in SIZES.values()]
    squares = [round(side * _TURNED) for side in sides]
    points = torch.stack([torch.from_numpy(np.array(thing)) for thing in things]).permute(0, 3, 1, 2).flatten(2)
    points = F.pad(points.float(), (0, 1))
    for angle in range(1, ANGLES):
        for side, bank in zip(sides, _turned(points, angle, squares, size), strict=True):
            banks[side, angle] = bank
    starts = np.cumsum([0, *(bank.size // 4 for bank in banks.values())]).tolist()
    packed = np.concatenate([_packed(bank).reshape(-1) for bank in banks.values()])
    return torch.from_numpy(packed), dict(zip(banks, starts, strict=False))


@lru_cache(maxsize=2)
def _grounds(size: int) -> Tensor:
    """Each variant of each backdrop at each step of a zoom: packed int32 [backdrops * VARIANTS, FRAMES, size, size]."""
    found = np.zeros((len(BACKDROPS) * VARIANTS, FRAMES, size, size), dtype=np.int32)
    for row in range(len(found)):
        pixels = draw_backdrop(BACKDROPS[row // VARIANTS], row % VARIANTS, size).permute(1, 2, 0).numpy()
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        for step in range(FRAMES):
            edge = size / 2 * (1 - 1 / zoom_at(step))
            box = (edge, edge, size - edge, size - edge)
            zoomed = picture if step == 0 else picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
            found[row, step] = _packed(np.asarray(zoomed.convert("RGBA")))
    return torch.from_numpy(found)


class Projection:
    """Renders films on a square canvas of `size` pixels (a multiple of 64); later actors cover earlier ones.

    With `cell` things go in steps of so many pixels, are multiples of it large and turn by quarters: one look for each
    size and turn, where films have one for every pixel that a thing has come on. They stand on whole cells, but for a
    first frame of which `orders` is told that it is `given`: that is as it is.
    """

    def __init__(self, size: int = 64, device: str | torch.device = "cpu", *, cell: int | None = None) -> None:
        if size % 64:
            raise ValueError(f"a film's side is a multiple of 64, not {size}")
        self.size, self.device, self.cell = size, torch.device(device), cell
        bank, self._starts = _sprites(size)
        self._whole = [side for side, angle in self._starts if not angle and cell and side % cell == 0]
        if cell and not self._whole:
            raise ValueError(f"no thing's side is a multiple of {cell} pixels on a canvas of {size}")
        self._bank, self._ground = bank.to(self.device), _grounds(size).flatten().to(self.device)
        level = torch.arange(FRAMES)[:, None] * (256 - torch.tensor(_NIGHT))[None]
        self.shade = (256 - level // (FRAMES - 1)).to(torch.int32).to(self.device)  # [FRAMES, 3]

    def sprites(self, side: int, angle: int = 0, things: slice = slice(None)) -> Tensor:
        """Things at a side in pixels: uint8 [things, 4, square, square], straight alpha."""
        square = round(side * _TURNED) if angle else side
        start, pixels = self._starts[side, angle], len(THINGS) * square * square
        packed = self._bank[start : start + pixels].view(len(THINGS), square, square)[things]
        return torch.stack([packed >> bits & 255 for bits in (0, 8, 16, 24)], 1).to(torch.uint8)

    def place(self, now: Pose, given: bool = False) -> tuple[int, int, int, int]:
        """Side of the sprite, of its square, left and top of that, in pixels; in steps of cells, unless `given`."""
        return self._stepped(now, self.cell) if self.cell and not given else self._real(now)

    def _real(self, now: Pose) -> tuple[int, int, int, int]:
        side = min(max(2 * int(now.side * 32 + 0.5), _SIDES[0]), _SIDES[-1]) * self.size // 64
        square = round(side * _TURNED) if now.angle else side
        left, top = (int(centre * self.size - square / 2 + self.size + 0.5) - self.size for centre in (now.x, now.y))
        return side, square, left, top

    def _stepped(self, now: Pose, cell: int) -> tuple[int, int, int, int]:
        """The same with the upright sprite on whole cells, and as large as whole cells are."""
        wanted = now.side * self.size
        side = min(self._whole, key=lambda whole: (abs(whole - wanted), -whole))
        square = round(side * _TURNED) if now.angle else side
        steps = (int((centre * self.size - side / 2) / cell + 64.5) - 64 for centre in (now.x, now.y))
        left, top = (step * cell - (square - side) // 2 for step in steps)
        return side, square, left, top

    def _shown(self, now: Pose) -> Pose:
        """A pose with its turn as it is shown."""
        quarter = ANGLES // 4
        return replace(now, angle=(now.angle + quarter // 2) // quarter * quarter % ANGLES) if self.cell else now

    def orders(self, films: list[Film], given: bool = False) -> tuple[Tensor, Tensor]:
        """What to draw, as integers on the CPU, cheap to send to a device. With `given` first frames are as they are.

        Layers [films, FRAMES, LAYERS, 4] of bank start, square (0: nothing), left, top; and backdrops
        [films, FRAMES, 3] of picture, shift in pixels, darkness 0..FRAMES - 1.
        """
        layers = np.zeros((len(films), FRAMES, LAYERS, 4), dtype=np.int64)
        grounds = np.zeros((len(films), FRAMES, 3), dtype=np.int64)
        line = np.arange(FRAMES)
        for row, film in enumerate(films):
            for column, actor in enumerate(film.actors):
                way = poses(actor)
                for frame, now in enumerate(way):
                    if now.seen:
                        now = self._shown(seen_by(film.camera, frame, now))
                        side, square, left, top = self.place(now, given and not frame)
                        first = self._starts[side, now.angle] + INDEX[actor.thing] * square * square
                        layers[row, frame, column] = first, square, left, top
            grounds[row, :, 0] = (BACKDROPS.index(film.backdrop) * VARIANTS + film.variant) * FRAMES
            if film.camera in ("zooms in", "zooms out"):
                grounds[row, :, 0] += line if film.camera == "zooms in" else line[::-1]
            elif film.camera:
                shift = (2 * round(PAN * self.size) * line + FRAMES - 1) // (2 * (FRAMES - 1))
                grounds[row, :, 1] = shift if film.camera == "pans right" else -shift
            grounds[row, :, 2] = line * film.dusk
        return torch.from_numpy(layers), torch.from_numpy(grounds)

    def render(self, films: list[Film]) -> Tensor:
        """uint8 [films, FRAMES, 3, size, size]"""
        return self.draw(*self.orders(films))

    def draw(self, layers: Tensor, grounds: Tensor) -> Tensor:
        """Draws what `orders` gave, or some of its frames: uint8 [films, frames, 3, size, size]."""
        films, count, size = *layers.shape[:2], self.size
        layers = layers.to(self.device).flatten(0, 1).transpose(0, 1)  # [LAYERS, frames of all films, 4]
        picture, shift, dark = grounds.to(self.device).flatten(0, 1).unbind(-1)
        line = torch.arange(size, device=self.device)
        column = line + shift[:, None]
        column = torch.where(column < 0, -1 - column, column)  # beyond its edges a backdrop goes on as in a mirror
        column = torch.minimum(column, 2 * size - 1 - column)
        where = (picture[:, None, None] * size + line[None, :, None]) * size + column[:, None, :]
        canvas = self._ground[where]  # packed [frames, size, size]
        for layer in layers:
            least = 0
            for window in (size * 3 // 8, size // 2, size * 3 // 4):  # most of the canvas is under no sprite
                some = ((layer[:, 1] > least) & (layer[:, 1] <= window)).nonzero()[:, 0]
                self._blend(canvas.view(-1), some, layer[some], window)
                least = window
        frames = torch.stack([(canvas >> bits & 255).to(torch.uint8) for bits in (0, 8, 16)], 1)
        late = dark.nonzero()[:, 0]
        frames[late] = (frames[late] * self.shade[dark[late]][:, :, None, None] >> 8).to(torch.uint8)
        return frames.unflatten(0, (films, count))

    def _blend(self, canvas: Tensor, rows: Tensor, layer: Tensor, window: int) -> None:
        """Draw the sprites of a layer [n, 4] over these frames of the canvas, packed [pixels], each inside a window."""
        start, square, left, top = (part[:, None] for part in layer.unbind(-1))
        line = torch.arange(window, device=self.device)
        x, y = (edge.clamp(0, self.size - window) + line for edge in (left, top))  # [n, window]
        u, v = x - left, y - top
        inside = ((v >= 0) & (v < square))[:, :, None] & ((u >= 0) & (u < square))[:, None, :]
        texel = self._bank[((start + v * square)[:, :, None] + u[:, None, :]).where(inside, 0)].where(inside, 0)
        where = ((rows[:, None] * self.size + y) * self.size)[:, :, None] + x[:, None, :]
        behind = canvas[where]
        alpha = texel >> 24 & 255
        rest = 255 - alpha
        # red and blue are mixed in two halves of one integer; x / 255 rounded is (y + y / 256) / 256 where y = x + 128
        mixed = (texel & 0xFF00FF) * alpha + (behind & 0xFF00FF) * rest + 0x800080
        mixed = (mixed + (mixed >> 8 & 0xFF00FF)) >> 8 & 0xFF00FF
        green = (texel >> 8 & 255) * alpha + (behind >> 8 & 255) * rest + 128
        canvas[where] = mixed | (green + (green >> 8) & 0xFF00)
