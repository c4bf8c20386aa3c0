"""The depth encoder: maps of disparity to patch features and to the joint space."""

from typing import ClassVar

from anygen.encoders.relief import ReliefEncoder


class DepthEncoder(ReliefEncoder):
    """ImageBind's way with depth (arXiv 2305.05665, 3.2), a map of disparity, on the image encoder's own weights."""

    modality: ClassVar[str] = "depth"
