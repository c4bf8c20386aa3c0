"""Training of the film encoder, and of films in a whole model: what it starts from rests, both frozen sides stay."""

import itertools
import random
from pathlib import Path
from typing import Any

import torch

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.video import VideoEncoder, VideoTowerConfig
from anygen.media import Video
from anygen.model import AnyGenModel
from anygen.playground.projection import LAYERS, Projection
from anygen.projectors.input import ResamplerConfig, ResamplerProjector
from anygen.testing import tiny_tokenizer
from anygen.training.alignment import STAGE_3, AlignmentStage
from anygen.training.features import FeaturesStage
from anygen.training.footage import evenly
from anygen.training.loop import FitOptions, fit
from anygen.training.recipe import recipe_for
from anygen.training.run import Run
from anygen.training.sense import WORDS, Watching, pool_cover
from anygen.training.video_encoder import VideoEncoderStage


def options(steps: int, **more: Any) -> FitOptions:
    return FitOptions(steps=steps, **{"batch": 4, "rate": 3e-3, "warmup": 1, "precision": "no", **more})


def encoder_stage(seed: int = 0) -> VideoEncoderStage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        image = ImageEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, side=64, patch=16, stem="patch"))
        config = VideoTowerConfig(width=16, joint=8, frames=8, grid=2, depth=1, heads=2)
        projector = ResamplerProjector(
            ResamplerConfig(tokens_in=16, width_in=16, width_out=12, queries=20, width=16, heads=2, layers=1)
        )
        table = torch.randn(len(tiny_tokenizer()), 12)
        stage = VideoEncoderStage(config, image, tiny_tokenizer(), projector=projector, table=table)
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    return stage


def test_the_encoder_learns_and_the_image_encoder_rests(tmp_path: Path) -> None:
    stages = [encoder_stage() for _ in range(3)]
    image = {name: tensor.clone() for name, tensor in stages[0].encoder.image.state_dict().items()}
    batch = stages[0].prepare(0, 4, 0)
    losses = stages[0](batch, torch.Generator())
    shown = {name for name in losses if not name.startswith("_")}
    assert shown == {"picture", "who", "moves", "token_video", "distance_video"}
    assert fit(stages[0], options(2), tmp_path / "whole")
    for stage in stages[1:]:
        fit(stage, options(2, minutes=1e-9), tmp_path / "parts")
    for one, two in zip(stages[0].parameters(), stages[2].parameters(), strict=True):
        assert torch.equal(one, two)
    now = stages[0].encoder.image.state_dict()
    assert all(torch.equal(now[name], image[name]) for name in image)
    stage, rates = stages[0], torch.optim.Adam([p for p in stages[0].parameters() if p.requires_grad], 3e-3)
    totals = []
    for _ in range(15):
        total = sum(loss for name, loss in stage(batch, torch.Generator()).items() if not name.startswith("_"))
        rates.zero_grad()
        total.backward()
        rates.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


def test_the_encoder_stage_reports_on_held_out_films(tmp_path: Path) -> None:
    stage = encoder_stage().eval()
    with torch.no_grad():
        figures = VideoEncoderStage.sample(stage, tmp_path, 3)
    assert set(figures) == {"film_to_image", "who", "moves", "told"}
    assert all(0 <= value <= 1 for value in figures.values())
    assert (tmp_path / "0000003.txt").exists() and "->" in (tmp_path / "0000003-told.txt").read_text()


# --- in a model


def test_watching_shows_what_the_encoder_would_prepare(tiny_film: Path) -> None:
    model = AnyGenModel.load(tiny_film)
    sense = Watching(model, draws=True)
    parts = [sense.sample(random.Random(i)) for i in range(4)]
    shown = sense.shown(parts)
    for part, named in zip(parts, shown["named"].tolist(), strict=True):
        assert [WORDS[i] for i in named if i >= 0] == [*part["film"].things, part["film"].backdrop]
    features = sense.features_of(shown)
    encoder: Any = model.encoders["video"]
    assert isinstance(encoder, VideoEncoder) and evenly(4) == [2, 6, 10, 14]
    frames = Projection().render([part["film"] for part in parts]).permute(0, 1, 3, 4, 2).numpy()
    for film, given in zip(frames, features, strict=True):
        torch.testing.assert_close(encoder.prepare(Video(film, fps=8)), given, atol=0.008, rtol=0)  # a grey level
    cover = sense.cover(shown, encoder.tokens)
    assert cover.shape == (4, LAYERS + 1, encoder.tokens)
    assert pool_cover(cover, model.input_projectors["video"]).shape == (4, LAYERS + 1, model.tokens["video"])
    media = sense.media_of(sense.made(parts))
    assert model.generator("video").encode(media).shape[:3] == (4, 4, 4)


def test_a_pool_of_films_is_renewed_more_slowly(tiny_film: Path) -> None:
    stage = FeaturesStage("stage1", AnyGenModel.load(tiny_film), pool=8, fresh=4).train()
    held = []
    for step in range(3):
        losses = stage(stage.prepare(step, 2, 0), torch.Generator())
        assert {"token_image", "token_video"} <= set(losses)
        held.append({modality: pool.features.clone() for modality, pool in stage.pool.items()})
    for modality, count in (("image", 4), ("video", 1)):
        for one, two in itertools.pairwise(held):
            assert int((one[modality] != two[modality]).flatten(1).any(1).sum()) == count


def test_tuning_leaves_both_frozen_sides_alone(tiny_film: Path, tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_film)
    films = {task: weight for task, weight in STAGE_3.items() if task in ("watch", "film", "refilm")}
    stage = AlignmentStage("stage", model, films, {"input", "output", "signals"}, length=500, diffusion=0.1, pool=32)
    frozen = {name: p.detach().clone() for name, p in stage.named_parameters() if not p.requires_grad}
    generator = {
        f"{i}.{n}": t.clone()
        for i, m in enumerate(model.generator("video").modules())
        for n, t in m.state_dict().items()
    }
    inward = [p.detach().clone() for p in model.input_projectors["video"].parameters()]
    outward = [p.detach().clone() for p in model.output_projectors["video"].parameters()]
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    fit(stage, options(3, batch=2), tmp_path)
    now = dict(stage.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())
    left = {f"{i}.{n}": t for i, m in enumerate(model.generator("video").modules()) for n, t in m.state_dict().items()}
    assert all(torch.equal(left[name], tensor) for name, tensor in generator.items())
    for was, projectors in ((inward, model.input_projectors), (outward, model.output_projectors)):
        assert any(not torch.equal(a, b) for a, b in zip(was, projectors["video"].parameters(), strict=True))


def test_films_join_a_recipe_when_asked(tmp_path: Path) -> None:
    plain, asked = (recipe_for("nano-night", [f"media={media}"]) for media in ("image,audio", "image,audio,video"))
    assert not any(step.startswith("video") for step in Run(plain, tmp_path).steps)
    steps = list(Run(asked, tmp_path).steps)
    assert steps.index("audio-generator") < steps.index("video-encoder") < steps.index("video-generator")
    assert steps.index("video-generator") < steps.index("stage1")
    assert {"video-encoder", "video-generator"} <= set(asked.fits)
