"""Checkpoints of a training run: safetensors and JSON, written to a temporary name and renamed."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from anygen.error import DataError
from anygen.training.sharding import like

NAME = "checkpoint.safetensors"


def write_checkpoint(folder: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Writes one checkpoint; the one before stays whole until the new one is complete (a full disk loses nothing)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    temporary = path.with_suffix(".tmp")
    try:
        clean = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        save_file(clean, temporary, metadata={"state": json.dumps(state)})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error}; the checkpoint before is untouched; free some space") from error
    return path


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and the state of the folder's checkpoint, or None where there is none."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is not a checkpoint of this program ({error}); delete it to start anew") from error


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's per-parameter state as named tensors: `optimizer.{index}.{key}`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": value if torch.is_tensor(value) else torch.tensor(value)
        for index, entries in state.items()
        for key, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Puts back what `flatten_optimizer` gave; learning rates are set by the loop. Of sharded parameters every process
    takes its piece."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            index = int(number)
            whole = tensor.ndim > 0 and tensor.shape == parameters[index].shape
            state.setdefault(index, {})[key] = like(tensor, parameters[index]) if whole else tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
