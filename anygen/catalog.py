"""Named presets and published parts: where they come from, under which licence, how large, and what they need."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A published part of models, which its user fetches: what it is, where from, and what one may do with it."""

    name: str
    role: str
    about: str
    licence: str
    needs: str
    source: str
    bytes: int

    def describe(self) -> dict[str, Any]:
        """The part's row in `anygen list --json`."""
        return {
            "name": self.name,
            "role": self.role,
            "about": self.about,
            "licence": self.licence,
            "needs": self.needs,
            "bytes": self.bytes,
            "source": self.source,
        }


PARTS = {
    part.name: part
    for part in (
        Part(
            name="imagebind_huge",
            role="encoder",
            about="ImageBind's towers for pictures, film, sound, text, depth, heat and motion, in one space of 1024",
            licence="CC-BY-NC-SA-4.0",
            needs="2.5 GB of memory for pictures, 0.4 GB for sound, in float32",
            source="https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth",
            bytes=4_803_147_960,  # of the values alone
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
    if name in PARTS:
        part = PARTS[name]
        raise ModelError(
            f"{name!r} is no model but an {part.role} under {part.licence}, a part of models; "
            f"fetch it from {part.source} and name it in a model's anygen.json"
        )
    if folder.is_dir():
        raise ModelError(f"{folder} is no model folder: it has no anygen.json")
    raise ModelError(f"unknown model {name!r}: it is neither a folder nor a preset; presets are {', '.join(PRESETS)}")
