"""First of an own concept's two phases: the image generator learns to draw it, by adapters on UNet and text encoder."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anygen.playground.arrange import on_cells, settle
from anygen.playground.caption import caption, paraphrase
from anygen.playground.chat import Part, image_part
from anygen.playground.compositor import Compositor
from anygen.playground.concept import Concept, own_parts, plainly, rival_scene, sprites_of
from anygen.playground.dialogue import caption_of
from anygen.playground.edit import sample_edit
from anygen.playground.scene import Scene, sample_scene
from anygen.training.adapter import lora
from anygen.training.image_generator import flow_loss
from anygen.training.image_pipeline import build_scheduler
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch

_RIVALS = 0.15  # share of the scenes without the concept in which one of its rivals stands


class DrawingStage(nn.Module):
    """Flow matching as the image generator was trained, half of it on scenes with the concept.

    `pipeline` is the generator's; its networks are trained where they are, by LoRA adapters of `rank`. A share `own` of
    the scenes shows the first of `concepts`; where there are others, which the model has learnt before, they share in
    the rest. `keep` weighs the distance of the text encoder's states of all other captions to what they were: the
    output projectors have learnt these, and the UNet draws by them. Where the pipeline has an adapter for edits, a
    share `edits` of the scenes are edits of another picture that it reads; it stays as it is.
    """

    name = "drawing"

    def __init__(
        self,
        pipeline: Any,
        concepts: Sequence[Concept],
        *,
        rank: int = 16,
        own: float = 0.5,
        keep: float = 1.0,
        repeats: int = 2,
        plain: float = 0.7,
        settled: float = 0.7,
        focus: float = 5.0,
        edits: float = 0.25,
    ) -> None:
        super().__init__()
        self.concept, self.earlier = concepts[0], tuple(concepts[1:])
        self.extra = sprites_of(concepts)
        self.own, self.keep, self.repeats, self.plain = own, keep, repeats, plain
        self.settled, self.focus = settled, focus
        self.vae = pipeline.vae.eval().requires_grad_(False)
        self.adapter = getattr(pipeline, "adapter", None)
        if self.adapter is not None:
            self.adapter.requires_grad_(False)
        self.edits = edits if self.adapter is not None else 0.0
        self.tokenizer = pipeline.tokenizer
        self.pipeline = pipeline
        self.unet, self.text_encoder = lora(pipeline.unet, rank), lora(pipeline.text_encoder, rank)
        self.grid = int(pipeline.unet.config.sample_size)
        self.side = self.grid * pipeline.vae_scale_factor
        self.aligned = self.grid if self.grid % 8 == 0 else None
        self.compositor = Compositor(self.side, extra=self.extra)

    def to(self, *args: Any, **kwargs: Any) -> "DrawingStage":
        super().to(*args, **kwargs)
        self.compositor = Compositor(self.side, next(self.parameters()).device, extra=self.extra)
        return self

    def scene(self, stream: random.Random, kind: str | None = None, split: str = "train") -> Scene:
        scene = sample_scene(stream, kind, split, grid=self.aligned)
        return settle(scene) if stream.random() < self.settled else scene

    def pair(self, stream: random.Random) -> tuple[Scene | None, Scene]:
        """The scene of a picture to be edited, or None, and the scene to be drawn."""
        if stream.random() >= self.edits:
            return None, self.scene(stream)
        _, source, _, target = sample_edit(stream)
        return source, on_cells(target, source.things) if self.aligned else target

    def parts(self, stream: random.Random, concept: Concept | None) -> tuple[Part | None, Part, str]:
        """The picture to be edited if there is one, the one to be drawn, and what is said of it."""
        while True:
            source, target = self.pair(stream)
            if concept is None and source is None:
                target = rival_scene(self.concept, stream, target, _RIVALS)
            scenes = [target] if source is None else [source, target]
            says = caption if stream.random() < self.plain else lambda scene: paraphrase(scene, stream)
            parts: list[Part] | None = [image_part(scene) for scene in scenes]
            if concept is not None:
                parts = own_parts(concept, stream, scenes, caption=says)
            if parts is not None:
                said = caption_of(parts[-1]) if concept is not None else says(target)
                return (parts[0] if len(parts) > 1 else None), parts[-1], said

    def _concept(self, stream: random.Random) -> Concept | None:
        """Whose turn it is: the new one's, at times an earlier one's, or that of the playground as it is."""
        if stream.random() < self.own:
            return self.concept
        return stream.choice(self.earlier) if self.earlier and stream.random() < 0.3 else None

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|drawing")
        turns = [self._concept(stream) for _ in range(max(1, size // self.repeats))]
        drawn = [self.parts(stream, concept) for concept in turns]
        texts = ["" if stream.random() < 0.1 else text for _, _, text in drawn]
        layers, ground = self.compositor.orders([target["scene"] for _, target, _ in drawn])
        others = torch.tensor([turn is not self.concept for turn in turns])
        batch = {"layers": layers, "ground": ground, "ids": self.tokens(texts), "others": others}
        if self.adapter is not None:
            seen, behind = self.compositor.orders([(source or target)["scene"] for source, target, _ in drawn])
            given = torch.tensor([source is not None for source, _, _ in drawn])
            batch |= {"source_layers": seen, "source_ground": behind, "given": given}
        return batch

    def tokens(self, texts: list[str]) -> Tensor:
        """Token ids [texts, length], padded as the pipeline pads them."""
        length = self.tokenizer.model_max_length
        coded = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return coded["input_ids"]

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        condition = self.text_encoder(input_ids=batch["ids"])[0]  # [scenes, length, width]
        losses: dict[str, Tensor] = {}
        if self.keep and bool(batch["others"].any()):
            with torch.no_grad(), self.text_encoder.disable_adapter():
                before = self.text_encoder(input_ids=batch["ids"][batch["others"]])[0].float()
            apart = condition[batch["others"]].float() - before
            losses["keep"] = self.keep * apart.square().mean() / before.var().clamp_min(1e-6)
        latents = self.latents(batch["layers"], batch["ground"]).repeat(self.repeats, 1, 1, 1)
        features = self.features(batch)
        weight = self.weight(batch["layers"])
        condition = condition.repeat(self.repeats, 1, 1)
        return losses | {"flow": flow_loss(self.unet, latents, condition, rng, weight, features)}

    @torch.no_grad()
    def latents(self, layers: Tensor, ground: Tensor) -> Tensor:
        """Scaled latents of what was ordered of the compositor: [scenes, channels, grid, grid]."""
        pixels = to_pixels(self.compositor.draw(layers, ground))
        return self.vae.encode(pixels).latent_dist.mean.float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def features(self, batch: Batch) -> list[Tensor] | None:
        """What the adapter makes of the pictures to be edited, nothing where there is none, at every noise level."""
        if self.adapter is None:
            return None
        given = batch["given"].float().view(-1, 1, 1, 1)
        seen = self.adapter(self.latents(batch["source_layers"], batch["source_ground"]))
        return [(given * level).repeat(self.repeats, 1, 1, 1) for level in seen]

    def weight(self, layers: Tensor) -> Tensor:
        """Latents under a thing count `focus` times what the backdrop counts: [batch, 1, grid, grid], mean 1."""
        under = self.compositor.cover(layers, self.grid).any(1).float().view(-1, 1, self.grid, self.grid)
        weight = 1 + (self.focus - 1) * under
        return (weight / weight.mean()).repeat(self.repeats, 1, 1, 1)

    def merge(self) -> Any:
        """The pipeline with the adapters merged into its weights; training is over."""
        self.unet, self.text_encoder = self.unet.merge_and_unload(), self.text_encoder.merge_and_unload()
        self.pipeline.unet, self.pipeline.text_encoder = self.unet, self.text_encoder
        return self.pipeline

    @torch.no_grad()
    def drawn(self, texts: list[str]) -> Tensor:
        """Pictures of captions: uint8 [texts, 3, side, side]."""
        scheduler, pictures = build_scheduler(), []
        for start in range(0, len(texts), 16):
            some = texts[start : start + 16]
            told = self.text_encoder(input_ids=self.tokens([*some, *[""] * len(some)]).to(self.unet.device))[0]
            rngs = [torch.Generator().manual_seed(start + i) for i in range(len(some))]
            shape = (self.vae.config.latent_channels, self.grid, self.grid)
            x = torch.stack([torch.randn(shape, generator=rng) for rng in rngs]).to(told.device)
            scheduler.set_timesteps(12)
            x = x * scheduler.init_noise_sigma
            for t in scheduler.timesteps:
                flow = self.unet(torch.cat([x, x]), t.expand(2 * len(x)).to(x), encoder_hidden_states=told).sample
                with_text, without = flow.float().chunk(2)
                x = scheduler.step(without + 3.0 * (with_text - without), t, x).prev_sample
            pixels = self.vae.decode(x / self.vae.config.scaling_factor).sample / 2 + 0.5
            pictures.append((pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())
        return torch.cat(pictures)

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """The concept in held-out scenes and other things in theirs, drawn from captions, looked at by the judge."""
        from anygen.evaluation.judge import Judge, shows
        from anygen.evaluation.sheet import sheet

        stream = random.Random("sheet")
        own: list[Part] = []
        while len(own) < 24:
            own += (
                own_parts(self.concept, stream, [sample_scene(stream, ("one", "pair")[len(own) % 2])], "heldout") or []
            )
        scenes = [sample_scene(stream, kind, "heldout") for kind in ("one", "pair") * 12]
        texts = [*map(caption_of, own), *map(caption, scenes)]
        wanted = [*(plainly(part["scene"]) for part in own), *scenes]
        images = self.drawn(texts)
        verdicts = Judge(self.side, extra=self.extra).look(images)
        right = [shows(verdict, scene)["all"] for verdict, scene in zip(verdicts, wanted, strict=True)]
        there = [any(seen.thing == self.concept.name for seen in verdict.things) for verdict in verdicts[:24]]
        pictures = list(images.permute(0, 2, 3, 1).numpy())
        sheet(pictures, texts, right=right).save(folder / f"{step:07d}.png")
        return {"own_there": sum(there) / 24, "own_right": sum(right[:24]) / 24, "others_right": sum(right[24:]) / 24}
