"""The text encoder: the joint space's tower for words. The LLM reads text itself; this one is there to compare with."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anygen.encoders.imagebind import TextTower


class TextEncoder(TextTower):
    """An ImageBind-style text tower, for retrieval: texts to the joint space of pictures and sounds."""

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def tokens(self) -> int:
        return self.config.length

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str], tokenizer: Any) -> Tensor:
        """Unit vectors [texts, joint]; `tokenizer` is the model's own, a text ends with its end token."""
        end, device = tokenizer.eos_token_id, self.position_embedding.device
        rows = [[*tokenizer(text)["input_ids"][: self.config.length - 1], end] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [end] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        return self.embed(ids, mask)
