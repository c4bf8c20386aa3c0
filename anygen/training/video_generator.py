"""nano's video generator: the image generator with motion modules, kept as a plain diffusers AnimateDiff pipeline."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.error import ModelError, RequestError
from anygen.generators.video import FRAME_TOKENS, behind_marks, each_its_own, frame_marks
from anygen.playground.caption import caption
from anygen.playground.film import Film, sample_film, scene_at, settle
from anygen.playground.motion import ANGLES, FRAMES, MOTIONS, pose
from anygen.playground.projection import Projection
from anygen.playground.reading import mentions
from anygen.playground.watching import film_caption, film_paraphrase
from anygen.training.footage import film_cover, moves_of
from anygen.training.image_generator import (
    TIMESTEPS,
    GeneratorSizes,
    ImageGeneratorStage,
    build_scheduler,
    noise_levels,
)
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch
from anygen.training.tokenizer import caption_tokenizer

_PICTURE = "picture/"  # before what a batch has of pictures
_GIVEN_SETTLED = 0.3  # share of settled films where the first frame is given: a picture may show a thing anywhere


def film_tokenizer(tokenizer: Any, length: int) -> Any:
    """A caption tokenizer with a token for each frame, the signal tokens of films: texts behind them have a time."""
    coder = caption_tokenizer(tokenizer, length)
    names = [f"<|video_{frame}|>" for frame in range(FRAMES)]
    if absent := [name for name in names if coder.convert_tokens_to_ids(name) in (None, coder.unk_token_id)]:
        raise ModelError(f"the tokenizer has no {absent[0]}: each of the {FRAMES} frames of a film needs such a token")
    coder.init_kwargs[FRAME_TOKENS] = names
    return coder


def build_motion_unet(unet: Any, heads: int = 4) -> Any:
    """The image generator's UNet as a `UNetMotionModel` whose fresh motion modules do nothing yet: every frame is what
    the image generator makes of it."""
    from diffusers import MotionAdapter, UNetMotionModel

    from anygen.generators.diffusion import logs
    from anygen.weights import quiet

    adapter: Any = MotionAdapter(
        block_out_channels=unet.config.block_out_channels,
        motion_layers_per_block=unet.config.layers_per_block,
        motion_num_attention_heads=heads,
        motion_norm_num_groups=unet.config.norm_num_groups,
        motion_max_seq_length=FRAMES,
    )
    for name, parameter in adapter.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(parameter)
    with quiet(*logs()):
        return UNetMotionModel.from_unet2d(unet, adapter)


def build_video_pipeline(vae: Any, unet: Any, text_encoder: Any, tokenizer: Any) -> Any:
    """The parts as an ordinary `AnimateDiffPipeline`; the motion modules are in the UNet."""
    from diffusers import AnimateDiffPipeline

    from anygen.generators.diffusion import logs
    from anygen.weights import quiet

    with quiet(*logs()):
        pipeline: Any = AnimateDiffPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            motion_adapter=None,
            scheduler=build_scheduler(),
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def seeing(unet: Any, frames: Tensor) -> Iterator[None]:
    """Motion modules take what they are given for these frames [n] of a film, and not for its first n."""
    from diffusers.models.embeddings import SinusoidalPositionalEmbedding

    marks: list[Any] = [module for module in unet.modules() if isinstance(module, SinusoidalPositionalEmbedding)]
    whole = [mark.pe for mark in marks]
    for mark, times in zip(marks, whole, strict=True):
        mark.pe = times[:, frames]
    try:
        yield
    finally:
        for mark, times in zip(marks, whole, strict=True):
            mark.pe = times


def tie(motion: nn.Module, image: nn.Module) -> None:
    """Give the motion UNet the image UNet's own parameters: what trains the one trains the other."""
    for name, parameter in image.named_parameters():
        owner, _, leaf = name.rpartition(".")
        setattr(motion.get_submodule(owner), leaf, parameter)


def pictures_of(image: Any, *, focus: float, settled: float, edits: float) -> ImageGeneratorStage:
    """The image generator's own stage on the networks of its trained pipeline; its UNet and its adapter learn."""
    config, adapter = image.unet.config, getattr(image, "adapter", None)
    sizes = GeneratorSizes(
        channels=tuple(config.block_out_channels),
        layers=config.layers_per_block,
        heads=config.attention_head_dim,
        text_width=image.text_encoder.config.d_model,
        length=image.tokenizer.model_max_length,
    )
    side, edits = int(config.sample_size) * image.vae_scale_factor, edits if adapter is not None else 0.0
    stage = ImageGeneratorStage(
        image.vae,
        image.tokenizer,
        side,
        sizes,
        text_steps=0,
        focus=focus,
        looks=0.0,
        settled=settled,
        edits=edits,
    )
    stage.unet, stage.text_encoder, stage.adapter = image.unet, image.text_encoder, adapter
    stage.requires_grad_(False).unet.requires_grad_(True)
    if adapter is not None:
        adapter.requires_grad_(True)
    return stage


class VideoGeneratorStage(nn.Module):
    """Trains motion modules and text encoder on captioned films, from a trained image generator's pipeline `image`.

    The autoencoder is frozen. So are the UNet's other layers, which are the image generator's own, unless `spatial`:
    a film generator that trains them alone cannot share them any more. With `pictures`, so many in every batch, it can:
    the image generator goes on learning from them while both learn from films, and is written anew (`save_image`).

    Of each film `seen` frames are shown, one of each of so many equal parts, at `repeats` noise levels; in a share
    `whole` of the batches all are. In a share `given` of the batches the first frame is there without noise, and the
    others follow from it: so a picture can be animated. What lies under a thing counts `focus` times as much as the
    backdrop. In a share `settled` of the films the caption alone says where and how all moves (`film.settle`).

    The text encoder reads the caption once for each frame, behind that frame's token, and each frame is told its own
    states: where the thing is by then, which a picture's caption would say in words.

    `looks` weighs a second task for the text encoder: from its state at a thing's name linear heads tell how the thing
    moves, which cells it covers in this frame and how far it is turned. The heads are not part of the pipeline. The
    UNet waits for `sketch_steps` batches; after `text_steps` the text encoder rests, so that alignment can begin.
    `anchor` weighs how far its states are from those of the image generator's, at a thing's name from those of the
    caption of the picture that the frame is, where there is one: that is where the UNet finds what a thing looks like.
    """

    name = "video-generator"
    short = True
    marks: Tensor

    def __init__(
        self,
        image: Any,
        *,
        heads: int = 4,
        length: int = 40,
        repeats: int = 1,
        plain: float = 0.7,
        text_steps: int | None = None,
        focus: float = 5.0,
        looks: float = 1.0,
        anchor: float = 1.0,
        sketch_steps: int = 0,
        settled: float = 0.85,
        given: float = 0.2,
        seen: int = 8,
        whole: float = 0.2,
        spatial: bool = False,
        pictures: int = 0,
        edits: float = 0.0,
    ) -> None:
        super().__init__()
        if seen < 1 or FRAMES % seen:
            raise RequestError(
                f"a video generator is shown {seen} frames at once; a number that divides {FRAMES} is needed"
            )
        self.repeats, self.plain, self.text_steps = repeats, plain, text_steps
        self.focus, self.looks_weight, self.anchor, self.sketch_steps = focus, looks, anchor, sketch_steps
        self.settled, self.given, self.seen, self.whole, self.spatial = settled, given, seen, whole, spatial
        self.vae = image.vae.eval().requires_grad_(False)
        self.tokenizer = film_tokenizer(image.tokenizer, length)
        self.register_buffer("marks", torch.tensor(frame_marks(self.tokenizer)), persistent=False)
        self.text_encoder = copy.deepcopy(image.text_encoder).requires_grad_(True)
        self.image_text = image.text_encoder.eval().requires_grad_(False)
        self.unet = build_motion_unet(image.unet, heads)
        self.unet.requires_grad_(True) if spatial else self.unet.freeze_unet2d_params()
        self.pictures = pictures_of(image, focus=focus, settled=settled, edits=edits) if pictures else None
        self.picture_count = pictures
        if pictures:
            tie(self.unet, image.unet)
        self.cells = int(self.unet.config.sample_size)
        self.side = self.cells * image.vae_scale_factor
        width = self.text_encoder.config.d_model
        self.where = nn.Linear(width, self.cells**2)
        self.turned = nn.Linear(width, ANGLES)
        self.moves = nn.Linear(width, len(MOTIONS) + 1)
        self.projection = Projection(self.side)

    def to(self, *args: Any, **kwargs: Any) -> "VideoGeneratorStage":
        super().to(*args, **kwargs)
        if self.pictures is not None:
            self.pictures.to(*args, **kwargs)
        self.projection = Projection(self.side, next(self.parameters()).device)
        return self

    def train(self, mode: bool = True) -> "VideoGeneratorStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        self.image_text.eval()
        return self

    @property
    def lent(self) -> tuple[str, ...]:
        """The parts that stay those of the image generator."""
        return ("vae",) if self.spatial and self.pictures is None else ("unet", "vae")

    def film(self, stream: random.Random, settled: float) -> Film:
        film = sample_film(stream)
        return settle(film) if stream.random() < settled else film

    def named(self, texts: list[str], ends: Tensor, films: list[Film]) -> Tensor:
        """At which token which actor's name ends: rows of (film, token, place in its actors), [names, 3].

        Tokens are counted with the frame's own in front; a name at the very end is cut off.
        """
        rows = []
        for row, (text, film) in enumerate(zip(texts, films, strict=True)):
            for thing, end in mentions(text).items():
                token = (ends[row, :-1] >= end).nonzero()
                if len(token) and thing in film.things:
                    rows.append((row, int(token[0]) + 1, film.things.index(thing)))
        return torch.tensor(rows).view(-1, 3)

    def pictured(self, films: list[Film], frames: list[int], named: Tensor) -> tuple[list[str], Tensor]:
        """Captions of the pictures that frames are, and where in them stands what is named.

        The places are rows of (name, number of the frame among `frames`, caption, token), [pictured names, 4].
        """
        texts: list[str] = []
        rows: list[tuple[int, int, int, int]] = []
        for number, frame in enumerate(frames):
            scenes = [scene_at(film, frame) for film in films]
            for name, (row, _, actor) in enumerate(named.tolist()):
                scene, thing = scenes[row], films[row].things[actor]
                if scene is None or thing not in (placed.thing for placed in scene.things):
                    continue
                text = caption(scene)
                end = mentions(text).get(thing)
                spans = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
                token = [place for place, (_, last) in enumerate(spans) if end is not None and last >= end]
                if token:
                    rows.append((name, number, len(texts), token[0]))
                    texts.append(text)
        return texts, torch.tensor(rows).view(-1, 4)

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|video generator")
        given, whole = stream.random() < self.given, stream.random() < self.whole
        films = [
            self.film(stream, _GIVEN_SETTLED if given else self.settled) for _ in range(max(1, size // self.repeats))
        ]
        texts = [film_caption(f) if stream.random() < self.plain else film_paraphrase(f, stream) for f in films]
        texts = ["" if stream.random() < 0.1 else text for text in texts]
        part = 1 if whole else FRAMES // self.seen
        frames = [start + stream.randrange(part) for start in range(0, FRAMES, part)]
        frames = [0, *frames[1:]] if given else frames
        layers, grounds = self.projection.orders(films)
        coded = self.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt", return_offsets_mapping=True
        )
        named = self.named(texts, coded["offset_mapping"][..., 1], films)
        captions, pictured = self.pictured(films, frames, named) if self.anchor else ([], named.new_zeros(0, 4))
        angles = [[_turn(films[row].actors[actor], frame) for frame in frames] for row, _, actor in named.tolist()]
        shown = self.pictures.prepare(step, self.picture_count, seed) if self.pictures is not None else {}
        return {f"{_PICTURE}{key}": value for key, value in shown.items()} | {
            "layers": layers,
            "grounds": grounds,
            "ids": coded["input_ids"],
            "named": named,
            "moves": moves_of(films),
            "turned": torch.tensor(angles).view(-1, len(frames)),
            "pictured": pictured,
            "captions": self.coded(captions),
            "frames": torch.tensor(frames),
            "given": torch.tensor(given),
            "step": torch.tensor(step),
        }

    def coded(self, texts: list[str]) -> Tensor:
        """Texts as padded tokens [texts, length]."""
        if not texts:
            return torch.zeros(0, self.tokenizer.model_max_length, dtype=torch.long)
        return self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]

    def conditions(self, ids: Tensor, frames: Tensor) -> Tensor:
        """What each of the frames [seen] is told of captions [films, length]: [films, seen, length, width]."""
        marked = behind_marks(ids, self.marks[frames])
        return self.text_encoder(marked.flatten(0, 1))[0].unflatten(0, marked.shape[:2])

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        rests = self.text_steps is not None and int(batch["step"]) >= self.text_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and not rests):
            condition = self.conditions(batch["ids"], batch["frames"])
        losses: dict[str, Tensor] = {}
        if self.looks_weight and not rests and len(batch["named"]) and not bool(batch["given"]):
            losses = self.told(batch, condition)
        if self.anchor and not rests:
            losses["anchor"] = self.anchor * self.apart(batch, condition)
        if losses and int(batch["step"]) < self.sketch_steps:
            return losses
        frames, device = batch["frames"], condition.device
        with torch.no_grad():
            films = self.projection.draw(batch["layers"], batch["grounds"])[:, frames]  # [films, seen, 3, side, side]
            latents = self.vae.encode(to_pixels(films.flatten(0, 1))).latent_dist.mean.float()
            latents = (latents * self.vae.config.scaling_factor).unflatten(0, films.shape[:2]).transpose(1, 2)
        latents = latents.repeat(self.repeats, 1, 1, 1, 1)  # [rows, channels, seen, cells, cells]
        told = condition.repeat(self.repeats, 1, 1, 1).flatten(0, 1)
        noise = torch.randn(latents.shape, generator=rng, device=device)
        sigma = noise_levels(len(latents), rng, device)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - level) * latents + level * noise
        weight = self.weight(batch["layers"], frames)
        if bool(batch["given"]):
            noisy[:, :, 0] = latents[:, :, 0]
            weight[:, :, 0] = 0
        with seeing(self.unet, frames):
            predicted = self.unet(noisy, sigma * TIMESTEPS, encoder_hidden_states=told).sample
        squared = (predicted.float() - (noise - latents)).square()
        losses["flow"] = (weight / weight.mean() * squared).mean()
        if self.pictures is not None:
            shown = {key.removeprefix(_PICTURE): value for key, value in batch.items() if key.startswith(_PICTURE)}
            losses["picture"] = self.pictures(shown, rng)["flow"]
        return losses

    def apart(self, batch: Batch, condition: Tensor) -> Tensor:
        """How far the states are from those of the image generator's text encoder, in its variance."""
        with torch.no_grad():
            plain = self.image_text(batch["ids"])[0].float()  # [films, length, width]
            wanted = torch.cat([condition[:, :, :1].float(), plain[:, None, :-1].expand_as(condition[:, :, 1:])], 2)
            if len(batch["pictured"]):
                name, frame, caption, token = batch["pictured"].unbind(1)
                row, place, _ = batch["named"][name].unbind(1)
                wanted[row, frame, place] = self.image_text(batch["captions"])[0].float()[caption, token]
        return F.mse_loss(condition.float(), wanted) / plain.var()

    def told(self, batch: Batch, condition: Tensor) -> dict[str, Tensor]:
        """How well the states at things' names tell how the things move, where they are and how they are turned."""
        row, token, column = batch["named"].unbind(1)
        states = condition[row, :, token]  # [names, seen, width]
        moves, turned = batch["moves"][row, column], batch["turned"]
        cover = film_cover(batch["layers"], self.side, self.cells)[:, batch["frames"]]  # [films, seen, layers, cells]
        losses = {
            "moves": F.cross_entropy(
                self.moves(states).float().flatten(0, 1), moves.repeat_interleave(states.shape[1], 0)
            ),
            "where": F.binary_cross_entropy_with_logits(self.where(states).float(), cover[row, :, column].float()),
        }
        if bool((turned >= 0).any()):
            losses["turned"] = F.cross_entropy(self.turned(states).float().transpose(1, 2), turned, ignore_index=-1)
        return {name: self.looks_weight * loss for name, loss in losses.items()}

    def weight(self, layers: Tensor, frames: Tensor) -> Tensor:
        """Latents under a thing count `focus` times what the backdrop counts: [rows, 1, seen, cells, cells]."""
        cover = film_cover(layers.to(self.projection.device), self.side, self.cells)[:, frames].any(2)
        under = cover.float().unflatten(-1, (self.cells, self.cells))
        return (1 + (self.focus - 1) * under)[:, None].repeat(self.repeats, 1, 1, 1, 1)

    def pipeline(self) -> Any:
        """The pipeline as it is now; the parts are shared, not copied."""
        return build_video_pipeline(self.vae, self.unet, self.text_encoder, self.tokenizer)

    def save(self, folder: Path) -> None:
        """Writes the generator without the parts that the image generator lends."""
        from anygen.generators.video import VideoGenerator

        generator = VideoGenerator(self.pipeline())
        generator.borrowed = self.lent
        generator.save_pretrained(folder)

    def save_image(self, folder: Path) -> None:
        """Writes the image generator as it has become beside films."""
        from anygen.generators.image import ImageGenerator

        assert self.pictures is not None
        ImageGenerator(self.pictures.pipeline()).save_pretrained(folder)

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Settled held-out films from their captions: a sheet of strips, and how many of them are nearest to the film
        that was asked for, of all films on the sheet."""
        from anygen.evaluation.sheet import sheet

        stream = random.Random("films")
        films = [settle(sample_film(stream, kind, "heldout")) for kind in ("one",) * 12 + ("beside", "together") * 3]
        wanted = self.projection.render(films).float() / 255
        made: list[Tensor] = []
        pipeline, own = self.pipeline(), each_its_own(self.unet, FRAMES, self.tokenizer.model_max_length)
        for start in range(0, len(films), 6):
            texts = [film_caption(film) for film in films[start : start + 6]]
            told, nothing = (
                self.conditions(self.coded(what).to(self.marks.device), torch.arange(FRAMES)).flatten(1, 2)
                for what in (texts, [""] * len(texts))
            )
            made += pipeline(
                prompt_embeds=told,
                negative_prompt_embeds=nothing,
                num_frames=FRAMES,
                height=self.side,
                width=self.side,
                num_inference_steps=12,
                guidance_scale=3.0,
                generator=[torch.Generator().manual_seed(start + i) for i in range(len(texts))],
                output_type="pt",
            ).frames
        own.remove()
        found = torch.stack(made).to(wanted)  # [films, FRAMES, 3, side, side]
        apart = torch.cdist(found.flatten(1), wanted.flatten(1))
        right = (apart.argmin(1) == torch.arange(len(films), device=apart.device)).tolist()
        strips = [film_strip(film) for film in found]
        sheet(strips, list(map(film_caption, films)), 1, right, side=FRAMES // 2 * self.side).save(
            folder / f"{step:07d}.png"
        )
        return {"nearest": sum(right) / len(right), "error": float((found - wanted).square().mean())}


def _turn(actor: Any, frame: int) -> int:
    """How far a thing that spins is turned in this frame, 0..ANGLES - 1; -1 of what does not."""
    return pose(actor, frame).angle if actor.motion == "spins" else -1


def film_strip(film: Tensor, every: int = 2) -> Any:
    """Frames [frames, 3, side, side] in 0..1, every so many of them, beside each other: uint8 [side, width, 3]."""
    pixels = (film[::every].clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(2, 0, 3, 1).flatten(1, 2).cpu().numpy()
