"""Training: stages, data, checkpoints, recipes and one visible loop."""

from pathlib import Path
from typing import Any


def train(recipe: str, **options: Any) -> Path:
    """Runs a recipe; see `anygen.training.recipe.train`."""
    from anygen.training.run import train as run

    return run(recipe, **options)
