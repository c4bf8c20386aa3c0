"""A film as a contact sheet: its frames in rows with their times, and the waveform of each row below it."""

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from anygen.codecs.container import Sound
from anygen.codecs.plot import INK, PAPER, waveform

GAP, LINE, WAVE = 6, 16, 40  # pixels between frames, of a line of text, of a waveform


def sheet(frames: np.ndarray, seconds: float, sound: Sound | None, columns: int, width: int) -> np.ndarray:
    """uint8 [frames, height, width, 3] at even times of a film of so many `seconds` to uint8 [height, `width`, 3]."""
    count = len(frames)
    columns = min(columns, count)
    wide = (width - GAP) // columns - GAP
    high = max(1, round(wide * frames.shape[1] / frames.shape[2]))
    row = high + LINE + (WAVE if sound else 0) + GAP
    canvas = PIL.Image.new("RGB", (width, GAP + row * -(-count // columns)), PAPER)
    draw, font = PIL.ImageDraw.Draw(canvas), PIL.ImageFont.load_default(size=11)
    method = PIL.Image.Resampling.NEAREST if wide >= frames.shape[2] else PIL.Image.Resampling.BOX
    for index, frame in enumerate(frames):
        x, y = GAP + index % columns * (wide + GAP), GAP + index // columns * row
        canvas.paste(PIL.Image.fromarray(frame).resize((wide, high), method), (x, y))
        draw.text((x + 1, y + high + 1), clock((index + 0.5) * seconds / count, seconds), fill=INK, font=font)
    if sound is not None:
        samples, rate = sound
        mono = samples.mean(axis=0, dtype=np.float32)
        for first in range(0, count, columns):
            last = min(first + columns, count)
            begin, end = (round(place * seconds / count * rate) for place in (first, last))
            part = np.pad(mono[begin:end], (0, max(1, end - begin) - len(mono[begin:end])))
            drawn = waveform(part, (last - first) * (wide + GAP) - GAP, WAVE)
            canvas.paste(PIL.Image.fromarray(drawn), (GAP, GAP + first // columns * row + high + LINE))
    return np.asarray(canvas)


def clock(time: float, seconds: float) -> str:
    """A time of a film that is `seconds` long, as precise as that is worth."""
    if seconds < 100:
        return f"{time:.2f} s"
    return f"{int(time // 3600)}:{int(time // 60 % 60):02d}:{int(time % 60):02d}"
