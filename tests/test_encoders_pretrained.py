"""Models of transformers and ImageBind as encoders: the real classes, tiny and random, in and out of model folders."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from noise import film, picture, sound
from safetensors.torch import load_file, save_file
from torch import nn

from anygen.encoders import KINDS, open_encoder
from anygen.encoders.imagebind_encoder import ImageBindEncoder, ImageBindOptions
from anygen.encoders.imagebind_huge import HUGE, HugeTower
from anygen.encoders.pretrained import PretrainedEncoder, PretrainedOptions
from anygen.error import ModelError
from anygen.folder import EncoderConfig, ModelConfig
from anygen.media import Audio
from anygen.model import AnyGenModel
from anygen.projectors.input import LinearConfig, LinearProjector
from anygen.weights import quiet

VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 32,
    "max_position_embeddings": 18,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def clip() -> Any:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)
    return CLIPModel(config), CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)


def siglip() -> Any:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    config = SiglipConfig(text_config=TEXT, vision_config=VISION)
    return SiglipModel(config), SiglipImageProcessorPil(size={"height": 32, "width": 32})


def dinov2() -> Any:
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config(**VISION)), BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)


def clap(fused: bool = False) -> Any:
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    hearing = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "window_size": 4,
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_stride": [4, 4],
        "num_classes": 3,
        "projection_dim": 8,
        "enable_fusion": fused,
    }
    config = ClapConfig(text_config=TEXT, audio_config=hearing, projection_dim=8)
    cut = "fusion" if fused else "rand_trunc"
    return ClapModel(config), ClapFeatureExtractor(
        feature_size=16,
        max_length_s=1,
        hop_length=480,
        sampling_rate=16_000,
        truncation=cut,
        frequency_min=1000,
        frequency_max=8000,
    )


def whisper() -> Any:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    config = WhisperConfig(
        vocab_size=32,
        num_mel_bins=8,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return WhisperModel(config), WhisperFeatureExtractor(feature_size=8, chunk_length=1)


def ast() -> Any:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    sizes = {key: value for key, value in VISION.items() if key != "image_size"}
    config = ASTConfig(**sizes, max_length=64, num_mel_bins=16, frequency_stride=8, time_stride=8)
    return ASTForAudioClassification(config), ASTFeatureExtractor(num_mel_bins=16, max_length=64)


def wav2vec() -> Any:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        conv_dim=(8, 8),
        conv_stride=(10, 8),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    return Wav2Vec2Model(config), Wav2Vec2FeatureExtractor()


# what it is made by, what it reads, tokens and width of all patches, and of the pooled vector
FAMILIES: dict[str, tuple[Callable[[], Any], str, tuple[int, int], tuple[int, int] | None]] = {
    "clip": (clip, "image", (16, 16), (1, 16)),
    "siglip": (siglip, "image", (16, 16), (1, 16)),
    "dinov2": (dinov2, "image", (16, 16), (1, 16)),
    "clap": (clap, "audio", (64, 16), (1, 16)),
    "clap-fused": (lambda: clap(fused=True), "audio", (64, 16), (1, 16)),
    "whisper": (whisper, "audio", (50, 16), None),
    "ast": (ast, "audio", (16, 16), (1, 16)),
}


MAKERS = {name: make for name, (make, *_) in FAMILIES.items()} | {"wav2vec": wav2vec}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One transformers folder a family, with weights that nothing leaves at 0 or 1."""
    from transformers.utils import logging

    found = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, make in MAKERS.items():
            model, processor = make()
            for weight in model.parameters():
                nn.init.normal_(weight, std=0.3)
            found[name] = tmp_path_factory.mktemp("families") / name
            with quiet(logging):
                model.save_pretrained(found[name])
                processor.save_pretrained(found[name])
    return found


def medium(modality: str) -> Any:
    return picture(50, 40) if modality == "image" else sound(0.9, 16_000, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_encodes_and_keeps_its_features(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    _, modality, wanted, _ = FAMILIES[family]
    encoder = open_encoder(modality, folders[family], "transformers")
    assert (encoder.tokens, encoder.width) == wanted
    given = torch.stack([encoder.prepare(medium(modality))] * 2)
    with torch.no_grad():
        made = encoder(given)
    assert made.shape == (2, *wanted) and made.std() > 0.01 and torch.isfinite(made).all()
    assert not any(p.requires_grad for p in encoder.parameters())
    encoder.save_pretrained(tmp_path / "again")
    again = open_encoder(modality, tmp_path / "again", "transformers")
    with torch.no_grad():
        assert torch.equal(again.prepare(medium(modality)), given[0])
        assert torch.equal(again(given), made)
    assert str(again.config) == str(encoder.config)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_pools_as_transformers_does(folders: dict[str, Path], family: str) -> None:
    from transformers import AutoModel
    from transformers.utils import logging

    _, modality, _, wanted = FAMILIES[family]
    if wanted is None:
        with pytest.raises(ModelError, match="WhisperEncoder pools nothing; leave pooled out"):
            open_encoder(modality, folders[family], "transformers", {"pooled": True})
        return
    encoder = open_encoder(modality, folders[family], "transformers", {"pooled": True})
    given = encoder.prepare(medium(modality))[None]
    with quiet(logging), torch.no_grad():
        whole = AutoModel.from_pretrained(folders[family])
        tower = getattr(whole, "vision_model", getattr(whole, "audio_model", whole))
        more = {"is_longer": torch.zeros(1, 1, dtype=torch.bool)} if "fused" in family else {}
        pooled = tower(given, **more).pooler_output
        torch.testing.assert_close(encoder(given)[:, 0], pooled)
    assert (encoder.tokens, encoder.width) == wanted


def test_layers_and_class_tokens_are_chosen(folders: dict[str, Path]) -> None:
    given = None
    made = {}
    ways: dict[str, dict[str, Any]] = {
        "last": {},
        "classes": {"classes": True},
        "early": {"layer": -2},
        "second": {"layer": 1},
    }
    for name, options in ways.items():
        encoder = open_encoder("image", folders["dinov2"], "transformers", options)
        given = encoder.prepare(picture(50, 40))[None] if given is None else given
        with torch.no_grad():
            made[name] = encoder(given)
    assert made["classes"].shape == (1, 17, 16) and torch.equal(made["classes"][:, 1:], made["last"])
    assert torch.equal(made["early"], made["second"]) and not torch.equal(made["early"], made["last"])
    with pytest.raises(ModelError, match="Dinov2Model has 3 hidden states, there is no layer 3"):
        open_encoder("image", folders["dinov2"], "transformers", {"layer": 3})


def test_a_film_is_its_frames(folders: dict[str, Path]) -> None:
    encoder = open_encoder("video", folders["clip"], "transformers", {"frames": 3})
    still = open_encoder("image", folders["clip"], "transformers")
    shown = film(50, 40, 9, 8.0)
    with torch.no_grad():
        made = encoder(encoder.prepare(shown)[None])
        middle = still(still.prepare(type(picture(8, 8))(shown.frames[4]))[None])
    assert made.shape == (1, encoder.tokens, encoder.width) == (1, 48, 16)
    torch.testing.assert_close(made[:, 16:32], middle)


def test_long_sounds_are_cut_not_drawn(folders: dict[str, Path]) -> None:
    encoder = open_encoder("audio", folders["clap"], "transformers")
    long = sound(3.0, 16_000, 1)
    assert torch.equal(encoder.prepare(long), encoder.prepare(Audio(long.samples[:, :16_000], 16_000)))
    with pytest.raises(ModelError, match="Wav2Vec2Model hears sound of any length; set the option seconds"):
        open_encoder("audio", folders["wav2vec"], "transformers")
    any_length = open_encoder("audio", folders["wav2vec"], "transformers", {"seconds": 0.5})
    assert any_length.prepare(long).shape == any_length.prepare(sound(0.1, 16_000, 1)).shape == (8000,)
    with torch.no_grad():
        assert any_length(any_length.prepare(long)[None]).shape == (1, any_length.tokens, any_length.width)


@pytest.mark.parametrize(
    ("change", "modality", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "image", r"config\.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{}"), "image", "names no model_type: this is no folder"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "frob"}'),
            "image",
            "does not open as a model of transformers: .*frob",
        ),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "image", "has no processor for image"),
        (lambda folder: (folder / "model.safetensors").unlink(), "image", "does not open as a model of transformers"),
        (lambda folder: cut(folder / "model.safetensors"), "image", "is truncated or not a safetensors file"),
        (lambda folder: edit(folder, "lose"), "image", r"tensor encoder\.layer\.1\.mlp\.fc1\.weight \[64, 16\] is mis"),
        (lambda folder: edit(folder, "bend"), "image", r"fc1\.weight is \[64, 15\], the model needs \[64, 16\]"),
        (lambda folder: edit(folder, "more"), "image", r"tensor encoder\.layer\.9\.x has no place in the model"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(
    folders: dict[str, Path], tmp_path: Path, change: Callable[[Path], Any], modality: str, message: str
) -> None:
    folder = shutil.copytree(folders["dinov2"], tmp_path / "wrong")
    change(folder)
    with pytest.raises(ModelError, match=message) as caught:
        open_encoder(modality, folder, "transformers")
    assert "\n" not in str(caught.value)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:2000])


def edit(folder: Path, how: str) -> None:
    """Loses, bends or adds a tensor."""
    file, name = folder / "model.safetensors", "encoder.layer.1.mlp.fc1.weight"
    held = load_file(file)
    weight = held.pop(name)
    if how == "bend":
        held[name] = weight[:, 1:].contiguous()
    if how == "more":
        held |= {name: weight, "encoder.layer.9.x": torch.zeros(1)}
    save_file(held, file, metadata={"format": "pt"})


def test_what_reads_or_gives_something_else_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import EncodecConfig, EncodecFeatureExtractor, EncodecModel
    from transformers.utils import logging

    with pytest.raises(ModelError, match="Dinov2Model reads pixel_values, it is no encoder for 'audio'"):
        open_encoder("audio", folders["dinov2"], "transformers")
    with quiet(logging):
        EncodecModel(EncodecConfig(num_filters=4, hidden_size=8, codebook_size=8, num_lstm_layers=1)).save_pretrained(
            tmp_path
        )
        EncodecFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="EncodecModel has no hidden states that could be features"):
        open_encoder("audio", tmp_path, "transformers", {"seconds": 0.1})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("frob", {}, "no kind of encoder 'frob'; there are tower, imagebind, transformers"),
        ("tower", {"layer": 1}, "is of kind 'tower', which has no option 'layer'"),
        (
            "transformers",
            {"depth": 1},
            "options of the image encoder: unknown key 'depth'; known keys are pooled, layer",
        ),
        ("transformers", {"pooled": True, "layer": 1}, "pooled=true has one vector: leave layer and classes out"),
        ("transformers", {"frames": 0}, "not at frames=0"),
        ("transformers", {"seconds": "long"}, "options of the image encoder: '<' not supported"),
        ("imagebind", {"frames": 1}, "unknown key 'frames'; known keys are pooled, scale, clips, crops"),
    ],
)
def test_options_are_strict(folders: dict[str, Path], kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_encoder("image", folders["clip"], kind, options)


# --- ImageBind behind the same protocol


def bind(modality: str) -> HugeTower:
    """A tower of ImageBind, tiny: large patches, one block."""
    vision: dict[str, Any] = {"size": (3, 2, 32, 32), "kernel": (2, 16, 16), "stride": (2, 16, 16)}
    side = vision if modality == "vision" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HugeTower(replace(HUGE[modality], width=16, depth=1, heads=2, joint=8, **side)).eval()


@pytest.mark.parametrize(
    ("modality", "options", "shape"),
    [
        ("image", {}, (4, 16)),
        ("image", {"pooled": True}, (1, 8)),
        ("audio", {}, (3 * 228, 16)),
        ("audio", {"pooled": True}, (1, 8)),
        ("audio", {"clips": 1}, (228, 16)),
        ("video", {"clips": 2}, (2 * 3 * 4, 16)),
        ("video", {"crops": 1}, (5 * 4, 16)),
        ("video", {"pooled": True}, (1, 8)),
    ],
)
def test_imagebind_encodes(tmp_path: Path, modality: str, options: dict[str, Any], shape: tuple[int, int]) -> None:
    bind("audio" if modality == "audio" else "vision").save_pretrained(tmp_path)
    encoder = open_encoder(modality, tmp_path, "imagebind", options)
    shown = film(40, 30, 60, 12.0) if modality == "video" else medium(modality)
    with torch.no_grad():
        given = encoder.prepare(shown)[None]
        made = encoder(given)
        assert made.shape == (1, encoder.tokens, encoder.width) == (1, *shape)
        if options.get("pooled"):
            torch.testing.assert_close(made[:, 0], encoder.tower.embed(given))


def test_pooled_vectors_have_their_scale_or_none() -> None:
    tower = bind("audio")
    loud, bare = (
        ImageBindEncoder("audio", tower, ImageBindOptions(pooled=True, scale=s, clips=1)) for s in (True, False)
    )
    given = loud.prepare(sound(2.5, 16_000, 1))[None]
    with torch.no_grad():
        torch.testing.assert_close(loud(given), 20 * bare(given))
        assert float(bare(given).norm()) == pytest.approx(1.0, abs=1e-5)


def test_imagebind_refuses_what_it_is_not(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the image encoder needs ImageBind's vision tower, this is audio"):
        ImageBindEncoder("image", bind("audio"), ImageBindOptions())
    with pytest.raises(
        ModelError, match="ImageBind encodes image, video, audio, depth, thermal, imu for a model, not 'text'"
    ):
        ImageBindEncoder("text", bind("text"), ImageBindOptions())
    with pytest.raises(ModelError, match="not clips=0, crops=3"):
        ImageBindEncoder("audio", bind("audio"), ImageBindOptions(clips=0))
    with pytest.raises(ModelError, match="give its absolute path"):
        EncoderConfig(path="imagebind_huge.pth", kind="imagebind")


# --- in a model folder


def test_a_model_folder_names_its_encoders_kind(folders: dict[str, Path], tiny: Path, tmp_path: Path) -> None:
    """A model whose pictures go through CLIP: as part of the folder, and as a reference to it."""
    before = AnyGenModel.load(tiny)
    text = (tiny / "anygen.json").read_text()
    assert "kind" not in text
    clip = open_encoder("image", folders["clip"], "transformers", {"layer": -2})
    assert isinstance(clip, KINDS["transformers"])
    into = LinearProjector(LinearConfig(tokens_in=clip.tokens, width_in=clip.width, width_out=before.width))
    for name, path in (("part", "encoders/clip"), ("reference", str(folders["clip"]))):
        config = replace(
            before.config, encoders={"image": EncoderConfig(path=path, kind="transformers", options={"layer": -2})}
        )
        model = AnyGenModel(
            config, before.tokenizer, before.llm, {"image": clip}, {"image": into}, {}, folder=before.folder
        )
        folder = model.save(tmp_path / name)
        assert (folder / "encoders").exists() == (name == "part")
        again = AnyGenModel.load(folder)
        assert again.config == config and isinstance(again.encoders["image"], PretrainedEncoder)
        assert again.reads == ("image",)
        shown = [picture(50, 40), picture(30, 30)]
        assert torch.equal(again.encode("image", shown), clip(torch.stack([clip.prepare(p) for p in shown])))
        assert again.project("image", again.encode("image", shown)).shape == (2, 16, before.width)
    # an old folder says nothing of kinds, and stays as it is
    again = AnyGenModel.load(before.save(tmp_path / "old"))
    assert json.loads((tmp_path / "old" / "anygen.json").read_text()) == json.loads(text)
    assert again.config.encoder("image").kind == "tower"


def test_an_encoder_in_anygen_json_is_read_strictly(tiny: Path, tmp_path: Path) -> None:
    values = json.loads((tiny / "anygen.json").read_text())
    for where, message in (
        ({"path": "x", "kind": "transformers", "size": 3}, r"encoders\.image: unknown key 'size'"),
        ({"path": "x"}, r"encoders\.image: missing key 'kind'"),
    ):
        (tmp_path / "anygen.json").write_text(json.dumps(values | {"encoders": {"image": where}}))
        with pytest.raises(ModelError, match=message):
            ModelConfig.read(tmp_path / "anygen.json")


def test_a_tower_whose_work_depends_on_values_is_measured_with_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = clip()
    plain = PretrainedEncoder("image", PretrainedOptions(), model, processor, "here")
    kind, seen = type(plain.tower), []
    forward = kind.forward

    def choosy(self: Any, *args: Any, **more: Any) -> Any:
        seen.append(more["pixel_values"].device.type)
        assert more["pixel_values"].mean().item() < 1e9
        return forward(self, *args, **more)

    monkeypatch.setattr(kind, "forward", choosy)
    other = PretrainedEncoder("image", PretrainedOptions(), model, processor, "here")
    assert (other.tokens, other.width) == (plain.tokens, plain.width) and seen == ["meta", "cpu"]


def test_what_is_wrong_with_a_tower_itself_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = clip()
    kind = type(PretrainedEncoder("image", PretrainedOptions(), model, processor, "here").tower)
    seen = []

    def broken(self: Any, *args: Any, **more: Any) -> Any:
        seen.append(more["pixel_values"].device.type)
        return torch.zeros(2, 3) @ torch.zeros(2, 3)

    monkeypatch.setattr(kind, "forward", broken)
    with pytest.raises(ModelError, match="here: CLIPVision.* cannot read what its processor makes: mat1 and mat2"):
        PretrainedEncoder("image", PretrainedOptions(), model, processor, "here")
    assert seen == ["meta"]
