"""Packages that are used where they import and never needed: in one line, what they would add and how to get them."""

from importlib import import_module
from types import ModuleType

from anygen.error import ModelError

# what each adds; its own pins and wheels do not fit beside a CPU build of torch, so none is a dependency
GAINS = {
    "torchaudio": "the very filterbank that ImageBind's reference hears through",
    "imagebind": "weights from Meta's own package, as it fetches or as you tuned them",
    "audiocraft": "AudioGen's and MusicGen's own checkpoints",
}
INSTALL = {
    "torchaudio": "pip install torchaudio, of the very version and index that torch came from",
    "imagebind": "pip install --no-deps git+https://github.com/facebookresearch/ImageBind",
    "audiocraft": "pip install --no-deps audiocraft==1.3.0, and what docs/optional.md names beside it",
}


def optional(name: str) -> ModuleType:
    """The module `name` of an optional package, such as "torchaudio.functional"; ModelError where it does not import.

    A wheel that was built for another torch fails with OSError or RuntimeError, not with ImportError.
    """
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{package} does not import ({said}); it would add {GAINS[package]}: {INSTALL[package]}"
        ) from error
