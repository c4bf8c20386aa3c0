"""Encoders: one file per modality, from a medium to features; this table names them."""

from anygen.encoders.image import ImageEncoder

ENCODERS = {"image": ImageEncoder}
