"""Public checkpoints become model folders, number by number, and are refused in one line where they do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from published import TINY, nextgpt, sentencepiece_model, vicuna, words
from torch import nn

import anygen
from anygen import cli
from anygen.convert import nextgpt as converter
from anygen.convert.nextgpt import HIDDEN, INSIDE, PUBLISHED, convert, published_shapes
from anygen.convert.sentencepiece import fast_tokenizer, read_pieces
from anygen.doctor import folder as faults
from anygen.encoders.audio import AudioEncoder, AudioTowerConfig
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.error import ModelError
from anygen.folder import ModelConfig
from anygen.media import Image
from anygen.mel import FRAMES
from anygen.model import AnyGenModel
from anygen.testing import tiny_audio_pipeline, tiny_pipeline


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoint/, base/, and parts at the widths of the toy checkpoint: one feature per medium, as ImageBind's."""
    root = tmp_path_factory.mktemp("nextgpt")
    nextgpt(root / "checkpoint")
    vicuna(root / "base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = TowerConfig(width=16, depth=1, heads=2, joint=8, side=16, patch=16, stem="patch")
        hearing = AudioTowerConfig(width=16, depth=1, heads=2, joint=8, patch=FRAMES)
        for name, part in (("eye", ImageEncoder(tower)), ("ear", AudioEncoder(hearing))):
            (root / name).mkdir()
            part.save_pretrained(root / name)
        tiny_pipeline().save_pretrained(root / "image", safe_serialization=True)
        tiny_audio_pipeline().save_pretrained(root / "audio", safe_serialization=True)
    return root


def made(source: Path, output: Path, **options: Any) -> Path:
    eye, ear = str(source / "eye"), str(source / "ear")
    return convert(
        source / "checkpoint",
        source / "base",
        output,
        encoders={"image": eye, "video": eye, "audio": ear},
        generators={m: str(source / ("image" if m == "video" else m)) for m in HIDDEN},
        sizes=TINY,
        **options,
    )


@pytest.fixture(scope="module")
def converted(source: Path) -> Path:
    return made(source, source / "model")


def load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AnyGenModel:
    from anygen.encoders import ENCODERS

    monkeypatch.setitem(ENCODERS, "video", ImageEncoder)  # a film's encoder is not this test's business
    return AnyGenModel.load(folder)


def test_the_layout_is_the_published_one_to_the_byte() -> None:
    shapes = published_shapes()
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 396_045_568
    assert shapes[f"{INSIDE}model.embed_tokens.weight"] == (32038, 4096)
    assert shapes["gen_text_hidden_fcs.0.query_embs"] == (1, 77, 512)
    assert shapes["gen_text_hidden_fcs_video.0.model.weight"] == (1024, 512)
    assert shapes["gen_text_hidden_fcs_audio.0.query_embs"] == (1, 1, 512)
    assert shapes["gen_text_hidden_fcs.0.tfm.decoder.layers.3.multihead_attn.in_proj_weight"] == (1536, 512)
    sums = {
        m: sum(torch.Size(s).numel() for name, s in shapes.items() if name.startswith(f"{prefix}."))
        for m, prefix in HIDDEN.items()
    }
    assert sums == {"image": 31_958_784, "video": 32_090_112, "audio": 31_788_544}
    ids = dict(zip(PUBLISHED.added, range(PUBLISHED.rows, PUBLISHED.vocabulary), strict=True))
    assert (ids["<Img>"], ids["[IMG0]"], ids["[VID0]"], ids["[AUD0]"], ids["[AUD7]"]) == (
        32000,
        32002,
        32006,
        32030,
        32037,
    )


def test_the_true_widths_are_checked_on_meta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole check at 4096 wide, with tensors that hold nothing."""
    held = {name: torch.empty(shape, dtype=torch.float16, device="meta") for name, shape in published_shapes().items()}
    monkeypatch.setattr(converter, "open_pickle", lambda file, expected_bytes: held)
    assert len(converter.open_checkpoint(tmp_path)) == 2 + 2 + 32 * 4 * 2 + 3 * (4 * 12 + 2 + 4 * 18 + 2 + 5)
    held["llama_proj.weight"] = torch.empty(4096, 768, dtype=torch.float16, device="meta")
    with pytest.raises(ModelError, match=r"llama_proj.weight is \[4096, 768\], the model needs \[4096, 1024\]"):
        converter.open_checkpoint(tmp_path)


def test_output_projectors_are_plain_transformers(
    source: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against torch's own class, filled with the checkpoint's own names."""
    held = torch.load(source / "checkpoint" / "pytorch_model.pt", weights_only=True)
    model = load(converted, monkeypatch)
    for modality, prefix in HIDDEN.items():
        mine = {
            name.removeprefix(f"{prefix}.0."): t.float() for name, t in held.items() if name.startswith(f"{prefix}.")
        }
        with pytest.warns(UserWarning, match="nested"):
            plain = nn.Transformer(16, 4, 2, 2, 24, 0.0, norm_first=True, batch_first=True)
        plain.load_state_dict({k.removeprefix("tfm."): t for k, t in mine.items() if k.startswith("tfm.")}, strict=True)
        count = TINY.signals[modality]
        hidden, rows = (
            torch.randn(3, count, 32),
            [TINY.rows + TINY.added.index(f"[{n}]") for n in signal_names(modality)],
        )
        table = held[f"{INSIDE}model.embed_tokens.weight"].float()
        x = (hidden + table[rows]) @ mine["fc.weight"].T + mine["fc.bias"]
        with torch.no_grad():
            y = plain.eval()(x, mine["query_embs"].expand(3, -1, -1)) @ mine["model.weight"].T + mine["model.bias"]
            torch.testing.assert_close(model.predict_condition(modality, hidden), y, atol=1e-5, rtol=1e-5)


def signal_names(modality: str) -> list[str]:
    short = {"image": "IMG", "video": "VID", "audio": "AUD"}[modality]
    return [f"{short}{index}" for index in range(TINY.signals[modality])]


def test_the_llm_is_base_plus_lora(source: Path, converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = torch.load(source / "checkpoint" / "pytorch_model.pt", weights_only=True)
    base = {k: v for file in (source / "base").glob("*.bin") for k, v in torch.load(file, weights_only=True).items()}
    model = load(converted, monkeypatch)
    state = model.llm.state_dict()
    where = "model.layers.1.self_attn.v_proj"
    a, b = (held[f"{INSIDE}{where}.lora_{side}.default.weight"].float() for side in "AB")
    assert torch.equal(state[f"{where}.weight"], (base[f"{where}.weight"].float() + b @ a).half().float())
    assert torch.equal(state["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"].float())
    for name in ("model.embed_tokens", "lm_head"):
        assert torch.equal(state[f"{name}.weight"][: TINY.vocabulary], held[f"{INSIDE}{name}.weight"].float())
        assert not state[f"{name}.weight"][TINY.vocabulary :].any() and len(state[f"{name}.weight"]) == TINY.rows + 18
    features = torch.randn(2, 1, 16)
    expected = features @ held["llama_proj.weight"].float().T + held["llama_proj.bias"].float()
    for modality in HIDDEN:
        torch.testing.assert_close(model.project(modality, features), expected)
    assert faults(converted) == []


def test_a_kept_adapter_is_the_merged_model(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = made(source, tmp_path / "apart", merge=False)
    assert (apart / "adapters" / "adapter_model.safetensors").is_file()
    ids = torch.tensor([[1, 5, 300, 400, 422]])
    with torch.no_grad():
        logits = [load(f, monkeypatch).llm(ids).logits for f in (apart, made(source, tmp_path / "merged"))]
    torch.testing.assert_close(*logits, atol=2e-3, rtol=2e-3)  # the merged weights are rounded to half precision


def test_a_conversation_is_spelt_as_nextgpt_does(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(converted, monkeypatch)
    picture = Image(torch.zeros(4, 4, 3, dtype=torch.uint8).numpy())
    chat: list[Any] = [
        {"role": "user", "content": [picture, {"type": "text", "text": " a cat"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}, {"type": "image"}]},
        {"role": "user", "content": "<s> [IMG0]"},
    ]
    rendered = model.render(chat, answer=True)
    tokens = model.tokenizer.convert_ids_to_tokens(rendered.ids)
    text = "".join(tokens).replace("\u2581", " ")
    assert text == (
        "<s> ### Human:<Img><|image_in|></Img> a cat<0x0A>### Assistant:"
        " A cat.[IMG0][IMG1][IMG2][IMG3] ### Human: <s> [IMG0]<0x0A>### Assistant:"
    )
    said = [token for token, label in zip(tokens, rendered.labels, strict=True) if label != -100]
    assert "".join(said).replace("\u2581", " ") == " A cat.[IMG0][IMG1][IMG2][IMG3] ###"
    assert rendered.ids.count(model.tokenizer.convert_tokens_to_ids("[IMG0]")) == 1  # what a user types stays text
    # up to white space beside media, transformers' own template says the same
    spelt = model.tokenizer.apply_chat_template(
        [
            {**m, "content": [{"type": "image"}, m["content"][1]] if i == 0 else m["content"]}
            for i, m in enumerate(chat)
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert spelt.replace(" ", "").replace("\n", "") == text.replace(" ", "").replace("<0x0A>", "")
    with pytest.raises(anygen.AnyGenError, match="unknown role 'system'; roles of this model are user, assistant"):
        model.render([{"role": "system", "content": "Be short."}])


@pytest.mark.parametrize("states", ["at", "before"])
def test_states_are_taken_where_the_config_says(
    states: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a condition is made from, in an answer written token by token, is what one pass over all has there."""
    model = load(made(source, tmp_path / "model", states=states), monkeypatch)
    assert model.vocabulary.lags == (states == "before")
    engine = anygen.Engine(model)
    assert engine.writes == ("text", "image", "audio", "video")
    seen: list[torch.Tensor] = []
    original = engine._condition

    def watch(modality: str, hidden: torch.Tensor, sources: Any) -> torch.Tensor:
        seen.append(hidden[0])
        return original(modality, hidden, sources)

    monkeypatch.setattr(engine, "_condition", watch)
    chat = engine.chat(seed=1)
    reply = chat.send("A cat", to=["text", "image"], max_new_tokens=9, steps=1)
    assert sorted({part.type for part in reply}) == ["image", "text"]
    ids = torch.tensor([chat.session.ids])
    with torch.no_grad():
        whole = model.llm(ids, output_hidden_states=True).hidden_states[-1]
    first = chat.session.ids.index(model.vocabulary.spans["image"].first) - (states == "before")
    torch.testing.assert_close(seen[0], whole[0, first : first + 4], atol=1e-4, rtol=1e-4)
    assert torch.equal(model.span_states("image", ids, whole)[0], whole[0, first : first + 4])


def test_an_answer_ends_at_either_way_to_cut_its_end(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(converted, monkeypatch)
    names = model.tokenizer.convert_ids_to_tokens(list(model.vocabulary.ends))
    assert names == ["##", "\u2581###", "</s>"]
    assert not model.vocabulary.text[list(model.vocabulary.ends)].any()
    assert model.tokenizer.decode(list(model.vocabulary.closing)) == "###"
    chat = anygen.Engine(model).chat(seed=0)
    chat.send("A cat", to="text", max_new_tokens=4)
    chat.send("man", to="text", max_new_tokens=4)
    text = model.tokenizer.decode(chat.session.ids)
    assert text.count("### Human:") == 2 and text.count("Assistant:") == 2


REFUSED = {
    "missing": ({"llama_proj__bias": None}, r"tensor llama_proj.bias \[32\] is missing"),
    "extra": ({"llama_proj__gate": torch.zeros(2)}, r"tensor llama_proj.gate \[2\] has no place"),
    "width": ({"llama_proj__weight": torch.zeros(40, 16).half()}, r"is \[40, 16\], the model needs \[32, 16\]"),
    "precision": ({"llama_proj__bias": torch.zeros(32)}, "llama_proj.bias is float32, the published one is float16"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_that_does_not_fit_is_named(case: str, source: Path, tmp_path: Path) -> None:
    changes: Any
    changes, message = REFUSED[case]
    checkpoint = nextgpt(tmp_path / "checkpoint", **changes)
    with pytest.raises(ModelError, match=message):
        convert(checkpoint, source / "base", tmp_path / "out", sizes=TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_a_truncated_download_is_named(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.pt"
    data = (source / "checkpoint" / "pytorch_model.pt").read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=r"truncated: \d+ bytes, its tensors alone are \d+ \(sha256 [0-9a-f]{64}\)"):
        convert(file, source / "base", tmp_path / "out", sizes=TINY)
    file.write_bytes(data[:-100])
    with pytest.raises(ModelError, match="is truncated or no state dict"):
        convert(file, source / "base", tmp_path / "out", sizes=TINY)
    with pytest.raises(ModelError, match=r"nothing\.pt is missing"):
        convert(tmp_path / "nothing.pt", source / "base", tmp_path / "out", sizes=TINY)


OLD = (("unet", "diffusion_pytorch_model", "diffusion_pytorch_model"), ("text_encoder", "model", "pytorch_model"))


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("this must never run",))


def test_nothing_in_a_pickle_is_run(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = nextgpt(tmp_path / "checkpoint", gift=Evil())
    with pytest.raises(ModelError, match="no state dict"):
        convert(checkpoint, source / "base", tmp_path / "out", sizes=TINY)
    assert "never" not in capsys.readouterr().out


def test_a_base_of_another_width_is_named(source: Path, tmp_path: Path) -> None:
    checkpoint = source / "checkpoint"
    with pytest.raises(ModelError, match="hidden_size is 40, the checkpoint was trained on 32"):
        convert(checkpoint, vicuna(tmp_path / "wide", hidden_size=40), tmp_path / "out", sizes=TINY)
    base = vicuna(tmp_path / "base", pickled=False)
    convert(checkpoint, base, tmp_path / "fine", sizes=TINY)  # safetensors as well
    (base / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors is truncated"):
        convert(checkpoint, base, tmp_path / "out", sizes=TINY)
    with pytest.raises(ModelError, match="is there already"):
        convert(checkpoint, base, tmp_path / "fine", sizes=TINY)


def test_another_tokenizer_is_named(source: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(source / "checkpoint", checkpoint)
    added = json.loads((checkpoint / "added_tokens.json").read_text())
    (checkpoint / "added_tokens.json").write_text(json.dumps(added | {"</Img>": 7}))
    with pytest.raises(ModelError, match="gives </Img> the id 7, the layout has 421"):
        convert(checkpoint, source / "base", tmp_path / "out", sizes=TINY)
    (checkpoint / "tokenizer.model").write_bytes(sentencepiece_model(words(), 400))
    with pytest.raises(ModelError, match="has 400 tokens; Llama's has 420"):
        convert(checkpoint, source / "base", tmp_path / "out", sizes=TINY)
    (checkpoint / "tokenizer.model").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.model, neither beside"):
        convert(checkpoint, source / "base", tmp_path / "out", sizes=TINY)


def test_sentencepiece_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.model"
    file.write_bytes(sentencepiece_model(words(), 400))
    pieces = read_pieces(file)
    assert len(pieces) == 400 and pieces[259].text == "##" and pieces[3].kind == 6
    tokenizer = fast_tokenizer(file)

    def cut(text: str) -> list[str]:
        return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"])

    assert cut("a cat") == ["\u2581", "a", "\u2581cat"]
    assert cut("### Human:") == ["\u2581###", "\u2581H", "u", "man", ":"]
    assert cut("\n###") == ["\u2581", "<0x0A>", "###"] and cut("\u00e9") == ["\u2581", "<0xC3>", "<0xA9>"]
    for text in ("a cat", "caf\u00e9!", "two  spaces", "line\nline"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    file.write_bytes(sentencepiece_model(words(), 400, kind=1))
    with pytest.raises(ModelError, match="no byte-pair SentencePiece model: 400 pieces, model type 1"):
        read_pieces(file)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ModelError, match="truncated or no SentencePiece model"):
        read_pieces(file)


def test_the_command_line_converts(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(converter, "PUBLISHED", TINY)
    words = ["convert", "nextgpt", str(source / "checkpoint"), "--base", str(source / "base"), "-o"]
    assert cli.main([*words, str(tmp_path / "out"), "--states", "before"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    config = ModelConfig.read(tmp_path / "out" / "anygen.json")
    assert config.encoder("audio").path == "catalog:imagebind_huge" and config.dialect is not None
    assert config.encoder("audio").kind == "imagebind" and config.encoder("audio").options == {"pooled": True}
    assert config.generators["image"].path == "catalog:stable-diffusion-1.5"
    assert cli.main([*words, str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    # a load says what to fetch, under which licence, and where it goes
    monkeypatch.setenv("ANYGEN_HOME", str(tmp_path / "home"))
    with pytest.raises(ModelError) as error:
        AnyGenModel.load(tmp_path / "out")
    assert "imagebind_huge" in str(error.value) and "CC-BY-NC-SA-4.0" in str(error.value)
    assert str(tmp_path / "home") in str(error.value) and "\n" not in str(error.value)


def test_an_llm_folder_gets_this_projects_tokens(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    shutil.copytree(source / "base", base)
    shutil.copy(source / "checkpoint" / "tokenizer.model", base)
    assert cli.main(["convert", "transformers", str(base), "-o", str(tmp_path / "model")]) == 0
    model = AnyGenModel.load(tmp_path / "model")
    held = {k: v for file in base.glob("*.bin") for k, v in torch.load(file, weights_only=True).items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        table = model.llm.state_dict()[name]
        assert len(table) == len(model.tokenizer) > TINY.rows + 1
        assert torch.equal(table[: TINY.rows], held[name][: TINY.rows].float())
        mean = held[name][: TINY.rows].float().mean(0).half().float()
        assert torch.equal(table[TINY.rows :], mean.expand(len(table) - TINY.rows, -1))
    assert anygen.Engine(model).generate("cat", seed=0, max_new_tokens=3).model == "model"
    (base / "pytorch_model-00001-of-00002.bin").write_bytes(b"PK cut")
    assert cli.main(["convert", "transformers", str(base), "-o", str(tmp_path / "again")]) == 2
    err = capsys.readouterr().err
    assert "00001-of-00002.bin is truncated or no state dict" in err and err.count("\n") == 1
    assert cli.main(["convert", "transformers", str(tmp_path / "nowhere"), "-o", str(tmp_path / "again")]) == 2
    assert "neither a folder nor a hub id" in capsys.readouterr().err


def test_a_pipeline_of_pickles_becomes_safetensors(source: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from anygen.convert.parts import convert_pipeline
    from anygen.generators.image import ImageGenerator

    old = tmp_path / "old"
    shutil.copytree(source / "image", old)
    for component, stem, pickled in OLD:
        file = old / component / f"{stem}.safetensors"
        torch.save(load_file(file), old / component / f"{pickled}.bin")
        file.unlink()
    new = convert_pipeline(old, tmp_path / "new")
    assert not list(new.rglob("*.bin")) and (new / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    ours, theirs = (ImageGenerator.from_pretrained(folder) for folder in (new, source / "image"))
    assert torch.equal(ours.condition(["a cat"]), theirs.condition(["a cat"]))
    for name, tensor in theirs.unet.state_dict().items():
        assert torch.equal(ours.unet.state_dict()[name], tensor)
    config = json.loads((old / "unet" / "config.json").read_text())
    (old / "unet" / "config.json").write_text(json.dumps(config | {"cross_attention_dim": 24}))
    with pytest.raises(ModelError, match=r"attn2\.to_k\.weight is \[8, 16\], the model needs \[8, 24\]"):
        convert_pipeline(old, tmp_path / "other")
    with pytest.raises(ModelError, match=r"model_index\.json is missing"):
        convert_pipeline(tmp_path, tmp_path / "other")
