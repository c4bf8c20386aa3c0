"""What is said of films: captions, other words, questions, edits and chats, and the reading of all of them."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from anygen.media import Audio, Video
from anygen.playground import film_edit, film_question
from anygen.playground.chat import Chat, clips_of, films_of, scenes_of
from anygen.playground.clip import is_heldout as is_clip_heldout
from anygen.playground.clip import upright as upright_clip
from anygen.playground.dataset import film_from_json, film_to_json, write_dataset
from anygen.playground.dialogue import FILM_MIXTURE, FILM_TASKS, TASKS, in_words, sample_chat, tasks
from anygen.playground.film import Director, Film, is_heldout, sample_film, scene_at, soundtrack, upright
from anygen.playground.hearing import sound_caption
from anygen.playground.motion import FRAMES, MOTIONS, STILL
from anygen.playground.reading import answer_right
from anygen.playground.scene import is_heldout as scene_is_heldout
from anygen.playground.watching import (
    MOTION_WORDS,
    NOUN_PHRASES,
    FilmFacts,
    does,
    doing,
    film_caption,
    film_facts,
    film_paraphrase,
    film_request,
    parse_film,
    told_film,
)
from anygen.training.data import check, read_chats

SPLITS = ("train", "heldout")
EVERY = ("image", "audio", "video")


def last_text(chat: Chat) -> str:
    return " ".join(part["text"] for part in chat.messages[-1]["content"] if part["type"] == "text")


# --- words


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_said_of_a_film_is_read_back(split: str) -> None:
    stream = random.Random(9)
    for _ in range(1200):
        film = sample_film(stream, split=split)
        assert parse_film(film_caption(film)) == film_facts(film)
        assert len(film_caption(film).split()) <= 26
        for text in (film_paraphrase(film, stream, split), film_request(film, stream, split)):
            said = parse_film(text)
            assert said and replace(said, backdrop=said.backdrop or "meadow").agrees(film_facts(film)), text


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("a cat crosses from left to right, meadow", ("one", (("cat", MOTIONS[0]),), "meadow")),
        ("a kitty going up on the grass", ("one", (("cat", "rises"),), "meadow")),
        ("some grapes spin, snow", ("one", (("grapes", "spins"),), "snow")),
        ("a cat spins, then a dog rises, sea", ("then", (("cat", "spins"), ("dog", "rises")), "sea")),
        ("a dog rises after a cat spins, sea", ("then", (("cat", "spins"), ("dog", "rises")), "sea")),
        ("a dog stands still while a cat shakes, sea", ("beside", (("cat", "shakes"), ("dog", STILL)), "sea")),
        ("a cat and a dog that bounces", ("beside", (("dog", "bounces"), ("cat", STILL)), None)),
        ("a cat", ("one", (("cat", None),), None)),
    ],
)
def test_reading_by_hand(text: str, facts: tuple) -> None:
    assert parse_film(text) == FilmFacts(kind=facts[0], actors=facts[1], backdrop=facts[2])


def test_reading_cameras_dusk_and_nothing() -> None:
    read = parse_film("a camera grows as night falls, the camera zooms in, city")
    assert read == FilmFacts(
        kind="one", actors=(("camera", "grows"),), backdrop="city", camera="zooms in", dusk=True
    )  # fmt: skip
    assert parse_film("nothing at all") is None and parse_film("a cat, a dog and a cow") is None


def test_order_counts_in_then_but_not_together() -> None:
    def agree(one: str, two: str) -> bool:
        first, second = parse_film(one), parse_film(two)
        assert first and second
        return first.agrees(second)

    assert agree("a cat spins and a dog rises, sea", "a dog rises and a cat spins, sea")
    assert not agree("a cat spins, then a dog rises, sea", "a dog rises, then a cat spins, sea")
    assert not agree("a cat spins and a dog rises, sea", "a cat rises and a dog spins, sea")
    assert not agree("a cat spins beside a dog, sea", "a cat spins and a dog rises, sea")
    assert not agree("a cat spins, sea", "a cat spins, sea, it gets dark")
    assert not agree("a cat spins, sea, the camera pans left", "a cat spins, sea, the camera pans right")


def test_many_ways_to_say_it() -> None:
    assert all(len(family) >= 10 for family in NOUN_PHRASES.values())
    film = Director(random.Random(0)).two("then", ("grapes", "rises"), ("scissors", "goes away"), "snow")
    assert told_film(film) == "Some grapes rise, then some scissors go away, snow."
    stream = random.Random(11)
    assert len({film_request(film, stream) for _ in range(300)}) > 250
    assert [does(words) for words in ("go up", "cross", "not move")] == ["goes up", "crosses", "does not move"]
    assert [doing(words) for words in ("rise", "get bigger", "hop", "pop up")] == [
        *("rising", "getting bigger", "hopping", "popping up")
    ]
    every = [words for family in MOTION_WORDS.values() for words in family]
    assert len(set(every)) == len(every)


def test_of_two_that_move_at_once_one_caption_is_told() -> None:
    stream = random.Random(6)
    for _ in range(50):
        film = sample_film(stream, "together")
        turned = replace(film, actors=film.actors[::-1])
        assert upright(film) == upright(turned) and film_facts(upright(film)).agrees(film_facts(film))


# --- questions and edits


@pytest.mark.parametrize("kind", list(film_question.ASK))
def test_every_question_is_asked_with_words_of_its_split(kind: str) -> None:
    stream = random.Random(18)
    asked: dict[str, set[str]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        while not asked[split]:
            film = film_question.film_to_ask(stream, split)
            found, (ask, answer, ways) = film_question.film_question(film, stream, split)
            if found == kind:
                asked[split].add(ask)
                assert answer == ways[0]
    assert not asked["train"] & asked["heldout"]


def test_answers_say_what_is_so() -> None:
    director = Director(random.Random(0), settled=True)
    stream = random.Random(0)

    def answer(kind: str, film: Film) -> list[str]:
        return film_question.ASK[kind](film, stream, "train")[2]

    then = director.two("then", ("cat", "spins"), ("dog", "rises"), "meadow")
    assert answer("first", then)[0] == "A cat spins." and answer("last", then)[0] == "A dog rises."
    assert "The dog goes up." in answer("last", then) and "A cat rises." not in answer("last", then)
    assert answer("order", then) == ["One after the other."]
    across = director.one("cat", MOTIONS[0], "sea")
    assert "To the right." in answer("which way", across) and "To the left." not in answer("which way", across)
    assert answer("camera", across) == ["The camera stands still."]
    assert answer("camera", replace(across, camera="pans left"))[0] == "The camera pans left."
    assert answer("dusk", replace(across, dusk=True))[0] == "Yes, it gets dark."
    beside = director.two("beside", ("cat", "spins"), ("dog", STILL), "meadow")
    assert answer("stands still", beside)[0] == "A dog." and answer("what moves", beside)[0] == "A cat."
    assert "It spins." in answer("what does it do", beside)


@pytest.mark.parametrize("kind", list(film_edit.FILM_EDITS))
def test_edits_keep_the_rest(kind: str) -> None:
    stream = random.Random(17)
    done = 0
    while done < 25:
        found, source, _, target = film_edit.sample_film_edit(stream)
        if found != kind:
            continue
        done += 1
        assert film_caption(target) != film_caption(source)
        assert target.variant == source.variant
        assert kind == "dusk" or target.dusk == source.dusk
        assert kind == "camera" or target.camera == source.camera
        assert kind == "backdrop" or target.backdrop == source.backdrop
        if kind in ("backdrop", "dusk", "camera"):
            assert target.actors == source.actors
        if kind in ("motion", "turn"):
            assert target.things == source.things and target.kind == source.kind
        if kind == "swap":
            assert target.things == source.things[::-1]
        if kind == "replace":
            assert len(set(target.things) & set(source.things)) == len(source.things) - 1
            assert [actor.motion for actor in target.actors] == [actor.motion for actor in source.actors]


# --- chats


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", FILM_TASKS)
def test_the_given_answer_is_right_and_splits_share_nothing(task: str, split: str) -> None:
    stream = random.Random(12)
    for _ in range(60):
        chat = sample_chat(stream, task, split)
        assert chat.task == task
        assert answer_right(last_text(chat), chat.facts), (last_text(chat), chat.facts)
        if split == "train":
            assert not any(map(is_heldout, films_of(chat)))
            assert not any(map(is_clip_heldout, clips_of(chat))) and not any(map(scene_is_heldout, scenes_of(chat)))
        elif task != "unfilmed":
            assert is_heldout(films_of(chat)[-1])


@pytest.mark.parametrize("task", ["watch", "film", "film_vqa", "animate", "refilm", "screen", "score"])
def test_another_answer_is_mostly_wrong(task: str) -> None:
    stream = random.Random(13)
    chats = [sample_chat(stream, task) for _ in range(100)]
    taken = [answer_right(last_text(other), chat.facts) for chat, other in zip(chats, chats[1:], strict=False)]
    assert sum(taken) < 0.1 * len(taken)


def test_only_models_that_watch_get_films() -> None:
    stream = random.Random(14)
    assert tasks() == TASKS and tasks(EVERY) == TASKS + FILM_TASKS and set(FILM_MIXTURE) == set(FILM_TASKS)
    deaf = set(tasks(("image", "video")))
    assert {"watch", "film", "cinema"} <= deaf and not {"talkie", "score", "screen", "attend", "hear"} & deaf
    assert not any(films_of(sample_chat(stream)) for _ in range(200))
    chats = [sample_chat(stream, media=EVERY) for _ in range(1200)]
    assert {chat.task for chat in chats} == set(TASKS + FILM_TASKS)
    assert not any(clips_of(sample_chat(stream, media=("image", "video"))) for _ in range(200))


def test_the_chats_of_models_without_films_stay_what_they_were() -> None:
    one, two = random.Random(20), random.Random(20)
    assert [sample_chat(one) for _ in range(50)] == [sample_chat(two, media=("image", "audio")) for _ in range(50)]


def test_films_are_told_in_words() -> None:
    stream = random.Random(15)
    for task in FILM_TASKS:
        for _ in range(20):
            chat = sample_chat(stream, task)
            told = in_words(chat)
            assert all(p["type"] == "text" for m in told.messages if m["role"] == "user" for p in m["content"])
            given = [p for m in chat.messages if m["role"] == "user" for p in m["content"] if p["type"] != "text"]
            said = [p["text"] for m in told.messages if m["role"] == "user" for p in m["content"]]
            for part in given:
                if part["type"] == "video":
                    assert f"[{film_caption(upright(part['film']))}]" in said
                elif part["type"] == "audio":
                    assert f"[{sound_caption(upright_clip(part['clip']))}]" in said


def test_films_with_sound_have_their_own() -> None:
    stream = random.Random(16)
    for task, turn in (("talkie", -1), ("attend", 0)):
        for _ in range(30):
            parts = sample_chat(stream, task).messages[turn]["content"]
            index = [part["type"] for part in parts].index("video")
            assert parts[index + 1]["type"] == "audio"
            assert parts[index + 1]["clip"] == soundtrack(parts[index]["film"])


def test_key_frames_and_animated_pictures() -> None:
    stream = random.Random(17)
    for _ in range(30):
        chat = sample_chat(stream, "frame")
        frame = 0 if chat.facts["frame"] == "first" else FRAMES - 1
        assert chat.facts["target"] == scene_at(films_of(chat)[0], frame)
        chat = sample_chat(stream, "animate")
        first = scene_at(chat.facts["target"], 0)
        assert first and first.things == chat.facts["scene"].things


def test_half_is_yes() -> None:
    stream = random.Random(16)
    yes = sum(last_text(sample_chat(stream, "film_pope")).startswith("Yes") for _ in range(800))
    assert 340 < yes < 460


# --- files


def test_a_data_set_with_films(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", 4, seed=1, task="talkie", media=EVERY)
    write_dataset(tmp_path / "heard", 3, seed=1, task="attend", media=EVERY)
    assert check(folder).media == {"video": 4, "audio": 4}
    for example in read_chats(folder):
        video, audio = example.media
        assert isinstance(example.film, dict) and film_to_json(film_from_json(example.film)) == example.film
        assert video["caption"] == film_caption(film_from_json(example.film)) and "sound" in audio["caption"]
        watched = Video(video["path"])
        assert len(watched.frames) == FRAMES and watched.fps == 8 and watched.audio
        assert watched.audio.samples.shape[-1] / watched.audio.rate == pytest.approx(2, abs=0.1)
        assert Audio(audio["path"]).seconds == 4
    for example in read_chats(tmp_path / "heard"):
        (video,) = example.media
        assert Video(video["path"]).audio
