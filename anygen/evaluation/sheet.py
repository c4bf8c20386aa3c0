"""Contact sheets: many small pictures with their captions on one image, so that a person can check them at a glance."""

import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK = (250, 250, 248), (40, 40, 44)
RIGHT, WRONG, PLAIN = (46, 160, 67), (207, 58, 48), (205, 205, 200)


def sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    columns: int = 8,
    right: Sequence[bool | None] | None = None,
    *,
    side: int = 128,
) -> Image.Image:
    """Lay pictures out in rows of `columns`, each scaled to `side` pixels, with a caption below and a border around it.
    Where all are wider than high, such as strips of films, so are their cells.

    images: uint8 [height, width, 3] each, of any sizes. right: green border where true, red where false, grey where
    None or not given. Captions are wrapped to three lines.
    """
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images: give one for each, or none")
    if right is not None and len(right) != len(images):
        raise ValueError(f"{len(right)} values of right for {len(images)} images: give one for each, or none")
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    font = ImageFont.load_default(size=11)
    border, gap, line = 3, 6, 14
    wrapped = [_wrap(caption, font, side + 2 * border) for caption in captions or ()]
    lines = max((len(text) for text in wrapped), default=0)
    high = max((fitted(image, side)[1] for image in images), default=side)
    cell_width, cell_height = side + 2 * border + gap, high + 2 * border + gap + line * lines
    canvas = Image.new("RGB", (columns * cell_width + gap, rows * cell_height + gap), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for i, image in enumerate(images):
        x, y = gap + i % columns * cell_width, gap + i // columns * cell_height
        verdict = right[i] if right is not None else None
        colour = PLAIN if verdict is None else RIGHT if verdict else WRONG
        draw.rectangle((x, y, x + side + 2 * border - 1, y + high + 2 * border - 1), fill=colour)
        canvas.paste(_fit(np.asarray(image), side, high), (x + border, y + border))
        for j, text in enumerate(wrapped[i] if wrapped else ()):
            draw.text((x + border, y + high + 2 * border + 1 + line * j), text, fill=INK, font=font)
    return canvas


def _wrap(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Three lines at most, none wider than `width` pixels unless eight letters are."""
    for letters in range(max(8, width // 4), 7, -1):
        lines = textwrap.wrap(caption, letters) or [""]
        if max(map(font.getlength, lines)) <= width:
            break
    return lines if len(lines) <= 3 else [*lines[:2], lines[2][: letters - 1] + "…"]


def fitted(image: np.ndarray, side: int) -> tuple[int, int]:
    """Width and height of a picture [height, width, 3] that is scaled until it fits a square."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fit(image: np.ndarray, side: int, high: int) -> Image.Image:
    """Scale to fit a cell of `side` by `high` pixels; whole multiples keep their pixels hard."""
    size = fitted(image, side)
    smaller = size[0] < image.shape[1] or size[1] < image.shape[0]
    picture = Image.fromarray(image).convert("RGB")
    picture = picture.resize(size, Image.Resampling.BOX if smaller else Image.Resampling.NEAREST)
    cell = Image.new("RGB", (side, high), BACKGROUND)
    cell.paste(picture, ((side - size[0]) // 2, (high - size[1]) // 2))
    return cell
