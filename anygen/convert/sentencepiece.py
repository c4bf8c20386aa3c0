"""A byte-pair SentencePiece model, as Llama's tokenizer.model, to a fast tokenizer of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import unpack
from typing import Any

from anygen.error import ModelError

SPACE = "\u2581"  # SentencePiece's sign for a space
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """An entry of the vocabulary; the merge of the higher `score` comes first."""

    text: str
    score: float
    kind: int


def read_pieces(file: Path) -> list[Piece]:
    """The vocabulary of a tokenizer.model, by id; ModelError if the file is no byte-pair SentencePiece model."""
    if not file.is_file():
        raise ModelError(f"{file} is missing")
    pieces, kind = [], 0
    try:
        for number, value in _fields(file.read_bytes()):
            if number == 1:
                entry = dict(_fields(value))
                score = unpack("<f", entry[2])[0] if 2 in entry else 0.0
                pieces.append(Piece(text=entry[1].decode("utf-8"), score=score, kind=entry.get(3, NORMAL)))
            elif number == 2:
                kind = dict(_fields(value)).get(3, 1)
    except (ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{file} is truncated or no SentencePiece model ({error})") from None
    if not pieces or kind != BPE:
        raise ModelError(f"{file} is no byte-pair SentencePiece model: {len(pieces)} pieces, model type {kind}")
    return pieces


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of every field of a protocol buffer: whole numbers, or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, varint()
            continue
        length = varint() if wire == 2 else {1: 8, 5: 4}.get(wire, -1)
        if length < 0 or place + length > len(data):
            raise ValueError(f"a field of kind {wire} at byte {place} does not fit")
        yield key >> 3, data[place : place + length]
        place += length


def merges(pieces: list[Piece]) -> list[tuple[str, str]]:
    """The merges that make the pieces, the best first: SentencePiece merges the pair whose piece scores highest."""
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    found = []
    for piece in pieces:
        if piece.kind != NORMAL:
            continue
        cuts = ((piece.text[:at], piece.text[at:]) for at in range(1, len(piece.text)))
        known = sorted(
            (pair for pair in cuts if pair[0] in ids and pair[1] in ids), key=lambda p: (ids[p[0]], ids[p[1]])
        )
        found += [(piece.score, pair) for pair in known]
    return [pair for _, pair in sorted(found, key=lambda entry: -entry[0])]


def fast_tokenizer(file: Path) -> Any:
    """A `PreTrainedTokenizerFast` that cuts text as the tokenizer.model does, with a space before the first word."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = read_pieces(file)
    named = {piece.kind: piece.text for piece in pieces if piece.kind == UNKNOWN}
    if UNKNOWN not in named:
        raise ModelError(f"{file} names no unknown token")
    inner = Tokenizer(
        models.BPE(
            vocab={piece.text: index for index, piece in enumerate(pieces)},
            merges=merges(pieces),
            unk_token=named[UNKNOWN],
            fuse_unk=True,
            byte_fallback=any(piece.kind == BYTE for piece in pieces),
        )
    )
    inner.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    inner.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    controls = [piece.text for piece in pieces if piece.kind in (UNKNOWN, CONTROL)]
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in controls])
    begin, end = (name if name in controls else None for name in ("<s>", "</s>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token=named[UNKNOWN],
        bos_token=begin,
        eos_token=end,
        pad_token=named[UNKNOWN],
        clean_up_tokenization_spaces=False,
    )
