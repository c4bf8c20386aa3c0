"""The request path with films: in and out, with their sound, streamed, kept, and from the command line."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anygen
from anygen.cli import main
from anygen.decoding import Session
from anygen.engine import Engine
from anygen.error import RequestError
from anygen.media import Audio, Image, Message, Text, Video, messages
from anygen.request import Event, Options, edit_source
from anygen.signals import Grammar, State
from anygen.testing import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model of all four modalities; its films have four frames."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny-all", context=1024, media=("image", "audio", "video"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return anygen.load(folder)


def tone(hertz: float = 440, rate: int = 16_000, seconds: float = 1.0) -> Audio:
    return Audio(0.3 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate), rate)


def film(shade: int = 90, audio: Audio | None = None) -> Video:
    frames = np.full((8, 24, 32, 3), shade, np.uint8)
    for index in range(8):
        frames[index, 4:12, 3 * index : 3 * index + 8] = 240
    return Video(frames, fps=8, audio=audio)


def dictate(patch: pytest.MonkeyPatch, engine: Engine, *said: str) -> None:
    """Make the LLM write these: a modality opens its span, anything else is text; then the answer ends."""
    vocabulary, tokenizer = engine.model.vocabulary, engine.model.tokenizer
    ids: list[int] = []
    for word in said:
        ids += [vocabulary.spans[word].open] if word in vocabulary.spans else tokenizer(word)["input_ids"]
    script = iter([*ids, vocabulary.end])
    patch.setattr(Grammar, "choose", lambda *args, **options: next(script))


FILM: dict[str, Any] = {
    "to": ("video", "audio"),
    "max_new_tokens": 3,
}  # after three tokens what is missing comes, in this order


def test_it_watches_and_films(engine: Engine) -> None:
    assert engine.reads == ("text", "image", "audio", "video") == engine.writes
    asked = [film(audio=tone()), "the same by night"]
    reply = engine.generate(asked, to="video", seed=3, max_new_tokens=4)
    (made,) = reply.videos
    assert (made.frames.shape, made.fps, made.audio) == ((4, 16, 16, 3), 8, None)
    assert engine.generate(asked, to="video", seed=3, max_new_tokens=4).videos == [made]
    assert engine.generate(asked, to="video", seed=4, max_new_tokens=4).videos != [made]


def test_a_film_comes_with_its_sound_as_one_part(engine: Engine) -> None:
    events = list(engine.stream("A dog barks.", seed=2, preview=1, **FILM))
    reply = events[-1].reply
    assert reply is not None and [part.type for part in reply] == ["text", "video"] and reply.audios == []
    (made,) = reply.videos
    assert made.audio is not None and (made.audio.rate, made.audio.seconds, made.seconds) == (16_000, 0.5, 0.5)
    generator, own = engine.model.generator("audio"), [event for event in events if event.index == 2]
    assert [(event.type, event.modality, event.step) for event in own] == [
        ("part.start", "video", 0),
        ("part.progress", "video", 1),
        ("part.preview", "video", 0),
        ("part.progress", "video", 2),
        ("part.progress", "audio", 1),
        ("part.preview", "audio", 0),
        ("part.progress", "audio", 2),
        ("part.done", "video", 0),
    ]
    silent, dubbed = (event.preview for event in own if event.preview is not None)
    assert isinstance(silent, Video) and silent.audio is None
    assert isinstance(dubbed, Video) and dubbed.audio is not None and (dubbed.frames == made.frames).all()
    assert own[-1].part is not None and own[-1].part.value == made and own[-1].part.seed == reply.seed + 1
    assert engine.generate("A dog barks.", seed=2, **FILM).videos == [made]
    assert generator.samples == 4 * 16_000  # of which a film of half a second keeps the beginning


def test_only_a_sound_right_after_a_film_is_its_own(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for said, kinds in (
        (("video", "audio"), ["video+"]),
        (("video", " ", "audio"), ["video", "text", "audio"]),
        (("audio", "video"), ["audio", "video"]),
        (("hm", "video", "audio", "audio", "image"), ["text", "video+", "audio", "image"]),
        (("video", "video", "audio", "hm"), ["video", "video+", "text"]),
    ):
        with monkeypatch.context() as patch:
            dictate(patch, engine, *said)
            reply = engine.generate("go", seed=1)
        with monkeypatch.context() as patch:
            dictate(patch, engine, *said)
            (batched,) = engine.generate_batch(["go"], seed=1)
        for each in (reply, batched):
            heard = [isinstance(part.value, Video) and part.value.audio is not None for part in each]
            assert [part.type + "+" * sound for part, sound in zip(each, heard, strict=True)] == kinds
            assert [part.seed for part in each if part.seed] == [
                1 + index for index, kind in enumerate(kinds) if kind != "text"
            ]
        assert reply.usage == batched.usage
        spans = engine.model.vocabulary.spans
        assert reply.usage["completion_tokens"] == sum(len(spans[w].ids) if w in spans else len(w) for w in said)


def test_a_batch_gives_what_single_requests_give(engine: Engine) -> None:
    asked = ["one", [film(), "two"], [film(30, tone(300)), "three"]]
    for seed, reply in zip((5, 6, 7), engine.generate_batch(asked, seed=(5, 6, 7), **FILM), strict=True):
        (one,), (other,) = reply.videos, engine.generate(asked[seed - 5], seed=seed, **FILM).videos
        assert np.abs(one.frames.astype(int) - other.frames).max() <= 1
        assert one.audio is not None and other.audio is not None
        np.testing.assert_allclose(one.audio.samples, other.audio.samples, atol=1e-4)


def test_the_sound_of_a_given_film_is_heard_after_it(engine: Engine, folder: Path) -> None:
    model, session = engine.model, Session()
    spans, tokens = model.vocabulary.spans, model.tokens
    seen = film(audio=tone())
    rendered = model.render(messages([seen, "?"]), answer=True)
    assert rendered.inputs == [seen, seen.audio]
    opened = [
        *(spans["video"].open, *[spans["video"].placeholder] * tokens["video"], spans["video"].close),
        *(spans["audio"].open, *[spans["audio"].placeholder] * tokens["audio"], spans["audio"].close),
    ]
    assert rendered.ids[2 : 2 + len(opened)] == opened
    assert rendered.ids == model.render(messages([film(), tone(), "?"]), answer=True).ids
    list(engine.answer(session, engine.ask(session, messages([seen, "?"]), Options(max_new_tokens=1))))
    assert [kind for kind, _ in session.media] == ["video", "audio"]
    options: dict[str, Any] = {"to": "text", "seed": 1, "max_new_tokens": 12}
    said = [engine.generate([*parts, "?"], **options).text for parts in ([seen], [film(), tone()], [film()])]
    assert said[0] == said[1] != said[2]


def test_what_a_model_cannot_hear_or_play_is_left_out_of_films(tiny_film: Path) -> None:
    deaf = anygen.load(tiny_film)
    assert deaf.model.render(messages([film(audio=tone()), "?"])).inputs == [film(audio=tone())]
    answer = (Message("user", (Text("go"),)), Message("assistant", (film(audio=tone()),)))
    assert [part.type for part in deaf.model.render(answer).outputs] == ["video"]
    (made,) = deaf.generate([film(audio=tone()), "?"], to="video", seed=1, max_new_tokens=2).videos
    assert made.audio is None


def test_an_answer_that_was_a_film_with_sound_is_laid_out_as_it_was_written(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session()
    dictate(monkeypatch, engine, "Here", "video", "audio", "it is.")
    *_, last = engine.answer(session, engine.ask(session, messages("go"), Options(seed=1)))
    assert last.reply is not None and last.reply.videos[0].audio is not None
    answer = tuple(part.value for part in last.reply)
    again = engine.model.render((Message("user", (Text("go"),)), Message("assistant", answer)))
    assert again.ids == session.ids and [part.type for part in again.outputs] == ["video", "audio"]


def test_a_chat_keeps_its_films(engine: Engine, tmp_path: Path) -> None:
    chat = engine.chat(seed=4)
    first = chat.send([film(audio=tone()), "watch"], **FILM)
    chat.save(tmp_path / "chat.json")
    again = anygen.Chat.load(engine, tmp_path / "chat.json")
    assert [kind for kind, _ in again.session.media] == ["video", "audio"]
    assert [medium.type for medium in again.media] == ["video", "video"]
    kept = again.media[1]
    assert isinstance(kept, Video) and kept.audio is not None and kept.seconds == first.videos[0].seconds
    for talk in (chat, again):
        assert talk.send([Image(np.zeros((9, 9, 3), np.uint8)), "and?"], to="text", max_new_tokens=2).text
        assert len(talk.session.media) == 3
        talk.undo()
        assert [kind for kind, _ in talk.session.media] == ["video", "audio"]
        talk.undo()
        assert talk.session.media == [] and talk.session.ids == []


def test_every_spelling_of_a_film_is_the_same_request(engine: Engine, tmp_path: Path) -> None:
    path = film(audio=tone()).save(tmp_path / "film.mp4")
    spellings: list[Any] = [
        path,
        {"type": "video", "path": str(path)},
        {"type": "video", "url": path.as_uri()},
        {"type": "video", "video": Video(path)},
        {"type": "video_url", "video_url": {"url": str(path)}},
        {"type": "video_url", "video_url": {"url": data_url_of(path)}},
    ]
    options: dict[str, Any] = {"to": "text", "seed": 1, "max_new_tokens": 6}
    said = {engine.generate([spelling, "?"], **options).text for spelling in spellings}
    chat = [{"role": "user", "content": [spellings[1], {"type": "text", "text": "?"}]}]
    assert said == {engine.generate(chat, **options).text}


def data_url_of(path: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_the_call_shape_of_transformers_films(folder: Path) -> None:
    pipe = anygen.pipeline(folder, device="cpu")
    (one,) = pipe(text="A dog runs.", generation_mode="video", seed=1, max_new_tokens=3)
    assert one["generated_video"].shape == (4, 16, 16, 3) and one["generated_video"].dtype == np.uint8
    (said,) = pipe("What moves?", videos=film(), seed=1, max_new_tokens=3, return_full_text=False)
    assert isinstance(said["generated_text"], str)


def test_a_reply_with_a_film_is_kept_and_shown(engine: Engine, tmp_path: Path) -> None:
    reply = engine.generate("go", seed=2, **FILM)
    place = reply.save(tmp_path / "answer")
    again = Video(place / "02-video.mp4")
    assert (len(again.frames), again.fps, again.seconds) == (4, 8, 0.5) and again.audio is not None
    assert abs(again.audio.seconds - 0.5) < 0.01
    page = (place / "answer.html").read_text()
    assert '<video controls loop playsinline src="data:video/mp4;base64,' in page and "http" not in page
    assert [part["type"] for part in json.loads((place / "reply.json").read_text())["parts"]] == ["text", "video"]


def test_the_command_line_films(
    engine: Engine, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film(audio=tone()).save(tmp_path / "in.webm")
    command = ["generate", "--model", str(folder), "--video", str(tmp_path / "in.webm"), "by night", "--to", "video"]
    dictate(monkeypatch, engine, "Here.", "video", "audio")
    assert main([*command, "--seed", "1", "--json", "-o", str(tmp_path / "out")]) == 0
    _, part = json.loads(capsys.readouterr().out)["parts"]
    assert (part["type"], part["mime"], part["path"]) == ("video", "video/mp4", "02-video.mp4")
    assert Video(tmp_path / "out" / part["path"]).audio is not None


def test_models_without_film_and_bad_films_are_one_line(
    tiny_sound: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match="no encoder for 'video'; this model reads text, image, audio$"):
        anygen.load(tiny_sound).generate([film(), "?"])
    with pytest.raises(RequestError, match="no generator for 'video'; this model writes text, image, audio$"):
        anygen.load(tiny_sound).generate("hm", to="video")
    path = film().save(tmp_path / "film.mp4")
    assert main(["generate", "--model", str(tiny_sound), "--video", str(path), "What moves?"]) == 2
    assert capsys.readouterr().err.endswith("anygen: no encoder for 'video'; this model reads text, image, audio\n")
    path.write_bytes(path.read_bytes()[:200])
    assert main(["generate", "--model", str(folder), "--video", str(path), "What moves?"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "film.mp4 is damaged" in told


def test_a_picture_is_animated_and_a_film_is_no_source(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, seen = Image(np.full((16, 16, 3), 200, np.uint8)), list[dict[str, Any]]()
    generator = engine.model.generator("video")
    generate: Callable[..., list[Video]] = generator.generate

    def noted(*args: Any, **options: Any) -> list[Video]:
        seen.append(options)
        return generate(*args, **options)

    monkeypatch.setattr(generator, "generate", noted)
    options: dict[str, Any] = {"to": "video", "seed": 0, "max_new_tokens": 2, "steps": 4}
    engine.generate([picture, "Animate this picture."], **options)
    engine.generate([film(), "Now by night."], **options)
    assert (seen[0]["source"], seen[0]["strength"]) == (picture, 1.0) and "source" not in seen[1]
    past = (Message("user", (picture, Text("look"))),)

    def user(*parts: Any) -> tuple[Message, ...]:
        return (Message("user", parts),)

    assert edit_source("auto", past, user(Text("Let it move."))) == picture
    assert edit_source("auto", past, user(film(), Text("Make it night."))) is None
    assert edit_source("auto", (*past, *user(film(), Text("Look."))), user(Text("Make it night."))) is None
    assert edit_source("auto", (*past, *user(film())), user(Text("Let the first picture move."))) == picture
    assert edit_source(True, past, user(film(), Text("Move."))) == picture


def test_films_are_timed_where_there_are_any(
    engine: Engine, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = engine.model.vocabulary

    def curt(grammar: Grammar, state: State, *rest: Any) -> int:
        missing = grammar.missing(state)
        return vocabulary.spans[missing[0]].open if missing else vocabulary.end

    monkeypatch.setattr(Grammar, "choose", curt)
    assert main(["bench", "--model", str(folder), "--repeats", "1", "--processes", "0", "--json"]) == 0
    (row,) = [row for row in json.loads(capsys.readouterr().out) if row["work"] == "one film, engine loaded"]
    assert row["target"] == 8 and row["ours"]["n"] == 1


def test_events_say_in_which_order(engine: Engine) -> None:
    events: list[Event] = list(engine.stream("go", seed=2, **FILM))
    order = [event.index for event in events[:-1]]
    assert order == sorted(order) and events[-1].type == "reply.done"
