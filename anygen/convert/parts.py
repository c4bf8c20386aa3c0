"""Parts that are in the ecosystem's formats already: an LLM or a pipeline folder, checked and laid out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anygen.convert.sentencepiece import fast_tokenizer
from anygen.convert.source import Weights, without, write_shards
from anygen.error import ModelError
from anygen.folder import FORMAT, ModelConfig
from anygen.generators.musicgen import CLASS
from anygen.meta import STEMS, build, build_llm, networks
from anygen.signals import special_tokens
from anygen.template import jinja
from anygen.weights import compare, quiet, read_config

SIGNALS = {"image": 8, "audio": 8, "video": 16}
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx")


def convert_llm(source: Path, output: Path, signals: Mapping[str, int] | None = None) -> Path:
    """A model folder around a causal LLM: its own weights, and this project's tokens behind its own.

    New rows of the embeddings are the mean of the old ones; stage 2 trains them. The folder has no encoders, generators
    and projectors yet: it opens, and answers in text. Raises ModelError before anything is written.
    """
    from transformers import PreTrainedTokenizerFast

    if output.exists():
        raise ModelError(f"{output} is there already; give another -o")
    if not (source / "config.json").is_file():
        raise ModelError(f"{source} is no transformers folder: config.json is missing")
    counts = dict(signals or SIGNALS)
    llm = build_llm(source)
    weights = Weights(source)
    check(llm, weights, source)
    if (source / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(source, local_files_only=True)
    else:
        tokenizer = fast_tokenizer(source / "tokenizer.model")
    config: Any = llm.config
    had = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special_tokens(counts))})
    known = max(had, 1)
    rows = max(int(config.get_text_config().vocab_size), len(tokenizer))
    tables = {name for name, tensor in _tables(llm)}

    def read(name: str) -> Tensor:
        tensor = weights.read(name)
        if name not in tables:
            return tensor
        mean = tensor[:known].float().mean(0).to(tensor.dtype)
        grown = torch.cat([tensor, mean.expand(rows - len(tensor), -1)])
        grown[had : len(tokenizer)] = mean
        return grown

    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    ModelConfig(format=FORMAT, name=output.name, signals=counts, llm="llm", encoders={}, generators={}).write(
        part / "anygen.json"
    )
    config.get_text_config().vocab_size = rows
    from transformers.utils import logging

    with quiet(logging):
        config.save_pretrained(part / "llm")
    kept = without(weights.shapes, ("rotary_emb.inv_freq",))
    write_shards(part / "llm", {name: _bytes(weights, name, rows if name in tables else 0) for name in kept}, read)
    tokenizer.chat_template = jinja(counts, {})
    tokenizer.save_pretrained(part / "llm")
    for side in ("input_projectors", "output_projectors"):
        (part / side).mkdir()
        (part / side / "config.json").write_text("{}\n", encoding="utf-8")
    part.rename(output)
    return output


def _tables(llm: Any) -> list[tuple[str, Tensor]]:
    """Names of the input and output embeddings."""
    wanted = {id(module.weight) for module in (llm.get_input_embeddings(), llm.get_output_embeddings()) if module}
    return [(name, p) for name, p in llm.named_parameters(remove_duplicate=False) if id(p) in wanted]


def _bytes(weights: Weights, name: str, rows: int) -> int:
    shape = weights.shapes[name]
    return 4 * torch.Size((rows, *shape[1:]) if rows else shape).numel()  # at most


def convert_pipeline(source: Path, output: Path) -> Path:
    """A diffusers folder with safetensors only, after every network's tensors were checked against its config.

    Pickles of tensors become safetensors; what a pipeline does not need is left out. Raises ModelError before anything
    is written.
    """
    if output.exists():
        raise ModelError(f"{output} is there already; give another -o")
    if not (source / "model_index.json").is_file():
        raise ModelError(f"{source} is no diffusers folder: model_index.json is missing")
    modules = networks(source)
    if not modules:
        raise ModelError(f"{source} has no networks: no component of its model_index.json has a config.json")
    held = {name: _component(source / name) for name in modules}
    for name, module in modules.items():
        check(module, held[name], source / name)
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    shutil.copy(source / "model_index.json", part)
    for component, entry in read_config(source / "model_index.json").items():
        if isinstance(entry, list) and (source / component).is_dir():
            shutil.copytree(
                source / component, part / component, ignore=shutil.ignore_patterns(*map("*{}*".format, WEIGHTS))
            )
    for name, weights in held.items():
        stem = STEMS[1] if read_config(source / "model_index.json")[name][0] == "transformers" else STEMS[0]
        names = without(weights.shapes, ("position_ids",))
        write_shards(part / name, {key: _bytes(weights, key, 0) for key in names}, weights.read, stem=stem)
    part.rename(output)
    return output


def convert_musicgen(source: Path, output: Path) -> Path:
    """A folder of transformers' MusicGen with safetensors only, after every tensor was checked against its config.

    Raises ModelError before anything is written.
    """
    if output.exists():
        raise ModelError(f"{output} is there already; give another -o")
    weights = Weights(source)
    module = build("transformers", CLASS, read_config(source / "config.json"), str(source))
    expected = module.state_dict(keep_vars=True)
    names = {_today(name, expected): name for name in weights.shapes if not name.endswith(POSITIONS)}
    compare(
        {name: tuple(tensor.shape) for name, tensor in expected.items()},
        {name: weights.shapes[stored] for name, stored in names.items()},
        str(source),
        optional=_twins(expected, names),
    )
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns(*map("*{}*".format, WEIGHTS), ".*"))
    sizes = {name: _bytes(weights, stored, 0) for name, stored in names.items()}
    write_shards(part, sizes, lambda name: weights.read(names[name]))
    part.rename(output)
    return output


def _twins(expected: Mapping[str, Tensor], names: Iterable[str]) -> list[str]:
    """Tensors that are one with another of `names`: files hold such once."""
    there = {id(expected[name]) for name in names if name in expected}
    return [name for name, tensor in expected.items() if id(tensor) in there]


POSITIONS = "embed_positions.weights"  # which older versions saved, and newer ones make themselves


def _today(name: str, expected: Mapping[str, Tensor]) -> str:
    """What a tensor of a normed weight is called now that it was called weight_g or weight_v in published files."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if name.endswith(old) and (now := f"{name.removesuffix(old)}parametrizations.weight.{new}") in expected:
            return now
    return name


def _component(folder: Path) -> Weights:
    for stem, pickled in ((STEMS[0], STEMS[0]), (STEMS[1], "pytorch_model")):
        if (
            any((folder / f"{stem}{end}").is_file() for end in (".safetensors", ".safetensors.index.json", ".bin"))
            or (folder / f"{pickled}.bin").is_file()
        ):
            return Weights(folder, stem, pickled)
    return Weights(folder)


def check(module: nn.Module, weights: Weights, where: Path) -> None:
    """Raise ModelError for the first tensor that does not fit the network, with both shapes."""
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = without(weights.shapes, ("rotary_emb.inv_freq",))
    # a buffer that older versions saved, and newer ones make themselves
    found = {name: shape for name, shape in found.items() if name in expected or not name.endswith("position_ids")}
    compare(expected, found, str(where), optional=getattr(module, "_tied_weights_keys", None) or ())
