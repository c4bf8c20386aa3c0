"""ImageBind as an encoder of six media: its towers behind the protocol of their neighbours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from anygen.encoders import imagebind_inputs as inputs
from anygen.encoders.imagebind_huge import HUGE, HugeTower, open_published, say_licence
from anygen.error import ModelError
from anygen.media import Audio, Image, Video
from anygen.sensed import Depth, Imu, Thermal

PUBLISHED = "imagebind_huge.pth"
TOWERS = {"image": "vision", "video": "vision", "audio": "audio", "depth": "depth", "thermal": "thermal", "imu": "imu"}
CLIPS = {"audio": 3, "video": 5}  # of 2 s each, as published


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageBindOptions:
    """What of ImageBind becomes features."""

    pooled: bool = False  # one vector of the joint space, as NExT-GPT reads it; else the states of all patches
    scale: bool = True  # of pooled vectors: times the modality's scale (audio 20), or unit vectors
    clips: int | None = None  # None: as published, 3 of a sound and 5 of a film
    crops: int = 3  # squares that each clip of a film is seen as, 1 or 3
    frontend: str = "own"  # what sounds become log-mels by, one of `imagebind_inputs.FRONTENDS`


class ImageBindEncoder(nn.Module):
    """A tower of ImageBind, with its own preprocessing. Features [batch, tokens, width].

    Patches of several clips follow one another; pooled vectors of several clips are averaged, as published.
    """

    options_type: ClassVar[type] = ImageBindOptions

    def __init__(self, modality: str, tower: HugeTower, options: ImageBindOptions) -> None:
        super().__init__()
        if modality not in TOWERS:
            raise ModelError(f"ImageBind encodes {', '.join(TOWERS)} for a model, not {modality!r}")
        if tower.config.modality != TOWERS[modality]:
            raise ModelError(
                f"the {modality} encoder needs ImageBind's {TOWERS[modality]} tower, this is {tower.config.modality}"
            )
        self.modality, self.tower, self.options = modality, tower.requires_grad_(False), options
        self.clips = options.clips if options.clips is not None and modality in CLIPS else CLIPS.get(modality, 1)
        if self.clips < 1 or options.crops not in (1, 3):
            raise ModelError(
                f"an encoder sees at least 1 clip in 1 or 3 crops, not clips={options.clips}, crops={options.crops}"
            )

        if options.frontend not in inputs.FRONTENDS:
            raise ModelError(f"an encoder hears by {', '.join(inputs.FRONTENDS)}, not by frontend={options.frontend!r}")
        if options.frontend != "own":
            inputs.reference_frontend()  # where it is missing that is said now

    @property
    def config(self) -> tuple[Any, ...]:
        """What the features depend on beside the weights."""
        return self.modality, asdict(self.options), asdict(self.tower.config)

    @property
    def width(self) -> int:
        return self.tower.config.joint if self.options.pooled else self.tower.config.width

    @property
    def tokens(self) -> int:
        seen = self.clips * (self.options.crops if self.modality == "video" else 1)
        return 1 if self.options.pooled else seen * self.tower.config.patches

    def prepare(self, medium: Image | Audio | Video | Depth | Thermal | Imu) -> Tensor:
        """What the tower reads of one medium (`anygen.encoders.imagebind_inputs`)."""
        if isinstance(medium, Imu):
            return inputs.motion(medium.readings, medium.rate)
        side = self.tower.config.size[-1]
        if isinstance(medium, Depth | Thermal):
            read = inputs.depth if isinstance(medium, Depth) else inputs.thermal
            return read(medium.values, side)
        if isinstance(medium, Video):
            return inputs.film(medium, self.clips, self.options.crops, side)
        if isinstance(medium, Audio):
            return inputs.sound(medium, self.clips, self.options.frontend)
        return inputs.picture(medium, side)

    def forward(self, x: Tensor) -> Tensor:
        """What `prepare` made, stacked, to [batch, tokens, width]."""
        return self.tower.embed(x, self.options.scale).unsqueeze(1) if self.options.pooled else self.tower.features(x)

    @classmethod
    def open(
        cls,
        modality: str,
        place: Path,
        options: ImageBindOptions,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Self:
        """From the published `imagebind_huge.pth` or the folder that it was fetched into, or from a folder that
        `save_pretrained` wrote."""
        wanted = TOWERS.get(modality, modality)
        place = place / PUBLISHED if (place / PUBLISHED).is_file() else place
        if place.suffix == ".pth":
            tower = open_published(place, [wanted], device, dtype)[wanted]
        else:
            tower = HugeTower.from_pretrained(place, device, dtype)
            if tower.config == HUGE[tower.config.modality]:
                say_licence()
        return cls(modality, tower, options)

    def save_pretrained(self, folder: Path) -> None:
        """Writes the tower: config.json and model.safetensors."""
        self.tower.save_pretrained(folder)
