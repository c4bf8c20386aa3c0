"""The image generator: its condition, its pictures, edits, steps, its loss, and strict opening."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anygen.error import ModelError, RequestError
from anygen.generators.image import ImageGenerator, to_images
from anygen.media import Image


@pytest.fixture(scope="module")
def generator(tiny: Path) -> ImageGenerator:
    return ImageGenerator.from_pretrained(tiny / "generators" / "image")


@pytest.fixture(scope="module")
def picture() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def test_condition_is_what_the_text_encoder_says(generator: ImageGenerator):
    condition = generator.condition(["a cat", "a dog"])
    assert condition.shape == (2, 8, 16) == (2, *generator.condition_shape)
    tokens = generator.pipeline.tokenizer(["a cat"], padding="max_length", max_length=8, return_tensors="pt")
    expected = generator.pipeline.text_encoder(tokens.input_ids).last_hidden_state
    torch.testing.assert_close(condition[:1], expected)
    torch.testing.assert_close(generator.null_condition(3), generator.condition([""] * 3))


def test_a_picture_is_what_the_pipeline_makes_of_the_prompt(generator: ImageGenerator):
    made = generator.generate(generator.condition(["a cat"]), [5], steps=3, guidance=2.0)
    expected = generator.pipeline(
        "a cat",
        negative_prompt="",
        num_inference_steps=3,
        guidance_scale=2.0,
        height=16,
        width=16,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    assert made == to_images(expected)


def test_same_seed_same_bytes_and_no_global_randomness(generator: ImageGenerator):
    condition = generator.condition(["a cat"])
    state = torch.get_rng_state()
    one, two, other = (generator.generate(condition, [seed], steps=2)[0] for seed in (1, 1, 2))
    assert one == two != other
    assert torch.equal(state, torch.get_rng_state())


def test_a_row_of_a_batch_is_the_single_picture(generator: ImageGenerator, picture: Image):
    condition = generator.condition(["a cat", "a red car"])
    ways: tuple[dict[str, Any], ...] = ({}, {"source": picture, "strength": 0.6})
    for options in ways:
        both = generator.generate(condition, [3, 4], steps=4, **options)
        for row in range(2):
            (single,) = generator.generate(condition[row : row + 1], [3 + row], steps=4, **options)
            assert np.abs(single.pixels.astype(int) - both[row].pixels).max() <= 1


def test_strength_says_how_much_of_the_source_is_kept(generator: ImageGenerator, picture: Image):
    condition = generator.condition(["a cat"])
    (kept,) = to_images(generator.pipeline.vae.decode(generator.encode(edge(generator, picture))).sample / 2 + 0.5)
    far = [
        np.abs(
            generator.generate(condition, [0], steps=20, source=picture, strength=strength)[0].pixels.astype(int)
            - kept.pixels
        ).mean()
        for strength in (0.05, 0.95)
    ]
    assert far[0] < far[1]
    plain = generator.generate(condition, [0], steps=20)
    assert generator.generate(condition, [0], steps=20) == plain  # an edit leaves nothing behind in the scheduler
    assert generator.generate(condition, [0], steps=20, source=picture) == plain  # no strength, no edit


def edge(generator: ImageGenerator, picture: Image) -> torch.Tensor:
    return generator.prepare(picture).unsqueeze(0) * 2 - 1


def test_an_edit_starts_on_the_flow_between_picture_and_noise(generator: ImageGenerator):
    """x = (1 - sigma) x0 + sigma eps, with the scheduler's sigma at the first step that is taken."""
    scheduler = generator.pipeline.scheduler
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(6)
    x, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = float(scheduler.sigmas[6])
    assert 0 < sigma < 1
    noisy = scheduler.add_noise(x, noise, scheduler.timesteps[6:7])
    torch.testing.assert_close(noisy, (1 - sigma) * x + sigma * noise)


def test_steps_are_reported_and_the_last_preview_is_the_picture(generator: ImageGenerator, picture: Image):
    condition = generator.condition(["a cat"])
    ways: tuple[tuple[dict[str, Any], int], ...] = (({}, 5), ({"source": picture, "strength": 0.4}, 2))
    for options, count in ways:
        seen: list = []
        (made,) = generator.generate(
            condition, [0], steps=5, on_step=lambda *step, seen=seen: seen.append((*step[:2], step[2]())), **options
        )
        assert [step[:2] for step in seen] == [(k, count) for k in range(1, count + 1)]
        assert np.abs(made.pixels.astype(int) - seen[-1][2][0].pixels).max() <= 1


def test_flow_loss_is_its_formula(generator: ImageGenerator):
    condition = generator.condition(["a cat", "a dog"]).requires_grad_()
    pixels = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    loss = generator.diffusion_loss(condition, pixels, torch.Generator().manual_seed(7))
    rng = torch.Generator().manual_seed(7)
    vae = generator.pipeline.vae
    x = vae.encode(pixels / 127.5 - 1).latent_dist.mode() * vae.config.scaling_factor
    noise = torch.randn(x.shape, generator=rng)
    t = torch.rand(2, generator=rng)
    noisy = (1 - t.view(2, 1, 1, 1)) * x + t.view(2, 1, 1, 1) * noise
    predicted = generator.pipeline.unet(noisy, t * 1000, encoder_hidden_states=condition).sample
    torch.testing.assert_close(loss, (predicted - (noise - x)).square().mean())
    loss.backward()
    assert condition.grad is not None and condition.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for module in generator.modules() for p in module.parameters())


def test_bad_options_are_named(generator: ImageGenerator, picture: Image):
    condition = generator.condition(["a cat"])
    for options, words in (
        ({"steps": 0}, "steps=0"),
        ({"source": picture, "strength": 1.5}, "strength=1.5"),
        ({"source": picture, "strength": 0.1, "steps": 2}, "leaves no step"),
    ):
        with pytest.raises(RequestError, match=words):
            generator.generate(condition, [0], **options)
    with pytest.raises(RequestError, match="as many seeds"):
        generator.generate(condition, [0, 1])


def test_opening_is_strict(tiny: Path, tmp_path: Path):
    folder = tmp_path / "image"
    with pytest.raises(ModelError, match="model_index.json is missing"):
        ImageGenerator.from_pretrained(folder)
    shutil.copytree(tiny / "generators" / "image", folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="truncated"):
        ImageGenerator.from_pretrained(folder)
    from safetensors.torch import load_file, save_file

    tensors = load_file(tiny / "generators" / "image" / "unet" / "diffusion_pytorch_model.safetensors")
    tensors["conv_out.weights"] = tensors.pop("conv_out.weight")
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="conv_out.weight"):
        ImageGenerator.from_pretrained(folder)
