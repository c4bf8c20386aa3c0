"""The chat template: messages to token ids, with a place for every medium."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anygen.dialect import lay_out
from anygen.error import RequestError
from anygen.signals import MEDIA, SignalTokens, Vocabulary

IGNORE = -100  # a label that no loss counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """Token ids, labels of one length with them, and the media in the order of their places.

    `labels` repeat the ids where the assistant speaks and are -100 elsewhere. `inputs` are the media whose embeddings
    replace placeholders; `outputs` are the media of the assistant, one per span of signal tokens.
    """

    ids: list[int]
    labels: list[int]
    inputs: list[Any]
    outputs: list[Any]


def render(
    messages: Iterable[Any],
    tokenizer: Any,
    vocabulary: Vocabulary,
    tokens: Mapping[str, int],
    *,
    writes: Collection[str] = MEDIA,
    answer: bool = False,
    begin: bool = True,
) -> Rendered:
    """Lay out a conversation.

        <|begin|><|system|>...<|end|><|user|>...<|end|><|assistant|>...<|end|>

    A message has a role and parts (`anygen.media.Message`, or a dict with `role` and `content`); a part is a string, a
    media value, or a dict with `type`. `tokens` are the placeholders per input medium. A medium of a user's turn
    is open, placeholders, close; one of an assistant turn is open, signals, close. A `Video` with sound is a video and
    right after it an audio, in a user's turn if the model reads sounds, in an assistant's if it `writes` them.
    `answer` leaves the assistant's turn open at the end; `begin=False` continues an earlier rendering.
    A vocabulary with a dialect has its own words around turns (`anygen.dialect`).
    """
    if vocabulary.dialect is not None:
        return _spelt(messages, tokenizer, vocabulary, tokens, answer, begin)
    ids: list[int] = [vocabulary.begin] if begin else []
    labels: list[int] = [IGNORE] * len(ids)
    inputs: list[Any] = []
    outputs: list[Any] = []
    for number, message in enumerate(messages):
        role, parts = _turn(message)
        if role not in vocabulary.roles:
            raise RequestError(f"unknown role {role!r}; roles are {', '.join(vocabulary.roles)}")
        if role == "system" and (number or not begin):
            raise RequestError("a system turn must be the first of a conversation")
        speaks = role == "assistant"
        turn: list[int] = []
        for part in with_sound(parts, writes if speaks else tokens):
            kind = part_type(part)
            if kind == "text":
                turn += encode(tokenizer, part_text(part))
                continue
            if kind not in vocabulary.spans or (not speaks and kind not in tokens):
                reads = ", ".join(("text", *(m for m in tokens if m in vocabulary.spans)))
                raise RequestError(f"no encoder for {kind!r}; this model reads {reads}")
            span = vocabulary.spans[kind]
            if speaks:
                turn += span.ids
                outputs.append(part)
            else:
                turn += [span.open, *[span.placeholder] * tokens[kind], span.close]
                inputs.append(part)
        turn.append(vocabulary.end)
        ids += [vocabulary.roles[role], *turn]
        labels += [IGNORE, *(turn if speaks else [IGNORE] * len(turn))]
    if answer:
        ids.append(vocabulary.roles["assistant"])
        labels.append(IGNORE)
    return Rendered(ids=ids, labels=labels, inputs=inputs, outputs=outputs)


def with_sound(parts: Iterable[Any], known: Collection[str]) -> Iterator[Any]:
    """The parts, and after each `Video` value its sound if "audio" is one of the `known` modalities."""
    for part in parts:
        yield part
        if "audio" in known and not isinstance(part, str | Mapping) and part.type == "video" and part.audio is not None:
            yield part.audio


def _spelt(
    messages: Iterable[Any],
    tokenizer: Any,
    vocabulary: Vocabulary,
    tokens: Mapping[str, int],
    answer: bool,
    begin: bool,
) -> Rendered:
    """`render` in the vocabulary's dialect."""
    made = Rendered(ids=[], labels=[], inputs=[], outputs=[])
    turns = (_turn(message) for message in messages)
    assert vocabulary.dialect is not None
    for run, medium in lay_out(
        turns, vocabulary.dialect, vocabulary, tokens, part_type, part_text, answer=answer, begin=begin
    ):
        ids = list(run.ids) if run.text is None else encode(tokenizer, run.text) if run.text else []
        made.ids.extend(ids)
        made.labels.extend(ids if run.said else [IGNORE] * len(ids))
        if medium is not None:
            (made.outputs if run.said else made.inputs).append(medium)
    return made


def encode(tokenizer: Any, text: str) -> list[int]:
    """The ids of plain text; a structural token that someone typed, such as `<|end|>`, stays ordinary characters."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def _turn(message: Any) -> tuple[str, Sequence[Any]]:
    if isinstance(message, Mapping):
        role, parts = message["role"], message["content"]
    else:
        role, parts = message.role, message.parts
    return role, [parts] if isinstance(parts, str) else parts


def part_type(part: Any) -> str:
    """The modality of a part in any of its spellings."""
    if isinstance(part, str):
        return "text"
    return part["type"] if isinstance(part, Mapping) else part.type


def part_text(part: Any) -> str:
    """The text of a text part in any of its spellings."""
    if isinstance(part, str):
        return part
    return part["text"] if isinstance(part, Mapping) else part.text


def jinja(counts: Mapping[str, int], tokens: Mapping[str, int]) -> str:
    """`render` as a chat template for transformers: `chat_template.jinja` beside the tokenizer."""
    media = ""
    for modality, count in counts.items():
        names = SignalTokens(modality=modality, count=count)
        asked = names.placeholder * tokens.get(modality, 0)
        media += (
            f"{{%- elif part['type'] == '{modality}' -%}}"
            f"{{{{- '{names.open}' + ('{''.join(names.signals)}' if message['role'] == 'assistant' else '{asked}')"
            f" + '{names.close}' -}}}}"
        )
    return (
        "{{- '<|begin|>' -}}"
        "{%- for message in messages -%}"
        "{{- '<|' + message['role'] + '|>' -}}"
        "{%- if message['content'] is string -%}{{- message['content'] -}}"
        "{%- else -%}{%- for part in message['content'] -%}"
        "{%- if part['type'] == 'text' -%}{{- part['text'] -}}" + media + "{%- endif -%}{%- endfor -%}{%- endif -%}"
        "{{- '<|end|>' -}}"
        "{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
    )
