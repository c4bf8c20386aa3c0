"""The image encoder, trained with a text tower: pictures with captions, regions with names, and telling captions."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.text import TextEncoder
from anygen.playground.caption import caption, paraphrase
from anygen.playground.compositor import Compositor
from anygen.playground.scene import Scene, sample_scene
from anygen.playground.things import SIZES, THINGS
from anygen.projectors.input import ResamplerProjector
from anygen.template import IGNORE
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch
from anygen.training.relief_encoder import distance
from anygen.training.telling import Telling
from anygen.training.tokenizer import caption_tokenizer


class ImageEncoderStage(nn.Module):
    """InfoNCE between pictures and captions (arXiv 2305.05665, eq. 1), and between regions and names (2112.09106).

    The region term pools the patch features under each thing and finds its name among all names. It is what makes the
    patch features, which the input projector reads, say what stands where.

    With a `projector`, an input projector for these features, and a language model's embeddings `table` [vocabulary,
    width], captions are also told as in stage 1, through encoder and projector together (contrastive captioners, arXiv
    2205.01917): what the contrast leaves out, such as numbers and which of two stands left, a caption does not.

    Which of two is in front only the patches on their border show, and few scenes ask. With `fronts`, a share of all
    scenes in which one thing is in front of another, each patch is told apart: whose it is, how large that thing is,
    and whether it is in front, behind, or neither.

    With `before`, a finished image encoder and its text tower, the encoder learns on from it; texts rest, and of scenes
    without a thing in front its features shall stay near to what they were: others have learnt to read them.
    """

    name = "image-encoder"
    short = True
    names: Tensor

    def __init__(
        self,
        config: TowerConfig,
        tokenizer: Any,
        depth: int = 2,
        *,
        projector: ResamplerProjector | None = None,
        table: Tensor | None = None,
        fronts: float = 0.0,
        before: tuple[ImageEncoder, TextEncoder] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config)
        self.tokenizer = caption_tokenizer(tokenizer)
        self.before = before[0].requires_grad_(False).eval() if before else None
        if before:
            self.encoder.load_state_dict(before[0].state_dict())
            self.text = before[1].requires_grad_(False).eval()
        else:
            self.text = TextEncoder(
                TowerConfig(width=config.width, depth=depth, joint=config.joint, vocabulary=len(tokenizer), length=32)
            )
        self.fronts = fronts
        self.stands = nn.Linear(config.width, 3) if fronts else None
        self.extent = nn.Linear(config.width, len(SIZES)) if fronts else None
        self.region_head = nn.Linear(config.width, config.joint, bias=False)
        self.log_scale = nn.Parameter(torch.tensor([2.66, 2.66]))  # log(1 / 0.07), as in CLIP
        self.projector = projector
        self.telling = Telling(tokenizer, table) if table is not None else None
        self.compositor = Compositor(config.side)
        self.register_buffer("names", self.tokens([thing.name for thing in THINGS]), persistent=False)

    def to(self, *args: Any, **kwargs: Any) -> "ImageEncoderStage":
        super().to(*args, **kwargs)
        self.compositor = Compositor(self.encoder.config.side, next(self.parameters()).device)
        return self

    def train(self, mode: bool = True) -> "ImageEncoderStage":
        """What rests stays in evaluation mode."""
        super().train(mode)
        if self.before is not None:
            self.before.eval()
            self.text.eval()
        return self

    def tokens(self, texts: list[str]) -> Tensor:
        coded = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return coded["input_ids"]

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|encoder")
        scenes = [self._scene(stream) for _ in range(size)]
        texts = [caption(s) if stream.random() < 0.5 else paraphrase(s, stream) for s in scenes]
        layers, ground = self.compositor.orders(scenes)
        things = self.compositor.things(scenes)
        batch = {"layers": layers, "ground": ground, "ids": self.tokens(texts), "things": things}
        if self.fronts:
            batch["front"] = torch.tensor([scene.relation == "in front of" for scene in scenes])
        return batch | ({"told": self.words(scenes)} if self.telling else {})

    def _scene(self, stream: random.Random) -> Scene:
        front = bool(self.fronts) and stream.random() < self.fronts
        return sample_scene(stream, relation="in front of" if front else None)

    def words(self, scenes: list[Scene]) -> Tensor:
        """What the projector shall say of them: [scenes, tokens]."""
        assert self.telling and self.projector
        return self.telling.scenes(scenes, self.projector.tokens, self.projector.config.slots)

    def regions(self, layers: Tensor) -> Tensor:
        """Drawing orders [layers, batch, 4] to masks over patches [batch, layers, tokens] that sum to 1."""
        config = self.encoder.config
        mask = self.compositor.cover(layers, config.side // config.patch).float()
        return mask / mask.sum(-1, keepdim=True).clamp_min(1)

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        pixels = to_pixels(self.compositor.draw(batch["layers"], batch["ground"]))
        states = self.encoder.states(pixels)
        image = F.normalize(self.encoder.head(states[:, 0]), dim=-1).float()
        pad = self.tokenizer.pad_token_id
        text = self.text.embed(batch["ids"], batch["ids"] != pad).float()
        scale = self.log_scale.clamp(max=4.6).exp()
        logits = scale[0] * image @ text.T
        same = torch.arange(len(image), device=image.device)
        caption_loss = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
        names = self.text.embed(self.names, self.names != pad).float()  # [things, joint]
        pooled = self.regions(batch["layers"]) @ states[:, 1:].float()  # [batch, layers, width]
        there = batch["things"] >= 0
        region = F.normalize(self.region_head(pooled[there]).float(), dim=-1)
        answers = scale[1] * region @ names.T
        region_loss = F.cross_entropy(answers, batch["things"][there])
        right = (answers.argmax(-1) == batch["things"][there]).float().mean()
        losses = {
            "caption": caption_loss,
            "region": region_loss,
            "_region_right": right,
            "_caption_right": (logits.argmax(-1) == same).float().mean(),
        }
        if self.telling and self.projector:
            losses |= self.telling.losses(self.projector(states[:, 1:]), batch["told"], "image")
        if self.stands is not None:
            losses |= self._apart(batch, states[:, 1:].float(), names)
        if self.before is not None:
            losses["near"] = self._near(batch, pixels, states)
        return losses

    def _apart(self, batch: Batch, patches: Tensor, names: Tensor) -> dict[str, Tensor]:
        """What each patch [batch, tokens, width] shows: whose it is, how large, in front (1), behind (2) or neither."""
        assert self.stands is not None and self.extent is not None
        layer = self.compositor.seen(batch["layers"], self.encoder.config.side // self.encoder.config.patch)
        thing = batch["things"].gather(1, layer.clamp_min(0))
        there = (layer >= 0) & (thing >= 0)
        stands = torch.where(layer == 0, 2, 1) * batch["front"][:, None]
        whose = F.normalize(self.region_head(patches[there]).float(), dim=-1)
        said = self.stands(patches[there]).float()
        covers = stands[there] > 0
        sides = torch.tensor(sorted(self.compositor.sides.values()), device=layer.device)
        size = torch.searchsorted(sides, batch["layers"][..., 1].T.contiguous()).gather(1, layer.clamp_min(0))[there]
        large = self.extent(patches[there]).float()
        return {
            "patch": F.cross_entropy(self.log_scale[1].clamp(max=4.6).exp() * whose @ names.T, thing[there]),
            "stands": F.cross_entropy(said, stands[there]),
            "size": F.cross_entropy(large, size),
            "_size_right": (large.argmax(-1) == size)[covers].float().mean(),
            "_stands_right": (said.argmax(-1) == stands[there])[covers].float().mean(),
        }

    def _near(self, batch: Batch, pixels: Tensor, states: Tensor) -> Tensor:
        """How far the states of scenes without a thing in front are from what they were."""
        assert self.before is not None
        plain = ~batch["front"] if self.fronts else torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
        with torch.no_grad():
            were = self.before.states(pixels[plain])
        return distance(states[plain], were) if bool(plain.any()) else states.sum() * 0.0

    def _told(self, scenes: list[Scene], pixels: Tensor) -> float:
        """Share of the scenes of which all that is asked is told word for word."""
        assert self.telling and self.projector
        wanted = self.words(scenes).to(pixels.device)
        told = self.telling.near(self.projector(self.encoder(pixels))).argmax(-1)
        return float(((told == wanted) | (wanted == IGNORE)).all(1).float().mean())

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """256 held-out scenes: recall@1 of captions, both ways, and the share whose caption is told word by word; with
        `fronts` the same share of 128 in which one thing is in front of another."""
        stream = random.Random("retrieval")
        scenes = [sample_scene(stream, split="heldout") for _ in range(256)]
        device = self.log_scale.device
        pixels = to_pixels(self.compositor.render(scenes))
        ids = self.tokens([caption(scene) for scene in scenes]).to(device)
        score = self.encoder.embed(pixels) @ self.text.embed(ids, ids != self.tokenizer.pad_token_id).T
        same = torch.arange(len(scenes), device=device)
        figures = {
            "image_to_text": float((score.argmax(1) == same).float().mean()),
            "text_to_image": float((score.argmax(0) == same).float().mean()),
        }
        if self.telling and self.projector:
            figures["told"] = self._told(scenes, pixels)
            if self.fronts:
                fronts = [sample_scene(stream, split="heldout", relation="in front of") for _ in range(128)]
                figures["told_in_front"] = self._told(fronts, to_pixels(self.compositor.render(fronts)))
        (folder / f"{step:07d}.txt").write_text("".join(f"{k} {v:.3f}\n" for k, v in figures.items()))
        return figures
