"""The errors that a user sees as one line: what is wrong, its value, and the way out."""


class AnyGenError(ValueError):
    """Base of every error that the caller can mend; the command line prints it as one line and exits with 2."""


class MediaError(AnyGenError):
    """A medium that cannot be read, is too large, or is not what it says it is."""


class RequestError(AnyGenError):
    """A request that no model could answer: an empty prompt, an unknown modality, an option out of range."""


class ModelError(AnyGenError):
    """A model folder that does not fit: a missing, renamed, truncated or wrongly shaped part."""


class DataError(AnyGenError):
    """A data set that does not fit its format."""
