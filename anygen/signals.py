"""Signal tokens and the grammar that binds them: a span opens, has exactly its count, closes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from anygen.dialect import Dialect, closing
from anygen.error import ModelError, RequestError

MEDIA = ("image", "audio", "video")
SENSED = ("depth", "thermal", "imu")
"""Media that are only read: they have brackets and a placeholder, and no signals."""
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalTokens:
    """The names of one modality's tokens: `open`, `close`, an input's `placeholder` and an answer's `signals`."""

    modality: str
    count: int

    def __post_init__(self) -> None:
        if self.modality in SENSED:
            if self.count:
                raise ModelError(f"{self.modality} has {self.count} signal tokens, but is only read: give it 0")
            return
        if self.modality not in MEDIA:
            raise ModelError(f"no signal tokens for {self.modality!r}; media are {', '.join((*MEDIA, *SENSED))}")
        if self.count < 1:
            raise ModelError(f"{self.modality} has {self.count} signal tokens; at least 1 is needed")

    @property
    def open(self) -> str:
        return f"<|{self.modality}|>"

    @property
    def close(self) -> str:
        return f"<|/{self.modality}|>"

    @property
    def placeholder(self) -> str:
        return f"<|{self.modality}_in|>"

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(f"<|{self.modality}_{index}|>" for index in range(self.count))

    @property
    def names(self) -> tuple[str, ...]:
        return (self.open, self.close, self.placeholder, *self.signals)


STRUCTURE = ("<|pad|>", "<|begin|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")


def special_tokens(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Every token that a tokenizer needs for `counts` (modality -> signal tokens), in their fixed order."""
    known = [modality for modality in (*MEDIA, *SENSED) if modality in counts]
    named = [SignalTokens(modality=modality, count=counts[modality]).names for modality in known]
    return STRUCTURE + tuple(name for names in named for name in names)


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """The token ids of one modality. With `bare`, the signals of an answer have no brackets around them."""

    modality: str
    open: int
    close: int
    placeholder: int
    signals: tuple[int, ...]
    bare: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        """A whole span as it stands in an answer."""
        return self.signals if self.bare else (self.open, *self.signals, self.close)

    @property
    def first(self) -> int:
        """The token that opens a span in an answer."""
        return self.ids[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The ids of all structural tokens of one tokenizer, and `size`, the rows of the LLM's embedding matrix.

    `ends` are the tokens of which each ends an answer, `closing` what a conversation holds in their place.
    """

    size: int
    pad: int
    begin: int
    ends: tuple[int, ...]
    closing: tuple[int, ...]
    roles: Mapping[str, int]
    spans: Mapping[str, Span]
    text: Tensor  # bool [size]: ids that may stand in running text
    dialect: Dialect | None = None

    @property
    def end(self) -> int:
        """The usual end of an answer."""
        return self.ends[0]

    @property
    def lags(self) -> bool:
        """True if conditions are made from the states before the signals, not from those at them."""
        return self.dialect is not None and self.dialect.states == "before"

    @classmethod
    def resolve(
        cls, tokenizer: Any, counts: Mapping[str, int], size: int | None = None, dialect: Dialect | None = None
    ) -> Vocabulary:
        """Look up every token of `counts` in a transformers fast tokenizer; a missing one is a ModelError.

        A `dialect` names its own tokens, as many per modality as `counts` says.
        """
        known = tokenizer.get_vocab()
        size = len(tokenizer) if size is None else size
        if size < len(tokenizer):
            raise ModelError(f"the tokenizer has {len(tokenizer)} tokens but the LLM has embeddings for {size}")

        def identify(name: str) -> int:
            if name not in known:
                raise ModelError(f"the tokenizer has no token {name}; add it and train its embedding")
            return known[name]

        spans = {}
        for modality, count in counts.items():
            names = (
                SignalTokens(modality=modality, count=count) if dialect is None else _spelt(dialect, modality, count)
            )
            spans[modality] = Span(
                modality=modality,
                open=identify(names.open),
                close=identify(names.close),
                placeholder=identify(names.placeholder),
                signals=tuple(identify(name) for name in names.signals),
                bare=dialect is not None,
            )
        # everything that is marked special, known to us or not, stays out of running text
        special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        special |= {known[name] for name in special_tokens(counts) if name in known}
        special |= {index for span in spans.values() for index in (span.open, span.close, span.placeholder, *span.ids)}
        ends = tuple(identify(name) for name in (("<|end|>",) if dialect is None else dialect.ends))
        text = torch.zeros(size, dtype=torch.bool)
        text[sorted(set(known.values()) - special - set(ends))] = True
        return cls(
            size=size,
            pad=identify("<|pad|>" if dialect is None else dialect.pad),
            begin=identify("<|begin|>" if dialect is None else dialect.begin),
            ends=ends,
            closing=ends if dialect is None else tuple(_closing(dialect, tokenizer)),
            roles={role: identify(f"<|{role}|>") for role in ROLES} if dialect is None else {},
            spans=spans,
            text=text,
            dialect=dialect,
        )

    def trained_ids(self, modalities: Collection[str] | None = None) -> list[int]:
        """The tokens whose embedding rows stage 2 trains: open, close and signals of `modalities` (default: all)."""
        chosen = self.spans if modalities is None else modalities
        return sorted(index for modality in chosen for index in self.spans[modality].ids)


def _spelt(dialect: Dialect, modality: str, count: int) -> Any:
    names = dialect.media.get(modality)
    if names is None or len(names.signals) != count:
        has = "none" if names is None else len(names.signals)
        raise ModelError(f"anygen.json gives {modality} {count} signal tokens, its dialect names {has}")
    return names


def _closing(dialect: Dialect, tokenizer: Any) -> list[int]:
    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    return closing(dialect, encode, tokenizer.decode)


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where an answer stands: in running text (`span` is None) or at `position` of a span."""

    span: str | None = None
    position: int = 0  # tokens of the span that are there already, the open token included
    silent: bool = False  # the span's medium is not made
    made: tuple[str, ...] = ()  # modalities of the closed spans, in order
    wrote: bool = False  # some text is there
    ended: bool = False
    film: bool = False  # a video has just closed: an audio that opens now is its soundtrack
    tracks: int = 0  # soundtracks among what is made

    @property
    def parts(self) -> int:
        """How many media the closed spans are: a video and its soundtrack are one."""
        return len(self.made) - self.tracks


class Grammar:
    """What may come next in an answer.

    `writes` are the media that the model can make. `to` are the modalities that the answer must hold and the only media
    that it may hold; None leaves the choice to the LLM. Text may accompany any answer; `to=("text",)` means text only.
    `budget` bounds the media of one answer. An audio span right after a video span is that video's soundtrack: it may
    come wherever the video may, and is no medium of its own.

    An LLM that has said what it makes wants its span next, and has never learnt to go on without it. A span whose
    medium may not come is therefore silent: it stands in the context as any other, and nothing is made of it.
    """

    def __init__(
        self, vocabulary: Vocabulary, writes: Collection[str], to: Collection[str] | None = None, budget: int = 8
    ) -> None:
        for modality in to or ():
            if modality != "text" and modality not in writes:
                can = ", ".join(("text", *writes))
                raise RequestError(f"no generator for {modality!r}; this model writes {can}")
        self.vocabulary = vocabulary
        self.media = tuple(m for m in MEDIA if m in writes and (to is None or m in to))
        # in the order that was asked for: of a video and its sound, the video comes first
        self.required = () if to is None else tuple(dict.fromkeys(m for m in to if m in self.media))
        self.dubs = "audio" in writes and "video" in self.media
        self.needs_text = to is not None and "text" in to
        self.budget = budget
        if budget < len(self.required):
            raise RequestError(
                f"a budget of {budget} media cannot hold {len(self.required)}: {', '.join(self.required)}"
            )

    def missing(self, state: State) -> tuple[str, ...]:
        """Required media that are not there yet."""
        return tuple(modality for modality in self.required if modality not in state.made)

    def openable(self, state: State, room: int | None = None) -> tuple[str, ...]:
        """Media that may open now. `room` is the number of tokens that the context still holds."""
        if state.span is not None or state.ended:
            return ()
        missing = self.missing(state)
        # the last places of the budget, and the last tokens of the context, are kept for what must still come
        places = self.budget - state.parts
        reserve = sum(self._length(m) for m in missing)

        def may(modality: str) -> bool:
            needed = modality in missing
            if room is not None and room - self._length(modality) < (0 if needed else reserve):
                return False
            if modality == "audio" and self.dubs and state.film:
                return True
            return modality in self.media and places > (0 if needed else len(missing))

        return tuple(modality for modality in MEDIA if modality in self.vocabulary.spans and may(modality))

    def silent(self, state: State, room: int | None = None) -> tuple[str, ...]:
        """Media whose spans may open now for the context alone, since they may not be made."""
        if state.span is not None or state.ended or (self.needs_text and not state.wrote):
            return ()  # an answer that must hold text begins with it
        made = self.openable(state)
        reserve = sum(self._length(m) for m in self.missing(state))
        return tuple(
            m
            for m in MEDIA
            if m in self.vocabulary.spans and m not in made and (room is None or room - self._length(m) >= reserve)
        )

    def _length(self, modality: str) -> int:
        return len(self.vocabulary.spans[modality].ids)

    def allowed(self, state: State, room: int | None = None) -> Tensor:
        """The ids that may come next, bool [vocabulary size]; all False once the answer has ended."""
        mask = torch.zeros(self.vocabulary.size, dtype=torch.bool)
        if state.ended:
            return mask
        if state.span is not None:
            mask[self.vocabulary.spans[state.span].ids[state.position]] = True
            return mask
        mask |= self.vocabulary.text
        for modality in (*self.openable(state, room), *self.silent(state, room)):
            mask[self.vocabulary.spans[modality].first] = True
        mask[list(self.vocabulary.ends)] = not self.missing(state) and (state.wrote or not self.needs_text)
        return mask

    def choose(self, state: State, logits: Tensor, pick: Callable[[Tensor], int], room: int | None = None) -> int:
        """The next id from `logits` [vocabulary size]; `pick` takes masked logits to an id.

        A wish to end while something required is missing becomes the open token of what is missing.
        """
        mask = self.allowed(state, room)
        if state.span is not None:
            return int(mask.nonzero())
        wish = mask.clone()
        wish[list(self.vocabulary.ends)] = True
        chosen = pick(bind(logits, wish))
        if mask[chosen]:
            return chosen
        missing = [self.vocabulary.spans[m].first for m in self.missing(state) if m in self.openable(state, room)]
        if missing:
            return max(missing, key=lambda index: float(logits[index].nan_to_num(nan=-torch.inf)))
        mask[list(self.vocabulary.ends)] = False
        return pick(bind(logits, mask))

    def advance(self, state: State, token: int) -> State:
        """The state after `token`; a token that is not allowed is a bug of the caller."""
        if not self.allowed(state)[token]:
            raise AssertionError(f"token {token} is not allowed in {state}")
        if state.span is not None:
            if state.position + 1 < self._length(state.span):
                return replace(state, position=state.position + 1)
            if state.silent:
                return State(made=state.made, wrote=state.wrote, tracks=state.tracks)
            track = state.film and state.span == "audio"
            made, film = (*state.made, state.span), state.span == "video"
            return State(made=made, wrote=state.wrote, film=film, tracks=state.tracks + track)
        if token in self.vocabulary.ends:
            return replace(state, ended=True, film=False)
        for modality, span in self.vocabulary.spans.items():
            if token == span.first:
                return replace(state, span=modality, position=1, silent=modality not in self.openable(state))
        return replace(state, wrote=True, film=False)

    def complete(self, state: State) -> tuple[tuple[int, ...], State]:
        """The tokens that finish the span that is open, known without asking the LLM, and the state after them."""
        assert state.span is not None
        rest = self.vocabulary.spans[state.span].ids[state.position :]
        for token in rest:
            state = self.advance(state, token)
        return rest, state


def bind(logits: Tensor, mask: Tensor) -> Tensor:
    """`logits` with everything outside `mask` at minus infinity; NaN counts as never, plus infinity as very likely."""
    logits = logits.float().nan_to_num(nan=-1e30, posinf=1e30, neginf=-1e30)
    return logits.masked_fill(~mask, -torch.inf)


def find_spans(ids: Sequence[int], vocabulary: Vocabulary) -> list[tuple[str, int]]:
    """Modality and place of the first signal of every span in `ids`; a malformed span is a ModelError."""
    opens = {span.signals[0]: span for span in vocabulary.spans.values() if span.signals}
    signals = {index for span in vocabulary.spans.values() for index in span.signals}
    found, place = [], 0
    while place < len(ids):
        span = opens.get(ids[place])
        if span is not None and tuple(ids[place : place + len(span.signals)]) == span.signals:
            found.append((span.modality, place))
            place += len(span.signals)
        elif ids[place] in signals:
            raise ModelError(f"stray signal token {ids[place]} at position {place}: a span was cut or reordered")
        else:
            place += 1
    return found
