"""Generators: one file per modality, from a condition to a medium; this table names them."""

from anygen.generators.audio import AudioGenerator
from anygen.generators.diffusion import DiffusionGenerator
from anygen.generators.image import ImageGenerator
from anygen.generators.video import VideoGenerator

GENERATORS: dict[str, type[DiffusionGenerator]] = {
    "image": ImageGenerator,
    "audio": AudioGenerator,
    "video": VideoGenerator,
}
