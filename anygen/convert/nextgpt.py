"""The public NExT-GPT checkpoint (arXiv 2309.05519, `nextgpt_7b_tiva_v0`) with its Vicuna, to a model folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anygen.convert.sentencepiece import fast_tokenizer
from anygen.convert.source import Weights, open_pickle, without, write_shards
from anygen.dialect import Dialect, MediumTokens, jinja
from anygen.doctor import digest
from anygen.error import ModelError
from anygen.folder import FORMAT, EncoderConfig, GeneratorConfig, ModelConfig, save_projectors
from anygen.projectors import INPUT_PROJECTORS, OUTPUT_PROJECTORS
from anygen.projectors.input import LinearConfig, LinearProjector
from anygen.projectors.output import TransformerConfig, TransformerOutput
from anygen.signals import SignalTokens
from anygen.weights import compare, fill, quiet, read_config

LICENCE = "CC-BY-NC-SA-4.0"
HIDDEN = {"image": "gen_text_hidden_fcs", "video": "gen_text_hidden_fcs_video", "audio": "gen_text_hidden_fcs_audio"}
NAMES = {"image": "IMG", "video": "VID", "audio": "AUD"}
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")
INSIDE = "llama_model.base_model.model."  # where peft keeps the LLM

IMAGEBIND = EncoderConfig(path="catalog:imagebind_huge", kind="imagebind", options={"pooled": True})
"""What the published projector reads: one vector of the joint space per medium, times its modality's scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """What the checkpoint is made of; the defaults are the published one's. `conditions` are length and width."""

    width: int = 4096
    layers: int = 32
    rank: int = 32
    alpha: int = 32
    features: int = 1024
    signals: Mapping[str, int] = field(default_factory=lambda: {"image": 4, "video": 24, "audio": 8})
    conditions: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: {"image": (77, 768), "video": (77, 1024), "audio": (1, 512)}
    )
    inner: int = 512
    heads: int = 4
    feedforward: int = 2048
    depth: int = 4
    rows: int = 32000  # of Llama's vocabulary, before the first token that NExT-GPT adds

    @property
    def added(self) -> tuple[str, ...]:
        """The tokens that NExT-GPT adds to Llama's, in the order of their ids."""
        signals = (f"[{NAMES[m]}{index}]" for m in ("image", "video", "audio") for index in range(self.signals[m]))
        return ("<Img>", "</Img>", *signals)

    @property
    def vocabulary(self) -> int:
        """Rows of the checkpoint's embeddings."""
        return self.rows + len(self.added)

    def output(self, modality: str) -> TransformerConfig:
        """The output projector of a modality."""
        length, width = self.conditions[modality]
        return TransformerConfig(
            count=self.signals[modality],
            width_in=self.width,
            length=length,
            width_out=width,
            width=self.inner,
            heads=self.heads,
            feedforward=self.feedforward,
            encoder_layers=self.depth,
            decoder_layers=self.depth,
        )


PUBLISHED = Sizes()


def published_name(name: str) -> str:
    """What the checkpoint calls a tensor of a TransformerOutput."""
    first, _, rest = name.partition(".")
    if first == "queries":
        return "query_embs"
    return {"inward": "fc.", "outward": "model."}.get(first, f"tfm.{first}.") + rest


def published_shapes(sizes: Sizes = PUBLISHED) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the checkpoint."""
    table = (sizes.vocabulary, sizes.width)
    found: dict[str, tuple[int, ...]] = {
        f"{INSIDE}model.embed_tokens.weight": table,
        f"{INSIDE}lm_head.weight": table,
        "llama_proj.weight": (sizes.width, sizes.features),
        "llama_proj.bias": (sizes.width,),
    }
    for layer in range(sizes.layers):
        for name in ADAPTED:
            where = f"{INSIDE}model.layers.{layer}.self_attn.{name}"
            found[f"{where}.lora_A.default.weight"] = (sizes.rank, sizes.width)
            found[f"{where}.lora_B.default.weight"] = (sizes.width, sizes.rank)
    for modality, prefix in HIDDEN.items():
        for name, tensor in _empty(sizes, modality).items():
            shape = (1, *tensor.shape) if name == "queries" else tuple(tensor.shape)
            found[f"{prefix}.0.{published_name(name)}"] = shape
    return found


def _empty(sizes: Sizes, modality: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        projector = TransformerOutput(sizes.output(modality))
    return {name: tensor for name, tensor in projector.state_dict().items() if not name.startswith("condition_")}


def open_checkpoint(file: Path, sizes: Sizes = PUBLISHED) -> dict[str, Tensor]:
    """The checkpoint's tensors, memory-mapped, after every name, shape and precision was checked."""
    expected = published_shapes(sizes)
    held = open_pickle(file, expected_bytes=2 * sum(torch.Size(shape).numel() for shape in expected.values()))
    compare(expected, {name: tuple(tensor.shape) for name, tensor in held.items()}, str(file))
    for name, tensor in held.items():
        if tensor.dtype != torch.float16:
            raise ModelError(f"{file}: tensor {name} is {_said(tensor.dtype)}, the published one is float16")
    return held


def open_base(folder: Path, sizes: Sizes = PUBLISHED) -> tuple[Any, Weights]:
    """Config and weights of the Vicuna folder, after they were checked against the checkpoint's sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    values = read_config(folder / "config.json")
    if values.get("model_type") != "llama":
        raise ModelError(
            f"{folder} is a {values.get('model_type')!r} model; the base of NExT-GPT is a Llama, Vicuna v0"
        )
    for key, needed in (("hidden_size", sizes.width), ("num_hidden_layers", sizes.layers)):
        if values.get(key) != needed:
            raise ModelError(f"{folder}: {key} is {values.get(key)}, the checkpoint was trained on {needed}")
    config = LlamaConfig.from_dict(values)
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in LlamaForCausalLM(config).state_dict().items()}
    weights = Weights(folder)
    compare(expected, without(weights.shapes, ("rotary_emb.inv_freq",)), str(folder))
    return config, weights


def dialect(sizes: Sizes = PUBLISHED, states: str = "at") -> Dialect:
    """How NExT-GPT spells a conversation. Sounds and films are wrapped as pictures are."""
    media = {
        modality: MediumTokens(
            open="<Img>",
            close="</Img>",
            placeholder=SignalTokens(modality=modality, count=count).placeholder,
            signals=tuple(f"[{NAMES[modality]}{index}]" for index in range(count)),
        )
        for modality, count in sizes.signals.items()
    }
    return Dialect(
        begin="<s>",
        pad="<unk>",
        start="###",
        roles={"user": " Human: ", "assistant": " Assistant:"},
        after="\n###",
        ends=("##", "\u2581###", "</s>"),  # both ways in which ### can be cut
        media=media,
        states=states,
    )


def open_tokenizer(checkpoint: Path, base: Path, sizes: Sizes = PUBLISHED) -> Any:
    """Llama's tokenizer with the checkpoint's tokens at their ids, and a placeholder per medium behind them.

    It is read from tokenizer.model: the checkpoint's own, or else the base's.
    """
    places = [folder / "tokenizer.model" for folder in (checkpoint.parent, base)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise ModelError(f"no tokenizer.model, neither beside {checkpoint} nor in {base}")
    tokenizer = fast_tokenizer(file)
    if len(tokenizer) != sizes.rows:
        raise ModelError(f"{file} has {len(tokenizer)} tokens; Llama's has {sizes.rows}")
    spelt = dialect(sizes)
    known = set(tokenizer.get_vocab())
    for name in spelt.ends:
        if name not in known:
            raise ModelError(f"{file} has no token {name!r}: it is not the tokenizer of Llama 1")
    placeholders = [names.placeholder for names in spelt.media.values()]
    tokenizer.add_special_tokens({"additional_special_tokens": [*sizes.added, *placeholders]})
    for index, name in enumerate((*sizes.added, *placeholders), sizes.rows):
        if tokenizer.convert_tokens_to_ids(name) != index:
            raise ModelError(f"{file}: {name} becomes token {tokenizer.convert_tokens_to_ids(name)}, not {index}")
    published = checkpoint.parent / "added_tokens.json"
    if published.is_file():
        said = read_config(published)
        for index, name in enumerate(sizes.added, sizes.rows):
            if said.get(name) != index:
                raise ModelError(f"{published} gives {name} the id {said.get(name)}, the layout has {index}")
    return tokenizer


USUAL = {
    "image": ("catalog:stable-diffusion-1.5", 50, 7.5),
    "video": ("catalog:zeroscope-576w", 50, 7.5),
    "audio": ("catalog:audioldm-l-full", 50, 7.5),
}


def convert(
    checkpoint: Path,
    base: Path,
    output: Path,
    *,
    states: str = "at",
    merge: bool = True,
    encoders: Mapping[str, str] | None = None,
    generators: Mapping[str, str] | None = None,
    sizes: Sizes | None = None,
) -> Path:
    """Write the model folder `output` from the checkpoint (its folder or its .pt file) and a Vicuna-7B-v0 folder.

    `states` is where hidden states are taken: "at" the signals, as in training, or "before" them. LoRA is merged into
    the LLM, or kept in adapters/ without `merge`. `encoders` and `generators` are references by modality; the default
    is the catalog's ImageBind and the paper's pipelines; `sizes` are the published checkpoint's unless given.
    Everything is checked before anything is written.
    """
    sizes = sizes or PUBLISHED
    file = checkpoint / "pytorch_model.pt" if checkpoint.is_dir() else checkpoint
    if output.exists():
        raise ModelError(f"{output} is there already; give another -o")
    spelt = dialect(sizes, states)
    held = open_checkpoint(file, sizes)
    config, weights = open_base(base, sizes)
    tokenizer = open_tokenizer(file, base, sizes)
    described = ModelConfig(
        format=FORMAT,
        name="nextgpt",
        signals=sizes.signals,
        llm="llm",
        encoders={m: (encoders or {}).get(m, IMAGEBIND) for m in sizes.signals},
        generators={
            m: fill(GeneratorConfig, {"path": (generators or {}).get(m, path), "steps": steps, "guidance": g}, m)
            for m, (path, steps, g) in USUAL.items()
        },
        dialect=spelt,
    )
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    described.write(part / "anygen.json")
    _write_projectors(held, part, sizes)
    _write_llm(held, config, weights, tokenizer, part, sizes, merge)
    tokenizer.chat_template = jinja(spelt, dict.fromkeys(sizes.signals, 1))
    tokenizer.save_pretrained(part / "llm")
    _write_provenance(file, base, part)
    part.rename(output)
    return output


def _write_projectors(held: Mapping[str, Tensor], part: Path, sizes: Sizes) -> None:
    into, outof = nn.ModuleDict(), nn.ModuleDict()
    for modality, prefix in HIDDEN.items():
        linear = LinearProjector(LinearConfig(tokens_in=1, width_in=sizes.features, width_out=sizes.width)).half()
        linear.load_state_dict({f"linear.{kind}": held[f"llama_proj.{kind}"] for kind in ("weight", "bias")})
        into[modality] = linear
        projector = TransformerOutput(sizes.output(modality)).half()
        state = projector.state_dict()
        for name in _empty(sizes, modality):
            tensor = held[f"{prefix}.0.{published_name(name)}"]
            state[name] = tensor[0] if name == "queries" else tensor
        projector.load_state_dict(state)
        outof[modality] = projector
    save_projectors(INPUT_PROJECTORS, into, part / "input_projectors")
    save_projectors(OUTPUT_PROJECTORS, outof, part / "output_projectors")


def _write_llm(
    held: Mapping[str, Tensor], config: Any, weights: Weights, tokenizer: Any, part: Path, sizes: Sizes, merge: bool
) -> None:
    """The LLM in half precision, shard by shard; rows of placeholders, which nothing reads, are zero."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    config.update({"vocab_size": len(tokenizer), "tie_word_embeddings": False, "dtype": torch.float16})
    config.update({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "architectures": ["LlamaForCausalLM"]})
    with torch.device("meta"):
        expected = LlamaForCausalLM(config).state_dict()

    def read(name: str) -> Tensor:
        if f"{INSIDE}{name}" in held:  # the embeddings, which the checkpoint holds whole
            table = held[f"{INSIDE}{name}"]
            return torch.cat([table, table.new_zeros(len(tokenizer) - len(table), table.shape[1])])
        tensor = weights.read(name)
        where = f"{INSIDE}{name.removesuffix('.weight')}"
        if merge and f"{where}.lora_A.default.weight" in held:
            inward, outward = (held[f"{where}.lora_{side}.default.weight"].float() for side in "AB")
            tensor = tensor.float() + sizes.alpha / sizes.rank * (outward @ inward)
        return tensor.half()

    with quiet(logging):
        config.save_pretrained(part / "llm")
    write_shards(part / "llm", {name: 2 * tensor.numel() for name, tensor in expected.items()}, read)
    if not merge:
        _write_adapter(held, part / "adapters", sizes)


def _write_adapter(held: Mapping[str, Tensor], folder: Path, sizes: Sizes) -> None:
    """The LoRA weights as peft's own folder."""
    from safetensors.torch import save_file

    folder.mkdir()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": sizes.rank,
        "lora_alpha": sizes.alpha,
        "lora_dropout": 0.1,
        "target_modules": list(ADAPTED),
        "bias": "none",
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    kept = {name: tensor for name, tensor in held.items() if ".lora_" in name}
    named = {
        name.removeprefix("llama_model.").replace(".default.", "."): tensor.contiguous().clone()
        for name, tensor in kept.items()
    }
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _write_provenance(file: Path, base: Path, part: Path) -> None:
    files = sorted(path for path in part.rglob("*") if path.is_file())
    told = {
        "converted_from": {"checkpoint": file.name, "sha256": digest(file), "base": base.name},
        "licence": f"{LICENCE} (checkpoint); the base under its own, Llama 1's",
        "files": {path.relative_to(part).as_posix(): digest(path) for path in files},
    }
    (part / "provenance.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _said(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
