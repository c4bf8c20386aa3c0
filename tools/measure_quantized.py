"""Measures the bundled model against itself with quantised weights, and writes the table of docs/quantization.md.

python tools/measure_quantized.py                          # int8, 100 requests per cell of the matrix
python tools/measure_quantized.py --kinds int8 4bit
python tools/measure_quantized.py --figures DIR --limit 8  # what DIR/whole and DIR/KIND have of figures.json is kept

Seconds are paired: every request is answered by both models, one right after the other, in turns, in one process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from compare_figures import compare
from release import NANO, ROOT, put

PAGE = ROOT / "docs" / "quantization.md"
WHOLE = "whole"


def measure(kind: str, model: Path, folder: Path, limit: int) -> dict[str, Any]:
    """The matrix of the model, quantised to `kind` or whole; read where the folder has it already."""
    file = folder / kind / "figures.json"
    if not file.exists():
        command = ["eval", "matrix", "--model", str(model), "--seed", "0", "--limit", str(limit), "--device", "cpu"]
        command += [] if kind == WHOLE else ["--quantize", kind]
        subprocess.run([sys.executable, "-m", "anygen", *command, "-o", str(file.parent)], check=True, cwd=ROOT)
    return json.loads(file.read_text())


def weigh(model: Any) -> dict[str, int]:
    """Bytes that the LLM and the generators really hold."""
    from anygen.quantization import held

    def size(*networks: Any) -> int:
        return sum(tensor.nbytes for network in networks for tensor in held(network))

    made = {f"{m} generator": size(*model.generator(m).modules()) for m in model.writes}
    rest = size(model.encoders, model.input_projectors, model.output_projectors)
    return {"LLM": size(model.llm), **made, "encoders and projectors": rest}


def race(whole: Any, small: Any, repeats: int) -> dict[str, tuple[float, float, float, int]]:
    """By work: medians of the seconds of both models and of their ratio, small / whole, and how many pairs.

    The first pair of each work is not counted: it pays for what later ones find ready.
    """
    from anygen.bench import ASK, DRAW, FILM, SOUND

    works = {
        "an answer in text": (ASK, "text"),
        "one image": (DRAW, "image"),
        "four seconds of sound": (SOUND, "audio"),
    }
    works["one film"] = (FILM, "video")
    found = {}
    for work, (request, to) in works.items():
        if to not in whole.writes:
            continue
        pairs = []
        for number in range(repeats + 1):
            took = {}
            for engine in (whole, small) if number % 2 else (small, whole):
                began = time.perf_counter()
                engine.generate(request, to=to, seed=number)
                took[id(engine)] = time.perf_counter() - began
            pairs.append((took[id(whole)], took[id(small)]))
        pairs = pairs[1:]
        before, after = (statistics.median(column) for column in zip(*pairs, strict=True))
        found[work] = before, after, statistics.median(b / a for a, b in pairs), len(pairs)
    return found


def costs(kind: str, bytes_: tuple[dict[str, int], dict[str, int]], seconds: dict[str, Any]) -> str:
    """Bytes of every part, and seconds of every work."""
    lines = [f"| | whole | {kind} | ratio | n |", "|---|---|---|---|---|"]
    before, after = ({**sizes, "all of it": sum(sizes.values())} for sizes in bytes_)
    for name, count in before.items():
        lines.append(f"| {name} | {count / 1e6:.1f} MB | {after[name] / 1e6:.1f} MB | {after[name] / count:.2f} | |")
    for work, (a, b, ratio, n) in seconds.items():
        lines.append(f"| {work} | {a:.3f} s | {b:.3f} s | {ratio:.2f} | {n} |")
    return "\n".join(lines)


def quality(kind: str, whole: dict[str, Any], small: dict[str, Any]) -> str:
    """Every row of the matrix, and whether it fell or rose: where the two 95 % intervals do not meet."""
    lines = [f"| cell | measure | whole | {kind} | change | n | |", "|---|---|---|---|---|---|---|"]
    for cell, row, before, after, moved in compare(whole, small):
        n = small["cells"][cell][row]["n"]
        if n:
            lines.append(f"| {cell} | {row} | {before:.2f} | {after:.2f} | {after - before:+.2f} | {n} | {moved} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["int8"], metavar="KIND", help="int8, 4bit (default: int8)")
    parser.add_argument("--model", type=Path, default=NANO, metavar="DIR", help="a model folder (default: nano)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="where figures are kept")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="requests per cell (default: 100)")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="pairs of each work (default: 9)")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="where the tables are written")
    args = parser.parse_args()
    folder = args.figures or Path(tempfile.mkdtemp(prefix="quantized-"))

    import anygen

    figures = {kind: measure(kind, args.model, folder, args.limit) for kind in (WHOLE, *args.kinds)}
    whole = anygen.load(args.model, device="cpu")
    blocks = []
    for kind in args.kinds:
        small = anygen.load(args.model, device="cpu", quantize=kind)
        table = costs(kind, (weigh(whole.model), weigh(small.model)), race(whole, small, args.repeats))
        blocks.append(f"{table}\n\n{quality(kind, figures[WHOLE], figures[kind])}")
    m = figures[WHOLE]
    commands = ", ".join(f"`{found['command']}`" for found in figures.values())
    about = f"{m['machine']}, {m['threads']} threads, torch {m['torch']}, {m['split']} split; commands: {commands}."
    put(args.page, "quantized", "\n\n".join([*blocks, about]))
    print(f"figures are in {folder}; {args.page} holds the tables now")


if __name__ == "__main__":
    main()
