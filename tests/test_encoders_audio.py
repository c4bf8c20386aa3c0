"""The audio encoder: what it reads, the order of its features, its joint space, and strict opening."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from anygen.encoders.audio import AudioEncoder, AudioTowerConfig
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.text import TextEncoder
from anygen.error import ModelError
from anygen.media import Audio
from anygen.mel import BINS, FRAMES, log_mel
from anygen.testing import tiny_tokenizer

CONFIG = AudioTowerConfig(width=16, depth=1, heads=2, joint=8, patch=8)


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AudioEncoder(CONFIG).eval()


def tone(rate: int, seconds: float, channels: int = 1) -> Audio:
    wave = 0.4 * np.sin(2 * math.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return Audio(np.tile(wave.astype(np.float32), (channels, 1)), rate=rate)


def test_features_have_their_shape(encoder: AudioEncoder) -> None:
    mel = encoder.prepare(tone(16_000, 4.0))[None]
    assert mel.shape == (1, BINS, FRAMES)
    with torch.no_grad():
        assert encoder(mel).shape == (1, encoder.tokens, encoder.width) == (1, 32, 16)
        assert encoder.embed(mel).norm() == pytest.approx(1.0, abs=1e-5)


def test_any_rate_and_channel_count_is_the_same_sound(encoder: AudioEncoder) -> None:
    wanted = encoder.prepare(tone(16_000, 4.0))
    for rate, channels in ((44_100, 2), (48_000, 8), (192_000, 1), (8_000, 1)):
        mel = encoder.prepare(tone(rate, 4.0, channels))
        inner = slice(8, -8)  # the ends of a resampled tone ring
        assert (mel - wanted)[:, inner].abs()[wanted[:, inner] > -0.3].max() < 0.02, (rate, channels)


def test_short_sounds_are_followed_by_silence_and_long_ones_are_cut(encoder: AudioEncoder) -> None:
    short, long = encoder.prepare(tone(16_000, 1.0)), encoder.prepare(tone(16_000, 60.0))
    assert torch.equal(short[:, 70:], -torch.ones(BINS, FRAMES - 70))
    assert torch.allclose(long[:, :200], encoder.prepare(tone(16_000, 4.0))[:, :200])


@pytest.mark.parametrize("samples", [1, 3])
def test_a_few_samples_and_silence_are_heard_as_silence(encoder: AudioEncoder, samples: int) -> None:
    for sound in (Audio(np.zeros(samples, dtype=np.float32), rate=16_000), Audio(np.zeros(64_000), rate=16_000)):
        mel = encoder.prepare(sound)
        assert torch.equal(mel, -torch.ones(BINS, FRAMES))
        with torch.no_grad():
            assert torch.isfinite(encoder(mel[None])).all()


def test_features_follow_time(encoder: AudioEncoder) -> None:
    """Before the trunk mixes them, the feature that hears a click is the one of its time."""
    quiet, click = torch.zeros(2, 1, 64_000)
    click = click.clone()
    click[0, 32_000] = 1.0
    with torch.no_grad():
        change = (encoder.stem(log_mel(click)) - encoder.stem(log_mel(quiet))).abs().sum(1)[0]
    assert int(change.argmax()) in (15, 16)
    assert change[:13].max() == 0 == change[19:].max()


def test_it_opens_as_it_was_saved_and_wrong_sizes_are_named(encoder: AudioEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    mel = encoder.prepare(tone(16_000, 2.0))[None]
    with torch.no_grad():
        torch.testing.assert_close(AudioEncoder.from_pretrained(tmp_path)(mel), encoder(mel))
    with pytest.raises(ModelError, match="64 bins x 256 frames, not"):
        encoder(mel[..., :-1])
    with pytest.raises(ModelError, match=r"patch \(7\) divides the 256 frames"):
        AudioTowerConfig(patch=7)
    with pytest.raises(ModelError, match=r"width \(10\) is a multiple of its heads \(4\)"):
        AudioTowerConfig(width=10)


def test_the_text_encoder_pads_without_effect() -> None:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    text = TextEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, vocabulary=len(tokenizer), length=12)).eval()
    together = text.embed_texts(["a cat", "a somewhat longer text that is cut"], tokenizer)
    torch.testing.assert_close(text.embed_texts(["a cat"], tokenizer)[0], together[0])
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(2))
