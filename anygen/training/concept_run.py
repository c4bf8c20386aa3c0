"""Runs of `anygen train concept`: a finished model learns one thing of the user's own, and keeps the rest."""

import dataclasses
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from anygen.catalog import find
from anygen.error import ModelError, RequestError
from anygen.playground.compositor import Compositor
from anygen.playground.concept import Concept, marked, regular
from anygen.playground.concept_folder import concepts_of, load_concept, save_concept, save_concepts, slug
from anygen.playground.noun import OWNERS, Noun
from anygen.playground.reading import meaning
from anygen.playground.scene import Placed, Scene
from anygen.playground.things import BACKDROPS, THINGS
from anygen.training.cutout import cut_outs, events
from anygen.training.image_vae import to_pixels
from anygen.training.loop import FitOptions
from anygen.training.processes import processes
from anygen.training.recipe import changed
from anygen.training.steps import DONE, Steps

_WORD = re.compile(r"[A-Za-z]+(?:[-'][A-Za-z]+)*'?")
_WORDS, _LETTERS, _PIECES = 4, 32, 12  # that a name has at most
_SHARE = 0.9  # of the minutes that goes into fitting; the rest is for loading and for a last look
_PARTS = {"drawing": 0.45, "sounding": 0.2, "alignment": 0.55}  # of that, by phase, before they are made to fit


def _phase(batch: int, rate: float) -> FitOptions:
    return FitOptions(
        steps=3000, batch=batch, rate=rate, warmup=30, ema=0.99, weight_decay=0.0, log_every=10, sample_every=10**9
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptRecipe:
    """How a concept is learnt. `rank` is that of all LoRA adapters, `own` the share of each batch that shows it.

    `keep` weighs what holds the generators' text encoders to what they said of everything else. `minutes` is the time
    for all phases; `fits` end before their steps where it is over. With 0 minutes they take all their steps, however
    long that is, and a run that was stopped goes on to the same numbers.
    """

    name: str
    rank: int = 16
    own: float = 0.5
    keep: float = 1.0
    length: int = 160  # tokens of a row of dialogues
    told: int = 8  # pictures with the concept that the input projector tells at every step of the alignment
    minutes: float = 20.0
    seed: int = 0
    fits: dict[str, FitOptions] = field(
        default_factory=lambda: {
            "drawing": _phase(32, 1e-3),
            "sounding": _phase(16, 1e-3),
            "alignment": _phase(6, 7e-4),
        }
    )

    def __post_init__(self) -> None:
        if not 0 < self.own < 1:
            raise RequestError(f"own={self.own} is outside of 0..1: the rest of each batch keeps what is known")
        if self.rank < 1 or min(self.minutes, self.told, self.keep) < 0:
            raise RequestError(
                f"rank ({self.rank}) is at least 1, "
                f"minutes ({self.minutes}), told ({self.told}) and keep ({self.keep}) are not negative"
            )

    def timed(self, phases: Sequence[str]) -> "ConceptRecipe":
        """The recipe with its minutes shared out among the phases."""
        whole = sum(_PARTS[phase] for phase in phases)
        fits = {
            phase: dataclasses.replace(self.fits[phase], budget=_SHARE * self.minutes * _PARTS[phase] / whole)
            for phase in phases
        }
        return dataclasses.replace(self, fits=fits)


def checked_name(name: str, known: Sequence[str] = ()) -> str:
    """The name as it is used, or an error that says why it cannot be one; `known` are names of earlier concepts."""
    name = " ".join(name.split())
    words = name.split()
    if not words:
        raise RequestError("the name is empty: say what the thing is called, as in --name 'my robot'")
    if len(words) > _WORDS or len(name) > _LETTERS:
        raise RequestError(f"the name {name[:60]!r} is too long: at most {_WORDS} words and {_LETTERS} letters")
    for word in words:
        if not _WORD.fullmatch(word):
            raise RequestError(f"the name {name!r} has {word!r} in it: a name is words of the letters a to z")
    if words[0].lower() in ("a", "an", "the", "some"):
        raise RequestError(f"leave the article out of {name!r}: say {' '.join(words[1:]) or 'a name'!r}")
    if len(words) == 1 and words[0].lower() in OWNERS:
        raise RequestError(f"{name!r} says whose it is, but not what: say more, as in 'my robot'")
    kind = meaning(name)
    if kind in ("thing", "things"):
        raise RequestError(f"the playground has {name!r} already: give yours another name, such as 'my {name}'")
    if kind is not None or meaning(Noun.of(name).one) not in (None, "thing"):
        raise RequestError(f"{name!r} is a word of the playground's own language: give another name")
    if slug(name) in map(slug, known):
        raise RequestError(f"the model knows {name!r} already: give another name, or start from the model before")
    return name


class ConceptRun(Steps):
    """One concept in one output folder, which becomes the model; the steps are in its folder `run`.

    `start` is the model that learns it. It stays as it is.
    """

    def __init__(
        self,
        recipe: ConceptRecipe,
        output: Path,
        *,
        start: Path,
        images: Path | None,
        sounds: Path | None,
    ) -> None:
        kept = output / "run" / "concept"
        heard = any(kept.glob("sound-*.flac")) if (kept / DONE).exists() else sounds is not None
        phases = ["drawing", *(["sounding"] if heard else []), "alignment"]
        super().__init__(recipe.timed(phases), output / "run")
        self.model_folder, self.origin, self.images, self.sounds = output, start, images, sounds
        all_steps = {
            "concept": self._concept,
            "drawing": self._drawing,
            "sounding": self._sounding,
            "alignment": self._alignment,
            "model": self._model,
        }
        self.steps = {step: run for step, run in all_steps.items() if heard or step != "sounding"}

    def base(self) -> Any:
        """The model that learns, with the generators that have learnt."""
        from anygen.model import AnyGenModel
        from anygen.training.onward import replace_generators

        learnt = {"image": "drawing", "audio": "sounding"}
        places = {m: self.folder(step) / "part" for m, step in learnt.items() if step in self.steps and self.done(step)}
        return replace_generators(AnyGenModel.load(self.origin), places)

    def concepts(self) -> list[Concept]:
        """The new concept, and those that the model knows already."""
        return [load_concept(self.need("concept")), *concepts_of(self.origin)]

    def _concept(self, folder: Path) -> bool:
        """Reads what the user has given, before anything takes long."""
        name = checked_name(self.recipe.name, [concept.name for concept in concepts_of(self.origin)])
        if self.images is None:
            raise RequestError("--images is missing: give a folder with 5 to 20 pictures of it")
        looks = tuple(cut_outs(self.images))
        sounds = tuple(events(self.sounds)) if self.sounds else ()
        model = self.base()
        _able(model, "image", "pictures")
        if sounds:
            _able(model, "audio", "sounds")
        pieces = len(model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"])
        if pieces > _PIECES and len(model.tokenizer) > 1024:  # one of bytes alone spells everything
            raise RequestError(
                f"the name {name!r} is spelt in {pieces} pieces, at most {_PIECES} are learnt: shorten it"
            )
        like = nearest(model, looks)
        folder.mkdir(parents=True, exist_ok=True)
        save_concept(Concept(noun=Noun.of(name), like=like, looks=looks, sounds=sounds), folder)
        plan = ", ".join(f"{phase} {fit.budget:.1f} minutes" for phase, fit in self.recipe.fits.items() if fit.budget)
        print(f"{len(looks)} pictures of {name}, most like the playground's {like}; {plan}", file=sys.stderr)
        return True

    def _drawing(self, folder: Path) -> bool:
        from anygen.generators.image import ImageGenerator
        from anygen.training.concept_drawing import DrawingStage

        r = self.recipe
        stage = DrawingStage(
            self.base().generator("image").pipeline, self.concepts(), rank=r.rank, own=r.own, keep=r.keep
        )
        if not self._fit(stage, folder, "drawing"):
            return False
        ImageGenerator(stage.cpu().merge()).save_pretrained(folder / "part")
        return True

    def _sounding(self, folder: Path) -> bool:
        from anygen.generators.audio import AudioGenerator
        from anygen.training.concept_sounding import SoundingStage

        r = self.recipe
        stage = SoundingStage(
            self.base().generator("audio").pipeline, self.concepts(), rank=r.rank, own=r.own, keep=r.keep
        )
        if not self._fit(stage, folder, "sounding"):
            return False
        AudioGenerator(stage.cpu().merge()).save_pretrained(folder / "part")
        return True

    def _alignment(self, folder: Path) -> bool:
        from anygen.training.concept_alignment import ConceptStage

        r = self.recipe
        stage = ConceptStage(self.base(), self.concepts(), rank=r.rank, own=r.own, told=r.told, length=r.length)
        if not self._fit(stage, folder, "alignment"):
            return False
        stage.model.llm = stage.model.llm.merge_and_unload()
        stage.model.cpu().save(folder / "model")
        return True

    def _model(self, folder: Path) -> bool:
        """The finished folder, in the precision of the model before, with its concepts and its provenance."""
        from anygen.model import AnyGenModel
        from anygen.training.provenance import write_provenance

        model = AnyGenModel.load(self.need("alignment") / "model")
        model.config = dataclasses.replace(model.config, name=f"{model.config.name} + {self.recipe.name}")
        part = folder / "part"
        model.save(part, dtype=precision(self.origin))
        save_concepts(self.concepts(), part)
        write_provenance(part, self.recipe, self.output)
        for path in sorted(part.iterdir()):
            place = self.model_folder / path.name
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(path, place)
        part.rmdir()
        return True


def _able(model: Any, modality: str, what: str) -> None:
    """An error where the model cannot both read and make a modality."""
    for side, verb in ((model.reads, "read"), (model.writes, "make")):
        if modality not in side:
            name = model.config.name
            raise ModelError(f"{name} cannot {verb} {what}, so it cannot learn a thing from them; use another --model")


def precision(folder: Path) -> torch.dtype | None:
    """The precision that the model's projectors are kept in; None where it has none of its own."""
    from safetensors import safe_open

    file = folder / "input_projectors" / "model.safetensors"
    if not file.is_file():
        return None
    with safe_open(file, framework="pt") as tensors:
        return tensors.get_tensor(next(iter(tensors.keys()))).dtype


@torch.no_grad()
def nearest(model: Any, looks: Sequence[Any]) -> str:
    """The thing of the playground whose pictures are nearest to these, as the model's own encoder sees them."""
    encoder = model.encoders["image"]
    own = {marked("own", number): look for number, look in enumerate(looks)}
    compositor = Compositor(encoder.config.side, extra=own)
    things = [item.name for item in THINGS if regular(item.name)]

    def seen(names: Sequence[str]) -> torch.Tensor:
        """Mean features before three backdrops, [names, width]."""
        grounds = [BACKDROPS[0], BACKDROPS[3], BACKDROPS[6]]
        scenes = [
            Scene(kind="one", things=(Placed(thing=name, size="large", x=0.5, y=0.5),), backdrop=ground)
            for name in names
            for ground in grounds
        ]
        pixels = to_pixels(compositor.render(scenes)).to(model.device)
        features = torch.cat([encoder(some).float().mean(1) for some in pixels.split(64)])
        return features.unflatten(0, (-1, len(grounds))).mean(1)

    theirs, ours = seen(things), seen(list(own))
    middle = theirs.mean(0)
    cosine = F.normalize(ours - middle, dim=-1) @ F.normalize(theirs - middle, dim=-1).T  # [looks, things]
    return things[int(cosine.mean(0).argmax())]


def train_concept(
    *,
    name: str,
    images: str | Path | None = None,
    sounds: str | Path | None = None,
    model: str | Path | None = None,
    output: str | Path | None = None,
    minutes: float | None = None,
    stage: str | None = None,
    resume: bool = False,
    set: Sequence[str] = (),
) -> Path:
    """Teaches a model (default: the bundled nano) a thing of the user's own. Returns the folder of the new model.

    `images` is a folder with 5 to 20 pictures, `sounds` one with 1 to 10 recordings. `output` (default runs/NAME) is
    the new model's folder; a run that was stopped goes on there with `resume`. `set` are settings of `ConceptRecipe`
    as "key=value" or "phase.key=value". Raises RequestError, DataError or ModelError for what the user can mend.
    """
    if (count := processes().count) > 1:
        raise RequestError(f"a concept is taught by 1 process, not by {count}; start `anygen train concept` alone")
    recipe = ConceptRecipe(name=checked_name(name))
    for setting in set:
        recipe = changed(recipe, setting)
    if minutes is not None:
        recipe = dataclasses.replace(recipe, minutes=minutes)
    start = find(model)
    folder = Path(output or Path("runs") / slug(name))
    begun = (folder / "run").is_dir()
    if (folder / "anygen.json").exists() and not begun:
        raise RequestError(f"{folder} is a model already, and would be overwritten; use another --output")
    kept = folder / "run" / "concept"
    if (kept / DONE).exists() and load_concept(kept).name != recipe.name:
        raise RequestError(
            f"{folder} is a run of {load_concept(kept).name!r}; use another --output for {recipe.name!r}"
        )
    run = ConceptRun(
        recipe, folder, start=start, images=Path(images) if images else None, sounds=Path(sounds) if sounds else None
    )
    run.start(stage, resume)
    return folder
