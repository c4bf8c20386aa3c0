"""Trains output projectors of the bundled nano's pictures in several ways, draws with them, and writes a table.

python tools/ablate_decoding.py                          # every way, 800 batches each: about 30 minutes of one core
python tools/ablate_decoding.py --steps 4 --pool 40 --asked 4    # whether it runs
python tools/ablate_decoding.py --ways distance diffusion --page FILE

Each begins anew and learns stage 2 from the same answers of the frozen language model, in the same batches, encoded
once (`anygen.training.states`). Then held-out requests are drawn with it, with the same seeds, and judged.
"""

import argparse
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ablate_projectors import finish, fitted, said
from release import NANO, ROOT
from torch import Tensor, nn

from anygen.evaluation.judge import Judge, shows
from anygen.model import AnyGenModel, condition_loss
from anygen.playground.compositor import Compositor
from anygen.playground.scene import Scene
from anygen.projectors import OUTPUT_PROJECTORS
from anygen.projectors.output import OutputProjector, TransformerConfig, TransformerOutput
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch, FitOptions
from anygen.training.states import States, StatesStage

PAGE = ROOT / "docs" / "projectors.md"
BATCH = 40


class Way(NamedTuple):
    """One way to train: by which losses, from how many of the signals, with which average, by which projector."""

    name: str
    distance: float = 1.0
    diffusion: float = 0.0
    signals: int = 0
    ema: float = 0.99
    transformer: bool = False


WAYS = {
    "distance": Way("distance of conditions alone (nano's own), all 8 signals, EMA"),
    "no-ema": Way("the same without EMA", ema=0.0),
    "four": Way("4 of its 8 signals", signals=4),
    "two": Way("2 of its 8 signals", signals=2),
    "one": Way("1 of its 8 signals", signals=1),
    "diffusion": Way("the generator's diffusion loss alone", distance=0.0, diffusion=1.0),
    "both": Way("distance and diffusion loss", diffusion=1.0),
    "transformer": Way("torch's encoder-decoder (GILL, NExT-GPT), width 192", transformer=True),
}
SAMPLED = [(3.0, 6), (3.0, 10), (3.0, 25), (1.0, 14), (2.0, 14), (5.0, 14)]
"""Guidance and steps that the first way is drawn with besides 3.0 and 14."""


class Answers(StatesStage):
    """The pool, and the scenes that its answers draw."""

    def __init__(self, model: AnyGenModel) -> None:
        super().__init__("answers", model, {"draw": 1.0}, pool=0, only=("image",))
        self.scenes: list[Scene] = []

    def _states(self, modality: str, hidden: Tensor, parts: list[dict[str, Any]], stream: random.Random) -> States:
        self.scenes += [part["scene"] for part in parts]
        return super()._states(modality, hidden, parts, stream)


class Known(NamedTuple):
    """Answers' states, the scenes that they draw and these scenes' latents."""

    states: States
    scenes: list[Scene]
    latents: Tensor


@torch.no_grad()
def known(model: AnyGenModel, split: str, count: int) -> Known:
    """At least so many answers to random requests to draw, the same in every run."""
    answers = Answers(model)
    states = answers.states(split, count)["image"]
    generator = model.generator("image")
    compositor = Compositor(generator.size[0])
    latents = [
        generator.encode(to_pixels(compositor.render(answers.scenes[start : start + 64])))
        for start in range(0, len(answers.scenes), 64)
    ]
    return Known(states, answers.scenes, torch.cat(latents))


class Telling(nn.Module):
    """Trains one projector on known answers."""

    short = True

    def __init__(self, model: AnyGenModel, projector: OutputProjector, pool: Known, way: Way) -> None:
        super().__init__()
        self.name, self.projector, self.pool, self.way = "telling", projector, pool, way
        self.model, self.generator = [model], [model.generator("image")]  # not parts of what learns

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return {"rows": torch.randint(len(self.pool.scenes), (size,), generator=rng)}

    def predict(self, hidden: Tensor) -> Tensor:
        count = self.projector.config.count
        signals = torch.tensor(self.model[0].vocabulary.spans["image"].signals)[:count]
        return self.projector(hidden[:, :count].float(), self.model[0].llm.get_input_embeddings()(signals))

    def error(self, predicted: Tensor, states: States, rows: Tensor) -> Tensor:
        return condition_loss(
            predicted, states.conditions[rows].float(), self.projector.condition_std, states.weights[rows]
        )

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        rows, losses = batch["rows"], {}
        predicted = self.predict(self.pool.states.hidden[rows]).float()
        if self.way.distance:
            losses["condition"] = self.way.distance * self.error(predicted, self.pool.states, rows)
        if self.way.diffusion:
            latents, t = self.pool.latents[rows], torch.rand(len(rows), generator=rng)
            noise, x = torch.randn(latents.shape, generator=rng), t.view(-1, 1, 1, 1)
            flow = self.generator[0].predict((1 - x) * latents + x * noise, t * 1000, predicted)
            losses["diffusion"] = self.way.diffusion * (flow.float() - (noise - latents)).square().mean()
        return losses


def made(model: AnyGenModel, way: Way, seed: int) -> OutputProjector:
    """A fresh projector that knows the conditions' mean and deviation alone."""
    before = model.output_projectors["image"]
    config: Any = before.config
    kind = next(kind for kind in OUTPUT_PROJECTORS.values() if type(before) is kind)
    if way.signals:
        config = dataclasses.replace(config, count=way.signals)
    if way.transformer:
        ends = {key: getattr(config, key) for key in ("count", "width_in", "length", "width_out")}
        config, kind = TransformerConfig(**ends, width=192, feedforward=768), TransformerOutput
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projector: OutputProjector = kind(config)
    projector.condition_mean.copy_(before.condition_mean)
    projector.condition_std.copy_(before.condition_std)
    return projector


@torch.no_grad()
def drawn(model: AnyGenModel, told: Tensor, scenes: Sequence[Scene], guidance: float, steps: int) -> list[bool]:
    """Of pictures drawn from these conditions, one for each scene: whether all of it is right."""
    generator, pixels = model.generator("image"), []
    for start in range(0, len(told), 16):
        some = told[start : start + 16]
        images = generator.generate(some, range(start, start + len(some)), guidance=guidance, steps=steps)
        pixels += [torch.from_numpy(image.pixels).permute(2, 0, 1) for image in images]
    verdicts = Judge(generator.size[0]).look(torch.stack(pixels))
    return [shows(verdict, scene)["all"] for verdict, scene in zip(verdicts, scenes, strict=True)]


def trained(model: AnyGenModel, way: Way, pool: Known, steps: int, seed: int) -> tuple[Telling, float]:
    """The stage after so many batches, and how many CPU minutes these took."""
    stage = Telling(model, made(model, way, seed), pool, way)
    options = FitOptions(
        steps=steps,
        batch=BATCH,
        rate=2e-3,
        warmup=min(100, steps),
        decay_share=0.5,
        ema=way.ema,
        seed=seed,
        sample_every=0,
        save_every=steps,
    )
    minutes = fitted(stage, options)
    return stage.eval(), minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--steps", type=int, default=800, metavar="N", help=f"batches of {BATCH} (default: 800)")
    parser.add_argument("--pool", type=int, default=4000, metavar="N", help="training answers (default: 4000)")
    parser.add_argument("--asked", type=int, default=100, metavar="N", help="held-out requests (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--page", type=Path, metavar="FILE", help=f"where the table is put, such as {PAGE.name}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = AnyGenModel.load(NANO).requires_grad_(False)
    model.generator("image").unet.requires_grad_(False)
    pool, held = known(model, "train", args.pool), known(model, "heldout", args.asked)
    scenes, every = held.scenes[: args.asked], torch.arange(args.asked)
    lines = [
        "| output projector of pictures | guidance, steps | error | drawn right | CPU min |",
        "|---|---|---|---|---|",
    ]
    for number, key in enumerate(args.ways):
        way = WAYS[key]
        stage, minutes = trained(model, way, pool, args.steps, args.seed)
        with torch.no_grad():
            told = stage.predict(held.states.hidden[: args.asked])
            error = float(stage.error(told, held.states, every))
        for guidance, steps in [(3.0, 14), *(SAMPLED if not number else [])]:
            right = said(drawn(model, told, scenes, guidance, steps))
            took = f"{minutes:.1f}" if (guidance, steps) == (3.0, 14) else ""
            lines.append(f"| {way.name} | {guidance:g}, {steps} | {error:.3f} | {right} | {took} |")
            print(lines[-1], flush=True)
    own = held.states.conditions[: args.asked].float()
    right = said(drawn(model, own, scenes, 3.0, 14))
    lines.append(f"| none: the generator's own text encoder | 3, 14 | 0.000 | {right} | |")
    about = (
        f"{args.steps} batches of {BATCH} from {args.pool} training answers, seed {args.seed}; n = {args.asked} "
        "held-out requests, 95 % intervals; error: squared, of the condition's deviation, and one minus the cosine"
    )
    finish(lines, about, args.page, "decoding")


if __name__ == "__main__":
    main()
