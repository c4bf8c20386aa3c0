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
    letters = max(8, round((side + 2 * border) / font.getlength("abcdefghij etaoin ") * 18))
    wrapped = [_wrap(caption, letters) for caption in captions] if captions is not None else []
    lines = max((len(text) for text in wrapped), default=0)
    cell_width, cell_height = side + 2 * border + gap, side + 2 * border + gap + line * lines
    canvas = Image.new("RGB", (columns * cell_width + gap, rows * cell_height + gap), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for i, image in enumerate(images):
        x, y = gap + i % columns * cell_width, gap + i // columns * cell_height
        verdict = right[i] if right is not None else None
        colour = PLAIN if verdict is None else RIGHT if verdict else WRONG
        draw.rectangle((x, y, x + side + 2 * border - 1, y + side + 2 * border - 1), fill=colour)
        canvas.paste(_fit(np.asarray(image), side), (x + border, y + border))
        for j, text in enumerate(wrapped[i] if wrapped else ()):
            draw.text((x + border, y + side + 2 * border + 1 + line * j), text, fill=INK, font=font)
    return canvas


def _wrap(caption: str, letters: int) -> list[str]:
    lines = textwrap.wrap(caption, letters) or [""]
    return lines if len(lines) <= 3 else [*lines[:2], lines[2][: letters - 1] + "…"]


def _fit(image: np.ndarray, side: int) -> Image.Image:
    """Scale to fit a square; whole multiples keep their pixels hard."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image).convert("RGB")
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX)
    square = Image.new("RGB", (side, side), BACKGROUND)
    square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square
