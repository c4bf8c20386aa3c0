"""Features ahead of training: processes share the work, a stopped run goes on, and training finds them."""

from pathlib import Path

import pytest
import torch

from anygen.error import DataError, RequestError
from anygen.model import AnyGenModel
from anygen.playground.dataset import write_dataset
from anygen.testing import tiny_model
from anygen.training.cache import FeatureCache
from anygen.training.folder import FolderChats
from anygen.training.precompute import precompute
from anygen.training.shards import pack


def test_processes_share_keys(tmp_path: Path) -> None:
    keys = [f"key {number}" for number in range(50)]
    caches = [FeatureCache(tmp_path, 8, (which, 3)) for which in range(3)]
    for cache in caches:
        cache.fill(keys, lambda places: torch.tensor([float(place) for place in places]))
    assert sum(cache.made for cache in caches) == 50 and all(8 < cache.made < 25 for cache in caches)
    caches[0].refresh()
    assert caches[0].read(keys).tolist() == list(range(50))
    again = FeatureCache(tmp_path, 8, (1, 2))  # one more process of another number: nothing is left for it
    again.fill(keys, lambda places: pytest.fail("made twice"))
    assert again.made == 0 and again.hits == 50


def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    data = pack_of(tmp_path)
    model = tiny_model(tmp_path / "model", context=4096)
    made, new = precompute(data, model, tmp_path / "one", shard=3)
    assert made == new > 6
    assert precompute(data, model, tmp_path / "two", processes=2, shard=3) == (made, new)
    one, two = FeatureCache(tmp_path / "one"), FeatureCache(tmp_path / "two")
    keys = sorted(one._places)
    assert sorted(two._places) == keys
    for key in keys:
        torch.testing.assert_close(one.read([key]), two.read([key]))
    lost = sorted((tmp_path / "two").glob("*.safetensors"))[0]  # as if the run had been stopped before it
    count = len(two._shard(lost).keys())
    lost.unlink()
    assert precompute(data, model, tmp_path / "two", shard=3) == (made, count)
    cache = FeatureCache(tmp_path / "two")
    chats = FolderChats(data, AnyGenModel.load(model), {"input", "output"}, cache)
    assert cache.made == 0 and "features_image" in chats.prepare(0, 2, seed=0)


def pack_of(folder: Path) -> Path:
    pack(write_dataset(folder / "edits", 6, size=16, task="edit"), folder / "shards", 2)
    return folder / "shards"


def test_what_is_wrong_in_another_process_is_said_here(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--processes 0: at least 1"):
        precompute(tmp_path, tmp_path, tmp_path / "out", processes=0)
    model = tiny_model(tmp_path / "model", context=64)
    data = pack_of(tmp_path)
    with pytest.raises(DataError, match=r"000000\.tar:00000000: the chat is \d+ tokens long, the model holds 64"):
        precompute(data, model, tmp_path / "out", processes=2)
