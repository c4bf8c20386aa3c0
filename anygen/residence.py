"""Which stage's parts are on the device: with offload only those at work, the others wait in the CPU's memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch


class Movable(Protocol):
    """A network, or a generator with its networks."""

    def to(self, device: torch.device) -> Any: ...


class Residence:
    """Brings the parts of one stage to the device and sends those of the last one back to `rest`.

    A stage is "read" (encoders and input projectors), "text" (the LLM with its KV caches), or a medium that is made
    (its generator and the output projectors). It stays until another one is entered, so that a token costs no transfer.
    One thread at a time is at work: of several answers, one may send the other's parts away between two of its steps.
    """

    def __init__(self, device: str | torch.device, rest: str | torch.device = "cpu") -> None:
        self.device, self.rest = torch.device(device), torch.device(rest)
        self.stage: str | None = None  # what is on the device
        self._parts: list[Movable] = []
        self._caches: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def at(self, stage: str, parts: Callable[[], Sequence[Movable]]) -> Iterator[None]:
        """Work on `stage`: what `parts` returns is brought to the device, after the last stage's parts have left."""
        with self._lock:
            if stage != self.stage:
                assert not self._depth, f"{stage} is entered inside {self.stage}"
                self.leave()
                self._parts = list(parts())
                for part in self._parts:
                    part.to(self.device)
                self.stage = stage
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def leave(self) -> None:
        """Send everything back."""
        with self._lock:
            for cache in list(self._caches):
                for layer in cache.layers:
                    layer.offload()
            self._caches.clear()
            for part in self._parts:
                part.to(self.rest)
            if self._parts and self.device.type != "cpu":
                from accelerate.utils.memory import clear_device_cache

                clear_device_cache()  # else what comes next has to fit between the holes
            self._parts, self.stage = [], None

    def keep(self, cache: Any) -> None:
        """Bring a KV cache (transformers' `Cache`) to the device, until the LLM leaves it."""
        for layer in cache.layers:
            layer.prefetch()
        self._caches.add(cache)
