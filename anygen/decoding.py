"""The LLM's side of an answer: a conversation with its KV cache, and a batch of answers that are written together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from anygen.model import AnyGenModel, positions
from anygen.projectors import bridging
from anygen.signals import Grammar, State
from anygen.template import encode


@dataclass(slots=True)
class Session:
    """The tokens of a conversation, the embeddings of its media in order, and the KV cache of a prefix of them.

    The cache may lag behind the tokens or be gone: what it does not hold is run again from tokens and media.
    """

    ids: list[int] = field(default_factory=list)
    media: list[tuple[str, Tensor]] = field(default_factory=list)  # modality, [tokens, width]
    cache: Any = None

    def cached(self) -> int:
        """How many tokens the cache holds."""
        return 0 if self.cache is None else int(self.cache.get_seq_length())

    def pending(self, model: AnyGenModel) -> Tensor:
        """Embeddings [tokens, width] of what the cache does not hold."""
        ids = self.ids[self.cached() :]
        media = {}
        for modality, count in model.tokens.items():
            needed = ids.count(model.vocabulary.spans[modality].placeholder) // count
            held = [embedding for kind, embedding in self.media if kind == modality]
            if needed:
                media[modality] = torch.stack(held[-needed:])
        with model.at("text"):
            return model.embed(torch.tensor([ids], device=model.device), media)[0]

    def memory(self, model: AnyGenModel) -> dict[str, tuple[list[int], Tensor]]:
        """Where media stand whose features the LLM's blocks look at, and these features [media, tokens, width]."""
        found = {}
        for modality in bridging.gated(model.input_projectors):
            placeholder = model.vocabulary.spans[modality].placeholder
            if places := [place for place, token in enumerate(self.ids) if token == placeholder]:
                found[modality] = (places, torch.stack([made[1:] for kind, made in self.media if kind == modality]))
        return found


@dataclass(slots=True)
class Row:
    """One answer while it is written. `held` are the tokens before it, `limit` its own most."""

    grammar: Grammar
    pick: Callable[[Tensor], int]
    held: int
    limit: int
    pending: Tensor  # embeddings [tokens, width] that the LLM has not seen
    state: State = field(default_factory=State)
    ids: list[int] = field(default_factory=list)
    span: str | None = None  # the modality whose whole span is pending
    memory: Mapping[str, tuple[Sequence[int], Tensor]] = field(default_factory=dict)  # as `Session.memory` has it
    last: Tensor | None = None  # the state [width] at the last token that was run, where conditions need it
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What one pass did for one answer: the `span` that it ran, with its states, and then the next `token` of text.

    `opened` is the medium whose span comes next. A silent span is run as well, and is neither a span nor opened here.
    """

    span: str | None = None
    hidden: Tensor | None = None  # [count, width], at the signals of the span
    token: int | None = None
    opened: str | None = None
    finished: bool = False


class Decoding:
    """Answers written side by side: every `step` is one forward pass for all of them.

    A row feeds one token, or a whole span at once; shorter rows are padded on the left and masked.
    """

    def __init__(self, model: AnyGenModel, rows: Sequence[Row], cache: Any = None) -> None:
        from transformers import DynamicCache

        self.model = model
        self.rows = list(rows)
        self.cache = DynamicCache(config=model.llm.config) if cache is None else cache
        past = int(self.cache.get_seq_length())
        self.mask = torch.ones(len(self.rows), past, dtype=torch.long, device=self.rows[0].pending.device)
        self.held = bridging.stacked([row.memory for row in self.rows], self.mask.device)

    @torch.no_grad()
    def step(self) -> list[Move | None]:
        """Run what is pending and choose what comes next; None for answers that are finished."""
        with self.model.at("text"):
            if self.model.residence is not None:
                self.model.residence.keep(self.cache)
            hidden, logits = self._run()
            states = zip(self.rows, hidden, logits, strict=True)
            return [None if row.finished else self._move(row, seen, next_) for row, seen, next_ in states]

    def _run(self) -> tuple[Tensor, Tensor]:
        """Hidden states [rows, tokens, width], real if a span is pending, and the last logits [rows, vocabulary]."""
        longest = max(len(row.pending) for row in self.rows)
        embeddings = self.rows[0].pending.new_zeros(len(self.rows), longest, self.model.width)
        mask = torch.zeros(len(self.rows), longest, dtype=torch.long, device=self.model.device)
        for index, row in enumerate(self.rows):
            if len(row.pending):
                embeddings[index, -len(row.pending) :] = row.pending
                mask[index, -len(row.pending) :] = 1
        self.mask = torch.cat([self.mask, mask], dim=1)
        places = positions(self.mask)[:, -longest:]
        with bridging.seeing({modality: held.sight(places) for modality, held in self.held.items()}):
            out = self.model.llm(
                inputs_embeds=embeddings,
                attention_mask=self.mask,
                position_ids=places,
                past_key_values=self.cache,
                use_cache=True,
                output_hidden_states=self.model.vocabulary.lags or any(row.span for row in self.rows),
                logits_to_keep=1,
            )
        logits = out.logits[:, -1].float().cpu()
        return (embeddings if out.hidden_states is None else out.hidden_states[-1]), logits

    def _move(self, row: Row, hidden: Tensor, logits: Tensor) -> Move:
        """Account for what was run for `row` and choose its next token."""
        span, states = row.span, None
        if span is not None:
            states = self._states(row, hidden, span)
        row.span, row.last = None, hidden[-1] if self.model.vocabulary.lags else None
        token = self._choose(row, logits)
        if token is None:
            row.finished, row.pending = True, row.pending[:0]
            return Move(span=span, hidden=states, finished=True)
        row.state = row.grammar.advance(row.state, token)
        ids, text = [token], row.state.span is None
        if row.state.span is not None:
            row.span = None if row.state.silent else row.state.span
            rest, row.state = row.grammar.complete(row.state)
            ids += rest
        row.ids += ids
        row.pending = self.model.embed(torch.tensor([ids], device=self.model.device))[0]
        return Move(span=span, hidden=states, token=token if text else None, opened=row.span)

    def _states(self, row: Row, hidden: Tensor, span: str) -> Tensor:
        """Of the states [tokens, width] of a pass that ends with a span, those that its condition is made from."""
        held = self.model.vocabulary.spans[span]
        seen, place = hidden[-len(held.ids) :], held.ids.index(held.signals[0])
        if self.model.vocabulary.lags:
            assert row.last is not None
            seen = torch.cat([row.last.unsqueeze(0), seen])
        return seen[place : place + len(held.signals)]

    def _choose(self, row: Row, logits: Tensor) -> int | None:
        """The next token, or None for the end of the answer."""
        spans = self.model.vocabulary.spans
        missing = row.grammar.missing(row.state)
        room = self.model.context - row.held - len(row.ids) - 1  # one place is for the end token
        if len(row.ids) >= row.limit or room <= sum(len(spans[modality].ids) for modality in missing):
            return spans[missing[0]].first if missing else None
        token = row.grammar.choose(row.state, logits, row.pick, room)
        return None if token in self.model.vocabulary.ends else token


def picker(temperature: float, top_p: float, rng: torch.Generator) -> Callable[[Tensor], int]:
    """How a token is drawn from masked logits [vocabulary]: the likeliest at temperature 0, else nucleus sampling."""

    def pick(logits: Tensor) -> int:
        if temperature == 0:
            return int(logits.argmax())
        chances, order = torch.softmax(logits.double() / temperature, dim=-1).sort(descending=True, stable=True)
        before = chances.cumsum(-1) - chances
        chances = chances * (before < top_p)
        point = torch.rand((), generator=rng, dtype=torch.float64) * chances.sum()
        index = int((chances.cumsum(-1) <= point).sum())
        return int(order[min(index, int((chances > 0).sum()) - 1)])

    return pick


class TextStream:
    """Tokens to text as they come; a character of several tokens appears when it is whole.

    Some tokenizers begin every text with a space of their own; that one is left out. `tail` is white space that
    belongs to the end of a turn, not to its text.
    """

    def __init__(self, tokenizer: Any, tail: str = "") -> None:
        self.tokenizer = tokenizer
        self.tail = tail
        self.space = tokenizer.decode(encode(tokenizer, "a")).startswith(" ")
        self.ids: list[int] = []
        self.text = ""
        self.closed = False

    def push(self, token: int) -> str:
        """The text that `token` completes."""
        self.ids.append(token)
        return self._grow(final=False)

    def close(self) -> str:
        """What was held back; nothing may be pushed after that."""
        self.closed = True
        return self._grow(final=True)

    def _grow(self, final: bool) -> str:
        text = self.tokenizer.decode(self.ids, clean_up_tokenization_spaces=False)
        if self.space:
            text = text.removeprefix(" ")
        if not final:
            text = text.rstrip("\ufffd")  # the start of a character
        if self.tail:
            text = text.rstrip(self.tail)
        if len(text) <= len(self.text):
            return ""
        new, self.text = text[len(self.text) :], text
        return new
