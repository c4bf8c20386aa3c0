"""Where a model folder comes from: recipe, seeds, code revision, and the sha256 of every file."""

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

FILE = "provenance.json"


def sha256(path: Path) -> str:
    """The file's digest, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def revision() -> str | None:
    """The git revision of the code, or None outside of a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def write_provenance(folder: Path, recipe: Any, output: Path, quality: dict[str, Any] | None = None) -> None:
    """Writes provenance.json beside the parts: what trained them, for how long, and every file's sha256."""
    seconds = {}
    steps = {}
    for step in recipe.fits:
        log = output / step / "checkpoint.safetensors"
        if log.exists():
            from anygen.training.checkpoint import read_checkpoint

            found = read_checkpoint(log.parent)
            if found:
                seconds[step], steps[step] = round(found[1]["seconds"]), found[1]["step"]
    facts = {
        "recipe": dataclasses.asdict(recipe),
        "revision": revision(),
        "steps": steps,
        "seconds": seconds,
        "quality": quality or {},
        "files": {
            path.relative_to(folder).as_posix(): sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != FILE
        },
    }
    (folder / FILE).write_text(json.dumps(facts, indent=2) + "\n")
