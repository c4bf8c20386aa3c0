"""Parts of a finished model that learn on: its generators, their autoencoders' decoders, and the encoders of pictures,
sounds and its senses; a recipe's `onward`.

What stands between a generator and the language model stays as it is (text encoders, latents, vocoder), so that
output projectors still tell it what they told; but a recipe's `audio_anew` begins the sounds' text tower anew. An
encoder's features change: stages 1 and 3 come after it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from anygen.error import RequestError
from anygen.generators import GENERATORS
from anygen.playground.clip import KINDS
from anygen.signals import MEDIA, SENSED

if TYPE_CHECKING:
    from anygen.training.assembly import Assembly
    from anygen.training.recipe import Recipe
    from anygen.training.run import Run

DECODED = ("image", "audio")
"""Media whose generators have an autoencoder of their own."""
ONWARD = (
    *(f"{modality}-vae" for modality in DECODED),
    *(f"{modality}-generator" for modality in MEDIA),
    *(f"{heard}-encoder" for heard in ("image", "audio", *SENSED)),
)
"""The steps in which parts of `start` can learn on."""


def checked(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's `onward`, or an error."""
    if recipe.onward and not recipe.start:
        raise RequestError(f"onward={','.join(recipe.onward)} is for a model to go on from: name one with start=MODEL")
    if recipe.audio_anew and "audio-generator" not in recipe.onward:
        raise RequestError(
            f"audio_anew={recipe.audio_anew} is for a generator that learns on: add onward=audio-generator"
        )
    if not 0 <= recipe.fronts <= 1:
        raise RequestError(f"fronts={recipe.fronts} is a share of the image encoder's scenes: from 0 to 1")
    if recipe.fronts and recipe.start and "image-encoder" not in recipe.onward:
        raise RequestError(f"fronts={recipe.fronts} is for an image encoder that learns: add onward=image-encoder")
    if recipe.adapter and not {"image-generator", "video-generator"} & {*recipe.onward}:
        raise RequestError(f"adapter={recipe.adapter} is for a generator that learns on: add onward=image-generator")
    if len(recipe.audio_kinds) != len(KINDS) or min(recipe.audio_kinds) < 0 or not any(recipe.audio_kinds):
        said = ",".join(map(str, recipe.audio_kinds))
        raise RequestError(f"audio_kinds={said}: five weights, not all of them 0, of clips {', '.join(KINDS)}")
    if recipe.only and not recipe.start:
        raise RequestError(f"only={','.join(recipe.only)} is for a model to go on from: name one with start=MODEL")
    if recipe.only and (recipe.data or recipe.diffusion or recipe.bridged or not recipe.pool):
        only = ",".join(recipe.only)
        rest = "leave out data, diffusion, bridged and pool=0"
        raise RequestError(f"only={only} learns from what is cached of the playground: {rest}")
    if not 0 < recipe.blend <= 1 or (recipe.blend < 1 and not recipe.start):
        raise RequestError(f"blend={recipe.blend} is a share of a model that goes on from a start: above 0, at most 1")
    for step in recipe.onward:
        if step not in ONWARD:
            raise RequestError(f"no step '{step}' in which a part of a model learns on; there are {', '.join(ONWARD)}")
    return recipe.onward


@torch.no_grad()
def blended(model: Any, before: Any, share: float, but: Sequence[str] = ()) -> Any:
    """The model with language model and projectors so much as they are, the rest as they were `before` (WiSE-FT,
    arXiv 2109.01903, section 3: two ends of one run have a good middle). Input projectors of the media `but` stay.
    """
    old = dict(before.named_parameters())
    for name, parameter in model.named_parameters():  # what is tied is there once
        part, _, rest = name.partition(".")
        kept = part == "input_projectors" and rest.split(".")[0] in but
        if part in ("llm", "input_projectors", "output_projectors") and not kept and name in old:
            if old[name].shape == parameter.shape:
                parameter.lerp_(old[name].to(parameter), 1 - share)
    return model


def pipeline_of(model: Any, modality: str, start: str) -> Any:
    """The open pipeline of one of the model's generators, which must be of this package's own class for it."""
    generator = model.generator(modality) if modality in model.writes else None
    if type(generator) is not GENERATORS[modality]:
        has = f"a {type(generator).__name__}" if generator is not None else "none"
        raise RequestError(f"{start} has no {modality} generator that learns on, but {has}: leave it out of onward")
    return generator.pipeline


def train_seeing(run: Run, folder: Path) -> bool:
    """Trains the image encoder of the recipe's `start` on, and its input projector beside it; True when it is done."""
    from anygen.encoders.image import ImageEncoder
    from anygen.encoders.text import TextEncoder
    from anygen.projectors.input import ResamplerProjector
    from anygen.training.assembly import TELLING
    from anygen.training.image_encoder import ImageEncoderStage

    r, model = run.recipe, run.begun()
    sees, reads = (model.encoders[m] if m in model.encoders else None for m in ("image", "text"))
    projector = model.input_projectors["image"] if "image" in model.input_projectors else None
    if not (isinstance(sees, ImageEncoder) and isinstance(reads, TextEncoder)):
        raise RequestError(f"{r.start} has no image encoder beside texts of this package's own: leave it out of onward")
    if not (isinstance(projector, ResamplerProjector) and projector.config.slots):
        raise RequestError(f"{r.start} has an input projector of pictures that tells no slots: leave it out of onward")
    table = model.llm.get_input_embeddings().weight
    options: dict[str, Any] = {"table": table, "fronts": r.fronts, "before": (sees, reads)}
    stage = ImageEncoderStage(sees.config, model.tokenizer, projector=projector.requires_grad_(True), **options)
    if not run._fit(stage, folder, "image-encoder"):
        return False
    stage.encoder.save_pretrained(folder / "part")
    save_file(projector.state_dict(), folder / TELLING)
    return True


def train_hearing(run: Run, folder: Path) -> bool:
    """Trains the audio encoder of the recipe's `start` on, its pictures the anchor; True when it is done.

    An input projector that tells slots learns beside it, what it reads being theirs.
    """
    from anygen.encoders.audio import AudioEncoder
    from anygen.encoders.image import ImageEncoder
    from anygen.projectors.input import ResamplerProjector
    from anygen.training.assembly import TELLING
    from anygen.training.audio_encoder import AudioEncoderStage

    model = run.begun()
    hears, sees = (model.encoders[m] if m in model.encoders else None for m in ("audio", "image"))
    if not (isinstance(hears, AudioEncoder) and isinstance(sees, ImageEncoder)):
        raise RequestError(f"{run.recipe.start} has no audio encoder of this package's own: leave it out of onward")
    projector = model.input_projectors["audio"] if "audio" in model.input_projectors else None
    tells = projector if isinstance(projector, ResamplerProjector) and projector.config.slots else None
    options: dict[str, Any] = {}
    if tells is not None:
        table = model.llm.get_input_embeddings().weight
        options = {"projector": tells.requires_grad_(True), "tokenizer": model.tokenizer, "table": table}
    stage = AudioEncoderStage(hears.config, sees, **options)
    stage.encoder.load_state_dict(hears.state_dict())
    if not run._fit(stage, folder, "audio-encoder"):
        return False
    stage.encoder.save_pretrained(folder / "part")
    if tells is not None:
        save_file(tells.state_dict(), folder / TELLING)
    return True


def train_generator(run: Run, folder: Path, modality: str) -> bool:
    """Trains a generator of the recipe's `start` on; True when it is done."""
    r, model = run.recipe, run.begun()
    options: dict[str, Any] = {"settled": r.settled}
    if modality == "audio":
        from anygen.training.audio_generator import sounds_of

        stage: Any = sounds_of(pipeline_of(model, "audio", r.start), **options, anew=r.audio_anew, kinds=r.audio_kinds)
    elif modality == "image":
        from anygen.training.image_generator import pictures_of

        options |= {"edits": r.edits, "placed": r.placed, "sketch_steps": r.sketch_steps}
        options |= {"adapter": r.adapter}
        stage = pictures_of(pipeline_of(model, "image", r.start), focus=r.focus, **options)
    else:
        from anygen.training.video_generator import VideoGeneratorStage

        begin = pipeline_of(model, "video", r.start).unet
        stage = VideoGeneratorStage(
            pipeline_of(model, "image", r.start),
            focus=r.focus,
            given=r.given,
            seen=r.motion_seen,
            whole=r.motion_whole,
            pictures=r.motion_pictures,
            edits=r.edits,
            placed=r.placed,
            adapter=r.adapter,
            aligned=r.aligned,
            sketch_steps=r.motion_sketch,
            stills=r.motion_stills,
            looks_steps=r.motion_looks,
            squares=r.motion_squares or model.generator("video").film.squares,
            begin=begin,
            **options,
        )
    if not run._fit(stage, folder, f"{modality}-generator"):
        return False
    if modality == "video":
        stage.save(folder / "part")
        if r.motion_pictures:
            stage.save_image(folder / "image")
        return True
    GENERATORS[modality](stage.pipeline()).save_pretrained(folder / "part")
    return True


def train_decoder(run: Run, folder: Path, modality: str) -> bool:
    """Trains the decoder of a generator's autoencoder on, from the latents as they are; True when it is done."""
    r, model = run.recipe, run.begun()
    pipeline = pipeline_of(model, modality, r.start)
    vae = pipeline.vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    if modality == "audio":
        from anygen.training.audio_vae import AudioVAEStage

        stage: Any = AudioVAEStage(vae, rests=True)
    else:
        from anygen.training.image_vae import ImageVAEStage

        side = int(pipeline.unet.config.sample_size) * pipeline.vae_scale_factor
        stage = ImageVAEStage(vae, side, aligned=0.5 * r.aligned, encoder_steps=0)
    if not run._fit(stage, folder, f"{modality}-vae"):
        return False
    vae.save_pretrained(folder / "part")
    return True


def replace_decoders(model: Any, places: Mapping[str, Path]) -> Any:
    """The model whose generators, and those that borrow of them, decode as the autoencoders in these folders."""
    from diffusers import AutoencoderKL

    for modality in model.writes:
        place = places.get(model.config.generators[modality].base or modality)
        if place is not None:
            learnt = AutoencoderKL.from_pretrained(place)
            model.generator(modality).pipeline.vae.load_state_dict(learnt.state_dict())
    return model


def replace_learnt(model: Any, run: Assembly, steps: Sequence[str]) -> Any:
    """The model with what has learnt on in those of the `steps` that are a generator's, a decoder's, or the image or
    audio encoder's."""
    learnt = [step.removesuffix("-generator") for step in steps if step.endswith("-generator")]
    places = {modality: run.need(f"{modality}-generator") / "part" for modality in learnt}
    if "video" in places and (together := run.folder("video-generator") / "image").exists():
        places["image"] = together
    decoders = [step.removesuffix("-vae") for step in steps if step.endswith("-vae")]
    model = replace_generators(model, places)
    for modality in places:
        sees = getattr(model.generator(modality).pipeline, "adapter", None) is not None
        if run.recipe.adapter and sees and model.config.generators[modality].edit_strength is None:
            options = dataclasses.replace(model.config.generators[modality], edit_strength=run.recipe.edit_strength)
            model.config.generators[modality] = options
    from anygen.training.assembly import TELLING

    if "image-encoder" in steps:  # in place: other encoders stand on it, and projectors borrow its own
        from anygen.encoders.image import ImageEncoder

        learnt_on = run.need("image-encoder")
        model.encoders["image"].load_state_dict(ImageEncoder.from_pretrained(learnt_on / "part").state_dict())
        model.input_projectors["image"].load_state_dict(load_file(learnt_on / TELLING))
    if "audio-encoder" in steps:
        from anygen.encoders import open_encoder

        learnt_on = run.need("audio-encoder")
        model.encoders["audio"] = open_encoder("audio", learnt_on / "part")
        if (told := learnt_on / TELLING).exists():
            model.input_projectors["audio"].load_state_dict(load_file(told))
    return replace_decoders(model, {modality: run.need(f"{modality}-vae") / "part" for modality in decoders})


def replace_generators(model: Any, places: Mapping[str, Path]) -> Any:
    """The model with its own class's generators from these folders, and those that borrow of them opened anew."""
    for modality in MEDIA:
        if modality not in model.writes:
            continue
        lender = model.config.generators[modality].base
        if not places.keys() & {modality, lender}:
            continue
        own = places.get(modality) or model.folder / model.config.generators[modality].path
        base = (places.get(lender) or model.folder / model.config.generators[lender].path) if lender else None
        model.generators[modality] = GENERATORS[modality].from_pretrained(own, base=base)
    return model
