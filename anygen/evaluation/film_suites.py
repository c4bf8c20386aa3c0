"""The suite about films that asks no model: the watcher itself."""

import json
from pathlib import Path
from typing import Any

from anygen.evaluation.case import SHOWN, stills
from anygen.evaluation.film_cells import report
from anygen.evaluation.sheet import sheet
from anygen.evaluation.viewing import examine
from anygen.media import Video
from anygen.playground.film import FPS
from anygen.playground.language import film_caption

WATCHED = 400  # films on which the watcher is measured


def watcher(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """The watcher judged on films; `engine` is not asked."""
    table, mistakes, speed = examine(limit or WATCHED, seed, split)
    if folder:
        texts = [f"{film_caption(film)} > {report(watched)}" for _, film, watched in mistakes]
        (folder / "mistakes.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        if mistakes:
            films = [Video(frames.permute(0, 2, 3, 1).numpy(), FPS) for frames, *_ in mistakes[:SHOWN]]
            sheet([stills(film) for film in films], texts[:SHOWN]).save(folder / "mistakes.png")
    return {"cells": table, "seconds": {}, "measures": speed}
