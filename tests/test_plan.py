"""Plans: their figures are those of a real load and of public parameter counts; nothing is fetched or allocated."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anygen import cli, meter, planning
from anygen.catalog import PARTS, PRESETS, find
from anygen.error import ModelError, RequestError
from anygen.hardware import CARDS, Device, device
from anygen.model import AnyGenModel

CPU = Device(name="cpu", type="cpu", bytes=8 * 10**9, flops=1e11, bandwidth=1e10, kernel=1e-5)
NANO = PRESETS["nano"].folder
bundled = pytest.mark.skipif(not NANO.exists(), reason="no bundled model in this checkout")
PUBLIC = {  # billions of parameters, as counted elsewhere
    "vicuna-7b-v0": {"llm": 6.74},
    "stable-diffusion-1.5": {"unet": 0.860, "vae": 0.084, "text_encoder": 0.123},
    "zeroscope-576w": {"unet": 1.411},
    "audioldm-l-full": {"unet": 0.739},
    "qwen3-4b": {"llm": 4.02},
    "qwen3-8b": {"llm": 8.19},
    "flux2-klein-4b": {"transformer": 3.88},
    "z-image-turbo": {"transformer": 6.16},
    "wan2.1-1.3b": {"transformer": 1.42},
    "wan2.2-5b": {"transformer": 5.0},
    "stable-audio-open": {"transformer": 1.06, "vae": 0.156},
    "musicgen-small": {"decoder": 0.420, "text_encoder": 0.110},
}


def tensors(*modules: nn.Module) -> tuple[int, int, int]:
    """Parameters, bytes and how many tensors are really there; what is shared counts once."""
    held = {id(t): t for module in modules for t in (*module.parameters(), *module.buffers())}
    parameters = {id(p): p for module in modules for p in module.parameters()}
    return sum(p.numel() for p in parameters.values()), sum(t.nbytes for t in held.values()), len(held)


def near(ours: float, real: float) -> bool:
    return abs(ours - real) <= 0.05 * real


@bundled
def test_nano_takes_what_its_plan_says() -> None:
    """Every part, against the tensors of the model as it is really loaded."""
    model = AnyGenModel.load(find("nano"))
    made = planning.plan("nano", CPU)
    real: dict[str, list[nn.Module]] = {"llm": [model.llm]}
    real |= {f"encoders.{modality}": [encoder] for modality, encoder in model.encoders.items()}
    for modality in ("video", "depth", "thermal"):  # the image encoder that they stand on is the model's own
        parts = model.encoders[modality].named_children()
        real[f"encoders.{modality}"] = [part for name, part in parts if name != "image"]
    real |= {"input_projectors": [model.input_projectors], "output_projectors": [model.output_projectors]}
    for modality in model.writes:
        for name, component in model.generator(modality).pipeline.components.items():
            if isinstance(component, nn.Module):
                real[f"generators.{modality}.{name}"] = [component]
    assert set(made.parts) == set(real)
    for name, modules in real.items():
        parameters, size, count = tensors(*modules)
        part = made.parts[name]
        assert near(part.parameters, parameters) and near(part.bytes, size), name
        assert part.dtype == "float32" and abs(part.tensors - count) <= max(3, 0.05 * count), name
    total = sum(tensors(*modules)[1] for modules in real.values())
    assert near(made.describe(CPU)["weights_bytes"], total)


@bundled
def test_nanos_peaks_are_those_of_real_passes() -> None:
    """The same passes with real numbers: the LLM's prompt, a guided step of each generator, their decoders."""
    model = AnyGenModel.load(find("nano"))
    made = planning.plan("nano", CPU)
    given = torch.zeros(1, planning.PROMPT, model.width)
    options: dict[str, Any] = {"use_cache": False, "output_hidden_states": True, "logits_to_keep": 1}
    real = meter.measure(lambda: model.llm(inputs_embeds=given, **options))
    assert near(made.stages["text"].peak_bytes, real.peak_bytes)
    assert near(made.stages["text"].works[0][1].flops, real.flops + attention(model.llm.config))
    for modality in model.writes:
        generator = model.generator(modality)
        unet, vae = generator.pipeline.unet, generator.pipeline.vae
        side = unet.config.sample_size
        width = side if modality == "image" else 64 // generator.pipeline.vae_scale_factor
        frames = (planning.FRAMES,) if modality == "video" else ()
        latents, times = torch.zeros(2, unet.config.in_channels, *frames, side, width), torch.zeros(2)
        decoded = latents[0].transpose(0, 1).contiguous() if frames else latents[:1]  # frame by frame
        shape = generator.condition_shape
        condition = torch.ones(2, *shape)
        costs = [
            meter.measure(partial(generator.predict, latents, times, condition)),
            meter.measure(partial(vae.decode, decoded, return_dict=False)),
        ]
        assert near(made.stages[modality].peak_bytes, max(cost.peak_bytes for cost in costs)), modality
        for (_, planned, _), cost in zip(made.stages[modality].works, costs, strict=True):
            assert planned.flops >= 0.95 * cost.flops
            assert near(planned.peak_bytes, cost.peak_bytes), modality


def attention(config: Any) -> float:
    """Floating-point operations of a prompt's attention, where the CPU's own kernel is not counted."""
    heads, width = config.num_attention_heads, config.head_dim
    return config.num_hidden_layers * heads * 4.0 * planning.PROMPT**2 * width


@pytest.mark.parametrize("name", PUBLIC)
def test_configs_have_the_public_parameter_counts(name: str) -> None:
    total, modules, _ = planning._from_config(name, None)
    counts = {key: sum(p.numel() for p in module.parameters()) / 1e9 for key, module in modules.items()}
    for key, billions in PUBLIC[name].items():
        assert counts[key] == pytest.approx(billions, rel=0.01), key
    assert total.parameters == round(1e9 * sum(counts.values()))
    assert all(p.is_meta for module in modules.values() for p in module.parameters())


def test_imagebind_is_as_large_as_published() -> None:
    total, _, _ = planning._from_config("imagebind_huge", torch.float32)
    assert (total.parameters, total.tensors, total.bytes) == (1_200_786_990, 1311, 4 * 1_200_786_990)


def test_a_preset_is_planned_before_anything_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYGEN_HOME", str(tmp_path))
    card = CARDS["rtx-4090"]
    told = planning.plan("nextgpt", card).describe(card)
    assert set(told) >= {"model", "parts", "peak_bytes", "device"} and told["device"] == "rtx-4090"
    assert set(told["parts"]["llm"]) == {"parameters", "bytes", "dtype", "tensors"}
    # the paper's own sizes: projectors of 31M, 31M, 32M; 4.2M per medium going in
    assert told["parts"]["output_projectors"]["parameters"] == 31_958_784 + 32_090_112 + 31_788_544
    assert told["parts"]["input_projectors"]["parameters"] == 3 * 4_198_400
    assert told["parts"]["llm"]["bytes"] == 2 * told["parts"]["llm"]["parameters"]
    assert told["weights_bytes"] == sum(part["bytes"] for part in told["parts"].values())
    most = max(told["activation_bytes"].values())
    assert told["peak_bytes"] == told["weights_bytes"] + told["cache_bytes"] + most
    # keys and values of 32 layers, 32 heads, 128 wide, in half precision
    assert told["cache_bytes"] == 2 * 32 * 32 * 128 * 2 * (planning.PROMPT + planning.ANSWER)
    assert told["peak_bytes_offloaded"] < card.bytes < told["peak_bytes"]
    assert (told["fits"], told["fits_offloaded"]) == (False, True)
    assert set(told["seconds"]) == {"text", "image", "video", "audio"} and min(told["seconds"].values()) > 0
    wide, narrow = (planning._from_config("qwen3-4b", dtype)[0] for dtype in (torch.float32, None))
    assert wide.bytes == 2 * narrow.bytes and (wide.dtype, narrow.dtype) == ("float32", "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "card", "resident", "offloaded"), [("open-24gb", "rtx-4090", 32, 13), ("open-80gb", "h100", 67, 35)]
)
def test_the_presets_need_what_they_say(
    name: str, card: str, resident: int, offloaded: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANYGEN_HOME", str(tmp_path))
    told = planning.plan(name, CARDS[card]).describe(CARDS[card])
    assert told["fits_offloaded"] and "generators.image.text_encoder" in told["left_out"]
    assert round(told["peak_bytes"] / 1e9) == resident and f"{resident} GB" in PRESETS[name].needs
    assert round(told["peak_bytes_offloaded"] / 1e9 + 0.5) == offloaded


def test_presets_are_permissive_where_they_say_so() -> None:
    for name in ("open-24gb", "open-80gb"):
        assert not PRESETS[name].restricted
        kinds = {PARTS[part].commercial for part in PRESETS[name].parts if not PARTS[part].optional}
        assert kinds == {True}
    assert {part.name for part in PRESETS["nextgpt"].restricted} == {
        "vicuna-7b-v0", "imagebind_huge", "nextgpt_7b_tiva_v0", "zeroscope-576w", "audioldm-l-full",
    }  # fmt: skip


def test_a_cost_is_counted_in_closed_form() -> None:
    layer = nn.Linear(64, 32, bias=False, device="meta")
    x = meter.empty(8, 64, dtype=torch.float32)
    cost = meter.measure(lambda: layer(x))
    assert cost.flops == 2 * 8 * 64 * 32 and cost.peak_bytes == 8 * 32 * 4

    def chain() -> torch.Tensor:
        y = x
        for _ in range(5):
            y = y + 1  # two of them are alive at a time
        return y

    assert meter.measure(chain).peak_bytes == 2 * 8 * 64 * 4
    q = meter.empty(2, 4, 16, 8, dtype=torch.float32)
    attended = meter.measure(lambda: nn.functional.scaled_dot_product_attention(q, q, q))
    assert attended.flops == 2 * 2 * 4 * 16 * 16 * (8 + 8) and attended.peak_bytes == q.nbytes


def test_time_is_what_a_kernel_waits_for() -> None:
    work = meter.Cost(flops=1e11, kernels=1000, peak_bytes=0)
    stage = planning.Stage(parts=[], works=[(3, work, 10**9)])
    assert planning._seconds(stage, CPU) == pytest.approx(3 * 1.0)  # arithmetic: 1 s; weights: 0.1 s; starts: 0.01 s
    slow = planning.Stage(parts=[], works=[(1, meter.Cost(flops=1.0, kernels=10**6), 10**9)])
    assert planning._seconds(slow, CPU) == pytest.approx(10.0)


def test_a_folder_is_planned_by_its_real_files(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    assert cli.main(["plan", str(folder), "--device", "h100", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    assert near(told["weights_bytes"], size - 90 * 1024) or told["weights_bytes"] < size  # headers are no weights
    assert told["parts"]["llm"]["dtype"] == "float32" and told["fits"]
    assert cli.main(["plan", str(folder), "--device", "h100", "--dtype", "bfloat16"]) == 0
    out = capsys.readouterr().out
    assert "peak, one stage at a time" in out and "bfloat16" in out
    weights = folder / "llm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    assert cli.main(["plan", str(folder)]) == 2
    err = capsys.readouterr().err
    assert "model.safetensors is truncated" in err and err.count("\n") == 1
    weights.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        planning.plan(str(folder), CPU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nano", "--device", "abacus"], "unknown device 'abacus'; devices are cpu, cuda, rtx-3090"),
        (["nano", "--device", "cpu", "--dtype", "int3"], "dtype='int3': choose float32, bfloat16 or float16"),
        (["dall-e"], "unknown model 'dall-e': it is neither a folder nor a preset; presets are nano, nextgpt"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", *options]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_this_machine_is_measured() -> None:
    here = device("cpu")
    assert here.bytes > 2**28 and here.flops > 1e8 and here.bandwidth > 1e8
    if not torch.cuda.is_available():
        with pytest.raises(RequestError, match="device 'cuda' cannot be used"):
            device("cuda")


def test_the_list_names_licences_and_what_is_not_commercial(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANYGEN_HOME", str(tmp_path))
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "nano",
        "nextgpt",
        "open-24gb",
        "open-80gb",
    ]
    (imagebind,) = [line for line in lines if "imagebind_huge" in line]
    assert "CC-BY-NC-SA-4.0 - NOT FOR COMMERCIAL USE" in imagebind
    assert cli.main(["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "imagebind_huge" in rows["nextgpt"]["non_commercial"] and rows["open-80gb"]["non_commercial"] == []
    sound = next(part for part in rows["open-24gb"]["parts"] if part["kind"] == "audio")
    assert sound["commercial"] is None and "wholly permissive" in sound["optional"]


def test_a_preset_that_is_not_here_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANYGEN_HOME", str(tmp_path))
    with pytest.raises(ModelError) as error:
        find("nextgpt")
    said = str(error.value)
    assert said.startswith("preset 'nextgpt' is not here") and "\n" not in said
    place = tmp_path / "parts" / "stable-diffusion-1.5"
    revision = "--revision 451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
    assert f"hf download stable-diffusion-v1-5/stable-diffusion-v1-5 {revision} --local-dir {place}" in said
    assert f"-o {tmp_path / 'presets' / 'nextgpt'}" in said and "CC-BY-NC-SA-4.0" in said
    place.mkdir(parents=True)
    with pytest.raises(ModelError) as error:
        find("nextgpt")
    assert "hf download stable-diffusion-v1-5" not in str(error.value)  # what is here is not asked for again
    for preset in PRESETS.values():
        assert set(preset.parts) <= set(PARTS)
