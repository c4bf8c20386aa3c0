"""One request with its check, asking many of them, and what is kept of the answers."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anygen.error import AnyGenError
from anygen.evaluation.metrics import share, spread
from anygen.evaluation.sheet import sheet
from anygen.media import Audio, Image, Text, Video, messages
from anygen.sensed import Depth, Imu, Thermal

BATCH = 32
TIMED = 12  # requests of a cell that are asked again one by one, for their seconds
SHOWN = 64  # pictures on a contact sheet
PLOT = (128, 128)  # pixels of a sound on it

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a check says of an answer: right or wrong for each row of the table, the headline first, and what it saw."""

    rows: dict[str, bool]
    saw: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A request (chat messages of values), what it should give, and the check of the reply.

    `cell` names what goes in and what comes out, as in "image->text"; a cell is a line of the matrix. `answer` is one
    right answer: what it holds passes the check.
    """

    cell: str
    request: list[dict[str, Any]]
    expected: str
    answer: tuple[Any, ...]
    seed: int
    check: Callable[[Any], Outcome]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A case with its reply (None where the engine refused) and its outcome."""

    case: Case
    reply: Any
    outcome: Outcome


def ask(engine: Any, cases: Sequence[Case], progress: Progress | None = None) -> list[Result]:
    """Ask everything in batches. A request that the engine refuses is wrong in its headline row, and says why."""
    results: list[Result] = []
    for start in range(0, len(cases), BATCH):
        chunk = cases[start : start + BATCH]
        for case, (reply, refusal) in zip(chunk, _replies(engine, chunk), strict=True):
            outcome = case.check(reply) if reply is not None else Outcome(rows={"answered": False}, saw=refusal)
            results.append(Result(case=case, reply=reply, outcome=outcome))
        if progress:
            progress(chunk[0].cell, len(results), len(cases))
    return results


def _replies(engine: Any, cases: Sequence[Case]) -> Iterator[tuple[Any, str]]:
    requests, seeds = [case.request for case in cases], [case.seed for case in cases]
    try:
        replies = engine.generate_batch(requests, seed=seeds)
    except AnyGenError as error:
        if len(cases) == 1:
            yield None, str(error)
        else:
            for case in cases:
                yield from _replies(engine, [case])
    else:
        yield from ((reply, "") for reply in replies)


def tabulate(results: Sequence[Result]) -> dict[str, dict[str, dict]]:
    """The table of all cells: cell, then row, then {"right", "low", "high", "n"}."""
    verdicts: dict[str, dict[str, list[bool]]] = {}
    for result in results:
        rows = verdicts.setdefault(result.case.cell, {})
        for row, right in result.outcome.rows.items():
            rows.setdefault(row, []).append(right)
    return {cell: {row: share(values) for row, values in rows.items()} for cell, rows in verdicts.items()}


def time_cells(engine: Any, cases: Sequence[Case]) -> dict[str, dict]:
    """Seconds of a request on its own, by cell, over the first few of each; the very first of all is only a warm-up."""
    seconds: dict[str, list[float]] = {}
    for number, case in enumerate([*cases[:1], *cases]):
        taken = seconds.setdefault(case.cell, [])
        if len(taken) == TIMED:
            continue
        began = time.perf_counter()
        try:
            engine.generate(case.request, seed=case.seed)
        except AnyGenError:
            continue
        if number:
            taken.append(time.perf_counter() - began)
    return {cell: spread(taken) for cell, taken in seconds.items()}


def keep(results: Sequence[Result], folder: Path) -> None:
    """Write items.jsonl, every picture and sound of requests and answers, and a contact sheet for each cell."""
    (folder / "media").mkdir(parents=True, exist_ok=True)
    with (folder / "items.jsonl").open("w", encoding="utf-8") as out:
        for number, result in enumerate(results):
            case, outcome = result.case, result.outcome
            line = {
                "item": number,
                "cell": case.cell,
                "seed": case.seed,
                "request": [
                    {"role": message.role, "content": _written(message.parts, folder, f"{number:05d}-asked-{turn}")}
                    for turn, message in enumerate(messages(case.request), 1)
                ],
                "expected": case.expected,
                "answer": _written([part.value for part in result.reply or ()], folder, f"{number:05d}-answer"),
                "saw": outcome.saw,
                "right": outcome.rows,
            }
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    for cell in dict.fromkeys(result.case.cell for result in results):
        chosen = [result for result in results if result.case.cell == cell]
        if picture := contact_sheet(chosen):
            picture.save(folder / f"{re.sub(r'[^a-z+]+', '-', cell)}.png")


def _written(values: Sequence[Any], folder: Path, stem: str) -> list[dict[str, str]]:
    """Values as JSON parts; a medium goes to a file."""
    parts = []
    for index, value in enumerate(values, 1):
        if isinstance(value, Text):
            parts.append({"type": "text", "text": value.text})
        else:
            path = f"media/{stem}-{index}{value.suffix}"
            value.save(folder / path)
            parts.append({"type": value.type, "path": path})
    return parts


def contact_sheet(results: Sequence[Result], most: int = SHOWN) -> Any:
    """The media of answers, or else of requests, with what was wanted, bordered by right or wrong; None if none.

    A sound is shown by its waveform and spectrogram, a film by four of its frames.
    """
    pictures, captions, right = [], [], []
    for result in results:
        answered = [part.value for part in result.reply or () if isinstance(part.value, Image | Audio | Video)]
        asked = [part for message in messages(result.case.request) for part in message.parts]
        for medium in answered or [part for part in asked if not isinstance(part, Text)][-1:]:
            pictures.append(_shown(medium))
            said = f" > {result.reply.text}" if result.reply is not None and not answered else ""
            captions.append(result.case.expected + said)
            right.append(next(iter(result.outcome.rows.values())))
    return sheet(pictures[:most], captions[:most], right=right[:most]) if pictures else None


def _shown(medium: Image | Audio | Video | Depth | Thermal | Imu) -> np.ndarray:
    if isinstance(medium, Video):
        return stills(medium)
    if isinstance(medium, Depth | Thermal):
        return medium.grey()
    return medium.pixels if isinstance(medium, Image) else medium.plot(*PLOT).pixels


def stills(video: Video) -> np.ndarray:
    """Four frames of a film in a square: uint8 [2 * height, 2 * width, 3]."""
    frames = [video.frames[round(i * (len(video.frames) - 1) / 3)] for i in range(4)]
    return np.concatenate([np.concatenate(frames[:2], 1), np.concatenate(frames[2:], 1)], 0)
