"""Pipelines of others as generators: each condition contract on the real class, saved, opened, guided."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pipelines import PIPELINES, pipeline
from safetensors.torch import save_file

from anygen.encoders import KINDS as KINDS_OF_ENCODERS
from anygen.error import ModelError, RequestError
from anygen.folder import ModelConfig
from anygen.generators import open_generator
from anygen.generators.adapter import NULL, MediumOptions, PipelineGenerator
from anygen.generators.contract import CONTRACTS, mask_of
from anygen.generators.diffusion import logs
from anygen.generators.image import to_images
from anygen.media import Audio, Image, Video
from anygen.weights import quiet

pytestmark = pytest.mark.filterwarnings("ignore:.torch.nn.utils.weight_norm. is deprecated:FutureWarning")  # Oobleck
KINDS = {"image": Image, "video": Video, "audio": Audio}
TEXT = [
    name for name in PIPELINES if name in ("sdxl", "sd3", "lcm", "pixart", "flux", "zeroscope", "ltx", "stable_audio")
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A diffusers folder each, opened and saved by diffusers alone."""
    found = {}
    for name in PIPELINES:
        found[name] = tmp_path_factory.mktemp("pipelines") / name
        with quiet(*logs()):
            pipeline(name).save_pretrained(found[name])
    return found


def opened(folders: dict[str, Path], name: str) -> Any:
    _, kind, _, sizes = PIPELINES[name]
    generator = open_generator(kind, folders[name], options=sizes)
    assert isinstance(generator, PipelineGenerator)
    return generator


def drawn(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def told(batch: int, shape: tuple[int, int], seed: int) -> torch.Tensor:
    """Conditions that differ in their mean as well: an attention over hundreds of rows sees little else."""
    return drawn((batch, *shape), seed) + 2 * drawn((batch, 1, shape[1]), seed + 100)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_condition_becomes_a_medium(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    _, kind, shape, sizes = PIPELINES[name]
    generator = opened(folders, name)
    assert generator.condition_shape == shape
    generator._null = told(1, shape, 9)  # guidance against any other condition
    condition, steps = told(2, shape, 0), []
    state = torch.get_rng_state()
    first, second = generator.generate(
        condition, [1, 2], steps=2, guidance=3.0, on_step=lambda step, of, _: steps.append((step, of))
    )
    assert torch.equal(state, torch.get_rng_state())
    assert [step for step, _ in steps] == list(range(1, len(steps) + 1)) and len(steps) >= 2
    assert type(first) is KINDS[kind] and first != second
    medium: Any = first
    if kind != "audio" and "height" in sizes:
        assert (medium.height, medium.width) == (sizes["height"], sizes["width"])
    if kind == "video":
        assert medium.fps == sizes.get("fps", 8) and len(medium.frames) >= 4
    # the same again, alone in its batch
    (again,) = generator.generate(condition[:1], [1], steps=2, guidance=3.0)
    (other,) = generator.generate(told(1, shape, 5), [1], steps=2, guidance=3.0)
    assert near(again, first) and not same(other, first)
    (unguided,) = generator.generate(condition[:1], [1], steps=2, guidance=1.0)
    assert name in ("lcm",) or not same(unguided, first)  # guidance counts
    generator.save_pretrained(tmp_path / "again")
    reopened = open_generator(kind, tmp_path / "again", options=sizes)
    (kept,) = reopened.generate(condition[:1], [1], steps=2, guidance=3.0)
    assert same(kept, again)
    assert "_name_or_path" not in (tmp_path / "again" / "model_index.json").read_text()


def values(medium: Any) -> torch.Tensor:
    name = {Image: "pixels", Video: "frames", Audio: "samples"}[type(medium)]
    array = getattr(medium, name)
    return torch.from_numpy(array.astype("float32") / (1 if isinstance(medium, Audio) else 255))


def same(one: Any, other: Any) -> bool:
    return torch.equal(values(one), values(other))


def near(one: Any, other: Any) -> bool:
    return torch.allclose(values(one), values(other), atol=0.02)


@pytest.mark.parametrize("name", TEXT)
def test_what_the_text_encoders_say_is_what_the_pipeline_draws(folders: dict[str, Path], name: str) -> None:
    """A condition of a text gives the medium that the pipeline makes of the text itself."""
    _, kind, shape, _ = PIPELINES[name]
    generator = opened(folders, name)
    condition = generator.condition(["a cat", "two birds and the sea"])
    assert condition.shape == (2, *shape)
    # the tests' tokenizer makes nothing at all of the empty text, where T5's would make an end token
    against = "red" if name in ("pixart", "ltx") else ""
    if generator.contract.guided:
        generator._null = generator.condition([against])
    (made,) = generator.generate(condition[:1], [3], steps=2, guidance=3.0)
    known = generator._calls
    prompt: dict[str, Any] = {"prompt": "a cat", "negative_prompt": against}
    if "negative_prompt" not in known or not generator.contract.guided:
        del prompt["negative_prompt"]
    if "clean_caption" in known:
        prompt["clean_caption"] = False
    out = generator.pipeline(
        **prompt,
        **generator._sizes(),
        num_inference_steps=2,
        guidance_scale=3.0,
        output_type="pt",
        generator=[torch.Generator().manual_seed(3)],
    )
    assert near(made, generator._media(out)[0])


def test_xl_is_told_its_pooled_vector(folders: dict[str, Path]) -> None:
    generator = opened(folders, "sdxl")
    condition = generator.condition(["a cat"])
    states, _, pooled, _ = generator.pipeline.encode_prompt(["a cat"], do_classifier_free_guidance=False)
    given = generator.contract.given(generator.pipeline, condition)
    assert torch.equal(given["prompt_embeds"], states) and torch.equal(given["pooled_prompt_embeds"], pooled)
    (made,) = generator.generate(condition, [0], steps=2, guidance=1.0)
    changed = condition.clone()
    changed[:, -1] *= -1
    assert not same(made, generator.generate(changed, [0], steps=2, guidance=1.0)[0])


def test_rows_of_almost_nothing_are_padding(folders: dict[str, Path]) -> None:
    condition = drawn((2, 6, 4))
    condition[0, 4:] = 0
    condition[1, 2:] *= 1e-3
    assert mask_of(condition).tolist() == [[True] * 4 + [False] * 2, [True] * 2 + [False] * 4]
    generator = opened(folders, "ltx")
    words = generator.condition(["a cat", "two birds and the sea"])
    assert mask_of(words).sum(1).tolist() == [2, 5]
    given = opened(folders, "zimage").contract.given(None, condition)
    assert [len(row) for row in given["prompt_embeds"]] == [4, 2]


def test_two_streams_are_packed_side_by_side(folders: dict[str, Path]) -> None:
    generator = opened(folders, "audioldm2")
    condition = drawn((1, 520, 16))
    condition[:, 30:] = 0
    given = generator.contract.given(generator.pipeline, condition, "negative_")
    assert {name: list(value.shape) for name, value in given.items()} == {
        "negative_generated_prompt_embeds": [1, 8, 8],
        "negative_prompt_embeds": [1, 512, 16],
        "negative_attention_mask": [1, 512],
    }
    assert int(given["negative_attention_mask"].sum()) == 22


def test_without_a_text_encoder_guidance_needs_a_null_condition(folders: dict[str, Path], tmp_path: Path) -> None:
    generator = opened(folders, "wan")
    with pytest.raises(ModelError, match="this WanPipeline came without its text encoder: it reads no text"):
        generator.condition(["a cat"])
    with pytest.raises(ModelError, match=f"has neither a text encoder nor {NULL}; ask for guidance=1"):
        generator.generate(drawn((1, 512, 12)), [0], steps=1)
    null = drawn((1, 512, 12), 3)
    generator._null = null
    generator.save_pretrained(tmp_path)
    assert torch.equal(open_generator("video", tmp_path).null_condition(), null)
    save_file({"null_condition": null[:, 1:].contiguous()}, tmp_path / NULL)
    with pytest.raises(ModelError, match=r"null_condition is \[1, 511, 12\], the model needs \[1, 512, 12\]"):
        open_generator("video", tmp_path)


def test_what_does_not_fit_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    generator = opened(folders, "sdxl")
    with pytest.raises(RequestError, match=r"XLPipeline takes conditions of \[9, 16\], not \[8, 16\]"):
        generator.generate(drawn((1, 8, 16)), [0])
    with pytest.raises(RequestError, match="gives no previews; leave preview out"):
        generator.generate(drawn((1, 9, 16)), [0], steps=1, guidance=1.0, on_step=lambda step, of, preview: preview())
    with pytest.raises(ModelError, match="StableDiffusionXLPipeline has no diffusion loss here"):
        generator.encode(torch.zeros(1))
    with pytest.raises(ModelError, match="makes image, it is no generator for 'audio'"):
        open_generator("audio", folders["sdxl"])
    with pytest.raises(ModelError, match="which borrows nothing; take its base from anygen.json"):
        open_generator("image", folders["sdxl"], base=folders["lcm"])
    with pytest.raises(ModelError, match="unknown key 'depth'; known keys are height, width, frames, fps, seconds"):
        open_generator("image", folders["sdxl"], options={"depth": 1})
    with pytest.raises(ModelError, match="a generator's height must be above 0, got -1"):
        MediumOptions(height=-1)


def test_the_docs_name_every_pipeline_and_kind() -> None:
    docs = Path(__file__).resolve().parent.parent / "docs"
    text = (docs / "generators.md").read_text()
    for name, (_, contract) in CONTRACTS.items():
        assert any(f"`{type(contract).__name__}`" in line and f"`{name}`" in line for line in text.splitlines()), name
    assert all(f"| `{kind}` |" in (docs / "encoders.md").read_text() for kind in ("tower", *KINDS_OF_ENCODERS))


def test_own_generators_stay_what_they_are(tiny: Path) -> None:
    own = open_generator("image", tiny / "generators" / "image")
    assert type(own).__name__ == "ImageGenerator" and type(own.pipeline).__name__ not in CONTRACTS
    with pytest.raises(ModelError, match="makes media of its own size: it has no option 'height'"):
        open_generator("image", tiny / "generators" / "image", options={"height": 8})


def test_a_model_folder_gives_sizes_to_its_generators(tiny: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    values = json.loads((tiny / "anygen.json").read_text())
    assert "options" not in values["generators"]["image"]
    values["generators"]["image"] |= {"path": str(folders["sdxl"]), "options": {"height": 24, "width": 16}}
    (tmp_path / "anygen.json").write_text(json.dumps(values))
    config = ModelConfig.read(tmp_path / "anygen.json")
    config.write(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == values
    which = config.generators["image"]
    generator = open_generator("image", Path(which.path), options=which.options)
    (made,) = generator.generate(drawn((1, 9, 16)), [0], steps=1, guidance=1.0)
    assert (made.height, made.width) == (24, 16) and made == to_images(values_of(made))[0]


def values_of(picture: Image) -> torch.Tensor:
    return torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)[None].float() / 255
