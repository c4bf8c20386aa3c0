"""The video generator: its films, a picture that it starts from, its loss, and both ways in which it is stored."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AnimateDiffPipeline, MotionAdapter
from safetensors.torch import load_file, save_file

from anygen import doctor
from anygen.error import ModelError, RequestError
from anygen.generators.image import ImageGenerator
from anygen.generators.video import FilmOptions, VideoGenerator, around_frames, shared
from anygen.media import Image, Video
from anygen.model import AnyGenModel


@pytest.fixture(scope="module")
def folder(tiny_film: Path) -> Path:
    return tiny_film / "generators" / "video"


@pytest.fixture(scope="module")
def generator(folder: Path) -> VideoGenerator:
    return VideoGenerator.from_pretrained(folder, base=folder.parent / "image")


@pytest.fixture(scope="module")
def picture() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def apart(one: Video, other: Video) -> int:
    return int(np.abs(one.frames.astype(int) - other.frames).max())


def test_condition_is_what_the_text_encoder_says(generator: VideoGenerator) -> None:
    condition = generator.condition(["a cat", "a dog"])
    assert condition.shape == (2, 8, 16) == (2, *generator.condition_shape)
    tokens = generator.pipeline.tokenizer(["a cat"], padding="max_length", max_length=8, return_tensors="pt")
    torch.testing.assert_close(condition[:1], generator.tell(tokens.input_ids, tokens.attention_mask))


def test_a_film_is_what_the_pipeline_makes_of_the_prompt(generator: VideoGenerator) -> None:
    (made,) = generator.generate(generator.condition(["a cat"]), [5], steps=3, guidance=2.0)
    expected = generator.pipeline(
        "a cat",
        negative_prompt="",
        num_frames=4,
        num_inference_steps=3,
        guidance_scale=2.0,
        height=16,
        width=16,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).frames
    assert (made.frames.shape, made.fps) == ((4, 16, 16, 3), 8)
    assert (generator.frames, generator.fps, generator.size) == (4, 8, (16, 16))
    assert np.array_equal(made.frames, (expected[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def test_same_seed_same_film_and_no_global_randomness(generator: VideoGenerator, picture: Image) -> None:
    condition = generator.condition(["a cat"])
    state = torch.get_rng_state()
    for options in ({}, {"source": picture, "strength": 1.0}):
        one, two, other = (generator.generate(condition, [s], steps=2, **options)[0] for s in (1, 1, 2))  # type: ignore[arg-type]
        assert one == two != other
    assert torch.equal(state, torch.get_rng_state())


def test_a_row_of_a_batch_is_the_single_film(generator: VideoGenerator, picture: Image) -> None:
    condition = generator.condition(["a cat", "a red car"])
    for options in ({}, {"source": picture, "strength": 0.6}):
        both = generator.generate(condition, [3, 4], steps=4, **options)  # type: ignore[arg-type]
        for row in range(2):
            (single,) = generator.generate(condition[row : row + 1], [3 + row], steps=4, **options)  # type: ignore[arg-type]
            assert apart(single, both[row]) <= 1


def test_a_film_begins_with_its_source(generator: VideoGenerator, picture: Image) -> None:
    condition = generator.condition(["a cat"])
    plain = generator.generate(condition, [0], steps=10)
    first = 2 * generator.prepare(picture)[None] - 1
    (still,) = generator.decode(generator.encode(first[:, None]))
    far = []
    for strength in (0.1, 1.0):
        (made,) = generator.generate(condition, [0], steps=10, source=picture, strength=strength)
        assert np.abs(made.frames[0].astype(int) - still.frames[0]).max() <= 1
        far.append(np.abs(made.frames[1:].astype(int) - still.frames).mean())
    assert far[0] < far[1]
    assert generator.generate(condition, [0], steps=10) == plain  # a source leaves nothing behind in the scheduler
    assert generator.generate(condition, [0], steps=10, source=picture) == plain  # no strength, no source


def test_steps_are_reported_and_the_last_preview_is_the_film(generator: VideoGenerator, picture: Image) -> None:
    condition = generator.condition(["a cat"])
    for options, count in (({}, 5), ({"source": picture, "strength": 0.4}, 2)):
        seen: list = []
        (made,) = generator.generate(
            condition,
            [0],
            steps=5,
            on_step=lambda *step, seen=seen: seen.append((*step[:2], step[2]())),
            **options,  # type: ignore[arg-type]
        )
        assert [step[:2] for step in seen] == [(k, count) for k in range(1, count + 1)]
        assert apart(made, seen[-1][2][0]) <= 1


def test_flow_loss_is_its_formula(generator: VideoGenerator) -> None:
    condition = generator.condition(["a cat", "a dog"]).requires_grad_()
    films = torch.randint(256, (2, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    loss = generator.diffusion_loss(condition, films, torch.Generator().manual_seed(7))
    rng = torch.Generator().manual_seed(7)
    vae = generator.pipeline.vae
    x = torch.stack([vae.encode(film / 127.5 - 1).latent_dist.mode() for film in films], 0).transpose(1, 2)
    x = x * vae.config.scaling_factor
    torch.testing.assert_close(generator.encode(films), x)
    noise = torch.randn(x.shape, generator=rng)
    t = torch.rand(2, generator=rng)
    level = t.view(2, 1, 1, 1, 1)
    told = torch.stack([condition[0]] * 4 + [condition[1]] * 4)
    predicted = generator.pipeline.unet((1 - level) * x + level * noise, t * 1000, encoder_hidden_states=told).sample
    torch.testing.assert_close(loss, (predicted - (noise - x)).square().mean())
    loss.backward()
    assert condition.grad is not None and condition.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for module in generator.modules() for p in module.parameters())


def test_bad_options_are_named(generator: VideoGenerator, picture: Image) -> None:
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


# --- how it is stored


def test_what_is_borrowed_is_not_stored_again(folder: Path, generator: VideoGenerator, tmp_path: Path) -> None:
    stored = {path.name for path in folder.iterdir()}
    assert stored == {"model_index.json", "motion_adapter", "scheduler", "text_encoder", "tokenizer"}
    assert set(generator.borrowed) == {"unet", "vae"}
    generator.save_pretrained(tmp_path)
    again = VideoGenerator.from_pretrained(tmp_path, base=folder.parent / "image")
    condition = generator.condition(["a dog"])
    assert again.generate(condition, [1], steps=2) == generator.generate(condition, [1], steps=2)
    for file in ("model_index.json", "motion_adapter/config.json"):
        assert (tmp_path / file).read_text() == (folder / file).read_text()


def test_a_whole_folder_opens_with_diffusers_as_it_is(generator: VideoGenerator, folder: Path, tmp_path: Path) -> None:
    from diffusers import AnimateDiffPipeline, DiffusionPipeline

    whole = VideoGenerator.from_pretrained(folder, base=folder.parent / "image")
    whole.borrowed = ()
    whole.save_pretrained(tmp_path)
    assert {"unet", "vae"} < {path.name for path in tmp_path.iterdir()}
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    assert isinstance(pipeline, AnimateDiffPipeline)
    opened = VideoGenerator.from_pretrained(tmp_path)
    condition = generator.condition(["a dog"])
    made = generator.generate(condition, [1], steps=2)
    assert opened.borrowed == () and opened.generate(condition, [1], steps=2) == made
    assert VideoGenerator(pipeline).generate(condition, [1], steps=2) == made
    with pytest.raises(ModelError, match="has all of its parts, so it borrows nothing"):
        VideoGenerator.from_pretrained(tmp_path, base=folder.parent / "image")


def test_frames_are_the_image_generators_own_layers(generator: VideoGenerator, folder: Path) -> None:
    image = ImageGenerator.from_pretrained(folder.parent / "image")
    ours = {name: t for name, t in generator.unet.state_dict().items() if "motion_modules" not in name}
    theirs = image.unet.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_opening_is_strict(folder: Path, tmp_path: Path) -> None:
    image = folder.parent / "image"
    with pytest.raises(ModelError, match=r"has no unet; name the generator that lends it as its base|has no vae; name"):
        VideoGenerator.from_pretrained(folder)
    with pytest.raises(ModelError, match="borrows its .*, but .* has none"):
        VideoGenerator.from_pretrained(folder, base=_without(image, tmp_path / "image", "unet"))
    copy = tmp_path / "video"
    shutil.copytree(folder, copy)
    weights = copy / "motion_adapter" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    name = next(iter(sorted(tensors)))
    tensors["extra"] = tensors.pop(name)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        VideoGenerator.from_pretrained(copy, base=image)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        VideoGenerator.from_pretrained(copy, base=image)


def _without(folder: Path, to: Path, part: str) -> Path:
    shutil.copytree(folder, to)
    index = json.loads((to / "model_index.json").read_text())
    (to / "model_index.json").write_text(json.dumps({name: value for name, value in index.items() if name != part}))
    return to


def test_a_model_says_who_lends(tiny_film: Path, tmp_path: Path) -> None:
    model = AnyGenModel.load(tiny_film)
    generator = model.generator("video")
    condition = generator.condition(["a cat"])
    made = generator.generate(condition, [1], steps=2)
    again = AnyGenModel.load(model.save(tmp_path / "again", dtype=torch.float32)).generator("video")
    assert again.generate(condition, [1], steps=2) == made
    assert [fault for fault in doctor.folder(tmp_path / "again") if "provenance" not in fault] == []
    shutil.rmtree(tmp_path / "again" / "generators" / "image" / "vae")
    assert any("video generator has no vae, neither in" in fault for fault in doctor.folder(tmp_path / "again"))
    generator.borrowed = ()
    with pytest.raises(ModelError, match="base is 'image', but the generator borrows nothing"):
        model.save(tmp_path / "other")


@pytest.mark.parametrize("base", ["video", "audio"])
def test_nobody_lends_to_itself_or_from_nowhere(tiny_film: Path, tmp_path: Path, base: str) -> None:
    values = json.loads((tiny_film / "anygen.json").read_text())
    values["generators"]["video"]["base"] = base
    shutil.copytree(tiny_film, tmp_path / "copy")
    (tmp_path / "copy" / "anygen.json").write_text(json.dumps(values))
    with pytest.raises(
        ModelError, match=f"generators.video: base is '{base}'; a generator that could lend it parts is image"
    ):
        AnyGenModel.load(tmp_path / "copy")


# --- frames that are told one by one

TOLD = "0: a cat left | 2: a cat right | 3: a dog"


@pytest.fixture(scope="module")
def told_apart(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> VideoGenerator:
    """The tiny generator with storyboards, through its folder."""
    plain = VideoGenerator.from_pretrained(folder, base=folder.parent / "image")
    again = VideoGenerator(plain.pipeline, FilmOptions(storyboards=True))
    again.borrowed = plain.borrowed
    where = tmp_path_factory.mktemp("told-apart") / "video"
    again.save_pretrained(where)
    assert not (folder / "film.json").exists() and (where / "film.json").exists()
    return VideoGenerator.from_pretrained(where, base=folder.parent / "image")


def test_a_storyboard_says_what_each_frame_is_told() -> None:
    assert around_frames("0: a | 2: b | 3: c", 4) == [
        ("a", "b", 0.0),
        ("a", "b", 0.5),
        ("b", "c", 0.0),
        ("c", "c", 0.0),
    ]
    assert around_frames("1: a|2: b", 4) == [("a", "a", 0.0), ("a", "b", 0.0), ("b", "b", 0.0), ("b", "b", 0.0)]
    assert around_frames("a cat, 3: or so", 2) == [("a cat, 3: or so", "a cat, 3: or so", 0.0)] * 2
    assert around_frames("", 1) == [("", "", 0.0)]


@pytest.mark.parametrize("text", ["0: a | 4: b", "2: a | 1: b", "1: a | 1: b"])
def test_a_storyboard_out_of_order_names_its_frames(text: str) -> None:
    with pytest.raises(RequestError, match=r"a storyboard's frames \[.*\] must rise and lie within 0..3"):
        around_frames(text, 4)


def test_the_condition_has_a_part_for_each_frame(told_apart: VideoGenerator, generator: VideoGenerator) -> None:
    assert (told_apart.moments, told_apart.frames, told_apart.condition_shape) == (4, 4, (32, 16))
    condition = told_apart.condition([TOLD, "a bird"]).unflatten(1, (4, 8))
    left, right, dog, bird = generator.condition(["a cat left", "a cat right", "a dog", "a bird"])
    for found, expected in zip(condition[0], (left, (left + right) / 2, right, dog), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(condition[1], bird.expand(4, -1, -1))


def test_each_frame_reads_its_own_part(told_apart: VideoGenerator, generator: VideoGenerator) -> None:
    condition = told_apart.condition([TOLD, "a dog"])
    noisy = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([300.0, 700.0])
    own = condition.unflatten(1, (4, 8)).flatten(0, 1)  # rows in the order of films, then of frames
    expected = generator.unet(noisy, times, encoder_hidden_states=own).sample
    torch.testing.assert_close(told_apart.predict(noisy, times, condition), expected)
    again = VideoGenerator(told_apart.pipeline, told_apart.film)  # on the same network
    torch.testing.assert_close(again.predict(noisy, times, condition), expected)


def test_plain_diffusers_makes_the_same_film_of_the_same_storyboard(
    told_apart: VideoGenerator, generator: VideoGenerator
) -> None:
    (made,) = told_apart.generate(told_apart.condition([TOLD]), [5], steps=3, guidance=2.0)
    config = generator.unet.config
    adapter = MotionAdapter(
        block_out_channels=config.block_out_channels,
        motion_num_attention_heads=config.motion_num_attention_heads,
        motion_norm_num_groups=config.norm_num_groups,
        motion_max_seq_length=4,
    )  # FreeNoise asks it how many frames there may be; its weights are in the UNet already
    pipeline: Any = AnimateDiffPipeline(**generator.pipeline.components | {"motion_adapter": adapter})
    pipeline.set_progress_bar_config(disable=True)
    pipeline.enable_free_noise(context_length=4)
    try:
        film = pipeline(
            {0: "a cat left", 2: "a cat right", 3: "a dog"},
            negative_prompt="",
            num_frames=4,
            num_inference_steps=3,
            guidance_scale=2.0,
            height=16,
            width=16,
            generator=torch.Generator().manual_seed(5),
            output_type="pt",
        ).frames
    finally:
        pipeline.disable_free_noise()
    expected = Video((film[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), fps=8)
    assert apart(made, expected) <= 1


def test_a_film_told_frame_by_frame_begins_with_its_source(told_apart: VideoGenerator, picture: Image) -> None:
    condition = told_apart.condition([TOLD, "a dog"])
    both = told_apart.generate(condition, [0, 1], steps=4, source=picture, strength=1.0)
    (still,) = told_apart.decode(told_apart.encode(2 * told_apart.prepare(picture)[None, None] - 1))
    assert all(np.abs(film.frames[0].astype(int) - still.frames[0]).max() <= 1 for film in both)
    (single,) = told_apart.generate(condition[1:], [1], steps=4, source=picture, strength=1.0)
    assert apart(single, both[1]) <= 1


def test_frames_may_have_a_share_of_their_noise_in_common(told_apart: VideoGenerator) -> None:
    rng = torch.Generator().manual_seed(0)
    noise, common = torch.randn(4000, 4, generator=rng), torch.randn(4000, 1, generator=rng)
    found = torch.cov(shared(noise, common, 0.3).T)
    torch.testing.assert_close(found, 0.3 + 0.7 * torch.eye(4), atol=0.08, rtol=0)
    assert torch.equal(shared(noise, common, 0.0), noise)
    one = VideoGenerator(told_apart.pipeline, FilmOptions(storyboards=True, shared_noise=1.0))
    (still,) = one.generate(one.condition(["a dog"]), [3], steps=1, guidance=1.0)
    (other,) = told_apart.generate(told_apart.condition(["a dog"]), [3], steps=1, guidance=1.0)
    spread = [np.diff(film.frames.astype(int), axis=0).std() for film in (still, other)]
    assert spread[0] < spread[1]
    with pytest.raises(ModelError, match="shared_noise is 1.5, it must be in 0..1"):
        FilmOptions(shared_noise=1.5)


def test_film_options_are_read_strictly(told_apart: VideoGenerator, folder: Path, tmp_path: Path) -> None:
    told_apart.save_pretrained(tmp_path / "video")
    file = tmp_path / "video" / "film.json"
    assert json.loads(file.read_text()) == {"storyboards": True, "shared_noise": 0.0, "squares": False}
    file.write_text('{"storyboard": true}')
    with pytest.raises(ModelError, match="storyboard"):
        VideoGenerator.from_pretrained(tmp_path / "video", base=folder.parent / "image")
