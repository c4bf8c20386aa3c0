"""Measures the bundled model and writes what is published of it: tables, matrix, answers, gallery, card, provenance.

python tools/release.py                  # everything: about twenty minutes on two cores
python tools/release.py --figures DIR    # what DIR has of figures (DIR/SUITE/figures.json) is not measured again
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parent.parent
NANO = ROOT / "anygen" / "models" / "nano"
STILL = ("*->text", "*->image", "*->audio", "*->image+audio")
LIMITS = {
    "films": 16,
    "matrix": 100,
    "vqa": 200,
    "pope": 200,
    "caption": 200,
    "story": 12,
    "vae": 300,
    "retrieval": 300,
    "vocoder": 60,
    "fad": 60,
    "judge": 250,
}
"""Suites and how many requests are asked per cell; the longest first. `films` are the matrix's cells that make films,
which take their time."""
CELLS = {"matrix": STILL, "films": ("*->video", "*->video+audio")}

Row = tuple[str, str, str, str, str]
TABLE: tuple[Row, ...] = (
    ("matrix", "text->image", "one thing and backdrop", "", "0.95"),
    ("matrix", "text->image", "two things, relation and backdrop", "", "0.90"),
    ("matrix", "text->image", "words beside the picture", "", ""),
    ("matrix", "image->text", "caption: all right", "", "0.95"),
    ("matrix", "image->text", "caption: things", "", ""),
    ("matrix", "image->text", "caption: backdrop", "", ""),
    ("vqa", "image->text", "question", "", "0.95"),
    ("pope", "image->text", "is there: yes or no", "", ""),
    ("pope", "image->text", "*pope", "", "0.97"),
    ("matrix", "image->image", "change made, rest kept", "", "0.85"),
    ("matrix", "text->text", "world", "", "0.95"),
    ("matrix", "text->text", "unknown thing", "", "0.90"),
    ("matrix", "text->text", "unknown thing, by its name", "", ""),
    ("story", "text->text+image", "story: all right", "story of four pages: all right", "0.80"),
    ("story", "text->text+image", "as many pages as asked for", "story of four pages: as many as asked for", ""),
    ("story", "text->text+image", "hero on every picture", "story of four pages: hero on every picture", ""),
    ("story", "text->text+image", "every picture shows its page", "story of four pages: pictures show their pages", ""),
    ("caption", "image->text", "*captions", "", ""),
    ("vae", "autoencoder", "*psnr", "", "30"),
    ("vae", "image->latents->image", "everything still seen", "", ""),
    ("vae", "audio->latents->audio", "everything still heard", "", ""),
    ("matrix", "audio->text", "sound and pattern", "", "0.93"),
    ("matrix", "audio->text", "sound", "", ""),
    ("matrix", "audio+text->text", "question", "", "0.90"),
    ("matrix", "audio+text->text", "is it heard: yes or no", "", ""),
    ("matrix", "image+audio->text", "belong together: yes or no", "", ""),
    ("matrix", "text->audio", "sound and pattern", "", "0.90"),
    ("matrix", "text->audio", "sound", "", ""),
    ("matrix", "text->audio", "words beside the sound", "", ""),
    ("matrix", "audio->image", "what sounds is drawn", "", "0.93"),
    ("matrix", "image->audio", "what is seen sounds", "", "0.93"),
    ("matrix", "audio->audio", "change made, rest kept", "", ""),
    ("matrix", "image+audio->image+audio", "words, picture and sound in order", "", ""),
    ("matrix", "image+audio->image+audio", "everything right", "", ""),
    ("matrix", "video->text", "thing, motion and backdrop", "", "0.93"),
    ("matrix", "video->text", "thing and motion", "", ""),
    ("matrix", "video->text", "things", "", ""),
    ("matrix", "video+text->text", "question", "", "0.90"),
    ("matrix", "video->audio", "what moves sounds", "", "0.90"),
    ("matrix", "video->image", "things and backdrop", "", ""),
    ("matrix", "video+audio->text", "answer", "", ""),
    ("matrix", "depth->text", "caption: all right", "", "0.90"),
    ("matrix", "depth->text", "question", "", ""),
    ("matrix", "depth->image", "things and backdrop", "", "0.90"),
    ("matrix", "thermal->text", "caption: all right", "", "0.90"),
    ("matrix", "thermal->text", "question", "", ""),
    ("matrix", "thermal->image", "things and backdrop", "", "0.90"),
    ("matrix", "imu->text", "motion", "", "0.90"),
    ("matrix", "imu->image", "thing, size, place and backdrop", "", "0.90"),
    ("films", "text->video", "thing and motion", "", "0.90"),
    ("films", "text->video", "thing", "", ""),
    ("films", "text->video", "backdrop", "", ""),
    ("films", "text->video", "the same thing in 15 of 16 frames", "", "0.90"),
    ("films", "text->video", "words beside the film", "", ""),
    ("films", "audio->video", "what sounds moves", "", "0.90"),
    ("films", "image->video", "moves as asked, begins with the picture", "", "0.85"),
    ("films", "image->video", "begins with the picture", "", ""),
    ("films", "video->video", "change made, rest kept", "", ""),
    ("films", "text->video+audio", "thing, motion and sound", "", ""),
    ("retrieval", "image->text", "recall@1 of 61, name", "retrieval: recall@1 of 61, name", ""),
    ("retrieval", "text->image", "recall@1 of 61, name", "retrieval: recall@1 of 61, name", ""),
    ("retrieval", "image->audio", "recall@1 of 61", "retrieval: recall@1 of 61", ""),
    ("retrieval", "audio->image", "recall@1 of 61", "retrieval: recall@1 of 61", ""),
    ("retrieval", "audio->text", "recall@1 of 61, name", "retrieval: recall@1 of 61, name, emergent", "0.80"),
    ("retrieval", "text->audio", "recall@1 of 61, name", "retrieval: recall@1 of 61, name, emergent", "0.80"),
    ("retrieval", "depth->text", "recall@1 of 129, name", "retrieval: recall@1 of 129, name, emergent", ""),
    ("retrieval", "depth->image", "recall@1 of 129", "retrieval: recall@1 of 129", ""),
    ("retrieval", "thermal->text", "recall@1 of 129, name", "retrieval: recall@1 of 129, name, emergent", ""),
    ("retrieval", "thermal->image", "recall@1 of 129", "retrieval: recall@1 of 129", ""),
    ("retrieval", "imu->video", "recall@1 of 10 motions", "retrieval: recall@1 of 10 motions", ""),
    ("retrieval", "imu->text", "recall@1 of 10 motions, caption", "retrieval: recall@1 of 10 motions, emergent", ""),
    ("vocoder", "vocoder", "*vocoder", "", "0.7"),
    ("fad", "text->audio", "*fad", "", ""),
    ("judge", "judge", "*judge", "", "0.99"),
)
"""What is quoted: suite, cell, row (with * one of `_special`), how it is called there, target."""

MAIN = {
    ("text", "text"): ("text->text", "world"),
    ("text", "image"): ("text->image", "one thing and backdrop"),
    ("text", "audio"): ("text->audio", "sound and pattern"),
    ("image", "text"): ("image->text", "caption: all right"),
    ("image", "image"): ("image->image", "change made, rest kept"),
    ("image", "audio"): ("image->audio", "what is seen sounds"),
    ("audio", "text"): ("audio->text", "sound and pattern"),
    ("audio", "image"): ("audio->image", "what sounds is drawn"),
    ("audio", "audio"): ("audio->audio", "change made, rest kept"),
    ("video", "text"): ("video->text", "thing, motion and backdrop"),
    ("video", "image"): ("video->image", "things and backdrop"),
    ("video", "audio"): ("video->audio", "what moves sounds"),
    ("text", "video"): ("text->video", "thing and motion"),
    ("image", "video"): ("image->video", "moves as asked, begins with the picture"),
    ("audio", "video"): ("audio->video", "what sounds moves"),
    ("video", "video"): ("video->video", "change made, rest kept"),
}
"""The cell and row that stand for a pair of modalities in the picture of the matrix."""

MODALITIES = ("text", "image", "audio", "video")


def measure(model: Path, folder: Path) -> dict[str, Any]:
    """Every suite's figures, two processes at a time; those that the folder has already are read."""

    def one(suite: str) -> tuple[str, Any]:
        file = folder / suite / "figures.json"
        if not file.exists():
            name = "matrix" if suite in CELLS else suite
            command = ["eval", name, "--model", str(model), "--seed", "0", "--limit", str(LIMITS[suite])]
            command += ["--cells", *CELLS[suite]] if suite in CELLS else []
            subprocess.run([sys.executable, "-m", "anygen", *command, "-o", str(file.parent)], check=True, cwd=ROOT)
        return suite, json.loads(file.read_text())

    films = "video" in json.loads((model / "anygen.json").read_text())["generators"]
    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(one, [suite for suite in LIMITS if films or suite != "films"]))


def benchmark(model: Path, folder: Path) -> list[dict[str, Any]]:
    """What `anygen bench` says, with nothing else running."""
    file = folder / "bench.json"
    if not file.exists():
        command = [sys.executable, "-m", "anygen", "bench", "--model", str(model), "--json"]
        file.write_text(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)
    return json.loads(file.read_text())


def _share(row: dict[str, Any], digits: int = 2) -> str:
    return f"{row['right']:.{digits}f} | {row['low']:.{digits}f} - {row['high']:.{digits}f} | {row['n']}"


def _special(name: str, figures: dict[str, Any]) -> tuple[str, str]:
    """How a figure that is no share is called, and its three columns."""
    measures = figures.get("measures", {})
    if name == "pope":
        q = measures["pope"]
        rates = f"precision {q['precision']:.2f}, recall {q['recall']:.2f}, yes-rate {q['yes_rate']:.2f}"
        return f"is there a ...: F1 ({rates})", f"{q['f1']:.2f} | | {q['n']}"
    if name == "captions":
        q = measures["captions"]
        return f"captions: BLEU-4 {q['bleu4']:.2f}, CIDEr {q['cider']:.2f}", f" | | {q['n']}"
    if name == "psnr":
        return "PSNR of held-out scenes, dB", f"{measures['psnr']['mean']:.1f} | | {measures['psnr']['n']}"
    if name == "vocoder":
        what = "multi-resolution STFT distance, of Griffin-Lim's on the same mels"
        return what, f"{measures['of Griffin-Lim']:.2f} | | {measures['n']}"
    if name == "fad":
        what = f"Fréchet audio distance (real against real: {measures['real against real']:.3f})"
        return what, f"{measures['fad']:.3f} | | {measures['n']}"
    from anygen.evaluation.metrics import share

    clean = [rows["clean: all"] for rows in figures["cells"].values() if "clean: all" in rows]
    n, right = sum(row["n"] for row in clean), sum(round(row["right"] * row["n"]) for row in clean)
    return "clean held-out renders, everything right", _share(share([True] * right + [False] * (n - right)), 3)


def quoted(figures: dict[str, Any]) -> str:
    """The table of README and docs/nano.md."""
    lines = ["| cell | measure | right | 95 % interval | n | target |", "|---|---|---|---|---|---|"]
    for suite, cell, row, label, target in TABLE:
        if suite not in figures:
            continue
        if row.startswith("*"):
            label, columns = _special(row[1:], figures[suite])
        elif (found := figures[suite]["cells"].get(cell, {}).get(row)) and found["n"]:
            columns = _share(found)
        else:
            continue
        lines.append(f"| {cell} | {label or row} | {columns} | {target} |")
    m = figures["matrix"]
    commands = ", ".join(f"`{figures[suite]['command']}`" for suite in figures)
    return (
        "\n".join(lines) + f"\n\n{m['machine']}, torch {m['torch']}, {m['split']} split, seed 0; commands: {commands}."
    )


def every(figures: dict[str, Any]) -> str:
    """All rows of all suites."""
    lines = ["| cell | measure | right | 95 % interval | n |", "|---|---|---|---|---|"]
    for suite, found in figures.items():
        for cell, rows in found["cells"].items() if suite != "judge" else ():
            lines += [f"| {cell} | {row} ({suite}) | {_share(x)} |" for row, x in rows.items() if x["n"]]
    return "\n".join(lines)


def speed(rows: list[dict[str, Any]]) -> str:
    """The table of `anygen bench`."""
    lines = ["| work | median | n | target |", "|---|---|---|---|"]
    for row in rows:
        ours = row["ours"]
        target = (
            f"{row['target']:g} {ours['unit']}"
            if row["target"]
            else f"{row['against']}: {row['instead']['median']:.2f} {ours['unit']}"
        )
        value = f"{ours['median']:.3f}" if ours["median"] < 0.05 else f"{ours['median']:.2f}"
        lines.append(f"| {row['work']} | {value} {ours['unit']} | {ours['n']} | {target} |")
    return "\n".join(lines)


def cost(provenance: dict[str, Any]) -> str:
    """Batches and seconds of every step."""
    lines = ["| step | batches | seconds on one CPU core, shared with other work |", "|---|---|---|"]
    seconds, steps = provenance["seconds"], provenance["steps"]
    return "\n".join([*lines, *(f"| {step} | {steps[step]:,} | {seconds[step]:,} |" for step in steps)])


def put(file: Path, name: str, text: str) -> None:
    """Replaces what stands between `<!-- name -->` and `<!-- /name -->`."""
    page = file.read_text(encoding="utf-8")
    whole = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    if not whole.search(page):
        raise SystemExit(f"{file} has no <!-- {name} --> ... <!-- /{name} -->")
    file.write_text(whole.sub(lambda m: m[1] + text + m[2], page), encoding="utf-8")


def draw_matrix(figures: dict[str, Any], file: Path) -> None:
    """The 4 x 4 table as a picture: the main row of each cell with its interval, darker where more is right."""
    side, margin = 150, 90
    picture = Image.new("RGB", (margin + 4 * side + 10, margin + 4 * side + 10), "white")
    draw = ImageDraw.Draw(picture)
    big, small = ImageFont.load_default(size=26), ImageFont.load_default(size=12)
    for i, name in enumerate(MODALITIES):
        draw.text((margin + i * side + side / 2, margin - 24), f"{name} out", fill="black", font=small, anchor="mm")
        draw.text((margin / 2, margin + i * side + side / 2), f"{name} in", fill="black", font=small, anchor="mm")
    cells = figures["matrix"]["cells"] | figures.get("films", {"cells": {}})["cells"]
    for i, given in enumerate(MODALITIES):
        for j, made in enumerate(MODALITIES):
            box = (margin + j * side, margin + i * side, margin + (j + 1) * side - 4, margin + (i + 1) * side - 4)
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            cell, row = MAIN.get((given, made), ("", ""))
            found = cells.get(cell, {}).get(row)
            if not found or not found["n"]:
                draw.rectangle(box, fill=(240, 240, 238))
                draw.text((x, y), "not yet", fill=(150, 150, 150), font=small, anchor="mm")
                continue
            share = found["right"]
            draw.rectangle(box, fill=(round(235 - 190 * share), round(240 - 90 * share), round(245 - 60 * share)))
            ink = "white" if share > 0.55 else "black"
            draw.text((x, y - 12), f"{share:.2f}", fill=ink, font=big, anchor="mm")
            draw.text((x, y + 16), f"{found['low']:.2f} - {found['high']:.2f}, n {found['n']}", ink, small, anchor="mm")
            draw.text((x, y + 42), row[:24], fill=ink, font=small, anchor="mm")
    picture.save(file, optimize=True)


def _picture(medium: Any) -> np.ndarray:
    """A picture or a map as it is, a sound's spectrogram, a motion's curves, four frames of a film: [64, width, 3]."""
    if medium.type == "video":
        return np.concatenate([medium.frames[len(medium.frames) * i // 4] for i in range(4)], 1)
    if medium.type in ("depth", "thermal"):
        return np.array(Image.fromarray(medium.grey()).resize((64, 64)))
    return np.array(medium.pixels if medium.type == "image" else medium.plot(64, 64).pixels)


def _square(media: list[Any]) -> np.ndarray:
    """What was shown and what was made side by side: uint8 [height, width, 3]."""
    if not media:
        return np.full((64, 64, 3), 255, np.uint8)
    pictures = [_picture(medium) for medium in media[:4]]
    row = np.concatenate(pictures, axis=1)
    free = row.shape[1] - row.shape[0]
    return np.pad(row, ((free // 2, free - free // 2), (0, 0), (0, 0)), constant_values=255)


def answers(engine: Any, chats: list[Any]) -> Iterator[tuple[np.ndarray, str]]:
    """What the model answers to the first turn of each chat: a picture of it, and its words."""
    from anygen.evaluation.cells import World

    world = World()
    for chat in chats:
        request = world.values(chat.messages[0])
        reply = engine.generate(request, seed=0)
        shown = [part for part in request if part.type != "text"]
        made = [*reply.images, *reply.audios, *reply.videos]
        asked = " ".join(part.text for part in request if part.type == "text")
        yield _square([*shown, *made]), f"{asked} -> {reply.text}"


def draw_answers(model: Path) -> None:
    """docs/answers.png, the first requests of some kinds, and docs/gallery.png, 48 of all kinds: both unselected."""
    import anygen
    from anygen.evaluation.sheet import sheet
    from anygen.playground.language import sample_chat

    engine = anygen.load(model)
    stream = random.Random("answers")
    few = [sample_chat(stream, task, "heldout") for task in ("draw", "caption", "vqa", "edit") for _ in range(8)]
    many = [sample_chat(random.Random(f"gallery|{seed}"), None, "heldout", engine.reads) for seed in range(48)]
    for name, chats in (("answers", few), ("gallery", many)):
        pictures, captions = zip(*answers(engine, chats), strict=True)
        sheet(list(pictures), list(captions), columns=8).save(ROOT / "docs" / f"{name}.png", optimize=True)


CARD = """---
license: apache-2.0
library_name: anygen
pipeline_tag: any-to-any
tags: [any-to-any, image-generation, audio-generation, playground]
---
# nano

The bundled model of AnyGen: {reads} in, {writes} out, in one ordered answer. It was trained by this project from
nothing, on two CPU cores, on a procedural playground; no pretrained weight and no downloaded data is in it.

**It can** draw its {things} things on ten backdrops at 64 x 64 pixels, name what a picture of them shows, change
pictures, play {sounds} sounds for up to four seconds, name them, show two seconds of film in which one or two of its
things move, and tell stories with pictures. **It cannot** see,
draw or hear anything else: photographs, faces, speech and music of this world mean nothing to it, and what it knows
of the world are the playground's facts. It says that it does not know a thing that it has no picture of.

How it was measured: on held-out requests only (combinations and phrasings that training never shows), by judges that
share nothing with the model. 95 % intervals are Wilson's.

{table}

Licences: code and weights Apache-2.0. The emoji art that it has seen is Noto Color Emoji (SIL Open Font License 1.1),
the instruments that it has heard are of FluidR3 GM (MIT); see NOTICE. How it was trained: provenance.json and
docs/nano.md.
"""


def write_card(model: Path, figures: dict[str, Any], table: str) -> None:
    """README.md beside the weights, and the quality and files in their provenance."""
    from anygen.playground.sound import SOUNDS
    from anygen.playground.things import THINGS
    from anygen.training.provenance import FILE, sha256

    config = json.loads((model / "anygen.json").read_text())
    sees = [modality for modality in config["encoders"] if modality != "text"]
    reads, writes = (", ".join(["text", *names]) for names in (sees, config["generators"]))
    card = CARD.format(reads=reads, writes=writes, things=len(THINGS), sounds=len(SOUNDS), table=table)
    (model / "README.md").write_text(card, encoding="utf-8")
    facts = json.loads((model / FILE).read_text())
    facts["quality"] = {
        f"{cell}: {row}": figures[suite]["cells"][cell][row]
        for suite, cell, row, _, _ in TABLE
        if suite in figures and row in figures[suite]["cells"].get(cell, {})
    }
    facts["files"] = {
        path.relative_to(model).as_posix(): sha256(path)
        for path in sorted(model.rglob("*"))
        if path.is_file() and path.name != FILE
    }
    (model / FILE).write_text(json.dumps(facts, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, metavar="DIR", help="where figures are kept")
    args = parser.parse_args()
    folder = args.figures or Path(tempfile.mkdtemp(prefix="release-"))
    folder.mkdir(parents=True, exist_ok=True)
    figures = measure(NANO, folder)
    table, pages = quoted(figures), (ROOT / "README.md", ROOT / "docs" / "nano.md")
    for page in pages:
        put(page, "figures", table)
    put(pages[0], "speed", speed(benchmark(NANO, folder)))
    put(pages[1], "cost", cost(json.loads((NANO / "provenance.json").read_text())))
    put(pages[1], "all figures", every(figures))
    draw_matrix(figures, ROOT / "docs" / "matrix.png")
    draw_answers(NANO)
    write_card(NANO, figures, table)
    print(f"figures are in {folder}; README.md, docs/ and {NANO.relative_to(ROOT)} hold them now")


if __name__ == "__main__":
    main()
