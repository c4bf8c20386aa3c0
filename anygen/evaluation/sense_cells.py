"""The cells of the table in which depth, heat or motion is given: held-out requests and their checks."""

import random
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from anygen.evaluation.case import Case, Outcome
from anygen.evaluation.cells import Cell, World, answered, captioned, case, describe
from anygen.evaluation.judge import shows
from anygen.playground.language import facts_of, parse_caption, sample_chat
from anygen.playground.scene import Scene


def _told(sense: str) -> Cell:
    """Maps to describe and to ask about in turn: each fact that the caption of their picture states, and all."""

    def cases(world: World, stream: random.Random, split: str) -> Iterator[Case]:
        for task in cycle((sense, f"{sense}_vqa")):
            chat = sample_chat(stream, task, split)
            if task == sense:
                check = captioned(chat.facts["scene"], "caption: ", stream, split)
            else:
                check = answered(chat.facts, "question", f"question: {chat.facts['question']}")
            yield case(world, stream, f"{sense}->text", chat, check)

    return cases


def _drawn(sense: str) -> Cell:
    """Scenes to draw from what was sensed of them, or from how somebody moved."""

    def cases(world: World, stream: random.Random, split: str) -> Iterator[Case]:
        while True:
            chat = sample_chat(stream, f"{sense}_draw", split)
            check = _pictured(world, chat.facts["target"], f"motion: {chat.facts.get('motion')}")
            yield case(world, stream, f"{sense}->image", chat, check)

    return cases


def _pictured(world: World, scene: Scene, row: str) -> Callable[[Any], Outcome]:
    """One picture that shows the things on the backdrop; of motion, where and how large they are counts as well."""
    moved = not row.endswith("None")

    def check(reply: Any) -> Outcome:
        alone = len(reply.images) == 1 and all(part.type in ("text", "image") for part in reply)
        verdict = world.look(reply.images[0]) if alone else None
        facts = shows(verdict, scene) if verdict else {}
        plain = bool(facts) and facts["things_right"] and facts["count_right"] and facts["backdrop_right"]
        whole = bool(facts) and facts["all"]
        words = parse_caption(reply.text)
        rows = {"thing, size, place and backdrop": whole, row: whole} if moved else {"things and backdrop": plain}
        rows |= {"things and backdrop": plain} if moved else {"everything": whole}
        rows["words beside the picture"] = words is not None and words.agrees(facts_of(scene))
        return Outcome(rows=rows, saw=describe(verdict) if verdict else f"{len(reply.images)} pictures")

    return check


def imu_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """How somebody moved who carried the sensor."""
    while True:
        chat = sample_chat(stream, "imu", split)
        yield case(world, stream, "imu->text", chat, answered(chat.facts, "motion", f"motion: {chat.facts['motion']}"))


MATRIX: dict[str, tuple[Cell, int]] = {
    "depth->text": (_told("depth"), 300),
    "thermal->text": (_told("thermal"), 300),
    "imu->text": (imu_to_text, 200),
    "depth->image": (_drawn("depth"), 200),
    "thermal->image": (_drawn("thermal"), 200),
    "imu->image": (_drawn("imu"), 200),
}
"""The cells with these senses and how many of each are asked when nobody says."""

TARGETS = {
    "depth->text": ("caption: all right", 0.90),
    "thermal->text": ("caption: all right", 0.90),
    "imu->text": ("motion", 0.90),
    "depth->image": ("things and backdrop", 0.90),
    "thermal->image": ("things and backdrop", 0.90),
    "imu->image": ("thing, size, place and backdrop", 0.90),
}
"""For each cell its headline and the least share that is wanted."""
