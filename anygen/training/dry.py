"""Dry runs: what alignment stages train and what that takes, at full width, before anything is fetched."""

import warnings
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from anygen.error import RequestError
from anygen.planning import Skeleton, skeleton
from anygen.training.alignment import adapt
from anygen.training.recipe import TRAINED, Recipe

FOUR_BITS = 0.5 + 4 / 64  # bytes of a weight in NormalFloat, and its share of its block's scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What one part holds in a stage. `learning` of its `parameters` are changed; the bytes are those of a process.

    Gradients and the optimiser's two moments are of whole tensors: where rows of an embedding learn, of all its rows.
    """

    parameters: int
    learning: int = 0
    weights: int
    gradients: int = 0
    optimizer: int = 0
    average: int = 0

    @property
    def bytes(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average

    def __add__(self, other: "Held") -> "Held":
        return Held(**{name: getattr(self, name) + getattr(other, name) for name in Held.__slots__})


def dry_run(recipe: Recipe) -> dict[str, dict[str, Held]]:
    """Per alignment stage, what each part holds, "all" last. Nothing is read but configs.

    Training is in float32 but for matrices that `quantize` makes small. Generators are left out: they are needed only
    while captions are read for the cache, or for their own loss.
    """
    if not recipe.start:
        raise RequestError(
            f"a dry run is of stages that begin with a model, and the recipe '{recipe.name}' trains its own parts: "
            "name one with --set start=MODEL"
        )
    return {step: _held(recipe, step) for step in TRAINED if step in recipe.fits}


def _held(recipe: Recipe, step: str) -> dict[str, Held]:
    bones, train, average = skeleton(recipe.start), TRAINED[step], recipe.fits[step].ema > 0
    bones.llm.requires_grad_(False)
    small = _matrices(bones.llm) if recipe.quantize else set()
    rows = _rows(bones) if "signals" in train else {}
    found = {name: Held(parameters=part.parameters, weights=part.bytes) for name, part in bones.encoders.items()}
    blocks = {} if "lora" not in train or recipe.rank else _blocks(bones.llm)
    learning = sum(rows.values()) + sum(blocks.values())
    found["llm"] = _sum(bones.llm, {*rows, *blocks}, average, small, learning=learning)
    if "lora" in train and recipe.rank:
        found["adapter"] = _adapter(recipe, bones.llm, average)
    for part, side in (("input", "input_projectors"), ("output", "output_projectors")):
        projectors = getattr(bones, side)
        trained = {id(p) for p in projectors.parameters()} if part in train else set()
        found[side] = _sum(projectors, trained, average)
    found["all"] = sum(found.values(), Held(parameters=0, weights=0))
    return found


def _matrices(llm: Any) -> set[int]:
    """The matrices that become four bits."""
    head = llm.get_output_embeddings()
    return {id(m.weight) for m in llm.modules() if type(m) is nn.Linear and m is not head}


def _blocks(llm: Any) -> dict[int, int]:
    """What learns of an LLM without an adapter: all but its embeddings, and how many numbers each of it has."""
    ends = {id(llm.get_input_embeddings().weight), id(getattr(llm.get_output_embeddings(), "weight", None))}
    return {id(p): p.numel() for p in llm.parameters() if id(p) not in ends}


def _rows(bones: Skeleton) -> dict[int, int]:
    """The matrices that have rows of signal tokens, and how many numbers of each learn."""
    head = bones.llm.get_output_embeddings()
    ends = [bones.llm.get_input_embeddings().weight, *([head.weight] if head is not None else [])]
    return {id(matrix): bones.signal_rows * matrix.shape[1] for matrix in ends}


def _sum(
    module: nn.Module, trained: Set[int], average: bool, small: Set[int] = frozenset(), learning: int | None = None
) -> Held:
    """What a network holds, of which `trained` has gradients."""
    kept = list(module.parameters())
    moving = sum(p.numel() for p in kept if id(p) in trained)
    weights = sum(p.numel() * (FOUR_BITS if id(p) in small else 4) for p in kept)
    stored = module.state_dict().keys()
    weights += sum(4 * buffer.numel() for name, buffer in module.named_buffers() if name in stored)
    return Held(
        parameters=sum(p.numel() for p in kept),
        learning=moving if learning is None else learning,
        weights=round(weights),
        gradients=4 * moving,
        optimizer=8 * moving,
        average=4 * moving if average else 0,
    )


def _adapter(recipe: Recipe, llm: Any, average: bool) -> Held:
    """The adapter on a network whose own parameters are counted already."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore", FutureWarning)  # of libraries about each other
        adapted = adapt(llm, recipe.rank, recipe.lora_alpha, recipe.lora_dropout, recipe.lora_matrices)
    fresh = nn.ParameterList([p for name, p in adapted.named_parameters() if "lora_" in name])
    return _sum(fresh, {id(p) for p in fresh}, average)


def table(recipe: Recipe, told: dict[str, dict[str, Held]]) -> str:
    """A dry run for a terminal."""
    lines = [f"{recipe.name} from {recipe.start}: what a process holds, without activations"]
    for step, parts in told.items():
        fit = recipe.fits[step]
        each = f"{fit.batch} chats" + (f" x {fit.accumulate} parts" if fit.accumulate > 1 else "")
        lines.append(f"{step}: {fit.steps} steps of {each} per process, rate {fit.rate:g}")
        heads = "".join(f"{word:>11}" for word in ("weights", "gradients", "optimiser", "all"))
        lines.append(f"  {'part':24}{'parameters':>14}{'learning':>14}{heads}")
        for name, held in parts.items():
            sizes = (held.weights, held.gradients, held.optimizer + held.average, held.bytes)
            row = "".join(f"{_size(size):>11}" for size in sizes)
            lines.append(f"  {name:24}{held.parameters:>14,}{held.learning:>14,}{row}")
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
