"""The IMU encoder, trained ImageBind style: films of the same motion are the anchor, no motion meets a text."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.imu import ImuEncoder, ImuTowerConfig, scaled
from anygen.encoders.video import VideoEncoder
from anygen.playground.film import Director, Film, is_heldout
from anygen.playground.motion import STILL
from anygen.playground.projection import Projection
from anygen.playground.ride import FELT, UNITS, felt, readings, ride_caption, sample_ride
from anygen.playground.things import BACKDROPS, THINGS
from anygen.training.footage import canvas_for, evenly, screened
from anygen.training.loop import Batch
from anygen.training.telling import Telling

RIDES = (*FELT, STILL)
"""What a ride may be."""
TAKES = 12
"""Things whose films, one in each motion, are the anchor."""


@torch.no_grad()
def anchors(video: VideoEncoder, takes: int = TAKES, seed: int = 0) -> Tensor:
    """What the frozen video encoder says of each motion apart from who moves where: unit vectors [takes, RIDES, joint].

    A take is one thing on one backdrop in every motion; what all its films share is taken away. A thing of which some
    motion is held out is in none.
    """
    device = next(video.parameters()).device
    side = video.image.config.side
    projection = Projection(canvas_for(side), device)
    stream = random.Random(f"{seed}|ride anchors")
    found: list[Tensor] = []
    while len(found) < takes:
        director = Director(stream)
        thing, backdrop = stream.choice(THINGS).name, stream.choice(BACKDROPS)
        films = [director.one(thing, motion, backdrop, size="medium") for motion in RIDES]
        if any(map(is_heldout, films)):
            continue
        frames = screened(projection, *projection.orders(films), side)[:, evenly(video.config.frames)]
        made = video.embed(frames).float()
        found.append(F.normalize(made - made.mean(0, keepdim=True), dim=-1))
    return torch.stack(found)


def motions_of(films: list[Film]) -> Tensor:
    """Places in RIDES of what is felt: [films]."""
    return torch.tensor([RIDES.index(felt(film)) for film in films])


class ImuEncoderStage(nn.Module):
    """InfoNCE between rides and films of their motion (arXiv 2305.05665, eq. 1), and which motion it is.

    A linear head names the motion from the mean of the features, so that these say it, too. Beside that `projector`
    learns to tell captions in the language model's embeddings `table` [vocabulary, width] (see `Telling`); nothing of
    that reaches the encoder.
    """

    name = "imu-encoder"
    short = True
    films: Tensor

    def __init__(
        self,
        config: ImuTowerConfig,
        video: VideoEncoder,
        tokenizer: Any,
        *,
        projector: Any = None,
        table: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.encoder = ImuEncoder(config)
        self.moves = nn.Linear(config.width, len(RIDES))
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as in CLIP
        self.register_buffer("films", anchors(video.eval()), persistent=False)
        self.projector = projector
        self.telling = Telling(tokenizer, table) if table is not None else None

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|imu encoder")
        films = [sample_ride(stream) for _ in range(size)]
        batch = {"readings": self.felt(films), "motions": motions_of(films)}
        batch["take"] = torch.tensor(stream.randrange(len(self.films)))
        return batch | ({"told": self.words(films)} if self.telling else {})

    def felt(self, films: list[Film]) -> Tensor:
        """int16 [films, 6, samples]"""
        return torch.stack([torch.from_numpy(readings(film)) for film in films])

    def words(self, films: list[Film]) -> Tensor:
        """What the projector shall say of them: [films, tokens]."""
        assert self.telling and self.projector
        return self.telling.words([ride_caption(film) for film in films], self.projector.tokens)

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        states = self.encoder.states(scaled(batch["readings"].float() / UNITS))
        whole = F.normalize(self.encoder.head(states[:, 0]).float(), dim=-1)
        films = self.films[batch["take"]]  # [RIDES, joint]
        logits = self.log_scale.clamp(max=4.6).exp() * whole @ films.T
        named = self.moves(states[:, 1:].mean(1)).float()
        losses = {
            "film": F.cross_entropy(logits, batch["motions"]),
            "moves": F.cross_entropy(named, batch["motions"]),
            "_film_right": (logits.argmax(-1) == batch["motions"]).float().mean(),
            "_moves_right": (named.argmax(-1) == batch["motions"]).float().mean(),
        }
        if self.telling and self.projector:
            losses |= self.telling.losses(self.projector(states[:, 1:].detach()), batch["told"], "imu")
        return losses

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """256 held-out rides: recall@1 of a film of the motion, motions that are named, captions told word by word."""
        stream = random.Random("rides")
        films = [sample_ride(stream, "heldout") for _ in range(256)]
        device = self.log_scale.device
        wanted = motions_of(films).to(device)
        states = self.encoder.states(scaled(self.felt(films).to(device).float() / UNITS))
        whole = F.normalize(self.encoder.head(states[:, 0]), dim=-1)
        likeness = whole @ F.normalize(self.films.mean(0), dim=-1).T
        figures = {
            "imu_to_film": float((likeness.argmax(1) == wanted).float().mean()),
            "moves": float((self.moves(states[:, 1:].mean(1)).argmax(1) == wanted).float().mean()),
        }
        if self.telling and self.projector:
            told = self.telling.near(self.projector(states[:, 1:])).argmax(-1)
            figures["told"] = float((told == self.words(films).to(device)).all(1).float().mean())
        (folder / f"{step:07d}.txt").write_text("".join(f"{k} {v:.3f}\n" for k, v in figures.items()))
        return figures
