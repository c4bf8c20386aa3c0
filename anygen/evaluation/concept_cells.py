"""The cells of own concepts: what a model that has learnt some makes and says of them, on held-out requests."""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from anygen.error import ModelError
from anygen.evaluation.case import Case, Outcome, Result, ask, keep, tabulate, time_cells
from anygen.evaluation.cells import World, answered, case, describe, only_text, said
from anygen.evaluation.judge import Judge, shows
from anygen.playground.compositor import Compositor
from anygen.playground.concept import Concept, events_of, own_chat, plainly, sprites_of
from anygen.playground.concept_folder import concepts_of
from anygen.playground.mixer import Mixer
from anygen.playground.reading import plain
from anygen.playground.scene import Scene

USUAL = 60  # requests of a cell and a concept when nobody says

OwnCell = Callable[[Concept, World, random.Random, str], Iterator[Case]]
"""An endless stream of cases of one concept."""


class OwnWorld(World):
    """A world in which the concepts are things like others; the ear does not know what they sound like."""

    def __init__(self, concepts: Sequence[Concept], size: int = 64) -> None:
        extra = sprites_of(concepts)
        self.compositor, self.judge = Compositor(size, extra=extra), Judge(extra=extra)
        self.mixer = Mixer(extra=events_of(concepts))


def _drawn(world: World, concept: Concept, scene: Scene, words: str, row: str) -> Callable[[Any], Outcome]:
    """One picture that shows the scene, with the concept in it."""
    scene = plainly(scene)
    there = any(placed.thing == concept.name for placed in scene.things)

    def check(reply: Any) -> Outcome:
        verdict = world.look(reply.images[0]) if len(reply.images) == 1 else None
        facts = shows(verdict, scene) if verdict else {}
        rows = {row: bool(facts) and facts["all"]}
        seen = verdict is not None and any(item.thing == concept.name for item in verdict.things)
        rows |= {f"{row}, it is there": seen} if there else {}
        rows[f"{row}, words beside the picture"] = plain(reply.text) == plain(words)
        saw = describe(verdict) if verdict else f"{len(reply.images)} pictures"
        rows = {f"{concept.name}: {name}": right for name, right in rows.items()}
        return Outcome(rows=rows, saw=saw)

    return check


def drawings(concept: Concept, world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Requests to draw it, alone, several of it, and with other things."""
    while True:
        chat = own_chat(concept, stream, "draw", split)
        check = _drawn(world, concept, chat.facts["target"], said(chat), "drawn")
        yield case(world, stream, "text->image", chat, check)


def edits(concept: Concept, world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Pictures to be edited that show it, or shall."""
    while True:
        chat = own_chat(concept, stream, "edit", split)
        check = _drawn(world, concept, chat.facts["target"], said(chat), "edited")
        yield case(world, stream, "image->image", chat, check)


def _told(concept: Concept, chat: Any, row: str, *more: str) -> Callable[[Any], Outcome]:
    """The text says word for word what is right, and there is nothing else."""
    rows = [f"{concept.name}: {name}" for name in (row, *more)]
    if "accept" in chat.facts:
        return answered(chat.facts, *rows)

    def check(reply: Any) -> Outcome:
        right = only_text(reply) and plain(reply.text) == plain(said(chat))
        return Outcome(rows=dict.fromkeys(rows, right), saw=reply.text, values={"answer": reply.text})

    return check


def sights(concept: Concept, world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Pictures of it to describe, questions, and whether it is there."""
    for task, row in cycle((("caption", "caption"), ("vqa", "question"), ("pope", "is there"))):
        chat = own_chat(concept, stream, task, split)
        more = (f"question: {chat.facts['question']}",) if task == "vqa" else ()
        yield case(world, stream, "image->text", chat, _told(concept, chat, row, *more))


def listenings(concept: Concept, world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """The same of its sounds."""
    for task, row in cycle((("hear", "sound told"), ("sound_vqa", "question"), ("sound_pope", "is heard"))):
        chat = own_chat(concept, stream, task, split)
        yield case(world, stream, "audio->text", chat, _told(concept, chat, row))


CELLS: dict[str, OwnCell] = {
    "text->image": drawings,
    "image->text": sights,
    "image->image": edits,
    "audio->text": listenings,
}


def concept_suite(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """Asks a model for the concepts that are in its folder; `limit` is per cell and concept."""
    place = engine.model.folder
    concepts = concepts_of(place) if place is not None else []
    if not concepts:
        raise ModelError(f"{engine.name} has learnt no concept of one's own; `anygen train concept` teaches one")
    world = OwnWorld(concepts)
    results: list[Result] = []
    asked: list[Case] = []
    for concept in concepts:
        for name, cell in CELLS.items():
            if cell is listenings and not (concept.sounds and "audio" in engine.reads):
                continue
            stream = random.Random(f"concept|{concept.name}|{name}|{seed}|{split}")
            source = cell(concept, world, stream, split)
            cases = [next(source) for _ in range(limit or USUAL)]
            results += ask(engine, cases)
            asked += cases
    if folder:
        keep(results, folder)
    return {"cells": tabulate(results), "seconds": time_cells(engine, asked), "measures": {}}
