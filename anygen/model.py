"""AnyGenModel: encoders, input projectors, the LLM, output projectors and generators; `forward` gives named losses."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from anygen.encoders import ENCODERS
from anygen.error import ModelError, RequestError
from anygen.generators import GENERATORS
from anygen.projectors import INPUT_PROJECTORS, OUTPUT_PROJECTORS, build, describe
from anygen.signals import MEDIA, SignalTokens, Vocabulary, find_spans
from anygen.template import IGNORE, Rendered, jinja, render
from anygen.weights import check_files, fill, load_strict, quiet, read_config, recast, save

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Where a generator is and its usual options; `edit_strength` None means that it cannot start from a picture."""

    path: str
    steps: int
    guidance: float
    edit_strength: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ModelError(f"generator {self.path}: steps is {self.steps}; at least 1 is needed")
        if self.edit_strength is not None and not 0 < self.edit_strength <= 1:
            raise ModelError(f"generator {self.path}: edit_strength is {self.edit_strength}, outside of 0..1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """anygen.json: what the parts are. A path is relative to the model folder, absolute, or `hub:owner/name@revision`."""

    format: int
    name: str
    signals: Mapping[str, int]  # modality -> signal tokens per span
    llm: str
    encoders: Mapping[str, str]
    generators: Mapping[str, GeneratorConfig]

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ModelError(f"anygen.json has format {self.format!r}; this version reads format {FORMAT}")
        for modality, count in self.signals.items():
            SignalTokens(modality=modality, count=count)
        for modality in (*self.encoders, *self.generators):
            if modality not in self.signals:
                raise ModelError(f"anygen.json names a part for {modality!r} but no signal tokens for it")

    @classmethod
    def read(cls, file: Path) -> ModelConfig:
        """anygen.json, strictly: an unknown and a missing key are errors."""
        values = read_config(file)
        generators = values.get("generators")
        if isinstance(generators, dict):
            values["generators"] = {
                modality: fill(GeneratorConfig, options, f"{file}: generators.{modality}")
                for modality, options in generators.items()
            }
        return fill(cls, values, str(file))

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


class AnyGenModel(nn.Module):
    """All parts of an any-to-any model.

    Encoders, projectors and the LLM are submodules. Generators are not: `generator(modality)` opens one at its first use,
    and training never sees its weights as parameters of the model.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Any,
        llm: nn.Module,
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
        self.dtype: torch.dtype | None = None  # what `load` was asked for; generators follow it
        self._opening = threading.Lock()
        self.vocabulary = Vocabulary.resolve(tokenizer, config.signals, llm.get_input_embeddings().num_embeddings)
        self._check()

    def _check(self) -> None:
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

    # --- what it is

    @property
    def device(self) -> torch.device:
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
        return tuple(m for m in MEDIA if m in self.encoders and m in self.input_projectors)

    @property
    def writes(self) -> tuple[str, ...]:
        """Media that the model makes."""
        has = set(self.generators) | set(self.config.generators)
        return tuple(m for m in MEDIA if m in self.output_projectors and m in has)

    @property
    def tokens(self) -> dict[str, int]:
        """Placeholders per input medium."""
        return {modality: self.input_projectors[modality].tokens for modality in self.reads}

    def generator(self, modality: str) -> Any:
        """The generator of `modality`, opened at its first use, on the LLM's device."""
        with self._opening:
            return self._open(modality)

    def _open(self, modality: str) -> Any:
        if modality not in self.generators:
            if modality not in self.config.generators:
                raise RequestError(f"no generator for {modality!r}; this model writes {', '.join(('text', *self.writes))}")
            place = locate(self.folder, self.config.generators[modality].path)
            generator = GENERATORS[modality].from_pretrained(place, device=self.device, dtype=self.dtype)
            if modality in self.output_projectors:
                made = self.output_projectors[modality].config
                if generator.condition_shape != (made.length, made.width_out):
                    raise ModelError(
                        f"the {modality} generator takes conditions of {list(generator.condition_shape)}, "
                        f"the output projector makes {[made.length, made.width_out]}"
                    )
            self.generators[modality] = generator
        return self.generators[modality]

    def render(self, messages: Any, *, answer: bool = False, begin: bool = True) -> Rendered:
        """Messages as token ids with places for media (`anygen.template.render`)."""
        return render(messages, self.tokenizer, self.vocabulary, self.tokens, answer=answer, begin=begin)

    # --- the way in

    def project(self, modality: str, features: Tensor) -> Tensor:
        """Encoder features [n, tokens_in, width_in] to LLM embeddings [n, tokens, LLM width]."""
        if modality not in self.input_projectors:
            raise RequestError(f"no encoder for {modality!r}; this model reads {', '.join(('text', *self.reads))}")
        projector = self.input_projectors[modality]
        return projector(features.to(self.device, next(projector.parameters()).dtype))

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
            count, needed = 0 if given is None else given.shape[0] * given.shape[1], int(places.sum())
            if count != needed:
                raise ModelError(f"{needed} placeholders for {modality}, but {count} embeddings were given for them")
            if given is not None:
                embeddings = embeddings.masked_scatter(places.unsqueeze(-1), given.to(embeddings))
        return embeddings

    # --- the way out

    def predict_condition(self, modality: str, hidden: Tensor) -> Tensor:
        """Hidden states at the signal tokens [n, count, LLM width] to conditions [n, length, width]."""
        if modality not in self.output_projectors:
            raise RequestError(f"no generator for {modality!r}; this model writes {', '.join(('text', *self.writes))}")
        projector = self.output_projectors[modality]
        signals = torch.tensor(self.vocabulary.spans[modality].signals, device=self.device)
        dtype = projector.condition_mean.dtype
        return projector(hidden.to(dtype), self.llm.get_input_embeddings()(signals).to(dtype))

    def span_states(self, modality: str, input_ids: Tensor, hidden: Tensor) -> Tensor:
        """Of hidden states [batch, length, width], those at the signals of every span: [spans, count, width]."""
        rows = [
            (row, place)
            for row, ids in enumerate(input_ids.tolist())
            for kind, place in find_spans(ids, self.vocabulary)
            if kind == modality
        ]
        count = len(self.vocabulary.spans[modality].signals)
        if not rows:
            return hidden.new_zeros(0, count, hidden.shape[-1])
        return torch.stack([hidden[row, place : place + count] for row, place in rows])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        media: Mapping[str, Tensor] | None = None,
        conditions: Mapping[str, Tensor] | None = None,
        return_conditions: bool = False,
    ) -> Any:
        """Named losses of a batch.

        `input_ids`, `attention_mask`, `labels` [batch, length]: labels stand at the position of their token, -100 where
        no loss counts. `media` are encoder features [n, tokens, width] per modality, in the order of their places.
        `conditions` are the targets [k, length, width] of all k spans of the batch, in order, earlier turns included.

        `text` is cross-entropy. `condition_<modality>` is the squared error in units of the condition's deviation, plus
        1 - cosine. With `return_conditions` the result is (losses, predicted conditions of every span).
        """
        projected = {modality: self.project(modality, features) for modality, features in (media or {}).items()}
        wanted = set(conditions or {}) | (set(self.output_projectors) if return_conditions else set())
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
            losses["text"] = text_loss(out.logits, labels)
        predicted: dict[str, Tensor] = {}
        for modality in (m for m in MEDIA if m in wanted):
            hidden = self.span_states(modality, input_ids, out.hidden_states[-1])
            predicted[modality] = self.predict_condition(modality, hidden)
        for modality, target in (conditions or {}).items():
            if target.shape != predicted[modality].shape:
                raise ModelError(
                    f"the batch has {modality} conditions of {list(predicted[modality].shape)}, "
                    f"but targets of {list(target.shape)} were given"
                )
            deviation = self.output_projectors[modality].condition_std
            losses[f"condition_{modality}"] = condition_loss(predicted[modality], target, deviation)
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
        cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
    ) -> AnyGenModel:
        """Open a model folder strictly. `dtype` None: float32 on a CPU, the folder's own precision elsewhere."""
        folder = Path(folder)
        if not folder.is_dir():
            raise ModelError(f"{folder} is not a folder")
        config = ModelConfig.read(folder / "anygen.json")
        tokenizer, llm = load_llm(locate(folder, config.llm), device, dtype)
        if (folder / "adapters").is_dir():
            llm = merge_adapter(llm, folder / "adapters")
        encoders = {}
        for modality, where in config.encoders.items():
            if modality not in ENCODERS:
                raise ModelError(f"no encoder class for {modality!r}; there are {', '.join(ENCODERS)}")
            encoders[modality] = ENCODERS[modality].from_pretrained(locate(folder, where), device=device, dtype=dtype)
        model = cls(
            config,
            tokenizer,
            llm,
            encoders,
            load_projectors(INPUT_PROJECTORS, folder / "input_projectors", device, dtype),
            load_projectors(OUTPUT_PROJECTORS, folder / "output_projectors", device, dtype),
            folder=folder,
        )
        for modality, generator in config.generators.items():
            if not (locate(folder, generator.path, fetch=False) or folder).exists():
                raise ModelError(f"the {modality} generator {folder / generator.path} is missing")
        model.dtype = dtype
        return model.eval()

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write the model folder, through a temporary name; weights in `dtype` if it is given.

        Parts that are references (absolute paths, hub ids) stay references. Generators that were never opened are copied.
        """
        from transformers.utils import logging

        folder = Path(folder)
        if hasattr(self.llm, "merge_and_unload"):
            raise ModelError("the LLM still carries an adapter: merge_and_unload() it before saving")
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self.config.write(part / "anygen.json")
        if is_local(self.config.llm):
            with quiet(logging):
                self.llm.save_pretrained(part / self.config.llm)
            self.tokenizer.chat_template = jinja(self.config.signals, self.tokens)
            self.tokenizer.save_pretrained(part / self.config.llm)
        for modality, where in self.config.encoders.items():
            if is_local(where):
                (part / where).mkdir(parents=True, exist_ok=True)
                self.encoders[modality].save_pretrained(part / where)
        save_projectors(INPUT_PROJECTORS, self.input_projectors, part / "input_projectors")
        save_projectors(OUTPUT_PROJECTORS, self.output_projectors, part / "output_projectors")
        for modality, options in self.config.generators.items():
            if not is_local(options.path):
                continue
            if modality in self.generators:
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


def text_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of `labels` [batch, length] under `logits` [batch, length, vocabulary], each one step ahead."""
    labels = labels[:, 1:].flatten()
    total = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp_min(1)


def condition_loss(predicted: Tensor, target: Tensor, deviation: Tensor) -> Tensor:
    """Squared error in units of `deviation` [length, width], plus 1 - cosine, of conditions [k, length, width]."""
    if not len(target):
        return predicted.sum()  # an empty sum: zero that still has a graph
    target = target.to(predicted)
    error = ((predicted - target) / deviation).float().square().mean()
    return error + 1 - F.cosine_similarity(predicted.float(), target.float(), dim=-1).mean()


def is_local(where: str) -> bool:
    """True if a part lies inside the model folder."""
    return not where.startswith("hub:") and not Path(where).is_absolute()


def locate(folder: Path | None, where: str, fetch: bool = True) -> Path | None:
    """The folder of a part. A hub reference is downloaded once, at its pinned revision; `fetch=False` gives None for it."""
    if not where.startswith("hub:"):
        return (folder or Path()) / where
    name, _, revision = where.removeprefix("hub:").partition("@")
    if not revision:
        raise ModelError(f"{where!r} names no revision; write hub:owner/name@revision")
    if not fetch:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"cannot fetch {name} at {revision}: {error}") from error


def load_llm(folder: Path, device: str | torch.device, dtype: torch.dtype | None) -> tuple[Any, nn.Module]:
    """Tokenizer and causal LLM from a transformers folder, strictly."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing")
    check_files(folder)
    wanted = dtype or (torch.float32 if torch.device(device).type == "cpu" else "auto")
    try:
        # reading must not draw from the global random state, whatever a library initialises
        with quiet(logging), torch.random.fork_rng(devices=[]):
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            llm, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=wanted,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, with both shapes
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder} does not open as an LLM: {str(error).splitlines()[0]}") from error
    for name, stored, needed in sorted(found["mismatched_keys"]):
        raise ModelError(f"{folder}: tensor {name} is {list(stored)}, the model needs {list(needed)}")
    expected = llm.state_dict()
    for name in sorted(found["missing_keys"]):
        raise ModelError(f"{folder}: tensor {name} {list(expected[name].shape)} is missing")
    for name in sorted(found["unexpected_keys"]):
        raise ModelError(f"{folder}: tensor {name} has no place in the model")
    return tokenizer, llm.to(device)


def merge_adapter(llm: nn.Module, folder: Path) -> nn.Module:
    """The LLM with a peft adapter merged into its weights."""
    try:
        from peft import PeftModel
    except ImportError:
        raise ModelError(f"{folder} needs peft: pip install 'anygen[train]'") from None
    check_files(folder)
    return PeftModel.from_pretrained(llm, folder, use_safetensors=True).merge_and_unload()


def load_projectors(
    table: dict[str, type], folder: Path, device: str | torch.device, dtype: torch.dtype | None
) -> dict[str, nn.Module]:
    """All projectors of one side: config.json maps a modality to its description."""
    described = read_config(folder / "config.json")
    with torch.device("meta"):
        projectors = nn.ModuleDict(
            {modality: build(table, values, f"{folder}: {modality}") for modality, values in described.items()}
        )
    if described:
        load_strict(projectors, folder / "model.safetensors", device, dtype)
    return dict(projectors.items())


def save_projectors(table: dict[str, type], projectors: nn.ModuleDict, folder: Path) -> None:
    """The inverse of `load_projectors`."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {modality: describe(table, projector) for modality, projector in projectors.items()}
    (folder / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if described:
        save(projectors, folder / "model.safetensors")
