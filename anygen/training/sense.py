"""Senses: for each modality, how the playground's parts become tensors, media, names and words in alignment."""

import math
import random
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anygen.encoders.imu import scaled
from anygen.mel import log_mel
from anygen.model import AnyGenModel
from anygen.playground.clip import deepest_first, one_way, sample_clip
from anygen.playground.compositor import Compositor
from anygen.playground.dialogue import told_of
from anygen.playground.film import sample_film
from anygen.playground.film import upright as upright_film
from anygen.playground.mixer import Mixer
from anygen.playground.motion import FRAMES
from anygen.playground.projection import Projection
from anygen.playground.ride import UNITS, readings, sample_ride
from anygen.playground.scene import sample_scene
from anygen.playground.sensor import SENSORS
from anygen.playground.slots import Slot, clip_slots, film_slots, scene_slots
from anygen.playground.sound import SOUNDS
from anygen.playground.things import BACKDROPS, INDEX, THINGS
from anygen.training.disguise import disguise, disguised, pattern, seeming, told_in_disguise
from anygen.training.footage import canvas_for, evenly, screened, things_of, tubelet_cover
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch

Part = dict[str, Any]

WORDS = (*(thing.name for thing in THINGS), *BACKDROPS)
"""What a feature may stand for."""
_DISGUISED = 0.4  # share of varied sounds that are in disguise
_UNASKED = 0.8  # share of the others that are repeated, of which it is not asked how often and how fast


class Sense(Protocol):
    """One modality's side of the playground, at the sizes of a model's encoder and generator."""

    modality: ClassVar[str]
    cost: ClassVar[int]  # of encoding one of its media, in pictures
    slotted: ClassVar[bool]  # whether there is a form in slots

    def __init__(self, model: AnyGenModel, draws: bool) -> None: ...

    def to(self, device: torch.device) -> None:
        """Render there from now on."""
        ...

    def sample(self, stream: random.Random, split: str = "train") -> Part:
        """A random part of a split."""
        ...

    def varied(self, part: Part, stream: random.Random) -> Part:
        """The part as training may change it so that less is learnt by heart."""
        ...

    def told(self, part: Part) -> str:
        """The caption that the part itself decides."""
        ...

    def slots(self, part: Part) -> list[Slot]:
        """The same in words that each have a place of their own, where it is `slotted`."""
        ...

    def unasked(self, part: Part) -> str:
        """The words of that caption that are not asked for, because the part would be known by heart; mostly none."""
        ...

    def shown(self, parts: list[Part]) -> Batch:
        """What is given to the model, as CPU tensors that say how to render it, with `named` [n, k]: places in WORDS of
        what is there, -1 for nothing."""
        ...

    def features_of(self, batch: Batch) -> Tensor:
        """What the encoder reads of it."""
        ...

    def cover(self, batch: Batch, features: int) -> Tensor:
        """How much of what is `named` lies in which feature: [n, k, features]."""
        ...

    def made(self, parts: list[Part]) -> Batch:
        """What is to be made, as CPU tensors, for the generator's own loss."""
        ...

    def media_of(self, batch: Batch) -> Tensor:
        """The same as media, as the generator's `encode` takes them."""
        ...


class Sight:
    """Pictures: scenes through the compositor."""

    modality: ClassVar[str] = "image"
    cost: ClassVar[int] = 1
    slotted: ClassVar[bool] = True

    def __init__(self, model: AnyGenModel, draws: bool) -> None:
        self.side = model.encoders["image"].config.side
        self.canvas = model.generator("image").size[0] if draws else self.side
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        self.compositor, self.painter = Compositor(self.side, device), Compositor(self.canvas, device)

    def sample(self, stream: random.Random, split: str = "train") -> Part:
        return {"type": "image", "scene": sample_scene(stream, split=split)}

    def varied(self, part: Part, stream: random.Random) -> Part:
        return part

    def told(self, part: Part) -> str:
        return told_of(part)

    def slots(self, part: Part) -> list[Slot]:
        return scene_slots(part["scene"])

    def unasked(self, part: Part) -> str:
        return ""

    def shown(self, parts: list[Part]) -> Batch:
        scenes = [part["scene"] for part in parts]
        layers, ground = self.compositor.orders(scenes)
        backdrops = torch.tensor([[len(THINGS) + BACKDROPS.index(scene.backdrop)] for scene in scenes])
        named = torch.cat([self.compositor.things(scenes), backdrops], 1)
        return {"layers": layers, "ground": ground, "named": named}

    def features_of(self, batch: Batch) -> Tensor:
        return to_pixels(self.compositor.draw(batch["layers"], batch["ground"]))

    def cover(self, batch: Batch, features: int) -> Tensor:
        things = self.compositor.cover(batch["layers"], math.isqrt(features)).float()
        return torch.cat([things, 1 - things.amax(1, keepdim=True)], 1)  # the backdrop is where no thing is

    def made(self, parts: list[Part]) -> Batch:
        layers, ground = self.painter.orders([part["scene"] for part in parts])
        return {"layers": layers, "ground": ground}

    def media_of(self, batch: Batch) -> Tensor:
        return self.painter.draw(batch["layers"], batch["ground"])


def varied(part: Part, stream: random.Random) -> Part:
    """A sound of training: some in disguise. Of others it is rarely asked how often, as some are never heard so often,
    and never which way a melody goes of which training has one way only."""
    if stream.random() < _DISGUISED:
        return disguised(part, stream)
    left_out = one_way(part["clip"]) or (part["clip"].kind == "times" and stream.random() < _UNASKED)
    return part | ({"unasked": pattern(part["clip"])} if left_out else {})


def slots_heard(part: Part) -> list[Slot]:
    """What is told of a sound in slots: in disguise not who it is."""
    clip = deepest_first(part["clip"])
    if "disguise" in part:
        return clip_slots(seeming(clip, part["disguise"]), named=False, asked=not one_way(clip))
    return clip_slots(clip, asked=not part.get("unasked"))


class Hearing:
    """Sounds: clips through the mixer."""

    modality: ClassVar[str] = "audio"
    cost: ClassVar[int] = 1
    slotted: ClassVar[bool] = True

    def __init__(self, model: AnyGenModel, draws: bool) -> None:
        self.mixer = Mixer()

    def to(self, device: torch.device) -> None:
        self.mixer = Mixer(device)

    def sample(self, stream: random.Random, split: str = "train") -> Part:
        return {"type": "audio", "clip": sample_clip(stream, split=split)}

    def varied(self, part: Part, stream: random.Random) -> Part:
        return varied(part, stream)

    def told(self, part: Part) -> str:
        return told_in_disguise(part["clip"], part["disguise"]) if "disguise" in part else told_of(part)

    def slots(self, part: Part) -> list[Slot]:
        return slots_heard(part)

    def unasked(self, part: Part) -> str:
        return part.get("unasked", "")

    def shown(self, parts: list[Part]) -> Batch:
        clips = [part["clip"] for part in parts]
        sounds = self.mixer.sounds(clips)
        names = torch.tensor([INDEX[sound.thing] for sound in SOUNDS])
        named = names[sounds.clamp_min(0)].where(sounds >= 0, -1)
        disguises = torch.tensor([part.get("disguise", (0, 0)) for part in parts])
        return {"orders": self.mixer.orders(clips), "named": named, "disguise": disguises}

    def features_of(self, batch: Batch) -> Tensor:
        return disguise(log_mel(self.mixer.mix(batch["orders"])), batch["disguise"])

    def cover(self, batch: Batch, features: int) -> Tensor:
        from anygen.training.audio_encoder import heard

        return heard(batch["orders"], features)

    def made(self, parts: list[Part]) -> Batch:
        return {"orders": self.mixer.orders([part["clip"] for part in parts])}

    def media_of(self, batch: Batch) -> Tensor:
        return self.mixer.mix(batch["orders"])


class Watching:
    """Films: actors through the projection."""

    modality: ClassVar[str] = "video"
    cost: ClassVar[int] = 16
    slotted: ClassVar[bool] = True

    def __init__(self, model: AnyGenModel, draws: bool) -> None:
        encoder = model.encoders["video"]
        self.config, self.side = encoder.config, encoder.image.config.side
        generator: Any = model.generator("video") if draws else None
        self.frames: int
        self.canvas, self.frames = (generator.size[0], generator.frames) if generator else (self.side, FRAMES)
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        self.projection = Projection(canvas_for(self.side), device)
        self.painter = Projection(canvas_for(self.canvas), device)

    def sample(self, stream: random.Random, split: str = "train") -> Part:
        return {"type": "video", "film": sample_film(stream, split=split)}

    def varied(self, part: Part, stream: random.Random) -> Part:
        return part

    def told(self, part: Part) -> str:
        return told_of(part)

    def slots(self, part: Part) -> list[Slot]:
        return film_slots(upright_film(part["film"]))

    def unasked(self, part: Part) -> str:
        return ""

    def shown(self, parts: list[Part]) -> Batch:
        films = [part["film"] for part in parts]
        layers, grounds = self.projection.orders(films)
        backdrops = torch.tensor([[len(THINGS) + BACKDROPS.index(film.backdrop)] for film in films])
        return {"layers": layers, "grounds": grounds, "named": torch.cat([things_of(films), backdrops], 1)}

    def features_of(self, batch: Batch) -> Tensor:
        return screened(self.projection, batch["layers"], batch["grounds"], self.side)[:, evenly(self.config.frames)]

    def cover(self, batch: Batch, features: int) -> Tensor:
        things = tubelet_cover(batch["layers"], self.projection.size, self.config)
        return torch.cat([things, 1 - things.amax(1, keepdim=True)], 1)  # the backdrop is where no thing is

    def made(self, parts: list[Part]) -> Batch:
        layers, grounds = self.painter.orders([part["film"] for part in parts])
        return {"layers": layers, "grounds": grounds}

    def media_of(self, batch: Batch) -> Tensor:
        return screened(self.painter, batch["layers"], batch["grounds"], self.canvas)[:, evenly(self.frames)]


class Ranging(Sight):
    """Depth maps: scenes through the sensor of distance. Nothing of the kind is ever made."""

    modality: ClassVar[str] = "depth"

    def __init__(self, model: AnyGenModel, draws: bool) -> None:
        assert not draws, "maps are only read"
        self.side = model.encoders["image"].config.side
        self.to(torch.device("cpu"))

    def to(self, device: torch.device) -> None:
        self.compositor, self.sensor = Compositor(self.side, device), SENSORS[self.modality](self.side, device)

    def sample(self, stream: random.Random, split: str = "train") -> Part:
        return {"type": self.modality, "scene": sample_scene(stream, split=split)}

    def shown(self, parts: list[Part]) -> Batch:
        layers, _ = self.sensor.orders([part["scene"] for part in parts])
        return super().shown(parts) | {"layers": layers}

    def features_of(self, batch: Batch) -> Tensor:
        return to_pixels(self.sensor.draw(batch["layers"], batch["ground"]))

    def cover(self, batch: Batch, features: int) -> Tensor:
        return super().cover(batch | {"layers": batch["layers"][..., :4]}, features)


class Warming(Ranging):
    """Thermal pictures: scenes through the sensor of warmth."""

    modality: ClassVar[str] = "thermal"


class Riding:
    """Motion: rides through the sensor that a thing carries. Nothing of the kind is made, and it names no thing."""

    modality: ClassVar[str] = "imu"
    cost: ClassVar[int] = 1
    slotted: ClassVar[bool] = False

    def __init__(self, model: AnyGenModel, draws: bool) -> None:
        assert not draws, "motion is only read"

    def to(self, device: torch.device) -> None:
        pass

    def sample(self, stream: random.Random, split: str = "train") -> Part:
        return {"type": "imu", "film": sample_ride(stream, split)}

    def varied(self, part: Part, stream: random.Random) -> Part:
        return part

    def told(self, part: Part) -> str:
        return told_of(part)

    def slots(self, part: Part) -> list[Slot]:
        return []

    def unasked(self, part: Part) -> str:
        return ""

    def shown(self, parts: list[Part]) -> Batch:
        felt = torch.from_numpy(np.stack([readings(part["film"]) for part in parts]))
        return {"readings": felt, "named": torch.full((len(parts), 1), -1)}

    def features_of(self, batch: Batch) -> Tensor:
        return scaled(batch["readings"].float() / UNITS)

    def cover(self, batch: Batch, features: int) -> Tensor:
        return torch.zeros(len(batch["named"]), 1, features, device=batch["named"].device)

    def made(self, parts: list[Part]) -> Batch:
        raise AssertionError("motion is only read")

    def media_of(self, batch: Batch) -> Tensor:
        raise AssertionError("motion is only read")


SENSES: dict[str, type[Sense]] = {
    "image": Sight,
    "audio": Hearing,
    "video": Watching,
    "depth": Ranging,
    "thermal": Warming,
    "imu": Riding,
}


def pool_cover(cover: Tensor, projector: Any) -> Tensor:
    """A cover of features [n, k, features] as one of the projector's tokens [n, k, tokens]."""
    run = getattr(projector.config, "run", 1)
    if run > 1:
        return cover.unflatten(-1, (-1, run)).mean(-1)
    fine = math.isqrt(cover.shape[-1])
    merge = fine // math.isqrt(projector.tokens)
    return F.avg_pool2d(cover.unflatten(-1, (fine, fine)), merge).flatten(2)
