"""Draws eight pictures of a robot that the playground does not have: `python tools/draw_example_concept.py DIR`.

They are what a user might bring for `anygen train concept`: the same thing a little larger or smaller, turned, in other
light, and before backgrounds of one colour. With `--sounds DIR` also three recordings of its two-tone beep.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageEnhance

SIDE = 512  # pixels that are drawn; a quarter of them is kept
RATE = 16_000
BODY, SHADE, DARK, LAMP, MOUTH = "#16a085", "#0e6655", "#1b2631", "#f7dc6f", "#e74c3c"


def robot() -> Image.Image:
    """A green boxy robot with one round yellow eye, an antenna and treads: RGBA [SIDE, SIDE]."""
    picture = Image.new("RGBA", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    draw.line((256, 120, 256, 40), fill=DARK, width=14)
    draw.ellipse((230, 14, 282, 66), fill=MOUTH)
    draw.rounded_rectangle((136, 110, 376, 280), 40, fill=BODY, outline=DARK, width=10)
    draw.ellipse((196, 136, 316, 256), fill=LAMP, outline=DARK, width=10)
    draw.ellipse((240, 176, 280, 216), fill=DARK)
    draw.rounded_rectangle((166, 290, 346, 420), 20, fill=SHADE, outline=DARK, width=10)
    draw.rectangle((196, 330, 316, 356), fill=MOUTH)
    for left in (76, 356):
        draw.rounded_rectangle((left, 296, left + 80, 340), 20, fill=BODY, outline=DARK, width=10)
    draw.rounded_rectangle((126, 420, 386, 496), 38, fill=DARK)
    for x in (150, 226, 302):
        draw.ellipse((x, 432, x + 54, 486), fill="#95a5a6")
    return picture


def varied(stream: random.Random) -> Image.Image:
    """A picture of the robot: RGB [128, 128]."""
    shown = robot().rotate(stream.uniform(-5, 5), Image.Resampling.BICUBIC)
    side = round(SIDE * stream.uniform(0.7, 0.95))
    shown = shown.resize((side, side), Image.Resampling.LANCZOS)
    tint = tuple(stream.randint(190, 255) for _ in range(3))
    picture = Image.new("RGB", (SIDE, SIDE), tint)
    left, top = (stream.randint(0, SIDE - side) for _ in range(2))
    picture.paste(shown, (left, top), shown)
    picture = ImageEnhance.Brightness(picture).enhance(stream.uniform(0.92, 1.08))
    return picture.resize((SIDE // 4, SIDE // 4), Image.Resampling.LANCZOS)


def beep(stream: random.Random) -> np.ndarray:
    """A low tone and a high one with a buzz: float32 [samples] at RATE, with some silence before."""
    base = 330 * stream.uniform(0.97, 1.03)
    notes = []
    for ratio, seconds in ((1.0, 0.18), (1.5, 0.3)):
        time = np.arange(int(RATE * seconds)) / RATE
        tone = np.sin(2 * np.pi * base * ratio * time) + 0.4 * np.sign(np.sin(2 * np.pi * base * ratio / 2 * time))
        notes.append(tone * np.minimum(1, np.minimum(time, time[::-1]) / 0.01))
    quiet = np.zeros(stream.randint(400, 4000))
    return (0.3 * np.concatenate([quiet, *notes, quiet])).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw an example for `anygen train concept`.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sounds", type=Path)
    args = parser.parse_args()
    stream = random.Random(0)
    args.directory.mkdir(parents=True, exist_ok=True)
    for number in range(8):
        varied(stream).save(args.directory / f"robot-{number}.png")
    if args.sounds:
        args.sounds.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            soundfile.write(str(args.sounds / f"beep-{number}.wav"), beep(stream), RATE)


if __name__ == "__main__":
    main()
