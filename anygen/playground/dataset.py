"""Playground data sets on disk: sampled chats with their pictures, sounds and films rendered to files."""

import json
import os
import random
from collections.abc import Collection
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from anygen.error import DataError
from anygen.media import Audio, Video
from anygen.playground.chat import Chat, Part, clips_of, films_of, scenes_of
from anygen.playground.clip import Clip, Played
from anygen.playground.compositor import Compositor
from anygen.playground.dialogue import MEDIA, caption_of, sample_chat
from anygen.playground.film import FPS, FRAMES, Actor, Film
from anygen.playground.mixer import Mixer
from anygen.playground.projection import Projection
from anygen.playground.scene import Placed, Scene
from anygen.playground.sound import RATE

FOLDERS = {"image": "images", "audio": "sounds", "video": "films"}
_SUFFIXES = {"image": ".png", "audio": ".wav", "video": ".mp4"}


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


def film_to_json(film: Film) -> dict[str, Any]:
    """The film as plain values."""
    return {**asdict(film), "actors": [asdict(actor) for actor in film.actors]}


def film_from_json(values: dict[str, Any]) -> Film:
    """The film that `film_to_json` made these values of."""
    try:
        return Film(**{**values, "actors": tuple(Actor(**actor) for actor in values["actors"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"no film can be made of {str(values)[:200]}: {error}") from error


def write_dataset(
    directory: str | Path,
    n: int,
    seed: int = 0,
    split: str = "train",
    size: int = 64,
    task: str | None = None,
    media: Collection[str] = MEDIA,
) -> Path:
    """Write `n` sampled chats as `data.jsonl`, `images/NNNNNN.png` of `size` pixels, `sounds/....wav`, `films/....mp4`.

    Returns the folder. `media` of "image" alone gives chats for a model that cannot hear, with "video" there are films;
    one that has a soundtrack has it in its file, and where the assistant makes both the sound also follows on its own.
    The same arguments give the same bytes. `data.jsonl` appears last and at once: where it is, the data set is whole.
    `scene` in a line is the scene of its picture, a list where there are several; so are `clip` and `film`.
    """
    from anygen.training.data import DATA_FILE

    if n < 1:
        raise DataError(f"a data set has at least 1 chat, not {n}")
    if size < 16 or size % 16:
        raise DataError(f"a picture's side is a multiple of 16 pixels, not {size}")
    directory = Path(directory)
    file = directory / DATA_FILE
    if file.exists():
        raise DataError(f"{file} is there already; choose another folder or remove it")
    if "video" in media and size % 64:
        raise DataError(f"a film's side is a multiple of 64 pixels, not {size}")
    for kind in FOLDERS if "video" in media else MEDIA:
        try:
            (directory / FOLDERS[kind]).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"no data set can be written to {directory}: {error.strerror}") from error
    stream = random.Random(f"{seed}|{split}")
    writer = _Writer(directory, size)
    started = directory / f"{DATA_FILE}.{os.getpid()}"
    try:
        with started.open("w", encoding="utf-8") as out:
            for _ in range(n):
                print(json.dumps(writer.line(sample_chat(stream, task, split, media))), file=out)
        started.replace(file)
    finally:
        started.unlink(missing_ok=True)
    return directory


class _Writer:
    """Writes the media of chats to files that are numbered by kind."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory, self.size = directory, size
        self.compositor, self.mixer = Compositor(size), Mixer()
        self.written = dict.fromkeys(FOLDERS, 0)

    @cached_property
    def projection(self) -> Projection:
        """Made when the first film is written."""
        return Projection(self.size)

    def line(self, chat: Chat) -> dict[str, Any]:
        """A chat as a line of the data set, once its media are written."""
        turns = [{"role": turn["role"], "content": self._turn(turn["role"], turn["content"])} for turn in chat.messages]
        line: dict[str, Any] = {"messages": turns, "task": chat.task}
        known = {
            "scene": [*map(scene_to_json, scenes_of(chat))],
            "clip": [*map(clip_to_json, clips_of(chat))],
            "film": [*map(film_to_json, films_of(chat))],
        }
        return line | {key: values[0] if len(values) == 1 else values for key, values in known.items() if values}

    def _turn(self, role: str, parts: list[Part]) -> list[Part]:
        """The parts with paths; what the assistant makes has the caption that it is made from."""
        content = []
        for part, after in zip(parts, [*parts[1:], None], strict=True):
            sound = part["type"] == "video" and after is not None and after["type"] == "audio"
            if part["type"] == "text":
                content.append(part)
            elif content and "heard" in content[-1] and role == "user":
                del content[-1]["heard"]  # it is in the film's file
            else:
                path = self._write(part, after["clip"] if sound and after else None)
                said = {"caption": caption_of(part)} if role == "assistant" else {}
                content.append({"type": part["type"], "path": path, **said, **({"heard": True} if sound else {})})
        return [{key: value for key, value in part.items() if key != "heard"} for part in content]

    def _write(self, part: Part, sound: Clip | None) -> str:
        import soundfile
        from PIL import Image

        kind = part["type"]
        self.written[kind] += 1
        path = f"{FOLDERS[kind]}/{self.written[kind]:06d}{_SUFFIXES[kind]}"
        file = self.directory / path
        if kind == "image":
            Image.fromarray(self.compositor.render([part["scene"]])[0].permute(1, 2, 0).numpy()).save(file)
        elif kind == "audio":
            soundfile.write(file, self.mixer.render([part["clip"]])[0].numpy(), RATE, subtype="PCM_16")
        else:
            film_video(part["film"], sound, self.projection, self.mixer).save(file)
        return path


def film_video(film: Film, sound: Clip | None, projection: Projection, mixer: Mixer | None) -> Video:
    """A film as a video, with its soundtrack if any, which ends with the film."""
    frames = projection.render([film])[0].permute(0, 2, 3, 1).numpy()
    heard = None
    if sound and mixer:
        heard = Audio(mixer.render([sound])[0, : FRAMES * RATE // FPS].numpy(), RATE)
    return Video(frames, FPS, audio=heard)
