"""Signal tokens and their grammar: whatever the logits are, spans are whole and what is required comes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anygen.error import ModelError, RequestError
from anygen.signals import Grammar, SignalTokens, State, Vocabulary, bind, find_spans, special_tokens
from anygen.testing import SIGNALS, tiny_tokenizer

MEDIA = ("image", "audio", "video")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    tokenizer = tiny_tokenizer()
    return Vocabulary.resolve(tokenizer, SIGNALS, len(tokenizer) + 5)


VOCABULARY = Vocabulary.resolve(tiny_tokenizer(), SIGNALS)


def pick(logits: torch.Tensor) -> int:
    return int(logits.argmax())


def write(grammar: Grammar, logits, limit: int = 60) -> tuple[list[int], State, list[bool]]:
    """What is written, the state at its end, and of every span that was opened whether it is silent."""
    state = State()
    ids: list[int] = []
    silent: list[bool] = []
    while not state.ended and len(ids) < limit:
        token = grammar.choose(state, logits(), pick)
        assert grammar.allowed(state)[token]
        state = grammar.advance(state, token)
        ids.append(token)
        if state.position == 1:
            silent.append(state.silent)
    return ids, state, silent


def soundtracks(spans: list[tuple[str, int]]) -> int:
    """How many of the audio spans stand right after a video span."""
    film = {place + len(VOCABULARY.spans["video"].ids) for modality, place in spans if modality == "video"}
    return sum(modality == "audio" and place in film for modality, place in spans)


def test_names_are_those_of_the_format():
    names = SignalTokens(modality="image", count=2)
    assert names.names == ("<|image|>", "<|/image|>", "<|image_in|>", "<|image_0|>", "<|image_1|>")
    assert special_tokens({"image": 1})[:6] == (
        "<|pad|>",
        "<|begin|>",
        "<|user|>",
        "<|assistant|>",
        "<|system|>",
        "<|end|>",
    )
    with pytest.raises(ModelError, match="'smell'"):
        SignalTokens(modality="smell", count=2)
    with pytest.raises(ModelError, match="0 signal tokens"):
        SignalTokens(modality="image", count=0)


def test_text_never_holds_structure(vocabulary: Vocabulary):
    allowed = Grammar(vocabulary, MEDIA).allowed(State())
    tokenizer = tiny_tokenizer()
    names = {tokenizer.convert_ids_to_tokens(int(index)) for index in allowed.nonzero() if int(index) < len(tokenizer)}
    assert {name for name in names if name.startswith("<|")} == {"<|image|>", "<|audio|>", "<|video|>", "<|end|>"}
    assert not allowed[len(tokenizer) :].any()  # padding rows of the embedding matrix


def test_a_missing_token_is_named(vocabulary: Vocabulary):
    with pytest.raises(ModelError, match=r"<\|image_3\|>"):
        Vocabulary.resolve(tiny_tokenizer(), {"image": 4})
    with pytest.raises(ModelError, match="embeddings for 3"):
        Vocabulary.resolve(tiny_tokenizer(), SIGNALS, 3)


@given(
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.0, 1.0, 100.0]),
    favour=st.sampled_from(["", "end", "open", "signal", "nan", "inf"]),
    to=st.sampled_from([None, ("text",), ("image",), ("video",), ("audio", "video"), ("text", "image"), MEDIA]),
    budget=st.integers(3, 8),
)
def test_no_logits_make_a_malformed_span(seed: int, scale: float, favour: str, to: tuple[str, ...] | None, budget: int):
    rng = torch.Generator().manual_seed(seed)

    def logits() -> torch.Tensor:
        values = torch.randn(VOCABULARY.size, generator=rng) * scale
        if favour == "end":
            values[VOCABULARY.end] += 1e6
        elif favour == "open":
            values[[span.open for span in VOCABULARY.spans.values()]] += 1e6
        elif favour == "signal":
            values[[index for span in VOCABULARY.spans.values() for index in (*span.signals, span.close)]] += 1e6
        elif favour in ("nan", "inf"):
            values[::2] = float(favour)
        return values

    grammar = Grammar(VOCABULARY, MEDIA, to, budget)
    ids, state, silent = write(grammar, logits)
    every = find_spans(ids if state.span is None else ids[: -state.position], VOCABULARY)
    spans = [span for span, mute in zip(every, silent, strict=False) if not mute]
    assert [modality for modality, _ in spans] == list(state.made)
    tracks = soundtracks(spans)
    assert state.tracks == tracks and len(spans) - tracks == state.parts <= budget
    for modality, place in every:
        assert tuple(ids[place - 1 : place - 1 + len(VOCABULARY.spans[modality].ids)]) == VOCABULARY.spans[modality].ids
    structure = {*VOCABULARY.roles.values(), VOCABULARY.begin, VOCABULARY.pad}
    structure |= {span.placeholder for span in VOCABULARY.spans.values()}
    assert not structure & set(ids)
    if to is not None:
        asked = {modality for modality in to if modality != "text"}
        assert {modality for modality, _ in spans} <= asked | ({"audio"} if tracks else set())
        if "audio" not in asked:
            assert state.made.count("audio") == tracks
        if state.ended:
            assert asked <= set(state.made)
            assert state.wrote or "text" not in to


def test_a_wish_to_end_opens_what_is_missing(vocabulary: Vocabulary):
    grammar = Grammar(vocabulary, MEDIA, ("audio", "image"))
    logits = torch.zeros(vocabulary.size)
    logits[vocabulary.end] = 9
    logits[vocabulary.spans["audio"].open] = 1
    ids, *_ = write(grammar, lambda: logits)
    assert ids == [*vocabulary.spans["audio"].ids, *vocabulary.spans["image"].ids, vocabulary.end]


def test_the_last_places_are_kept_for_what_is_required(vocabulary: Vocabulary):
    grammar = Grammar(vocabulary, MEDIA, ("audio", "image"), budget=2)
    assert grammar.openable(State(made=("audio",))) == ("image",)
    assert grammar.openable(State(), room=4) == ("audio",)  # an image takes 5
    with pytest.raises(RequestError, match="budget of 1"):
        Grammar(vocabulary, MEDIA, ("audio", "image"), budget=1)


def test_a_film_may_have_its_sound_and_is_one_medium_with_it(vocabulary: Vocabulary):
    grammar = Grammar(vocabulary, MEDIA, ("video",), budget=1)
    assert grammar.openable(State()) == ("video",)  # a sound alone was not asked for
    filmed = grammar.complete(grammar.advance(State(), vocabulary.spans["video"].open))[1]
    assert filmed.film and grammar.openable(filmed) == ("audio",)
    assert grammar.openable(filmed, room=4) == ("audio",) and grammar.openable(filmed, room=3) == ()
    told = grammar.advance(filmed, int(vocabulary.text.nonzero()[0]))
    assert not told.film and grammar.openable(told) == ()
    dubbed = grammar.complete(grammar.advance(filmed, vocabulary.spans["audio"].open))[1]
    assert (dubbed.made, dubbed.parts, dubbed.film) == (("video", "audio"), 1, False)
    assert grammar.openable(dubbed) == ()
    assert Grammar(vocabulary, ("image", "video"), ("video",)).openable(filmed) == ("video",)  # it makes no sound
    both = Grammar(vocabulary, MEDIA, ("video", "audio"))
    assert both.missing(State()) == ("video", "audio") and both.missing(dubbed) == ()


def test_a_span_whose_medium_may_not_come_is_silent(vocabulary: Vocabulary):
    grammar, image = Grammar(vocabulary, MEDIA, ("text",)), vocabulary.spans["image"]
    assert grammar.silent(State()) == ()  # text is required, and comes first
    told = grammar.advance(State(), int(vocabulary.text.nonzero()[0]))
    assert grammar.openable(told) == () and grammar.silent(told) == MEDIA
    assert grammar.silent(told, room=len(image.ids)) == ("image", "audio")
    opened = grammar.advance(told, image.open)
    assert opened.silent and grammar.complete(opened)[1] == told
    full = Grammar(vocabulary, MEDIA, budget=1)
    assert full.silent(State()) == () and full.silent(State(made=("image",))) == MEDIA
    kept = Grammar(vocabulary, MEDIA, ("image",))
    assert kept.silent(State(), room=len(image.ids) + 4) == ("audio",)  # an image must still fit behind it
    dumb = Grammar(vocabulary, ("image", "video"))
    filmed = dumb.complete(dumb.advance(State(), vocabulary.spans["video"].open))[1]
    assert dumb.silent(filmed) == ("audio",)  # it makes no sound, so this film has none


def test_a_sound_after_a_silent_film_is_no_soundtrack(vocabulary: Vocabulary):
    grammar = Grammar(vocabulary, MEDIA, ("audio",), budget=1)
    state = grammar.complete(grammar.advance(State(), vocabulary.spans["video"].open))[1]
    assert (state.made, state.film) == ((), False)
    sounded = grammar.complete(grammar.advance(state, vocabulary.spans["audio"].open))[1]
    assert (sounded.made, sounded.parts) == (("audio",), 1)


def test_a_medium_without_generator_is_refused(vocabulary: Vocabulary):
    with pytest.raises(RequestError, match="no generator for 'audio'; this model writes text, image"):
        Grammar(vocabulary, ("image",), ("audio",))


def test_a_span_completes_without_the_llm(vocabulary: Vocabulary):
    grammar, span = Grammar(vocabulary, MEDIA), vocabulary.spans["video"]
    rest, state = grammar.complete(grammar.advance(State(), span.open))
    assert (span.open, *rest) == span.ids
    assert state == State(made=("video",), film=True)
    with pytest.raises(AssertionError, match="not allowed"):
        grammar.advance(State(), span.close)


def test_find_spans_refuses_a_cut_span(vocabulary: Vocabulary):
    span = vocabulary.spans["image"]
    assert find_spans([1, *span.ids, 2, *span.ids], vocabulary) == [("image", 2), ("image", 8)]
    for cut in (span.ids[:-2], span.ids[2:], span.ids[::-1]):
        with pytest.raises(ModelError, match="stray signal token"):
            find_spans(cut, vocabulary)


def test_bind_keeps_the_order_of_what_is_allowed():
    logits = torch.tensor([1.0, float("nan"), float("inf"), -float("inf")])
    bound = bind(logits, torch.tensor([True, True, False, True]))
    assert bound.argmax() == 0
    assert bound[2] == -torch.inf
    assert bound[[0, 1, 3]].isfinite().all()
