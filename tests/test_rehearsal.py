"""A whole recipe from nothing at toy sizes: what it will take is said first, and what it leaves answers."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import anygen
from anygen.signals import MEDIA, SENSED
from anygen.training.loop import FitOptions
from anygen.training.recipe import Recipe, recipe_for
from anygen.training.rehearsal import PLAN, Overall, _estimate, clock, plan
from anygen.training.run import Run

SIZES = (
    "side=64 vae_channels=8,8,8 vae_latents=4 unet_channels=16,16 text_width=16 text_depth=1 sketch_steps=1 "
    "audio_vae_channels=8,8,8,8 audio_vae_latents=4 audio_unet_channels=16,16 audio_condition=16 "
    "vocoder_width=16 vocoder_depth=1 audio_depth=1 encoder_width=16 encoder_depth=1 llm_width=24 llm_depth=1 "
    "llm_heads=2 llm_inner=32 vocabulary=640 projector_width=16 rank=2 pool=32 motion_pictures=2"
)


def toy() -> Recipe:
    recipe = recipe_for("nano-night", SIZES.split())
    fits = {
        name: dataclasses.replace(
            fit, steps=2, batch=2, warmup=1, log_every=1, sample_every=0, save_every=1, precision="no"
        )
        for name, fit in recipe.fits.items()
    }
    return dataclasses.replace(recipe, fits=fits)


def test_a_recipe_goes_from_nothing_to_a_model_that_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anygen.training.rehearsal._BATCHES", 2)
    run = Run(toy(), tmp_path)
    run.say_how_long()
    assert run.overall is not None and set(run.overall.seconds) == set(run.steps)
    assert not any(run.done(step) for step in run.steps)  # a rehearsal leaves nothing but its plan
    assert run.start(None, resume=False) and all(run.done(step) for step in run.steps)
    assert run.overall.passed == pytest.approx(sum(run.overall.seconds.values()))
    run.overall.close()
    said = capsys.readouterr().err
    assert "rehearsing image-generator" in said and "in all" in said and "stage3 " in said
    engine = anygen.load(tmp_path / "model" / "nano-night")
    assert engine.reads == ("text", *MEDIA, *SENSED)
    reply = engine.generate("Draw a dog.", to=["image", "audio", "video"], seed=1, max_new_tokens=9, steps=1)
    assert [part.type for part in reply if part.type != "text"] == ["image", "audio", "video"]
    kept = json.loads((tmp_path / PLAN).read_text())["seconds"]
    assert plan(run.recipe, tmp_path) == kept  # it is not measured again
    assert Run(toy(), tmp_path).start(None, resume=True)  # nothing is left to do


def test_an_estimate_is_the_median_batch_and_the_pool_by_its_size(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": i, "per_second": rate} for i, rate in enumerate((1.0, 10.0, 5.0, 10.0))]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit = FitOptions(steps=1000, batch=10, rate=1e-3)
    recipe = dataclasses.replace(recipe_for("nano-night"), fits={"stage1": fit, "llm": fit}, pool=640)
    # batches took 10, 1, 2 and 1 seconds of 16: 2 besides; the first 9 more than usual, and pools are ten times larger
    assert _estimate(recipe, tmp_path, "llm", 16.0) == pytest.approx(2 + 9 + 1000)
    assert _estimate(recipe, tmp_path, "stage1", 16.0) == pytest.approx(2 + 90 + 1000)
    short = dataclasses.replace(recipe, fits={"llm": dataclasses.replace(fit, budget=5.0)})
    assert _estimate(short, tmp_path, "llm", 16.0) == 300


def test_the_bar_of_all_steps_knows_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    overall = Overall({"tokenizer": 20.0, "llm": 3600.0, "model": 10.0}, {"tokenizer"})
    said = capsys.readouterr().err
    assert "tokenizer        done" in said and "llm              about 1 h 0 min" in said
    overall.show("llm", 0.5)
    assert overall.bar.n == pytest.approx(20 + 1800)
    overall.finish("llm")
    assert overall.bar.n == pytest.approx(3620) and overall.passed == pytest.approx(3620)
    overall.close()
    assert [clock(seconds) for seconds in (0.2, 59, 61, 3599, 7500)] == [
        "1 s",
        "59 s",
        "1 min",
        "1 h 0 min",
        "2 h 5 min",
    ]


def test_a_share_of_a_stage_is_by_steps_or_by_its_budget() -> None:
    assert FitOptions(steps=100, batch=1, rate=1.0).share_at(25, 10.0) == 0.25
    budget = FitOptions(steps=100, batch=1, rate=1.0, budget=1.0)
    assert budget.share_at(25, 30.0) == 0.5 and budget.share_at(75, 30.0) == 0.75 and budget.share_at(1, 90.0) == 1.0
