"""A task for the language model alone: its states at an answer's signals must hold what is to be made."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.signals import Vocabulary
from anygen.template import IGNORE
from anygen.training.loop import Batch
from anygen.training.tokenizer import caption_tokenizer


class Recall(nn.Module):
    """Reads the caption of a medium out of the hidden states at its signal tokens.

    The output projector sees these states and nothing else. A language model that only ever predicted the next of
    eight fixed tokens has no cause to keep there which thing was asked for; this loss is the cause. Signal k of K tells
    tokens k, K + k, 2 K + k ... of the caption, each through a matrix of its own and the model's embeddings.
    """

    def __init__(
        self, tokenizer: Any, vocabulary: Vocabulary, modalities: Collection[str], width: int, length: int = 32
    ):
        super().__init__()
        self.tokenizer = caption_tokenizer(tokenizer, length)
        self.signals = {modality: vocabulary.spans[modality].signals for modality in modalities}
        self.heads = nn.ModuleDict(
            {m: nn.Linear(width, width * -(-length // len(signals))) for m, signals in self.signals.items()}
        )

    def targets(self, told: Mapping[str, list[str]]) -> Batch:
        """Captions of each modality's media as token ids, -100 behind the end: [media, length]."""
        batch = {}
        for modality, texts in told.items():
            coded = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
            batch[modality] = coded["input_ids"].masked_fill(coded["attention_mask"] == 0, IGNORE)
        return batch

    def logits(self, modality: str, ids: Tensor, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """What the signals of every span in `ids` [rows, length] tell, in their order: [spans, length, vocabulary]."""
        signals = torch.tensor(self.signals[modality], device=ids.device)
        states = hidden[torch.isin(ids, signals)].unflatten(0, (-1, len(signals)))  # [spans, signals, width]
        told = self.heads[modality](states).unflatten(-1, (-1, states.shape[-1])).transpose(1, 2).flatten(1, 2)
        return F.linear(told, embeddings)

    def forward(self, targets: Mapping[str, Tensor], ids: Tensor, hidden: Tensor, embeddings: Tensor) -> Batch:
        """Mean cross-entropy of each modality's captions, and `_recalled_...`, the share of tokens told right."""
        losses = {}
        for modality, wanted in targets.items():
            logits = self.logits(modality, ids, hidden, embeddings).float()[:, : wanted.shape[1]]
            losses[f"recall_{modality}"] = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORE)
            right = (logits.argmax(-1) == wanted) & (wanted != IGNORE)
            losses[f"_recalled_{modality}"] = right.sum() / (wanted != IGNORE).sum().clamp_min(1)
        return losses
