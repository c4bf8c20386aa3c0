"""Bakes the atlas from Noto Color Emoji (Debian: fonts-noto-color-emoji): `python tools/bake_atlas.py FONT`."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from anygen.playground.things import THINGS

STRIKE = 109  # the only pixel size of the font's bitmaps
SIDE = 64
COLUMNS = 16


def glyph(font: ImageFont.FreeTypeFont, emoji: str) -> Image.Image:
    """One emoji, cropped to its ink, centred in a transparent square of SIDE pixels."""
    canvas = Image.new("RGBA", (400, 200), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((20, 20), emoji, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise SystemExit(f"the font has no picture of {emoji!r}")
    ink = canvas.crop(box)
    if ink.width > 1.6 * STRIKE:
        raise SystemExit(f"the font draws {emoji!r} as several glyphs (is libraqm there?)")
    side = max(ink.size)
    square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square.convert("RGBa").resize((SIDE, SIDE), Image.Resampling.LANCZOS).convert("RGBA")


def main() -> None:
    font = ImageFont.truetype(sys.argv[1], STRIKE)
    rows = -(-len(THINGS) // COLUMNS)
    atlas = Image.new("RGBA", (COLUMNS * SIDE, rows * SIDE), (0, 0, 0, 0))
    for index, thing in enumerate(THINGS):
        atlas.paste(glyph(font, thing.emoji), (index % COLUMNS * SIDE, index // COLUMNS * SIDE))
    path = Path(__file__).parent.parent / "anygen/playground/assets/atlas.png"
    atlas.save(path, optimize=True)
    print(f"{len(THINGS)} things, {path.stat().st_size} bytes, {path}")


if __name__ == "__main__":
    main()
