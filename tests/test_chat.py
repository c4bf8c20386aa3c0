"""Conversations: only what is new is run, and what is cached, saved and loaded answers as if it were not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anygen
from anygen.chat import Chat
from anygen.engine import Engine
from anygen.error import DataError, RequestError
from anygen.media import Image, Text


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    return anygen.load(tiny, device="cpu")


def picture(seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))


TURNS = [("Draw a cat.", "image"), ([picture(), "And this?"], None), ("Make the first one night.", "image")]


def talk(chat: Chat, *, forget: bool = False, turns=TURNS) -> list:
    replies = []
    for said, to in turns:
        if forget:
            chat.session.cache = None
        replies.append(chat.send(said, to=to, max_new_tokens=9))
    return replies


def values(replies) -> list:
    return [[part.value for part in reply] for reply in replies]


def test_cached_is_uncached(engine: Engine):
    cached, uncached = engine.chat(seed=4), engine.chat(seed=4)
    one, two = talk(cached), talk(uncached, forget=True)
    assert [reply.text for reply in one] == [reply.text for reply in two]
    assert cached.session.ids == uncached.session.ids
    for a, b in zip(one, two, strict=True):
        for left, right in zip(a.images, b.images, strict=True):
            assert np.abs(left.pixels.astype(int) - right.pixels).max() <= 1


def test_only_the_new_turn_is_run(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    lengths: list[int] = []
    forward = engine.model.llm.forward

    def counted(*args, **kwargs):
        lengths.append(kwargs["inputs_embeds"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model.llm, "forward", counted)
    chat = engine.chat(seed=0)
    chat.send("x" * 100, to="image", max_new_tokens=3)
    lengths.clear()
    chat.send("yes", to="text", max_new_tokens=3)
    # <|end|> of the last answer, <|user|>, three bytes, <|end|>, <|assistant|>
    assert lengths[0] == 7


def test_a_conversation_holds_what_it_did_not_make(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The span of a picture that was not wanted is in the context, in the cache, and not among the media."""
    span = engine.model.vocabulary.spans["image"]
    forward = engine.model.llm.forward

    def eager(*args, **kwargs):
        out = forward(*args, **kwargs)
        if kwargs["inputs_embeds"].shape[1] == 1:  # after the first character of an answer
            out.logits[..., span.first] = 1e6
        elif kwargs["inputs_embeds"].shape[1] == len(span.ids):
            out.logits[..., engine.model.vocabulary.end] = 1e6
        return out

    monkeypatch.setattr(engine.model.llm, "forward", eager)
    chat = engine.chat(seed=0)
    reply = chat.send("Draw a cat.", to="text")
    assert [part.type for part in reply] == ["text"] and not chat.media
    ids = chat.turns[-1].ids
    assert ids[-len(span.ids) - 1 :] == (*span.ids, engine.model.vocabulary.end)
    assert chat.session.cached() == len(chat.session.ids) - 1  # but for the end token, which nothing has followed yet
    again = Chat.load(engine, chat.save(tmp_path / "c.json"))
    assert again.session.ids == chat.session.ids
    assert values([chat.send("And now?", to="image")]) == values([again.send("And now?", to="image")])


def test_seeds_differ_from_turn_to_turn(engine: Engine):
    assert [reply.seed for reply in talk(engine.chat(seed=4))] == [4, 1004, 2004]
    assert engine.chat(seed=4).send("hi", seed=9, max_new_tokens=1).seed == 9


def test_history_and_media(engine: Engine):
    chat = engine.chat(system="be brief", seed=0)
    replies = talk(chat)
    assert [message.role for message in chat.history] == ["system", *["user", "assistant"] * 3]
    assert [part.value for part in replies[0]] == list(chat.history[2].parts)
    assert chat.media[0] == replies[0].images[0]
    assert picture() in chat.media


def test_a_saved_chat_goes_on_as_if_it_had_not_stopped(engine: Engine, tmp_path: Path):
    chat = engine.chat(system="be brief", seed=1)
    talk(chat)
    path = chat.save(tmp_path / "c.json")
    again = Chat.load(engine, path)
    assert again.history == chat.history
    assert again.session.ids == chat.session.ids
    assert len(again.session.media) == len(chat.session.media)
    one, two = (talk(each, turns=[("Go on", "text")]) for each in (chat, again))
    assert values(one) == values(two)
    assert [turn.seed for turn in again.turns] == [turn.seed for turn in chat.turns]


def test_a_chat_of_another_model_is_laid_out_anew(engine: Engine, tmp_path: Path):
    chat = engine.chat(seed=1)
    chat.send("hi", to="image", max_new_tokens=2)
    path = chat.save(tmp_path / "c.json")
    record = json.loads(path.read_text())
    record["model"] = "another"
    path.write_text(json.dumps(record))
    again = Chat.load(engine, path)
    assert again.history == chat.history
    assert again.send("and?", to="text", max_new_tokens=2)


def test_a_stream_left_early_changes_nothing(engine: Engine):
    chat, other = engine.chat(seed=2), engine.chat(seed=2)
    for each in (chat, other):
        each.send("hello", max_new_tokens=4)
    before = list(chat.session.ids)
    stream: Any = chat.stream([picture(), "Draw"], to="image", max_new_tokens=4)
    for event in stream:
        if event.type == "part.progress":
            break
    stream.close()
    assert chat.session.ids == before
    assert len(chat.turns) == 2
    assert not chat.session.media
    one, two = (each.send("go on", to="text", max_new_tokens=6) for each in (chat, other))
    assert one.text == two.text


def test_turns_are_taken_one_at_a_time(engine: Engine):
    chat = engine.chat(seed=0)
    first, second = chat.stream("one", max_new_tokens=2), chat.stream("two", max_new_tokens=2)
    list(first)
    with pytest.raises(RequestError, match="went on"):
        list(second)
    with pytest.raises(RequestError, match="one turn of the user"):
        chat.send([{"role": "assistant", "content": "hi"}])
    with pytest.raises(RequestError, match="unknown option 'colour'"):
        engine.chat(colour=1)


def test_bad_files_are_named(engine: Engine, tmp_path: Path):
    with pytest.raises(DataError, match="cannot read"):
        Chat.load(engine, tmp_path / "none.json")
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(DataError, match="no saved chat of format 1"):
        Chat.load(engine, tmp_path / "c.json")
    (tmp_path / "c.json").write_text("[")
    with pytest.raises(DataError, match="no saved chat"):
        Chat.load(engine, tmp_path / "c.json")


def test_a_chat_that_cannot_be_saved_says_so(engine: Engine, tmp_path: Path):
    chat = engine.chat(seed=0)
    for place in (tmp_path, Path()):
        with pytest.raises(DataError, match="this is a folder; name a file in it"):
            chat.save(place)
    with pytest.raises(DataError, match="cannot save the chat to .*no/c.json: No such file"):
        chat.save(tmp_path / "no" / "c.json")


def test_undo_answers_as_if_the_turn_had_not_been(engine: Engine):
    chat, plain = engine.chat(seed=4), engine.chat(seed=4)
    talk(chat)
    asked = chat.undo()
    assert asked.parts == (Text("Make the first one night."),) and len(chat.history) == 4
    talk(plain, turns=TURNS[:2])
    assert chat.session.ids == plain.session.ids and len(chat.session.media) == 1
    again, wanted = talk(chat, turns=TURNS[2:]), talk(plain, forget=True, turns=TURNS[2:])
    assert values(again) == values(wanted)
    for _ in range(3):
        chat.undo()
    assert (chat.turns, chat.session.ids, chat.session.media) == ([], [], [])
    with pytest.raises(RequestError, match="no answer to take back"):
        chat.undo()
