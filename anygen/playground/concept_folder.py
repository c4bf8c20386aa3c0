"""Own concepts on disk: a folder for each, with its name, its pictures and its recordings, inside a model's folder."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anygen.error import ModelError
from anygen.playground.compositor import BAKED
from anygen.playground.concept import Concept
from anygen.playground.noun import Noun
from anygen.playground.sound import EVENT, RATE

CONCEPTS = "concepts"
"""The folder of a model in which they are."""

_FILE = "concept.json"


def slug(name: str) -> str:
    """A folder's name for a concept's: 'my-robot'."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def save_concept(concept: Concept, folder: Path) -> None:
    """Writes the concept's folder."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for number, look in enumerate(concept.looks):
        Image.fromarray(look).save(folder / f"look-{number:02d}.png")
    for number, sound in enumerate(concept.sounds):
        soundfile.write(str(folder / f"sound-{number:02d}.flac"), sound, RATE)
    about = {"name": concept.name, "like": concept.like, "looks": len(concept.looks), "sounds": len(concept.sounds)}
    (folder / _FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_concept(folder: Path) -> Concept:
    """Reads what `save_concept` wrote."""
    import soundfile

    try:
        about: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        looks = []
        for number in range(about["looks"]):
            with Image.open(folder / f"look-{number:02d}.png") as file:
                looks.append(np.array(file.convert("RGBA")))
        read = [soundfile.read(str(folder / f"sound-{n:02d}.flac"), dtype="int16") for n in range(about["sounds"])]
        noun, like = Noun.of(about["name"]), str(about["like"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{folder} is no concept that was learnt: {error}") from error
    if not looks or any(look.shape != (BAKED, BAKED, 4) for look in looks):
        raise ModelError(f"{folder} has no pictures of {BAKED} x {BAKED} pixels")
    if any(rate != RATE or sound.ndim != 1 or len(sound) > EVENT for sound, rate in read):
        raise ModelError(f"{folder}: a recording is not one channel of at most {EVENT} samples at {RATE} a second")
    return Concept(noun=noun, like=like, looks=tuple(looks), sounds=tuple(sound for sound, _ in read))


def concepts_of(model: Path) -> list[Concept]:
    """The concepts that the model in this folder has learnt, by name."""
    return [load_concept(file.parent) for file in sorted((model / CONCEPTS).glob(f"*/{_FILE}"))]


def save_concepts(concepts: Sequence[Concept], model: Path) -> None:
    """Writes concepts into the folder of the model that has learnt them."""
    for concept in concepts:
        save_concept(concept, model / CONCEPTS / slug(concept.name))
