"""Recipes: sizes of a model that is trained from nothing, and how long each of its steps takes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anygen.error import RequestError
from anygen.playground.clip import KIND_WEIGHTS
from anygen.training.loop import FitOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Sizes of a nano-like model and how long each of its steps is trained.

    `data` is a data set folder for stages 1 to 3; without one they learn from the playground. `start` is a model (a
    folder, or a preset's name) that they go on from; without one the recipe trains every part itself.
    """

    name: str
    media: tuple[str, ...] = ()  # what the model reads and writes beside text; (): all there is, or what `start` has
    side: int  # pixels of a generated picture
    vae_channels: tuple[int, ...]
    vae_latents: int
    unet_channels: tuple[int, ...]
    unet_layers: int = 1
    text_width: int = 128
    text_depth: int = 3
    focus: float = 5.0  # how much more the generator's loss counts under a thing than on the backdrop
    encoder_steps: int | None = None  # the autoencoder's encoder rests after so many steps
    text_steps: int | None = None  # the generator's text encoder rests after so many steps
    aligned: bool = True  # generators learn what stands on their latents' grid, autoencoders see half of that
    sketch_steps: int = 2000  # the generators' text encoders learn alone for so many steps
    settled: float = 0.85  # share of the generators' scenes and clips of which the caption says where and when all is
    edits: float = (
        0.3  # share of the image generator's scenes that are edits of a picture; 0: no adapter, no such edits
    )
    adapter: str = ""  # the type of T2I-Adapter that a generator of `start` without one begins; "": none
    placed: float = 0.0  # share of the image generator's scenes whose captions say where all stands, square by square
    looks: float = 1.0  # weight of telling a thing's looks from its name, in the generator's text encoder
    audio_vae_channels: tuple[int, ...] = (16, 32, 64, 128)
    audio_vae_latents: int = 8
    audio_unet_channels: tuple[int, ...] = (64, 96, 128)
    audio_condition: int = 192
    vocoder_width: int = 256
    vocoder_depth: int = 5
    audio_text_steps: int | None = None
    audio_kinds: tuple[int, ...] = (
        KIND_WEIGHTS  # how often the generator's clips are once, times, melody, then, together
    )
    audio_anew: int = 0  # batches for which the text tower of an audio generator that learns on begins anew
    audio_depth: int = 4
    audio_guidance: float = 2.5
    video_depth: int = 2  # blocks in which the video encoder's features see each other
    video_guidance: float = 2.5
    video_strength: float | None = 1.0  # how far a picture that is animated may be left; none: it cannot be
    motion_heads: int = 4
    motion_seen: int = 8  # frames of each film that the video generator is shown at once, of 16
    motion_whole: float = 0.2  # share of the batches in which it is shown all 16
    motion_spatial: bool = False  # train the layers that the video generator has of the image generator, too
    motion_pictures: int = 0  # pictures in each of its batches: then these layers learn, and stay shared
    motion_sketch: int = 0  # batches in which the text encoder alone learns who is where in storyboards; needs pictures
    motion_stills: int = 0  # frames of other films in each of its batches, each a picture of its own; needs pictures
    motion_looks: int = 0  # batches after the sketch without films: of pictures and such frames alone
    motion_squares: bool = False  # storyboards say of every frame in which square each thing is
    given: float = 0.2  # share of the video generator's batches with a first frame to go on from
    encoder_width: int = 128
    encoder_depth: int = 5
    fronts: float = 0.0  # share of the image encoder's scenes in which one thing is in front; it is told apart by patch
    llm_width: int = 192
    llm_depth: int = 5
    llm_heads: int = 6
    llm_inner: int = 512
    vocabulary: int = 2048
    projector_width: int = 192
    rank: int = 32  # of stage 3's adapter on the LLM; 0: no adapter, all of its blocks learn
    lora_alpha: int = 0  # what it adds is scaled by this over its rank; 0: twice the rank
    lora_dropout: float = 0.0
    lora_matrices: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    anew: bool = False  # projectors of `start` begin anew
    onward: tuple[str, ...] = ()  # steps in which parts that `start` has learn on: its generators', its new senses'
    blend: float = 1.0  # share of what was learnt in the finished model; the rest is what `start` was
    slots: bool = False  # stage 1's projectors tell every word at a place of its own, not captions; then they rest
    spoken: float = 0.0  # share of stage 3's batches that learn language alone, of media told in slots
    drills: float = 0.2  # share of these that are sums and unknown names and nothing else
    resting: tuple[str, ...] = ()  # other media whose input projectors stay as they are in stage 3
    sighted: tuple[str, ...] = ()  # media whose output projectors see the picture that is edited or begins a film
    only: tuple[str, ...] = ()  # stages 1 and 2 train the projectors of these media alone, from what is cached
    bridged: bool = False  # the LLM's blocks look at features (gated cross-attention); one token stands for a medium
    names: float = 0.3  # weight of the term that pulls what is seen towards its name, where `pool` is 0
    pool: int = 12000  # media (answers: twice as many) that stages 1 and 2 learn from cached; 0: through the LLM
    fresh: int = 16  # media that are new in stage 1's pool in every step
    hidden: float = 0.0  # share of a medium's features that stage 1 hides, another one whenever the medium comes
    checkpointing: bool = False  # activations of the LLM are computed again for gradients, where these go through it
    quantize: str = ""  # "nf4": the LLM's frozen matrices in four bits while stages 1 to 3 learn around it (QLoRA)
    diffusion: float = 0.0  # weight of the generator's own loss in stages 2 and 3
    guidance: float = 3.0
    sampling_steps: int = 14
    edit_strength: float | None = 1.0  # weight of the picture that is edited; None: edits are drawn anew
    seed: int = 0
    data: str = ""
    start: str = ""
    fits: dict[str, FitOptions] = field(default_factory=dict)


_NIGHT = {
    "llm": FitOptions(steps=7000, batch=12, rate=3e-3, ema=0.998, weight_decay=0.05),
    "image-encoder": FitOptions(steps=6000, batch=48, rate=1.4e-3, ema=0.998, weight_decay=0.05),
    "image-vae": FitOptions(steps=10000, batch=8, rate=1.5e-3, ema=0.999, warmup=300),
    "image-generator": FitOptions(steps=9000, batch=32, rate=8e-4, ema=0.999, save_every=1000, sample_every=4000),
    "audio-encoder": FitOptions(steps=2500, batch=32, rate=1.4e-3, ema=0.998, weight_decay=0.05),
    "audio-vae": FitOptions(steps=3000, batch=8, rate=1.5e-3, ema=0.999, warmup=300),
    "audio-vocoder": FitOptions(steps=5000, batch=8, rate=1e-3, ema=0.999, clip=5.0),
    "audio-generator": FitOptions(steps=6000, batch=32, rate=8e-4, ema=0.999, sample_every=3000),
    "video-encoder": FitOptions(steps=2000, batch=16, rate=1.2e-3, ema=0.998, weight_decay=0.05),
    "video-generator": FitOptions(steps=4000, batch=4, rate=6e-4, ema=0.999, save_every=250, sample_every=2000),
    "depth-encoder": FitOptions(steps=2500, batch=32, rate=2e-3, ema=0.998, weight_decay=0.05),
    "thermal-encoder": FitOptions(steps=2500, batch=32, rate=2e-3, ema=0.998, weight_decay=0.05),
    "imu-encoder": FitOptions(steps=1000, batch=32, rate=1.2e-3, ema=0.998, weight_decay=0.05),
    "stage1": FitOptions(steps=2500, batch=48, rate=1e-3, warmup=100, decay_share=0.5),
    "stage2": FitOptions(steps=2500, batch=40, rate=2e-3, warmup=100, decay_share=0.5),
    "stage3": FitOptions(steps=3000, batch=8, rate=1e-3, ema=0.998, warmup=100),
}

_GPU = {
    "llm": FitOptions(steps=12000, batch=64, rate=2e-3, ema=0.999, weight_decay=0.05, workers=12, log_every=200),
    "image-encoder": FitOptions(
        steps=12000, batch=512, rate=1e-3, ema=0.999, weight_decay=0.05, workers=12, warmup=500, log_every=200
    ),
    "image-vae": FitOptions(
        steps=20000, batch=64, rate=1e-3, ema=0.999, warmup=500, workers=12, log_every=200, sample_every=5000
    ),
    "image-generator": FitOptions(
        steps=60000,
        batch=256,
        rate=6e-4,
        ema=0.9995,
        warmup=500,
        workers=12,
        log_every=200,
        sample_every=10000,
        save_every=5000,
    ),
    "audio-encoder": FitOptions(
        steps=6000, batch=256, rate=1e-3, ema=0.999, weight_decay=0.05, workers=12, warmup=500, log_every=200
    ),
    "audio-vae": FitOptions(
        steps=15000, batch=64, rate=1e-3, ema=0.999, warmup=500, workers=12, log_every=200, sample_every=5000
    ),
    "audio-vocoder": FitOptions(
        steps=15000,
        batch=32,
        rate=6e-4,
        ema=0.999,
        warmup=500,
        workers=12,
        log_every=200,
        sample_every=5000,
        clip=5.0,
    ),
    "audio-generator": FitOptions(
        steps=30000,
        batch=256,
        rate=6e-4,
        ema=0.9995,
        warmup=500,
        workers=12,
        log_every=200,
        sample_every=10000,
        save_every=5000,
    ),
    "video-encoder": FitOptions(
        steps=6000, batch=128, rate=1e-3, ema=0.999, weight_decay=0.05, workers=12, warmup=500, log_every=200
    ),
    "video-generator": FitOptions(
        steps=40000,
        batch=64,
        rate=5e-4,
        ema=0.9995,
        warmup=500,
        workers=12,
        log_every=200,
        sample_every=10000,
        save_every=5000,
    ),
    **{
        f"{sense}-encoder": FitOptions(
            steps=6000, batch=256, rate=1e-3, ema=0.999, weight_decay=0.05, workers=12, warmup=500, log_every=200
        )
        for sense in ("depth", "thermal", "imu")
    },
    "stage1": FitOptions(steps=10000, batch=256, rate=1e-3, decay_share=0.5, log_every=200, sample_every=5000),
    "stage2": FitOptions(steps=6000, batch=256, rate=2e-3, decay_share=0.5, log_every=200, sample_every=3000),
    "stage3": FitOptions(steps=10000, batch=48, rate=6e-4, ema=0.999, workers=12, log_every=200, sample_every=5000),
}

_MINUTES = {
    "llm": 4.0,
    "image-encoder": 5.0,
    "image-vae": 4.0,
    "image-generator": 9.0,
    "audio-encoder": 3.0,
    "audio-vae": 2.0,
    "audio-vocoder": 3.0,
    "audio-generator": 6.0,
    "video-encoder": 2.0,
    "video-generator": 7.0,
    "depth-encoder": 1.5,
    "thermal-encoder": 1.5,
    "imu-encoder": 0.5,
    "stage1": 2.5,
    "stage2": 1.5,
    "stage3": 3.5,
}
"""What each step has of an hour of a GPU; its schedule ends then, if not after its batches."""

_PAPER = {  # NExT-GPT's table 7; steps are an epoch of what its authors say they trained on, on 3, 3 and 4 cards
    "stage1": FitOptions(steps=741, batch=18, rate=4e-4, warmup=74, decay_share=0.9, weight_decay=1e-3, beta2=0.95),
    "stage2": FitOptions(steps=7500, batch=8, rate=4e-4, warmup=750, decay_share=0.9, weight_decay=1e-3, beta2=0.95),
    "stage3": FitOptions(steps=15625, batch=4, rate=5e-4, warmup=1562, decay_share=0.9, weight_decay=1e-3, beta2=0.95),
}

_CORRECTED = {  # as many samples; see docs/training.md for every difference
    "stage1": FitOptions(steps=741, batch=18, rate=1e-3, warmup=22, decay_share=0.97, weight_decay=0.0, beta2=0.95),
    "stage2": FitOptions(steps=7500, batch=8, rate=2e-4, warmup=225, decay_share=0.97, weight_decay=0.0, beta2=0.95),
    "stage3": FitOptions(
        steps=1116, batch=4, accumulate=14, rate=2e-4, warmup=33, decay_share=0.97, weight_decay=0.0, beta2=0.95
    ),
}

_NEXTGPT = Recipe(
    name="nextgpt-paper",
    media=("image", "audio", "video"),
    side=512,  # sizes of parts that are trained from nothing: here none is
    vae_channels=(128, 256, 512, 512),
    vae_latents=4,
    unet_channels=(320, 640, 1280, 1280),
    start="nextgpt",
    anew=True,
    names=0.0,  # that term is for the playground
    pool=0,
    lora_alpha=32,
    lora_dropout=0.1,
    lora_matrices=("q_proj", "k_proj", "v_proj", "o_proj"),
    fits=_PAPER,
)

RECIPES = {
    "nano": Recipe(
        name="nano",
        side=128,
        vae_channels=(32, 64, 96, 128),
        vae_latents=8,
        unet_channels=(128, 160, 192),
        motion_pictures=128,
        motion_sketch=1500,
        edits=0.0,
        placed=0.45,
        motion_squares=True,
        sighted=("image", "video"),
        slots=True,
        fits={step: dataclasses.replace(fit, budget=_MINUTES[step]) for step, fit in _GPU.items()},
    ),
    "nano-night": Recipe(
        name="nano-night",
        side=64,
        vae_channels=(16, 32, 64, 128),
        vae_latents=12,
        unet_channels=(128, 192),
        motion_seen=4,
        motion_whole=0.08,
        motion_pictures=18,
        motion_sketch=1500,
        edits=0.0,
        placed=0.45,
        motion_squares=True,
        sighted=("image", "video"),
        slots=True,
        fits=_NIGHT,
    ),
    "nextgpt-paper": _NEXTGPT,
    "nextgpt-corrected": dataclasses.replace(
        _NEXTGPT,
        name="nextgpt-corrected",
        rank=128,
        lora_alpha=256,
        lora_dropout=0.05,
        lora_matrices=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        checkpointing=True,
        fits=_CORRECTED,
    ),
}


TRAINED: dict[str, set[str]] = {
    "stage1": {"input"},
    "stage2": {"output", "signals"},
    "stage3": {"input", "output", "signals", "lora"},
}
"""What the alignment stages train: projectors of a side, the signal tokens' rows of the embeddings, an adapter."""


def recipe_for(name: str, settings: Sequence[str] = ()) -> Recipe:
    """A named recipe with `key=value` or `stage.key=value` settings over it; unknown names and keys are errors."""
    if name not in RECIPES:
        raise RequestError(f"no recipe '{name}'; there are {', '.join(RECIPES)}, concept")
    recipe = RECIPES[name]
    for setting in settings:
        recipe = changed(recipe, setting)
    if recipe.start:  # what a start's parts were told stays, unless it is asked for
        stays: dict[str, Any] = {
            "slots": False,
            "sighted": (),
            "sketch_steps": 0,
            "motion_sketch": 0,
            "motion_looks": 0,
        }
        asked = {setting.partition("=")[0] for setting in settings}
        recipe = dataclasses.replace(recipe, **{key: value for key, value in stays.items() if key not in asked})
    return recipe


def changed(recipe: Any, setting: str) -> Any:
    """A recipe with one setting, `key=value` or `stage.key=value`, changed; unknown names and keys are errors."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise RequestError(f"'{setting}' is not key=value")
    stage, dot, option = key.rpartition(".")
    if not dot:
        return _changed(recipe, key, value)
    if stage not in recipe.fits:
        raise RequestError(f"no step '{stage}' in '{key}'; there are {', '.join(recipe.fits)}")
    return dataclasses.replace(recipe, fits=recipe.fits | {stage: _changed(recipe.fits[stage], option, value)})


def _changed(target: Any, key: str, value: str) -> Any:
    """A copy of a dataclass with one field read from text, in the type that the field has."""
    names = [f.name for f in dataclasses.fields(target) if f.name != "fits"]
    if key not in names:
        raise RequestError(f"no setting '{key}'; there are {', '.join(names)}")
    now = getattr(target, key)
    try:
        if isinstance(now, tuple):
            new: Any = tuple((type(now[0]) if now else str)(part) for part in value.split(","))
        elif isinstance(now, bool):
            new = {"true": True, "false": False}[value]
        elif now is None or isinstance(now, float):
            kind = int if key.endswith("_steps") else float
            new = None if value == "none" else kind(value)
        else:
            new = type(now)(value)
    except (ValueError, KeyError) as error:
        raise RequestError(f"'{key}' is a {type(now).__name__}, not '{value}'") from error
    return dataclasses.replace(target, **{key: new})
