"""Dialects: how a checkpoint from elsewhere spells a conversation: its own tokens, its own words around turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anygen.error import ModelError, RequestError

STATES = ("at", "before")


@dataclass(frozen=True, kw_only=True, slots=True)
class MediumTokens:
    """The names of one medium's tokens.

    An input is `open`, placeholders, `close`; in an answer the `signals` stand by themselves.
    """

    open: str
    close: str
    placeholder: str
    signals: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.signals) < 2:
            raise ModelError(f"a medium of a dialect has {len(self.signals)} signal tokens; at least 2 are needed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """A conversation is `begin`, `start`, and turns of a role's words, what is said, and `after`.

    `ends` are tokens of which each ends an answer. `states` says which hidden states a span's condition is made from:
    those "at" its signals, or those "before" them, which predict the signals.
    """

    begin: str
    pad: str
    start: str
    roles: Mapping[str, str]
    after: str
    ends: tuple[str, ...]
    media: Mapping[str, MediumTokens]
    states: str = "at"

    def __post_init__(self) -> None:
        if self.states not in STATES:
            raise ModelError(f"a dialect's states are {self.states!r}; choose {' or '.join(STATES)}")
        if not self.ends:
            raise ModelError("a dialect has no tokens that end an answer; at least 1 is needed")
        for role in ("user", "assistant"):
            if role not in self.roles:
                raise ModelError(f"a dialect has no words for the {role}")


@dataclass(slots=True)
class Run:
    """Text that is encoded in one go, or the ids of a medium (`text` is None); `said` is what a loss counts."""

    said: bool
    text: str | None
    ids: Sequence[int] = ()


def lay_out(
    messages: Iterable[tuple[str, Sequence[Any]]],
    dialect: Dialect,
    vocabulary: Any,
    tokens: Mapping[str, int],
    kind: Any,
    text: Any,
    *,
    answer: bool,
    begin: bool,
) -> Iterator[tuple[Run, Any]]:
    """The runs of a conversation, each with its medium or None; `messages` are roles and parts.

    `kind(part)` is a part's modality, `text(part)` its text. White space beside a medium is left out, as the slow
    tokenizers did with which such checkpoints were trained; like them the tokenizer sets a space before every run.
    """
    held: list[tuple[Run, Any]] = []

    def say(words: str, said: bool) -> None:
        if held and held[-1][0].text is not None and held[-1][0].said == said:
            held[-1][0].text += words
        else:
            held.append((Run(said=said, text=words), None))

    if begin:
        held.append((Run(said=False, text=None, ids=[vocabulary.begin]), None))
        say(dialect.start, False)
    for role, parts in messages:
        if role not in dialect.roles:
            raise RequestError(f"unknown role {role!r}; roles of this model are {', '.join(dialect.roles)}")
        speaks = role == "assistant"
        say(dialect.roles[role], False)
        for part in parts:
            modality = kind(part)
            if modality == "text":
                say(text(part), speaks)
                continue
            if modality not in vocabulary.spans or (not speaks and modality not in tokens):
                reads = ", ".join(("text", *(m for m in tokens if m in vocabulary.spans)))
                raise RequestError(f"no encoder for {modality!r}; this model reads {reads}")
            span = vocabulary.spans[modality]
            ids = span.ids if speaks else (span.open, *[span.placeholder] * tokens[modality], span.close)
            held.append((Run(said=speaks, text=None, ids=ids), part))
        say(dialect.after, speaks)
    if answer:
        say(dialect.roles["assistant"], False)
    for index, (run, medium) in enumerate(held):
        if run.text is not None:
            beside = [0 < place < len(held) and held[place][1] is not None for place in (index - 1, index + 1)]
            run.text = run.text.lstrip() if beside[0] else run.text
            run.text = run.text.rstrip() if beside[1] else run.text
            if index or not begin:
                run.text = run.text.removeprefix(" ")  # the tokenizer sets one before every run
        yield run, medium


def closing(dialect: Dialect, encode: Any, decode: Any) -> list[int]:
    """The ids that stand between the last word of an answer and the next turn: those of `after` behind its line's end.

    The line's end itself is the model's own last token.
    """
    ids = encode(dialect.after)
    while ids and "\n" in decode(ids):
        ids = ids[1:]
    return ids


def jinja(dialect: Dialect, tokens: Mapping[str, int]) -> str:
    """`lay_out` as a chat template for transformers; white space beside media stays."""

    def quoted(words: str) -> str:
        return "'" + words.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"

    media = ""
    for modality, names in dialect.media.items():
        asked = names.open + names.placeholder * tokens.get(modality, 0) + names.close
        made = "".join(names.signals)
        media += (
            f"{{%- elif part['type'] == '{modality}' -%}}"
            f"{{{{- {quoted(made)} if message['role'] == 'assistant' else {quoted(asked)} -}}}}"
        )
    roles = "{" + ", ".join(f"{quoted(role)}: {quoted(words)}" for role, words in dialect.roles.items()) + "}"
    return (
        f"{{%- set roles = {roles} -%}}"
        f"{{{{- {quoted(dialect.begin + dialect.start)} -}}}}"
        "{%- for message in messages -%}"
        "{{- roles[message['role']] -}}"
        "{%- if message['content'] is string -%}{{- message['content'] -}}"
        "{%- else -%}{%- for part in message['content'] -%}"
        "{%- if part['type'] == 'text' -%}{{- part['text'] -}}" + media + "{%- endif -%}{%- endfor -%}{%- endif -%}"
        f"{{{{- {quoted(dialect.after)} -}}}}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- roles['assistant'] -}}{%- endif -%}"
    )
