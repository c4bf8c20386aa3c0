"""Output projectors that see the picture which is edited: what they see, learn and are told."""

import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anygen.catalog import find
from anygen.engine import Engine
from anygen.error import ModelError, RequestError
from anygen.generators.video import FilmOptions, VideoGenerator
from anygen.media import Image
from anygen.model import AnyGenModel
from anygen.playground.arrange import fits, settle
from anygen.playground.caption import caption
from anygen.playground.dialogue import sample_chat
from anygen.playground.edit import sample_edit
from anygen.playground.film import Film
from anygen.playground.film import settle as settle_film
from anygen.playground.film_dialogue import reanimated, sample_animated
from anygen.playground.motion import pose
from anygen.playground.scene import in_split, sample_scene
from anygen.playground.squares import placed_caption, squares_in
from anygen.playground.storyboard import storyboard
from anygen.playground.undo import undone
from anygen.projectors.output import QueryConfig, QueryTransformer
from anygen.testing import tiny_model, tiny_video_pipeline
from anygen.training.alignment import AlignmentStage
from anygen.training.recipe import recipe_for
from anygen.training.run import Run
from anygen.training.sighting import seen_anew, sources, told_to, widened
from anygen.training.states import StatesStage

CONFIG = QueryConfig(
    count=4, width_in=8, length=6, width_out=5, width=16, heads=2, feedforward=16, encoder_layers=1, decoder_layers=1
)


def seeing_model(folder: Path, modality: str = "image") -> AnyGenModel:
    """A tiny model whose output projector of pictures, or of films, is a query transformer that sees."""
    model = AnyGenModel.load(tiny_model(folder, context=4096, media=("image", "video")))
    if modality == "video":
        films = tiny_video_pipeline(model.generator("image").pipeline)
        model.generators["video"] = VideoGenerator(films, FilmOptions(storyboards=True, squares=True))
    made, generator = model.output_projectors[modality].config, model.generator(modality)
    length, width = generator.condition_shape
    plain = QueryTransformer(
        QueryConfig(
            count=made.count,
            width_in=made.width_in,
            length=length,
            width_out=width,
            moments=generator.moments,
            width=16,
            heads=2,
            feedforward=16,
            encoder_layers=1,
            decoder_layers=1,
        )
    )
    stream = random.Random(9)
    texts = [say(sample_scene(stream)) for say in (caption, placed_caption) * 32]
    model.output_projectors[modality] = widened(plain, model.encoders["image"], generator, texts)
    return model


def test_each_row_sees_its_own_picture() -> None:
    torch.manual_seed(0)
    projector = QueryTransformer(QueryConfig(**{**vars_of(CONFIG), "sights": 3, "sight_width": 7})).eval()
    hidden, one, two = torch.randn(3, 4, 8), torch.randn(3, 7), torch.randn(3, 7)
    with torch.no_grad():
        mixed = projector(hidden, seen=[one, None, two])
        for row, seen in enumerate((one, None, two)):
            alone = projector(hidden[row : row + 1], seen=[seen])
            torch.testing.assert_close(mixed[row], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(projector(hidden), projector(hidden, seen=[None] * 3))
        assert not torch.allclose(projector(hidden, seen=[one] * 3), projector(hidden), atol=1e-3)
    with pytest.raises(ModelError, match=r"sees features of \[3, 7\], not of \[2, 7\]"):
        projector(hidden, seen=[one[:2], None, None])


def vars_of(config: QueryConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def test_a_projector_that_does_not_see_ignores_pictures() -> None:
    torch.manual_seed(0)
    projector = QueryTransformer(CONFIG).eval()
    hidden = torch.randn(2, 4, 8)
    assert not projector.sighted
    torch.testing.assert_close(projector(hidden, seen=[torch.randn(3, 7), None]), projector(hidden))


def test_sights_must_be_the_encoders(tmp_path: Path) -> None:
    model = seeing_model(tmp_path / "model")
    model.save(tmp_path / "seeing")
    again = AnyGenModel.load(tmp_path / "seeing")
    assert again.output_projectors["image"].sighted
    projector = again.output_projectors["image"]
    again.output_projectors["image"] = QueryTransformer(replace(projector.config, sights=3))
    width = projector.config.sight_width
    with pytest.raises(ModelError, match=rf"output projector image sees features of \[3, {width}\], but the encoder"):
        again._check()


def test_a_film_that_begins_with_a_picture_is_told_where_that_shows_its_thing() -> None:
    stream, told_apart = random.Random(3), SimpleNamespace(moments=16, film=FilmOptions(storyboards=True))

    def apart(film: Film) -> bool:
        return storyboard(settle_film(film)) != storyboard(film)

    scene, film, _ = next(one for one in (sample_animated(stream) for _ in range(99)) if apart(one[1]))
    part = {"type": "video", "film": film}
    assert told_to(told_apart, part | {"source": scene}) == storyboard(film)
    assert told_to(told_apart, part) == storyboard(settle_film(film)) != storyboard(film)
    made = sample_chat(stream, "animate").messages[-1]["content"][-1]
    assert caption(made["source"]) and made["film"].backdrop == made["source"].backdrop


def test_what_is_edited_is_told_square_by_square() -> None:
    stream = random.Random(3)
    _, source, _, target = sample_edit(stream)
    part = {"type": "image", "scene": target, "source": source}
    assert told_to(None, part, seen=True) == placed_caption(target)
    assert told_to(None, part) == caption(target)  # by a projector that cannot see
    assert told_to(None, part, seen=False) == placed_caption(settle(target))  # where things stand is to be guessed
    scene, own = sample_scene(stream), {"type": "image", "caption": "my robot", "path": "robot.png"}
    for seen in (True, False):
        assert told_to(None, {"type": "image", "scene": scene}, seen=seen) == placed_caption(settle(scene))
        assert told_to(None, own, seen=seen) == "my robot"


def test_edits_mostly_see_their_source_and_other_pictures_rarely_one() -> None:
    stream = random.Random(1)
    _, source, _, target = sample_edit(stream)
    edits = sources([{"scene": target, "source": source}] * 400, stream)
    assert {one for one in edits if one} == {source} and 0.8 < sum(map(bool, edits)) / 400 < 0.97
    others = sources([{"scene": target}] * 400, stream)
    assert 0.08 < sum(map(bool, others)) / 400 < 0.25


def test_an_edits_answer_knows_what_it_edits() -> None:
    for seed in range(20):
        chat = sample_chat(random.Random(seed), "edit")
        assert (
            chat.messages[1]["content"][1]["source"]
            == chat.messages[0]["content"][
                next(i for i, part in enumerate(chat.messages[0]["content"]) if part["type"] == "image")
            ]["scene"]
        )
    drawn = sample_chat(random.Random(0), "draw")
    assert "source" not in drawn.messages[1]["content"][1]


def test_stage_two_learns_from_what_is_seen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = seeing_model(tmp_path / "model")
    stage = StatesStage("stage2", model, {"draw": 1, "edit": 3}, pool=24, length=600).train()
    optimizer = torch.optim.AdamW([p for p in stage.parameters() if p.requires_grad], lr=1e-2)
    seen = []
    for step in range(8):
        losses = stage(stage.prepare(step, 12, 0), torch.Generator())
        seen.append(float(losses["condition_image"].detach()))
        optimizer.zero_grad()
        losses["condition_image"].backward()
        optimizer.step()
    held = stage.states("heldout", 24)["image"]
    assert held.edits is not None and held.seen is not None and held.edits.any() and not held.edits.all()
    for row, text in enumerate(held.captions):
        assert squares_in(text) and bool(held.edits[row]) == bool(held.seen[row].any())
    assert seen[-1] < seen[0]
    assert float(model.output_projectors["image"].sight.weight.grad.abs().sum()) > 0
    assert 0 <= stage.sample(tmp_path, 0)["nearest_image"] <= 1


def without(text: str) -> str:
    """A caption without its squares."""
    return re.sub(r"( small)?( [a-h][1-8])+", "", text)


def test_every_batch_shows_other_pictures_behind_the_same_requests(tmp_path: Path) -> None:
    model = seeing_model(tmp_path / "model")
    stage = StatesStage("stage2", model, {"draw": 1}, pool=8, length=600).train()
    pool = stage.states("train", 8)["image"]
    assert pool.seen is None  # of the pool itself nothing is shown
    rows = torch.zeros(40, dtype=torch.long)
    first, again = (stage._seen_anew("image", pool.of(rows), list(range(start, start + 40))) for start in (0, 0))
    other = stage._seen_anew("image", pool.of(rows), list(range(40, 80)))
    assert first.seen is not None and again.seen is not None and first.edits is not None
    assert first.captions == again.captions != other.captions and torch.equal(first.seen, again.seen)
    plain = pool.captions[0]
    told = [text for text, edits in zip(first.captions, first.edits.tolist(), strict=True) if edits]
    assert len(set(told)) > 8 and squares_in(plain)
    assert {without(text) for text in told} == {without(plain)}
    assert all(text == plain for text, edits in zip(first.captions, first.edits.tolist(), strict=True) if not edits)
    assert len({tuple(one.flatten().tolist()) for one in first.seen[first.edits]}) == int(first.edits.sum())


def test_a_picture_that_was_asked_for_may_be_an_edit_of_many() -> None:
    """The caption stays, what the edit leaves is where it was, and training sees nothing that is held out."""
    stream, kinds = random.Random(4), set()
    for _ in range(600):
        scene = sample_scene(stream)
        source, target = undone(scene, stream)
        assert caption(target) == caption(scene) and source != target
        assert in_split(source, "train") and all(fits(placed) for placed in (*source.things, *target.things))
        kept = [placed for placed in target.things if placed in source.things]
        kinds.add((source.kind, target.kind, len(kept), source.backdrop == target.backdrop))
        if len(source.things) == 1 == len(target.things) and not kept and source.backdrop == target.backdrop:
            ours, theirs = source.things[0], target.things[0]
            alike = (
                (ours.thing == theirs.thing) + (ours.size == theirs.size) + ((ours.x, ours.y) == (theirs.x, theirs.y))
            )
            assert alike == 2
    assert {("three", "pair", 2, True), ("pair", "one", 1, True), ("one", "pair", 1, True)} <= kinds
    assert {("pair", "pair", 2, False), ("three", "three", 2, True), ("one", "one", 0, True)} <= kinds


def test_a_film_begins_in_every_batch_with_another_picture_of_its_caption(tmp_path: Path) -> None:
    """Its storyboard goes on from where that shows the thing; what begins with no picture rarely sees one."""
    model = seeing_model(tmp_path / "model", "video")
    stage = StatesStage("stage2", model, {"animate": 1}, pool=6, length=600, only=["video"], spoken=True).train()
    assert (stage.media, stage.shown) == (("video",), ["image"])
    pool = stage.states("train", 6)["video"]
    rows = torch.zeros(30, dtype=torch.long)
    asked = stage._seen_anew("video", pool.of(rows), list(range(30)))
    assert asked.edits is not None and bool(asked.edits.all()) and asked.seen is not None
    assert len(set(asked.captions)) > 8 and pool.parts[0]["film"].movers[0].motion
    told = [re.sub(r" [a-h][1-8]", "", text) for text in asked.captions]
    assert {text.split(",")[0] for text in told} == {re.sub(r" [a-h][1-8]", "", pool.captions[0]).split(",")[0]}
    own = stage._told("video", pool.hidden, asked.captions)
    assert torch.equal(asked.conditions, own["conditions"]) and torch.equal(asked.weights, own["weights"])
    few = torch.tensor([9, 2])
    projector = model.output_projectors["video"]
    some = stage._seen_anew("video", pool.of(rows).at(projector, few), list(range(30)), few)
    assert some.captions == asked.captions
    torch.testing.assert_close(some.conditions, projector.part(asked.conditions, few))
    loss = stage(stage.prepare(0, 4, 0), torch.Generator())["condition_video"]
    loss.backward()
    assert float(model.output_projectors["video"].sight.weight.grad.abs().sum()) > 0
    film = {"type": "video", "film": pool.parts[0]["film"]}
    asked_for = told_to(model.generator("video"), film)
    beside = [seen_anew(model.generator("video"), film, asked_for, random.Random(turn)) for turn in range(200)]
    assert {text for _, text in beside} == {asked_for}
    assert 10 < sum(scene is not None for scene, _ in beside) < 60


def test_every_other_film_of_a_batch_begins_with_a_picture(tmp_path: Path) -> None:
    model = seeing_model(tmp_path / "model", "video")
    stage = StatesStage("stage2", model, {"animate": 1, "film": 4}, pool=24, length=600, only=["video"], spoken=True)
    pool = stage.states("train", 24)["video"]
    begun = ["source" in part for part in pool.parts]
    assert any(begun) and not all(begun)
    rows = stage._rows("video", pool, torch.rand(60, generator=torch.Generator().manual_seed(0))).tolist()
    assert all(begun[row] for row in rows[::2]) and not all(begun[row] for row in rows[1::2])
    assert len(set(rows[::2])) > 1 and max(rows) < len(begun)


def test_a_picture_of_the_same_caption_begins_the_same_motion() -> None:
    stream, moved = random.Random(5), 0
    for _ in range(100):
        scene, film, _ = sample_animated(stream)
        other, again = reanimated(scene, film, stream)
        assert caption(other) == caption(scene) and again.movers[0].motion == film.movers[0].motion
        start, placed = pose(again.actors[0], 0), other.things[0]
        assert (start.x, start.y, again.backdrop, again.variant) == (placed.x, placed.y, other.backdrop, other.variant)
        moved += other != scene
    assert moved > 80


@pytest.mark.parametrize(("modality", "task"), [("image", "edit"), ("video", "animate")])
def test_stage_three_shows_what_is_edited_or_begins_a_film(tmp_path: Path, modality: str, task: str) -> None:
    model = seeing_model(tmp_path / "model", modality)
    learnt = {"input", "output", "signals"}
    stage = AlignmentStage("stage3", model, {task: 1}, learnt, length=400, resting=["image"])
    batch = stage.prepare(0, 2, 0)
    assert len(batch[f"edits_{modality}"]) == len(batch[f"{modality}/told/input_ids"])
    assert int(batch[f"edits_{modality}"].sum()) > 0
    losses = stage(batch, torch.Generator().manual_seed(0))
    sum(losses[name] for name in losses if not name.startswith("_")).backward()
    assert float(model.output_projectors[modality].sight.weight.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in model.input_projectors["image"].parameters())


@pytest.mark.parametrize("modality", ["image", "video"])
def test_the_engine_shows_the_picture_that_is_edited_or_begins_a_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modality: str
) -> None:
    model = seeing_model(tmp_path / "model", modality)
    engine = Engine(model)
    seen: list[Any] = []
    inner = model.predict_condition

    def watched(asked: str, hidden: torch.Tensor, parts: Any = None, **other: Any) -> Any:
        seen.extend(other["seen"] if asked == modality else ())
        return inner(asked, hidden, parts, **other)

    monkeypatch.setattr(model, "predict_condition", watched)
    picture = Image(torch.full((16, 16, 3), 90, dtype=torch.uint8).numpy())
    engine.generate([picture, "Make it move."], to=modality, seed=1)
    engine.generate("A cat.", to=modality, seed=1)
    shown = [one for one in seen if one is not None]
    assert len(shown) == 1 and seen[0] is shown[0] and len(seen) > 1
    torch.testing.assert_close(shown[0], model.encode("image", [picture])[0])


def test_a_recipe_gives_sight_to_a_finished_model(tmp_path: Path) -> None:
    run = Run(recipe_for("nano-night", [f"start={find('nano')}", "sighted=image"]), tmp_path)
    model = run.model(None)
    projector = model.output_projectors["image"]
    assert projector.sighted and projector.config.sights == model.encoders["image"].tokens
    films = Run(recipe_for("nano-night", [f"start={find('nano')}", "sighted=video"]), tmp_path).model(None)
    assert films.output_projectors["video"].config.sight_width == model.encoders["image"].width
    with pytest.raises(RequestError, match="sighted=audio"):
        Run(recipe_for("nano-night", [f"start={find('nano')}", "sighted=audio"]), tmp_path).model(None)
