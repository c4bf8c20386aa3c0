"""The suites of `anygen eval`: what each asks, the table that it fills, and the figures file."""

import json
import platform
import random
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anygen.error import ModelError, RequestError
from anygen.evaluation import (
    cells,
    concept_cells,
    film_cells,
    film_suites,
    listening,
    sense_cells,
    sense_suites,
    sound_cells,
    sound_suites,
    viewing,
)
from anygen.evaluation.case import Case, Progress, Result, ask, keep, tabulate, time_cells
from anygen.evaluation.judging import accuracy, examine
from anygen.evaluation.metrics import caption_scores, pope, psnr, share
from anygen.evaluation.sheet import sheet
from anygen.media import READABLE
from anygen.playground.language import caption
from anygen.playground.scene import sample_scene

JUDGED = 1000  # clean renders on which the judge is measured beside the figures of a model
VIEWED = 200  # clean films on which the watcher is, which takes its time

Measure = Callable[[Sequence[Result]], dict[str, Any]]


def _no_more(results: Sequence[Result]) -> dict[str, Any]:
    return {}


def _values(results: Sequence[Result], *names: str) -> Iterator[tuple]:
    return (tuple(r.outcome.values[n] for n in names) for r in results if all(n in r.outcome.values for n in names))


def _pope(results: Sequence[Result]) -> dict[str, Any]:
    asked = list(_values(results, "said", "truth"))
    return {"pope": pope([said for said, _ in asked], [truth for _, truth in asked])} if asked else {}


def _captions(results: Sequence[Result]) -> dict[str, Any]:
    said = list(_values(results, "answer", "references"))
    return {"captions": caption_scores([answer for answer, _ in said], [texts for _, texts in said])}


def _pages(results: Sequence[Result]) -> dict[str, Any]:
    told = list(_values(results, "pages", "heroes"))
    return {
        "page: picture shows what its text says": share([right for pages, _ in told for right in pages]),
        "page: hero on it": share([hero for _, heroes in told for hero in heroes]),
    }


ASKED: dict[str, tuple[dict[str, tuple[cells.Cell, int]], Measure]] = {
    "matrix": (cells.MATRIX | sound_cells.MATRIX | film_cells.MATRIX | sense_cells.MATRIX, _pope),
    "vqa": ({"image->text": (cells.questions, 400)}, _no_more),
    "pope": ({"image->text": (cells.presence, 400)}, _pope),
    "caption": ({"image->text": (cells.captions, 400)}, _captions),
    "dialogue": ({"dialogue->text": (cells.dialogues, 200)}, _no_more),
    "story": ({"text->text+image": (cells.stories, 60)}, _pages),
}
"""Suites that ask a model: cells with how many requests each asks when nobody says, and figures beside the table."""


def evaluate(
    suite: str,
    *,
    model: Any = None,
    loading: Mapping[str, Any] | None = None,
    split: str = "heldout",
    limit: int | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    cells: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a suite and return its figures, which `output` keeps as figures.json with every raw answer beside it.

    `model` is an engine, or what `anygen.load` takes, with its options in `loading`. `limit` is the number of requests
    per cell. `cells` are patterns, as in `*->video`, of the cells that a suite shall ask; without any it asks all.
    `progress` is called with a cell's name, requests done and requests in all; None writes to stderr where that is a
    terminal.
    """
    if suite not in SUITES:
        raise RequestError(f"no suite is called '{suite}'; there are {', '.join(SUITES)}")
    if split not in ("train", "heldout"):
        raise RequestError(f"no split is called '{split}'; there are train, heldout")
    if limit is not None and limit < 1:
        raise RequestError(f"limit={limit}: ask at least 1 request per cell")
    if cells and suite not in ASKED:
        raise RequestError(f"the suite '{suite}' has no cells to choose from; these have: {', '.join(ASKED)}")
    folder = Path(output) if output is not None else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    progress = progress or (_report if sys.stderr.isatty() else None)
    if suite in ALONE:
        name, figures = "none", ALONE[suite](None, limit, seed, split, folder)
    else:
        engine = model if hasattr(model, "generate_batch") else _load(model, loading or {})
        name = str(getattr(engine, "name", type(engine).__name__))
        if suite in PARTS:
            figures = PARTS[suite](engine, limit, seed, split, folder)
        else:
            figures = _ask(suite, engine, limit, seed, split, folder, cells, progress)
            clean = JUDGED if limit is None else min(JUDGED, 4 * limit)
            figures["judge"] = accuracy(clean, seed, split)
            if any(cell.endswith("audio") for cell in figures["cells"]):
                figures["ear"] = listening.accuracy(clean, seed, split)
            if any("video" in cell.split("->")[1] for cell in figures["cells"]):
                figures["watcher"] = viewing.accuracy(min(VIEWED, clean), seed, split)
    command = f"anygen eval {suite} --seed {seed}" + (f" --limit {limit}" if limit is not None else "")
    command += f" --cells {' '.join(map(shlex.quote, cells))}" if cells else ""
    for key, value in (loading or {}).items():
        command += f" --{key}" if value is True else f" --{key} {value}"
    about = {"suite": suite, "model": name, **(loading or {}), "split": split, "seed": seed}
    figures = {**about, **figures, "command": command, **machine()}
    if folder:
        (folder / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def machine() -> dict[str, Any]:
    """What a figure was measured on: the processor, its cores, threads in use, accelerator, torch's version."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if models:
            processor = f"{models[0]}, {len(models)} cores"
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": processor,
        "accelerator": accelerator,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _load(model: Any, loading: Mapping[str, Any]) -> Any:
    from anygen.engine import load

    return load(model, **loading)


def _report(cell: str, done: int, total: int) -> None:
    print(f"\r{cell:20} {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _ask(
    suite: str,
    engine: Any,
    limit: int | None,
    seed: int,
    split: str,
    folder: Path | None,
    wanted: Sequence[str],
    progress: Progress | None,
) -> dict[str, Any]:
    every, measure = ASKED[suite]
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in every):
            raise RequestError(f"no cell of {suite} is called '{pattern}'; there are {', '.join(every)}")
    chosen = {
        name: cell
        for name, cell in every.items()
        if not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)
    }
    world = cells.World()
    results: list[Result] = []
    asked: list[Case] = []
    for name, (cell, usual) in chosen.items():
        if not _can(engine, name):
            continue
        source = cell(world, random.Random(f"{suite}|{name}|{seed}|{split}"), split)
        cases = [next(source) for _ in range(limit or usual)]
        results += ask(engine, cases, progress)
        asked += cases
    if not results:
        raise ModelError(f"{getattr(engine, 'name', 'the model')} has no cell of {suite}: {', '.join(chosen)}")
    if folder:
        keep(results, folder)
    return {
        "cells": tabulate(results),
        "seconds": time_cells(engine, asked),
        "measures": measure(results),
    }


def _can(engine: Any, cell: str) -> bool:
    """Whether the engine reads and writes what the cell needs; an engine that does not say can do anything."""
    reads, writes = cell.split("->")
    known = {"text", *READABLE}
    needed = (
        (set(reads.split("+")) & known, getattr(engine, "reads", known)),
        (writes.split("+"), getattr(engine, "writes", known)),
    )
    return all(set(wanted) <= set(has) for wanted, has in needed)


def _judge(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    table, mistakes, speed = examine(limit or JUDGED, seed, split)
    if folder:
        lines = [
            {"scene": caption(scene), "saw": cells.describe(verdict), "at": [[p.x, p.y] for p in scene.things]}
            for _, scene, verdict in mistakes
        ]
        (folder / "mistakes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        if mistakes:
            texts = [f"{line['scene']} > {line['saw']}" for line in lines]
            sheet([image for image, *_ in mistakes][:64], texts[:64], right=[False] * min(64, len(mistakes))).save(
                folder / "mistakes.png"
            )
    return {"cells": table, "seconds": {}, "measures": speed}


def _vae(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """Held-out scenes through the generator's own autoencoder and back: PSNR, and whether the judge sees the same.

    Where there is an audio generator, clips as well.
    """
    from anygen.media import Image

    if "image" not in engine.writes:
        raise ModelError(f"{engine.name} has no image generator, so there is no autoencoder to measure")
    generator = engine.model.generator("image")
    side = generator.size[0]
    world = cells.World()
    stream = random.Random(f"vae|{seed}|{split}")
    scenes = [sample_scene(stream, None, split) for _ in range(limit or 500)]
    figures, right, shown, captions = [], [], [], []
    for start in range(0, len(scenes), 32):
        chunk = scenes[start : start + 32]
        pictures = [world.draw(scene) for scene in chunk]
        if side != 64:
            pictures = [Image(picture.pil().resize((side, side))) for picture in pictures]
        pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures])).permute(0, 3, 1, 2)
        for scene, given, back in zip(chunk, pictures, generator.decode(generator.encode(pixels)), strict=True):
            figures.append(psnr(given.pixels, back.pixels))
            right.append(cells.shows(world.look(back), scene)["all"])
            shown += [given.pixels, back.pixels]
            captions += [caption(scene), f"{figures[-1]:.1f} dB"]
    if folder:
        verdicts = [verdict for pair in zip([None] * len(right), right, strict=True) for verdict in pair]
        sheet(shown[:64], captions[:64], right=verdicts[:64]).save(folder / "vae.png")
    low, middle, high = np.percentile(figures, [5, 50, 95])
    measured = {"mean": float(np.mean(figures)), "median": float(middle), "p5": float(low), "p95": float(high)}
    table = {"image->latents->image": {"everything still seen": share(right)}}
    if "audio" in engine.writes:
        table |= sound_suites.latents(engine, min(limit or 500, sound_suites.VOCODED), seed, split, folder)
    psnr_figures = {name: round(value, 3) for name, value in measured.items()} | {"n": len(figures), "unit": "dB"}
    return {"cells": table, "seconds": {}, "measures": {"psnr": psnr_figures}}


def _retrieval(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """Sounds, pictures and texts, and beside them what else the model's encoders sense."""
    figures = sound_suites.retrieval(engine, limit, seed, split, folder)
    for cell, rows in sense_suites.retrieval(engine, limit, seed, split).items():
        figures["cells"].setdefault(cell, {}).update(rows)
    return figures


PARTS = sound_suites.SOUND_SUITES | {
    "retrieval": _retrieval,
    "vae": _vae,
    "concept": concept_cells.concept_suite,
}
"""Suites that measure parts of a model, or what it has learnt of a user, from (engine, limit, seed, split, folder)."""

ALONE = {"judge": _judge, "ear": sound_suites.ear, "watcher": film_suites.watcher}
"""Suites that measure the judges and need no model."""

SUITES = (*ASKED, *PARTS, *ALONE)
