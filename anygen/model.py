"""AnyGenModel: encoders, input projectors, the LLM, output projectors and generators; `forward` gives named losses."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from anygen import dialect, quantization
from anygen.encoders import open_encoders
from anygen.error import ModelError, RequestError
from anygen.folder import GeneratorConfig as GeneratorConfig
from anygen.folder import ModelConfig, is_local, load_llm, load_projectors, locate, merge_adapter, save_projectors
from anygen.generators import open_generator
from anygen.projectors import INPUT_PROJECTORS, OUTPUT_PROJECTORS, bridging
from anygen.projectors.input import lend
from anygen.projectors.output import EYES
from anygen.residence import Movable, Residence
from anygen.signals import MEDIA, SENSED, Vocabulary
from anygen.template import IGNORE, Rendered, jinja, render
from anygen.weights import quiet, recast

OPENING = threading.Lock()  # two threads must not open one generator twice


class AnyGenModel(nn.Module):
    """All parts of an any-to-any model.

    Encoders, projectors and the LLM are submodules. Generators are not: `generator(modality)` opens one at first use,
    and training never sees its weights as parameters of the model.
    """

    llm: Any  # a transformers causal LLM
    encoders: Any  # ModuleDicts, by modality
    input_projectors: Any
    output_projectors: Any

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Any,
        llm: Any,
        encoders: Mapping[str, nn.Module],
        input_projectors: Mapping[str, nn.Module],
        output_projectors: Mapping[str, nn.Module],
        generators: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.llm = llm
        self.encoders = nn.ModuleDict(encoders).requires_grad_(False)
        self.input_projectors = nn.ModuleDict(input_projectors)
        self.output_projectors = nn.ModuleDict(output_projectors)
        self.generators = dict(generators or {})  # those that are open
        self.folder = folder
        # what `load` was asked for; generators follow it
        self.dtype: torch.dtype | None = None
        self.quantize: str | None = None
        self.residence: Residence | None = None  # with offload
        rows = llm.get_input_embeddings().num_embeddings
        self.vocabulary = Vocabulary.resolve(tokenizer, config.signals, rows, config.dialect)
        self._check()

    def _check(self) -> None:
        lend(self.input_projectors)
        bridging.attach(self.llm, self.input_projectors)
        width = self.llm.get_input_embeddings().embedding_dim
        for modality, projector in self.input_projectors.items():
            if modality not in self.encoders:
                raise ModelError(f"there is an input projector for {modality!r} but no encoder")
            encoder, made = self.encoders[modality], projector.config
            for what, ours, theirs in (
                ("tokens_in", made.tokens_in, encoder.tokens),
                ("width_in", made.width_in, encoder.width),
                ("width_out", made.width_out, width),
            ):
                if ours != theirs:
                    raise ModelError(f"input projector {modality}: {what} is {ours}, but its neighbour has {theirs}")
        for modality, projector in self.output_projectors.items():
            if modality not in self.config.signals:
                raise ModelError(f"there is an output projector for {modality!r} but no signal tokens")
            for what, ours, theirs in (
                ("count", projector.config.count, self.config.signals[modality]),
                ("width_in", projector.config.width_in, width),
            ):
                if ours != theirs:
                    raise ModelError(f"output projector {modality}: {what} is {ours}, but its neighbour has {theirs}")
            if projector.sighted:
                eye = self.eye(modality)
                sees = [projector.config.sights, projector.config.sight_width]
                if eye is None or sees != [eye.tokens, eye.width]:
                    has = "there is no encoder" if eye is None else f"the encoder gives {[eye.tokens, eye.width]}"
                    raise ModelError(f"output projector {modality} sees features of {sees}, but {has}")

    def eye(self, modality: str) -> Any:
        """The encoder through which a sighted output projector of this modality sees, or None where there is none."""
        sees = EYES.get(modality)
        return self.encoders[sees] if sees in self.encoders else None

    # --- what it is

    @property
    def device(self) -> torch.device:
        """Where the LLM is."""
        return self.llm.get_input_embeddings().weight.device

    @property
    def width(self) -> int:
        """Width of the LLM's embeddings."""
        return self.llm.get_input_embeddings().embedding_dim

    @property
    def context(self) -> int:
        """Tokens that the LLM can hold."""
        return int(self.llm.config.get_text_config().max_position_embeddings)

    @property
    def reads(self) -> tuple[str, ...]:
        """Media that the model understands."""
        return tuple(m for m in (*MEDIA, *SENSED) if m in self.encoders and m in self.input_projectors)

    @property
    def writes(self) -> tuple[str, ...]:
        """Media that the model makes."""
        has = set(self.generators) | set(self.config.generators)
        return tuple(m for m in MEDIA if m in self.output_projectors and m in has)

    @property
    def tokens(self) -> dict[str, int]:
        """Placeholders per input medium."""
        return {modality: self.input_projectors[modality].tokens for modality in self.reads}

    def at(self, stage: str) -> AbstractContextManager[None]:
        """Work on a stage of an answer: "read", "text" or a medium. With offload its parts are on the device inside."""
        return nullcontext() if self.residence is None else self.residence.at(stage, lambda: self._parts(stage))

    def _parts(self, stage: str) -> list[Movable]:
        if stage == "read":
            return [self.encoders, self.input_projectors]
        if stage == "text":
            return [self.llm, *bridging.gated(self.input_projectors).values()]
        with OPENING:
            return [self.output_projectors, self._open(stage)]

    def generator(self, modality: str) -> Any:
        """The generator of `modality`, opened at its first use, on the LLM's device; with offload, where it rests."""
        if self.residence is not None and modality not in self.generators:
            with self.at(modality):  # whatever else is on the device leaves first
                return self.generators[modality]
        with OPENING:
            return self._open(modality)

    def _open(self, modality: str) -> Any:
        if modality not in self.generators:
            if modality not in self.config.generators:
                raise RequestError(
                    f"no generator for {modality!r}; this model writes {', '.join(('text', *self.writes))}"
                )
            which = self.config.generators[modality]
            lender = self.config.generators[which.base].path if which.base else None
            generator = open_generator(
                modality,
                locate(self.folder, which.path),
                self.device if self.residence is None else self.residence.device,
                self.dtype,
                base=locate(self.folder, lender) if lender else None,
                options=which.options,
            )
            if modality in self.output_projectors:
                made = self.output_projectors[modality].config
                if generator.condition_shape != (made.length, made.width_out):
                    raise ModelError(
                        f"the {modality} generator takes conditions of {list(generator.condition_shape)}, "
                        f"the output projector makes {[made.length, made.width_out]}"
                    )
            if self.quantize is not None:
                for name, network in generator.networks().items():
                    quantization.quantize(name, network, self.quantize)
            self.generators[modality] = generator
        return self.generators[modality]

    def render(self, messages: Any, *, answer: bool = False, begin: bool = True) -> Rendered:
        """Messages as token ids with places for media (`anygen.template.render`)."""
        return render(
            messages, self.tokenizer, self.vocabulary, self.tokens, writes=self.writes, answer=answer, begin=begin
        )

    # --- the way in

    def project(self, modality: str, features: Tensor) -> Tensor:
        """Encoder features [n, tokens_in, width_in] to LLM embeddings [n, tokens, LLM width]."""
        if modality not in self.input_projectors:
            raise RequestError(f"no encoder for {modality!r}; this model reads {', '.join(('text', *self.reads))}")
        projector = self.input_projectors[modality]
        weight = next(projector.parameters())
        return projector(features.to(weight.device, weight.dtype))

    @torch.no_grad()
    def encode(self, modality: str, media: Sequence[Any]) -> Tensor:
        """Media values to features [n, tokens_in, width_in], by the frozen encoder."""
        if modality not in self.encoders:
            raise RequestError(f"no encoder for {modality!r}; this model reads {', '.join(('text', *self.reads))}")
        encoder = self.encoders[modality]
        weight = next(encoder.parameters())
        return encoder(torch.stack([encoder.prepare(medium) for medium in media]).to(weight.device, weight.dtype))

    def embed(self, input_ids: Tensor, media: Mapping[str, Tensor] | None = None) -> Tensor:
        """Token ids [batch, length] to embeddings [batch, length, LLM width].

        `media` are projected embeddings [n, tokens, LLM width] per modality, in the order of their places row by row;
        they replace the placeholders.
        """
        embeddings = self.llm.get_input_embeddings()(input_ids)
        for modality, span in self.vocabulary.spans.items():
            places = input_ids == span.placeholder
            given = (media or {}).get(modality)
            if given is not None and modality in self.input_projectors:
                given = bridging.shown(self.input_projectors[modality], given)
            count, needed = 0 if given is None else given.shape[0] * given.shape[1], int(places.sum())
            if count != needed:
                raise ModelError(f"{needed} placeholders for {modality}, but {count} embeddings were given for them")
            if given is not None:
                embeddings = embeddings.masked_scatter(places.unsqueeze(-1), given.to(embeddings))
        return embeddings

    def sights(
        self, input_ids: Tensor, media: Mapping[str, Tensor], attention_mask: Tensor | None = None
    ) -> dict[str, bridging.Sight]:
        """What the LLM's blocks see of the same, where a projector's features do not stand in the prompt."""
        at = positions(torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        found = bridging.held(self.input_projectors, input_ids, at, media, self.vocabulary.spans)
        return {modality: held.sight(at) for modality, held in found.items()}

    # --- the way out

    def predict_condition(
        self,
        modality: str,
        hidden: Tensor,
        parts: Tensor | None = None,
        seen: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Hidden states at the signal tokens [n, count, LLM width] to conditions [n, length, width].

        `parts` names those of the projector's moments that are wanted; None: all. `seen` are encoder features [tokens,
        width] of the media that are edited, None for a row that edits none; only a `sighted` projector looks at them.
        """
        if modality not in self.output_projectors:
            raise RequestError(f"no generator for {modality!r}; this model writes {', '.join(('text', *self.writes))}")
        projector = self.output_projectors[modality]
        signals = torch.tensor(self.vocabulary.spans[modality].signals, device=self.device)
        like = projector.condition_mean
        return projector(hidden.to(like), self.llm.get_input_embeddings()(signals).to(like), parts, seen)

    def span_states(self, modality: str, input_ids: Tensor, hidden: Tensor) -> Tensor:
        """Of hidden states [batch, length, width], those at the signals of every span: [spans, count, width].

        Where the dialect says so, those before them: a condition is then made from what predicts the signals.
        """
        signals = torch.tensor(self.vocabulary.spans[modality].signals, device=input_ids.device)
        rows, starts = (input_ids == signals[0]).nonzero(as_tuple=True)
        places = starts.unsqueeze(-1) + torch.arange(len(signals), device=input_ids.device)  # [spans, count]
        rows = rows.unsqueeze(-1)
        lag = int(self.vocabulary.lags)
        whole = bool((places < input_ids.shape[1]).all()) and bool((input_ids[rows, places] == signals).all())
        if not whole or int(torch.isin(input_ids, signals).sum()) != places.numel():
            raise ModelError(f"a span of {modality} signals is cut or out of order: was a sample truncated inside one?")
        return hidden[rows, places - lag]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        media: Mapping[str, Tensor] | None = None,
        projected: Mapping[str, Tensor] | None = None,
        conditions: Mapping[str, Tensor] | None = None,
        condition_weights: Mapping[str, Tensor] | None = None,
        return_conditions: bool = False,
        label_weights: Tensor | None = None,
        seen: Mapping[str, Sequence[Tensor | None]] | None = None,
    ) -> Any:
        """Named losses of a batch.

        `input_ids`, `attention_mask`, `labels` [batch, length]: labels stand at the position of their token, -100 where
        no loss counts; `label_weights` [batch, length] say how much each does (default: all alike). `media` are encoder
        features [n, tokens, width] per modality, in the order of their places; they replace the placeholders.
        `projected` [n, tokens, LLM width] are embeddings of other modalities that stand there as they are.
        `conditions` are the targets [k, length, width] of all k spans of the batch, in order, earlier turns included;
        `condition_weights` [k, length] say how much which of their tokens counts (default: all alike). `seen` are for
        each modality the k features that its sighted output projector sees (`predict_condition`).

        `text` is cross-entropy. `condition_<modality>` is the squared error in units of the condition's deviation, plus
        1 - cosine. With `return_conditions` the result is (losses, predicted conditions of every span).
        """
        projected = {**(projected or {}), **{m: self.project(m, features) for m, features in (media or {}).items()}}
        wanted = set(conditions or {}) | (set(self.output_projectors) if return_conditions else set())
        with bridging.seeing(self.sights(input_ids, projected, attention_mask)):
            out = self.llm(
                inputs_embeds=self.embed(input_ids, projected),
                attention_mask=attention_mask,
                position_ids=None if attention_mask is None else positions(attention_mask),
                use_cache=False,
                output_hidden_states=bool(wanted),
                **({} if labels is not None else {"logits_to_keep": 1}),
            )
        losses: dict[str, Tensor] = {}
        if labels is not None:
            losses["text"] = text_loss(out.logits, labels, label_weights)
        predicted: dict[str, Tensor] = {}
        for modality in (m for m in MEDIA if m in wanted):
            hidden = self.span_states(modality, input_ids, out.hidden_states[-1])
            predicted[modality] = self.predict_condition(modality, hidden, seen=(seen or {}).get(modality))
        for modality, target in (conditions or {}).items():
            if target.shape != predicted[modality].shape:
                raise ModelError(
                    f"the batch has {modality} conditions of {list(predicted[modality].shape)}, "
                    f"but targets of {list(target.shape)} were given"
                )
            deviation = self.output_projectors[modality].condition_std
            weight = (condition_weights or {}).get(modality)
            losses[f"condition_{modality}"] = condition_loss(predicted[modality], target, deviation, weight)
        return (losses, predicted) if return_conditions else losses

    # --- what stage 2 trains of the LLM

    def signal_parameter_mask(self, modalities: Collection[str] | None = None) -> Tensor:
        """The embedding rows of the open, close and signal tokens of `modalities` (default: all): bool [vocabulary]."""
        mask = torch.zeros(self.vocabulary.size, dtype=torch.bool, device=self.device)
        mask[self.vocabulary.trained_ids(modalities)] = True
        return mask

    def train_signal_rows(
        self, modalities: Collection[str] | None = None
    ) -> tuple[list[nn.Parameter], list[RemovableHandle]]:
        """Make only the signal tokens' own rows of the (tied) embedding matrix trainable.

        Returns the parameters for the optimiser and the handles that undo it (`handle.remove()`). The gradient of all
        other rows is exactly zero, so Adam leaves them bit-identical. Give these parameters weight_decay=0.
        """
        matrices = [self.llm.get_input_embeddings().weight]
        head = self.llm.get_output_embeddings()
        if head is not None and head.weight is not matrices[0]:
            matrices.append(head.weight)
        mask = self.signal_parameter_mask(modalities).unsqueeze(-1)
        handles = []
        for matrix in matrices:
            matrix.requires_grad_(True)
            handles.append(matrix.register_hook(lambda gradient: gradient.masked_fill(~mask.to(gradient.device), 0)))
        return matrices, handles

    # --- a model is a folder

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        quantize: str | None = None,
        offload: bool = False,
    ) -> AnyGenModel:
        """Open a model folder strictly. `dtype` None: float32 on a CPU, the folder's own precision elsewhere.

        `quantize` is one of `anygen.quantization.KINDS`. With `offload` everything rests in the CPU's memory but the
        parts of the stage at work (`anygen.residence`).
        """
        if quantize is not None:
            quantization.check(quantize, torch.device(device), dtype)
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(f"{folder} is not a folder")
        config = ModelConfig.read(folder / "anygen.json")
        tokenizer, llm = load_llm(locate(folder, config.llm), device, quantization.precision(quantize, dtype))
        if (folder / "adapters").is_dir():
            llm = merge_adapter(llm, folder / "adapters")
        if quantize is not None:
            quantization.quantize("llm", llm, quantize)
        if offload:
            llm.to("cpu")  # before the next part takes its place
        parts = {modality: config.encoder(modality) for modality in config.encoders}
        places = {modality: (locate(folder, part.path), part.kind, part.options) for modality, part in parts.items()}
        model = cls(
            config,
            tokenizer,
            llm,
            open_encoders(places, device, dtype),
            load_projectors(INPUT_PROJECTORS, folder / "input_projectors", device, dtype),
            load_projectors(OUTPUT_PROJECTORS, folder / "output_projectors", device, dtype),
            folder=folder,
        )
        for modality, generator in config.generators.items():
            if not generator.path.startswith("hub:") and not locate(folder, generator.path).exists():
                raise ModelError(f"the {modality} generator {folder / generator.path} is missing")
        model.dtype, model.quantize = dtype, quantize
        if offload:
            model.residence = Residence(device)
            model.to(model.residence.rest)
        return model.eval()

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write the model folder, through a temporary name; weights in `dtype` if it is given.

        Parts that are references (absolute paths, hub ids) stay references; generators that are not open are copied.
        """
        from transformers.utils import logging

        folder = Path(folder)
        if self.quantize is not None:
            raise ModelError(f"a model quantised to {self.quantize} is not saved: load it without quantize, save that")
        if hasattr(self.llm, "merge_and_unload"):
            raise ModelError("the LLM still carries an adapter: merge_and_unload() it before saving")
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self.config.write(part / "anygen.json")
        if is_local(self.config.llm):
            with quiet(logging):
                self.llm.save_pretrained(part / self.config.llm)
            spelt = self.config.dialect
            self.tokenizer.chat_template = (
                jinja(self.config.signals, self.tokens) if spelt is None else dialect.jinja(spelt, self.tokens)
            )
            self.tokenizer.save_pretrained(part / self.config.llm)
        for modality in self.config.encoders:
            where = self.config.encoder(modality).path
            if is_local(where):
                (part / where).mkdir(parents=True, exist_ok=True)
                self.encoders[modality].save_pretrained(part / where)
        save_projectors(INPUT_PROJECTORS, self.input_projectors, part / "input_projectors")
        save_projectors(OUTPUT_PROJECTORS, self.output_projectors, part / "output_projectors")
        for modality, options in self.config.generators.items():
            if not is_local(options.path):
                continue
            if modality in self.generators:
                lacks = getattr(self.generators[modality], "borrowed", ())
                if bool(lacks) != (options.base is not None):
                    said, does = f"base is {options.base!r}", ", ".join(lacks) or "nothing"
                    raise ModelError(f"generators.{modality}: {said}, but the generator borrows {does}")
                self.generators[modality].save_pretrained(part / options.path)
            elif self.folder is not None:
                shutil.copytree(self.folder / options.path, part / options.path)
        if dtype is not None:
            recast(part, dtype)
        if folder.exists():
            old = folder.with_name(folder.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            part.rename(folder)
            shutil.rmtree(old)
        else:
            part.rename(folder)
        return folder


def positions(attention_mask: Tensor) -> Tensor:
    """The place of every token among those that count, for padding on either side."""
    return (attention_mask.long().cumsum(-1) - 1).clamp_min(0)


def text_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of `labels` [batch, length] under `logits` [batch, length, vocabulary] one step before.

    With `weights` [batch, length] it is their weighted mean.
    """
    labels, logits = labels[:, 1:].flatten(), logits[:, :-1].flatten(0, 1).float()
    if weights is None:
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp_min(1)
    weight = weights[:, 1:].flatten() * (labels != IGNORE)
    each = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    return (weight * each).sum() / weight.sum().clamp_min(1e-6)


def condition_loss(predicted: Tensor, target: Tensor, deviation: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error in units of `deviation` [length, width], plus 1 - cosine, of conditions [k, length, width].

    `weight` [k, length] is brought to mean 1.
    """
    if not len(target):
        return predicted.sum()  # an empty sum: zero that still has a graph
    target = target.to(predicted)
    error = ((predicted - target) / deviation).float().square().mean(-1)  # [k, length]
    distance = error + 1 - F.cosine_similarity(predicted.float(), target.float(), dim=-1)
    if weight is None:
        return distance.mean()
    weight = weight.to(distance)
    return (weight * distance).sum() / weight.sum().clamp_min(1e-6)
