"""Chats of different lengths in batches of one shape."""

from typing import Any

import torch

from anygen.template import IGNORE, Rendered
from anygen.training.loop import Batch


def pack(chats: list[Rendered], rows: int, length: int, pad: int) -> tuple[Batch, list[Any], list[Any]]:
    """Chats one behind the other in `rows` rows, each chat whole or left out where no row has room for it.

    Returns `ids` and `labels` [rows, at most length], and input and output media in the order of their places, row by
    row.
    """
    placed: list[list[Rendered]] = [[] for _ in range(rows)]
    used = [0] * rows
    for chat in chats:
        row = next((r for r in range(rows) if used[r] + len(chat.ids) <= length), None)
        if row is not None:
            placed[row].append(chat)
            used[row] += len(chat.ids)
    ids = torch.full((rows, max(used)), pad)
    labels = torch.full((rows, max(used)), IGNORE)
    for row, together in enumerate(placed):
        line = [token for chat in together for token in chat.ids]
        ids[row, : len(line)] = torch.tensor(line)
        labels[row, : len(line)] = torch.tensor([label for chat in together for label in chat.labels])
    inputs = [part for together in placed for chat in together for part in chat.inputs]
    outputs = [part for together in placed for chat in together for part in chat.outputs]
    return {"ids": ids, "labels": labels}, inputs, outputs
