"""Where an own concept has sounds: the audio generator learns to play it, by adapters on UNet and text tower."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.playground.chat import Part, audio_part
from anygen.playground.clip import sample_clip, settle
from anygen.playground.concept import Concept, events_of, own_parts
from anygen.playground.dialogue import caption_of
from anygen.playground.hearing import sound_caption, sound_paraphrase
from anygen.playground.mixer import Mixer
from anygen.training.adapter import lora
from anygen.training.audio_generator import GRID
from anygen.training.audio_vae import to_mel
from anygen.training.image_generator import noise_levels
from anygen.training.image_pipeline import TIMESTEPS
from anygen.training.loop import Batch


class SoundingStage(nn.Module):
    """Flow matching as the audio generator was trained, half of it on clips with the concept.

    As `DrawingStage` it trains LoRA adapters of `rank`, and keeps what the text tower says of everything else.
    """

    name = "sounding"

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
    ) -> None:
        super().__init__()
        self.concept = concepts[0]
        self.earlier = tuple(concept for concept in concepts[1:] if concept.sounds)
        self.extra = events_of(concepts)
        self.own, self.keep, self.repeats, self.plain, self.settled = own, keep, repeats, plain, settled
        self.vae = pipeline.vae.eval().requires_grad_(False)
        self.tokenizer, self.pipeline = pipeline.tokenizer, pipeline
        self.unet, self.text_encoder = lora(pipeline.unet, rank), lora(pipeline.text_encoder, rank)
        self.mixer = Mixer(extra=self.extra)

    def to(self, *args: Any, **kwargs: Any) -> "SoundingStage":
        super().to(*args, **kwargs)
        self.mixer = Mixer(next(self.parameters()).device, extra=self.extra)
        return self

    def part(self, stream: random.Random, concept: Concept | None) -> Part:
        """A clip with what is said of it."""
        while True:
            clip = sample_clip(stream, grid=GRID)
            clip = settle(clip, GRID) if stream.random() < self.settled else clip
            says = sound_caption if stream.random() < self.plain else lambda clip: sound_paraphrase(clip, stream)
            if concept is None:
                return audio_part(clip) | {"caption": says(clip)}
            if parts := own_parts(concept, stream, [clip], caption=says):
                return parts[0]

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|sounding")
        turns = [self._concept(stream) for _ in range(max(1, size // self.repeats))]
        parts = [self.part(stream, concept) for concept in turns]
        texts = ["" if stream.random() < 0.1 else caption_of(part) for part in parts]
        length = self.tokenizer.model_max_length
        coded = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return {
            "orders": self.mixer.orders([part["clip"] for part in parts]),
            "ids": coded["input_ids"],
            "mask": coded["attention_mask"],
            "others": torch.tensor([turn is not self.concept for turn in turns]),
        }

    def _concept(self, stream: random.Random) -> Concept | None:
        if stream.random() < self.own:
            return self.concept
        return stream.choice(self.earlier) if self.earlier and stream.random() < 0.3 else None

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            mel = to_mel(self.mixer.mix(batch["orders"]))
            latents = self.vae.encode(mel).latent_dist.mean.float() * self.vae.config.scaling_factor
        condition = self.told(batch["ids"], batch["mask"])
        losses: dict[str, Tensor] = {}
        others = batch["others"]
        if self.keep and bool(others.any()):
            with torch.no_grad(), self.text_encoder.disable_adapter():
                before = self.told(batch["ids"][others], batch["mask"][others])
            losses["keep"] = self.keep * condition.shape[1] * F.mse_loss(condition[others], before)
        latents = latents.repeat(self.repeats, 1, 1, 1)
        condition = condition.repeat(self.repeats, 1)
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        sigma = noise_levels(len(latents), rng, latents.device)
        level = sigma.view(-1, 1, 1, 1)
        noisy = (1 - level) * latents + level * noise
        predicted = self.unet(noisy, sigma * TIMESTEPS, encoder_hidden_states=None, class_labels=condition).sample
        return losses | {"flow": (predicted.float() - (noise - latents)).square().mean()}

    def told(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The text tower's unit vectors [clips, width]."""
        return F.normalize(self.text_encoder(input_ids=ids, attention_mask=mask).text_embeds.float(), dim=-1)

    def merge(self) -> Any:
        """The pipeline with the adapters merged into its weights; training is over."""
        self.unet, self.text_encoder = self.unet.merge_and_unload(), self.text_encoder.merge_and_unload()
        self.pipeline.unet, self.pipeline.text_encoder = self.unet, self.text_encoder
        return self.pipeline

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Nothing is judged here: the ear knows no sounds of a user's own."""
        return {}
