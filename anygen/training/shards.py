"""Data sets in shards: tar files as webdataset has them, one sample per chat, read by place instead of one by one.

A sample is what has one key: `00000012.json` is the chat, as a line of `data.jsonl` has it, `00000012.image0.png` the
medium that it calls `image0.png`.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from anygen.error import DataError

BETWEEN = "#"  # in the name of a medium, between shard and member
Sample = dict[str, tuple[int, int]]  # where each field is in the file: offset and size


def tars(source: str | Path) -> list[Path]:
    """The shards of a folder in their order, or the one that `source` is; none where it is something else."""
    source = Path(source)
    if source.is_dir():
        return sorted(source.glob("*.tar"))
    return [source] if source.suffix == ".tar" and source.is_file() else []


@lru_cache(maxsize=4096)
def samples(shard: Path) -> dict[str, Sample]:
    """The samples of a shard by key: where every field's bytes are. Only headers are read."""
    found: dict[str, Sample] = {}
    last = "no sample"
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                key, dot, field = member.name.rpartition("/")[2].partition(".")
                key = f"{member.name.rpartition('/')[0]}/{key}".lstrip("/")
                if not dot:
                    raise DataError(f"{shard}: member {member.name} has no ending; a sample is KEY.json and KEY.FIELD")
                if field in found.setdefault(key, {}):
                    raise DataError(f"{shard}: sample {key} has {field} twice")
                found[key][field] = (member.offset_data, member.size)
                last = f"sample {key}"
            if shard.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("there is no end")
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{shard} is truncated or no tar file, behind {last}: {error}; write it anew") from error
    except OSError as error:
        raise DataError(f"{shard} cannot be read: {error.strerror}") from error
    return found


def content(path: str) -> bytes | None:
    """The bytes of a medium in a shard, `SHARD.tar#KEY.FIELD`; None where `path` names a file."""
    shard, between, name = path.rpartition(BETWEEN)
    if not between or not shard.endswith(".tar"):
        return None
    folder, slash, base = name.rpartition("/")
    key, _, field = base.partition(".")
    offset, size = samples(Path(shard))[f"{folder}{slash}{key}"][field]
    with open(shard, "rb") as file:
        file.seek(offset)
        found = file.read(size)
    if len(found) < size:
        raise DataError(f"{shard} is truncated: {name} is cut; write it anew")
    return found


def medium(path: str) -> Any:
    """What a medium is opened from: its path, or its bytes where it is in a shard."""
    found = content(path)
    return path if found is None else found


def named(path: str, error: Exception) -> str:
    """What is wrong with a medium; that of a shard has only bytes, and is named here."""
    return f"{path}: {error}" if content(path) is not None else str(error)


def read(source: str | Path) -> Iterator[Any]:
    """The chats (`anygen.training.data.Example`) of all shards in order, media by the names that `content` takes."""
    from anygen.training.data import decode, parse_chat

    for shard in tars(source):
        shard = shard.absolute()
        for key, sample in samples(shard).items():
            where = f"{shard}:{key}"
            if "json" not in sample:
                raise DataError(f"{where}: the sample has no {key}.json, only {', '.join(sample)}")
            line = content(f"{shard}{BETWEEN}{key}.json") or b""

            def find(path: str, shard: Path = shard, key: str = key, sample: Sample = sample) -> str | None:
                return f"{shard}{BETWEEN}{key}.{path}" if path in sample else None

            yield parse_chat(decode(line, where), where, find)


def pack(source: str | Path, output: str | Path, size: int = 1000) -> int:
    """Writes the chats of a data set to shards of `size` chats each, `output/000000.tar` and on; returns how many.

    They appear at once, when all are written. The same data set gives the same bytes. A medium is in every sample that
    shows it, so that each can be read alone.
    """
    from anygen.training.data import raw_chats

    if size < 1:
        raise DataError(f"a shard holds at least 1 chat, not {size}")
    output = Path(output)
    if output.exists():
        raise DataError(f"{output} is there already; choose another folder or remove it")
    started = output.with_name(f"{output.name}.part")
    shutil.rmtree(started, ignore_errors=True)
    tar: tarfile.TarFile | None = None
    count = 0
    try:
        started.mkdir(parents=True)
        for chat, example in raw_chats(source):
            if count % size == 0:
                if tar:
                    tar.close()
                tar = tarfile.open(started / f"{count // size:06d}.tar", "w", format=tarfile.PAX_FORMAT)
            assert tar is not None
            _add(tar, f"{count:08d}", chat, example)
            count += 1
        if tar:
            tar.close()
        if not count:
            raise DataError(f"{source} has no chats: there is nothing to pack")
        started.rename(output)
    except OSError as error:
        raise DataError(f"cannot write shards to {output}: {error.strerror}; free some space") from error
    finally:
        if tar:
            tar.close()
        shutil.rmtree(started, ignore_errors=True)
    return (count + size - 1) // size


def _add(tar: tarfile.TarFile, key: str, chat: dict[str, Any], example: Any) -> None:
    """One chat with its media."""
    names: dict[str, str] = {}  # by path
    numbers: dict[str, int] = {}  # media of each kind
    found = iter(example.media)
    for message in chat["messages"]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "text":
                continue
            path = next(found)["path"]
            if path not in names:
                kind = part["type"]
                place = numbers.get(kind, 0)
                numbers[kind] = place + 1
                names[path] = f"{kind}{place}{Path(path).suffix.lower()}"
            part["path"] = names[path]
    _write(tar, f"{key}.json", json.dumps(chat, ensure_ascii=False).encode())
    for path, name in names.items():
        _write(tar, f"{key}.{name}", content(path) or Path(path).read_bytes())


def _write(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
