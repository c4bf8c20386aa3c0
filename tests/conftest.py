"""What all tests share: nothing from the network, and the same examples every time."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import hypothesis
import pytest

hypothesis.settings.register_profile("same", deadline=None, derandomize=True, database=None, max_examples=40)
hypothesis.settings.load_profile("same")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model; copy it before changing it."""
    from anygen.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model that reads and writes pictures and sounds."""
    from anygen.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "tiny-sound", context=1024, media=("image", "audio"))


@pytest.fixture(scope="session")
def tiny_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model that reads and writes pictures and films; the two share weights."""
    from anygen.testing import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "tiny-film", context=2048, media=("image", "video"))
