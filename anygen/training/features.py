"""Stage 1 from cached features: input projectors alone, on what the frozen encoders make of the playground's media."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anygen.model import AnyGenModel
from anygen.training.loop import Batch
from anygen.training.sense import SENSES
from anygen.training.telling import Telling


class Told(NamedTuple):
    """Encoder features [n, tokens, width] and the words that stand for each medium, as token ids [n, projected]."""

    features: Tensor
    ids: Tensor


class FeaturesStage(nn.Module):
    """Trains the input projectors to say a medium's caption in the language model's own embeddings, token by token.

    The losses are those of `Telling`. Encoders run once over a pool of `pool` media per modality and never again.
    """

    short = True

    def __init__(self, name: str, model: AnyGenModel, *, pool: int) -> None:
        super().__init__()
        self.name, self.model, self.pool_size = name, model, pool
        self.senses = {modality: SENSES[modality](model, False) for modality in model.input_projectors}
        self.telling = Telling(model.tokenizer, model.llm.get_input_embeddings().weight)
        self.pool: dict[str, Told] = {}
        model.requires_grad_(False)
        model.input_projectors.requires_grad_(True)

    def to(self, *args: Any, **kwargs: Any) -> "FeaturesStage":
        super().to(*args, **kwargs)
        for sense in self.senses.values():
            sense.to(self.model.device)
        return self

    def train(self, mode: bool = True) -> "FeaturesStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.model.encoders.eval()
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        """Where in the pool the batch lies: numbers in 0..1 for each modality."""
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return {modality: torch.rand(size, generator=rng) for modality in self.senses}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        self.pool = self.pool or {modality: self.told(modality, "train", self.pool_size) for modality in self.senses}
        losses: dict[str, Tensor] = {}
        for modality, pool in self.pool.items():
            rows = (batch[modality] * len(pool.ids)).long()
            projected = self.model.project(modality, pool.features[rows].float())  # [n, tokens, width]
            losses |= self.telling.losses(projected, pool.ids[rows], modality)
        return losses

    @torch.no_grad()
    def told(self, modality: str, split: str, count: int) -> Told:
        """Features and words of random media, the same in every run."""
        stream, sense, device = random.Random(f"features {split}"), self.senses[modality], self.model.device
        tokens = self.model.input_projectors[modality].tokens
        features, rows = [], []
        for _ in range(0, count, 32):
            parts = [sense.sample(stream, split) for _ in range(32)]
            if split == "train":
                parts = [sense.varied(part, stream) for part in parts]
            shown = {key: value.to(device) for key, value in sense.shown(parts).items()}
            features.append(self.model.encoders[modality](sense.features_of(shown)).bfloat16())
            rows.append(self.telling.words(list(map(sense.told, parts)), tokens).to(device))
        return Told(torch.cat(features), torch.cat(rows))

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out media whose every token is nearest to the embedding of the right word."""
        figures, lines = {}, []
        for modality in self.senses:
            held = self.told(modality, "heldout", 256)
            said = self.telling.near(self.model.project(modality, held.features.float())).argmax(-1)
            right = (said == held.ids).all(1).tolist()
            figures[f"told_{modality}"] = round(sum(right) / len(right), 3)
            for one, two, ok in zip(held.ids.tolist(), said.tolist(), right, strict=True):
                words, told = (self.model.tokenizer.decode(ids) for ids in (one, two))
                lines.append(f"{'ok ' if ok else 'BAD'} {words} -> {told}\n")
        (folder / f"{step:07d}.txt").write_text("".join(lines))
        return figures
