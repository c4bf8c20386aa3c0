"""The processes of a training run: one alone, or several that `accelerate launch` or `torchrun` started together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

PATIENCE = timedelta(hours=6)  # for which processes wait for each other: the first one writes samples and parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Processes:
    """This process among all of its run: its `rank`, 0..`count` - 1. The first is the main one: it alone writes."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        return self.rank == 0

    def agree(self, value: Any) -> Any:
        """What the main process says, in all of them. Those who wait hear of nothing else until it speaks."""
        if self.count == 1:
            return value
        said = [value]
        torch.distributed.broadcast_object_list(said, 0)
        return said[0]

    def any(self, wish: bool, device: torch.device) -> bool:
        """Whether one of them has the wish."""
        if self.count == 1:
            return wish
        wishes = torch.tensor([float(wish)], device=device)
        torch.distributed.all_reduce(wishes, torch.distributed.ReduceOp.MAX)
        return bool(wishes)

    def mean(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
        """Means of named numbers over `parts` and processes; a name counts where it is there."""
        said = [{name: float(value) for name, value in part.items()} for part in parts]
        if self.count > 1:
            everyone: list[Any] = [None] * self.count
            torch.distributed.all_gather_object(everyone, said)
            said = [part for one in everyone for part in one]
        found: dict[str, list[float]] = {}
        for part in said:
            for name, value in part.items():
                found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}


def processes() -> Processes:
    """This process and how many there are; they find each other at the first call."""
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return Processes(rank=state.process_index, count=state.num_processes)


def part_ways() -> None:
    """The end of a run of several processes that went well."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
