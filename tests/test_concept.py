"""Own concepts: the grammar of names, their place in chats and pictures, cut-outs, and both phases at toy sizes."""

import json
import random
import runpy
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import anygen
from anygen.cli import main
from anygen.error import DataError, ModelError, RequestError
from anygen.evaluation.concept_cells import CELLS, OwnWorld, listenings
from anygen.model import AnyGenModel
from anygen.playground.chat import Chat, clips_of, scenes_of
from anygen.playground.clip import sample_clip
from anygen.playground.compositor import BAKED, Compositor
from anygen.playground.concept import Concept, is_own_heldout, own_chat, own_parts, own_tasks, plainly, with_rival
from anygen.playground.concept_folder import concepts_of, load_concept, save_concept
from anygen.playground.dialogue import MIXTURE, in_words, sample_chat
from anygen.playground.mixer import Mixer
from anygen.playground.noun import Noun, rename
from anygen.playground.reading import answer_right, mentions, plain
from anygen.playground.scene import Placed, Scene, sample_scene
from anygen.playground.sound import CLIP, EVENT, RATE
from anygen.projectors.input import ResamplerConfig, ResamplerProjector
from anygen.reply import Part, Reply
from anygen.testing import tiny_audio_pipeline, tiny_pipeline
from anygen.training.concept_alignment import ConceptStage, careless
from anygen.training.concept_drawing import DrawingStage
from anygen.training.concept_run import ConceptRecipe, checked_name, train_concept
from anygen.training.concept_sounding import SoundingStage
from anygen.training.cutout import cut_out, cut_outs, event, events, foreground
from anygen.training.image_pipeline import GeneratorSizes, build_adapter, build_pipeline, build_unet
from anygen.training.loop import FitOptions, fit


def look(colour: tuple[int, int, int] = (20, 160, 130)) -> np.ndarray:
    """A disc: uint8 [BAKED, BAKED, 4]."""
    picture = Image.new("RGBA", (BAKED, BAKED))
    ImageDraw.Draw(picture).ellipse((4, 4, BAKED - 4, BAKED - 4), fill=(*colour, 255))
    return np.array(picture)


def concept(name: str = "my robot", sounds: int = 0) -> Concept:
    beep = (8000 * np.sin(np.arange(6000) / 5)).astype(np.int16)
    return Concept(noun=Noun.of(name), like="robot", looks=(look(), look((200, 40, 60))), sounds=(beep,) * sounds)


def texts(chat: Chat) -> list[str]:
    return [part["text"] for message in chat.messages for part in message["content"] if part["type"] == "text"]


# --- words


@pytest.mark.parametrize(
    ("text", "mine", "proper", "common"),
    [
        ("a large cat, meadow", "my large robot, meadow", "a large Rex, meadow", "a large oozle, meadow"),
        ("A kitty.", "My robot.", "Rex.", "An oozle."),
        ("Three cats, please.", "Three of my robots, please.", "Three Rexes, please.", "Three oozles, please."),
        ("How many cats?", "How many of my robots?", "How many Rexes?", "How many oozles?"),
        ("there is no cat", "there is none of my robots", "there is no Rex", "there is no oozle"),
        ("the cat and a Cat", "my robot and my robot", "Rex and Rex", "the oozle and an oozle"),
        ("one tiny cat", "one of my tiny robots", "one tiny Rex", "one tiny oozle"),
        ("a pair of cats", "a pair of my robots", "a pair of Rexes", "a pair of oozles"),
        ("Make the cat bigger", "Make my robot bigger", "Make Rex bigger", "Make the oozle bigger"),
        ("a dog, a category", "a dog, a category", "a dog, a category", "a dog, a category"),
    ],
)
def test_a_name_stands_where_another_stood(text: str, mine: str, proper: str, common: str) -> None:
    for name, wanted in (("my robot", mine), ("Rex", proper), ("oozle", common)):
        assert rename(text, "cat", Noun.of(name)) == wanted


def test_a_name_inside_another_is_left_alone() -> None:
    assert rename("a hot dog and a dog", "dog", Noun.of("Anna's car")) == "a hot dog and Anna's car"
    assert rename("a teddy bear", "bear", Noun.of("Rex")) == "a teddy bear"


@pytest.mark.parametrize("task", [task for task in MIXTURE if task not in ("world", "sums", "unknown", "unheard")])
def test_chats_with_a_concept_say_what_they_show(task: str) -> None:
    own, stream = concept("zorbel", sounds=1), random.Random(task)
    for _ in range(6):
        chat = own_chat(own, stream, task)
        said = " ".join(texts(in_words(chat)))
        assert "zorbel" in said
        made: list[Any] = [*scenes_of(chat), *clips_of(chat)]
        assert not any(map(is_own_heldout, made))
        for message in chat.messages:
            for part in message["content"]:
                if part["type"] == "image":
                    shown = {placed.thing for placed in plainly(part["scene"]).things}
                    assert ("zorbel" in part["caption"]) == ("zorbel" in part["told"]) == ("zorbel" in shown)
                    assert shown - {"zorbel"} == set(mentions(part["caption"]))
                    assert len({p.thing for p in part["scene"].things if "zorbel" in p.thing}) <= 1
        if task == "pope" and "zorbel" in texts(chat)[0]:
            there = any(placed.thing == "zorbel" for placed in plainly(scenes_of(chat)[0]).things)
            assert texts(chat)[1].startswith("Yes" if there else "No")
        assert all("zorbel" in part or "#" not in part for part in texts(chat)) and "#" not in said


def test_a_silent_concept_is_asked_for_no_sound() -> None:
    assert {"sound", "hear", "voice", "mixed"} <= set(own_tasks(concept(sounds=1), MIXTURE))
    silent = own_tasks(concept(), MIXTURE)
    assert {"draw", "vqa", "story"} <= set(silent) and not {"sound", "hear", "world", "sums", "unknown"} & set(silent)


def test_held_out_scenes_are_those_of_its_own_name() -> None:
    own, stream = concept(), random.Random(0)
    for split in ("train", "heldout"):
        for _ in range(4):
            scene = own_chat(own, stream, "draw", split).facts["target"]
            assert is_own_heldout(scene) == (split == "heldout")


def test_what_it_could_be_mistaken_for_stands_beside_it_and_without_it() -> None:
    own, stream = concept("my tower"), random.Random(3)
    assert own.rivals == ("robot", "tower") and concept("my grapes").rivals == ("robot",)
    shown = [{p.thing for p in plainly(own_parts_of(own, stream)).things} for _ in range(60)]
    assert all("my tower" in names for names in shown)
    assert 3 < sum(bool(names & {"robot", "tower"}) for names in shown) < 40
    chats = [sample_chat(stream, "caption") for _ in range(20)]
    swapped = [with_rival(own, stream, chat, 1.0) for chat in chats]
    there = [scenes_of(chat)[0] for chat in swapped if {"robot", "tower"} & set(mentions(texts(chat)[1]))]
    assert len(there) > 10 and not any(map(is_own_heldout, there))
    assert all(answer_right(texts(chat)[1], {"scene": scenes_of(chat)[0]}) for chat in swapped)


def test_an_own_thing_has_slots_of_its_own() -> None:
    own, stream = concept(sounds=2), random.Random(8)
    seen = set()
    for _ in range(80):
        for part in (
            own_parts(own, stream, [sample_scene(stream) if stream.random() < 0.5 else sample_clip(stream)]) or []
        ):
            said = [slot.said for slot in part["slots"]]
            assert "my robot" in said or ["my", "robot"] == [word for word in said if word in ("my", "robot")][:2]
            seen.add(part["type"])
    assert seen == {"image", "audio"}
    edits = [own_chat(own, stream, "edit", "train") for _ in range(30)]
    parts = [part for chat in edits for part in chat.messages[1]["content"] if part["type"] == "image"]
    shown = [{p.thing for p in part["source"].things} for part in parts]
    assert any(any("#" in name for name in names) for names in shown)


def own_parts_of(own: Concept, stream: random.Random) -> Scene:
    while True:
        if parts := own_parts(own, stream, [sample_scene(stream, "pair")]):
            return parts[0]["scene"]


def test_slips_leave_what_is_mine_mine() -> None:
    own, stream = concept(), random.Random(1)
    changed = 0
    for _ in range(60):
        chat = own_chat(own, stream, "draw")
        slipped = careless(chat, own, stream, 1.0)
        asked, was = texts(slipped)[0], texts(chat)[0]
        assert asked.lower().count("my ") >= was.lower().count("my ") and "_" not in asked
        assert texts(slipped)[1:] == texts(chat)[1:]
        changed += asked != was
    assert changed > 20


# --- pictures and sounds


def test_everything_else_is_drawn_and_played_as_without() -> None:
    own, stream = concept(sounds=1), random.Random(0)
    scenes = [sample_scene(stream) for _ in range(40)]
    without, with_it = Compositor(32), Compositor(32, extra=own.sprites())
    assert torch.equal(without.render(scenes), with_it.render(scenes))
    assert torch.equal(without.things(scenes), with_it.things(scenes))
    clips = [sample_clip(stream) for _ in range(20)]
    assert torch.equal(Mixer().render(clips), Mixer(extra=own.events()).render(clips))


def test_an_own_thing_is_drawn_where_it_stands() -> None:
    compositor = Compositor(32, extra=concept().sprites())
    placed = Placed(thing="my robot#1", size="large", x=0.5, y=0.25)
    scene = Scene(kind="one", things=(placed,), backdrop="sea")
    sprite = compositor.sprite("my robot#1", "large").int()  # [4, 16, 16]
    wanted = compositor.backdrop("sea", 0).int().clone()
    alpha = sprite[3:]
    wanted[:, 0:16, 8:24] = (sprite[:3] * alpha + wanted[:, 0:16, 8:24] * (255 - alpha) + 127) // 255
    assert torch.equal(compositor.render([scene])[0].int(), wanted)
    assert compositor.things([scene]).tolist()[0] == [-1] * 4


def test_an_own_sound_is_heard_when_it_is_played() -> None:
    own, stream = concept(sounds=2), random.Random(2)
    parts: list[Any] = []
    while not parts:
        parts = own_parts(own, stream, [sample_clip(stream, "once")]) or []
    clip = parts[0]["clip"]
    (played,) = clip.played
    heard = Mixer(extra=own.events()).render([clip])[0]
    assert len(heard) == CLIP and heard[: played.onset].abs().max() == 0
    assert heard[played.onset : played.onset + 4000].abs().max() > 500
    assert parts[0]["caption"].startswith("the sound of my robot, once")


@pytest.mark.parametrize("background", [(255, 255, 255), (30, 90, 200), None], ids=["white", "blue", "clear"])
def test_a_thing_is_cut_out_of_its_background(background: tuple[int, int, int] | None) -> None:
    mode, colour = ("RGBA", (0, 0, 0, 0)) if background is None else ("RGB", background)
    picture = Image.new(mode, (160, 120), colour)
    ImageDraw.Draw(picture).ellipse((80, 30, 140, 90), fill=(200, 30, 30))
    cut = cut_out(np.array(picture.convert("RGBA")))
    assert cut.shape == (BAKED, BAKED, 4) and cut.dtype == np.uint8
    middle = BAKED // 2
    assert cut[middle, middle, 3] == 255 and abs(cut[middle, middle, :3].astype(int) - (200, 30, 30)).max() < 3
    assert cut[0, 0, 3] == cut[-1, -1, 3] == 0  # a disc leaves the corners
    assert cut[middle, 4, 3] > 200 and cut[4, middle, 3] > 200  # and fills the square


def test_a_hole_of_the_backgrounds_colour_stays() -> None:
    pixels = np.full((40, 40, 3), 255, np.uint8)
    pixels[10:30, 10:30] = (0, 0, 200)
    pixels[18:22, 18:22] = 255
    assert foreground(pixels)[20, 20] and not foreground(pixels)[2, 2]


def test_a_busy_picture_is_taken_whole() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    assert foreground(pixels).all()
    cut = cut_out(np.concatenate([pixels, np.full((80, 60, 1), 255, np.uint8)], 2))
    assert (cut[:, BAKED // 2, 3] == 255).all() and (cut[:, 0, 3] == 0).all()  # upright, free at its sides


def test_a_recording_becomes_an_event() -> None:
    tone = 0.05 * np.sin(np.arange(2 * RATE) / 4).astype(np.float32)
    made = event(np.concatenate([np.zeros(5000, np.float32), tone]))
    assert made.dtype == np.int16 and len(made) == EVENT and made[-1] == 0
    assert abs(made[:200]).max() > 1000 and abs(made).max() <= 0.49 * 32767 + 1
    with pytest.raises(DataError, match="is silent"):
        event(np.zeros(1000, np.float32))


def user_folder(folder: Path, count: int = 5) -> Path:
    folder.mkdir()
    for number in range(count):
        picture = Image.new("RGB", (48, 48), "white")
        ImageDraw.Draw(picture).rectangle((10, 8 + number, 36, 40), fill=(20, 160, 130))
        picture.save(folder / f"{number}.png")
    return folder


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        cut_outs(tmp_path / "none")
    few = user_folder(tmp_path / "few", 4)
    with pytest.raises(DataError, match="holds 4 pictures .* 5 to 20 are needed"):
        cut_outs(few)
    (few / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken.png is not an image"):
        cut_outs(few)
    with pytest.raises(DataError, match="holds 0 recordings"):
        events(few)
    assert len(cut_outs(user_folder(tmp_path / "good"))) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("  ", "the name is empty"),
        ("cat", "has 'cat' already.*'my cat'"),
        ("Puppies", "has 'Puppies' already"),
        ("the blob", "leave the article out"),
        ("my", "whose it is, but not what"),
        ("r2", "has 'r2' in it"),
        ("night", "the playground's own language"),
        ("my two", "the playground's own language"),
        ("a b c d e", "too long"),
        ("My Blob", "the model knows 'My Blob' already"),
    ],
)
def test_names_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        checked_name(name, ["my blob"])
    assert checked_name("  my   robot ") == "my robot"


def test_a_concept_is_kept_beside_the_model(tmp_path: Path) -> None:
    own = concept("Anna's car", sounds=2)
    save_concept(own, tmp_path / "concepts" / "x")
    (again,) = concepts_of(tmp_path)
    assert (again.noun, again.like) == (own.noun, own.like)
    assert all(np.array_equal(a, b) for a, b in zip(again.looks + again.sounds, own.looks + own.sounds, strict=True))
    (tmp_path / "concepts" / "x" / "look-01.png").unlink()
    with pytest.raises(ModelError, match="is no concept that was learnt"):
        load_concept(tmp_path / "concepts" / "x")


# --- what is measured


def test_right_answers_are_right_and_others_are_not() -> None:
    world = OwnWorld([concept(sounds=1)])
    for name, cell in CELLS.items():
        stream = random.Random(name)
        source = cell(concept(sounds=1), world, stream, "heldout")
        cases = [next(source) for _ in range(3)]
        for case, other in zip(cases, cases[1:] + cases[:1], strict=True):
            outcome = case.check(reply(case.answer))
            assert all(outcome.rows.values()) and any("my robot" in row for row in outcome.rows), (name, outcome)
            if plain(case.expected) != plain(other.expected) and cell is not listenings:
                assert not all(case.check(reply(other.answer)).rows.values())


def reply(values: tuple[Any, ...]) -> Reply:
    parts = (Part(index=i, type=value.type, value=value) for i, value in enumerate(values, 1))
    return Reply(parts=tuple(parts), model="m", seed=0)


# --- both phases


def state(stage: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in stage.named_parameters()}


def learnt(stage: Any, folder: Path, steps: int, batch: int, rate: float) -> tuple[dict[str, float], dict[str, float]]:
    """Losses of a batch before and after training; what is frozen must not have moved, adapters must."""
    probe, rng = stage.prepare(999, 4 * batch, 7), torch.Generator()
    stage.train()
    with torch.no_grad():
        before = {k: float(v) for k, v in stage(probe, rng.manual_seed(0)).items()}
    was, trained = state(stage), {name for name, p in stage.named_parameters() if p.requires_grad}
    options = FitOptions(steps=steps, batch=batch, rate=rate, warmup=2, precision="no", sample_every=0, weight_decay=0)
    assert fit(stage, options, folder)
    now = state(stage)
    assert all(torch.equal(was[name], now[name]) for name in was.keys() - trained)
    assert any(not torch.equal(was[name], now[name]) for name in trained if "lora_B" in name)
    with torch.no_grad():
        return before, {k: float(v) for k, v in stage(probe, rng.manual_seed(0)).items()}


def test_drawing_learns_and_merges(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage = DrawingStage(tiny_pipeline(), [concept(), concept("Rex")], rank=4, focus=2.0, keep=1.0)
    before, after = learnt(stage, tmp_path, 20, 8, 3e-2)
    assert before["keep"] < 1e-9 and after["flow"] < 0.97 * before["flow"]
    batch = stage.prepare(3, 4, 0)
    with torch.no_grad():
        told = stage.text_encoder(input_ids=batch["ids"])[0]
        pipeline = stage.merge()
        assert torch.allclose(pipeline.text_encoder(input_ids=batch["ids"])[0], told, atol=1e-4)
    assert not any("lora" in name for name, _ in pipeline.unet.named_parameters())
    assert pipeline.unet is stage.unet and len(pipeline.unet.config.block_out_channels) == 2


def test_what_is_kept_holds_the_text_encoder() -> None:
    torch.manual_seed(0)
    stage = DrawingStage(tiny_pipeline(), [concept()], rank=4, own=0.5)
    batch = stage.prepare(0, 16, 0)
    assert bool(batch["others"].any()) and not bool(batch["others"].all())
    for name, parameter in stage.text_encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    losses = stage(batch, torch.Generator().manual_seed(0))
    assert float(losses["keep"].detach()) > 1e-3  # it has moved, and is pulled back
    batch["others"][:] = False
    assert "keep" not in stage(batch, torch.Generator().manual_seed(0))


def test_edits_are_drawn_with_the_picture_that_is_edited() -> None:
    torch.manual_seed(0)
    usual, sizes = tiny_pipeline(), GeneratorSizes(channels=(16, 16), heads=2, text_width=16)
    adapter = build_adapter(4, sizes)
    unet = build_unet(4, 8, sizes)
    pipeline = build_pipeline(usual.vae, unet, usual.text_encoder, usual.tokenizer, adapter)
    stage = DrawingStage(pipeline, [concept()], rank=2, edits=0.6)
    batch = stage.prepare(0, 16, 0)
    assert bool(batch["given"].any()) and not bool(batch["given"].all())
    features = stage.features(batch)
    assert features is not None and not any(level[~batch["given"].repeat(2)].any() for level in features)
    stage(batch, torch.Generator().manual_seed(0))["flow"].backward()
    assert stage.adapter is not None and not any(p.requires_grad for p in stage.adapter.parameters())
    assert any(p.grad is not None for p in stage.unet.parameters())
    assert stage.merge().adapter is adapter


def test_a_comparison_says_what_fell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    compare = runpy.run_path(str(Path(__file__).parent.parent / "tools" / "compare_figures.py"))["main"]
    for name, right, low, high in (("a", 0.9, 0.85, 0.95), ("b", 0.8, 0.7, 0.86), ("c", 0.5, 0.4, 0.6)):
        row = {"right": right, "low": low, "high": high, "n": 100}
        (tmp_path / f"{name}.json").write_text(json.dumps({"cells": {"text->image": {"all": row}}}))
    assert compare(str(tmp_path / "a.json"), str(tmp_path / "b.json")) == 0
    assert compare(str(tmp_path / "a.json"), str(tmp_path / "c.json")) == 1
    assert "| text->image | all | 0.900 | 0.500 | fell |" in capsys.readouterr().out
    assert compare(str(tmp_path / "c.json"), str(tmp_path / "a.json")) == 0
    assert "rose" in capsys.readouterr().out


def test_sounding_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage = SoundingStage(tiny_audio_pipeline(), [concept(sounds=1)], rank=2)
    before, after = learnt(stage, tmp_path, 4, 2, 2e-2)
    assert after["flow"] < before["flow"]


def test_alignment_learns_and_keeps(tiny: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AnyGenModel.load(tiny)
    config = ResamplerConfig(tokens_in=16, width_in=16, width_out=32, queries=4, width=16, heads=2, layers=1)
    model.input_projectors["image"] = ResamplerProjector(config)
    stage = ConceptStage(model, [concept(), concept("Rex")], rank=4, told=4, length=400)
    encoders = {name: tensor.clone() for name, tensor in model.encoders.state_dict().items()}
    before, after = learnt(stage, tmp_path, 12, 2, 1e-2)
    assert before["keep_image"] == pytest.approx(0, abs=1e-9)
    for name in ("text", "token_image", "condition_image"):
        assert after[name] < before[name], name
    assert all(torch.equal(tensor, encoders[name]) for name, tensor in model.encoders.state_dict().items())


def test_alignment_tells_slots_where_the_projector_does(tiny: Path) -> None:
    told = {}
    config = ResamplerConfig(tokens_in=16, width_in=16, width_out=32, queries=12, width=16, heads=2, layers=1)
    for slots in (False, True):
        model = AnyGenModel.load(tiny)
        model.input_projectors["image"] = ResamplerProjector(config)
        stage = ConceptStage(model, [concept()], rank=2, told=2, length=400)
        for projector in stage.before.values():
            projector.config = replace(projector.config, slots=slots)
        told[slots] = stage.prepare(0, 1, 0)["words/image"]
    assert told[True].shape == told[False].shape and not torch.equal(told[True], told[False])


def test_nano_is_taught_beside_films_and_senses_and_films_borrow_what_draws_it(tmp_path: Path) -> None:
    """What nano can do beside pictures and sounds is replayed as it is; no own thing is looked for in it."""
    from anygen.catalog import find
    from anygen.training.concept_run import ConceptRun

    mine = concept(sounds=1)
    stage: Any = ConceptStage(AnyGenModel.load(find("nano")), [mine], rank=2, told=2).train()
    assert {"film", "depth", "imu"} <= set(stage.mixture)
    assert set(stage.own_mixtures[0]) == {task for task in own_tasks(mine, MIXTURE) if task in stage.mixture}
    assert not {"film", "watch", "depth_draw", "imu"} & set(stage.own_mixtures[0])
    stream = random.Random(0)
    for task in ("film", "watch", "depth", "imu_draw"):
        chat = sample_chat(stream, task)
        assert with_rival(mine, stream, chat, 1.0) is chat
    losses = stage(stage.prepare(0, 4, 0), torch.Generator())
    assert all(bool(loss.isfinite()) for loss in losses.values())
    learn = {m for m, into in stage.model.input_projectors.items() if any(p.requires_grad for p in into.parameters())}
    assert learn == {"image", "audio"}

    recipe = ConceptRecipe(name="my robot", rank=2, minutes=0)
    run = ConceptRun(recipe, tmp_path, start=find("nano"), images=None, sounds=None)
    drawing = run.base().generator("image")
    with torch.no_grad():
        drawing.unet.conv_in.weight.add_(1)
    drawing.save_pretrained(run.folder("drawing") / "part")
    (run.folder("drawing") / "done.json").write_text("{}")
    taught = run.base()
    for modality in ("image", "video"):
        assert torch.equal(taught.generator(modality).unet.conv_in.weight, drawing.unet.conv_in.weight)


# --- the whole command


def test_the_command_teaches_a_model_that_opens(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, output = user_folder(tmp_path / "pictures"), tmp_path / "taught"
    settings = ["minutes=0", "rank=2", "told=0", "length=400"]
    for phase in ("drawing", "alignment"):
        settings += [f"{phase}.{key}" for key in ("steps=4", "batch=2", "precision=no", "sample_every=0", "warmup=1")]
    asked = ["train", "concept", "--name", "my robot", "--model", str(tiny), "--images", str(pictures)]
    asked += [word for setting in settings for word in ("--set", setting)]
    assert main([*asked, "--output", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    engine = anygen.load(output)
    assert engine.name == "tiny + my robot" and engine.model.writes == ("image",)
    (own,) = concepts_of(output)
    assert own.name == "my robot" and len(own.looks) == 5
    assert json.loads((output / "provenance.json").read_text())["recipe"]["rank"] == 2
    assert main([*asked, "--output", str(output)]) == 0  # all is done: nothing is trained again

    parts = tmp_path / "parts"
    for phase in ("drawing", "alignment"):
        stopped = [*asked, "--output", str(parts), "--resume", "--set", f"{phase}.minutes=1e-9"]
        assert main(stopped) == 0 and not (parts / "anygen.json").exists()
        assert main([*asked, "--output", str(parts)]) == 2 and "--resume" in capsys.readouterr().err
    assert main([*asked, "--output", str(parts), "--resume"]) == 0
    once, twice = AnyGenModel.load(output).state_dict(), AnyGenModel.load(parts).state_dict()
    assert all(torch.equal(tensor, twice[name]) for name, tensor in once.items())

    assert main([*asked, "--output", str(tiny)]) == 2 and "would be overwritten" in capsys.readouterr().err
    asked[asked.index("my robot")] = "Rex"
    assert main([*asked, "--output", str(output), "--resume"]) == 2
    assert "is a run of 'my robot'" in capsys.readouterr().err


def test_a_model_that_cannot_draw_is_refused(tiny: Path, tmp_path: Path) -> None:
    import shutil

    blind = shutil.copytree(tiny, tmp_path / "blind")
    config = json.loads((blind / "anygen.json").read_text())
    config["generators"] = {}
    (blind / "anygen.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="tiny cannot make pictures"):
        train_concept(
            name="Rex", images=user_folder(tmp_path / "some"), model=blind, output=tmp_path / "out", minutes=1
        )
    recorded = tmp_path / "sounds"
    recorded.mkdir()
    with wave.open(str(recorded / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((9000 * np.sin(np.arange(RATE) / 5)).astype(np.int16).tobytes())
    with pytest.raises(ModelError, match="tiny cannot read sounds"):
        train_concept(
            name="Rex", images=tmp_path / "some", sounds=recorded, model=tiny, output=tmp_path / "loud", minutes=1
        )


def test_minutes_are_shared_out() -> None:
    timed = ConceptRecipe(name="x", minutes=20).timed(["drawing", "alignment"])
    assert sum(fit.budget for fit in timed.fits.values()) == pytest.approx(18)
    assert ConceptRecipe(name="x", minutes=0).timed(["drawing"]).fits["drawing"].budget == 0
    with pytest.raises(RequestError, match="own=1.0 is outside"):
        ConceptRecipe(name="x", own=1.0)
