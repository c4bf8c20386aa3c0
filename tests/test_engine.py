"""The engine: one request path, streamed, batched and one-shot to the same answer."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anygen
from anygen.decoding import Session, TextStream
from anygen.engine import Engine
from anygen.error import ModelError, RequestError
from anygen.media import Audio, Image, Message, Text, messages
from anygen.reply import Reply
from anygen.request import Options, edit_source
from anygen.streaming import consume, follow
from anygen.template import encode
from anygen.testing import tiny_tokenizer


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    return anygen.load(tiny, device="cpu")


def picture(seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))


def same(one: Reply, other: Reply) -> None:
    assert [part.value for part in one] == [part.value for part in other]
    assert [part.seed for part in one] == [part.seed for part in other]
    assert (one.seed, one.usage, one.model) == (other.seed, other.usage, other.model)


REQUESTS = [
    "Draw a cat.",
    [picture(), "What is this? A long question, so that rows differ in length."],
    [Text("first"), picture(1), Text("then"), picture(2), Text("?")],
    [{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hello"}]}],
]


@pytest.mark.parametrize("to", [None, "text", "image", ("text", "image")])
@pytest.mark.parametrize("request_", REQUESTS)
def test_stream_is_the_one_shot_answer(engine: Engine, request_, to):
    options = {"to": to, "seed": 7, "max_new_tokens": 12, "edit": False}
    events = list(engine.stream(request_, preview=1, **options))
    reply = engine.generate(request_, **options)
    assert events[-1].reply is not None
    same(events[-1].reply, reply)
    assert [event.part.value for event in events if event.part is not None and event.type == "part.done"] == [
        part.value for part in reply
    ]
    for part in reply:
        own = [event for event in events if event.index == part.index]
        assert (own[0].type, own[-1].type) == ("part.start", "part.done")
        assert {event.modality for event in own} == {part.type}
        if part.type == "text":
            assert "".join(event.text for event in own if event.type == "text.delta") == part.text
        else:
            assert [(e.step, e.steps) for e in own if e.type == "part.progress"] == [(1, 2), (2, 2)]
            assert sum(event.type == "part.preview" for event in own) == 1
            assert part.seed == 7 + part.index - 1
    kinds = {part.type for part in reply}
    assert to is None or kinds <= {"text", *([to] if isinstance(to, str) else to)}
    assert to in (None, "text") or "image" in kinds


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "top_p": 0.9}])
def test_a_batch_is_its_singles(engine: Engine, options: dict):
    options = {"to": "image", "max_new_tokens": 10, **options}
    batch = engine.generate_batch(REQUESTS, seed=[1, 2, 3, 4], **options)
    for seed, (request, reply) in enumerate(zip(REQUESTS, batch, strict=True), 1):
        single = engine.generate(request, seed=seed, **options)
        assert reply.text == single.text
        assert (reply.seed, reply.usage) == (single.seed, single.usage)
        assert [part.seed for part in reply] == [part.seed for part in single]
        for one, other in zip(reply.images, single.images, strict=True):
            assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1
    for start, reply in enumerate(engine.generate_batch(REQUESTS[:2], seed=1, batch_size=1, **options)):
        assert reply.text == engine.generate(REQUESTS[start], seed=1, **options).text


def test_same_seed_same_bytes_and_no_global_randomness(engine: Engine):
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state(legacy=True)[1].copy(), random.getstate()  # type: ignore[index]
    options = {"to": "image", "max_new_tokens": 8, "temperature": 1.0}
    one, two, other = (engine.generate("Draw", seed=seed, **options) for seed in (5, 5, 6))
    same(one, two)
    assert one.text != other.text and one.images != other.images
    drawn = engine.generate("Draw", **options)
    same(drawn, engine.generate("Draw", seed=drawn.seed, **options))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state(legacy=True)[1]).all()  # type: ignore[index]
    assert before[2] == random.getstate()


def test_a_span_is_one_forward_pass(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    lengths: list[int] = []
    forward = engine.model.llm.forward

    def counted(*args, **kwargs):
        lengths.append(kwargs["inputs_embeds"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(engine.model.llm, "forward", counted)
    reply = engine.generate("Draw a cat.", to="image", seed=0, max_new_tokens=3)
    span = len(engine.model.vocabulary.spans["image"].ids)
    assert lengths == [reply.usage["prompt_tokens"], 1, 1, 1, span]
    assert reply.usage["completion_tokens"] == 3 + span


def wish(engine: Engine, monkeypatch: pytest.MonkeyPatch, wishes: list[str]) -> list[int]:
    """Let the LLM want these one after the other: characters, media, and then the end; returns its tokens per pass."""
    vocabulary, forward = engine.model.vocabulary, engine.model.llm.forward
    lengths: list[int] = []

    def willed(*args, **kwargs):
        out = forward(*args, **kwargs)
        want = wishes[len(lengths)] if len(lengths) < len(wishes) else "end"
        span = vocabulary.spans.get(want)
        token = span.first if span else vocabulary.end if want == "end" else encode(engine.model.tokenizer, want)[0]
        out.logits[..., token] = 1e6
        lengths.append(kwargs["inputs_embeds"].shape[1])
        return out

    monkeypatch.setattr(engine.model.llm, "forward", willed)
    return lengths


def test_a_medium_that_is_not_wanted_is_run_and_not_made(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    span = engine.model.vocabulary.spans["image"].ids
    lengths = wish(engine, monkeypatch, ["H", "i", "image"])
    events = list(engine.stream("Draw a cat.", to="text", seed=0))
    assert {event.modality for event in events} == {"text", None}
    reply = events[-1].reply
    assert reply is not None
    assert [part.value for part in reply] == [Text("Hi")]
    assert reply.usage["completion_tokens"] == 2 + len(span)
    assert lengths == [reply.usage["prompt_tokens"], 1, 1, len(span)]  # in one pass, as one that is made


@pytest.mark.parametrize(
    ("wishes", "options", "kinds"),
    [
        (["H", "i", "image", "B", "y", "e", "image"], {"to": "text"}, ["Hi", "Bye"]),
        (["H", "i", "audio", "image"], {"to": "image"}, ["Hi", "image"]),
        (["H", "i", "audio"], {}, ["Hi"]),  # this model makes no sound
        (["H", "i", "image", "B", "y", "e", "image"], {"budget": 1}, ["Hi", "image", "Bye"]),
        (["image", "H", "i"], {"to": "text"}, None),  # the text comes first, whatever it is
    ],
)
def test_silent_media_leave_the_same_answer_single_and_in_a_batch(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, wishes: list[str], options: dict, kinds: list[str] | None
):
    lengths = wish(engine, monkeypatch, wishes)
    single = engine.generate("Draw a cat.", seed=3, **options)
    lengths.clear()
    (batch,) = engine.generate_batch(["Draw a cat."], seed=3, **options)
    same(single, batch)
    told = [part.text or part.type for part in single]
    assert told == kinds if kinds is not None else told[0].endswith("Hi")


def test_the_condition_is_that_of_the_training_forward(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """What the engine hands to the generator is what `AnyGenModel.forward` trains."""
    generator, seen = engine.model.generator("image"), []
    generate = generator.generate

    def watched(condition: torch.Tensor, *args, **kwargs) -> list[Image]:
        seen.append(condition)
        return generate(condition, *args, **kwargs)

    monkeypatch.setattr(generator, "generate", watched)
    session = Session()
    options = Options(to=("image",), seed=0, max_new_tokens=6)
    consume(engine.answer(session, engine.ask(session, messages([picture(5), "Draw"]), options)))
    with torch.no_grad():
        _, predicted = engine.model(
            torch.tensor([session.ids]),
            media={"image": engine.model.encode("image", [picture(5)])},
            return_conditions=True,
        )
    torch.testing.assert_close(seen[0], predicted["image"])


@pytest.mark.parametrize("space", [False, True])
def test_text_comes_in_whole_characters_without_the_tokenizers_own_space(space: bool):
    from tokenizers import pre_tokenizers

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    said = "Grüße, 猫! 🐱"
    ids = encode(tokenizer, said)
    stream = TextStream(tokenizer)
    deltas = [stream.push(token) for token in ids] + [stream.close()]
    assert "".join(deltas) == stream.text == said
    assert [delta for delta in deltas if delta] == list(said)
    stream = TextStream(tokenizer)
    assert [stream.push(token) for token in ids[:-1]][-1] == ""
    assert stream.close() == "\ufffd"


def test_media_are_encoded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    encoder = engine.model.encoders["image"]
    prepare = encoder.prepare

    def counted(image: Image) -> torch.Tensor:
        calls.append(1)
        return prepare(image)

    monkeypatch.setattr(encoder, "prepare", counted)
    for _ in range(2):
        engine.generate([picture(77), picture(77), "hm"], seed=0, max_new_tokens=2, to="text")
    assert len(calls) == 1


def test_too_long_is_refused_with_both_numbers(engine: Engine):
    with pytest.raises(RequestError, match=r"5\d\d tokens long .* holds 512"):
        engine.stream("x" * 510)
    reply = engine.generate("x" * 480, to="image", seed=0)  # little room: the picture still comes
    assert len(reply.images) == 1
    assert reply.usage["prompt_tokens"] + reply.usage["completion_tokens"] + 1 <= 512


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "smell"}, "to='smell': modalities are text, image, audio, video"),
        ({"to": "audio"}, "no generator for 'audio'; this model writes text, image"),
        ({"steps": 0}, "steps=0 is outside of 1"),
        ({"steps": 2.5}, "steps=2.5: a whole number"),
        ({"guidance": "high"}, "guidance='high': a number"),
        ({"temperature": -1}, "temperature=-1"),
        ({"top_p": 0}, "top_p=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": True}, "seed=True"),
        ({"edit": "maybe"}, "edit='maybe'"),
        ({"edit": True}, "edit=True needs a picture"),
        ({"colour": 1}, "unknown option 'colour'"),
    ],
)
def test_bad_requests_fail_at_the_call(engine: Engine, options: dict, words: str):
    with pytest.raises(RequestError, match=words):
        engine.stream("hello", **options)


def test_a_request_ends_with_the_user(engine: Engine):
    with pytest.raises(RequestError, match="must be the user's, not the assistant's"):
        engine.stream([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])


def test_edits_start_from_the_right_picture():
    one, two = picture(1), picture(2)

    def user(*parts) -> tuple[Message, ...]:
        return (Message("user", tuple(Text(part) if isinstance(part, str) else part for part in parts)),)

    past = (*user(one, "Look."), Message("assistant", (Text("I see."), two)))
    assert edit_source("auto", (), user(one, "Make it night.")) == one
    assert edit_source("auto", (), user("Make it night.")) is None
    assert edit_source("auto", past, user("Make it night.")) == two
    assert edit_source("auto", past, user("Make the first picture a night scene.")) == one
    assert edit_source("auto", past, user("Draw a dog.")) is None
    assert edit_source(True, past, user("Draw a dog.")) == two
    assert edit_source(False, past, user(one, "Make it night.")) is None
    sound = Audio(np.ones(400, np.float32) / 4, 16000)  # beside it a picture is no longer what is to be changed
    assert edit_source("auto", (), user(one, sound, "Draw what you hear.")) is None
    assert edit_source(True, (), user(one, sound, "Draw what you hear.")) == one


def test_an_edit_reaches_the_generator(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    seen: list[dict] = []
    generator = engine.model.generator("image")
    generate = generator.generate

    def noted(*args: Any, **options: Any) -> list[Image]:
        seen.append(options)
        return generate(*args, **options)

    monkeypatch.setattr(generator, "generate", noted)
    options = {"to": "image", "seed": 0, "max_new_tokens": 2, "steps": 4, "guidance": 1.5}
    engine.generate([picture(3), "Make it night."], **options)
    engine.generate([picture(3), "Make it night."], edit=False, **options)
    assert (seen[0]["source"], seen[0]["strength"]) == (picture(3), 0.6)
    assert "source" not in seen[1]
    assert len(engine.generate([picture(3), "Make it night."], **{**options, "steps": 1}).images) == 1
    assert (seen[1]["steps"], seen[1]["guidance"]) == (4, 1.5)


def test_a_stream_that_is_left_stops_its_generator():
    steps: list[int] = []

    def work(report):
        for step in range(10_000_000):
            report(step)
            steps.append(step)

    stream = follow(work)
    assert next(stream) == 0
    stream.close()
    count = len(steps)
    assert count < 10_000_000
    assert len(steps) == count

    def fail(report):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(follow(fail))


def test_half_precision_answers(tiny: Path):
    engine = anygen.load(tiny, device="cpu", dtype="bfloat16")
    assert len(engine.generate([picture(), "Draw"], to="image", seed=0, max_new_tokens=4).images) == 1


def test_unknown_models_and_devices_are_named():
    with pytest.raises(ModelError, match="nano"):
        anygen.load("frob")
    with pytest.raises(ModelError, match="cannot fetch someone/something at main"):
        anygen.load("someone/something")
    with pytest.raises(RequestError, match="dtype='float3'"):
        anygen.load("frob", dtype="float3")
    with pytest.raises(
        RequestError, match="device='toaster' cannot be used: there is no such kind of device; choose cpu"
    ):
        anygen.load("frob", device="toaster")


def test_pipeline_has_the_shape_of_transformers(tiny: Path):
    pipe = anygen.pipeline(tiny, device="cpu")
    options = {"max_new_tokens": 4, "seed": 0}
    (one,) = pipe(text="Draw a cat", generation_mode="image", **options)
    assert one["input_text"] == "Draw a cat"
    assert one["generated_image"].size == (16, 16)
    (text,) = pipe("Hi", return_full_text=False, **options)
    (full,) = pipe("Hi", **options)
    assert full["generated_text"] == "Hi" + text["generated_text"]
    two = pipe(["What?", "Who?"], images=[picture(), picture(1)], generate_kwargs={"max_new_tokens": 4})
    assert [record["input_text"] for record in two] == ["What?", "Who?"]
    chat = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    (said,) = pipe(chat, **options)
    assert said["generated_text"][:1] == chat
    assert said["generated_text"][1]["role"] == "assistant"
    (mixed,) = pipe(chat, generation_mode="interleaved", **options)
    assert {part["type"] for part in mixed["generated_interleaved"]} <= {"text", "image"}
    assert [len(records) for records in pipe([chat, chat], **options)] == [1, 1]
    with pytest.raises(RequestError, match="generation_mode='smell'"):
        pipe("hi", generation_mode="smell")
    with pytest.raises(RequestError, match="a chat holds its media itself"):
        pipe(chat, images=picture())
    with pytest.raises(RequestError, match="2 texts need"):
        pipe(["a", "b"], images=[picture()])
