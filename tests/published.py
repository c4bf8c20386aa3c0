"""Synthetic files in the formats of public checkpoints, at toy widths, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from struct import pack
from typing import Any

import torch

from anygen.convert.nextgpt import Sizes, published_shapes

TINY = Sizes(
    width=32,
    layers=2,
    rank=4,
    alpha=4,
    features=16,
    signals={"image": 4, "video": 6, "audio": 3},
    conditions={"image": (8, 16), "video": (8, 12), "audio": (1, 16)},
    inner=16,
    heads=4,
    feedforward=24,
    depth=2,
    rows=420,
)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | int | float) -> bytes:
    """One field of a protocol buffer: bytes, a whole number, or a float of 32 bits."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + pack("<f", value)
    return varint(number << 3) + varint(value)


def sentencepiece_model(words: list[tuple[str, float]], size: int, kind: int = 2) -> bytes:
    """A tokenizer.model as Llama's: three control pieces, all bytes, `words` with their scores, fillers to `size`."""
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    entries += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    entries += [(text, score, 1) for text, score in words]
    entries += [(chr(0x4E00 + n), -1e6 - n, 1) for n in range(size - len(entries))]
    pieces = b"".join(
        field(1, field(1, text.encode()) + field(2, score) + (field(3, sort) if sort != 1 else b""))
        for text, score, sort in entries
    )
    return pieces + field(2, field(3, kind) + field(4, size))


def words() -> list[tuple[str, float]]:
    """Characters and a few merges, the earlier the better."""
    merged = ["##", "\u2581#", "###", "\u2581###", "\u2581H", "an", "man", "\u2581A", "at", "\u2581c", "\u2581cat"]
    single = ["\u2581", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ#:.,!?<>[]0123456789"]
    return [(text, -float(rank)) for rank, text in enumerate([*merged, *single])]


def nextgpt(folder: Path, sizes: Sizes = TINY, seed: int = 0, **changes: Any) -> Path:
    """A folder as the published one: pytorch_model.pt (a pickle of half-precision parameters), tokenizer.model.

    `changes` replace tensors by name ("." spelt "__"); None leaves one out.
    """
    folder.mkdir(parents=True)
    rng = torch.Generator().manual_seed(seed)
    held: dict[str, Any] = {}
    for name, shape in published_shapes(sizes).items():
        scale = 1.0 if ".norm" in name and name.endswith("weight") else 0.0
        held[name] = torch.nn.Parameter((scale + 0.1 * torch.randn(shape, generator=rng)).half(), requires_grad=True)
    for name, tensor in changes.items():
        held.pop(name.replace("__", "."), None)
        if tensor is not None:
            held[name.replace("__", ".")] = tensor
    torch.save(held, folder / "pytorch_model.pt")
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(words(), sizes.rows))
    (folder / "added_tokens.json").write_text(json.dumps({name: sizes.rows + i for i, name in enumerate(sizes.added)}))
    return folder


def vicuna(folder: Path, sizes: Sizes = TINY, pickled: bool = True, rows: int = TINY.rows + 1, **config: Any) -> Path:
    """A folder as Vicuna-7B-v0's: a Llama in shards of pickles, with the buffers that transformers saved then."""
    from transformers import LlamaConfig, LlamaForCausalLM

    values = {
        "vocab_size": rows,
        "hidden_size": sizes.width,
        "intermediate_size": 48,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        llm = LlamaForCausalLM(LlamaConfig(**(values | config))).half()
    folder.mkdir(parents=True)
    if not pickled:
        llm.save_pretrained(folder)
        return folder
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", **values, **config, "max_sequence_length": 256})
    )
    held = llm.state_dict() | {
        f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.ones(4) for n in range(sizes.layers)
    }
    names = list(held)
    where: dict[str, str] = {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: held[name].clone() for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder
