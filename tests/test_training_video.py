"""Training of the video parts: it starts from the image parts, what is shared stays as it was, what it leaves opens."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anygen.error import RequestError
from anygen.generators.image import ImageGenerator
from anygen.generators.video import VideoGenerator
from anygen.playground.film import Director, Film, sample_film, settle
from anygen.playground.film_dialogue import sample_animated
from anygen.playground.motion import FRAMES, MOTIONS, STILL
from anygen.playground.projection import LAYERS, Projection
from anygen.playground.squares import squares_in
from anygen.playground.storyboard import UNLIKE, squared, storyboard
from anygen.playground.things import INDEX, THINGS
from anygen.testing import tiny_tokenizer
from anygen.training.footage import film_cover, moves_of, things_of
from anygen.training.image_pipeline import GeneratorSizes, build_pipeline, build_text_encoder, build_unet
from anygen.training.image_vae import build_vae
from anygen.training.loop import FitOptions, fit
from anygen.training.tokenizer import caption_tokenizer
from anygen.training.video_generator import VideoGeneratorStage, build_motion_unet, seeing

SIZES = GeneratorSizes(channels=(16, 16), text_width=16, text_depth=1, heads=2)


@pytest.fixture(scope="module")
def image() -> Any:
    """A tiny image generator's pipeline: 64 x 64 pixels, 8 x 8 latents."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = caption_tokenizer(tiny_tokenizer())
        text = build_text_encoder(len(tokenizer), SIZES, tokenizer.eos_token_id, tokenizer.pad_token_id)
        return build_pipeline(build_vae(64, (8, 8, 8, 8), 4), build_unet(4, 8, SIZES), text, tokenizer)


def stage_on(image: Any, **options: Any) -> VideoGeneratorStage:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        stage = VideoGeneratorStage(image, heads=2, seen=4, **options)
    stage.sample = lambda folder, step: {}  # type: ignore[method-assign]
    return stage


def options(steps: int, **more: Any) -> FitOptions:
    return FitOptions(steps=steps, **{"batch": 4, "rate": 3e-3, "warmup": 1, "precision": "no", **more})


def moved(module: nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def motion_of(unet: nn.Module, motion: bool) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in unet.state_dict().items() if ("motion_modules" in name) == motion}


# --- the generator


@torch.no_grad()
def test_untrained_each_frame_is_what_the_image_generator_makes_of_it(image: Any) -> None:
    unet = build_motion_unet(image.unet, heads=2).eval()
    rng = torch.Generator().manual_seed(0)
    noisy, told = torch.randn(2, 4, 3, 8, 8, generator=rng), torch.randn(2, 5, 16, generator=rng)
    times = torch.tensor([300.0, 700.0])
    film = unet(noisy, times, encoder_hidden_states=told.repeat_interleave(3, 0)).sample
    for frame in range(3):
        single = image.unet(noisy[:, :, frame], times, encoder_hidden_states=told).sample
        torch.testing.assert_close(film[:, :, frame], single)


@torch.no_grad()
def test_some_frames_are_given_with_their_own_times(image: Any) -> None:
    unet = build_motion_unet(image.unet, heads=2).eval()
    for name, parameter in unet.named_parameters():
        if ".proj_out." in name and "motion" in name:
            nn.init.normal_(parameter, std=0.2)
    noisy, told = torch.randn(1, 4, FRAMES, 8, 8), torch.randn(FRAMES, 5, 16)

    def run(frames: list[int]) -> Tensor:
        return unet(noisy[:, :, frames], 500.0, encoder_hidden_states=told[frames]).sample

    whole, half = run(list(range(FRAMES))), list(range(0, FRAMES, 2))
    with seeing(unet, torch.arange(FRAMES)):
        assert torch.equal(run(list(range(FRAMES))), whole)
    first = run(half)
    with seeing(unet, torch.tensor(half)):
        assert not torch.allclose(run(half), first, atol=1e-3)
    assert torch.equal(run(half), first)  # nothing is left behind


def test_what_learns_when(image: Any) -> None:
    stage, rng = stage_on(image), torch.Generator()
    batch = stage.prepare(0, 4, 0)
    losses = stage(batch, rng.manual_seed(0))
    assert set(losses) == {"flow"}
    losses["flow"].backward()
    assert not moved(stage.text_encoder) and not moved(stage.vae)
    trained = {name for name, p in stage.unet.named_parameters() if p.grad is not None}
    assert trained and all("motion_modules" in name for name in trained)
    whole = stage_on(image, spatial=True)
    whole(batch, rng)["flow"].backward()
    assert whole.unet.conv_in.weight.grad is not None
    lent = ("text_encoder", "tokenizer", "vae")
    assert (stage.lent, whole.lent) == ((*lent, "unet"), lent)
    with pytest.raises(RequestError, match="shown 5 frames at once; a number that divides 16"):
        VideoGeneratorStage(image, seen=5)


def test_each_frame_is_told_its_own_part_of_the_storyboard(image: Any) -> None:
    stage = stage_on(image, given=0.0, whole=0.0)
    film = settled("rises")
    stage.film = lambda stream: film  # type: ignore[method-assign]
    batch = stage.prepare(1, 3, 0)
    seen: list[Tensor] = []
    stage.unet.register_forward_pre_hook(
        lambda module, args, more: seen.append(more["encoder_hidden_states"]), with_kwargs=True
    )
    stage(batch, torch.Generator().manual_seed(0))
    told = stage.teller.condition([storyboard(film)]).unflatten(1, (FRAMES, -1))[0, batch["frames"]]
    assert seen[0].shape == (12, 32, 16)  # as the UNet folds frames into the batch
    for one in seen[0].unflatten(0, (3, 4)):
        assert torch.allclose(one, told, atol=1e-5) or torch.equal(
            one, stage.teller.condition([""])[0].view(16, 32, 16)[:4]
        )


def test_frames_of_other_films_are_pictures_of_their_own(image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, rng = stage_on(image, pictures=4, stills=24), torch.Generator()
    said = heard(stage, monkeypatch)
    batch = stage.prepare(0, 2, 0)
    texts = said[-1]
    assert len(texts) == 24 and len({*texts}) > 15
    assert sum(any(words in text for words in UNLIKE) for text in texts) > 13  # most of those that are told anything
    assert batch["still/layers"].shape == (24, 1, 2, 4) and batch["still/grounds"].shape == (24, 1, 3)
    losses = stage(batch, rng.manual_seed(0))
    assert set(losses) == {"flow", "picture", "still"}
    losses["still"].backward()
    assert moved(image.unet)
    assert not any(p.grad is not None for name, p in stage.unet.named_parameters() if "motion_modules" in name)
    known: list[Tensor] = []
    image.unet.register_forward_pre_hook(
        lambda module, args, more: known.append(more["encoder_hidden_states"]), with_kwargs=True
    )
    stage(batch, rng.manual_seed(0))
    assert torch.equal(known[-1], stage.text_encoder(batch["still/ids"])[0])
    with pytest.raises(RequestError, match="frames that are pictures .* set motion_pictures"):
        stage_on(image, stills=4)


def test_looks_are_learnt_before_films(image: Any, tmp_path: Path) -> None:
    stage, rng = stage_on(image, pictures=4, stills=6, looks_steps=2), torch.Generator()
    motion, pictures = motion_of(stage.unet, True), motion_of(stage.unet, False)
    batch = stage.prepare(1, 2, 0)
    assert "layers" not in batch and len(batch["still/ids"]) == 6
    losses = stage(batch, rng.manual_seed(0))
    assert set(losses) == {"picture", "still"}
    optimizer = torch.optim.AdamW([p for p in stage.parameters() if p.requires_grad], lr=1e-2)
    sum(losses.values(), torch.zeros(())).backward()
    optimizer.step()
    assert all(torch.equal(value, motion[name]) for name, value in motion_of(stage.unet, True).items())
    assert any(not torch.equal(value, pictures[name]) for name, value in motion_of(stage.unet, False).items())
    films = stage.prepare(2, 2, 0)
    assert set(stage(films, rng)) == {"flow", "picture", "still"}
    stages = [stage_on(copy.deepcopy(image), pictures=4, stills=6, looks_steps=2) for _ in range(4)]
    for one in stages:
        one.sample = lambda folder, step: {}  # type: ignore[method-assign]
    assert fit(stages[0], options(3, ema=0.9), tmp_path / "whole")
    for one in stages[1:]:  # films come in the last of three batches, as does what their modules' optimiser knows
        fit(one, options(3, ema=0.9, minutes=1e-9), tmp_path / "parts")
    for ours, theirs in zip(stages[0].parameters(), stages[3].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(RequestError, match="without films .* set motion_stills"):
        stage_on(image, pictures=4, looks_steps=2)


def heard(stage: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What texts the stage's pictures are told, in the order in which they are."""
    said: list[list[str]] = []
    tokens = stage.pictures.tokens

    def listened(texts: list[str]) -> Any:
        said.append(texts)
        return tokens(texts)

    monkeypatch.setattr(stage.pictures, "tokens", listened)
    return said


def test_a_still_is_drawn_as_its_film_has_it(image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_on(image, pictures=4, stills=40)
    said, film = heard(stage, monkeypatch), settled("spins")
    stage.film = lambda stream: film  # type: ignore[method-assign]
    batch = stage.prepare(0, 2, 0)
    drawn = stage.projection.draw(batch["still/layers"], batch["still/grounds"])[:, 0]
    frames = stage.projection.render([film])[0]
    turns = {"turned right": 4, "upside down": 8, "turned left": 12}
    for text, picture in zip(said[-1], drawn, strict=True):
        if text:  # or told nothing, for guidance
            assert torch.equal(frames[next((frame for turn, frame in turns.items() if turn in text), 0)], picture)
    assert all(any(turn in text for text in said[-1]) for turn in turns)


def test_a_picture_that_is_animated_shows_its_thing_anywhere(image: Any) -> None:
    stage = stage_on(image, given=1.0, settled=1.0)
    batch = stage.prepare(0, 40, 0)
    stream = random.Random("0|0|video generator")
    stream.random(), stream.random()
    films = [sample_animated(stream)[1] for _ in range(40)]
    assert sum(storyboard(settle(film)) != storyboard(film) for film in films) > 20
    told = stage.teller.coded([storyboard(film) for film in films])
    same = (batch["told/input_ids"] == told["input_ids"]).flatten(1).all(1)
    assert same.float().mean() > 0.7  # the others are told nothing, for guidance
    assert torch.equal(batch["layers"], stage.projection.orders(films, given=True)[0])


@pytest.mark.parametrize("aligned", [True, False])
def test_things_go_in_steps_of_the_latent_grid(image: Any, aligned: bool) -> None:
    stage = stage_on(image, given=0.0, settled=0.0, aligned=aligned)
    film = settled("rises")
    stage.film = lambda stream: film  # type: ignore[method-assign]
    tops = stage.prepare(0, 1, 0)["layers"][0, :, 0, 3]
    assert bool((tops % 8 == 0).all()) is aligned and len(tops.unique()) == (6 if aligned else 16)


def test_a_first_frame_that_is_given_is_seen_without_noise(image: Any) -> None:
    stage = stage_on(image, given=1.0, whole=0.0)
    seen: list[Tensor] = []
    stage.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    batch = stage.prepare(0, 4, 0)
    assert batch["frames"].shape == (4,) and batch["frames"][0] == 0
    stage(batch, torch.Generator().manual_seed(0))
    pixels = stage.projection.draw(batch["layers"], batch["grounds"])[:, 0].float() / 127.5 - 1
    clean = stage.vae.encode(pixels).latent_dist.mean * stage.vae.config.scaling_factor
    torch.testing.assert_close(seen[0][:, :, 0], clean)
    stage(batch | {"given": torch.tensor(False)}, torch.Generator().manual_seed(0))
    assert not torch.allclose(seen[1][:, :, 0], clean, atol=0.1)
    assert torch.equal(seen[1][:, :, 1:], seen[0][:, :, 1:])
    frames = {tuple(stage_on(image, whole=1.0).prepare(0, 4, 0)["frames"].tolist())}
    assert frames <= {tuple(range(FRAMES))}


def test_shared_weights_stay_bit_identical_and_a_stopped_run_goes_on(image: Any, tmp_path: Path) -> None:
    stages = [stage_on(image) for _ in range(4)]
    before, fresh = motion_of(stages[0].unet, False), motion_of(stages[0].unet, True)
    vae = {name: tensor.clone() for name, tensor in image.vae.state_dict().items()}
    text = {name: tensor.clone() for name, tensor in image.text_encoder.state_dict().items()}
    assert fit(stages[0], options(3, ema=0.9), tmp_path / "whole")
    for stage in stages[1:]:
        done = fit(stage, options(3, ema=0.9, minutes=1e-9), tmp_path / "parts")
    assert done
    for one, two in zip(stages[0].parameters(), stages[3].parameters(), strict=True):
        assert torch.equal(one, two)
    after = motion_of(stages[0].unet, False)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(torch.equal(image.unet.state_dict()[name], before[name]) for name in before)
    assert all(torch.equal(image.vae.state_dict()[name], vae[name]) for name in vae)
    assert all(torch.equal(image.text_encoder.state_dict()[name], text[name]) for name in text)
    now = motion_of(stages[0].unet, True)
    assert not all(torch.equal(now[name], fresh[name]) for name in fresh)


def test_the_text_encoder_learns_alone_who_is_where_and_then_rests(image: Any, tmp_path: Path) -> None:
    pipeline = copy.deepcopy(image)
    networks = {"unet": pipeline.unet, "text": pipeline.text_encoder}
    before = {name: copy.deepcopy(network.state_dict()) for name, network in networks.items()}

    def changed() -> set[str]:
        return {
            name
            for name, network in networks.items()
            if not all(torch.equal(value, before[name][key]) for key, value in network.state_dict().items())
        }

    stage = stage_on(pipeline, pictures=8, sketch_steps=30)
    batch = stage.prepare(0, 4, 0)
    told = {key.removeprefix("sketch/"): value for key, value in batch.items() if key.startswith("sketch/")}
    assert told["ids"].shape == (48, 32) and "told/input_ids" not in batch
    cover = film_cover(told["layers"], 64, 8)[:, 0]
    for row, _, thing, _ in told["named"].tolist():  # whoever is named is there, and covers some cells
        (layer,) = (told["things"][row] == thing).nonzero()[0].tolist()
        assert cover[row, layer].any()
    losses = stage(batch, torch.Generator().manual_seed(0))
    assert set(losses) == {"film_looks", "film_where", "looks", "where", "anchor"}
    assert fit(stage, options(30, log_every=1), tmp_path / "run")
    assert changed() == {"text"}
    found = (json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    lines = [line for line in found if "film_where" in line]
    first, last = (sum(line["film_where"] for line in part) for part in (lines[:5], lines[-5:]))
    assert last < first
    after = {key: value.clone() for key, value in pipeline.text_encoder.state_dict().items()}
    again = stage_on(pipeline, pictures=2, sketch_steps=0)
    assert fit(again, options(2), tmp_path / "films")
    assert changed() == {"text", "unet"}
    assert all(torch.equal(value, after[key]) for key, value in pipeline.text_encoder.state_dict().items())
    with pytest.raises(RequestError, match="set motion_pictures"):
        VideoGeneratorStage(image, sketch_steps=1)


def test_after_its_sketch_a_stage_no_longer_moves_the_text_encoder(image: Any) -> None:
    stage = stage_on(copy.deepcopy(image), pictures=2, sketch_steps=1)
    losses = stage(stage.prepare(1, 4, 0), torch.Generator().manual_seed(0))
    assert set(losses) == {"flow", "picture"}
    sum(losses.values()).backward()
    assert not moved(stage.text_encoder) and moved(stage.unet)


def test_beside_films_pictures_are_told_squares_and_the_text_encoder_rests(image: Any) -> None:
    stage = stage_on(copy.deepcopy(image), pictures=16, sketch_steps=1, placed=1.0)
    said: list[list[str]] = []
    tokens = stage.pictures.tokens  # type: ignore[union-attr]

    def listened(texts: list[str]) -> Any:
        said.append(texts)
        return tokens(texts)

    stage.pictures.tokens = listened  # type: ignore[union-attr, method-assign]
    first, then = stage.prepare(0, 4, 0), stage.prepare(1, 4, 0)
    pictures = [texts for texts in said if len(texts) == 8]
    assert len(pictures) == 2 and all(squares_in(text) for texts in pictures for text in texts if text)
    named, cover = first["picture/named"], stage.pictures.compositor.cover  # type: ignore[union-attr]
    covered, layered = cover(first["picture/layers"], 8), named[named[:, 3] >= 0]
    assert len(layered) and all(covered[row, layer].any() for row, _, _, layer in layered.tolist())
    losses = stage(first, torch.Generator().manual_seed(0))
    sum(losses.values()).backward()
    assert moved(stage.text_encoder) and not moved(stage.unet)
    stage.zero_grad()
    sum(stage(then, torch.Generator().manual_seed(0)).values()).backward()
    assert not moved(stage.text_encoder) and moved(stage.unet)


def test_storyboards_may_be_told_by_squares(image: Any, tmp_path: Path) -> None:
    pipeline = copy.deepcopy(image)
    stage = stage_on(pipeline, pictures=2, sketch_steps=1, squares=True, stills=4)
    sketch = stage.prepare(0, 4, 0)
    named, layers = sketch["sketch/named"], sketch["sketch/layers"]
    cover = film_cover(layers, 64, 8)[:, 0]
    at_squares = [(row, layer, thing) for row, _, thing, layer in named.tolist() if layer >= 0]
    assert len(at_squares) >= 40  # in a few key frames nothing has appeared yet
    for row, layer, thing in at_squares:
        assert cover[row, layer].any() and sketch["sketch/things"][row, layer] == thing
    film = settled("circles")
    stage.film = lambda stream: film  # type: ignore[method-assign]
    assert stage.told(film) == squared(film)
    batch = stage.prepare(1, 4, 0)
    wanted = stage.teller.coded([squared(film)])
    if not bool(batch["given"]):
        assert any(torch.equal(row, wanted["input_ids"][0]) for row in batch["told/input_ids"])
    assert fit(stage, options(2), tmp_path / "run")
    stage.save(tmp_path / "film")
    assert json.loads((tmp_path / "film" / "film.json").read_text())["squares"] is True


def test_key_frames_tell_things_as_they_are_turned(image: Any) -> None:
    stage = stage_on(copy.deepcopy(image), pictures=2, sketch_steps=1, squares=True)
    film = settled("spins")
    stage.film = lambda stream: film  # type: ignore[method-assign]
    sketch = {key.removeprefix("sketch/"): value for key, value in stage.prepare(0, 4, 0).items()}
    texts = stage.tokenizer.batch_decode(sketch["ids"])
    words = ["", "turned right", "upside down", "turned left"]
    told = [next((turn for turn in (1, 2, 3) if words[turn] in text), 0) for text in texts]
    assert sketch["turns"][:, 0].tolist() == told and set(told) == {0, 1, 2, 3}
    pictures = stage.pictures
    assert pictures is not None and pictures.sprites.shape[:2] == (4, len(THINGS))
    condition = torch.zeros(len(texts), sketch["ids"].shape[1], pictures.look.in_features)
    cover = film_cover(sketch["layers"], 64, 8)[:, 0]
    nothing = pictures.look.bias[: pictures.sprites.shape[-1]]
    row, _, thing, _ = sketch["named"].unbind(1)
    for turns in (sketch["turns"], None):
        turn = torch.tensor(told)[row] if turns is not None else torch.zeros_like(row)
        wanted = (nothing - pictures.sprites[turn, thing]).square().mean()
        looks = pictures.tells(condition, sketch["named"], sketch["things"], cover, turns)["looks"]
        torch.testing.assert_close(looks, wanted)
    quarter = (pictures.sprites[1] - pictures.sprites[0]).square().mean()
    assert quarter > 0.1


def test_films_that_begin_with_a_picture_mostly_go_a_square_beside_it(
    image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_on(copy.deepcopy(image), squares=True, given=1.0)
    chosen, moves = stage._aside, []
    for step in range(20):
        asked, after = list[Film](), list[Film]()

        def aside(film: Film, stream: random.Random, asked: Any = asked, after: Any = after) -> Film:
            asked.append(film)
            after.append(chosen(film, stream))
            return after[-1]

        monkeypatch.setattr(stage, "_aside", aside)
        layers, told = (batch := stage.prepare(step, 4, 0))["layers"], batch["told/input_ids"]
        assert torch.equal(layers[:, 0], stage.projection.orders(asked, given=True)[0][:, 0])
        assert torch.equal(layers[:, 1:], stage.projection.orders(after)[0][:, 1:])
        wanted = stage.teller.coded([squared(film) for film in after])["input_ids"]
        assert (told == wanted).flatten(1).all(1).sum() >= 2  # the others are told nothing, for guidance
        moves += [
            (8 * (b.actors[0].x - a.actors[0].x), 8 * (b.actors[0].y - a.actors[0].y))
            for a, b in zip(asked, after, strict=True)
        ]
    assert 0.3 < sum(max(map(abs, move)) > 0.5 for move in moves) / 80 < 0.75
    assert {round(line) for move in moves for line in move} == {-1, 0, 1}


def test_with_pictures_both_generators_learn_and_stay_one(image: Any, tmp_path: Path) -> None:
    pipeline = copy.deepcopy(image)
    before = {name: tensor.clone() for name, tensor in pipeline.unet.state_dict().items()}
    text = {name: tensor.clone() for name, tensor in pipeline.text_encoder.state_dict().items()}
    stage = stage_on(pipeline, pictures=2)
    assert fit(stage, options(2), tmp_path / "run")
    after = pipeline.unet.state_dict()
    assert not any(torch.equal(after[name], before[name]) for name in ("conv_in.weight", "conv_out.weight"))
    assert all(torch.equal(pipeline.text_encoder.state_dict()[name], text[name]) for name in text)
    spatial = motion_of(stage.unet, False)
    assert all(torch.equal(spatial[name], after[name]) for name in after)
    stage.save(tmp_path / "video")
    stage.save_image(tmp_path / "image")
    opened = VideoGenerator.from_pretrained(tmp_path / "video", base=tmp_path / "image")
    assert set(opened.borrowed) == {"unet", "vae", "text_encoder", "tokenizer"}
    found = opened.unet.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in stage.unet.state_dict().items())


@pytest.mark.parametrize("spatial", [False, True])
def test_what_it_leaves_opens_with_the_image_generator(image: Any, tmp_path: Path, spatial: bool) -> None:
    stage = stage_on(image, spatial=spatial)
    with torch.no_grad():
        for name, parameter in stage.unet.named_parameters():
            if parameter.requires_grad and (".proj_out." in name or "conv_out" in name):
                parameter.add_(0.1)
    ImageGenerator(build_pipeline(image.vae, image.unet, image.text_encoder, image.tokenizer)).save_pretrained(
        tmp_path / "image"
    )
    stage.save(tmp_path / "video")
    stored = {path.name for path in (tmp_path / "video").iterdir()}
    assert ("unet" in stored) == spatial and ("motion_adapter" in stored) != spatial
    assert stored.isdisjoint({"vae", "text_encoder", "tokenizer"})
    opened = VideoGenerator.from_pretrained(tmp_path / "video", base=tmp_path / "image")
    assert (opened.frames, opened.size, opened.condition_shape) == (FRAMES, (64, 64), (FRAMES * 32, 16))
    memory = VideoGenerator(stage.pipeline(), opened.film)
    asked = ["0: a cat at the left, sea | 15: a cat at the right, sea"]
    condition = opened.condition(asked)
    torch.testing.assert_close(condition, memory.condition(asked))
    noisy = torch.randn(1, 4, FRAMES, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([500.0])
    torch.testing.assert_close(opened.predict(noisy, times, condition), memory.predict(noisy, times, condition))


# --- footage


def settled(motion: str, thing: str = "cat") -> Film:
    return Director(random.Random(0), settled=True).one(thing, motion, "meadow")


def test_what_is_covered_moves_as_the_thing_does() -> None:
    films = [settled("crosses from left to right"), settled("appears")]
    layers, _ = Projection().orders(films)
    cover = film_cover(layers, 64, 8).float()
    assert cover.shape == (2, FRAMES, LAYERS, 64) and cover[:, :, 1].sum() == 0
    across = (cover[0, :, 0].view(FRAMES, 8, 8).sum(1) * torch.arange(8)).sum(1) / cover[0, :, 0].sum(1)
    assert across[0] < 2.5 and across[-1] > 4.5 and (across.diff() >= 0).all()
    seen = cover[1, :, 0].sum(1) > 0
    assert seen.tolist() == [False] * 8 + [True] * 8


def test_cast_and_motions_are_told_by_number() -> None:
    stream = random.Random(3)
    films = [sample_film(stream, kind) for kind in ("one", "beside", "together", "then")]
    for film, things, moves in zip(films, things_of(films).tolist(), moves_of(films).tolist(), strict=True):
        assert [thing for thing in things if thing >= 0] == [INDEX[name] for name in film.things]
        assert [(*MOTIONS, STILL)[move] for move in moves if move >= 0] == [actor.motion for actor in film.actors]


def test_a_settled_share_of_films_is_as_its_caption_says(image: Any) -> None:
    stage = stage_on(image, settled=0.7)
    films = [stage.film(random.Random(seed)) for seed in range(200)]
    assert 0.6 < sum(settle(film) == film for film in films) / len(films) < 0.85
