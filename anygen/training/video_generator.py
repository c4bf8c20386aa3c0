"""nano's video generator: the image generator with motion modules, kept as a plain diffusers AnimateDiff pipeline."""

import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anygen.error import RequestError
from anygen.generators.video import FilmOptions, VideoGenerator, shared
from anygen.playground.film import Film, beside, sample_film, settle
from anygen.playground.film_dialogue import sample_animated
from anygen.playground.motion import FRAMES, pose
from anygen.playground.projection import Projection
from anygen.playground.squares import SIDE
from anygen.playground.storyboard import (
    UNLIKE,
    frame_caption,
    keys_of,
    seen_in,
    squared,
    squared_caption,
    storyboard,
    turn_of,
)
from anygen.playground.watching import film_caption
from anygen.training.footage import film_cover, things_of
from anygen.training.image_generator import flow_loss, noise_levels, pictures_of
from anygen.training.image_pipeline import TIMESTEPS, build_scheduler
from anygen.training.image_vae import to_pixels
from anygen.training.loop import Batch

FILM = FilmOptions(storyboards=True, shared_noise=0.5)
"""Each frame is told its own, and the noise of a film's frames is half the same, PYoCo's mixed noise."""

SQUARED = dataclasses.replace(FILM, squares=True)
"""The same, and each frame is told on which square a thing stands, how large it is and how it is turned."""

_PICTURE, _TOLD, _SKETCH = "picture/", "told/", "sketch/"  # before what a batch has of pictures, storyboards, captions
_STILL = "still/"  # before what it has of films' frames that are pictures of their own
_ASIDE = 0.6  # share of the films that begin with a picture that go on a square beside it, or on its own
_LIKE = 0.02  # share of the frames that pictures could be, of those that are pictures of their own
_SKETCHED = 12  # captions in the place of a film, while the text encoder learns alone


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


class VideoGeneratorStage(nn.Module):
    """Trains motion modules on films that are told frame by frame, from a trained image generator's pipeline `image`.

    A film's storyboard says of some frames what a picture's caption would, and frames between them are told what is
    between: the text encoder is the image generator's own, and as long as the motion modules do nothing, each frame is
    the picture of its caption. What is left to learn is what captions do not say: how things look on their way and when
    they turn, and that it is one film.

    Autoencoder and text encoder are frozen. So are the UNet's other layers, which are the image generator's own, unless
    `spatial`: a film generator that trains them alone cannot share them any more. With `pictures`, so many in every
    batch, it can: the image generator goes on learning from them while both learn from films, and is written anew
    (`save_image`).

    Of each film `seen` frames are shown, one of each of so many equal parts, at `repeats` noise levels; in a share
    `whole` of the batches all are. In a share `given` of the batches the first frame is there without noise, and the
    others follow from it: so a picture can be animated, wherever it shows its thing. What lies under a thing counts
    `focus` times as much as the backdrop. In a share `settled` of the other films the
    caption alone says where and how all moves (`film.settle`). With the film UNet `begin`, its motion modules learn on.

    With `aligned`, things go in steps of the autoencoder's grid, are as large as whole cells and turn by quarters
    (`Projection`'s `cell`), as pictures' things stand on it: on its way a thing has the looks that pictures taught, not
    one for each offset of pixels. A first frame that is given stays as it is.

    Pictures' captions say of no two things where each of them is; storyboards do. For `sketch_steps` batches the text
    encoder that both generators share learns that alone, from key frames: its states at the names are to tell what the
    things look like, turned as they are, and where they are, as those of pictures do (`ImageGeneratorStage`), while it
    is held near to what it says of pictures. Then it rests. A share `placed` of the pictures' captions say squares,
    which it learns as well.

    With `squares`, storyboards say of every frame in which square each thing is, as it is drawn on the grid
    (`storyboard.squared`), where they else say in which ninth it is at its motion's turning points. Of films that begin
    with a picture most go on one square beside: an output projector sees such a picture no better, and where a thing is
    drawn shall be where it is told to be.

    With `stills`, so many frames of as many other films are pictures of their own in every batch, told by their
    captions: what pictures do not have, turned things, very small and very large ones and two that are placed, is
    rare in films, of which a batch has few. Of frames without such turns and sizes one in fifty is kept. For
    `looks_steps` batches after the sketch there are no films: how things look is learnt from pictures and such frames.
    """

    name = "video-generator"
    short = True

    def __init__(
        self,
        image: Any,
        *,
        heads: int = 4,
        repeats: int = 1,
        focus: float = 5.0,
        settled: float = 0.85,
        given: float = 0.2,
        seen: int = 8,
        whole: float = 0.2,
        spatial: bool = False,
        pictures: int = 0,
        edits: float = 0.0,
        placed: float = 0.0,
        adapter: str = "",
        aligned: bool = True,
        sketch_steps: int = 0,
        stills: int = 0,
        looks_steps: int = 0,
        squares: bool = False,
        begin: Any = None,
    ) -> None:
        super().__init__()
        if seen < 1 or FRAMES % seen:
            raise RequestError(
                f"a video generator is shown {seen} frames at once; a number that divides {FRAMES} is needed"
            )
        if sketch_steps and not pictures:
            raise RequestError("a text encoder that learns storyboards has to see pictures, too: set motion_pictures")
        if stills and not pictures:
            raise RequestError("frames that are pictures teach the UNet of pictures: set motion_pictures")
        if looks_steps and not stills:
            raise RequestError("without films there have to be frames of them that are pictures: set motion_stills")
        self.repeats, self.focus, self.stills = repeats, focus, stills
        self.sketch_steps, self.looks_steps = sketch_steps, looks_steps
        self.settled, self.given, self.seen, self.whole, self.spatial = settled, given, seen, whole, spatial
        self.vae = image.vae.eval().requires_grad_(False)
        self.tokenizer = image.tokenizer
        self.text_encoder = image.text_encoder.eval().requires_grad_(False)
        self.unet = build_motion_unet(
            image.unet, begin.config.motion_num_attention_heads if begin is not None else heads
        )
        if begin is not None:
            self.unet.load_state_dict(begin.state_dict())
        self.unet.requires_grad_(True) if spatial else self.unet.freeze_unet2d_params()
        options: dict[str, Any] = {"settled": settled, "edits": edits, "adapter": adapter}
        options |= {"sketch_steps": sketch_steps, "placed": placed}
        self.pictures = pictures_of(image, focus=focus, **options) if pictures else None
        self.picture_count = pictures
        if pictures:
            tie(self.unet, image.unet)
        self.cells = int(self.unet.config.sample_size)
        self.side = self.cells * image.vae_scale_factor
        self.options = SQUARED if squares else FILM
        self.teller = VideoGenerator(self.pipeline(), self.options)  # reads storyboards; it opens its networks frozen
        self.unet.requires_grad_(True) if spatial or pictures else self._motion_learns()
        self.text_encoder.requires_grad_(sketch_steps > 0)
        self.cell = self.side // self.cells if aligned else None
        self._draw_on(torch.device("cpu"))

    def to(self, *args: Any, **kwargs: Any) -> "VideoGeneratorStage":
        super().to(*args, **kwargs)
        if self.pictures is not None:
            self.pictures.to(*args, **kwargs)
        self._draw_on(next(self.parameters()).device)
        return self

    def _draw_on(self, device: torch.device) -> None:
        self.projection = Projection(self.side, device, cell=self.cell)

    def _motion_learns(self) -> None:
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_("motion_modules" in name)

    def train(self, mode: bool = True) -> "VideoGeneratorStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        self.text_encoder.eval()
        return self

    @property
    def lent(self) -> tuple[str, ...]:
        """The parts that stay those of the image generator."""
        lent = ("text_encoder", "tokenizer", "vae")
        return lent if self.spatial and self.pictures is None else (*lent, "unet")

    def film(self, stream: random.Random) -> Film:
        film = sample_film(stream)
        return settle(film) if stream.random() < self.settled else film

    def told(self, film: Film) -> str:
        """The film's storyboard."""
        return squared(film) if self.options.squares else storyboard(film)

    def _aside(self, film: Film, stream: random.Random) -> Film:
        """The film, or in a share `_ASIDE` of cases the film as it is told by who misses its square by one at most."""
        if not self.options.squares or stream.random() >= _ASIDE:
            return film
        return beside(film, stream.randint(-1, 1) / SIDE, stream.randint(-1, 1) / SIDE)

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|video generator")
        if step < self.sketch_steps:
            return self._sketch(step, _SKETCHED * max(1, size // self.repeats), seed, stream)
        if step < self.sketch_steps + self.looks_steps:
            return self._shown(step, seed) | self._stilled(step, seed)
        given, whole = stream.random() < self.given, stream.random() < self.whole
        count = max(1, size // self.repeats)
        films = [sample_animated(stream)[1] if given else self.film(stream) for _ in range(count)]
        after = [self._aside(film, stream) if given else film for film in films]
        texts = ["" if stream.random() < 0.1 else self.told(film) for film in after]
        part = 1 if whole else FRAMES // self.seen
        frames = [start + stream.randrange(part) for start in range(0, FRAMES, part)]
        layers, grounds = self.projection.orders(films, given)
        if given:
            layers[:, 1:] = self.projection.orders(after)[0][:, 1:]
        told = self.teller.coded(texts)
        return (
            self._shown(step, seed)
            | self._stilled(step, seed)
            | {
                "layers": layers,
                "grounds": grounds,
                **{f"{_TOLD}{key}": value for key, value in told.items()},
                "frames": torch.tensor([0, *frames[1:]] if given else frames),
                "given": torch.tensor(given),
            }
        )

    def _shown(self, step: int, seed: int) -> Batch:
        """What a batch has of pictures."""
        shown = self.pictures.prepare(step, self.picture_count, seed) if self.pictures is not None else {}
        return {f"{_PICTURE}{key}": value for key, value in shown.items()}

    def _sketch(self, step: int, count: int, seed: int, stream: random.Random) -> Batch:
        """Key frames and their captions, beside pictures."""
        assert self.pictures is not None
        films = [self.film(stream) for _ in range(count)]
        frames, texts = self._key_frames(films, stream)
        ids, ends = self.pictures.tokens(texts)
        layers = self.projection.orders(films)[0][torch.arange(count), frames]  # [films, LAYERS, 4]
        there = [{id(actor) for actor, _ in seen_in(film, frame)} for film, frame in zip(films, frames, strict=True)]
        placed = [
            [(layer, actor.thing) for layer, actor in enumerate(film.actors) if id(actor) in seen]
            for film, seen in zip(films, there, strict=True)
        ]
        named = self.pictures.named(texts, ends, placed)
        found = {"ids": ids, "named": named, "things": things_of(films), "layers": layers[:, None]}
        found["turns"] = torch.zeros_like(found["things"])
        for row, (film, frame) in enumerate(zip(films, frames, strict=True)):
            turns = [turn_of(actor, pose(actor, frame)) for actor in film.actors]
            found["turns"][row, : len(turns)] = torch.tensor(turns)
        return self._shown(step, seed) | {f"{_SKETCH}{key}": value for key, value in found.items()}

    def _key_frames(self, films: list[Film], stream: random.Random) -> tuple[list[int], list[str]]:
        """One of each film's key frames, and what is told of it."""
        frames = [stream.choice([key for actor in film.movers for key in keys_of(actor)]) for film in films]
        say = squared_caption if self.options.squares else frame_caption
        return frames, [say(film, frame) for film, frame in zip(films, frames, strict=True)]

    def _stilled(self, step: int, seed: int) -> Batch:
        """What a batch has of films' frames that are pictures of their own."""
        if not self.stills:
            return {}
        assert self.pictures is not None
        stream = random.Random(f"{seed}|{step}|stills")
        films: list[Film] = []
        frames: list[int] = []
        texts: list[str] = []
        while len(films) < self.stills:
            film = self.film(stream)
            (frame,), (text,) = self._key_frames([film], stream)
            if stream.random() < (1 if any(words in text for words in UNLIKE) else _LIKE):
                films, frames, texts = [*films, film], [*frames, frame], [*texts, text]
        ids, _ = self.pictures.tokens(["" if stream.random() < 0.1 else text for text in texts])
        layers, grounds = (part[torch.arange(len(films)), frames][:, None] for part in self.projection.orders(films))
        return {f"{_STILL}ids": ids, f"{_STILL}layers": layers, f"{_STILL}grounds": grounds}

    def _drawn(self, stills: Batch, rng: torch.Generator) -> Tensor:
        """Flow matching of frames as pictures, by the image generator's own UNet."""
        assert self.pictures is not None
        with torch.no_grad():
            condition = self.text_encoder(stills["ids"])[0]
            frames = self.projection.draw(stills["layers"], stills["grounds"])[:, 0]
            latents = self.vae.encode(to_pixels(frames)).latent_dist.mean.float() * self.vae.config.scaling_factor
        weight = self.weight(stills["layers"], torch.tensor([0]))[: len(latents), :, 0]
        return flow_loss(self.pictures.unet, latents, condition, rng, weight / weight.mean())

    def _told(self, sketch: Batch) -> dict[str, Tensor]:
        """How well key frames' captions tell what is where."""
        assert self.pictures is not None
        cover = film_cover(sketch["layers"], self.side, self.cells)[:, 0]
        condition = self.text_encoder(sketch["ids"])[0]
        return self.pictures.tells(condition, sketch["named"], sketch["things"], cover, sketch["turns"])

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        shown = {key.removeprefix(_PICTURE): value for key, value in batch.items() if key.startswith(_PICTURE)}
        if f"{_SKETCH}ids" in batch:
            assert self.pictures is not None
            sketch = {key.removeprefix(_SKETCH): value for key, value in batch.items() if key.startswith(_SKETCH)}
            told = self._told(sketch) if len(sketch["named"]) else {}
            return {f"film_{name}": loss for name, loss in told.items()} | self.pictures(shown, rng)
        if "layers" in batch:
            losses["flow"] = self._filmed(batch, rng)
        if self.pictures is not None:
            pictured = self.pictures(shown, rng)
            losses["picture"] = pictured.pop("flow")
            losses |= pictured
        if self.stills:
            stills = {key.removeprefix(_STILL): value for key, value in batch.items() if key.startswith(_STILL)}
            losses["still"] = self._drawn(stills, rng)
        return losses

    def _filmed(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Flow matching of films, each frame told its own."""
        told = {key.removeprefix(_TOLD): value for key, value in batch.items() if key.startswith(_TOLD)}
        with torch.no_grad():
            condition = self.teller.tell(**told).unflatten(1, (FRAMES, -1))  # [films, FRAMES, length, width]
        frames, device = batch["frames"], condition.device
        with torch.no_grad():
            films = self.projection.draw(batch["layers"], batch["grounds"])[:, frames]  # [films, seen, 3, side, side]
            latents = self.vae.encode(to_pixels(films.flatten(0, 1))).latent_dist.mean.float()
            latents = (latents * self.vae.config.scaling_factor).unflatten(0, films.shape[:2]).transpose(1, 2)
        latents = latents.repeat(self.repeats, 1, 1, 1, 1)  # [rows, channels, seen, cells, cells]
        own = condition[:, frames].repeat(self.repeats, 1, 1, 1).flatten(0, 1)  # rows as the UNet folds its frames
        noise = torch.randn(latents.shape, generator=rng, device=device)
        common = torch.randn(latents[:, :, :1].shape, generator=rng, device=device)
        noise = shared(noise, common, FILM.shared_noise)
        sigma = noise_levels(len(latents), rng, device)
        level = sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - level) * latents + level * noise
        weight = self.weight(batch["layers"], frames)
        if bool(batch["given"]):
            noisy[:, :, 0] = latents[:, :, 0]
            weight[:, :, 0] = 0
        with seeing(self.unet, frames):
            predicted = self.unet(noisy, sigma * TIMESTEPS, encoder_hidden_states=own).sample
        squared = (predicted.float() - (noise - latents)).square()
        return (weight / weight.mean() * squared).mean()

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
        generator = VideoGenerator(self.pipeline(), self.options)
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
        made: list[Any] = []
        for start in range(0, len(films), 6):
            told = self.teller.condition(list(map(self.told, films[start : start + 6])))
            made += self.teller.generate(told, range(start, start + len(told)), steps=12, guidance=2.5)
        found = torch.stack([torch.from_numpy(film.frames).permute(0, 3, 1, 2) for film in made]).to(wanted) / 255
        apart = torch.cdist(found.flatten(1), wanted.flatten(1))
        right = (apart.argmin(1) == torch.arange(len(films), device=apart.device)).tolist()
        strips = [film_strip(film) for film in found]
        sheet(strips, list(map(film_caption, films)), 1, right, side=FRAMES // 2 * self.side).save(
            folder / f"{step:07d}.png"
        )
        return {"nearest": sum(right) / len(right), "error": float((found - wanted).square().mean())}


def film_strip(film: Tensor, every: int = 2) -> Any:
    """Frames [frames, 3, side, side] in 0..1, every so many of them, beside each other: uint8 [side, width, 3]."""
    pixels = (film[::every].clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(2, 0, 3, 1).flatten(1, 2).cpu().numpy()
