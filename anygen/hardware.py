"""What a device can do: memory, arithmetic and bandwidth; known cards by data sheet, this machine measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from anygen.error import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """`flops` and `bandwidth` [bytes/s] are what programs reach, not peaks; `kernel` [s] is what the least takes."""

    name: str
    type: str  # "cpu" or "cuda"
    bytes: int
    flops: float
    bandwidth: float
    kernel: float


def _card(name: str, gigabytes: float, teraflops: float, gigabytes_per_second: float) -> Device:
    """A GPU by its data sheet: memory, dense half-precision arithmetic, memory bandwidth.

    Large matrix products reach about half of the first, decoding about two thirds of the second.
    """
    return Device(
        name=name,
        type="cuda",
        bytes=int(gigabytes * 2**30),
        flops=0.5e12 * teraflops,
        bandwidth=0.67e9 * gigabytes_per_second,
        kernel=6e-6,
    )


CARDS = {
    card.name: card
    for card in (
        _card("rtx-3090", 24, 71, 936),
        _card("rtx-4090", 24, 165, 1008),
        _card("l4", 24, 121, 300),
        _card("a100-40gb", 40, 312, 1555),
        _card("a100-80gb", 80, 312, 2039),
        _card("h100", 80, 989, 3350),
        _card("h200", 141, 989, 4800),
    )
}


def device(name: str | None = None) -> Device:
    """A card by its name, "cpu", "cuda" or "cuda:N"; None is a GPU if there is one. A CPU is measured, for 0.2 s."""
    import torch

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name in CARDS:
        return CARDS[name]
    if name == "cpu":
        return this_cpu()
    if name.startswith("cuda"):
        try:
            about = torch.cuda.get_device_properties(name if ":" in name else "cuda:0")
        except (RuntimeError, AssertionError, ValueError) as error:
            raise RequestError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
        return Device(
            name=about.name, type="cuda", bytes=about.total_memory, flops=_flops(name), bandwidth=1e12, kernel=6e-6
        )
    raise RequestError(f"unknown device {name!r}; devices are cpu, cuda, {', '.join(CARDS)}")


def this_cpu() -> Device:
    """This machine's CPU with its threads as they are now."""
    import torch

    source = torch.empty(16 * 2**20)
    took = _seconds(lambda: source.clone())
    return Device(
        name="cpu",
        type="cpu",
        bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        flops=_flops("cpu"),
        bandwidth=2 * source.nbytes / took,
        kernel=1e-5,
    )


def _flops(name: str) -> float:
    import torch

    side, dtype = (512, torch.float32) if name == "cpu" else (4096, torch.bfloat16)
    x = torch.ones(side, side, dtype=dtype, device=name)

    def multiply() -> None:
        product = x @ x
        if name != "cpu":
            product[0, 0].item()  # waits for it

    return 2 * side**3 / _seconds(multiply)


def _seconds(work: object) -> float:
    """The least of several runs, for 0.1 s at most."""
    assert callable(work)
    began = time.perf_counter()
    least = float("inf")
    while True:
        before = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - before)
        if time.perf_counter() - began > 0.1:
            return max(least, 1e-9)
