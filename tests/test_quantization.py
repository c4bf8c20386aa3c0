"""Quantised weights: which layers, how many bytes, the same ones each time, and answers that stay whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from music import musicgen
from pipelines import PIPELINES, pipeline
from torch import nn

import anygen
from anygen import cli, planning, quantization
from anygen.catalog import PRESETS
from anygen.engine import Engine
from anygen.error import ModelError, RequestError
from anygen.evaluation import suites
from anygen.generators.adapter import MediumOptions, PipelineGenerator
from anygen.generators.musicgen import MusicgenGenerator
from anygen.generators.tokens import TokenOptions
from anygen.hardware import CARDS, Device
from anygen.testing import tiny_words

torchao = pytest.mark.skipif(not quantization.find_spec("torchao"), reason="torchao is not installed")
CPU = Device(name="cpu", type="cpu", bytes=8 * 10**9, flops=1e11, bandwidth=1e10, kernel=1e-5)
NANO = PRESETS["nano"].folder
bundled = pytest.mark.skipif(not NANO.exists(), reason="no bundled model in this checkout")


class Network(nn.Module):
    """An embedding with its tied head, and layers of two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 64)
        self.wide, self.narrow = nn.Linear(64, 48), nn.Linear(48, 64, bias=False)
        self.tied = nn.Linear(64, 40, bias=False)
        self.tied.weight = self.words.weight
        self.head = nn.Linear(64, 40, bias=False)

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def network(seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return Network().eval().requires_grad_(False)


def size(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in quantization.held(module))


def test_only_what_is_worth_it_is_quantised() -> None:
    assert set(quantization.layers("llm", network())) == {"wide", "narrow"}  # neither the head nor what is tied
    assert set(quantization.layers("unet", network())) == {"wide", "narrow", "head"}
    for part in ("vae", "vocoder", "adapter"):
        assert not quantization.layers(part, network())


def test_bytes_in_closed_form() -> None:
    layer, odd = nn.Linear(128, 48, device="meta"), nn.Linear(50, 16, device="meta")
    assert quantization.size("unet", "int8", layer, "cpu") == 48 * 128 + 48 * 5
    assert quantization.size("llm", "4bit", layer, "cpu") == 48 * 128 // 2 + 48 * 2 * 4  # two groups of 64
    assert quantization.size("llm", "4bit", layer, "cuda") == 48 * 1024 // 2 + 48 * 16 * 4  # rows are filled up
    assert quantization.bits("unet", "4bit", layer) == 8 and quantization.bits("llm", "4bit", odd) == 8


@torchao
@pytest.mark.parametrize(("kind", "error"), [("int8", 0.01), ("4bit", 0.15)])
def test_the_weights_are_near_and_always_the_same(kind: str, error: float) -> None:
    whole = network().to(torch.bfloat16 if kind == "4bit" else torch.float32)
    made = [network().to(whole.wide.weight.dtype) for _ in range(2)]
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1)).to(whole.wide.weight.dtype)
    outs = []
    for net in made:
        quantization.quantize("llm", net, kind)
        planned = sum(quantization.size("llm", kind, layer, "cpu") for layer in (whole.wide, whole.narrow))
        assert size(net.wide) + size(net.narrow) == planned + whole.wide.bias.nbytes
        assert type(net.head.weight) is nn.Parameter and net.tied.weight is net.words.weight
        outs.append(net.narrow(net.wide(x)).float())
    truth = whole.narrow(whole.wide(x)).float()
    assert torch.equal(*outs)
    assert 0 < (outs[0] - truth).norm() / truth.norm() < error


@torchao
@pytest.mark.parametrize("kind", quantization.KINDS)
def test_quantised_weights_move_between_devices(kind: str) -> None:
    net = network().to(torch.bfloat16)
    quantization.quantize("llm", net, kind)
    net.to("meta")  # as offload moves them
    assert {tensor.device.type for tensor in quantization.held(net)} == {"meta"}


@pytest.fixture(scope="module")
def folder(tiny_sound: Path) -> Path:
    return tiny_sound


@torchao
@pytest.mark.parametrize("kind", quantization.KINDS)
def test_a_quantised_model_answers_whole(folder: Path, kind: str, tmp_path: Path) -> None:
    engine = anygen.load(folder, device="cpu", quantize=kind)
    options: Any = {"to": ("text", "image", "audio"), "seed": 3, "max_new_tokens": 8}
    reply = engine.generate("Draw a cat.", **options)
    assert {"image", "audio"} <= {part.type for part in reply}
    again = anygen.load(folder, device="cpu", quantize=kind).generate("Draw a cat.", **options)
    assert [part.value for part in again] == [part.value for part in reply]
    assert engine.model.llm.dtype == (torch.bfloat16 if kind == "4bit" else torch.float32)
    with pytest.raises(ModelError, match=f"a model quantised to {kind} is not saved: load it without quantize"):
        engine.model.save(tmp_path / "model")
    assert not (tmp_path / "model.part").exists()


@torchao
@pytest.mark.parametrize("name", ["sd3", "wan", "audioldm2"])
def test_pipelines_of_others_run_in_eight_bits(name: str) -> None:
    _, _, shape, sizes = PIPELINES[name]
    generator = PipelineGenerator(pipeline(name), MediumOptions(**sizes))
    generator._null = torch.zeros(1, *shape)
    condition = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    (whole,) = generator.generate(condition, [1], steps=2, guidance=2.0)
    before = sum(size(net) for net in generator.modules())
    for part, net in generator.networks().items():
        quantization.quantize(part, net, "int8")
    (small,) = generator.generate(condition, [1], steps=2, guidance=2.0)
    assert type(small) is type(whole) and whole != small
    assert sum(size(net) for net in generator.modules()) < before


@torchao
def test_musicgen_runs_in_eight_bits_with_whole_heads() -> None:
    generator = MusicgenGenerator(musicgen(), tiny_words(8)[0], TokenOptions(seconds=0.1))
    before = {name: size(net) for name, net in generator.networks().items()}
    condition = generator.condition(["a cat"])
    for part, net in generator.networks().items():
        quantization.quantize(part, net, "int8")
    after = {name: size(net) for name, net in generator.networks().items()}
    assert {name for name in before if after[name] < before[name]} == {"decoder", "text_encoder"}
    assert all(type(head.weight) is nn.Parameter for head in generator.model.decoder.lm_heads)
    near = generator.condition(["a cat"])
    assert 0 < float((near - condition).abs().max()) < 0.05 * float(condition.abs().max())
    assert generator.generate(near, [1])[0].seconds == 0.1


def parts(engine: Engine) -> dict[str, int]:
    """Bytes of what `anygen plan` calls the LLM and the generators' parts."""
    model = engine.model
    nets = {f"generators.{m}.{name}": net for m in model.writes for name, net in model.generator(m).networks().items()}
    return {name: size(net) for name, net in {"llm": model.llm, **nets}.items()}


@torchao
@bundled
@pytest.mark.parametrize(("kind", "share"), [("int8", 0.45), ("4bit", 0.25)])
def test_the_plan_of_nano_is_what_a_load_takes(kind: str, share: float) -> None:
    engine = anygen.load(NANO, device="cpu", quantize=kind)
    real, planned = parts(engine), planning.plan(str(NANO), CPU, quantize=kind).describe(CPU)["parts"]
    for name, count in real.items():
        if name in planned:  # a part that is borrowed is planned with its lender
            assert planned[name]["bytes"] == pytest.approx(count, rel=0.05), name
    assert real["llm"] < share * 4 * engine.model.llm.num_parameters()
    assert planned["llm"]["dtype"] == ("4bit and bfloat16" if kind == "4bit" else "int8 and float32")


def test_a_plan_knows_bits_and_offload(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = CARDS["rtx-4090"]
    assert cli.main(["plan", str(folder), "--device", "rtx-4090", "--quantize", "int8", "--offload"]) == 0
    out = capsys.readouterr().out
    assert "tiny on rtx-4090, int8, offloaded" in out and "resting in the CPU's memory" in out
    assert "int8 and float32" in out and "all resident" not in out
    made = planning.plan(str(folder), card, quantize="int8")
    told, away = made.describe(card), made.describe(card, offload=True)
    assert told["weights_bytes"] == sum(part["bytes"] for part in told["parts"].values()) == away["host_bytes"]
    assert away["peak_bytes"] == told["peak_bytes_offloaded"] < told["peak_bytes"]
    assert (told["offload"], told["host_bytes"], away["offload"], away["quantize"]) == (False, 0, True, "int8")


def test_four_bits_of_a_large_model_are_planned() -> None:
    made = planning.Plan(model="vicuna", quantize="4bit")
    made.parts["llm"], modules, _ = planning._from_config("vicuna-7b-v0", torch.bfloat16)
    assert made.shrink("llm", "llm", modules["llm"], "cuda", torch.bfloat16) == (0, 0)
    # of its 6.74 G weights 6.48 G are in four bits with half a bit of scales; embeddings and head stay in sixteen
    assert made.parts["llm"].bytes == pytest.approx(6.48e9 * 4.5 / 8 + 0.26e9 * 2, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quantize", "int3"], "quantize='int3': choose int8, 4bit"),
        (["--quantize", "4bit", "--dtype", "float32"], "quantize='4bit' computes in bfloat16, not in float32"),
        (["--dtype", "int3"], "dtype='int3': choose float32, bfloat16 or float16"),
    ],
)
def test_what_cannot_be_is_one_line(
    tiny: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["generate", "hello", "--model", str(tiny)], ["plan", str(tiny)]):
        assert cli.main([*command, "--device", "cpu", *options]) == 2
        err = capsys.readouterr().err.removeprefix(f"loading {tiny} ...\n")
        assert message in err and err.count("\n") == 1


def test_without_torchao_the_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"quantize='int8' needs torchao: pip install 'anygen\[quantize\]'"):
        anygen.load(tiny, device="cpu", quantize="int8")


def test_a_suite_says_how_its_model_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    engine = type("Fake", (), {"name": "m"})()

    def load(model: Any, **options: Any) -> Any:
        seen.append((model, options))
        return engine

    monkeypatch.setattr("anygen.engine.load", load)
    monkeypatch.setitem(suites.PARTS, "vae", lambda *_: {"cells": {}, "seconds": {}, "measures": {}})
    loading = {"quantize": "int8", "offload": True}
    figures = suites.evaluate("vae", model="nano", loading=loading, limit=3)
    assert seen == [("nano", loading)] and figures["quantize"] == "int8"
    assert figures["command"] == "anygen eval vae --seed 0 --limit 3 --quantize int8 --offload"


@pytest.mark.parametrize(
    "command",
    [["generate", "hello"], ["chat"], ["story", "a dog"], ["demo"], ["eval", "vae"]],
    ids=lambda command: command[0],
)
def test_the_command_line_says_how_a_model_is_loaded(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def load(model: Any, **options: Any) -> Any:
        seen.append((model, options))
        raise RequestError("that is all")

    monkeypatch.setattr("anygen.engine.load", load)
    options = ["--device", "cuda", "--dtype", "bfloat16", "--quantize", "int8", "--offload"]
    assert cli.main([*command, "--model", "m", *options]) == 2
    assert capsys.readouterr().err.endswith("anygen: that is all\n")
    assert seen == [("m", {"device": "cuda", "dtype": "bfloat16", "quantize": "int8", "offload": True})]
