"""The thermal encoder: pictures of warmth to patch features and to the joint space."""

from typing import ClassVar

from anygen.encoders.relief import ReliefEncoder


class ThermalEncoder(ReliefEncoder):
    """ImageBind's way with heat (arXiv 2305.05665, 3.2), one channel, on the image encoder's own weights."""

    modality: ClassVar[str] = "thermal"
