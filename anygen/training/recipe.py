"""Recipes: what `anygen train` runs, step by step, from an empty folder to a finished model folder."""

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from anygen.error import DataError, RequestError
from anygen.training.checkpoint import read_checkpoint
from anygen.training.loop import FitOptions, fit

DONE = "done.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Sizes of a nano-like model and how long each of its steps is trained.

    `data` is a data set folder for stages 1 to 3; without one they learn from the playground. `start` is a model (a
    folder, or a preset's name) that they go on from; without one the recipe trains every part itself.
    """

    name: str
    side: int  # pixels of a generated picture
    vae_channels: tuple[int, ...]
    vae_latents: int
    unet_channels: tuple[int, ...]
    unet_layers: int = 1
    text_width: int = 128
    text_depth: int = 3
    focus: float = 5.0  # how much more the generator's loss counts under a thing than on the backdrop
    text_steps: int | None = None  # the generator's text encoder rests after so many steps
    aligned: bool = True  # the generator learns things on the autoencoder's grid
    looks: float = 1.0  # weight of telling a thing's looks from its name, in the generator's text encoder
    encoder_width: int = 128
    encoder_depth: int = 5
    llm_width: int = 192
    llm_depth: int = 5
    llm_heads: int = 6
    llm_inner: int = 512
    vocabulary: int = 2048
    projector_width: int = 192
    rank: int = 32
    names: float = 0.3  # weight of the term that pulls what is seen towards its name, in stages 1 and 3
    diffusion: float = 0.0  # weight of the generator's own loss in stages 2 and 3
    guidance: float = 3.0
    sampling_steps: int = 14
    edit_strength: float | None = None
    seed: int = 0
    data: str = ""
    start: str = ""
    fits: dict[str, FitOptions] = field(default_factory=dict)


_NIGHT = {
    "llm": FitOptions(steps=9000, batch=12, rate=3e-3, ema=0.998, weight_decay=0.05),
    "image-encoder": FitOptions(steps=9000, batch=48, rate=1.4e-3, ema=0.998, weight_decay=0.05),
    "image-vae": FitOptions(steps=40000, batch=8, rate=1.5e-3, ema=0.999, warmup=300),
    "image-generator": FitOptions(steps=40000, batch=32, rate=8e-4, ema=0.999, save_every=1000, sample_every=4000),
    "stage1": FitOptions(steps=3000, batch=6, rate=2e-3, warmup=100),
    "stage2": FitOptions(steps=4000, batch=6, rate=1e-3, warmup=100),
    "stage3": FitOptions(steps=6000, batch=8, rate=1e-3, ema=0.998, warmup=100),
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
    "stage1": FitOptions(steps=4000, batch=48, rate=1e-3, workers=12, log_every=200, sample_every=2000),
    "stage2": FitOptions(steps=6000, batch=48, rate=1e-3, workers=12, log_every=200, sample_every=3000),
    "stage3": FitOptions(steps=10000, batch=48, rate=6e-4, ema=0.999, workers=12, log_every=200, sample_every=5000),
}

RECIPES = {
    "nano": Recipe(
        name="nano",
        side=128,
        vae_channels=(32, 64, 96, 128),
        vae_latents=8,
        unet_channels=(128, 160, 192),
        fits=_GPU,
    ),
    "nano-night": Recipe(
        name="nano-night",
        side=64,
        vae_channels=(16, 32, 64, 128),
        vae_latents=12,
        unet_channels=(128, 192),
        fits=_NIGHT,
    ),
}


def recipe_for(name: str, settings: Sequence[str] = ()) -> Recipe:
    """A named recipe with `key=value` or `stage.key=value` settings over it; unknown names and keys are errors."""
    if name not in RECIPES:
        raise RequestError(f"no recipe '{name}'; there are {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise RequestError(f"'{setting}' is not key=value")
        stage, dot, option = key.rpartition(".")
        if dot and stage not in recipe.fits:
            raise RequestError(f"no step '{stage}' in '{key}'; there are {', '.join(recipe.fits)}")
        target: Any = recipe.fits[stage] if dot else recipe
        changed = _changed(target, option if dot else key, value)
        recipe = dataclasses.replace(recipe, fits=recipe.fits | {stage: changed}) if dot else changed
    return recipe


def _changed(target: Any, key: str, value: str) -> Any:
    """A copy of a dataclass with one field read from text, in the type that the field has."""
    names = [f.name for f in dataclasses.fields(target) if f.name != "fits"]
    if key not in names:
        raise RequestError(f"no setting '{key}'; there are {', '.join(names)}")
    now = getattr(target, key)
    try:
        if isinstance(now, tuple):
            new: Any = tuple(int(part) for part in value.split(","))
        elif isinstance(now, bool):
            new = {"true": True, "false": False}[value]
        elif now is None or isinstance(now, float):
            kind = int if key == "text_steps" else float
            new = None if value == "none" else kind(value)
        else:
            new = type(now)(value)
    except (ValueError, KeyError) as error:
        raise RequestError(f"'{key}' is a {type(now).__name__}, not '{value}'") from error
    return dataclasses.replace(target, **{key: new})


class Run:
    """One recipe in one output folder: `steps` in order, each with its own folder, skipped when it is done."""

    def __init__(self, recipe: Recipe, output: Path) -> None:
        self.recipe, self.output = recipe, output
        self.steps: dict[str, Callable[[Path], bool]] = {
            "tokenizer": self._tokenizer,
            "llm": self._llm,
            "image-encoder": self._image_encoder,
            "image-vae": self._image_vae,
            "image-generator": self._image_generator,
            "stage1": self._stage1,
            "stage2": self._stage2,
            "stage3": self._stage3,
            "model": self._model,
        }
        if recipe.start:
            self.steps = {step: run for step, run in self.steps.items() if step.startswith(("stage", "model"))}

    def folder(self, step: str) -> Path:
        return self.output / step

    def done(self, step: str) -> bool:
        return (self.folder(step) / DONE).exists()

    def need(self, step: str) -> Path:
        """The folder of a finished earlier step."""
        if not self.done(step):
            raise DataError(f"step '{step}' is not finished in {self.output}; train it first (--stage {step})")
        return self.folder(step)

    def start(self, only: str | None, resume: bool) -> bool:
        """Runs all steps, or one. Finished ones are skipped, a started one needs `resume`. True when none is left."""
        if only is not None and only not in self.steps:
            raise RequestError(f"no stage '{only}'; there are {', '.join(self.steps)}")
        for step, run in self.steps.items():
            if only not in (None, step) or self.done(step):
                continue
            folder = self.folder(step)
            if not resume and (folder / "checkpoint.safetensors").exists():
                raise DataError(f"{folder} holds a started run; go on with --resume, or use another --output")
            torch.manual_seed(self.recipe.seed)  # initial weights
            started = time.time()
            if not run(folder):
                return False
            (folder / DONE).write_text(json.dumps({"step": step, "seconds": round(time.time() - started, 1)}) + "\n")
        return True

    def tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(self.need("tokenizer"))

    def _fit(self, stage: Any, folder: Path, step: str) -> bool:
        options = dataclasses.replace(self.recipe.fits[step], seed=self.recipe.seed)
        return fit(stage, options, folder)

    def _tokenizer(self, folder: Path) -> bool:
        from anygen.training.tokenizer import train_tokenizer

        train_tokenizer(self.recipe.vocabulary).save_pretrained(folder)
        return True

    def _llm(self, folder: Path) -> bool:
        from anygen.training.llm import LLMSizes, LLMStage

        r = self.recipe
        sizes = LLMSizes(width=r.llm_width, depth=r.llm_depth, heads=r.llm_heads, inner=r.llm_inner)
        stage = LLMStage(self.tokenizer(), sizes)
        if not self._fit(stage, folder, "llm"):
            return False
        stage.llm.save_pretrained(folder / "part")
        return True

    def _image_encoder(self, folder: Path) -> bool:
        from anygen.encoders.imagebind import TowerConfig
        from anygen.training.image_encoder import ImageEncoderStage

        config = TowerConfig(width=self.recipe.encoder_width, depth=self.recipe.encoder_depth)
        stage = ImageEncoderStage(config, self.tokenizer())
        if not self._fit(stage, folder, "image-encoder"):
            return False
        stage.encoder.save_pretrained(folder / "part")
        return True

    def _image_vae(self, folder: Path) -> bool:
        from anygen.training.image_vae import ImageVAEStage, build_vae, set_scaling

        stage = ImageVAEStage(
            build_vae(self.recipe.side, self.recipe.vae_channels, self.recipe.vae_latents), self.recipe.side
        )
        if not self._fit(stage, folder, "image-vae"):
            return False
        set_scaling(stage.vae.eval(), self.recipe.side, next(stage.parameters()).device)
        stage.vae.save_pretrained(folder / "part")
        return True

    def _image_generator(self, folder: Path) -> bool:
        from diffusers import AutoencoderKL

        from anygen.training.image_generator import GeneratorSizes, ImageGeneratorStage

        r = self.recipe
        vae = AutoencoderKL.from_pretrained(self.need("image-vae") / "part")
        sizes = GeneratorSizes(
            channels=r.unet_channels, layers=r.unet_layers, text_width=r.text_width, text_depth=r.text_depth
        )
        stage = ImageGeneratorStage(
            vae,
            self.tokenizer(),
            r.side,
            sizes,
            text_steps=r.text_steps,
            focus=r.focus,
            aligned=r.aligned,
            looks=r.looks,
        )
        if not self._fit(stage, folder, "image-generator"):
            return False
        stage.pipeline().save_pretrained(folder / "part")
        return True

    def model(self, after: str | None) -> Any:
        """The model with its parts, and the weights that alignment stage `after` left (None: fresh projectors)."""
        from transformers import LlamaForCausalLM

        from anygen.encoders.image import ImageEncoder
        from anygen.generators.image import ImageGenerator
        from anygen.model import AnyGenModel, GeneratorConfig, ModelConfig
        from anygen.projectors import MlpConfig, MlpProjector, QueryConfig, QueryTransformer
        from anygen.training.tokenizer import SIGNALS

        if self.recipe.start and (after is None or not self.done(after)):
            from anygen.catalog import find

            return AnyGenModel.load(find(self.recipe.start))
        if after is not None:
            return AnyGenModel.load(self.need(after) / "model")
        r = self.recipe
        encoder = ImageEncoder.from_pretrained(self.need("image-encoder") / "part")
        generator = ImageGenerator.from_pretrained(self.need("image-generator") / "part")
        length, width = generator.condition_shape
        into = MlpProjector(
            MlpConfig(
                tokens_in=encoder.tokens, width_in=encoder.width, width_out=r.llm_width, hidden=2 * r.llm_width, merge=2
            )
        )
        query = QueryTransformer(
            QueryConfig(
                count=SIGNALS["image"],
                width_in=r.llm_width,
                length=length,
                width_out=width,
                width=r.projector_width,
                heads=4,
                feedforward=2 * r.projector_width,
                encoder_layers=1,
                decoder_layers=2,
            )
        )
        query.measure(self._conditions(generator))
        config = ModelConfig(
            format=1,
            name=r.name,
            signals=SIGNALS,
            llm="llm",
            encoders={"image": "encoders/imagebind"},
            generators={
                "image": GeneratorConfig(
                    path="generators/image", steps=r.sampling_steps, guidance=r.guidance, edit_strength=r.edit_strength
                )
            },
        )
        llm = LlamaForCausalLM.from_pretrained(self.need("llm") / "part")
        return AnyGenModel(
            config, self.tokenizer(), llm, {"image": encoder}, {"image": into}, {"image": query}, {"image": generator}
        )

    def _conditions(self, generator: Any, count: int = 512) -> torch.Tensor:
        """Conditions of random training captions, for the output projector's scale."""
        from anygen.playground.caption import caption
        from anygen.training.image_vae import scenes_of

        return generator.condition([caption(scene) for scene in scenes_of(0, count, 99)])

    def _align(
        self, folder: Path, name: str, after: str | None, mixture: dict[str, int], train: set[str], **options: Any
    ) -> bool:
        from anygen.training.alignment import AlignmentStage

        model = self.model(after)
        if self.recipe.data:
            options["data"] = self._data(model, train)
        stage = AlignmentStage(name, model, mixture, train, rank=self.recipe.rank, **options)
        if not self._fit(stage, folder, name):
            return False
        if "lora" in train:
            model.llm = model.llm.merge_and_unload()
        model.cpu().save(folder / "model")
        return True

    def _data(self, model: Any, train: set[str]) -> Any:
        """The recipe's own data set, what the frozen parts make of it in the output folder's `features`."""
        from anygen.training.cache import FeatureCache
        from anygen.training.folder import FolderChats

        if torch.cuda.is_available():
            model.to("cuda")
        cache = FeatureCache(self.output / "features")
        return FolderChats(
            self.recipe.data, model, train, cache, pictures="output" in train and self.recipe.diffusion > 0
        )

    def _stage1(self, folder: Path) -> bool:
        from anygen.training.alignment import STAGE_1

        return self._align(folder, "stage1", None, STAGE_1, {"input"}, names=self.recipe.names)

    def _stage2(self, folder: Path) -> bool:
        from anygen.training.alignment import STAGE_2

        return self._align(
            folder, "stage2", "stage1", STAGE_2, {"output", "signals"}, words=1.0, diffusion=self.recipe.diffusion
        )

    def _stage3(self, folder: Path) -> bool:
        from anygen.training.alignment import STAGE_3

        return self._align(
            folder,
            "stage3",
            "stage2",
            STAGE_3,
            {"input", "output", "signals", "lora"},
            words=0.1,
            names=self.recipe.names,
            diffusion=self.recipe.diffusion,
        )

    def _model(self, folder: Path) -> bool:
        """The finished folder, in half precision, with its provenance."""
        from anygen.training.provenance import write_provenance

        self.need("stage3")
        model = self.model("stage3")
        model.save(folder / self.recipe.name, dtype=torch.float16)
        write_provenance(folder / self.recipe.name, self.recipe, self.output)
        return True


def train(
    recipe: str,
    *,
    stage: str | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    set: Sequence[str] = (),
) -> Path:
    """Runs a recipe, or one `stage` of it, in `output` (default runs/RECIPE). Returns the output folder.

    Finished steps are skipped; a step that was stopped goes on exactly where it was with `resume`.
    """
    chosen = recipe_for(recipe, set)
    folder = Path(output or Path("runs") / chosen.name)
    Run(chosen, folder).start(stage, resume)
    return folder


def progress(output: Path) -> dict[str, int]:
    """Steps taken by each started stage of an output folder."""
    found = {}
    for path in sorted(output.glob("*/checkpoint.safetensors")):
        checkpoint = read_checkpoint(path.parent)
        if checkpoint:
            found[path.parent.name] = int(checkpoint[1]["step"])
    return found
