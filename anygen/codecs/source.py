"""The bytes behind whatever a user passes - a path, a data: URL, an open file - and what kind of medium they are."""

import base64
import binascii
import io
import os
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import PIL.Image

from anygen.error import MediaError, RequestError

# what a QuickTime film from before "ftyp" may begin with
QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


class Named(bytes):
    """Bytes that know what to be called in an error."""

    name: str

    def __new__(cls, data: bytes, name: str) -> "Named":
        self = super().__new__(cls, data)
        self.name = name
        return self


def read(source: Any, kind: str) -> tuple[bytes, str]:
    """The bytes behind a path, URL, bytes or open file, and the name to use in errors."""
    if (path := _path(source)) is not None:
        with _readable(path):
            return _nonempty(path.read_bytes(), str(path))
    if isinstance(source, str):
        return _nonempty(_data_url(source), "data: URL")
    if isinstance(source, bytes | bytearray | memoryview):
        return _nonempty(bytes(source), getattr(source, "name", f"{kind} bytes"))
    if hasattr(source, "read"):
        data = source.read()
        if not isinstance(data, bytes):
            raise MediaError(f"the open file gives {type(data).__name__}, not bytes: open it with mode 'rb'")
        return _nonempty(data, str(getattr(source, "name", f"{kind} stream")))
    raise MediaError(
        f"cannot read {kind} from a value of type {type(source).__name__}: pass a path, bytes, an open file or an array"
    )


@contextmanager
def opened(source: Any, kind: str) -> Iterator[tuple[BinaryIO, str]]:
    """The same as a file to seek in, and its name; one on disk is not read into memory, however long it is."""
    path = _path(source)
    if path is None or not path.is_file():
        data, name = read(source, kind)
        yield io.BytesIO(data), name
        return
    with _readable(path):
        file = path.open("rb")
    with file:
        _nonempty(file.peek(1), str(path))
        yield file, str(path)


def _path(source: Any) -> Path | None:
    """Where a source lies if it is on disk; what is on the network is refused."""
    if isinstance(source, str) and re.match(r"https?://", source, re.IGNORECASE):
        raise RequestError(
            f"{source[:120]} is on the network and this engine works offline: download it and pass the file"
        )
    if isinstance(source, str) and source[:5].lower() == "data:":
        return None
    if isinstance(source, str) and source[:7].lower() == "file://":
        source = urllib.parse.unquote(urllib.parse.urlparse(source).path)
    return Path(os.fsdecode(source)) if isinstance(source, str | os.PathLike) else None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MediaError(f"no such file: {path}") from error
    except MediaError:
        raise
    except (OSError, ValueError) as error:
        raise MediaError(f"cannot read {str(path)[:200]!r}: {getattr(error, 'strerror', None) or error}") from error


def _nonempty(data: bytes, name: str) -> tuple[bytes, str]:
    if not data:
        raise MediaError(f"{name} is empty (0 bytes)")
    return data, name


def _data_url(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise MediaError("data: URL has no comma; it should read data:<mime>;base64,<data>")
    return from_base64(body, "data: URL") if head.endswith(";base64") else urllib.parse.unquote_to_bytes(body)


def from_base64(text: Any, name: str) -> bytes:
    """The bytes that base64 text stands for; `name` is what errors call it."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise MediaError(f"{name} is not valid base64: {error}") from error


def write(path: Path, data: bytes) -> Path:
    """Write the bytes and return the path."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise MediaError(f"cannot write {path}: {error.strerror}") from error
    return path


def known_suffix(kind: str, suffix: str, known: tuple[str, ...]) -> str:
    """The suffix in lower case, if a medium of that kind can be written so."""
    if suffix.lower() not in known:
        raise MediaError(f"cannot write {kind} as {suffix or 'a file without suffix'!r}; use {', '.join(known)}")
    return suffix.lower()


def sniff(data: bytes) -> str | None:
    """The modality of a file by its first bytes, whatever its name says; None if it is none that can be read."""
    head, brand = data[:4], data[8:12]
    if head == b"RIFF":
        return {b"WAVE": "audio", b"WEBP": "image", b"AVI ": "video"}.get(brand)
    if data[4:8] in QUICKTIME and head[:1] < b"\t":  # no text begins so
        return "video"
    if data[4:8] == b"ftyp":
        return "image" if brand in (b"avif", b"avis") else "audio" if brand in (b"M4A ", b"M4B ") else "video"
    if head == b"GIF8":
        return "video" if _is_animated(data) else "image"
    if head == b"\x89PNG" or head[:3] == b"\xff\xd8\xff" or head[:2] == b"BM" or head in (b"II*\0", b"MM\0*"):
        return "image"
    if head == b"\x1a\x45\xdf\xa3":
        return "video"
    if head == b"OggS":
        return "video" if b"\x80theora" in data[:512] else "audio"
    if head in (b"fLaC", b"FORM") or head[:3] == b"ID3" or (head[:1] == b"\xff" and data[1:2] >= b"\xe0"):
        return "audio"
    try:
        return None if "\0" in data.decode() else "text"
    except UnicodeDecodeError:
        return None


def _is_animated(data: bytes) -> bool:
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            return getattr(picture, "is_animated", False)
    except Exception:  # Pillow's plugins raise anything; opening it as an image then names the fault
        return False
