"""The depth and the thermal encoder, trained ImageBind style: the picture of the same scene is the only teacher."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders import ENCODERS
from anygen.encoders.image import ImageEncoder
from anygen.encoders.relief import ReliefTowerConfig
from anygen.playground.caption import caption
from anygen.playground.compositor import Compositor
from anygen.playground.scene import Scene, sample_scene
from anygen.playground.sensor import SENSORS
from anygen.projectors.input import BorrowedProjector
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch
from anygen.training.telling import Telling
from anygen.training.tokenizer import caption_tokenizer


class ReliefEncoderStage(nn.Module):
    """InfoNCE between maps and pictures (arXiv 2305.05665, eq. 1), and every patch as its picture's.

    The frozen image encoder's embedding and patch features are what is to be found; no map meets a text. With `lender`,
    the input projector of pictures, features shall also look alike to it, so that what it reads is right before all
    else. Beside that `projector`, which borrows it, learns to tell captions in the language model's embeddings `table`
    [vocabulary, width] (see `Telling`); nothing of that reaches the encoder.
    """

    short = True

    def __init__(
        self,
        kind: str,
        config: ReliefTowerConfig,
        image: ImageEncoder,
        tokenizer: Any,
        *,
        text: Any = None,
        lender: Any = None,
        projector: BorrowedProjector | None = None,
        table: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.name, self.kind = f"{kind}-encoder", kind
        encoder: Any = ENCODERS[kind]
        self.encoder = encoder(config, image.requires_grad_(False).eval())
        self.encoder.begin_like_pictures()
        self.text = text.requires_grad_(False) if text is not None else None  # only to measure with
        self.lender = lender.requires_grad_(False) if lender is not None else None
        self.projector = projector
        if projector is not None:
            projector.borrow(lender)
        self.telling = Telling(tokenizer, table) if table is not None and projector is not None else None
        self.tokenizer = tokenizer
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as in CLIP
        self.side = image.config.side
        self._see(torch.device("cpu"))

    def _see(self, device: torch.device) -> None:
        self.sensor, self.compositor = SENSORS[self.kind](self.side, device), Compositor(self.side, device)

    def to(self, *args: Any, **kwargs: Any) -> "ReliefEncoderStage":
        super().to(*args, **kwargs)
        self._see(self.log_scale.device)
        return self

    def train(self, mode: bool = True) -> "ReliefEncoderStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        for frozen in (self.encoder.image, self.text, self.lender):
            if frozen is not None:
                frozen.eval()
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|{self.name}")
        scenes = [sample_scene(stream) for _ in range(size)]
        layers, ground = self.sensor.orders(scenes)
        return {"layers": layers, "ground": ground} | ({"told": self.words(scenes)} if self.telling else {})

    def words(self, scenes: list[Scene]) -> Tensor:
        """What the projector shall say of them: [scenes, tokens]."""
        assert self.telling and self.projector and self.lender is not None
        return self.telling.scenes(scenes, self.projector.tokens, getattr(self.lender.config, "slots", False))

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        image = self.encoder.image
        with torch.no_grad():
            pictures = image.states(to_pixels(self.compositor.draw(batch["layers"][..., :4], batch["ground"])))
            anchor = F.normalize(image.head(pictures[:, 0]).float(), dim=-1)
        states = self.encoder.states(to_pixels(self.sensor.draw(batch["layers"], batch["ground"])))
        whole = F.normalize(image.head(states[:, 0]).float(), dim=-1)
        logits = self.log_scale.clamp(max=4.6).exp() * whole @ anchor.T
        same = torch.arange(len(states), device=states.device)
        losses = {
            "picture": (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2,
            "alike": distance(states, pictures),
            "_picture_right": (logits.argmax(-1) == same).float().mean(),
        }
        if self.lender is not None:
            with torch.no_grad():
                read = self.lender(pictures[:, 1:])
            losses["read"] = distance(self.lender(states[:, 1:]), read)
        if self.telling and self.projector:
            losses |= self.telling.losses(self.projector(states[:, 1:].detach()), batch["told"], self.kind)
        return losses

    @torch.no_grad()
    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """256 held-out scenes: recall@1 of maps among pictures and, emergent, of captions; captions told word by word.

        `told_alike` counts those that the projector of pictures tells of the map as it is.
        """
        stream = random.Random("retrieval")
        scenes = [sample_scene(stream, split="heldout") for _ in range(256)]
        device = self.log_scale.device
        made, seen, features = [], [], []
        for start in range(0, len(scenes), 64):
            some = scenes[start : start + 64]
            states = self.encoder.states(to_pixels(self.sensor.render(some)))
            features.append(states[:, 1:])
            made.append(F.normalize(self.encoder.image.head(states[:, 0]), dim=-1))
            seen.append(self.encoder.image.embed(to_pixels(self.compositor.render(some))))
        whole, pictures, patches = torch.cat(made), torch.cat(seen), torch.cat(features)
        same = torch.arange(len(scenes), device=device)
        figures = {f"{self.kind}_to_image": float(((whole @ pictures.T).argmax(1) == same).float().mean())}
        if self.text is not None:
            coder = caption_tokenizer(self.tokenizer)
            texts = [caption(scene) for scene in scenes]
            ids = coder(texts, padding=True, truncation=True, return_tensors="pt")["input_ids"].to(device)
            words = self.text.embed(ids, ids != coder.pad_token_id)
            figures[f"{self.kind}_to_text"] = float(((whole @ words.T).argmax(1) == same).float().mean())
            figures["image_to_text"] = float(((pictures @ words.T).argmax(1) == same).float().mean())
        if self.telling and self.projector and self.lender is not None:
            wanted = self.words(scenes).to(device)
            for name, reader in (("told", self.projector), ("told_alike", self.lender)):
                told = self.telling.near(reader(patches)).argmax(-1)
                figures[name] = float((told == wanted).all(1).float().mean())
        (folder / f"{step:07d}.txt").write_text("".join(f"{k} {v:.3f}\n" for k, v in figures.items()))
        return figures


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance of features [n, tokens, width], in units of how much those that are wanted differ."""
    wanted = wanted.float()
    spread = (wanted - wanted.mean((0, 1), keepdim=True)).square().sum(-1).mean()
    return (found.float() - wanted).square().sum(-1).mean() / spread.clamp_min(1e-6)
