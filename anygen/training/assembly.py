"""Putting a model together from what a run's steps have trained, with projectors that fit its parts."""

import random
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from anygen.error import RequestError
from anygen.projectors.bridging import GatedConfig, GatedProjector
from anygen.signals import SENSED
from anygen.training.recipe import Recipe
from anygen.training.steps import Steps

TELLING = "telling.safetensors"  # what an encoder's projector has learnt beside it
PARTS = {"text": "imagebind-text", "image": "imagebind", "audio": "imagebind-audio", "video": "imagebind-video"}
PARTS |= {sense: f"imagebind-{sense}" for sense in SENSED}
"""The encoders' folders in a model."""
LENDERS = {"video": "image"}
"""Whose generator lends a generator what its own folder does not have."""
QUERIES = {"image": 16, "audio": 24, "video": 32}
"""Tokens in which an input projector tells a medium: as many as its longest caption has."""

READING = {"image": (2, 2), "audio": (2, 2), "video": (1, 1)}
"""Layers in which an output projector's states of signals see each other, and how many times as wide as the projector
these and the decoder's are inside: films take less, so that all of nano stays below 100 MB."""


def _captions(modality: str, count: int, generator: Any = None, placed: bool = False) -> list[str]:
    """Random training captions, of films what the generator is told; where pictures are `placed`, every other one with
    squares."""
    if modality == "image":
        from anygen.playground.caption import caption
        from anygen.playground.squares import placed_caption
        from anygen.training.image_vae import scenes_of

        scenes = scenes_of(0, count, 99)
        return [placed_caption(s) if placed and i % 2 else caption(s) for i, s in enumerate(scenes)]
    if modality == "video":
        from anygen.playground.film import sample_film
        from anygen.training.sighting import told_to

        stream = random.Random("film captions")
        return [told_to(generator, {"type": "video", "film": sample_film(stream)}) for _ in range(count)]
    from anygen.playground.hearing import sound_caption
    from anygen.training.audio_vae import clips_of

    return [sound_caption(clip) for clip in clips_of(0, count, 99)]


class Assembly(Steps):
    """The parts that the steps of a recipe have left in their folders, and the model that is made of them."""

    recipe: Recipe
    made: list[str]  # media that the model reads and writes
    senses: list[str]  # what else it reads

    def tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(self.need("tokenizer"))

    def begun(self) -> Any:
        """The model that the recipe starts from, with those of its generators that have learnt on so far."""
        from anygen.catalog import find
        from anygen.model import AnyGenModel
        from anygen.training.onward import replace_learnt

        model = AnyGenModel.load(find(self.recipe.start))
        return replace_learnt(model, self, [step for step in self.recipe.onward if self.done(step)])

    def model(self, after: str | None) -> Any:
        """The model with its parts, and the weights that alignment stage `after` left (None: fresh projectors)."""
        from transformers import LlamaForCausalLM

        from anygen.encoders import OWN, open_encoders
        from anygen.folder import GeneratorConfig, ModelConfig
        from anygen.model import AnyGenModel
        from anygen.training.sense_steps import equip
        from anygen.training.tokenizer import SIGNALS

        if self.recipe.start and (after is None or not self.done(after)):
            for step in self.recipe.onward:
                self.need(step)
            model = self._give_sight(equip(self.begun(), self, self.senses))
            if self.recipe.audio_anew:
                projector = model.output_projectors["audio"]
                projector.measure(model.generator("audio").condition(_captions("audio", 512)).to(model.device))
            return anew(model) if self.recipe.anew else model
        if after is not None:
            return AnyGenModel.load(self.need(after) / "model")
        r = self.recipe
        encoders = open_encoders({m: (tower, OWN, {}) for m, tower in self._towers().items()})
        generators = {m: self._generator(m) for m in self.made}
        guidance = {"image": r.guidance, "audio": r.audio_guidance, "video": r.video_guidance}
        strength = {"image": r.edit_strength if r.edits else None, "video": r.video_strength}
        config = ModelConfig(
            format=1,
            name=r.name,
            signals=SIGNALS,
            llm="llm",
            encoders={m: f"encoders/{PARTS[m]}" for m in encoders},
            generators={
                m: GeneratorConfig(
                    path=f"generators/{m}",
                    steps=r.sampling_steps,
                    guidance=guidance[m],
                    edit_strength=strength.get(m),
                    base=LENDERS.get(m),
                )
                for m in self.made
            },
        )
        model = AnyGenModel(
            config,
            self.tokenizer(),
            LlamaForCausalLM.from_pretrained(self.need("llm") / "part"),
            encoders,
            {m: self._into(m, encoders[m]) for m in self.made},
            {m: self._outof(m, generators[m]) for m in self.made},
            generators,
        )
        return self._give_sight(equip(model, self, self.senses))

    def _give_sight(self, model: Any) -> Any:
        """The model with output projectors that see pictures that are edited or begin films, where the recipe says so
        and they did not yet."""
        from anygen.projectors.output import EYES, QueryTransformer
        from anygen.training.sighting import widened

        for modality in self.recipe.sighted:
            if modality not in EYES:
                raise RequestError(f"sighted={modality}: no output projector of it sees; there are {', '.join(EYES)}")
            if modality not in model.writes or EYES[modality] not in model.reads:
                continue
            projector = model.output_projectors[modality]
            if not isinstance(projector, QueryTransformer):
                raise RequestError(
                    f"sighted={modality}: a {type(projector).__name__} sees nothing, a query transformer can"
                )
            if not projector.sighted:
                generator = model.generator(modality)
                captions = _captions(modality, 512, generator, placed=True)
                model.output_projectors[modality] = widened(projector, model.eye(modality), generator, captions)
        return model

    def _towers(self) -> dict[str, Path]:
        """Where the encoders are; the text tower was trained beside the image encoder."""
        towers = {m: self.need(f"{m}-encoder") / "part" for m in self.made}
        return towers | ({"text": self.need("image-encoder") / "text"} if "image" in towers else {})

    def _generator(self, modality: str) -> Any:
        """A trained generator, with what another lends it."""
        from anygen.generators import GENERATORS

        lender = LENDERS.get(modality)
        base = self._generator_at(lender) if lender else None
        return GENERATORS[modality].from_pretrained(self._generator_at(modality), base=base)

    def _generator_at(self, modality: str) -> Path:
        """Where a trained generator is: that of pictures beside that of films, where the two have learnt together."""
        if modality == "image" and "video" in self.made:
            together = self.need("video-generator") / "image"
            if together.exists():
                return together
        return self.need(f"{modality}-generator") / "part"

    def _into(self, modality: str, encoder: Any) -> Any:
        """A fresh input projector: queries that become the words of a caption, or every few features one token.

        Queries begin as they told captions while the encoder was trained, where they did.
        """
        from anygen.projectors.input import MlpConfig, MlpProjector

        width = self.recipe.llm_width
        if self.recipe.bridged:
            ends = {"tokens_in": encoder.tokens, "width_in": encoder.width, "width_out": width}
            return GatedProjector(GatedConfig(**ends, layers=self.recipe.llm_depth, heads=self.recipe.llm_heads))
        if self.recipe.pool:
            resampler = self._resampler(modality, encoder.tokens, encoder.width)
            told = self.folder(f"{modality}-encoder") / TELLING
            if told.exists():
                resampler.load_state_dict(load_file(told))
            return resampler
        together = {"merge": 2} if modality == "image" else {"run": 4}  # 2 x 2 patches, or four features in a row
        return MlpProjector(
            MlpConfig(tokens_in=encoder.tokens, width_in=encoder.width, width_out=width, hidden=2 * width, **together)
        )

    def _resampler(self, modality: str, tokens: int, width: int) -> Any:
        """An input projector for `tokens` features of `width`, with as many queries as captions have words."""
        from anygen.projectors.input import ResamplerConfig, ResamplerProjector

        config = ResamplerConfig(
            tokens_in=tokens,
            width_in=width,
            width_out=self.recipe.llm_width,
            queries=QUERIES[modality],
            width=self.recipe.projector_width,
            heads=4,
            layers=3,
            slots=self.recipe.slots,
        )
        return ResamplerProjector(config)

    def _outof(self, modality: str, generator: Any) -> Any:
        """A fresh output projector, scaled to the generator's conditions of training captions.

        It reads the signals' states as the language model's recall heads did, where the widths agree.
        """
        from anygen.projectors.output import QueryConfig, QueryTransformer
        from anygen.training.tokenizer import SIGNALS

        length, width = generator.condition_shape
        heads = load_file(self.need("llm") / "recall.safetensors")
        told = heads[f"heads.{modality}.weight"]
        layers, inside = READING[modality]
        query = QueryTransformer(
            QueryConfig(
                count=SIGNALS[modality],
                spread=len(told) // told.shape[1],
                width_in=self.recipe.llm_width,
                length=length,
                width_out=width,
                width=self.recipe.projector_width,
                heads=4,
                feedforward=inside * self.recipe.projector_width,
                encoder_layers=layers,
                decoder_layers=2,
                moments=generator.moments,
            )
        )
        if query.inward.weight.shape == told.shape:
            query.inward.load_state_dict({"weight": told, "bias": heads[f"heads.{modality}.bias"]})
        query.measure(generator.condition(_captions(modality, 512, generator)))
        return query


def anew(model: Any) -> Any:
    """The model with projectors that have learnt nothing yet; the scales of conditions stay as they were measured."""
    from anygen.projectors.input import lend

    for side in (model.input_projectors, model.output_projectors):
        for modality, projector in list(side.items()):
            fresh = type(projector)(projector.config)
            for name, buffer in projector.named_buffers():
                fresh.get_buffer(name).copy_(buffer)
            side[modality] = fresh
    lend(model.input_projectors)
    return model
