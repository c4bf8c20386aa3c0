"""What all values of media share: frozen arrays, their digest, and telling an array from a file."""

import hashlib
from typing import Any

import numpy as np


def is_array(source: Any) -> bool:
    """Whether the source is an array of any library."""
    return hasattr(source, "__array__") and hasattr(source, "shape")


def digest(head: str, array: np.ndarray) -> str:
    """sha256 of an array with its shape and whatever else makes it what it is, in hex."""
    found = hashlib.sha256(f"{head} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def freeze(value: Any, **fields: Any) -> None:
    """Set the fields of a frozen value; arrays become read-only."""
    for name, field in fields.items():
        if isinstance(field, np.ndarray):
            if field.flags.writeable:
                field = np.array(field, order="C")  # a copy: the caller may go on writing into theirs
                field.flags.writeable = False
        object.__setattr__(value, name, field)
