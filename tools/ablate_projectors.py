"""Trains each kind of input projector alike on the bundled nano's pictures, and writes the table of docs/projectors.md.

python tools/ablate_projectors.py                         # every kind, 1,000 batches each: about 20 minutes of one core
python tools/ablate_projectors.py --steps 20 --pool 64    # whether it runs
python tools/ablate_projectors.py --kinds linear resampler --page FILE

Each begins anew and learns stage 1's telling (`anygen.training.features`) on the frozen encoder and language model: the
same pictures in the same batches, encoded once. Feature-level bridging says no tokens: it learns from the language
model's answers, and is asked for them. Milliseconds are medians of one picture at a time, of
CPU time, so that what else the machine does counts for little.
"""

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from release import NANO, ROOT, put
from torch import Tensor, nn

from anygen.evaluation.metrics import wilson
from anygen.model import AnyGenModel
from anygen.playground.reading import mentions
from anygen.playground.word import sentence
from anygen.projectors import INPUT_PROJECTORS, build
from anygen.projectors.bridging import GatedConfig, GatedProjector, Sight, seeing, shown
from anygen.template import encode
from anygen.training.alignment import greedy
from anygen.training.features import FeaturesStage, Told
from anygen.training.loop import Batch, FitOptions, fit
from anygen.training.packing import pack
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


GATED = "gated"
NAMES = {kind: name for kind, (name, _) in KINDS.items()}
NAMES[GATED] = "feature-level: gated cross-attention before every block (Flamingo), learns from answers"
ASK = "What is in this picture?"


class Captions(nn.Module):
    """Feature-level bridging says captions with the frozen language model: cross-entropy of its answers."""

    short = True

    def __init__(self, model: AnyGenModel, pool: "Seen") -> None:
        super().__init__()
        self.name, self.model, self.pool = "gated", model.requires_grad_(False), pool
        model.input_projectors.requires_grad_(True)

    def chat(self, number: int, *said: str) -> list[dict[str, Any]]:
        """A chat about the picture of this number."""
        seen = {"type": "image", "number": number}
        turns = [{"role": "user", "content": [seen, {"type": "text", "text": ASK}]}]
        return [*turns, *({"role": "assistant", "content": [{"type": "text", "text": text}]} for text in said)]

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        rng = random.Random(f"{seed}|{step}")
        numbers = rng.choices(range(len(self.pool.captions)), k=size)
        chats = [self.model.render(self.chat(n, sentence(self.pool.captions[n]))) for n in numbers]
        rows = -(-sum(len(chat.ids) for chat in chats) // 150)
        batch, inputs, _ = pack(chats, rows, 160, self.model.vocabulary.pad)
        return batch | {"numbers": torch.tensor([part["number"] for part in inputs])}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        return self.model(
            batch["ids"], labels=batch["labels"], media={"image": self.pool.features[batch["numbers"]].float()}
        )

    def told(self, held: "Seen") -> tuple[list[bool], list[bool]]:
        """As `told` below, of greedy answers."""
        asked = self.model.render(self.chat(0), answer=True)
        said = [greedy(self.model, asked, {"image": one[None].float()}) for one in held.features]
        both = list(zip(said, held.captions, strict=True))
        return [text == sentence(c) for text, c in both], [set(mentions(text)) == set(mentions(c)) for text, c in both]


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
    shape = torch.ones(1, made.tokens, dtype=torch.long)
    seen = {} if not isinstance(made, GatedProjector) else {"image": Sight(read[:, None, 1:], shape - 1)}

    def reads() -> None:
        with seeing(seen):
            model.llm(inputs_embeds=shown(made, read), logits_to_keep=1)

    return median(lambda: made(features)), median(reads, 60)


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


def bridged(model: AnyGenModel, seed: int) -> AnyGenModel:
    """The model for pictures alone, whose language model looks at their features before every block."""
    encoder, config = model.encoders["image"], model.llm.config
    ends = {"tokens_in": encoder.tokens, "width_in": encoder.width, "width_out": model.width}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gated = GatedConfig(**ends, layers=config.num_hidden_layers, heads=config.num_attention_heads)
        into = {"image": GatedProjector(gated)}
    return AnyGenModel(model.config, model.tokenizer, deepcopy(model.llm), {"image": encoder}, into, {})


def row(model: AnyGenModel, kind: str, pool: Seen, held: Seen, steps: int, seed: int) -> str:
    """Trains one kind and measures it."""
    stage: Any
    if kind == GATED:
        model = bridged(model, seed)
        made: Any = model.input_projectors["image"]
        stage = Captions(model, pool)
    else:
        made = projector(model, kind, seed)
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
    minutes = fitted(stage, options)
    stage.eval()
    whole, things = stage.told(held) if kind == GATED else told(stage, held)
    alone, read = costs(model, made)
    cells = [NAMES[kind], f"{sum(p.numel() for p in made.parameters()):,}", str(made.tokens)]
    cells += [f"{alone:.2f}", f"{read:.1f}", said(whole), said(things), f"{minutes:.2f}"]
    return f"| {' | '.join(cells)} |"


def fitted(stage: nn.Module, options: FitOptions) -> float:
    """Trains the stage; says how many CPU minutes it took."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fit(stage, options, Path(folder), resume=False)
    return (time.process_time() - began) / 60


def finish(lines: list[str], about: str, page: Path | None, name: str) -> None:
    """Prints a table and what it was measured on, and puts both into the page, if any."""
    here = f"torch {torch.__version__}, Python {platform.python_version()}, one thread."
    table = "\n".join([*lines, "", f"{about}; {here}"])
    print(table)
    if page:
        put(page, name, table)


def said(marks: list[bool]) -> str:
    """A share with its 95 % interval."""
    low, high = wilson(sum(marks), len(marks))
    return f"{sum(marks) / len(marks):.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=NAMES, default=list(NAMES), metavar="KIND", help=", ".join(NAMES))
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
    about = (
        f"{args.steps} batches of 48 from {args.pool} training pictures, seed {args.seed}; n = {HELD} "
        "held-out pictures, 95 % intervals"
    )
    finish(lines, about, args.page, "ablation")


if __name__ == "__main__":
    main()
