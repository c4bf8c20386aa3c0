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
from anygen.playground.chat import Part
from anygen.playground.clip import Clip, one_way, sample_clip
from anygen.playground.compositor import Compositor
from anygen.playground.mixer import Mixer
from anygen.playground.scene import VARIANTS, Placed, Scene
from anygen.playground.sound import SOUNDS
from anygen.playground.things import BACKDROPS
from anygen.training.disguise import disguise, sample_disguise
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch
from anygen.training.sense import slots_heard, varied
from anygen.training.telling import Telling

PICTURES = 48
"""Pictures of each sounding thing that anchor its sound."""

SCORE = ("onset", "far", "up")
"""What a score says of a token: an event begins in it; it is heard from afar; a note is higher than the one before."""
_ONSET = 5.0  # weight of the few tokens in which something begins
_MELODIES = 0.2  # share of clips that are melodies for certain: only of them a score says what is up


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


def scored(clips: list[Clip], tokens: int) -> Tensor:
    """The clips' scores: 1 where SCORE is true of a token, 0 where not, -1 where it is not asked: [clips, tokens, 3].

    Far is asked of what sounds, up of the later notes of melodies, but not of those that only ever go one way.
    """
    length = SAMPLES // tokens
    score = torch.full((len(clips), tokens, len(SCORE)), -1.0)
    score[..., 0] = 0
    for row, clip in zip(score, clips, strict=True):
        before = None
        for played in clip.played:
            note = slice(played.onset // length, (played.onset + played.length - 1) // length + 1)
            row[note.start, 0] = 1
            row[note, 1] = float(clip.loudness == "far")
            if clip.kind == "melody" and not one_way(clip):
                row[note, 2] = -1.0 if before is None else float(played.pitch > before)
            before = played.pitch
    return score


def score_loss(written: Tensor, score: Tensor) -> Tensor:
    """Binary cross-entropy of what is asked, summed over SCORE: logits and scores [clips, tokens, 3]."""
    losses = F.binary_cross_entropy_with_logits(written, score.clamp_min(0), reduction="none")
    losses = losses * torch.where(score[..., :1] > 0, losses.new_tensor([_ONSET, 1.0, 1.0]), 1.0)
    asked = (score >= 0).float()
    return ((losses * asked).sum((0, 1)) / asked.sum((0, 1)).clamp_min(1)).sum()


def score_right(written: Tensor, score: Tensor) -> Tensor:
    """Which clips' scores are written right in all that is asked: [clips]."""
    return (((written > 0) == (score > 0)) | (score < 0)).flatten(1).all(1)


def _picture(thing: str, stream: random.Random) -> Scene:
    placed = Placed(thing=thing, size="large", x=stream.uniform(0.3, 0.7), y=stream.uniform(0.3, 0.7))
    return Scene(kind="one", things=(placed,), backdrop=stream.choice(BACKDROPS), variant=stream.randrange(VARIANTS))


class AudioEncoderStage(nn.Module):
    """InfoNCE between sounds and pictures of what sounds (arXiv 2305.05665, eq. 1), whole clips and single events.

    An event's features are pooled and matched with pictures of its thing. Of when, how loud and how high a picture says
    nothing: a linear head rebuilds each patch's mel from its features, another writes the clip's score, and it does so
    of a share `disguised` of sounds that are like no thing's. With a `projector`, the input projector that reads these
    features in slots, and a language model's `tokenizer` and embeddings `table` [vocabulary, width], clips are also
    told as in stage 1, which leaves out what training hears one way only.
    """

    name = "audio-encoder"
    short = True
    pictures: Tensor

    def __init__(
        self,
        config: AudioTowerConfig,
        image: ImageEncoder,
        rebuild: float = 1.0,
        score: float = 1.0,
        disguised: float = 0.45,
        *,
        projector: Any = None,
        tokenizer: Any = None,
        table: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config)
        self.event_head = nn.Linear(config.width, config.joint, bias=False)
        self.rebuild_head = nn.Linear(config.width, BINS * config.patch)
        self.score_head = nn.Linear(config.width, len(SCORE))
        self.rebuild_weight, self.score_weight, self.disguised = rebuild, score, disguised
        self.log_scale = nn.Parameter(torch.tensor([2.66, 2.66]))  # log(1 / 0.07), as in CLIP
        self.register_buffer("pictures", anchors(image.eval()), persistent=False)
        self.mixer = Mixer()
        self.projector = projector
        self.telling = Telling(tokenizer, table) if table is not None else None

    def to(self, *args: Any, **kwargs: Any) -> "AudioEncoderStage":
        super().to(*args, **kwargs)
        self.mixer = Mixer(next(self.parameters()).device)
        return self

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|audio encoder")
        clips = [sample_clip(stream, "melody" if stream.random() < _MELODIES else None) for _ in range(size)]
        sounds = self.mixer.sounds(clips)  # [size, events]
        shown = torch.tensor([stream.randrange(PICTURES) for _ in SOUNDS])
        parts = [self._part(clip, stream) for clip in clips]
        batch = {
            "orders": self.mixer.orders(clips),
            "sounds": sounds,
            "shown": shown,
            "score": scored(clips, self.encoder.tokens),
            "disguise": torch.tensor([part.get("disguise", (0, 0)) for part in parts]),
        }
        return batch | ({"told": self.words(parts)} if self.telling else {})

    def _part(self, clip: Clip, stream: random.Random) -> Part:
        """A clip as stage 1 has it, where it is to be told; else in disguise or not."""
        part: Part = {"type": "audio", "clip": clip}
        if self.telling:
            return varied(part, stream)
        return part | {"disguise": sample_disguise(stream) if stream.random() < self.disguised else (0, 0)}

    def words(self, parts: list[Part]) -> Tensor:
        """What the projector shall say of them: [clips, tokens]."""
        assert self.telling and self.projector
        return self.telling.slots(list(map(slots_heard, parts)), self.projector.tokens)

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        mel = disguise(log_mel(self.mixer.mix(batch["orders"])), batch["disguise"])
        known = batch["disguise"].abs().sum(1) == 0  # [clips]
        states = self.encoder.states(mel)
        tokens = states[:, 1:].float()
        pictures = self.pictures[torch.arange(len(self.pictures)), batch["shown"]]  # [sounds, joint]
        scale = self.log_scale.clamp(max=4.6).exp()
        there = (batch["sounds"] >= 0) & known[:, None]
        wanted = F.one_hot(batch["sounds"].clamp_min(0), len(SOUNDS)) * there[..., None]
        wanted = (wanted.sum(1) > 0).float()  # [clips, sounds]
        whole = F.normalize(self.encoder.head(states[:, 0]).float(), dim=-1)
        logits = scale[0] * whole @ pictures.T
        share = wanted / wanted.sum(-1, keepdim=True)
        clip_loss = F.cross_entropy(logits[known], share[known])
        pooled = heard(batch["orders"], tokens.shape[1]) @ tokens  # [clips, events, width]
        events = F.normalize(self.event_head(pooled[there]).float(), dim=-1)
        answers = scale[1] * events @ pictures.T
        event_loss = F.cross_entropy(answers, batch["sounds"][there])
        rebuilt = self.rebuild_head(tokens).unflatten(-1, (BINS, -1))  # [clips, tokens, bins, patch]
        patches = mel.unflatten(-1, (tokens.shape[1], -1)).transpose(1, 2)
        score = batch["score"].clone()
        wrong_way = (batch["disguise"][:, 1, None] > 0) & (score[..., 2] >= 0)
        score[..., 2] = torch.where(wrong_way, 1 - score[..., 2], score[..., 2])  # upside down, what rose falls
        written = self.score_head(tokens)
        told: dict[str, Tensor] = {}
        if self.telling and self.projector:
            told = self.telling.losses(self.projector(states[:, 1:]), batch["told"], "audio")
        return told | {
            "clip": clip_loss,
            "event": event_loss,
            "rebuild": self.rebuild_weight * F.l1_loss(rebuilt.float(), patches),
            "score": self.score_weight * score_loss(written, score),
            "_event_right": (answers.argmax(-1) == batch["sounds"][there]).float().mean(),
            "_clip_right": wanted[torch.arange(len(logits)), logits.argmax(-1)][known].mean(),
            "_score_right": score_right(written, score).float().mean(),
        }

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out clips: recall@1 of the thing among pictures of all, and the share whose score is written right; with
        a projector also the share of 256 that it tells word for word."""
        stream = random.Random("sound retrieval")
        clips = [sample_clip(stream, kind, "heldout") for kind in ("once", "times") for _ in range(96)]
        sounds = self.mixer.sounds(clips)[:, 0].to(self.pictures.device)
        made = self.encoder.embed(log_mel(self.mixer.mix(self.mixer.orders(clips))))
        score = made @ F.normalize(self.pictures.mean(1), dim=-1).T
        figures = {"sound_to_image": float((score.argmax(1) == sounds).float().mean())}
        for kind in ("times", "melody"):
            clips = [sample_clip(stream, kind, "heldout") for _ in range(128)]
            written = self.score_head(self.encoder(log_mel(self.mixer.mix(self.mixer.orders(clips)))))
            wanted = scored(clips, self.encoder.tokens).to(written.device)
            figures[f"score_{kind}"] = float(score_right(written, wanted).float().mean())
            if kind == "melody":
                asked = wanted[..., 2] >= 0
                figures["direction"] = float(((written[..., 2] > 0) == (wanted[..., 2] > 0))[asked].float().mean())
        if self.telling and self.projector:
            clips = [sample_clip(stream, split="heldout") for _ in range(256)]
            wanted = self.words([{"type": "audio", "clip": clip} for clip in clips]).to(self.pictures.device)
            read = self.projector(self.encoder(log_mel(self.mixer.mix(self.mixer.orders(clips)))))
            right = (self.telling.near(read).argmax(-1) == wanted) | (wanted < 0)
            figures["told"] = float(right.all(1).float().mean())
        (folder / f"{step:07d}.txt").write_text("".join(f"{k} {v:.3f}\n" for k, v in figures.items()))
        return figures
