"""The audio encoder, trained ImageBind style: pictures are the anchor, no sound is ever paired with text."""

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.audio import AudioEncoder, AudioTowerConfig
from anygen.encoders.image import ImageEncoder
from anygen.mel import BINS, SAMPLES, log_mel
from anygen.playground.clip import sample_clip
from anygen.playground.compositor import Compositor
from anygen.playground.mixer import Mixer
from anygen.playground.scene import VARIANTS, Placed, Scene
from anygen.playground.sound import SOUNDS
from anygen.playground.things import BACKDROPS
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch

PICTURES = 48
"""Pictures of each sounding thing that anchor its sound."""


def anchors(image: ImageEncoder, count: int = PICTURES, seed: int = 0) -> Tensor:
    """Embeddings of pictures of every sounding thing by the frozen encoder: unit vectors [sounds, count, joint]."""
    device = next(image.parameters()).device
    compositor = Compositor(image.config.side, device)
    stream = random.Random(f"{seed}|anchors")
    rows = []
    for sound in SOUNDS:
        scenes = [_picture(sound.thing, stream) for _ in range(count)]
        with torch.no_grad():
            rows.append(image.embed(to_pixels(compositor.render(scenes))).float())
    return torch.stack(rows)


def heard(orders: Tensor, tokens: int) -> Tensor:
    """Which tokens hear which event of the mixer's orders: [clips, events, tokens], an event's weights sum to 1."""
    _, length, onset, _ = (part[..., None] for part in orders.unbind(-1))
    centre = (torch.arange(tokens, device=orders.device) + 0.5) * (SAMPLES / tokens)
    inside = ((centre >= onset) & (centre < onset + length)).float()
    return inside / inside.sum(-1, keepdim=True).clamp_min(1)


def _picture(thing: str, stream: random.Random) -> Scene:
    placed = Placed(thing=thing, size="large", x=stream.uniform(0.3, 0.7), y=stream.uniform(0.3, 0.7))
    return Scene(kind="one", things=(placed,), backdrop=stream.choice(BACKDROPS), variant=stream.randrange(VARIANTS))


class AudioEncoderStage(nn.Module):
    """InfoNCE between sounds and pictures of what sounds (arXiv 2305.05665, eq. 1), whole clips and single events.

    An event's features are pooled and matched with pictures of its thing; a linear head rebuilds each patch's mel from
    its features, so that they keep when, how loud and how high, of which a picture says nothing.
    """

    name = "audio-encoder"
    pictures: Tensor

    def __init__(self, config: AudioTowerConfig, image: ImageEncoder, rebuild: float = 1.0) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.event_head = nn.Linear(config.width, config.joint, bias=False)
        self.rebuild_head = nn.Linear(config.width, BINS * config.patch)
        self.rebuild_weight = rebuild
        self.log_scale = nn.Parameter(torch.tensor([2.66, 2.66]))  # log(1 / 0.07), as in CLIP
        self.register_buffer("pictures", anchors(image.eval()), persistent=False)
        self.mixer = Mixer()

    def to(self, *args: Any, **kwargs: Any) -> "AudioEncoderStage":
        super().to(*args, **kwargs)
        self.mixer = Mixer(next(self.parameters()).device)
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|audio encoder")
        clips = [sample_clip(stream) for _ in range(size)]
        sounds = self.mixer.sounds(clips)  # [size, events]
        shown = torch.tensor([stream.randrange(PICTURES) for _ in SOUNDS])
        return {"orders": self.mixer.orders(clips), "sounds": sounds, "shown": shown}

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        mel = log_mel(self.mixer.mix(batch["orders"]))
        states = self.encoder.states(mel)
        tokens = states[:, 1:].float()
        pictures = self.pictures[torch.arange(len(self.pictures)), batch["shown"]]  # [sounds, joint]
        scale = self.log_scale.clamp(max=4.6).exp()
        there = batch["sounds"] >= 0
        wanted = F.one_hot(batch["sounds"].clamp_min(0), len(SOUNDS)) * there[..., None]
        wanted = (wanted.sum(1) > 0).float()  # [clips, sounds]
        whole = F.normalize(self.encoder.head(states[:, 0]).float(), dim=-1)
        logits = scale[0] * whole @ pictures.T
        share = wanted / wanted.sum(-1, keepdim=True)
        clip_loss = F.cross_entropy(logits, share)
        pooled = heard(batch["orders"], tokens.shape[1]) @ tokens  # [clips, events, width]
        events = F.normalize(self.event_head(pooled[there]).float(), dim=-1)
        answers = scale[1] * events @ pictures.T
        event_loss = F.cross_entropy(answers, batch["sounds"][there])
        rebuilt = self.rebuild_head(tokens).unflatten(-1, (BINS, -1))  # [clips, tokens, bins, patch]
        patches = mel.unflatten(-1, (tokens.shape[1], -1)).transpose(1, 2)
        return {
            "clip": clip_loss,
            "event": event_loss,
            "rebuild": self.rebuild_weight * F.l1_loss(rebuilt.float(), patches),
            "_event_right": (answers.argmax(-1) == batch["sounds"][there]).float().mean(),
            "_clip_right": wanted[torch.arange(len(logits)), logits.argmax(-1)].mean(),
        }

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out clips of one sound among pictures of all: recall@1 of the thing."""
        stream = random.Random("sound retrieval")
        clips = [sample_clip(stream, kind, "heldout") for kind in ("once", "times") for _ in range(96)]
        sounds = self.mixer.sounds(clips)[:, 0].to(self.pictures.device)
        made = self.encoder.embed(log_mel(self.mixer.mix(self.mixer.orders(clips))))
        score = made @ F.normalize(self.pictures.mean(1), dim=-1).T
        figure = float((score.argmax(1) == sounds).float().mean())
        (folder / f"{step:07d}.txt").write_text(f"sound_to_image {figure:.3f}\n")
        return {"sound_to_image": figure}
