"""Suites, metrics and the judge."""

from typing import Any

__all__ = ["SUITES", "evaluate"]


def __getattr__(name: str) -> Any:
    """Loaded when used: contact sheets and metrics need none of it."""
    if name in __all__:
        from anygen.evaluation import suites

        return getattr(suites, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
