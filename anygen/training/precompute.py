"""Features of a data set ahead of training: a model's frozen parts run over it, in several processes."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from anygen.error import DataError, RequestError
from anygen.training.cache import FeatureCache


def precompute(
    source: str | Path, model: str | Path, output: str | Path, processes: int = 1, shard: int = 256
) -> tuple[int, int]:
    """Writes the encoders' features and the generators' conditions of a data set to shards in `output`.

    Each of `processes` makes its share and writes shards of its own, of at most `shard` features. What is there already
    is kept, so that a stopped run goes on. Returns how many features there are and how many of them are new.
    """
    if processes < 1:
        raise RequestError(f"--processes {processes}: at least 1 process makes features")
    before = len(FeatureCache(output))
    if processes == 1:
        _share(source, model, output, 0, 1, shard)
    else:
        spawn = multiprocessing.get_context("spawn")  # torch and CUDA do not survive a fork
        with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
            waiting = [pool.submit(_share, source, model, output, rank, processes, shard) for rank in range(processes)]
            try:
                for one in waiting:
                    one.result()
            except BrokenProcessPool as error:
                raise DataError(
                    f"a process that made features for {output} was killed: take fewer --processes, or free some "
                    "memory; what is written is kept, and the same command goes on"
                ) from error
    now = len(FeatureCache(output))
    return now, now - before


def _share(source: str | Path, model: str | Path, output: str | Path, rank: int, count: int, shard: int) -> None:
    """One process's part of the work."""
    from anygen.model import AnyGenModel
    from anygen.training.folder import FolderChats

    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda:{rank % torch.cuda.device_count()}"
    elif count > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    opened = AnyGenModel.load(model, device, torch.float32)  # as training has it
    FolderChats(source, opened, {"input", "output"}, FeatureCache(output, shard, (rank, count)))
