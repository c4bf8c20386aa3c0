"""What frozen networks made of a data set, computed once by any number of processes, kept in safetensors shards."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from anygen.error import DataError


class FeatureCache:
    """Tensors by key. `hits` counts what was there already, `made` what had to be computed.

    A key says all that a tensor depends on: the network (`fingerprint`) and the content. A shard appears at once and
    is never changed, so that runs may share a folder and a stopped run loses at most one shard.

    `share` is (which, of how many): the processes that make features together, each those of its own keys.
    """

    def __init__(self, folder: str | Path, shard: int = 256, share: tuple[int, int] = (0, 1)) -> None:
        self.folder, self.shard, self.share = Path(folder), shard, share
        self.hits = self.made = 0
        self._places: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Finds what other processes have written since."""
        for path in sorted(set(self.folder.glob("*.safetensors")) - set(self._places.values())):
            self._places |= dict.fromkeys(self._shard(path).keys(), path)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def fill(self, keys: Sequence[str], make: Callable[[list[int]], Tensor], batch: int = 32) -> None:
        """Compute what is missing of this process's share: `make` gets places in `keys` and returns a row for each."""
        first = {key: place for place, key in reversed(list(enumerate(keys)))}  # a key that comes twice is made once
        missing = sorted(place for key, place in first.items() if key not in self)
        self.hits += len(first) - len(missing)
        missing = [place for place in missing if self._ours(keys[place])]
        self.made += len(missing)
        for start in range(0, len(missing), self.shard):
            places = missing[start : start + self.shard]
            rows = [row for i in range(0, len(places), batch) for row in make(places[i : i + batch])]
            self._write({keys[place]: row.detach().cpu().clone() for place, row in zip(places, rows, strict=True)})

    def read(self, keys: Sequence[str]) -> Tensor:
        """The tensors of `keys`, stacked: [len(keys), ...]."""
        return torch.stack([self._shard(self._places[key]).get_tensor(key) for key in keys])

    def _ours(self, key: str) -> bool:
        """Whether this process makes the key: a matter of the key alone, whatever else is there already."""
        which, count = self.share
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % count == which

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # every process opens the shards for itself

    def _shard(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise DataError(
                    f"{path} is no shard of cached features ({error}); delete it to have it anew"
                ) from error
        return self._open[path]

    def _write(self, tensors: dict[str, Tensor]) -> None:
        name = hashlib.sha256("\n".join(sorted(tensors)).encode()).hexdigest()[:20]
        path = self.folder / f"{name}.safetensors"
        temporary = self.folder / f"{name}.{os.getpid()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary)
            os.replace(temporary, path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise DataError(f"cannot write features to {self.folder}: {error}; free some space") from error
        self._places |= dict.fromkeys(tensors, path)


def fingerprint(network: nn.Module, *others: str) -> str:
    """A digest of a network's weights, and of whatever else its outputs depend on."""
    digest = hashlib.sha256("\n".join((type(network).__name__, *others)).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def key_of(network: str, content: bytes) -> str:
    """The key of what the network with that fingerprint makes of `content`."""
    return f"{network}-{hashlib.sha256(content).hexdigest()}"
