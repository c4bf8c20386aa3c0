"""Playground data sets on disk: sampled chats with their pictures and sounds rendered to files."""

import json
import os
import random
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anygen.error import DataError
from anygen.playground.caption import caption
from anygen.playground.chat import Chat, clips_of, scenes_of
from anygen.playground.clip import Clip, Played
from anygen.playground.dialogue import MEDIA, sample_chat
from anygen.playground.hearing import sound_caption
from anygen.playground.scene import Placed, Scene
from anygen.playground.sound import RATE

FOLDERS = {"image": "images", "audio": "sounds"}


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """The scene as plain values."""
    return {**asdict(scene), "things": [asdict(placed) for placed in scene.things]}


def scene_from_json(values: dict[str, Any]) -> Scene:
    """The scene that `scene_to_json` made these values of."""
    try:
        return Scene(**{**values, "things": tuple(Placed(**placed) for placed in values["things"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"no scene can be made of {str(values)[:200]}: {error}") from error


def clip_to_json(clip: Clip) -> dict[str, Any]:
    """The clip as plain values."""
    return {**asdict(clip), "played": [asdict(played) for played in clip.played]}


def clip_from_json(values: dict[str, Any]) -> Clip:
    """The clip that `clip_to_json` made these values of."""
    try:
        return Clip(**{**values, "played": tuple(Played(**played) for played in values["played"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"no clip can be made of {str(values)[:200]}: {error}") from error


def write_dataset(
    directory: str | Path,
    n: int,
    seed: int = 0,
    split: str = "train",
    size: int = 64,
    task: str | None = None,
    media: Collection[str] = MEDIA,
) -> Path:
    """Write `n` sampled chats as `data.jsonl`, `images/NNNNNN.png` of `size` pixels and `sounds/NNNNNN.wav`.

    Returns the folder. `media` of "image" alone gives chats for a model that cannot hear. The same arguments give the
    same bytes. `data.jsonl` appears last and at once: where it is, the data set is whole. `scene` in a line is the
    scene of its picture, a list where there are several; so is `clip`.
    """
    from anygen.playground.compositor import Compositor
    from anygen.playground.mixer import Mixer
    from anygen.training.data import DATA_FILE

    if n < 1:
        raise DataError(f"a data set has at least 1 chat, not {n}")
    if size < 16 or size % 16:
        raise DataError(f"a picture's side is a multiple of 16 pixels, not {size}")
    directory = Path(directory)
    file = directory / DATA_FILE
    if file.exists():
        raise DataError(f"{file} is there already; choose another folder or remove it")
    for kind in FOLDERS.values():
        (directory / kind).mkdir(parents=True, exist_ok=True)
    stream = random.Random(f"{seed}|{split}")
    compositor, mixer = Compositor(size), Mixer()
    started = directory / f"{DATA_FILE}.{os.getpid()}"
    pictures = sounds = 0
    try:
        with started.open("w", encoding="utf-8") as out:
            for _ in range(n):
                chat = sample_chat(stream, task, split, media)
                scenes, clips = scenes_of(chat), clips_of(chat)
                images = [f"{FOLDERS['image']}/{pictures + i:06d}.png" for i in range(1, len(scenes) + 1)]
                audios = [f"{FOLDERS['audio']}/{sounds + i:06d}.wav" for i in range(1, len(clips) + 1)]
                pictures, sounds = pictures + len(scenes), sounds + len(clips)
                _draw(compositor, scenes, [directory / path for path in images])
                _play(mixer, clips, [directory / path for path in audios])
                print(json.dumps(_line(chat, {"image": iter(images), "audio": iter(audios)})), file=out)
        started.replace(file)
    finally:
        started.unlink(missing_ok=True)
    return directory


def _draw(compositor: Any, scenes: list[Scene], paths: list[Path]) -> None:
    from PIL import Image

    for pixels, path in zip(compositor.render(scenes) if scenes else (), paths, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)


def _play(mixer: Any, clips: list[Clip], paths: list[Path]) -> None:
    import soundfile

    for samples, path in zip(mixer.render(clips) if clips else (), paths, strict=True):
        soundfile.write(path, samples.numpy(), RATE, subtype="PCM_16")


def _file(part: dict[str, Any], path: str, role: str) -> dict[str, Any]:
    """A medium's part; one that the assistant makes has the caption that it is made from."""
    said = caption(part["scene"]) if part["type"] == "image" else sound_caption(part["clip"])
    return {"type": part["type"], "path": path, **({"caption": said} if role == "assistant" else {})}


def _line(chat: Chat, paths: dict[str, Iterator[str]]) -> dict[str, Any]:
    turns = [
        {
            "role": message["role"],
            "content": [
                part if part["type"] == "text" else _file(part, next(paths[part["type"]]), message["role"])
                for part in message["content"]
            ],
        }
        for message in chat.messages
    ]
    line: dict[str, Any] = {"messages": turns, "task": chat.task}
    known = {"scene": [*map(scene_to_json, scenes_of(chat))], "clip": [*map(clip_to_json, clips_of(chat))]}
    return line | {key: values[0] if len(values) == 1 else values for key, values in known.items() if values}
