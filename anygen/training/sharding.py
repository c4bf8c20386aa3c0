"""Stages in pieces: weights, gradients and the optimiser's state split among processes by FSDP2's `fully_shard`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

Hooks = dict[str, list[Callable[[Tensor], Tensor | None]]]


def shard(module: nn.Module, stage: Any, device: torch.device) -> Hooks:
    """Splits the parameters of a stage among all processes, in place, as the main one has them.

    `module` calls the stage. What `stage.stacks` names runs in every batch, and each block of it is gathered when its
    turn comes; all else is gathered at once, for the whole of a batch. Parameters become new objects: an optimiser is
    made afterwards. Hooks on their gradients would be lost with the old ones; they are returned, to be kept by `heed`.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in (*stage.parameters(), *stage.buffers()):
        torch.distributed.broadcast(tensor.data, 0)
    hooks: Hooks = {
        name: list(parameter._backward_hooks.values())
        for name, parameter in stage.named_parameters()
        if parameter.requires_grad and parameter._backward_hooks
    }
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for block in blocks(stage):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return hooks


def blocks(stage: Any) -> list[nn.Module]:
    """The outermost members of the stacks (`nn.ModuleList`) in `stage.stacks` whose parameters are nobody else's."""
    owners = Counter(id(p) for _, p in stage.named_parameters(remove_duplicate=False))
    found: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        if not isinstance(module, nn.ModuleList):
            for child in module.children():
                look(child)
            return
        for block in module:
            kept = list(block.parameters())
            alone = all(owners[id(p)] == 1 for p in kept)
            if kept and alone and all(block is not other for other in found):
                found.append(block)

    for stack in getattr(stage, "stacks", ()):
        look(stack)
    return found


class Used:
    """Which parameters a step needed in any process.

    All processes exchange the gradients of the same parameters, though a batch may have no use for some: there they
    are zero. What no process needed keeps no gradient, so that the optimiser lets it rest as in one process.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()

    def touch(self, stage: nn.Module, total: Tensor) -> Tensor:
        """The same sum, on which every gathered parameter now has a part, if only zero."""
        needed = _leaves(total)
        for name, parameter in stage.named_parameters():
            if parameter.requires_grad and not isinstance(parameter, DTensor):
                if id(parameter) in needed:
                    self.names.add(name)
                total = total + 0 * parameter.flatten()[:1].float().sum()
        return total

    def settle(self, stage: nn.Module, named: Mapping[str, nn.Parameter]) -> None:
        """After the last part of a step: what nobody needed has no gradient."""
        kept = {id(p) for block in blocks(stage) for p in block.parameters()}
        names = [name for name, parameter in named.items() if id(parameter) not in kept]
        device = next(iter(named.values())).device
        flags = torch.tensor([float(name in self.names) for name in names], device=device)
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        for name, flag in zip(names, flags.tolist(), strict=True):
            if not flag:
                named[name].grad = None
        self.names.clear()


def _leaves(total: Tensor) -> set[int]:
    """The ids of the parameters that a sum was made from."""
    found: set[int] = set()
    seen: set[Any] = set()
    waiting = [total.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its pieces; every process has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Of a whole tensor, what this process keeps of `parameter`."""
    if not isinstance(parameter, DTensor):
        return tensor
    tensor = tensor.to(parameter.device)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """All tensors whole, on the CPU, one after the other; where they are not to be kept none is."""
    found = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keep:
            found[name] = full.cpu()
    return found


def heed(hooks: Hooks, named: Mapping[str, nn.Parameter]) -> None:
    """Does to gradients what the hooks of whole parameters did."""
    for name, kept in hooks.items():
        gradient = named[name].grad
        if gradient is None:
            continue
        full = whole(gradient)
        for hook in kept:
            changed = hook(full)
            full = full if changed is None else changed
        named[name].grad = like(full, named[name])


@contextmanager
def together(module: Any) -> Iterator[None]:
    """What lies outside the stacks is whole within, so that a part of the stage can be called on its own."""
    if not hasattr(module, "unshard"):
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()
