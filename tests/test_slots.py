"""Slots and squares: what a medium shows in words at fixed places, and where things stand to an eighth of a picture."""

import random
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from anygen.catalog import find
from anygen.encoders.imagebind import TowerConfig
from anygen.error import RequestError
from anygen.model import AnyGenModel
from anygen.playground.arrange import on_cells, upright
from anygen.playground.caption import caption
from anygen.playground.clip import Player, sample_clip
from anygen.playground.clip import upright as upright_clip
from anygen.playground.film import Director, sample_film
from anygen.playground.film import upright as upright_film
from anygen.playground.hearing import sound_caption
from anygen.playground.scene import Placed, Scene, in_split, is_heldout, sample_scene, turned
from anygen.playground.slots import Slot, clip_slots, film_slots, scene_slots
from anygen.playground.squares import centre_of, placed_caption, square_of, squares_in
from anygen.playground.watching import film_caption
from anygen.projectors.input import ResamplerConfig, ResamplerProjector, tells_slots
from anygen.template import IGNORE
from anygen.testing import tiny_model
from anygen.training.alignment import AlignmentStage
from anygen.training.features import FeaturesStage
from anygen.training.image_encoder import ImageEncoderStage
from anygen.training.llm import answer_weights
from anygen.training.recipe import recipe_for
from anygen.training.run import Run
from anygen.training.states import States, StatesStage
from anygen.training.telling import Telling
from anygen.training.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(600, iter(["a small dog left of a large cat, sea"] * 20))


def pair(first: str, relation: str, second: str) -> Scene:
    places = {"left of": (0.2, 0.5, 0.8, 0.5), "right of": (0.8, 0.5, 0.2, 0.5)}[relation]
    things = tuple(
        Placed(thing=name, size="medium", x=x, y=y) for name, x, y in ((first, *places[:2]), (second, *places[2:]))
    )
    return Scene(kind="pair", things=things, backdrop="sea", relation=relation)


def said(slots: list[Slot]) -> str:
    return " ".join(" ".join([slot.said] * slot.tokens) for slot in slots)


def test_media_of_a_kind_have_the_same_number_of_slots() -> None:
    stream = random.Random(0)
    for kind, count in (("one", 11), ("count", 11), ("pair", 15), ("three", 14)):
        assert {sum(slot.tokens for slot in scene_slots(sample_scene(stream, kind))) for _ in range(100)} == {count}
    assert len({sum(slot.tokens for slot in film_slots(sample_film(stream))) for _ in range(300)}) == 1
    assert len({sum(slot.tokens for slot in clip_slots(sample_clip(stream))) for _ in range(300)}) == 1


def test_of_two_things_the_left_one_is_first_whoever_is_said_first() -> None:
    expected = "a dog dog left cat cat and and sea sea sea middle left middle right"
    assert (
        said(scene_slots(pair("dog", "left of", "cat")))
        == said(scene_slots(pair("cat", "right of", "dog")))
        == expected
    )


def test_of_three_things_it_is_told_how_they_stand_to_one_another() -> None:
    points = (("dog", 0.2, 0.3), ("cat", 0.5, 0.7), ("pig", 0.8, 0.3))
    things = tuple(Placed(thing=name, size="medium", x=x, y=y) for name, x, y in points)
    scene = Scene(kind="three", things=things, backdrop="sea")
    assert said(scene_slots(scene)) == "a dog dog and cat cat pig pig sea sea sea . . left"
    lower = replace(things[2], x=0.55, y=0.1)
    assert said(scene_slots(replace(scene, things=(*things[:2], lower)))).endswith("sea . below left")


def test_which_is_in_front_is_told_from_the_left_one() -> None:
    things = [Placed(thing=name, size="large", x=x, y=0.5) for name, x in (("dog", 0.7), ("cat", 0.4))]
    scene = Scene(kind="pair", things=tuple(things), backdrop="sea", relation="in front of")
    assert said(scene_slots(scene)).startswith("a cat cat behind dog dog")


def test_films_tell_how_their_first_and_last_frame_look() -> None:
    film = Director(random.Random(0)).one("dog", "rises", "sea")
    ends = [slot.said for slot in film_slots(film)][-6:]
    assert ends[0] == ends[3] == film.actors[0].size and (ends[1], ends[4]) == ("bottom", "top")


@pytest.mark.parametrize("kind", ["scene", "film", "clip"])
def test_different_captions_have_different_slots(kind: str) -> None:
    stream, found = random.Random(5), defaultdict(set)
    for _ in range(1500):
        if kind == "scene":
            scene = upright(sample_scene(stream))
            found[caption(scene)].add(tuple(scene_slots(scene)))
        elif kind == "film":
            film = upright_film(sample_film(stream))
            found[film_caption(film)].add(tuple(film_slots(film)))
        else:
            clip = upright_clip(sample_clip(stream))
            found[sound_caption(clip)].add(tuple(clip_slots(clip)))
    ways = [way for ways in found.values() for way in ways]
    assert len(ways) == len(set(ways)) and len(found) > 300
    said = {"scene": 7, "film": 10, "clip": None}[kind]  # then places, which captions leave open
    for text, those in found.items():
        assert len({way[:said] for way in those}) == 1 or " in front of " in text


def test_what_nobody_could_know_is_not_asked() -> None:
    times = Player(random.Random(0)).times("dog", 3, "slow")
    slots = clip_slots(times, asked=False)
    assert [slot.said for slot in slots if not slot.asked] == ["three", "slow"] * 2
    assert all(slot.asked for slot in clip_slots(times))
    assert "dog" not in said(clip_slots(times, named=False))


def test_a_slot_takes_the_first_words_and_the_last() -> None:
    telling = Telling(TOKENIZER, torch.zeros(len(TOKENIZER), 4))
    cat, sea = (TOKENIZER.encode(f" {word}", add_special_tokens=False) for word in ("cat", "sea"))
    assert len(cat) == len(sea) == 1
    (ids,) = telling.slots([[Slot("cat", 2), Slot("small cat sea", 2), Slot("sea", 1, False)]], 8).tolist()
    small = TOKENIZER.encode(" small", add_special_tokens=False)
    assert ids[1:5] == [*cat, *cat, small[0], *sea] and ids[5] == IGNORE and ids[6] == ids[7] == telling.rest


def test_stage_one_tells_slots(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096, media=("image", "audio")))
    for modality, old in list(model.input_projectors.items()):
        ends = {"tokens_in": old.config.tokens_in, "width_in": old.config.width_in, "width_out": old.config.width_out}
        model.input_projectors[modality] = ResamplerProjector(ResamplerConfig(**ends, queries=12, width=16, heads=2))
    captions = FeaturesStage("stage1", model, pool=16, fresh=0)
    captions(captions.prepare(0, 8, 0), torch.Generator())
    assert not tells_slots(model.input_projectors, "image")
    stage = FeaturesStage("stage1", model, pool=16, fresh=0, slots=True)
    optimizer = torch.optim.AdamW([p for p in stage.parameters() if p.requires_grad], lr=1e-2)
    seen = []
    for step in range(6):
        losses = stage(stage.prepare(step, 8, 0), torch.Generator())
        loss = losses["token_image"] + losses["token_audio"]
        seen.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert seen[-1] < seen[0]
    assert not torch.equal(stage.pool["image"].ids, captions.pool["image"].ids)
    assert torch.equal(stage.pool["image"].features, captions.pool["image"].features)
    again = FeaturesStage("stage1", model, pool=16, fresh=0)  # a projector that has told slots goes on with them
    again(again.prepare(0, 8, 0), torch.Generator())
    assert torch.equal(again.pool["audio"].ids, stage.pool["audio"].ids)


@pytest.mark.parametrize("slots", [False, True])
def test_the_image_encoder_tells_what_its_projector_tells(slots: bool) -> None:
    config = TowerConfig(width=16, depth=1, heads=2, joint=8, side=32, patch=8, stem="patch")
    sizes = ResamplerConfig(tokens_in=16, width_in=16, width_out=4, queries=12, width=16, heads=2, slots=slots)
    table = torch.zeros(len(TOKENIZER), 4)
    stage = ImageEncoderStage(config, TOKENIZER, projector=ResamplerProjector(sizes), table=table)
    scenes = [sample_scene(random.Random(seed)) for seed in range(6)]
    telling = Telling(TOKENIZER, table)
    said = telling.slots(list(map(scene_slots, scenes)), 12)
    told = telling.words([caption(upright(scene)) for scene in scenes], 12)
    assert torch.equal(stage.words(scenes), said if slots else told) and not torch.equal(said, told)


# --- squares


def test_squares_are_counted_from_the_upper_left() -> None:
    assert square_of(Placed(thing="cat", size="medium", x=3 / 16, y=3 / 16)) == "b2"
    assert square_of(Placed(thing="cat", size="small", x=0.99, y=0.01)) == "h2"  # wholly on the canvas
    assert centre_of("b2", "medium") == (3 / 16, 3 / 16)
    for wrong in ("i1", "a0", "a9", "a", "a11", ""):
        with pytest.raises(ValueError, match="columns are a to h"):
            centre_of(wrong, "small")


def test_a_square_says_where_a_thing_on_the_grid_stands() -> None:
    stream = random.Random(2)
    for _ in range(400):
        for placed in sample_scene(stream, grid=8).things:
            assert centre_of(square_of(placed), placed.size) == (placed.x, placed.y)
        scene = sample_scene(stream)
        for placed in scene.things:
            x, y = centre_of(square_of(placed), placed.size)
            assert max(abs(x - placed.x), abs(y - placed.y)) <= 1 / 16 + 1e-9


def test_a_placed_caption_is_the_caption_with_squares_behind_names() -> None:
    assert placed_caption(pair("dog", "left of", "cat")) == "a dog b5 left of a cat g5, sea"
    assert placed_caption(pair("dog", "left of", "cat"), "a cat beside it, sea") == "a cat g5 beside it, sea: b5"
    row = tuple(Placed(thing="owl", size="small", x=x, y=0.5) for x in (0.2, 0.5, 0.8))
    assert placed_caption(Scene(kind="count", things=row, backdrop="sea")) == "three owls small c5 e5 g5, sea"
    stream = random.Random(1)
    for _ in range(200):
        scene = on_cells(sample_scene(stream))
        text = placed_caption(scene)
        assert re.sub(r"( small)?(?: [a-h][1-8])+", "", text) == caption(scene)
        assert [text[end - 2 : end] for end in squares_in(text)] == [square_of(placed) for placed in scene.things]


# --- the training split


def test_training_shows_no_picture_of_which_either_reading_is_held_out() -> None:
    stream = random.Random(6)
    for _ in range(2000):
        scene = sample_scene(stream, "pair")
        assert not is_heldout(scene) and upright(scene).relation in ("left of", "above", "in front of")
        if scene.relation != "in front of":
            assert not is_heldout(turned(scene)) and turned(turned(scene)) == scene
        else:  # nor one of which the other order is: who is always behind is known without a look
            assert not is_heldout(replace(scene, things=scene.things[::-1]))
    read = [sample_scene(stream, "pair", "heldout") for _ in range(500)]
    assert all(is_heldout(scene) and in_split(scene, "heldout") and not in_split(scene, "train") for scene in read)
    other = [turned(scene) for scene in read if scene.relation != "in front of"]
    assert not any(in_split(scene, "train") for scene in other) and not all(map(is_heldout, other))


# --- recipes


def test_a_start_goes_on_with_what_it_has_learnt(tmp_path: Path) -> None:
    assert recipe_for("nano-night").slots and not recipe_for("nano-night", ["start=nano"]).slots
    assert recipe_for("nano-night", ["start=nano", "slots=true"]).slots
    run = Run(recipe_for("nano-night", ["start=nano", "resting=video"]), tmp_path)
    model = AnyGenModel.load(find("nano"))
    for modality in ("image", "audio"):
        projector = model.input_projectors[modality]
        projector.config = replace(projector.config, slots=modality == "image")
    video = model.input_projectors["video"]
    video.config = replace(video.config, slots=False)
    assert run._resting(model) == ("image", "video")
    assert Run(recipe_for("nano-night", ["start=nano", "data=x"]), tmp_path)._resting(model) == ()


def test_a_share_of_the_spoken_batches_is_drills_alone(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096, media=("image", "audio")))
    parts = {"input", "output", "signals", "lora"}
    stage = AlignmentStage("stage3", model, {"vqa": 1}, parts, length=400, rank=0, spoken=0.5, drills=0.5)
    place = model.vocabulary.spans["image"].placeholder
    shown = [bool((stage.prepare(i, 1, 0)["ids"] == place).any()) for i in range(60)]
    assert 5 <= shown.count(False) <= 25  # a quarter, in which there is no picture
    for share in (-0.1, 1.5):
        with pytest.raises(RequestError, match=f"drills={share:g} is a share"):
            AlignmentStage("stage3", model, {"vqa": 1}, parts, rank=0, spoken=0.5, drills=share)


def test_in_spoken_batches_the_llm_is_given_the_slots_themselves(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096, media=("image", "audio")))
    for modality, old in list(model.input_projectors.items()):
        ends = {"tokens_in": old.config.tokens_in, "width_in": old.config.width_in, "width_out": old.config.width_out}
        config = ResamplerConfig(**ends, queries=16, width=16, heads=2, slots=modality == "image")
        model.input_projectors[modality] = ResamplerProjector(config)
    parts = {"input", "output", "signals", "lora"}
    stage = AlignmentStage("stage3", model, {"edit": 1, "hear": 1}, parts, length=400, rank=0, spoken=0.5)
    spoken, seen = [
        next(batch for batch in (stage.prepare(i, 2, 0) for i in range(20)) if ("spoken_image" in batch) is wanted)
        for wanted in (True, False)
    ]
    assert not any("/told/" in key or key.startswith("image/shown") for key in spoken)
    assert any(key.startswith("audio/shown") for key in spoken)  # its projector tells captions
    assert any(key.startswith("image/shown") for key in seen) and any("/told/" in key for key in seen)
    places = int((spoken["ids"] == model.vocabulary.spans["image"].placeholder).sum())
    assert spoken["spoken_image"].numel() == places and bool((spoken["spoken_image"] >= 0).all())
    table = model.llm.get_input_embeddings().weight
    given = {"image": table[spoken["spoken_image"]]}
    audio = stage.senses["audio"]
    heard = {key.removeprefix("audio/shown/"): v for key, v in spoken.items() if key.startswith("audio/shown/")}
    media = {"audio": model.encoders["audio"](audio.features_of(heard))}
    weights = answer_weights((spoken["labels"] != IGNORE).float())
    wanted = model(spoken["ids"], labels=spoken["labels"], media=media, projected=given, label_weights=weights)
    losses = stage(spoken, torch.Generator())
    assert set(losses) == {"text"} and torch.allclose(losses["text"], wanted["text"])
    assert "condition_image" in stage(seen, torch.Generator())


def test_stage_two_may_be_given_slots(tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model", context=4096))
    old = model.input_projectors["image"].config
    ends = {"tokens_in": old.tokens_in, "width_in": old.width_in, "width_out": old.width_out}
    config = ResamplerConfig(**ends, queries=16, width=16, heads=2, slots=True)
    model.input_projectors["image"] = ResamplerProjector(config)
    rows: list[Any] = []
    in_words: list[States] = []
    embed = model.embed
    model.embed = lambda ids, media=None: rows.append(media) or embed(ids, media)  # type: ignore
    model.project = lambda *_: pytest.fail("nobody looks")  # type: ignore[method-assign]
    for spoken in (True, False):
        stage = StatesStage("stage2", model, {"edit": 1}, pool=8, length=600, spoken=spoken)
        in_words.append(stage.states("train", 8)["image"])
    given, nothing = next(media for media in rows if media)["image"], rows[-1]
    table = model.llm.get_input_embeddings().weight
    assert torch.isclose(given[0, 0], table).all(1).any() and given.shape[1] == 16 and not nothing
    one, other = ({tuple(row) for row in states.hidden[:, 0].tolist()} for states in in_words)
    assert set(in_words[0].captions) & set(in_words[1].captions) and not one & other


@pytest.mark.parametrize(("settings", "said"), [({"rank": -1}, "rank"), ({"spoken": 1.5}, "spoken")])
def test_shares_and_ranks_that_cannot_be_are_named(tmp_path: Path, settings: dict, said: str) -> None:
    model = AnyGenModel.load(tiny_model(tmp_path / "model"))
    with pytest.raises(RequestError, match=said):
        AlignmentStage("stage3", model, {"draw": 1}, {"lora"}, **settings)
    with pytest.raises(RequestError, match="four bits do not learn"):
        AlignmentStage("stage3", model, {"draw": 1}, {"lora"}, rank=0, quantize="nf4")
