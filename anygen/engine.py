"""The request path, whole: media in, one ordered answer out; streaming is the primitive."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anygen.decoding import Decoding, Move, Row, Session, TextStream, picker
from anygen.error import RequestError
from anygen.media import Image, Message, Text, Value, Video, messages
from anygen.model import AnyGenModel
from anygen.reply import Part, Reply
from anygen.request import Event, Options, edit_source
from anygen.signals import Grammar
from anygen.streaming import consume, follow
from anygen.template import Rendered, with_sound

if TYPE_CHECKING:
    from anygen.chat import Chat

CACHED_MEDIA = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A checked request: its rendering, the options with their seed drawn, and the picture that an edit starts from."""

    rendered: Rendered
    options: Options
    grammar: Grammar
    source: Image | None

    @property
    def seed(self) -> int:
        assert self.options.seed is not None
        return self.options.seed


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A medium that the LLM has asked for: the states [count, width] of its span, and of its soundtrack's if it has it.

    `awaits`: the soundtrack's span is still to come.
    """

    modality: str
    hidden: Tensor
    sound: Tensor | None = None
    awaits: bool = False

    @property
    def spans(self) -> list[tuple[str, Tensor]]:
        """What is to be generated: modality and states."""
        track = [] if self.sound is None else [("audio", self.sound)]
        return [(self.modality, self.hidden), *track]


def load(
    model: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    quantize: str | None = None,
    offload: bool = False,
) -> Engine:
    """Open a model: None is the bundled nano; else a preset's name, a folder, or a hub id `owner/name[@revision]`.

    `device` None is a GPU if there is one. `dtype` None is float32 on a CPU and the model's own precision elsewhere.
    `quantize` turns the linear layers of LLM and generators into "int8" or, of the LLM, "4bit" (docs/quantization.md).
    With `offload` only the parts at work are on the GPU: the encoders, the LLM, or one generator.
    """
    began = time.perf_counter()
    if isinstance(dtype, str) and dtype not in ("float32", "bfloat16", "float16"):
        raise RequestError(f"dtype={dtype!r}: choose float32, bfloat16 or float16")
    wanted: torch.dtype | None = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].removesuffix(".")
        if why.startswith("Expected one of"):  # a list of all that torch was ever built for
            why = "there is no such kind of device"
        raise RequestError(f"device={device!r} cannot be used: {why}; choose cpu, or leave it out") from None
    if offload and chosen.type == "cpu":
        raise RequestError("offload=True keeps parts off a GPU, and the device is cpu: leave it out")
    opened = AnyGenModel.load(find(model), chosen, wanted, quantize, offload)
    return Engine(opened, load_seconds=time.perf_counter() - began)


def find(model: str | Path | None) -> Path:
    """The folder of a model, fetched from the hub if it is named by a hub id."""
    from anygen import catalog
    from anygen.folder import locate

    name = str(model)
    if isinstance(model, str) and re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name) and not Path(name).exists():
        return locate(None, f"hub:{name}" if "@" in name else f"hub:{name}@main")
    return catalog.find(model)


def pipeline(model: str | Path | None = None, **options: Any) -> Any:
    """The call shape of transformers' `pipeline("any-to-any")`; options as in `load`."""
    from anygen.anytoany import AnyToAny

    return AnyToAny(load(model, **options))


class Engine:
    """Answers requests with one model; a cache holds the media that it has encoded."""

    def __init__(self, model: AnyGenModel, load_seconds: float = 0.0) -> None:
        self.model = model.eval()
        self.load_seconds = load_seconds
        self._media: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._lock = threading.Lock()  # around the cache and the tokenizer, which servers share between threads

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.config.name

    @property
    def reads(self) -> tuple[str, ...]:
        """Modalities that a request may hold."""
        return ("text", *self.model.reads)

    @property
    def writes(self) -> tuple[str, ...]:
        """Modalities that an answer may hold."""
        return ("text", *self.model.writes)

    # --- the calls

    def generate(self, request: Any, **options: Any) -> Reply:
        """Answer a string, a part, a list of parts, or a list of chat messages. Options are those of `Options`."""
        return consume(self.stream(request, **options))

    def stream(self, request: Any, **options: Any) -> Iterator[Event]:
        """The events of an answer as they happen. The request is checked at the call, computed in the stream."""
        chat = messages(request)
        session = Session()
        return self.answer(session, self.ask(session, chat, Options.of(options)))

    def generate_batch(
        self, requests: Sequence[Any], *, seed: int | Sequence[int] | None = None, batch_size: int = 16, **options: Any
    ) -> list[Reply]:
        """Answer many requests together: one decode, one diffusion run per `batch_size`; `seed` is one, or one each.

        A reply equals that of `generate` with the same seed, up to the rounding of batched arithmetic.
        """
        if batch_size < 1:
            raise RequestError(f"batch_size={batch_size}: at least 1 is needed")
        seeds = [seed] * len(requests) if seed is None or isinstance(seed, int) else list(seed)
        if len(seeds) != len(requests):
            raise RequestError(f"{len(requests)} requests need as many seeds, got {len(seeds)}")
        asked = [
            self.ask(Session(), messages(request), Options.of({**options, "seed": chosen}))
            for request, chosen in zip(requests, seeds, strict=True)
        ]
        return [
            reply
            for start in range(0, len(asked), batch_size)
            for reply in self._answer_batch(asked[start : start + batch_size])
        ]

    def chat(self, system: str | None = None, seed: int | None = None, **options: Any) -> Chat:
        """A conversation. `options` are its defaults; turn k draws from seed + 1000 * k."""
        from anygen.chat import Chat

        return Chat(self, system=system, seed=seed, **options)

    def story(self, idea: str, **options: Any) -> Any:
        """An illustrated story (`anygen.story`)."""
        from anygen.story import tell

        return tell(self, idea, **options)

    # --- before the LLM

    def ask(self, session: Session, chat: Sequence[Message], options: Options, past: Sequence[Message] = ()) -> Asked:
        """Check a request that continues `session`; `past` are the messages that the session holds already."""
        if chat[-1].role != "user":
            raise RequestError(f"the last message must be the user's, not the {chat[-1].role}'s")
        if options.seed is None:
            options = replace(options, seed=secrets.randbelow(2**31))
        with self._lock:
            rendered = self.model.render(chat, answer=True, begin=not session.ids)
        grammar = Grammar(self.model.vocabulary, self.model.writes, options.to, options.budget)
        spans = self.model.vocabulary.spans
        needed = 1 + sum(len(spans[modality].ids) for modality in grammar.required)
        total = len(session.ids) + len(rendered.ids)
        if total + needed > self.model.context:
            raise RequestError(
                f"the request is {total} tokens long and its answer takes at least {needed}, "
                f"but {self.name} holds {self.model.context}: shorten it, or start a new chat"
            )
        return Asked(rendered=rendered, options=options, grammar=grammar, source=edit_source(options.edit, past, chat))

    def inputs(self, message: Message) -> list[Value]:
        """The media of a user's message as the LLM reads them: a film's sound after it, if the model reads sounds."""
        return [part for part in with_sound(message.parts, self.model.reads) if part.type != "text"]

    @torch.no_grad()
    def encode(self, medium: Value) -> Tensor:
        """Projected embeddings [tokens, LLM width] of one medium, cached by content."""
        key = (medium.type, medium.hash)
        with self._lock:
            if key in self._media:
                self._media.move_to_end(key)
                return self._media[key]
        # one at a time: the same medium then has the same bits, whatever it was asked together with
        with self.model.at("read"):
            embedding = self.model.project(medium.type, self.model.encode(medium.type, [medium]))[0]
        with self._lock:
            self._media[key] = embedding
            if len(self._media) > CACHED_MEDIA:
                self._media.popitem(last=False)
        return embedding

    def _row(self, session: Session, asked: Asked) -> Row:
        """Put the request into the session and make the row that answers it."""
        session.ids += asked.rendered.ids
        session.media += [(medium.type, self.encode(medium)) for medium in asked.rendered.inputs]
        options = asked.options
        return Row(
            grammar=asked.grammar,
            pick=picker(options.temperature, options.top_p, torch.Generator().manual_seed(asked.seed)),
            held=len(session.ids),
            limit=options.max_new_tokens,
            pending=session.pending(self.model),
            memory=session.memory(self.model),
        )

    # --- one answer

    def answer(self, session: Session, asked: Asked) -> Iterator[Event]:
        """The events of one answer; `session` holds it at the end, and is as before if the stream is left early."""
        kept = (len(session.ids), len(session.media))
        try:
            yield from self._answer(session, asked)
        except BaseException:
            del session.ids[kept[0] :], session.media[kept[1] :]
            session.cache = None
            raise

    @torch.no_grad()
    def _start(self, session: Session, asked: Asked) -> tuple[Row, Decoding]:
        row = self._row(session, asked)
        decoding = Decoding(self.model, [row], session.cache)
        session.cache = decoding.cache
        return row, decoding

    def _answer(self, session: Session, asked: Asked) -> Iterator[Event]:
        began = time.perf_counter()
        seconds = {"load": self.load_seconds}
        row, decoding = self._start(session, asked)
        prompt_tokens = row.held
        parts: list[Part] = []
        text: TextStream | None = None
        text_began = began
        draft: Draft | None = None
        while not row.finished:
            (move,) = decoding.step()
            assert move is not None
            if move.span is not None:
                draft = drafted(move, draft)
                if not draft.awaits:
                    yield from self._make(draft, asked, parts)
            if move.token is not None:
                if text is None:
                    text, text_began = self._text(), time.perf_counter()
                    yield Event(type="part.start", index=len(parts) + 1, modality="text")
                if delta := text.push(move.token):
                    seconds.setdefault("first_text", time.perf_counter() - began)
                    yield Event(type="text.delta", index=len(parts) + 1, modality="text", text=delta)
            elif text is not None:
                if delta := text.close():
                    seconds.setdefault("first_text", time.perf_counter() - began)
                    yield Event(type="text.delta", index=len(parts) + 1, modality="text", text=delta)
                parts.append(text_part(len(parts) + 1, text.text, time.perf_counter() - text_began))
                yield Event(type="part.done", index=len(parts), modality="text", part=parts[-1])
                text = None
        session.ids += [*row.ids, *self.model.vocabulary.closing]
        seconds["total"] = time.perf_counter() - began
        yield Event(type="reply.done", reply=self._reply(asked, parts, prompt_tokens, len(row.ids), seconds))

    def _text(self) -> TextStream:
        return TextStream(self.model.tokenizer, tail="" if self.model.vocabulary.dialect is None else "\n")

    def _make(self, draft: Draft, asked: Asked, parts: list[Part]) -> Iterator[Event]:
        """Generate a medium, a video with its soundtrack, and report how far it is; the part is appended to `parts`."""
        began = time.perf_counter()
        index = len(parts) + 1
        yield Event(type="part.start", index=index, modality=draft.modality)
        value = yield from self._generate(draft.modality, draft.hidden, asked, index)
        if draft.sound is not None:
            value = yield from self._generate("audio", draft.sound, asked, index, value)
        seed = part_seed(asked.seed, index)
        part = Part(index=index, type=draft.modality, value=value, seed=seed, seconds=time.perf_counter() - began)
        parts.append(part)
        yield Event(type="part.done", index=index, modality=draft.modality, part=part)

    def _generate(
        self, modality: str, hidden: Tensor, asked: Asked, index: int, film: Video | None = None
    ) -> Generator[Event, None, Any]:
        """Run one generator in a thread, and pass on what it reports; with `film` that comes back, with the sound."""
        condition = self._condition(modality, hidden.unsqueeze(0), [asked.source])
        every = asked.options.preview

        def whole(made: Any) -> Any:
            return made if film is None else film.with_audio(made)

        def work(report: Callable[[Event], None]) -> Value:
            def on_step(step: int, steps: int, preview: Callable[[], list[Value]]) -> None:
                report(Event(type="part.progress", index=index, modality=modality, step=step, steps=steps))
                if every and step % every == 0 and step < steps:
                    report(Event(type="part.preview", index=index, modality=modality, preview=whole(preview()[0])))

            seed = part_seed(asked.seed, index)
            with self.model.at(modality):
                generator = self.model.generator(modality)
                return generator.generate(condition, [seed], on_step=on_step, **self._settings(modality, asked))[0]

        return whole((yield from follow(work)))

    @torch.no_grad()
    def _condition(self, modality: str, hidden: Tensor, sources: Sequence[Image | None]) -> Tensor:
        """Conditions of answers' hidden states; `sources` are the pictures that they edit or begin with."""
        seen = [self._seen(modality, source) for source in sources]
        with self.model.at(modality):
            return self.model.predict_condition(modality, hidden, seen=seen)

    def _seen(self, modality: str, source: Image | None) -> Tensor | None:
        """Encoder features of a picture that is edited or begins a film, for an output projector that sees it."""
        if source is None or not self.model.output_projectors[modality].sighted:
            return None
        with self.model.at("read"):
            return self.model.encode(source.type, [source])[0]

    def _settings(self, modality: str, asked: Asked) -> dict[str, Any]:
        """The keywords of `generate`: steps, guidance and, for an edit, the source with its strength."""
        usual, options = self.model.config.generators[modality], asked.options
        settings: dict[str, Any] = {
            "steps": usual.steps if options.steps is None else options.steps,
            "guidance": usual.guidance if options.guidance is None else options.guidance,
        }
        if modality in ("image", "video") and asked.source is not None and usual.edit_strength is not None:
            # at least one step is taken, however few there are
            settings |= {
                "source": asked.source,
                "strength": min(1.0, max(usual.edit_strength, 1.001 / settings["steps"])),
            }
        return settings

    def _reply(
        self, asked: Asked, parts: Sequence[Part], prompt_tokens: int, completion_tokens: int, seconds: dict[str, float]
    ) -> Reply:
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        seconds.setdefault("first_text", seconds["total"])
        return Reply(parts=tuple(parts), model=self.name, seed=asked.seed, usage=usage, seconds=seconds)

    # --- many answers

    @torch.no_grad()
    def _answer_batch(self, batch: Sequence[Asked]) -> list[Reply]:
        """All texts in one decode, then all media of one kind in one diffusion run."""
        began = time.perf_counter()
        rows = [self._row(Session(), asked) for asked in batch]
        decoding = Decoding(self.model, rows)
        drafts: list[list[TextStream | Draft]] = [[] for _ in batch]
        while not all(row.finished for row in rows):
            for draft, move in zip(drafts, decoding.step(), strict=True):
                if move is not None:
                    self._note(draft, move)
        written = time.perf_counter() - began
        made = self._make_batch(batch, drafts)
        replies = []
        for number, (asked, row, draft) in enumerate(zip(batch, rows, drafts, strict=True)):
            parts = []
            for index, item in enumerate(draft, 1):
                if isinstance(item, TextStream):
                    parts.append(text_part(index, item.text, written))
                else:
                    parts.append(made[number, index])
            seconds = {"load": self.load_seconds, "first_text": written, "total": time.perf_counter() - began}
            replies.append(self._reply(asked, parts, row.held, len(row.ids), seconds))
        return replies

    def _note(self, draft: list[TextStream | Draft], move: Move) -> None:
        """Add what a move wrote to the draft of its answer."""
        if move.span is not None:
            last = draft[-1] if draft else None
            film = last if isinstance(last, Draft) and last.awaits else None
            draft[len(draft) - (film is not None) :] = [drafted(move, film)]
        if move.token is not None:
            text = draft[-1] if draft else None
            if not isinstance(text, TextStream) or text.closed:
                text = self._text()
                draft.append(text)
            text.push(move.token)
        elif draft and isinstance(draft[-1], TextStream):
            draft[-1].close()

    def _make_batch(
        self, batch: Sequence[Asked], drafts: Sequence[Sequence[TextStream | Draft]]
    ) -> dict[tuple[int, int], Part]:
        """Generate every medium of `drafts`; those with the same settings share a run."""
        groups: dict[Any, list[tuple[int, int, Tensor]]] = {}
        for number, (asked, draft) in enumerate(zip(batch, drafts, strict=True)):
            for index, item in enumerate(draft, 1):
                if isinstance(item, Draft):
                    for modality, hidden in item.spans:
                        key = (modality, *sorted(self._settings(modality, asked).items()))
                        groups.setdefault(key, []).append((number, index, hidden))
        found: dict[tuple[int, int, str], tuple[Any, float]] = {}
        for (modality, *settings), members in groups.items():
            for start in range(0, len(members), len(batch)):
                chunk = members[start : start + len(batch)]
                began = time.perf_counter()
                sources = [batch[number].source for number, *_ in chunk]
                condition = self._condition(modality, torch.stack([hidden for *_, hidden in chunk]), sources)
                seeds = [part_seed(batch[number].seed, index) for number, index, _ in chunk]
                with self.model.at(modality):
                    values = self.model.generator(modality).generate(condition, seeds, **dict(settings))
                seconds = time.perf_counter() - began
                for (number, index, _), value in zip(chunk, values, strict=True):
                    found[number, index, modality] = value, seconds
        made = {}
        for number, (asked, draft) in enumerate(zip(batch, drafts, strict=True)):
            for index, item in enumerate(draft, 1):
                if isinstance(item, Draft):
                    value, seconds = found[number, index, item.modality]
                    if item.sound is not None:
                        sound, more = found[number, index, "audio"]
                        value, seconds = value.with_audio(sound), seconds + more
                    seed = part_seed(asked.seed, index)
                    made[number, index] = Part(index=index, type=item.modality, value=value, seed=seed, seconds=seconds)
        return made


def part_seed(seed: int, index: int) -> int:
    """The seed of part `index`, from 1."""
    return seed + index - 1


def text_part(index: int, text: str, seconds: float) -> Part:
    return Part(index=index, type="text", value=Text(text), seconds=seconds)


def drafted(move: Move, before: Draft | None) -> Draft:
    """The medium whose span a move ran: `before` with its soundtrack if it awaits that, else a new one."""
    assert move.span is not None and move.hidden is not None
    if before is not None and before.awaits:
        return replace(before, sound=move.hidden, awaits=False)
    return Draft(modality=move.span, hidden=move.hidden, awaits=move.span == "video" and move.opened == "audio")
