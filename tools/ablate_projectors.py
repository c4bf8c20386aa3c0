"""Trains each kind of input projector alike on the bundled nano's pictures, and writes the table of docs/projectors.md.

python tools/ablate_projectors.py                         # every kind, 1,000 batches each: about 20 minutes of one core
python tools/ablate_projectors.py --steps 20 --pool 64    # whether it runs
python tools/ablate_projectors.py --kinds linear resampler --page FILE

Each begins anew and learns stage 1's telling (`anygen.training.features`) on the frozen encoder and language model: the
same pictures in the same batches, encoded once. Milliseconds are medians of one picture at a time, of
CPU time, so that what else the machine does counts for little.
"""

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from release import NANO, ROOT, put
from torch import Tensor, nn

from anygen.blocks import Attention
from anygen.evaluation.metrics import wilson
from anygen.model import AnyGenModel
from anygen.playground.reading import mentions
from anygen.projectors import INPUT_PROJECTORS, build
from anygen.template import encode
from anygen.training.features import FeaturesStage, Told
from anygen.training.loop import FitOptions, fit
from anygen.training.sense import SENSES

PAGE = ROOT / "docs" / "projectors.md"
HELD = 256
WIDE: dict[str, Any] = {"width": 192, "heads": 4}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("linear", {"type": "linear"}),
    "mlp": ("MLP", {"type": "mlp", "hidden": 384}),
    "merged": ("MLP over 2 x 2 patches (LLaVA, Qwen2-VL)", {"type": "mlp", "hidden": 384, "merge": 2}),
    "grouping": ("token grouping, 32 groups, then 16 (NExT-GPT)", {"type": "grouping", "groups": (32, 16), **WIDE}),
    "one-layer": ("resampler, 16 queries, one layer", {"type": "resampler", "queries": 16, "layers": 1, **WIDE}),
    "resampler": (
        "resampler, 16 queries, three layers (Q-Former, Flamingo; nano's own)",
        {"type": "resampler", "queries": 16, "layers": 3, **WIDE},
    ),
}


class Bridge(nn.Module):
    """Flamingo's gated cross-attention before a block of the language model (arXiv 2204.14198, section 3.1.2)."""

    def __init__(self, width: int, heads: int, width_in: int) -> None:
        super().__init__()
        self.inward = nn.Linear(width_in, width)
        self.norm, self.attend = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        x = x + self.gates[0].tanh() * self.attend(self.norm(x), self.inward(features))
        return x + self.gates[1].tanh() * self.mlp(self.norm_mlp(x))


def projector(model: AnyGenModel, kind: str, seed: int) -> nn.Module:
    """A fresh projector of a kind for the model's pictures."""
    encoder = model.encoders["image"]
    ends = {"tokens_in": encoder.tokens, "width_in": encoder.width, "width_out": model.width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(INPUT_PROJECTORS, {**KINDS[kind][1], **ends}, kind)


def median(work: Callable[[], Any], repeats: int = 200) -> float:
    """CPU milliseconds of `work` on one thread, whatever else runs; the first runs are not counted."""
    took = []
    with torch.no_grad():
        for _ in range(repeats + 20):
            began = time.process_time()
            work()
            took.append(1000 * (time.process_time() - began))
    return statistics.median(took[20:])


def costs(model: AnyGenModel, made: nn.Module) -> tuple[float, float]:
    """Milliseconds of the projector for one picture, and of the language model reading what it makes."""
    encoder = model.encoders["image"]
    features = torch.randn(1, encoder.tokens, encoder.width, generator=torch.Generator().manual_seed(0))
    made.eval()
    read = made(features).detach()
    return median(lambda: made(features)), median(lambda: model.llm(inputs_embeds=read, logits_to_keep=1), 60)


class Seen(NamedTuple):
    """What the frozen encoder makes of pictures [n, tokens, width], once for all kinds, and their captions."""

    features: Tensor
    captions: list[str]


@torch.no_grad()
def seen(model: AnyGenModel, split: str, count: int) -> Seen:
    """Random pictures of a split, the same in every run."""
    sense = SENSES["image"](model, False)
    features: list[Tensor] = []
    captions: list[str] = []
    for start in range(0, count, 32):
        streams = [random.Random(f"ablation {split} {number}") for number in range(start, min(count, start + 32))]
        parts = [sense.sample(stream, split) for stream in streams]
        features.append(model.encoders["image"](sense.features_of(sense.shown(parts))).bfloat16())
        captions += map(sense.told, parts)
    return Seen(torch.cat(features), captions)


@torch.no_grad()
def told(stage: FeaturesStage, held: Seen) -> tuple[list[bool], list[bool]]:
    """Of held-out pictures: whether the whole caption was told word for word, and whether exactly its things were.

    A caption that has more words than there are tokens cannot be told whole.
    """
    model = stage.model
    said = stage.telling.near(model.project("image", held.features.float())).argmax(-1)
    whole, things = [], []
    for ids, caption in zip(said.tolist(), held.captions, strict=True):
        wanted = encode(model.tokenizer, f"[{caption}]")
        whole.append(len(wanted) <= len(ids) and ids[: len(wanted)] == wanted)
        things.append(set(mentions(model.tokenizer.decode(ids))) == set(mentions(caption)))
    return whole, things


def row(model: AnyGenModel, kind: str, pool: Seen, held: Seen, steps: int, seed: int) -> str:
    """Trains one kind and measures it."""
    made: Any = projector(model, kind, seed)
    model.input_projectors = nn.ModuleDict({"image": made})
    stage = FeaturesStage(kind, model, pool=len(pool.captions), fresh=0)
    stage.pool = {"image": Told(pool.features, stage.telling.words(pool.captions, made.tokens))}
    options = FitOptions(
        steps=steps,
        batch=48,
        rate=1e-3,
        warmup=min(100, steps),
        decay_share=0.5,
        precision="no",
        seed=seed,
        sample_every=0,
        save_every=steps,
    )
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fit(stage, options, Path(folder), resume=False)
    minutes = (time.process_time() - began) / 60
    stage.eval()
    whole, things = told(stage, held)
    alone, read = costs(model, made)
    cells = [KINDS[kind][0], f"{sum(p.numel() for p in made.parameters()):,}", str(made.tokens)]
    cells += [f"{alone:.2f}", f"{read:.1f}", said(whole), said(things), f"{minutes:.2f}"]
    return f"| {' | '.join(cells)} |"


def said(marks: list[bool]) -> str:
    """A share with its 95 % interval."""
    low, high = wilson(sum(marks), len(marks))
    return f"{sum(marks) / len(marks):.2f} ({low:.2f}-{high:.2f})"


def bridge_row(model: AnyGenModel) -> str:
    """What gated cross-attention in every block would cost: it says no tokens, so that stage 1 cannot train it here."""
    config = model.llm.config
    encoder = model.encoders["image"]
    bridges = [
        Bridge(config.hidden_size, config.num_attention_heads, encoder.width).eval()
        for _ in range(config.num_hidden_layers)
    ]
    features = torch.randn(1, encoder.tokens, encoder.width, generator=torch.Generator().manual_seed(0))
    token = torch.randn(1, 1, config.hidden_size, generator=torch.Generator().manual_seed(1))
    alone = median(lambda: [bridge(token, features) for bridge in bridges])
    count = sum(p.numel() for bridge in bridges for p in bridge.parameters())
    name = "gated cross-attention before every block (Flamingo), for one token of text"
    return f"| {name} | {count:,} | 0 | {alone:.2f} | | not trained | not trained | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="batches of 48 (default: 1000)")
    parser.add_argument("--pool", type=int, default=4000, metavar="N", help="training pictures (default: 4000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--page", type=Path, metavar="FILE", help=f"where the table is put, such as {PAGE.name}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = AnyGenModel.load(NANO)
    lines = [
        "| projector | parameters | tokens | ms | ms, LLM reads | captions word for word | things right | CPU min |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pool, held = seen(model, "train", args.pool), seen(model, "heldout", HELD)
    for kind in args.kinds:
        lines.append(row(model, kind, pool, held, args.steps, args.seed))
        print(lines[-1], flush=True)
    lines.append(bridge_row(model))
    about = (
        f"{args.steps} batches of 48 from {args.pool} training pictures, seed {args.seed}; n = {HELD} "
        f"held-out pictures, 95 % intervals; torch {torch.__version__}, Python {platform.python_version()}, one thread."
    )
    table = "\n".join([*lines, "", about])
    print(table)
    if args.page:
        put(args.page, "ablation", table)


if __name__ == "__main__":
    main()
