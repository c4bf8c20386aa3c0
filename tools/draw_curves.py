"""Draws the losses that runs of recipes have logged: `python tools/draw_curves.py RUN/STEP... --page docs/curves.png`.

A panel for each folder that holds a log.jsonl: its losses over batches, on a logarithmic scale, averaged over a
hundredth of the run. What is only logged, and no loss (names that begin with "_"), is left out.
"""

import argparse
import json
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

KNOWN = {"step", "rate", "norm", "per_second"}  # what a row of the log has beside losses and figures of samples
INKS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
WIDE, HIGH, LEFT, TOP, BELOW = 420, 250, 52, 26, 34


def losses(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every loss of a step's log: batches and values."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "per_second" not in row:  # figures of a sample
            continue
        for name, value in row.items():
            if name not in KNOWN and not name.startswith("_") and value > 0:
                found.setdefault(name, []).append((row["step"], value))
    return {name: smooth(points) for name, points in found.items() if len(points) > 1}


def smooth(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most a hundred points, each the geometric mean of those around it."""
    size = max(1, len(points) // 100)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], math.exp(sum(math.log(value) for _, value in group) / len(group))) for group in groups]


def panel(folder: Path) -> Image.Image:
    """The curves of one step, with its name and the range of its values."""
    curves = losses(folder)
    if not curves:
        raise SystemExit(f"{folder / 'log.jsonl'} has fewer than two rows of losses")
    picture = Image.new("RGB", (WIDE, HIGH), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    values = [value for points in curves.values() for _, value in points]
    steps = [step for points in curves.values() for step, _ in points]
    low, high, last = math.log10(min(values)), math.log10(max(values)), max(steps)
    high = max(high, low + 0.1)

    def at(step: int, value: float) -> tuple[float, float]:
        across = LEFT + (WIDE - LEFT - 10) * step / last
        return across, TOP + (HIGH - TOP - BELOW) * (high - math.log10(value)) / (high - low)

    draw.text((LEFT, 6), f"{folder.name}: {last:,} batches", fill="black", font=font)
    draw.rectangle((LEFT, TOP, WIDE - 10, HIGH - BELOW), outline="#bbbbbb")
    for power in range(math.ceil(low), math.floor(high) + 1):
        y = at(0, 10.0**power)[1]
        draw.line((LEFT, y, WIDE - 10, y), fill="#e4e4e4")
        draw.text((LEFT - 6, y), f"{10.0**power:g}", fill="black", font=font, anchor="rm")
    for value, anchor in ((10.0**high, "rt"), (10.0**low, "rb")):
        draw.text((LEFT - 6, at(0, value)[1]), f"{value:.2g}", fill="#888888", font=font, anchor=anchor)
    x = float(LEFT)
    for (name, points), ink in zip(curves.items(), INKS * len(curves), strict=False):
        draw.line([at(*point) for point in points], fill=ink, width=2)
        if x + draw.textlength(name, font) > WIDE:
            x = WIDE  # no room for more names
        draw.text((x, HIGH - BELOW + 10), name, fill=ink, font=font)
        x += draw.textlength(name, font) + 10
    return picture


def sheet(folders: list[Path], columns: int = 3) -> Image.Image:
    """All panels, row by row."""
    panels = [panel(folder) for folder in folders]
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    whole = Image.new("RGB", (columns * WIDE, rows * HIGH), "white")
    for number, one in enumerate(panels):
        whole.paste(one, (number % columns * WIDE, number // columns * HIGH))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN/STEP")
    parser.add_argument("--page", type=Path, required=True, metavar="FILE", help="the picture that is written")
    args = parser.parse_args()
    for folder in args.folders:
        if not (folder / "log.jsonl").is_file():
            raise SystemExit(f"{folder} has no log.jsonl: name the folder of a step")
    sheet(args.folders).quantize(64).save(args.page, optimize=True)


if __name__ == "__main__":
    main()
