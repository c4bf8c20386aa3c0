"""Reading weights strictly: every tensor fits, or the error names the first that does not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anygen.error import ModelError

Config = TypeVar("Config")


def read_config(file: Path) -> dict[str, Any]:
    """The JSON object in `file`."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} is missing") from None
    except ValueError as error:
        raise ModelError(f"{file} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds a {type(value).__name__}, not an object")
    return value


def fill(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """A dataclass from plain values: an unknown key and a missing key are errors; lists become tuples."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ModelError(f"{where}: unknown key {key!r}; known keys are {', '.join(known)}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ModelError(f"{where}: missing key {name!r}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a safetensors file, or of all shards that an index file names."""
    from safetensors import SafetensorError, safe_open

    if file.name.endswith(".index.json"):
        shards = sorted(set(read_config(file)["weight_map"].values()))
        return {name: shape for shard in shards for name, shape in shapes(file.parent / shard).items()}
    if not file.is_file():
        raise ModelError(f"{file} is missing")
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    except SafetensorError as error:
        raise ModelError(f"{file} is truncated or not a safetensors file: {error}") from None


def compare(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    where: str,
    optional: Iterable[str] = (),
) -> None:
    """Raise ModelError for the first tensor that is missing, wrongly shaped or not expected."""
    spare = set(optional)
    for name, shape in expected.items():
        if name not in found:
            if name in spare:
                continue
            raise ModelError(f"{where}: tensor {name} {list(shape)} is missing")
        if tuple(found[name]) != tuple(shape):
            raise ModelError(f"{where}: tensor {name} is {list(found[name])}, the model needs {list(shape)}")
    for name in found:
        if name not in expected:
            raise ModelError(f"{where}: tensor {name} {list(found[name])} has no place in the model")


def load_strict(
    module: nn.Module, file: Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> nn.Module:
    """Fill `module` (it may be on `meta`) with exactly the tensors of a safetensors file, and return it.

    Floating-point tensors become `dtype`; None keeps the file's, but widens half precision to float32 on a CPU.
    """
    from safetensors.torch import load_file

    found = shapes(file)
    compare({name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}, found, str(file))
    device = torch.device(device)
    tensors = {name: cast(tensor, device, dtype) for name, tensor in load_file(file).items()}
    module.load_state_dict(tensors, strict=True, assign=True)
    return module


def cast(tensor: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    """`tensor` on `device`, in the precision that `load_strict` documents."""
    if not tensor.is_floating_point():
        return tensor.to(device)
    if dtype is None and device.type == "cpu":
        dtype = torch.float32
    return tensor.to(device, dtype)


def check_files(folder: Path) -> None:
    """Raise ModelError for the first safetensors file under `folder` that is truncated."""
    for file in sorted(folder.rglob("*.safetensors")):
        shapes(file)


def weights_file(folder: Path, stem: str = "model") -> Path:
    """The safetensors file in `folder`, or the index of its shards."""
    index = folder / f"{stem}.safetensors.index.json"
    return index if index.is_file() else folder / f"{stem}.safetensors"


def save(module: nn.Module, file: Path) -> None:
    """Write the state of `module` as one safetensors file, through a temporary name."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(file.name + ".part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}, temporary)
    temporary.replace(file)


def recast(folder: Path, dtype: torch.dtype) -> None:
    """Rewrite every safetensors file under `folder` with its floating-point tensors in `dtype`."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            about = tensors.metadata()
        held = {name: t.to(dtype) if t.is_floating_point() else t for name, t in load_file(file).items()}
        temporary = file.with_name(file.name + ".part")
        save_file(held, temporary, metadata=about)
        temporary.replace(file)


@contextmanager
def quiet(*libraries: Any) -> Iterator[None]:
    """Silence the bars and the advice of `libraries`, logging modules of transformers and diffusers, for a while."""
    levels = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(libraries, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()
