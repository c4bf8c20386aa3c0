"""An image encoder's adapters, which learn what stands in front of another thing."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anygen.encoders.image import ImageEncoder
from anygen.playground.compositor import Compositor
from anygen.playground.scene import Scene, sample_scene
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch
from anygen.training.telling import Telling

OVER = "in front of"


def adapted(encoder: ImageEncoder, bottleneck: int) -> ImageEncoder:
    """The encoder with adapters that do nothing yet; as it is if it has adapters."""
    if encoder.config.bottleneck:
        return encoder
    wider = ImageEncoder(dataclasses.replace(encoder.config, bottleneck=bottleneck))
    wider.load_state_dict(encoder.state_dict(), strict=False)
    return wider.to(encoder.class_token)


def overlapped(stream: random.Random, split: str = "train") -> Scene:
    """A random scene of one thing in front of another."""
    while True:
        scene = sample_scene(stream, "pair", split)
        if scene.relation == OVER:
            return scene


def sometimes_overlapped(stream: random.Random, share: float) -> Scene:
    """A random scene of training, in such a share of them of one thing in front of another."""
    return overlapped(stream) if share and stream.random() < share else sample_scene(stream)


class OverlapStage(nn.Module):
    """Trains the adapters of a finished image encoder: the model's own input projector, which rests, is to tell of the
    patch features what stands in front of what.

    That is one scene of twenty, and an encoder that saw as few of them does not learn it: a share `overlaps` of these
    scenes is such. All others are to be told as well as they were. What else reads the encoder's blocks (films, depth,
    heat), the joint embedding and the projector stay as they are, so that no other step has to follow; the encoders of
    depth and heat may learn on after it, to be like it.
    `table` [vocabulary, width] are the language model's embeddings.
    """

    name = "image-encoder"
    short = True

    def __init__(
        self,
        encoder: ImageEncoder,
        projector: Any,
        tokenizer: Any,
        table: Tensor,
        *,
        bottleneck: int = 128,
        overlaps: float = 0.4,
    ) -> None:
        super().__init__()
        self.encoder = adapted(encoder, bottleneck).requires_grad_(False)
        self.encoder.adapters.requires_grad_(True)
        self.projector = projector.requires_grad_(False)
        self.telling = Telling(tokenizer, table)
        self.overlaps = overlaps
        self.compositor = Compositor(encoder.config.side)

    def to(self, *args: Any, **kwargs: Any) -> "OverlapStage":
        super().to(*args, **kwargs)
        self.compositor = Compositor(self.encoder.config.side, next(self.parameters()).device)
        return self

    def words(self, scenes: list[Scene]) -> Tensor:
        """What the projector shall say of them: [scenes, tokens]."""
        return self.telling.scenes(scenes, self.projector.tokens, getattr(self.projector.config, "slots", False))

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|overlap")
        scenes = [sometimes_overlapped(stream, self.overlaps) for _ in range(size)]
        layers, ground = self.compositor.orders(scenes)
        over = torch.tensor([scene.relation == OVER for scene in scenes])
        return {"layers": layers, "ground": ground, "told": self.words(scenes), "over": over}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        pixels = to_pixels(self.compositor.draw(batch["layers"], batch["ground"]))
        projected = self.projector(self.encoder(pixels))
        losses = self.telling.losses(projected, batch["told"], "image")
        right = (self.telling.near(projected).argmax(-1) == batch["told"]).all(1).float()
        return losses | {"_over_right": right[batch["over"]].mean().nan_to_num()}

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """The share that is told word by word, of 256 held-out scenes and of 128 with one thing in front of another."""
        stream = random.Random("overlap")
        over = [overlapped(stream, "heldout") for _ in range(128)]
        asked = {"told": [sample_scene(stream, split="heldout") for _ in range(256)], "told_over": over}
        figures = {}
        for name, scenes in asked.items():
            wanted = self.words(scenes).to(self.telling.table.device)
            said = self.telling.near(self.projector(self.encoder(to_pixels(self.compositor.render(scenes))))).argmax(-1)
            figures[name] = float((said == wanted).all(1).float().mean())
        (folder / f"{step:07d}.txt").write_text("".join(f"{k} {v:.3f}\n" for k, v in figures.items()))
        return figures
