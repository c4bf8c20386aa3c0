"""Files of FFmpeg's kinds: opened with a named demuxer, decoded as a stream past what is damaged, and their sound."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
import av.error
import numpy as np

from anygen.codecs import audio
from anygen.codecs.source import QUICKTIME, sniff
from anygen.error import MediaError

HEAD = 1 << 16  # bytes of a file that say what it is
GAP = 0.05  # seconds that sound may be late by without being silence: timestamps are often rounded
TRIES = 64  # damaged packets before the first that is whole
Sound = tuple[np.ndarray, int]


@contextmanager
def opened(file: BinaryIO, name: str) -> Iterator[Any]:
    """The container in `file`, from its beginning; whatever FFmpeg finds wrong with it is a MediaError."""
    file.seek(0)
    head = file.read(HEAD)
    file.seek(0)
    try:
        # the demuxer is named, since a playlist could otherwise make FFmpeg open other files
        with av.open(file, format=_demuxer(head, name), metadata_errors="replace") as container:
            yield container
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"{name} is damaged or is no film or sound that can be read ({why})"[:300]) from error


def _demuxer(head: bytes, name: str) -> str:
    known = {b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg", b"fLaC": "flac", b"FORM": "aiff"}
    if head[:4] == b"RIFF" and head[8:12] != b"WEBP":
        return "avi" if head[8:12] == b"AVI " else "wav"
    if head[4:8] in (b"ftyp", *QUICKTIME):
        return "mov"
    if head[:4] not in known and audio.is_mpeg(head):
        return "aac" if head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9") else "mp3"
    if head[:4] not in known:
        found = sniff(head)
        looks = {"text": "text", "image": "an image", "video": "a film without sound"}.get(found or "")
        wayout = "pass it as Image, or " if found == "image" else ""
        raise MediaError(
            f"{name} {f'looks like {looks}' if looks else 'is no film or sound that can be read'}: "
            f"{wayout}use mp4, webm, gif, mov or avi for film, wav, flac, ogg, mp3 or m4a for sound"
        )
    return known[head[:4]]


def decodable(stream: Any, name: str) -> Any:
    """The stream, if there is a decoder for it."""
    if stream.codec_context is None:
        raise MediaError(f"{name} is damaged or of an unknown codec: its {stream.type} cannot be decoded")
    return stream


def decoded(container: Any, stream: Any, name: str) -> Iterator[Any]:
    """What a stream decodes to, past packets that cannot be decoded; more of these than others are a MediaError."""
    good = bad = 0
    fault: av.error.FFmpegError | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            found = [] if packet is None else packet.decode()
        except av.error.FFmpegError as error:
            bad, fault = bad + 1, error
            if bad > good + TRIES:
                break
            continue
        if packet is None:
            break
        good += len(found)
        yield from found
    if bad > good:
        raise MediaError(f"{name} is damaged: {bad} pieces of its {stream.type} cannot be decoded ({fault})"[:300])


def read_audio(data: bytes, name: str) -> Sound:
    """The sound of any file that FFmpeg reads."""
    file = io.BytesIO(data)
    if not has_sound(file, name):
        raise MediaError(f"{name} has no sound in it")
    found = sound(file, name)
    if found is None:
        raise MediaError(f"{name} holds no sound")
    return found


def has_sound(file: BinaryIO, name: str) -> bool:
    """Whether there is a sound track."""
    with opened(file, name) as container:
        return bool(container.streams.audio)


def sound(file: BinaryIO, name: str, begin: float | None = None, most: float = audio.MAX_SECONDS) -> Sound | None:
    """The first sound track as float32 [channels, samples], and its rate; None if there is no sound in it.

    With `begin`, the time of a film's first picture, pieces lie where their timestamps say, silence between them, and
    what comes after `most` seconds is left out. Without it the sound is all that there is: more than the limit is an
    error, and only what an encoder puts before time 0 is cut off.
    """
    with opened(file, name) as container:
        stream = decodable(container.streams.audio[0], name)
        rate = int(stream.rate)
        seconds = float(stream.duration * stream.time_base) if stream.duration else None
        start = 0.0 if begin is None else max(0.0, float((stream.start_time or 0) * stream.time_base)) - begin
        if begin is None and seconds and seconds > audio.MAX_SECONDS + 1:  # told by the file, may be off by its padding
            raise MediaError(audio.too_long(name, seconds))
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        pieces: list[np.ndarray] = []
        length, early, limit = 0, 0, round(most * rate)
        for frame in decoded(container, stream, name):
            time = None if frame.pts is None else float(frame.pts * frame.time_base) - (begin or 0.0)
            if time is not None and not pieces and time < 0:
                early = round(-time * rate)
            late = 0 if time is None or begin is None else round(time * rate) + early - length
            for piece in resampler.resample(frame):
                channels = piece.to_ndarray()
                if pieces and len(channels) != len(pieces[0]):
                    raise MediaError(
                        f"{name} changes its channels from {len(pieces[0])} to {len(channels)}: save it again"
                    )
                if late > GAP * rate:
                    pieces.append(np.zeros((len(channels), min(late, limit)), np.float32))
                    length, late = length + min(late, limit), 0
                pieces.append(channels)
                length += channels.shape[1]
            if length - early > limit:
                if begin is None:
                    raise MediaError(audio.too_long(name, length / rate))
                break
    if not pieces:
        return None
    last = limit if seconds is None else min(limit, round((start + seconds) * rate))
    samples = np.concatenate(pieces, axis=1)[:, early : early + max(last, 0)]
    if not samples.size:
        return None
    return audio.checked(np.clip(samples, -1.0, 1.0, dtype=np.float32), rate, name), rate
