"""Playground data sets on disk: sampled chats with their pictures rendered to files."""

import json
import os
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anygen.error import DataError
from anygen.playground.caption import caption
from anygen.playground.chat import scenes_of
from anygen.playground.dialogue import sample_chat
from anygen.playground.scene import Placed, Scene


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """The scene as plain values."""
    return {**asdict(scene), "things": [asdict(placed) for placed in scene.things]}


def scene_from_json(values: dict[str, Any]) -> Scene:
    """The scene that `scene_to_json` made these values of."""
    try:
        return Scene(**{**values, "things": tuple(Placed(**placed) for placed in values["things"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"no scene can be made of {str(values)[:200]}: {error}") from error


def write_dataset(
    directory: str | Path, n: int, seed: int = 0, split: str = "train", size: int = 64, task: str | None = None
) -> Path:
    """Write `n` sampled chats as `data.jsonl` and `images/NNNNNN.png` of `size` pixels; returns the folder.

    The same arguments give the same bytes. `data.jsonl` appears last and at once: where it is, the data set is whole.
    `scene` in a line is the scene of its picture, a list where there are several.
    """
    from PIL import Image

    from anygen.playground.compositor import Compositor
    from anygen.training.data import DATA_FILE

    if n < 1:
        raise DataError(f"a data set has at least 1 chat, not {n}")
    if size < 16 or size % 16:
        raise DataError(f"a picture's side is a multiple of 16 pixels, not {size}")
    directory = Path(directory)
    file = directory / DATA_FILE
    if file.exists():
        raise DataError(f"{file} is there already; choose another folder or remove it")
    (directory / "images").mkdir(parents=True, exist_ok=True)
    stream = random.Random(f"{seed}|{split}")
    compositor = Compositor(size)
    started = directory / f"{DATA_FILE}.{os.getpid()}"
    pictures = 0
    try:
        with started.open("w", encoding="utf-8") as out:
            for _ in range(n):
                chat = sample_chat(stream, task, split)
                scenes = scenes_of(chat)
                paths = []
                for pixels in compositor.render(scenes) if scenes else ():
                    pictures += 1
                    paths.append(f"images/{pictures:06d}.png")
                    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(directory / paths[-1])
                print(json.dumps(_line(chat.messages, chat.task, scenes, paths)), file=out)
        started.replace(file)
    finally:
        started.unlink(missing_ok=True)
    return directory


def _picture(part: dict[str, Any], path: str, role: str) -> dict[str, Any]:
    """A picture's part; one that the assistant draws has the caption that it is drawn from."""
    drawn = {"caption": caption(part["scene"])} if role == "assistant" else {}
    return {"type": "image", "path": path, **drawn}


def _line(messages: tuple[dict[str, Any], ...], task: str, scenes: list[Scene], paths: list[str]) -> dict[str, Any]:
    rest = iter(paths)
    turns = [
        {
            "role": message["role"],
            "content": [
                _picture(part, next(rest), message["role"]) if part["type"] == "image" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]
    line: dict[str, Any] = {"messages": turns, "task": task}
    if scenes:
        line["scene"] = scene_to_json(scenes[0]) if len(scenes) == 1 else [scene_to_json(scene) for scene in scenes]
    return line
