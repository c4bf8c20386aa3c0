"""Captions told in embeddings, sounds in disguise, and scores: what makes encoders keep what stage 1 reads."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anygen.encoders.imagebind import TowerConfig
from anygen.generators.vocoder import Vocoder
from anygen.mel import log_mel
from anygen.model import AnyGenModel
from anygen.playground.clip import Player, one_way, sample_clip
from anygen.playground.hearing import parse_sound, sound_caption
from anygen.playground.mixer import Mixer
from anygen.playground.slots import EITHER, PACES, WAYS
from anygen.projectors.input import ResamplerConfig, ResamplerProjector
from anygen.template import IGNORE
from anygen.training.assembly import TELLING
from anygen.training.audio_encoder import SCORE, score_loss, score_right, scored
from anygen.training.disguise import disguise, disguised, pattern, told_in_disguise
from anygen.training.image_encoder import ImageEncoderStage
from anygen.training.recipe import recipe_for
from anygen.training.run import Run
from anygen.training.sense import Hearing, slots_heard, varied
from anygen.training.telling import ONE_OF, Telling
from anygen.training.tokenizer import train_tokenizer

TOKENIZER = train_tokenizer(600, iter(["a small dog left of a large cat, sea"] * 20))


def table(width: int = 24) -> torch.Tensor:
    return torch.randn(len(TOKENIZER), width, generator=torch.Generator().manual_seed(0))


def test_the_words_own_embeddings_tell_a_caption() -> None:
    telling = Telling(TOKENIZER, table())
    wanted = telling.words(["a dog, sea", "a small dog left of a large cat, sea"], 12)
    assert wanted.shape == (2, 12) and TOKENIZER.decode(wanted[0]).strip().startswith("[a dog, sea].")
    losses = telling.losses(telling.table[wanted], wanted, "image")
    assert float(losses["distance_image"]) == 0 and float(losses["_right_image"]) == 1
    other = telling.losses(telling.table[wanted.roll(1, 1)], wanted, "image")
    assert other["token_image"] > losses["token_image"] + 1 and float(other["_right_image"]) == 0


def test_tokens_that_are_ignored_count_for_nothing() -> None:
    telling = Telling(TOKENIZER, table())
    wanted = telling.words(["a dog, sea"], 8)
    said = telling.table[wanted].clone()
    said[0, 2] += 100
    wanted[0, 2] = IGNORE
    losses = telling.losses(said, wanted, "image")
    assert float(losses["distance_image"]) == 0 and float(losses["_right_image"]) == 1


def test_words_that_are_not_asked_for_are_ignored() -> None:
    telling = Telling(TOKENIZER, table())
    plain = telling.words(["a dog, twice, fast, sea"], 40)
    some = telling.words(["a dog, twice, fast, sea"], 40, ["twice, fast"])
    left_out = some == IGNORE
    assert TOKENIZER.decode(plain[left_out]).strip() == "twice, fast"
    assert torch.equal(some[~left_out], plain[~left_out])
    assert torch.equal(telling.words(["a dog, twice"], 40, [""]), telling.words(["a dog, twice"], 40))
    assert pattern(Player(random.Random(0)).times("dog", 3, "slow")) == "three times, slow"
    assert pattern(Player(random.Random(0)).once("dog")) == ""


def test_the_image_encoder_learns_to_tell(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = TowerConfig(width=16, depth=1, heads=2, joint=8, side=32, patch=8, stem="patch")
    sizes = ResamplerConfig(tokens_in=16, width_in=16, width_out=24, queries=8, width=16, heads=2)
    stage = ImageEncoderStage(config, TOKENIZER, projector=ResamplerProjector(sizes), table=table())
    batch = stage.prepare(0, 8, 0)
    assert batch["told"].shape == (8, 8)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=5e-3)
    seen = []
    for _ in range(15):
        losses = stage(batch, torch.Generator())
        losses["token_image"].backward()
        assert stage.encoder.class_token.grad is not None  # the encoder learns it, not the projector alone
        optimizer.step()
        optimizer.zero_grad()
        seen.append(float(losses["token_image"].detach()))
    assert seen[-1] < 0.8 * seen[0]
    assert 0 <= stage.sample(tmp_path, 1)["told"] <= 1
    assert "told" not in ImageEncoderStage(config, TOKENIZER).prepare(0, 8, 0)


def test_stage_one_begins_with_what_the_encoder_told(tmp_path: Path) -> None:
    recipe = replace(recipe_for("nano-night", ["media=image"]), llm_width=24, projector_width=16)
    run = Run(recipe, tmp_path)
    torch.manual_seed(0)
    told = run._resampler("image", 16, 8)
    run.folder("image-encoder").mkdir(parents=True)
    save_file(told.state_dict(), run.folder("image-encoder") / TELLING)
    encoder = type("Encoder", (), {"tokens": 16, "width": 8})()
    begun = run._into("image", encoder)
    assert all(
        torch.equal(begun.state_dict()[name], value)
        for name, value in load_file(tmp_path / "image-encoder" / TELLING).items()
    )


def test_no_disguise_changes_nothing_and_upside_down_twice_is_upright() -> None:
    stream = random.Random(0)
    mel = log_mel(Mixer().render([sample_clip(stream) for _ in range(3)]))
    assert torch.equal(disguise(mel, torch.zeros(3, 2, dtype=torch.long)), mel)
    turned = torch.tensor([[0, 1]] * 3)
    assert torch.equal(disguise(disguise(mel, turned), turned), mel)
    moved = disguise(mel, torch.tensor([[8, 0]] * 3))
    assert torch.equal(moved[:, 8:], mel[:, :-8]) and bool((moved[:, :8] == -1).all())
    assert torch.equal(disguise(mel, torch.tensor([[-8, 0]] * 3))[:, :-8], mel[:, 8:])


def test_a_disguised_sound_is_told_without_its_name() -> None:
    player = Player(random.Random(0))
    rising = player.melody("piano", "rising")
    assert told_in_disguise(rising, (8, 0)) == "the sound of something, rising"
    assert told_in_disguise(rising, (8, 1)) == "the sound of something, falling"
    thrice = player.times("umbrella", 3, "fast")
    assert told_in_disguise(thrice, (-8, 1)) == "the sound of something, three times, fast"
    two = {"type": "audio", "clip": player.then("dog", "cat")}
    assert disguised(two, random.Random(0)) == two  # whose names could not be left out
    assert parse_sound(sound_caption(rising)) is not None


def test_some_sounds_are_shown_in_disguise_and_told_so(tiny_sound: Path) -> None:
    sense = Hearing(AnyGenModel.load(tiny_sound), draws=False)
    stream = random.Random(0)
    parts = [sense.varied(sense.sample(stream), stream) for _ in range(200)]
    share = sum("disguise" in part for part in parts) / len(parts)
    assert 0.15 < share < 0.4
    for part in parts:
        assert not (sense.unasked(part) and "disguise" in part) and sense.unasked(part) in sense.told(part)
    assert 0.1 < sum(bool(sense.unasked(part)) for part in parts) / len(parts) < 0.4
    told = [sense.told(part) for part in parts]
    assert all(("something" in text) == ("disguise" in part) for text, part in zip(told, parts, strict=True))
    shown = sense.shown(parts[:16])
    plain = shown | {"disguise": torch.zeros_like(shown["disguise"])}
    same = (sense.features_of(shown) == sense.features_of(plain)).flatten(1).all(1).tolist()
    assert same == ["disguise" not in part for part in parts[:16]] and not all(same)


def test_which_way_is_never_asked_of_a_sound_that_goes_one_way(tiny_sound: Path) -> None:
    """Neither as captions nor as slots, in disguise or not; of all other melodies it is."""
    sense = Hearing(AnyGenModel.load(tiny_sound), draws=False)
    seen = set()
    for seed in range(200):
        stream = random.Random(seed)
        clip = sample_clip(stream, "melody")
        part = sense.varied({"type": "audio", "clip": clip}, stream)
        way = [slot.asked for slot in sense.slots(part) if slot.said in ("r", "f")]
        assert way == [not one_way(clip)] * 2
        if "disguise" not in part:
            assert bool(sense.unasked(part)) == one_way(clip)
        seen.add((one_way(clip), "disguise" in part))
    assert len(seen) == 4


def test_a_score_says_when_and_which_way() -> None:
    player = Player(random.Random(0), loudness="far", settled=True)
    falling, twice = scored([player.melody("piano", "falling"), player.times("dog", 2, "slow")], 64)
    onset, far, up = (SCORE.index(name) for name in ("onset", "far", "up"))
    assert falling[:, onset].sum() == 4 and set(falling[:, up].tolist()) == {-1.0, 0.0}
    assert bool((falling[: int(falling[:, onset].nonzero()[1]), up] == -1).all())  # the first note has none before it
    assert twice[:, onset].nonzero().flatten().tolist() == [0, 15] and bool((twice[:, up] == -1).all())
    assert twice[0, far] == 1 and twice[-1, far] == -1  # nothing sounds at the end
    known = next(clip for seed in range(99) if one_way(clip := sample_clip(random.Random(seed), "melody")))
    turned = replace(known, direction="rising" if known.direction == "falling" else "falling")
    assert (scored([known], 64)[0][:, up] == -1).all() and not (scored([turned], 64)[0][:, up] == -1).all()
    near = scored([Player(random.Random(0)).once("dog")], 64)[0]
    assert near[:, onset].sum() == 1 and set(near[:, far].tolist()) == {-1.0, 0.0}


def test_a_score_is_counted_where_it_is_asked() -> None:
    score = scored([Player(random.Random(0), settled=True).melody("piano", "rising")], 64)
    right = 20 * (score * 2 - 1)  # sure of everything that is asked
    assert float(score_loss(right, score)) < 1e-6 and bool(score_right(right, score))
    unasked = torch.where(score < 0, -right, right)
    torch.testing.assert_close(score_loss(unasked, score), score_loss(right, score))
    assert bool(score_right(unasked, score))
    wrong = right.clone()
    wrong[0, 0, 0] *= -1  # an onset missed: 5 times 20, of 64 tokens
    assert float(score_loss(wrong, score)) == pytest.approx(5 * 20 / 64, rel=1e-3)
    assert not score_right(wrong, score)


def test_a_vocoder_of_other_mels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(64, 16000, 250\), not \(80, 16000, 250\)"):
        Vocoder(model_in_dim=80, width=8, depth=1)
    with pytest.raises(ValueError, match="hop"):
        Vocoder(upsample_rates=(4, 4), width=8, depth=1)
    assert Vocoder(upsample_rates=(10, 25), width=8, depth=1).config.upsample_rates == (10, 25)


def test_one_of_some_words_is_enough_where_it_is_not_asked_which() -> None:
    telling = Telling(TOKENIZER, table())
    clip = next(c for c in (sample_clip(random.Random(i), "melody") for i in range(200)) if one_way(c))
    parts = [varied({"type": "audio", "clip": clip}, random.Random(i)) for i in range(8)]
    part = next(part for part in parts if "disguise" not in part)
    wanted = telling.slots([slots_heard(part)], 16)
    places = (wanted == ONE_OF - EITHER.index(WAYS)).nonzero()[:, 1].tolist()
    assert len(places) == 2 and bool((telling.spoken([slots_heard(part)], 16)[0, places] == telling.rest).all())
    rises, falls = telling.either[EITHER.index(WAYS)]
    fast = telling.either[EITHER.index(PACES)][1]
    losses = []
    for said in (rises, falls, fast):
        ids = wanted.masked_fill(wanted < 0, said)
        losses.append(telling.losses(telling.table[ids], wanted, "audio"))
    assert [bool(loss["_right_audio"]) for loss in losses] == [True, True, False]
    for name in ("token_audio", "distance_audio"):
        assert abs(float(losses[0][name] - losses[1][name])) < 1e-3 < float(losses[2][name] - losses[0][name])
    assert float(losses[0]["distance_audio"]) < 1e-6
