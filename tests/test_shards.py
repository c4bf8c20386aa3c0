"""Data sets in tar shards: webdataset reads them, training does as from the folder, and what is wrong is named."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from anygen.cli import main
from anygen.error import DataError
from anygen.model import AnyGenModel
from anygen.playground.dataset import write_dataset
from anygen.testing import tiny_model
from anygen.training.cache import FeatureCache
from anygen.training.data import check, read_chats
from anygen.training.folder import FolderChats
from anygen.training.order import epoch_order, lanes
from anygen.training.shards import content, pack, samples, tars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "edits", 10, size=16, task="edit")


@pytest.fixture(scope="module")
def packed(folder: Path) -> Path:
    assert pack(folder, folder.parent / "packed", 3) == 4
    return folder.parent / "packed"


def chats(source: Path) -> list[Any]:
    """Chats with the bytes of their media in the place of paths."""
    found = []
    for example in read_chats(source):
        for part in example.media:
            part["path"] = content(part["path"]) or Path(part["path"]).read_bytes()
        found.append((example.messages, example.task, example.scene))
    return found


def test_shards_hold_the_same_chats(folder: Path, packed: Path) -> None:
    assert [path.name for path in tars(packed)] == ["000000.tar", "000001.tar", "000002.tar", "000003.tar"]
    assert chats(packed) == chats(folder)
    assert check(packed).chats == 10 and str(check(packed)).startswith("10 chats, 20 image files")


def test_the_same_data_gives_the_same_bytes(folder: Path, packed: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "again", 3)
    assert [path.read_bytes() for path in tars(packed)] == [path.read_bytes() for path in tars(tmp_path / "again")]


def test_webdataset_reads_them(packed: Path) -> None:
    library = pytest.importorskip("webdataset.tariterators", reason="webdataset is not installed")
    read: list[Any] = []
    for path in tars(packed):
        with path.open("rb") as file:  # WebDataset itself leaves the closing of files to chance
            named = ({**member, "__url__": path.name} for member in library.tar_file_iterator(file))
            read += library.group_by_keys(named)
    assert [sample["__key__"] for sample in read] == [f"{number:08d}" for number in range(10)]
    for sample, example in zip(read, read_chats(packed), strict=True):
        paths = [
            part["path"] for m in json.loads(sample["json"])["messages"] for part in m["content"] if "path" in part
        ]
        assert [sample[path] for path in paths] == [content(part["path"]) for part in example.media]


def test_training_reads_shards_as_it_reads_the_folder(folder: Path, packed: Path, tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096))
    cache = FeatureCache(tmp_path / "cache")
    data = [FolderChats(source, model, {"input", "output"}, cache, pictures=True) for source in (folder, packed)]
    made = cache.made
    assert cache.hits >= made > 0  # what is in a shard has the same key
    for one, two in zip(data[0].chats, data[1].chats, strict=True):
        assert one.ids == two.ids
    whole, some = [data[0].prepare(step, 10, seed=1) for step in (0, 0)], data[1].prepare(0, 10, seed=1)
    for name in ("features_image", "conditions_image", "drawn"):
        places = [[int(row.flatten().double().sum() * 1e6) for row in batch[name]] for batch in (whole[0], some)]
        assert sorted(places[0]) == sorted(places[1])
    assert all(torch.equal(whole[0][name], whole[1][name]) for name in whole[0])


# --- the order


def test_every_chat_comes_once_an_epoch_and_turns_read_other_shards() -> None:
    shards = [list(range(10 * shard, 10 * shard + 10)) for shard in range(8)] + [[80, 81, 82]]
    for epoch in range(3):
        order = epoch_order(shards, 5, epoch, 7)
        assert sorted(order) == list(range(83))
        assert order == epoch_order(shards, 5, epoch, 7) != epoch_order(shards, 5, epoch, 8)
    order = epoch_order(shards, 5, 0, 7)
    for count in (2, 4, 8):  # processes: until the first lane runs out, each reads shards of its own
        read = [{order[i] // 10 for i in range(80) if i // 5 % count == rank} for rank in range(count)]
        assert sum(map(len, read)) == len(set.union(*read))
    assert [lanes(count) for count in (1, 2, 3, 8, 9, 1000)] == [1, 2, 2, 8, 8, 64]


def test_an_epoch_that_ends_within_a_batch_goes_on_there() -> None:
    """Of 7 chats in batches of 2, the second epoch begins in the second half of batch 3, which is lane 1's."""
    shards = [[0, 1, 2, 3], [4, 5, 6]]
    order = epoch_order(shards, 2, 1, 0)
    assert sorted(order) == list(range(7))
    lane = {chat: place for place, shard in enumerate(shards) for chat in shard}
    assert lane[order[1]] == lane[order[2]] != lane[order[0]]


# --- what is wrong


def write(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


ASKED = {"role": "user", "content": [{"type": "image", "path": "image0.png"}, {"type": "text", "text": "What is it?"}]}
CHAT = json.dumps({"messages": [ASKED, {"role": "assistant", "content": "A cat."}]}).encode()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("7.json", CHAT)], r"a\.tar:7: messages\[0\]\.content\[0\]: missing image image0\.png; .* no such member"),
        ([("7.image0.png", b"x")], r"a\.tar:7: the sample has no 7\.json, only image0\.png"),
        ([("7.json", b"{")], r"a\.tar:7: not JSON"),
        ([("7.json", CHAT), ("7.image0.png", b"no picture")], r"a\.tar:7: .*a\.tar#7\.image0\.png: "),
        ([("7.json", CHAT), ("7.json", CHAT)], r"a\.tar: sample 7 has json twice"),
        ([("seven", CHAT)], r"a\.tar: member seven has no ending"),
        ([], "has no chats"),
    ],
)
def test_what_is_wrong_is_named_with_shard_and_key(members: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=message) as error:
        check(tmp_path)
    assert "\n" not in str(error.value)


def _cut_in_a_member(data: bytes) -> bytes:
    return data[:1700]


def _cut_behind_a_member(data: bytes) -> bytes:
    return data[: data.index(b"00000004.json")]


def _no_tar(data: bytes) -> bytes:
    return b"no tar at all" * 100


@pytest.mark.parametrize("spoil", [_cut_in_a_member, _cut_behind_a_member, _no_tar, lambda data: b""])
def test_a_truncated_shard_is_named(
    spoil: Callable[[bytes], bytes], packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.tar").write_bytes(spoil((packed / "000001.tar").read_bytes()))
    assert main(["data", "check", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "b.tar is truncated or no tar file, behind " in said and said.count("\n") == 1


def test_the_last_whole_sample_is_said(packed: Path, tmp_path: Path) -> None:
    whole = (packed / "000001.tar").read_bytes()
    (tmp_path / "c.tar").write_bytes(whole[: whole.index(b"00000005.json") + 600])
    with pytest.raises(DataError, match=r"c\.tar is truncated.*, behind sample 0000000[45]"):
        samples(tmp_path / "c.tar")


def test_packing_overwrites_nothing(folder: Path, packed: Path, tmp_path: Path) -> None:
    for source, output, size, message in (
        (folder, packed, 3, "packed is there already"),
        (folder, tmp_path / "new", 0, "at least 1 chat, not 0"),
        (packed, tmp_path / "new", 3, "in shards already"),
        (tmp_path, tmp_path / "new", 3, "no data set at"),
    ):
        with pytest.raises(DataError, match=message):
            pack(source, output, size)
    assert not list(tmp_path.iterdir())


def test_the_command_packs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", str(folder), "-o", str(tmp_path / "shards"), "--shard-size", "4"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'shards'}: 3 shards\n"
    assert main(["data", "check", str(tmp_path / "shards")]) == 0
