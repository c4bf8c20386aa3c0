"""Training of the audio parts: each stage learns something in a few steps, and what it leaves opens again."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anygen.encoders.audio import AudioEncoder, AudioTowerConfig
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.generators.vocoder import Vocoder
from anygen.mel import log_mel
from anygen.model import AnyGenModel
from anygen.playground.clip import sample_clip
from anygen.playground.mixer import Mixer
from anygen.playground.sound import SOUNDS
from anygen.playground.things import THINGS
from anygen.projectors.input import ResamplerConfig, ResamplerProjector
from anygen.training.audio_encoder import AudioEncoderStage, anchors, heard
from anygen.training.audio_generator import GRID, AudioGeneratorSizes, AudioGeneratorStage
from anygen.training.audio_vae import AudioVAEStage, build_audio_vae, set_audio_scaling
from anygen.training.audio_vocoder import VocoderStage, spectral_loss
from anygen.training.loop import FitOptions, fit
from anygen.training.sense import WORDS, Hearing, pool_cover
from anygen.training.tokenizer import train_tokenizer


def losses_of(stage: Any, folder: Path, name: str, steps: int, batch: int = 4, rate: float = 3e-3) -> list[float]:
    stage.sample = lambda folder, step: {}
    fit(stage, FitOptions(steps=steps, batch=batch, rate=rate, warmup=2, precision="no", log_every=1), folder)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row[name] for row in rows if name in row]


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(0)
    return build_audio_vae((8, 8, 8, 8), 4)


@pytest.fixture(scope="module")
def image() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, side=32, patch=8, stem="patch"))


def test_the_autoencoder_learns_and_its_latents_are_scaled(vae: Any, tmp_path: Path) -> None:
    losses = losses_of(AudioVAEStage(vae), tmp_path, "l1", 25, batch=2)
    assert losses[-1] < 0.8 * losses[0]
    set_audio_scaling(vae, "cpu", 32)
    assert 0 < vae.config.scaling_factor < 1e4 and vae.config.scaling_factor != 1.0


def test_the_vocoder_learns_a_batch() -> None:
    torch.manual_seed(0)
    stage = VocoderStage(Vocoder(width=32, depth=2), frames=16)
    batch = stage.prepare(0, 4, 0)
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    totals = []
    for _ in range(25):
        total = sum(stage(batch, torch.Generator().manual_seed(0)).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]
    with torch.no_grad():
        assert stage.vocoder(torch.zeros(2, 16, 64)).shape == (2, 4000)


def test_the_vocoder_begins_with_the_magnitudes_of_the_mel_and_opens_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    clips = [sample_clip(random.Random(1)) for _ in range(2)]
    mel = log_mel(Mixer().render(clips)).transpose(1, 2)
    vocoder = Vocoder(width=16, depth=1).eval()
    with torch.no_grad():
        made = vocoder(mel)
        assert made.shape == (2, 64_000) and made.abs().max() < 1.5
        # random phases cost loudness, but loud stays loud and low stays low
        told, heard = mel.flatten(), log_mel(made).transpose(1, 2).flatten()
        assert torch.corrcoef(torch.stack([told, heard]))[0, 1] > 0.9
        assert vocoder(mel[0]).shape == (64_000,)
        assert torch.allclose(vocoder(mel[0]), made[0], atol=1e-5)
        vocoder.save_pretrained(tmp_path)
        assert torch.equal(Vocoder.from_pretrained(tmp_path)(mel), made)
        assert vocoder.bfloat16()(mel.bfloat16()).dtype == torch.bfloat16


def test_the_spectral_loss_is_zero_only_for_the_same_sound() -> None:
    wave = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert float(spectral_loss(wave, wave)) == 0
    quiet = (1e-9 * wave).requires_grad_(True)
    spectral_loss(quiet, wave).backward()
    assert quiet.grad is not None and quiet.grad.abs().sum() > 0
    assert float(spectral_loss(-wave, wave)) < 1e-6  # phase is not compared
    assert float(spectral_loss(wave * 1.1, wave)) < float(spectral_loss(wave * 2, wave))


def test_the_generator_stage_trains_both_networks_and_leaves_a_pipeline(vae: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = AudioGeneratorSizes(channels=(16, 16), text_width=16, text_depth=1, condition=24, heads=2)
    tokenizer = train_tokenizer(700)
    stage = AudioGeneratorStage(vae, Vocoder(width=16, depth=1), tokenizer, sizes, text_steps=1)
    batch = stage.prepare(0, 4, 0)
    rng = torch.Generator().manual_seed(0)
    losses = stage(batch, rng)
    assert set(losses) == {"sketch", "flow"}
    sum(losses.values()).backward()
    assert _moved(stage.unet) and _moved(stage.text_encoder) and not _moved(stage.vae)
    stage.zero_grad()
    stage.sketch_steps = 1
    first = stage(batch, rng)
    assert set(first) == {"sketch"}
    first["sketch"].backward()
    assert _moved(stage.text_encoder) and not _moved(stage.unet)
    stage.zero_grad()
    rested = stage(batch | {"step": torch.tensor(1)}, rng)
    assert set(rested) == {"flow"}
    rested["flow"].backward()
    assert _moved(stage.unet) and not _moved(stage.text_encoder)
    stage.pipeline().save_pretrained(tmp_path)
    from anygen.generators.audio import AudioGenerator

    generator = AudioGenerator.from_pretrained(tmp_path)
    assert generator.condition_shape == (1, 24)
    assert generator.generate(generator.condition(["the sound of a dog"]), [1], steps=1)[0].seconds == 4.0


def test_the_text_tower_tells_what_is_heard_before_anything_is_rendered(vae: Any) -> None:
    torch.manual_seed(0)
    sizes = AudioGeneratorSizes(channels=(16, 16), text_width=16, text_depth=1, condition=24, heads=2)
    vocoder = Vocoder(width=16, depth=1)
    stage = AudioGeneratorStage(
        vae, vocoder, train_tokenizer(700), sizes, sketch=0.0, sketch_steps=2, tells=0.5, text_steps=2
    )
    batch = stage.prepare(0, 4, 0)
    assert len(batch["ids"]) == 4 and len(stage.prepare(2, 4, 0)["ids"]) == 2
    rng = torch.Generator().manual_seed(0)
    stage.vae = None
    losses = stage(batch, rng)
    assert set(losses) == {"tells", "_told"}
    losses["tells"].backward()
    assert _moved(stage.text_encoder) and not _moved(stage.unet)
    # what differs in one word differs in the vector's own telling of it
    optimizer = torch.optim.Adam([*stage.text_encoder.parameters(), *stage.tells.parameters()], 1e-2)
    for step in range(60):
        optimizer.zero_grad()
        loss = stage(stage.prepare(0, 4, step % 2) | {"step": torch.tensor(0)}, rng)["tells"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * losses["tells"].item()


def _moved(module: nn.Module) -> bool:
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_generator_learns_what_stands_on_its_grid() -> None:
    stream = random.Random(0)
    for _ in range(50):
        assert all(played.onset % GRID == 0 for played in sample_clip(stream, grid=GRID).played)


def test_the_encoder_learns_from_pictures(image: ImageEncoder, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stage = AudioEncoderStage(AudioTowerConfig(width=32, depth=1, heads=2, joint=8, patch=16), image)
    assert stage.pictures.shape == (len(SOUNDS), 48, 8)
    assert not any(p is q for p in stage.parameters() for q in image.parameters())
    losses = losses_of(stage, tmp_path, "rebuild", 12, batch=8)
    assert losses[-1] < losses[0]


def test_anchors_are_the_same_for_everyone(image: ImageEncoder) -> None:
    once, again = anchors(image, 2), anchors(image, 2)
    assert torch.equal(once, again)
    torch.testing.assert_close(once.norm(dim=-1), torch.ones(len(SOUNDS), 2))


def test_events_are_heard_by_the_tokens_of_their_time() -> None:
    orders = torch.zeros(1, 4, 4, dtype=torch.long)
    orders[0, 0] = torch.tensor([0, 8_000, 16_000, 4096])
    weights = heard(orders, 64)[0]  # a token is 1,000 samples
    assert weights[0].nonzero().flatten().tolist() == list(range(16, 24))
    assert weights[0].sum() == pytest.approx(1.0) and weights[1].sum() == 0


def test_hearing_names_what_sounds(tiny_sound: Path) -> None:
    model = AnyGenModel.load(tiny_sound)
    sense = Hearing(model, draws=True)
    parts = [sense.sample(random.Random(i)) for i in range(8)]
    shown = sense.shown(parts)
    for part, named in zip(parts, shown["named"].tolist(), strict=True):
        assert [WORDS[i] for i in named if i >= 0] == [played.thing for played in part["clip"].played]
    assert WORDS[: len(THINGS)] == tuple(thing.name for thing in THINGS)
    features = model.encoders["audio"](sense.features_of(shown))
    cover = pool_cover(sense.cover(shown, features.shape[1]), model.input_projectors["audio"])
    assert cover.shape == (8, 4, model.tokens["audio"])
    assert torch.equal(sense.media_of(sense.made(parts)), Mixer().render([part["clip"] for part in parts]))


def test_an_encoder_that_learns_on_does_so_with_its_projector(
    image: ImageEncoder, tiny_sound: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = AnyGenModel.load(tiny_sound)
    config = AudioTowerConfig(width=32, depth=1, heads=2, joint=8, patch=16)
    tokens = AudioEncoder(config).tokens
    sizes = {"tokens_in": tokens, "width_in": 32, "width_out": model.width, "queries": 24, "width": 32, "heads": 2}
    projector = ResamplerProjector(ResamplerConfig(**sizes, slots=True))
    table = model.llm.get_input_embeddings().weight
    stage = AudioEncoderStage(config, image, projector=projector, tokenizer=model.tokenizer, table=table)
    figures = stage.sample(tmp_path, 0)
    assert 0 <= figures["told"] <= 1 and {"direction", "sound_to_image"} <= figures.keys()
    batch = stage.prepare(0, 80, 0)
    asked = batch["told"] >= 0
    assert batch["told"].shape == (80, 24) and bool(asked.any(1).all()) and not bool(asked.all())
    in_disguise = batch["disguise"].abs().sum(1) > 0
    assert 8 < int(in_disguise.sum()) < 40  # two fifths of those in which one thing sounds
    losses = losses_of(stage, tmp_path, "token_audio", 12, batch=8)
    assert losses[-1] < losses[0]
