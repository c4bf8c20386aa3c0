"""Named presets: where their parts come from, under which licence, how large they are, what they need."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anygen.error import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model with a name: the folder it lies in and what one should know before using it."""

    name: str
    about: str
    licence: str
    needs: str
    folder: Path

    @property
    def bytes(self) -> int:
        """Size of all files of the folder; 0 if it is not here."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def describe(self) -> dict[str, Any]:
        """The preset's row in `anygen list --json`."""
        reads, writes = modalities(self.folder)
        return {
            "name": self.name,
            "about": self.about,
            "licence": self.licence,
            "needs": self.needs,
            "reads": reads,
            "writes": writes,
            "bytes": self.bytes,
            "folder": str(self.folder),
        }


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="nano",
            about="trained by this project from nothing on its playground, comes with the package",
            licence="Apache-2.0",
            needs="a CPU, 1 GB of memory",
            folder=Path(__file__).parent / "models" / "nano",
        ),
    )
}


def modalities(folder: Path) -> tuple[list[str], list[str]]:
    """What a model folder reads and what it writes, by its anygen.json; two empty lists if that cannot be read."""
    try:
        parts = json.loads((folder / "anygen.json").read_text(encoding="utf-8"))
        sides = [set(parts[side]) for side in ("encoders", "generators")]
    except (OSError, ValueError, KeyError, TypeError):
        return [], []
    reads, writes = (["text", *(m for m in ("image", "audio", "video") if m in side)] for side in sides)
    return reads, writes


def find(model: str | Path | None = None) -> Path:
    """The folder of a preset's name or of a path; without either, of the bundled nano."""
    name = "nano" if model is None else str(model)
    folder = PRESETS[name].folder if name in PRESETS else Path(name)
    if (folder / "anygen.json").is_file():
        return folder
    if name in PRESETS:
        raise ModelError(
            f"preset {name!r} is not in this installation: {folder} has no anygen.json; install anygen again"
        )
    if folder.is_dir():
        raise ModelError(f"{folder} is no model folder: it has no anygen.json")
    raise ModelError(f"unknown model {name!r}: it is neither a folder nor a preset; presets are {', '.join(PRESETS)}")
