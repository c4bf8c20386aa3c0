"""Generators: one file per modality, from a condition to a medium."""

from anygen.generators.image import ImageGenerator

GENERATORS: dict[str, type[ImageGenerator]] = {"image": ImageGenerator}
