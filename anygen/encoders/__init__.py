"""Encoders: one file per modality, from a medium to features; this table names them."""

from anygen.encoders.audio import AudioEncoder
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import Tower
from anygen.encoders.text import TextEncoder
from anygen.encoders.video import VideoEncoder

ENCODERS: dict[str, type[Tower]] = {
    "text": TextEncoder,
    "image": ImageEncoder,
    "audio": AudioEncoder,
    "video": VideoEncoder,
}
