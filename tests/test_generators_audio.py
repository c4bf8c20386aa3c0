"""The audio generator: its condition, its sounds, steps, its loss, and strict opening as a plain diffusers folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anygen.error import RequestError
from anygen.generators.audio import AudioGenerator
from anygen.media import Audio
from anygen.testing import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("audio"), media=("image", "audio")) / "generators" / "audio"


@pytest.fixture(scope="module")
def generator(folder: Path) -> AudioGenerator:
    return AudioGenerator.from_pretrained(folder)


def test_a_condition_is_the_unit_vector_of_the_text_tower(generator: AudioGenerator) -> None:
    condition = generator.condition(["a cat", "a dog"])
    assert condition.shape == (2, 1, 16) == (2, *generator.condition_shape)
    torch.testing.assert_close(condition.norm(dim=-1), torch.ones(2, 1))
    tokens = generator.pipeline.tokenizer(["a cat"], padding="max_length", max_length=8, return_tensors="pt")
    told = generator.pipeline.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds
    torch.testing.assert_close(condition[:1, 0], told / told.norm())
    torch.testing.assert_close(generator.tell(tokens.input_ids, tokens.attention_mask), condition[:1])


def test_a_sound_is_what_the_pipeline_makes_of_the_prompt(generator: AudioGenerator) -> None:
    made = generator.generate(generator.condition(["a cat"]), [5], steps=3, guidance=2.0)
    expected = generator.pipeline(
        "a cat",
        num_inference_steps=3,
        guidance_scale=2.0,
        negative_prompt_embeds=generator.null_condition()[:, 0],
        generator=torch.Generator().manual_seed(5),
    ).audios
    np.testing.assert_allclose(made[0].samples, expected, atol=1e-6)
    assert (made[0].rate, made[0].samples.shape) == (16_000, (1, 64_000))
    assert generator.samples == 64_000


def test_same_seed_same_sound_and_no_global_randomness(generator: AudioGenerator) -> None:
    condition = generator.condition(["a cat"])
    state = torch.get_rng_state()
    one, two, other = (generator.generate(condition, [seed], steps=2)[0] for seed in (1, 1, 2))
    assert one == two != other
    assert torch.equal(state, torch.get_rng_state())


def test_a_row_of_a_batch_is_the_single_sound(generator: AudioGenerator) -> None:
    condition = generator.condition(["a cat", "a red car"])
    both = generator.generate(condition, [3, 4], steps=2)
    single = generator.generate(condition[1:], [4], steps=2)[0]
    np.testing.assert_allclose(both[1].samples, single.samples, atol=1e-4)


def test_a_longer_condition_vector_means_the_same(generator: AudioGenerator) -> None:
    condition = generator.condition(["a dog"])
    one, other = (generator.generate(scale * condition, [3], steps=1)[0] for scale in (1, 7))
    np.testing.assert_allclose(one.samples, other.samples, atol=1e-4)


def test_steps_are_reported_with_a_sound_each(generator: AudioGenerator) -> None:
    seen: list[tuple[int, int, float]] = []

    def on_step(step: int, steps: int, preview: object) -> None:
        assert callable(preview)
        (sound,) = preview()
        assert isinstance(sound, Audio)
        seen.append((step, steps, sound.seconds))

    generator.generate(generator.condition(["a cat"]), [0], steps=3, on_step=on_step)
    assert seen == [(1, 3, 4.0), (2, 3, 4.0), (3, 3, 4.0)]


def test_the_loss_reaches_the_condition_and_the_right_one_is_best(generator: AudioGenerator) -> None:
    waves = (torch.randn(2, 64_000, generator=torch.Generator().manual_seed(0)) * 3000).to(torch.int16)
    condition = generator.condition(["a cat", "a dog"]).clone().requires_grad_(True)
    loss = generator.diffusion_loss(condition, waves, torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.ndim == 0 and condition.grad is not None and condition.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for module in generator.modules() for parameter in module.parameters())


def test_wrong_requests_are_named(generator: AudioGenerator) -> None:
    condition = generator.condition(["a cat"])
    with pytest.raises(RequestError, match="1 conditions need as many seeds, got 2"):
        generator.generate(condition, [1, 2])
    with pytest.raises(RequestError, match="steps=0"):
        generator.generate(condition, [1], steps=0)
    with pytest.raises(RequestError, match="makes 64000 samples, not 100"):
        generator.encode(torch.zeros(1, 100))


def test_the_folder_opens_with_plain_diffusers(folder: Path) -> None:
    from diffusers import DiffusionPipeline

    from anygen.generators.diffusion import logs
    from anygen.weights import quiet

    with quiet(*logs()):
        pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    heard = pipeline("a cat", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).audios
    assert heard.shape == (1, 64_000)
