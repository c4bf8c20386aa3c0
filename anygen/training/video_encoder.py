"""The video encoder, trained on the frozen image encoder: films with their pictures, who moves how, and telling."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.image import ImageEncoder
from anygen.encoders.video import VideoEncoder, VideoTowerConfig
from anygen.playground.film import Film, sample_film, settle, upright
from anygen.playground.motion import FRAMES, MOTIONS
from anygen.playground.projection import Projection
from anygen.playground.slots import film_slots
from anygen.playground.things import THINGS
from anygen.playground.watching import film_caption
from anygen.training.footage import canvas_for, evenly, moves_of, screened, things_of, tubelet_cover
from anygen.training.loop import Batch
from anygen.training.telling import Telling


class VideoEncoderStage(nn.Module):
    """What the video encoder adds to the image encoder; that one is frozen, and the anchor.

    InfoNCE between films and single pictures of theirs (arXiv 2305.05665, eq. 1) keeps the joint space: no film meets a
    text. Of how things move a picture says nothing: from the features that a thing passes through, pooled, linear heads
    tell who it is and how it moves. With a `projector`, an input projector for these features, and a language model's
    embeddings `table` [vocabulary, width], captions are also told as in stage 1 (see `ImageEncoderStage`).
    """

    name = "video-encoder"
    short = True

    def __init__(
        self,
        config: VideoTowerConfig,
        image: ImageEncoder,
        tokenizer: Any,
        *,
        projector: Any = None,
        table: Tensor | None = None,
    ) -> None:
        super().__init__()
        image.requires_grad_(False)
        self.encoder = VideoEncoder(config, image)
        self.who = nn.Linear(config.width, len(THINGS))
        self.moves = nn.Linear(config.width, len(MOTIONS) + 1)
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as in CLIP
        self.projector = projector
        self.telling = Telling(tokenizer, table) if table is not None else None
        self.side = image.config.side
        self.projection = Projection(canvas_for(self.side))

    def to(self, *args: Any, **kwargs: Any) -> "VideoEncoderStage":
        super().to(*args, **kwargs)
        self.projection = Projection(canvas_for(self.side), self.log_scale.device)
        return self

    def train(self, mode: bool = True) -> "VideoEncoderStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.encoder.image.eval()
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|video encoder")
        films = [sample_film(stream) for _ in range(size)]
        layers, grounds = self.projection.orders(films)
        chosen = torch.tensor([stream.randrange(self.encoder.config.frames) for _ in films])
        batch = {"layers": layers, "grounds": grounds, "chosen": chosen}
        batch |= {"things": things_of(films), "moves": moves_of(films)}
        return batch | ({"told": self.words(films)} if self.telling else {})

    def words(self, films: list[Film]) -> Tensor:
        """What the projector shall say of them: [films, tokens]."""
        assert self.telling and self.projector
        told = list(map(upright, films))
        if self.projector.config.slots:
            return self.telling.slots(list(map(film_slots, told)), self.projector.tokens)
        return self.telling.words(list(map(film_caption, told)), self.projector.tokens)

    def pictures(self, layers: Tensor, grounds: Tensor) -> Tensor:
        """The frozen image encoder's states of the frames: [films, frames, 1 + patches, width]."""
        pixels = screened(self.projection, layers, grounds, self.side)[:, evenly(self.encoder.config.frames)]
        with torch.no_grad():
            return self.encoder.image.states(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        pictures = self.pictures(batch["layers"], batch["grounds"])
        states = self.encoder.temporal(pictures)
        tokens = states[:, 1:].float()
        head, same = self.encoder.image.head, torch.arange(len(states), device=states.device)
        whole = F.normalize(head(states[:, 0]).float(), dim=-1)
        single = F.normalize(head(pictures[same, batch["chosen"], 0]).float(), dim=-1)
        logits = self.log_scale.clamp(max=4.6).exp() * whole @ single.T
        cover = tubelet_cover(batch["layers"], self.projection.size, self.encoder.config)
        there = (batch["moves"] >= 0) & (cover.sum(-1) > 0)
        pooled = ((cover / cover.sum(-1, keepdim=True).clamp_min(1e-6)) @ tokens)[there]
        who, moves = self.who(pooled).float(), self.moves(pooled).float()
        losses = {
            "picture": (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2,
            "who": F.cross_entropy(who, batch["things"][there]),
            "moves": F.cross_entropy(moves, batch["moves"][there]),
            "_who_right": (who.argmax(-1) == batch["things"][there]).float().mean(),
            "_moves_right": (moves.argmax(-1) == batch["moves"][there]).float().mean(),
        }
        if self.telling and self.projector:
            losses |= self.telling.losses(self.projector(states[:, 1:]), batch["told"], "video")
        return losses

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out films: recall@1 of a picture of a second take of the film, the share of things and motions that are
        found, and the share whose caption is told word by word."""
        stream = random.Random("films to watch")
        films = [sample_film(stream, split="heldout") for _ in range(128)]
        device = self.log_scale.device
        figures = {}
        rows = []
        for start in range(0, len(films), 16):
            some = films[start : start + 16]
            layers, grounds = (part.to(device) for part in self.projection.orders(some))
            pictures = self.pictures(layers, grounds)
            states = self.encoder.temporal(pictures)
            other = screened(self.projection, *self.projection.orders([settle(film) for film in some]), self.side)
            cover = tubelet_cover(layers, self.projection.size, self.encoder.config)
            pooled = (cover / cover.sum(-1, keepdim=True).clamp_min(1e-6)) @ states[:, 1:].float()
            row = {
                "whole": F.normalize(self.encoder.image.head(states[:, 0]), dim=-1),
                "single": self.encoder.image.embed(other[:, FRAMES // 2]),
                "who": self.who(pooled).argmax(-1),
                "moves": self.moves(pooled).argmax(-1),
            }
            if self.telling and self.projector:
                row["told"] = self.telling.near(self.projector(states[:, 1:])).argmax(-1)
            rows.append(row)
        found = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        same = torch.arange(len(films), device=device)
        figures["film_to_image"] = float(((found["whole"] @ found["single"].T).argmax(1) == same).float().mean())
        for name, wanted in (("who", things_of(films)), ("moves", moves_of(films))):
            wanted = wanted.to(device)
            figures[name] = float((found[name] == wanted)[wanted >= 0].float().mean())
        if "told" in found:
            wanted = self.words(films).to(device)
            figures["told"] = float((found["told"] == wanted).all(1).float().mean())
            assert self.telling
            lines = [
                f"{self.telling.tokenizer.decode(one)} -> {self.telling.tokenizer.decode(two)}\n"
                for one, two in zip(wanted.tolist(), found["told"].tolist(), strict=True)
            ]
            (folder / f"{step:07d}-told.txt").write_text("".join(lines))
        (folder / f"{step:07d}.txt").write_text("".join(f"{k} {v:.3f}\n" for k, v in figures.items()))
        return figures
