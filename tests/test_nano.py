"""The real thing: the bundled nano answers requests of each kind, and the judge and the facts agree often enough."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

import anygen
from anygen.catalog import PRESETS
from anygen.doctor import folder
from anygen.evaluation.cells import World
from anygen.evaluation.ear import Ear, sounds_like
from anygen.evaluation.judge import Judge, shows
from anygen.mel import RATE
from anygen.playground.chat import Chat
from anygen.playground.clip import Clip, Player
from anygen.playground.compositor import Compositor
from anygen.playground.film import sample_film, settle
from anygen.playground.language import (
    answer_right,
    caption,
    film_caption,
    parse_caption,
    parse_film,
    parse_sound,
    sample_chat,
    sound_caption,
)
from anygen.playground.mixer import Mixer
from anygen.playground.scene import sample_scene
from anygen.playground.sound import SOUNDS
from anygen.playground.watching import film_facts

NANO = PRESETS["nano"].folder


@pytest.fixture(scope="module")
def engine() -> anygen.Engine:
    return anygen.load()


def asked(task: str, n: int) -> list[Chat]:
    stream = random.Random(f"test|{task}")
    return [sample_chat(stream, task, "heldout") for _ in range(n)]


def requests(chats: list[Chat]) -> list[list[object]]:
    compositor = Compositor(64)

    def value(part: dict) -> object:
        if part["type"] == "text":
            return part["text"]
        return anygen.Image(compositor.render([part["scene"]])[0].permute(1, 2, 0).numpy())

    return [[value(part) for part in chat.messages[0]["content"]] for chat in chats]


def test_the_folder_is_whole_and_small() -> None:
    assert folder("nano") == []
    sizes = [path.stat().st_size for path in NANO.rglob("*") if path.is_file()]
    assert max(sizes) < 45e6 and sum(sizes) < 100e6
    assert not any("_name_or_path" in path.read_text() for path in NANO.rglob("*.json"))


# Floors a little below what the bundled weights reach (docs/nano.md), far above guessing; raise them with the weights.
@pytest.mark.parametrize(("task", "least"), [("world", 15), ("draw", 20), ("vqa", 17)])
def test_words_are_right(engine: anygen.Engine, task: str, least: int) -> None:
    chats = asked(task, 24)
    replies = engine.generate_batch(requests(chats), seed=0)
    right = [answer_right(reply.text.split(":", 1)[-1], chat.facts) for reply, chat in zip(replies, chats, strict=True)]
    assert sum(right) >= least


def test_captions_name_something_that_is_there(engine: anygen.Engine) -> None:
    chats = asked("caption", 24)
    replies = engine.generate_batch(requests(chats), seed=0, to="text")
    named = 0
    for reply, chat in zip(replies, chats, strict=True):
        claimed = parse_caption(reply.text)
        there = {placed.thing for placed in chat.facts["scene"].things}
        named += claimed is not None and any(name in there for name, _ in claimed.things)
    assert named >= 21  # of 129 things, so that guessing names one or none


def test_pictures_have_their_backdrop(engine: anygen.Engine) -> None:
    chats = asked("draw", 12)
    replies = engine.generate_batch(requests(chats), seed=0)
    pictures = [reply.images[0] for reply in replies if reply.images]
    wanted = [chat.facts["target"].backdrop for reply, chat in zip(replies, chats, strict=True) if reply.images]
    assert len(pictures) >= 10
    pixels = torch.from_numpy(np.stack([np.array(picture.pixels) for picture in pictures])).permute(0, 3, 1, 2)
    seen = [verdict.backdrop for verdict in Judge(64).look(pixels)]
    assert sum(a == b for a, b in zip(seen, wanted, strict=True)) >= 10


def marks_of(engine: anygen.Engine, kind: str, stream: random.Random) -> list[dict[str, bool]]:
    """What the judge says of sixteen held-out scenes that are asked for by their captions."""
    scenes = [sample_scene(stream, kind, "heldout") for _ in range(16)]
    replies = engine.generate_batch([f"Draw {caption(scene)}." for scene in scenes], seed=0)
    pixels = torch.from_numpy(np.stack([np.array(reply.images[0].pixels) for reply in replies])).permute(0, 3, 1, 2)
    return [shows(seen, scene) for seen, scene in zip(Judge(64).look(pixels), scenes, strict=True)]


def test_single_things_are_drawn(engine: anygen.Engine) -> None:
    marks = marks_of(engine, "one", random.Random("singles"))
    assert sum(mark["things_right"] for mark in marks) >= 12  # of 129 things
    assert sum(mark["backdrop_right"] for mark in marks) >= 14


def test_pairs_stand_in_their_relation(engine: anygen.Engine) -> None:
    marks = marks_of(engine, "pair", random.Random("pairs"))
    assert sum(mark["all"] for mark in marks) >= 9


def heard_of(engine: anygen.Engine, clips: list[Clip]) -> list[dict[str, bool]]:
    """What the audio judge says of clips that are asked for by their captions."""
    replies = engine.generate_batch([f"Play {sound_caption(clip)}." for clip in clips], seed=0)
    waves = torch.from_numpy(np.stack([reply.audios[0].samples[0] for reply in replies]))
    return [sounds_like(heard, clip) for heard, clip in zip(Ear().listen(waves), clips, strict=True)]


def test_single_sounds_are_played(engine: anygen.Engine) -> None:
    player = Player(random.Random(3))
    marks = heard_of(engine, [player.once(sound.thing) for sound in SOUNDS[:24]])
    assert sum(mark["sounds_right"] for mark in marks) >= 20  # of 61 sounds


def test_sounds_are_repeated_as_asked(engine: anygen.Engine) -> None:
    player = Player(random.Random(5))
    asked = zip(SOUNDS[:12], (2, 3, 4) * 4, ("slow", "fast") * 6, strict=True)
    marks = heard_of(engine, [player.times(sound.thing, count, tempo) for sound, count, tempo in asked])
    assert sum(mark["all"] for mark in marks) >= 9


def test_two_sounds_are_played_at_once(engine: anygen.Engine) -> None:
    player, pairs = Player(random.Random(6)), zip(SOUNDS[:16], SOUNDS[20:36], strict=True)
    marks = heard_of(engine, [player.together(first.thing, second.thing) for first, second in pairs])
    assert sum(mark["all"] for mark in marks) >= 9


def test_single_sounds_are_heard(engine: anygen.Engine) -> None:
    player = Player(random.Random(2))
    clips = [player.once(sound.thing) for sound in SOUNDS[:16]]
    waves = Mixer().render(clips).float() / 32768
    asked = [[anygen.Audio(wave.numpy(), RATE), "What do you hear?"] for wave in waves]
    told = [parse_sound(reply.text) for reply in engine.generate_batch(asked, seed=0, to="text")]
    assert sum(t is not None and clip.things[0] in t.things for t, clip in zip(told, clips, strict=True)) >= 14


def test_a_picture_that_is_not_wanted_is_told_in_one_clean_sentence(engine: anygen.Engine) -> None:
    chats = asked("draw", 12)
    replies = engine.generate_batch(requests(chats), seed=0, to="text")
    assert all([part.type for part in reply] == ["text"] for reply in replies)
    assert sum(parse_caption(reply.text.removeprefix("Here it is: ")) is not None for reply in replies) >= 11
    assert max(reply.usage["completion_tokens"] for reply in replies) < 60
    assert engine.generate(requests(chats)[0], seed=0, to="text").text == replies[0].text


def test_one_answer_holds_words_and_pictures_in_order(engine: anygen.Engine) -> None:
    story = engine.generate("Tell a story about a dog who finds a rocket in 3 pages.", seed=0)
    kinds = [part.type for part in story]
    assert kinds == ["text", "image"] * (len(kinds) // 2) and len(kinds) >= 4


def test_the_generator_opens_without_this_project(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(NANO / "generators" / "image", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    rng = torch.Generator().manual_seed(0)
    (picture,) = pipeline("a large cat in the middle, meadow", num_inference_steps=4, generator=rng).images
    assert picture.size == (64, 64)


def test_films_are_told(engine: anygen.Engine) -> None:
    stream, world = random.Random("films to tell"), World()
    films = [sample_film(stream, "one", "heldout") for _ in range(16)]
    asked = [[world.film(film), "What happens in this film?"] for film in films]
    told = [parse_film(reply.text) for reply in engine.generate_batch(asked, seed=0, to="text")]
    things = [
        t is not None and {name for name, _ in t.actors} == set(f.things) for t, f in zip(told, films, strict=True)
    ]
    assert sum(things) >= 13  # of 129 things
    backdrops = [t is not None and t.backdrop == f.backdrop for t, f in zip(told, films, strict=True)]
    assert sum(backdrops) >= 13


def test_two_things_that_move_at_once_are_told(engine: anygen.Engine) -> None:
    stream, world = random.Random("films of two"), World()
    films = [sample_film(stream, "together", "heldout") for _ in range(24)]
    asked = [[world.film(film), "What happens in this film?"] for film in films]
    told = [parse_film(reply.text) for reply in engine.generate_batch(asked, seed=0, to="text")]
    right = [facts is not None and facts.agrees(film_facts(film)) for facts, film in zip(told, films, strict=True)]
    assert sum(right) >= 8


def test_films_are_made_on_their_backdrop(engine: anygen.Engine) -> None:
    stream, world = random.Random("films to make"), World()
    films = [settle(sample_film(stream, "one", "heldout")) for _ in range(3)]
    replies = engine.generate_batch([f"Make a film: {film_caption(film)}." for film in films], seed=0)
    made = [reply.videos[0] for reply in replies]
    assert all(film.frames.shape == (16, 64, 64, 3) and film.fps == 8 for film in made)
    assert sum(world.watch(film).backdrop == wanted.backdrop for film, wanted in zip(made, films, strict=True)) >= 2


def test_motions_are_felt(engine: anygen.Engine) -> None:
    world, chats = World(), asked("imu", 24)
    replies = engine.generate_batch([world.values(chat.messages[0]) for chat in chats], seed=0, to="text")
    right = [answer_right(reply.text, chat.facts) for reply, chat in zip(replies, chats, strict=True)]
    assert sum(right) >= 21  # of ten motions


@pytest.mark.parametrize(("sense", "least"), [("depth", 12), ("thermal", 12)])
def test_maps_are_told(engine: anygen.Engine, sense: str, least: int) -> None:
    world, chats = World(), asked(sense, 16)
    replies = engine.generate_batch([world.values(chat.messages[0]) for chat in chats], seed=0, to="text")
    told = [parse_caption(reply.text) for reply in replies]
    right = [t is not None and t.backdrop == c.facts["scene"].backdrop for t, c in zip(told, chats, strict=True)]
    assert sum(right) >= 13  # of ten backdrops
    whole = [answer_right(reply.text, chat.facts) for reply, chat in zip(replies, chats, strict=True)]
    assert sum(whole) >= least  # everything that the caption states
