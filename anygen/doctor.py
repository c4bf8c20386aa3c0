"""What is wrong with an installation or a model folder, each fault in one line with the way out."""

import hashlib
import json
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anygen import catalog
from anygen.error import ModelError

INSTALL = "install again with `make run`, or `pip install -c constraints.txt anygen`"
HEAVY = ("torch", "transformers", "diffusers")


def diagnose(model: str | Path | None = None) -> list[str]:
    """Every fault found in the installation and in one model; an empty list is good health."""
    return [*installation(), *folder(model)]


def installation() -> list[str]:
    """Faults of the Python environment."""
    return [*_versions(), *_traps(), *_imports()]


def _versions() -> Iterator[str]:
    from packaging.requirements import Requirement

    try:
        needed = [Requirement(line) for line in metadata.requires("anygen") or []]
    except metadata.PackageNotFoundError:
        yield "anygen itself is not installed, so versions cannot be checked: run `make run`"
        return
    for need in needed:
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield f"{need.name} is not installed: {INSTALL}"
            continue
        if not need.specifier.contains(version, prereleases=True):
            yield f"{need.name} is {version}, but anygen needs {need.specifier}: {INSTALL}"


def _traps() -> Iterator[str]:
    # transformers imports these as soon as they are installed; built for CUDA, they fail beside a CPU build of torch
    for name in ("torchvision", "torchaudio"):
        if find_spec(name) and (fault := _import(name)):
            yield f"{name} is installed but broken, and breaks transformers too ({fault}): pip uninstall {name}"


def _imports() -> Iterator[str]:
    for name in HEAVY:
        if find_spec(name) and (fault := _import(name)):
            yield f"{name} does not import ({fault}): {INSTALL}"


def _import(name: str) -> str | None:
    try:
        import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return None


def folder(model: str | Path | None = None) -> list[str]:
    """Faults of a model folder: anygen.json, every file of provenance.json, every safetensors header."""
    try:
        root = catalog.find(model)
    except ModelError as error:
        return [str(error)]
    return [*(_json(root / "anygen.json") or _parts(root)), *_provenance(root), *_tensors(root)]


def modalities(model: str | Path | None = None) -> tuple[list[str], list[str]]:
    """What a model reads and what it writes; two empty lists if there is no telling."""
    try:
        return catalog.modalities(catalog.find(model))
    except ModelError:
        return [], []


def _json(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return [f"{path} cannot be read as JSON ({error}): get the model again"]
    if not isinstance(content, dict):
        return [f"{path} holds a {type(content).__name__}, not an object: get the model again"]
    return []


def _parts(root: Path) -> Iterator[str]:
    """Faults of what generators borrow: a part that neither the generator's own folder nor its lender's has."""
    places = {modality: options.get("path") for modality, options in _generators(root).items()}
    for modality, options in _generators(root).items():
        lender = options.get("base")
        if lender is None or not all(isinstance(places.get(m), str) for m in (modality, lender)):
            continue
        own, lent = root / str(places[modality]), root / str(places[lender])
        index = own / "model_index.json"
        if not lent.is_dir() or not index.is_file() or _json(index):
            continue  # a reference to elsewhere, or a fault that provenance or opening names
        for name, kind in json.loads(index.read_text()).items():
            if isinstance(kind, list) and kind[0] and not (own / name).is_dir() and not (lent / name).is_dir():
                yield f"the {modality} generator has no {name}, neither in {own} nor in {lent}: get the model again"


def _generators(root: Path) -> dict[str, dict[str, Any]]:
    found = json.loads((root / "anygen.json").read_text()).get("generators")
    return {m: o for m, o in found.items() if isinstance(o, dict)} if isinstance(found, dict) else {}


def _provenance(root: Path) -> Iterator[str]:
    path = root / "provenance.json"
    if not path.is_file():
        yield f"{path} is missing, so the files cannot be verified: get the model again"
        return
    if faults := _json(path):
        yield from faults
        return
    files = json.loads(path.read_text()).get("files")
    if not isinstance(files, dict):
        yield f"{path} has no 'files' with their sha256: get the model again"
        return
    for name, expected in files.items():
        if not (root / name).is_file():
            yield f"{root / name} is missing: get the model again"
        elif (found := digest(root / name)) != expected:
            what = f"sha256 {found[:12]}..., not {str(expected)[:12]}..."
            yield f"{root / name} was changed or damaged ({what}): get the model again"


def _tensors(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.safetensors")):
        if fault := header_fault(path):
            yield f"{path} is damaged: {fault}: get the model again"


def digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def header_fault(path: Path) -> str | None:
    """What is wrong with a safetensors file by its header and its length; None if nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or 8 + length > size:
            return f"truncated in its header, {size} bytes"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            return f"its header is no safetensors header ({type(error).__name__})"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"{size} bytes, but its header says {expected}"
