"""Parts of a finished model that learn on: they begin where they were, what they do not touch stays to the bit."""

import json
import random
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from anygen.catalog import find
from anygen.error import DataError, RequestError
from anygen.media import Image
from anygen.model import AnyGenModel
from anygen.playground.clip import KINDS
from anygen.projectors.input import ResamplerProjector
from anygen.testing import tiny_model
from anygen.training.audio_generator import sounds_of
from anygen.training.onward import blended
from anygen.training.recipe import recipe_for
from anygen.training.run import Run
from anygen.training.sense_steps import teachers

SHORT = ("steps=1", "batch=2", "ema=0", "sample_every=0", "precision=no", "rate=1e-2", "warmup=1")


def short(*steps: str) -> list[str]:
    return [f"{step}.{what}" for step in steps for what in SHORT]


def begun(folder: Path, settings: list[str], *steps: str) -> Run:
    return Run(recipe_for("nano-night", [*settings, *short(*steps)]), folder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """All of a model's weights, its generators' networks as well."""
    model = AnyGenModel.load(folder)
    found = dict(model.state_dict())
    for modality in model.writes:
        for name, network in model.generator(modality).networks().items():
            found |= {f"generators.{modality}.{name}.{key}": value for key, value in network.state_dict().items()}
    return found


def changed(before: Path, after: Path) -> set[str]:
    """The names of the weights that differ by more than half precision makes them differ."""
    one, two = weights(before), weights(after)
    assert one.keys() == two.keys()
    return {name for name in one if not torch.equal(one[name].half().float(), two[name].float())}


@pytest.fixture(scope="module")
def start() -> Path:
    """The bundled model: tiny ones' generators are not of nano's form."""
    return find("nano")


def test_a_sound_generator_learns_on_and_all_else_stays(start: Path, tmp_path: Path) -> None:
    run = begun(tmp_path, [f"start={start}", "onward=audio-generator"], "audio-generator")
    assert list(run.steps) == ["audio-generator", "stage1", "stage2", "stage3", "model"]
    with pytest.raises(DataError, match="step 'audio-generator' is not finished"):
        run.model(None)
    assert run.start("audio-generator", False) and run.start("model", False)
    differ = changed(start, tmp_path / "model" / "nano-night")
    assert differ and all(name.startswith("generators.audio.unet.") for name in differ)


def test_a_sound_generator_whose_text_tower_begins_anew(start: Path, tmp_path: Path) -> None:
    settings = [f"start={start}", "onward=audio-generator", "audio_anew=1"]
    run = Run(recipe_for("nano-night", [*settings, *short("audio-generator"), "audio-generator.steps=2"]), tmp_path)
    assert run.start("audio-generator", False) and run.start("model", False)
    differ = changed(start, tmp_path / "model" / "nano-night")
    generators = {name for name in differ if name.startswith("generators.")}
    assert {name.split(".")[2] for name in generators} == {"unet", "text_encoder"}
    # the projector's scales are those of what the new tower says; that it is to learn again
    assert {name.rpartition(".")[2] for name in differ - generators} == {"condition_mean", "condition_std"}


def test_the_kinds_of_clips_are_weighed(start: Path) -> None:
    pipeline = AnyGenModel.load(start).generator("audio").pipeline
    stream, found = random.Random(2), Counter[str]()
    stage = sounds_of(pipeline, settled=0.5, kinds=(0, 0, 1, 0, 3))
    found.update(stage.clip(stream).kind for _ in range(200))
    assert found.keys() == {"melody", "together"} and 120 < found["together"] < 180
    found = Counter(sounds_of(pipeline, settled=0.5).clip(stream).kind for _ in range(200))
    assert set(found) == set(KINDS)


@pytest.mark.parametrize("modality", ["audio", "image"])
def test_a_decoder_learns_on_and_latents_stay(start: Path, tmp_path: Path, modality: str) -> None:
    """Films decode as pictures do, so what pictures have learnt is theirs, too."""
    run = begun(tmp_path, [f"start={start}", f"onward={modality}-vae"], f"{modality}-vae")
    assert run.start(f"{modality}-vae", False) and run.start("model", False)
    differ = changed(start, tmp_path / "model" / "nano-night")
    whose = ("image", "video") if modality == "image" else ("audio",)
    assert {name.split(".")[1] for name in differ} == set(whose)
    assert all(".vae.decoder." in name for name in differ)


def test_a_picture_generator_that_learns_squares_learns_to_read_them(start: Path, tmp_path: Path) -> None:
    settings = [f"start={start}", "onward=image-generator", "placed=0.5", "sketch_steps=1"]
    run = begun(tmp_path, settings, "image-generator")
    assert run.start("image-generator", False)
    before, after = (AnyGenModel.load(start).generator("image"), run.begun().generator("image"))
    texts = ["a dog left of a cat, sea", "a dog b4 left of a cat g5, sea"]
    assert not torch.equal(before.condition(texts)[1], after.condition(texts)[1])
    same = {
        name: torch.equal(a, b)
        for (name, a), b in zip(
            before.pipeline.vae.state_dict().items(), after.pipeline.vae.state_dict().values(), strict=True
        )
    }
    assert all(same.values())


def test_a_film_generator_learns_on_beside_pictures(start: Path, tmp_path: Path) -> None:
    """Both share a UNet, so both are written anew; the autoencoder and what reads captions stay."""
    settings = [f"start={start}", "onward=video-generator", "motion_pictures=2", "motion_seen=4"]
    run = begun(tmp_path, settings, "video-generator")
    assert run.start("video-generator", False) and run.start("model", False)
    differ = changed(start, tmp_path / "model" / "nano-night")
    assert any("motion_modules" in name for name in differ)
    assert any(name.startswith("generators.image.unet.") for name in differ)
    assert all(name.split(".")[2] in ("unet", "adapter") for name in differ)
    model = AnyGenModel.load(tmp_path / "model" / "nano-night")
    theirs = model.generator("image").unet.state_dict()
    ours = model.generator("video").unet.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_picture_generator_learns_on_and_films_borrow_the_new_one(start: Path, tmp_path: Path) -> None:
    run = begun(tmp_path, [f"start={start}", "onward=image-generator"], "image-generator")
    assert run.start("image-generator", False) and run.start("model", False)
    edits = [AnyGenModel.load(f).config.generators["image"] for f in (start, tmp_path / "model" / "nano-night")]
    assert edits[0] == edits[1]  # an adapter that is not asked stays so
    differ = changed(start, tmp_path / "model" / "nano-night")
    assert any(name.startswith("generators.image.unet.") for name in differ)
    assert not any("motion_modules" in name or "text_encoder" in name or ".vae." in name for name in differ)


@pytest.mark.parametrize("step", ["image-generator", "video-generator"])
def test_a_generator_without_an_adapter_begins_one(start: Path, tmp_path: Path, step: str) -> None:
    """The picture that is edited is then seen, from the first release in which it is."""
    bare = tmp_path / "bare"
    shutil.copytree(start, bare)
    shutil.rmtree(bare / "generators" / "image" / "adapter", ignore_errors=True)
    config = json.loads((bare / "anygen.json").read_text())
    config["generators"]["image"]["edit_strength"] = None
    (bare / "anygen.json").write_text(json.dumps(config))
    settings = [f"start={bare}", f"onward={step}", "motion_pictures=4", "motion_seen=4", "edits=1"]
    with pytest.raises(RequestError, match="no adapter 'heavy'; there are full_adapter, light_adapter"):
        begun(tmp_path / "none", [*settings, "adapter=heavy"], step).start(step, False)
    run = begun(tmp_path / "run", [*settings, "adapter=light_adapter", "edit_strength=0.9"], step)
    assert run.start(step, False) and run.start("model", False)
    model = AnyGenModel.load(tmp_path / "run" / "model" / "nano-night")
    adapter = model.generator("image").pipeline.adapter
    assert adapter.config.adapter_type == "light_adapter" and model.config.generators["image"].edit_strength == 0.9
    condition = model.generator("image").condition(["a dog left of a cat, sea"])
    picture = Image(np.full((64, 64, 3), 200, np.uint8))
    draw = partial(model.generator("image").generate, condition, [0], steps=3)
    assert draw() != draw(source=picture, strength=0.9)


def test_seeing_learns_on_and_what_stands_on_it_sees_with_it(start: Path, tmp_path: Path) -> None:
    settings = [f"start={start}", "onward=image-encoder,depth-encoder", "fronts=0.5"]
    run = begun(tmp_path, settings, "image-encoder", "depth-encoder")
    assert list(run.steps)[:2] == ["image-encoder", "depth-encoder"]
    assert run.start("image-encoder", False)
    learnt, was = run.begun(), AnyGenModel.load(start)
    ours, theirs = (model.encoders["image"].state_dict() for model in (learnt, was))
    assert learnt.encoders["video"].image is learnt.encoders["image"]
    assert all(not torch.equal(ours[name], theirs[name]) for name in ("head.weight", "class_token"))
    told = learnt.input_projectors["image"].state_dict()
    assert any(not torch.equal(told[name], value) for name, value in was.input_projectors["image"].state_dict().items())
    assert teachers(run).image.state_dict()["head.weight"].equal(ours["head.weight"])
    assert run.start("depth-encoder", False) and run.start("model", False)
    differ = changed(start, tmp_path / "model" / "nano-night")
    assert {name.split(".")[1] for name in differ} == {"image", "video", "depth", "thermal"}
    ends = ("encoders.image.", "encoders.video.image.", "encoders.depth.", "encoders.thermal.", "input_projectors.")
    assert all(name.startswith(ends) for name in differ)


@pytest.mark.parametrize("slots", [True, False])
def test_hearing_learns_on_with_a_projector_that_tells_slots(start: Path, slots: bool, tmp_path: Path) -> None:
    model = AnyGenModel.load(start)
    assert model.input_projectors["audio"].config.slots
    config = replace(model.input_projectors["audio"].config, slots=slots)
    model.input_projectors["audio"] = ResamplerProjector(config)
    model.save(tmp_path / "start", dtype=torch.float32)
    run = begun(tmp_path / "run", [f"start={tmp_path / 'start'}", "onward=audio-encoder"], "audio-encoder")
    assert list(run.steps) == ["audio-encoder", "stage1", "stage2", "stage3", "model"]
    assert run.start("audio-encoder", False) and run.start("model", False)
    differ = changed(tmp_path / "start", tmp_path / "run" / "model" / "nano-night")
    learnt = {"encoders", "input_projectors"} if slots else {"encoders"}
    assert {name.split(".")[0] for name in differ} == learnt
    assert all(name.startswith(("encoders.audio.", "input_projectors.audio.")) for name in differ)


def test_a_sense_learns_on_from_what_it_was(start: Path, tmp_path: Path) -> None:
    run = begun(tmp_path, [f"start={start}", "onward=depth-encoder"], "depth-encoder")
    assert list(run.steps)[0] == "depth-encoder" and run.senses == ["depth"]
    assert run.start("depth-encoder", False) and run.start("model", False)
    differ = changed(start, tmp_path / "model" / "nano-night")
    assert differ and all(name.startswith(("encoders.depth.relief", "input_projectors.depth")) for name in differ)


def test_projectors_of_some_media_learn_alone(tmp_path: Path) -> None:
    """Stages 1 and 2 from what frozen parts made once; stage 1 then is what the model is made of."""
    run = begun(tmp_path, ["start=nano", "only=audio", "pool=24", "fresh=4"], "stage1", "stage2")
    assert run.start("stage1", False)
    before = AnyGenModel.load(find("nano")).state_dict()
    after = AnyGenModel.load(tmp_path / "stage1" / "model").state_dict()
    differ = {name for name in before if not torch.equal(before[name], after[name])}
    assert differ and all(name.startswith("input_projectors.audio.") for name in differ)
    assert run.start("stage2", False)
    then = AnyGenModel.load(tmp_path / "stage2" / "model").state_dict()
    differ = {name for name in after if not torch.equal(after[name], then[name])}
    assert differ and all(name.startswith("output_projectors.audio.") for name in differ)


def test_a_blend_lies_between_what_was_and_what_was_learnt(tmp_path: Path) -> None:
    before = AnyGenModel.load(tiny_model(tmp_path / "before", media=("image", "depth")))
    after = AnyGenModel.load(tiny_model(tmp_path / "after", seed=1, media=("image", "depth")))
    old, new = ({name: t.clone() for name, t in model.state_dict().items()} for model in (before, after))
    learnt = {name for name, _ in after.named_parameters()}
    found = blended(after, before, 0.75, but=["depth"]).state_dict()
    for name, tensor in found.items():
        tied = name == "llm.lm_head.weight"  # is the embeddings', which must not be blended twice
        kept = name.startswith(("encoders.", "input_projectors.depth.")) or not (name in learnt or tied)
        wanted = new[name] if kept else new[name].lerp(old[name], 0.25)
        torch.testing.assert_close(tensor, wanted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["onward=audio-generator"], "is for a model to go on from: name one with start=MODEL"),
        (["start=nano", "audio_anew=9"], "audio_anew=9 is for a generator that learns on: add onward=audio-generator"),
        (["start=nano", "adapter=light_adapter"], "adapter=light_adapter is for a generator that learns on: add"),
        (["only=audio"], "is for a model to go on from: name one with start=MODEL"),
        (["start=nano", "only=audio", "pool=0"], "only=audio learns from what is cached of the playground"),
        (["start=nano", "only=audio", "diffusion=0.1"], "only=audio learns from what is cached of the playground"),
        (["start=nano", "fronts=0.2"], "fronts=0.2 is for an image encoder that learns: add onward=image-encoder"),
        (["fronts=2"], "fronts=2.0 is a share of the image encoder's scenes: from 0 to 1"),
        (["audio_kinds=1,2"], "audio_kinds=1,2: five weights, not all of them 0, of clips once, times, melody"),
        (["audio_kinds=0,0,0,0,0"], "audio_kinds=0,0,0,0,0: five weights"),
        (["audio_kinds=1,1,1,1,-1"], "audio_kinds=1,1,1,1,-1: five weights"),
        (["blend=0.5"], "blend=0.5 is a share of a model that goes on from a start"),
        (["start=nano", "blend=0"], "above 0, at most 1"),
        (["start=nano", "onward=llm"], "no step 'llm' in which a part of a model learns on; there are image-vae"),
    ],
)
def test_what_cannot_learn_on_is_named(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Run(recipe_for("nano-night", settings), tmp_path)


def test_a_part_that_is_not_there_cannot_learn_on(tmp_path: Path) -> None:
    small = tiny_model(tmp_path / "small", media=("image",))
    run = begun(tmp_path / "run", [f"start={small}", "onward=audio-generator"], "audio-generator")
    with pytest.raises(RequestError, match="has no audio generator that learns on, but none"):
        run.start("audio-generator", False)
    run = begun(tmp_path / "mute", [f"start={small}", "media=image", "onward=audio-encoder"], "audio-encoder")
    with pytest.raises(RequestError, match="has no audio encoder of this package's own"):
        run.start("audio-encoder", False)
    run = begun(tmp_path / "blind", [f"start={small}", "media=image", "onward=image-encoder"], "image-encoder")
    with pytest.raises(RequestError, match="has no image encoder beside texts|tells no slots: leave it out of onward"):
        run.start("image-encoder", False)
    run = begun(tmp_path / "run", [f"start={small}", "media=image", "onward=depth-encoder"], "depth-encoder")
    with pytest.raises(RequestError, match="there is no depth encoder to learn on"):
        run.start("depth-encoder", False)
    run = begun(tmp_path / "run", ["start=nano", "only=smell"], "stage1")
    with pytest.raises(RequestError, match="only=smell: the model reads image"):
        run.start("stage1", False)
