"""Runs of recipes: what `anygen train` does, step by step, from an empty folder to a finished model folder."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from anygen.error import RequestError
from anygen.signals import MEDIA, SENSED
from anygen.training.assembly import TELLING, Assembly
from anygen.training.checkpoint import read_checkpoint
from anygen.training.onward import blended, checked, train_decoder, train_generator, train_hearing, train_seeing
from anygen.training.processes import Processes, part_ways, processes
from anygen.training.recipe import TRAINED, Recipe, recipe_for
from anygen.training.rehearsal import Overall, plan


class Run(Assembly):
    """A recipe's steps from nothing to a model folder, or from a finished model on."""

    def __init__(self, recipe: Recipe, output: Path) -> None:
        super().__init__(recipe, output)
        self.steps = {
            "tokenizer": self._tokenizer,
            "llm": self._llm,
            "image-encoder": self._image_encoder,
            "image-vae": self._image_vae,
            "image-generator": self._image_generator,
            "audio-encoder": self._audio_encoder,
            "audio-vae": self._audio_vae,
            "audio-vocoder": self._audio_vocoder,
            "audio-generator": self._audio_generator,
            "video-encoder": self._video_encoder,
            "video-generator": self._video_generator,
            **{f"{sense}-encoder": partial(self._sense_encoder, sense) for sense in SENSED},
            "stage1": self._stage1,
            "stage2": self._stage2,
            "stage3": self._stage3,
            "model": self._model,
        }
        onward = {step.split("-")[0] for step in checked(recipe)}
        media = recipe.media or (MEDIA if recipe.start else (*MEDIA, *SENSED))
        media = (*media, *(modality for modality in (*MEDIA, *SENSED) if modality in onward - set(media)))
        self.made = [modality for modality in media if modality in MEDIA]
        self.senses = [modality for modality in media if modality in SENSED]
        if recipe.bridged and self.senses:
            few = ",".join(self.made)
            raise RequestError(f"with bridged=true {', '.join(self.senses)} cannot borrow of pictures: media={few}")
        left_out = {*MEDIA, *SENSED} - set(media)
        self.steps = {step: run for step, run in self.steps.items() if step.split("-")[0] not in left_out}
        if recipe.start:
            kept = ("stage", "model", *self.senses, *recipe.onward)
            self.steps = {step: run for step, run in self.steps.items() if step.startswith(kept)}

    def say_how_long(self) -> None:
        """Says how long each step takes on this machine, and from now on how far all of them are."""
        tell = lambda step: print(f"rehearsing {step}", file=sys.stderr)  # noqa: E731
        seconds = plan(self.recipe, self.output, tell)
        self.overall = Overall(seconds, {step for step in self.steps if self.done(step)})

    def _tokenizer(self, folder: Path) -> bool:
        from anygen.training.tokenizer import corpus, train_tokenizer

        train_tokenizer(self.recipe.vocabulary, corpus(media=self.made)).save_pretrained(folder)
        return True

    def _llm(self, folder: Path) -> bool:
        from anygen.training.llm import LLMSizes, LLMStage

        r = self.recipe
        sizes = LLMSizes(width=r.llm_width, depth=r.llm_depth, heads=r.llm_heads, inner=r.llm_inner)
        stage = LLMStage(self.tokenizer(), sizes, media=self.made)
        if not self._fit(stage, folder, "llm"):
            return False
        stage.llm.save_pretrained(folder / "part")
        save_file(stage.recall.state_dict(), folder / "recall.safetensors")
        return True

    def _image_encoder(self, folder: Path) -> bool:
        if self.recipe.start:
            return train_seeing(self, folder)
        from anygen.encoders.imagebind import TowerConfig
        from anygen.training.image_encoder import ImageEncoderStage

        config = TowerConfig(width=self.recipe.encoder_width, depth=self.recipe.encoder_depth)
        projector, table = None, None
        if self.recipe.pool:
            projector = self._resampler("image", (config.side // config.patch) ** 2, config.width)
            table = load_file(self.need("llm") / "part" / "model.safetensors")["model.embed_tokens.weight"]
        fronts = self.recipe.fronts
        stage = ImageEncoderStage(config, self.tokenizer(), projector=projector, table=table, fronts=fronts)
        if not self._fit(stage, folder, "image-encoder"):
            return False
        stage.encoder.save_pretrained(folder / "part")
        stage.text.save_pretrained(folder / "text")
        if projector is not None:
            save_file(projector.state_dict(), folder / TELLING)
        return True

    def _image_vae(self, folder: Path) -> bool:
        if self.recipe.start:
            return train_decoder(self, folder, "image")
        from anygen.training.image_vae import ImageVAEStage, build_vae, set_scaling

        r = self.recipe
        vae = build_vae(r.side, r.vae_channels, r.vae_latents)
        stage = ImageVAEStage(vae, r.side, aligned=0.5 * r.aligned, encoder_steps=r.encoder_steps)
        if not self._fit(stage, folder, "image-vae"):
            return False
        set_scaling(stage.vae.eval(), self.recipe.side, next(stage.parameters()).device)
        stage.vae.save_pretrained(folder / "part")
        return True

    def _image_generator(self, folder: Path) -> bool:
        if self.recipe.start:
            return train_generator(self, folder, "image")
        from diffusers import AutoencoderKL

        from anygen.generators.image import ImageGenerator
        from anygen.training.image_generator import ImageGeneratorStage
        from anygen.training.image_pipeline import GeneratorSizes

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
            sketch_steps=r.sketch_steps,
            settled=r.settled,
            edits=r.edits,
            placed=r.placed,
        )
        if not self._fit(stage, folder, "image-generator"):
            return False
        ImageGenerator(stage.pipeline()).save_pretrained(folder / "part")
        return True

    def _audio_encoder(self, folder: Path) -> bool:
        if self.recipe.start:
            return train_hearing(self, folder)
        from anygen.encoders.audio import AudioTowerConfig
        from anygen.encoders.image import ImageEncoder
        from anygen.training.audio_encoder import AudioEncoderStage

        image = ImageEncoder.from_pretrained(self.need("image-encoder") / "part")
        config = AudioTowerConfig(
            width=self.recipe.encoder_width, depth=self.recipe.audio_depth, joint=image.config.joint
        )
        stage = AudioEncoderStage(config, image)
        if not self._fit(stage, folder, "audio-encoder"):
            return False
        stage.encoder.save_pretrained(folder / "part")
        return True

    def _audio_vae(self, folder: Path) -> bool:
        if self.recipe.start:
            return train_decoder(self, folder, "audio")
        from anygen.training.audio_vae import AudioVAEStage, build_audio_vae, set_audio_scaling

        stage = AudioVAEStage(build_audio_vae(self.recipe.audio_vae_channels, self.recipe.audio_vae_latents))
        if not self._fit(stage, folder, "audio-vae"):
            return False
        set_audio_scaling(stage.vae.eval(), next(stage.parameters()).device)
        stage.vae.save_pretrained(folder / "part")
        return True

    def _audio_vocoder(self, folder: Path) -> bool:
        from anygen.generators.vocoder import Vocoder
        from anygen.training.audio_vocoder import VocoderStage

        stage = VocoderStage(Vocoder(width=self.recipe.vocoder_width, depth=self.recipe.vocoder_depth))
        if not self._fit(stage, folder, "audio-vocoder"):
            return False
        stage.vocoder.save_pretrained(folder / "part")
        return True

    def _audio_generator(self, folder: Path) -> bool:
        if self.recipe.start:
            return train_generator(self, folder, "audio")
        from diffusers import AutoencoderKL

        from anygen.generators.vocoder import Vocoder
        from anygen.training.audio_generator import AudioGeneratorSizes, AudioGeneratorStage

        r = self.recipe
        vae = AutoencoderKL.from_pretrained(self.need("audio-vae") / "part")
        vocoder = Vocoder.from_pretrained(self.need("audio-vocoder") / "part")
        sizes = AudioGeneratorSizes(
            channels=r.audio_unet_channels,
            text_width=r.text_width,
            text_depth=r.text_depth,
            condition=r.audio_condition,
        )
        stage = AudioGeneratorStage(
            vae,
            vocoder,
            self.tokenizer(),
            sizes,
            text_steps=r.audio_text_steps,
            aligned=r.aligned,
            sketch=r.looks,
            sketch_steps=r.sketch_steps,
            tells=r.looks,
            settled=r.settled,
            kinds=r.audio_kinds,
        )
        if not self._fit(stage, folder, "audio-generator"):
            return False
        stage.pipeline().save_pretrained(folder / "part")
        return True

    def _video_encoder(self, folder: Path) -> bool:
        from anygen.training.video_steps import train_encoder

        return train_encoder(self, folder)

    def _video_generator(self, folder: Path) -> bool:
        from anygen.training import video_steps

        if self.recipe.start:
            return train_generator(self, folder, "video")
        return video_steps.train_generator(self, folder)

    def _sense_encoder(self, sense: str, folder: Path) -> bool:
        from anygen.training.sense_steps import train_sense

        return train_sense(self, folder, sense)

    def _align(
        self, folder: Path, name: str, after: str | None, mixture: dict[str, int], train: set[str], **options: Any
    ) -> bool:
        from anygen.training import quantized
        from anygen.training.alignment import AlignmentStage

        r = self.recipe
        if r.quantize and r.fits[name].shard:
            raise RequestError(
                f"{name}: four-bit weights cannot be in pieces; leave out quantize={r.quantize} or shard"
            )
        model = self.model(after)
        if r.data:
            options["data"] = self._data(model, train)
        options |= {"rank": r.rank, "alpha": r.lora_alpha, "dropout": r.lora_dropout, "matrices": r.lora_matrices}
        options |= {"checkpointing": r.checkpointing}
        if "lora" in train:
            options |= {"resting": self._resting(model), "spoken": r.spoken, "drills": r.drills}
        stage = AlignmentStage(name, model, mixture, train, quantize=r.quantize, **options)
        if not self._fit(stage, folder, name):
            return False
        if r.quantize:  # what is kept is the model at full precision, with what was learnt around its copy
            model = self.model(after)
            plain = AlignmentStage(name, model, mixture, train, **options)
            quantized.learned(stage, plain)
        if "lora" in train and r.rank:
            model.llm = model.llm.merge_and_unload()
        model.cpu().save(folder / "model")
        return True

    def _data(self, model: Any, train: set[str]) -> Any:
        """The recipe's own data set, what the frozen parts make of it in the output folder's `features`."""
        from anygen.training.cache import FeatureCache
        from anygen.training.folder import FolderChats

        if torch.cuda.is_available():
            model.to("cuda")
        group = Processes() if self._alone else processes()
        cache = FeatureCache(self.output / "features", share=(group.rank, group.count))
        chats = FolderChats(
            self.recipe.data, model, train, cache, pictures="output" in train and self.recipe.diffusion > 0
        )
        group.agree(None)
        cache.refresh()  # what the others have made
        return chats

    def _cached(self) -> bool:
        """Whether stages 1 and 2 learn from what the frozen parts made once of the playground."""
        r = self.recipe
        return bool(r.pool) and not r.data and (not r.start or bool(r.only)) and not r.bridged

    def _fit_model(self, folder: Path, step: str, stage: Any) -> bool:
        """Fit a stage that trains parts of its `model`, and save that."""
        if not self._fit(stage, folder, step):
            return False
        stage.model.cpu().save(folder / "model")
        return True

    def _stage1(self, folder: Path) -> bool:
        from anygen.training.alignment import STAGE_1

        if self._cached():
            from anygen.training.features import FeaturesStage

            r = self.recipe
            stage = FeaturesStage(
                "stage1", self.model(None), pool=r.pool, fresh=r.fresh, only=r.only, slots=r.slots, hidden=r.hidden
            )
            return self._fit_model(folder, "stage1", stage)
        return self._align(folder, "stage1", None, STAGE_1, TRAINED["stage1"], names=self.recipe.names)

    def _stage2(self, folder: Path) -> bool:
        from anygen.training.alignment import STAGE_2

        if self._cached() and not self.recipe.diffusion:
            from anygen.training.states import StatesStage

            r = self.recipe
            model = self.model("stage1")
            stage = StatesStage("stage2", model, STAGE_2, pool=2 * r.pool, only=r.only, spoken=r.spoken > 0)
            return self._fit_model(folder, "stage2", stage)
        return self._align(
            folder,
            "stage2",
            "stage1",
            STAGE_2,
            TRAINED["stage2"],
            words=1.0,
            diffusion=self.recipe.diffusion,
        )

    def _stage3(self, folder: Path) -> bool:
        from anygen.training.alignment import STAGE_3

        return self._align(
            folder,
            "stage3",
            "stage2",
            STAGE_3,
            TRAINED["stage3"],
            words=0.1,
            names=0.0 if self._cached() else self.recipe.names,  # words of a caption lie on no patch
            diffusion=self.recipe.diffusion,
        )

    def _resting(self, model: Any) -> tuple[str, ...]:
        """Media whose input projectors have nothing to learn in stage 3: those that tell slots, and `resting`.

        None rests where the data is not the playground's.
        """
        if self.recipe.data:
            return ()
        return tuple(
            modality
            for modality, projector in model.input_projectors.items()
            if modality in self.recipe.resting or getattr(projector.config, "slots", False)
        )

    def _model(self, folder: Path) -> bool:
        """The finished folder, in half precision, with its provenance.

        Of a recipe with a `start` it may be asked for (`--stage model`) after any of its steps.
        """
        from anygen.training.provenance import write_provenance

        after = "stage3"
        if self.recipe.start and any(self.done(step) for step in self.steps):
            after = next((stage for stage in ("stage3", "stage2", "stage1") if self.done(stage)), "")
        else:
            self.need(after)
        model = self.model(after or None)
        if self.recipe.blend < 1:
            anew = [step.removesuffix("-encoder") for step in self.recipe.onward if step.endswith("-encoder")]
            model = blended(model, self.model(None), self.recipe.blend, but=anew)
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
    rehearse: bool = False,
) -> Path:
    """Runs a recipe, or one `stage` of it, in `output` (default runs/RECIPE). Returns the output folder.

    Finished steps are skipped; a step that was stopped goes on exactly where it was with `resume`. With `rehearse` a
    few batches of every step are trained first, to say how long all will take; several processes do not rehearse.
    """
    chosen = recipe_for(recipe, set)
    if chosen.anew and not chosen.data:
        raise RequestError(f"the recipe '{chosen.name}' learns from a data set: name one with --set data=DIR")
    folder = Path(output or Path("runs") / chosen.name)
    run = Run(chosen, folder)
    group = processes()
    if rehearse and group.count == 1:
        run.say_how_long()
    try:
        run.start(stage, resume)
        part_ways()
    finally:
        if run.overall:
            run.overall.close()
    return folder


def progress(output: Path) -> dict[str, int]:
    """Steps taken by each started stage of an output folder."""
    found = {}
    for path in sorted(output.glob("*/checkpoint.safetensors")):
        checkpoint = read_checkpoint(path.parent)
        if checkpoint:
            found[path.parent.name] = int(checkpoint[1]["step"])
    return found
