"""Planning: what a model takes in memory and time, by configs and file headers, before anything is fetched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygen import catalog, meter, quantization
from anygen.error import ModelError, RequestError
from anygen.folder import GeneratorConfig, ModelConfig
from anygen.hardware import Device
from anygen.meta import build, build_llm, networks
from anygen.meter import Cost
from anygen.parts import NOTHING, Part, counted, spelt, stored
from anygen.projectors import INPUT_PROJECTORS, OUTPUT_PROJECTORS
from anygen.projectors import build as build_projector
from anygen.projectors.input import lend
from anygen.weights import quiet, read_config, weights_file

PROMPT, ANSWER = 512, 128  # tokens that a request and its text are planned with
CONFIGS = Path(__file__).parent / "presets"
FROM_CONFIG = ("UNet2DConditionModel", "UNet3DConditionModel", "UNetMotionModel")  # these know their latents' sizes
FRAMES = 16  # of a video whose config says no number
APART = {"WanTransformer3DModel"}  # pipelines of these run guidance's two sides one after the other
MUSICAL = "decoder"  # the network of tokens of sound: it is run for every frame
DENOISERS, DECODERS = ("unet", "transformer", MUSICAL), ("vae", "audio_encoder")


@dataclass(slots=True)
class Stage:
    """Parts that are needed at the same time, and what a run of them costs: `seconds` are filled in for a device."""

    parts: list[str]
    peak_bytes: int = 0
    works: list[tuple[int, Cost, int]] = field(default_factory=list)  # how often, what, bytes of weights it reads


@dataclass(slots=True)
class Plan:
    """All parts by name, and the stages of an answer: "read", "text", and one per medium that is made."""

    model: str
    parts: dict[str, Part] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    cache_bytes: int = 0  # of the LLM's keys and values
    left_out: dict[str, str] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)  # parts of which only the weights are known
    quantize: str | None = None

    def shrink(self, name: str, key: str, module: nn.Module, device: str, dtype: torch.dtype) -> tuple[int, int]:
        """Quantise the part `name`, which is the network `key` on meta: its bytes become those of a real load.

        Returns what a pass unpacks again, weights of eight bits: the bytes of the largest, and of all of them.
        """
        if self.quantize is None:
            return 0, 0
        part, kind = self.parts[name], self.quantize
        chosen = quantization.layers(key, module).values()
        width = dtype.itemsize
        now = sum(quantization.size(key, kind, layer, device) for layer in chosen)
        saved = width * sum(layer.weight.numel() for layer in chosen) - now
        if chosen:
            said = kind if key == "llm" else "int8"
            self.parts[name] = replace(part, bytes=part.bytes - saved, dtype=f"{said} and {part.dtype}")
        unpacked = [width * layer.weight.numel() for layer in chosen if quantization.bits(key, kind, layer) == 8]
        return max(unpacked, default=0), sum(unpacked)

    def describe(self, device: Device, offload: bool = False) -> dict[str, Any]:
        """The figures as `anygen plan --json` prints them. Bytes are bytes, `seconds` estimates for `device`.

        With `offload` the peak is that of one stage at a time, while `host_bytes` rest in the CPU's memory.
        """
        if offload and device.type == "cpu":
            raise RequestError("offload keeps parts off a GPU, and the device is cpu: leave it out, or name a card")
        weights = sum(part.bytes for part in self.parts.values())
        most = max((stage.peak_bytes for stage in self.stages.values()), default=0)
        resident = weights + self.cache_bytes + most
        offloaded = max(
            sum(self.parts[name].bytes for name in stage.parts)
            + stage.peak_bytes
            + (self.cache_bytes if name == "text" else 0)
            for name, stage in self.stages.items()
        )
        return {
            "model": self.model,
            "device": device.name,
            "quantize": self.quantize,
            "offload": offload,
            "parts": {
                name: {"parameters": p.parameters, "bytes": p.bytes, "dtype": p.dtype, "tensors": p.tensors}
                for name, p in self.parts.items()
            },
            "weights_bytes": weights,
            "host_bytes": weights if offload else 0,
            "peak_bytes": offloaded if offload else resident,
            "peak_bytes_offloaded": offloaded,
            "activation_bytes": {name: stage.peak_bytes for name, stage in self.stages.items()},
            "cache_bytes": self.cache_bytes,
            "seconds": {name: round(_seconds(stage, device), 3) for name, stage in self.stages.items() if stage.works},
            "device_bytes": device.bytes,
            "fits": (offloaded if offload else resident) <= device.bytes,
            "fits_offloaded": offloaded <= device.bytes,
            "left_out": self.left_out,
            "unmeasured": self.unmeasured,
        }


def _seconds(stage: Stage, device: Device) -> float:
    """Each kernel waits for arithmetic, for weights, or for its own start."""
    return sum(
        times * max(cost.flops / device.flops, weights / device.bandwidth, cost.kernels * device.kernel)
        for times, cost, weights in stage.works
    )


def plan(model: str | None, device: Device, dtype: str | None = None, quantize: str | None = None) -> Plan:
    """Plan a preset by the configs that come with the package, or a model folder by its own configs and file headers.

    `dtype` is what weights are loaded in; None is float32 on a CPU and the model's own precision elsewhere.
    `quantize` is what `anygen.load` takes.
    """
    if dtype is not None and dtype not in ("float32", "bfloat16", "float16"):
        raise RequestError(f"dtype={dtype!r}: choose float32, bfloat16 or float16")
    if quantize is not None:
        quantization.known(quantize, getattr(torch, dtype) if dtype else None)
    wanted = getattr(torch, dtype) if dtype else torch.float32 if device.type == "cpu" else None
    preset = catalog.PRESETS.get(model or "nano")
    if preset is not None and not (preset.folder / "anygen.json").is_file():
        return _of_preset(preset, wanted, device.type, quantize)
    return _of_folder(catalog.find(model), wanted, device.type, quantize)


# --- a model folder


def _of_folder(folder: Path, dtype: torch.dtype | None, device: str, quantize: str | None) -> Plan:
    config = ModelConfig.read(folder / "anygen.json")
    made = Plan(model=config.name, quantize=quantize)
    place = _local(folder, config.llm)
    made.parts["llm"] = stored(weights_file(place), quantization.precision(quantize, dtype))
    _add_llm(made, build_llm(place), device, dtype)
    reading = []
    for modality in config.encoders:
        where = config.encoder(modality).path
        if where.startswith(("catalog:", "hub:")):
            held = _known(where)
            name = f"encoders.{held}"
            if name not in made.parts:
                made.parts[name] = _from_config(held, dtype)[0]
        else:
            name = f"encoders.{modality}"
            made.parts[name] = stored(_local(folder, where) / "model.safetensors", dtype)
        reading.append(name)
    for side in ("input_projectors", "output_projectors"):
        described, weights = read_config(folder / side / "config.json"), folder / side / "model.safetensors"
        within = [modality for modality, about in described.items() if about.get("type") == "gated"]  # the LLM's blocks
        for modality in within:
            name = f"{side}.{modality}"
            made.parts[name] = stored(weights, dtype, f"{modality}.")
            made.stages["text"].parts.append(name)
            reading.append(name)
        if len(described) > len(within):
            rest = [stored(weights, dtype, f"{modality}.") for modality in described if modality not in within]
            made.parts[side] = sum(rest[1:], rest[0])
    made.stages["read"] = Stage(parts=[*dict.fromkeys(reading), *_present(made, "input_projectors")])
    for modality, options in config.generators.items():
        if options.path.startswith(("catalog:", "hub:")):
            _add_known(made, modality, _known(options.path), device, dtype, options.steps)
            continue
        place = _local(folder, options.path)
        modules = networks(place)
        if MUSICAL in modules:  # all of it in one file
            for name in modules:
                made.parts[f"generators.{modality}.{name}"] = stored(weights_file(place), dtype, f"{name}.")
        else:
            _add_weights(made, modality, modules, place, _lender(folder, config, options), dtype)
        if "motion_adapter" in modules:  # a load puts its modules into the UNet
            modules["unet"] = _in_motion(modules["unet"], modules.pop("motion_adapter"))
            made.parts[f"generators.{modality}.unet"] += made.parts.pop(f"generators.{modality}.motion_adapter")
        outward = read_config(folder / "output_projectors" / "config.json").get(modality)
        if outward is not None:
            condition = (outward["length"] // outward.get("moments", 1), outward["width_out"])  # what one frame is told
            run = _run(modules, condition, options)
            first = made.parts[f"generators.{modality}.{next(iter(modules))}"]
            _add_generator(made, modality, modules, run, device, dtype or _precision(first))
    return made


def _lender(folder: Path, config: ModelConfig, options: GeneratorConfig) -> Path | None:
    """The folder that lends a generator what it does not have."""
    return _local(folder, config.generators[options.base].path) if options.base else None


def _add_weights(
    made: Plan, modality: str, modules: dict[str, nn.Module], place: Path, lender: Path | None, dtype: Any
) -> None:
    """The weights of a pipeline's networks, with those that another lends, which join `modules`."""
    lent = {} if lender is None else networks(lender)
    named = [name for name, kind in read_config(place / "model_index.json").items() if isinstance(kind, list)]
    modules |= {name: lent[name] for name in named if name in lent and name not in modules}
    for name in modules:
        where = place / name if lender is None or (place / name).is_dir() else lender / name
        stem = next((s for s in ("diffusion_pytorch_model", "model") if weights_file(where, s).is_file()), None)
        if stem is None:
            raise ModelError(f"{where} holds no safetensors file")
        made.parts[f"generators.{modality}.{name}"] = stored(weights_file(where, stem), dtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class Skeleton:
    """What training has to do with of a model: the LLM and the projectors on meta, what its frozen encoders hold, and
    `signal_rows`, how many rows of the LLM's embeddings are signal tokens of the media that it writes."""

    llm: Any
    input_projectors: nn.ModuleDict
    output_projectors: nn.ModuleDict
    encoders: dict[str, Part]
    signal_rows: int


def skeleton(model: str | None) -> Skeleton:
    """A preset by the configs that come with the package, or a model folder by its own; no weights are read."""
    preset = catalog.PRESETS.get(model or "nano")
    if preset is not None and not (preset.folder / "anygen.json").is_file():
        return _skeleton_of_preset(preset)
    from transformers import PreTrainedTokenizerFast

    from anygen.signals import Vocabulary

    folder = catalog.find(model)
    config = ModelConfig.read(folder / "anygen.json")
    place = _local(folder, config.llm)
    llm: Any = build_llm(place)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(place, local_files_only=True)
    vocabulary = Vocabulary.resolve(
        tokenizer, config.signals, llm.get_input_embeddings().num_embeddings, config.dialect
    )
    encoders = {}
    for modality in config.encoders:
        where = config.encoder(modality).path
        known = where.startswith(("catalog:", "hub:"))
        name = f"encoders.{_known(where) if known else modality}"
        encoders[name] = (
            _from_config(_known(where), torch.float32)[0]
            if known
            else stored(_local(folder, where) / "model.safetensors", torch.float32)
        )
    described = {s: read_config(folder / s / "config.json") for s in ("input_projectors", "output_projectors")}
    into, outof = _projectors(described, 0, str(folder))
    writes = [modality for modality in outof if modality in config.generators]
    rows = len(set(vocabulary.trained_ids(writes)))
    return Skeleton(llm=llm, input_projectors=into, output_projectors=outof, encoders=encoders, signal_rows=rows)


def _skeleton_of_preset(preset: catalog.Preset) -> Skeleton:
    kinds = {name: catalog.PARTS[name].kind for name in preset.parts}
    llm = next(_from_config(name, None)[1]["llm"] for name, kind in kinds.items() if kind == "llm")
    encoders = {
        f"encoders.{name}": _from_config(name, torch.float32)[0] for name, kind in kinds.items() if kind == "encoders"
    }
    described = _read(preset.name)
    into, outof = _projectors(described, llm.config.hidden_size, preset.name)
    signals = sum(values["count"] + 2 for values in described["output_projectors"].values())  # and two brackets each
    rows = described.get("signal_rows", signals)
    return Skeleton(llm=llm, input_projectors=into, output_projectors=outof, encoders=encoders, signal_rows=rows)


def _projectors(described: Mapping[str, Any], width: int, where: str) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Projectors on meta; `width` is the LLM's where the descriptions do not have it (0: they do)."""
    sides = []
    for side, table in (("input_projectors", INPUT_PROJECTORS), ("output_projectors", OUTPUT_PROJECTORS)):
        ends = {"width_out" if side == "input_projectors" else "width_in": width} if width else {}
        with torch.device("meta"):
            sides.append(
                nn.ModuleDict({m: build_projector(table, {**v, **ends}, where) for m, v in described[side].items()})
            )
    lend(sides[0])
    return sides[0], sides[1]


def _present(made: Plan, name: str) -> list[str]:
    return [name] if name in made.parts else []


def _precision(part: Part) -> torch.dtype:
    found = getattr(torch, part.dtype, None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _in_motion(unet: Any, adapter: Any) -> Any:
    """The UNet of pictures with motion modules, on meta."""
    from diffusers import UNetMotionModel

    with torch.device("meta"), quiet(*_logs()):
        return UNetMotionModel.from_unet2d(unet, adapter)


def _local(folder: Path, where: str) -> Path:
    """The folder of a part that is here; one from the hub is not fetched."""
    if where.startswith(("hub:", "catalog:")):
        raise ModelError(f"{where} is not in {folder}: fetch it and name its folder in anygen.json to plan with it")
    return folder / where


def _known(where: str) -> str:
    """The catalog's name of a part that a model folder names."""
    name = where.partition(":")[2].partition("@")[0]
    for part in catalog.PARTS.values():
        if name in (part.name, part.source):
            return part.name
    raise ModelError(
        f"{where} is not in the catalog, and nothing is fetched to plan: it knows {', '.join(catalog.PARTS)}"
    )


def _run(modules: Mapping[str, Any], condition: tuple[int, int], options: GeneratorConfig) -> dict[str, Any]:
    """Sizes of a run of a pipeline, from the configs of its networks: as `presets/*.json` say them.

    Empty where they do not say: of such a pipeline only the weights are planned.
    """
    guided = options.guidance > 1
    if MUSICAL in modules:
        decoder, codec, seconds = (
            modules[MUSICAL].config,
            modules["audio_encoder"].config,
            options.options.get("seconds"),
        )
        frames = options.steps if seconds is None else round(seconds * codec.sampling_rate / codec.hop_length)
        sides = decoder.audio_channels
        code = [sides, decoder.num_codebooks // sides, frames]
        return {"latents": code, "condition": condition, "steps": frames, "guided": guided}
    net = next((modules[name] for name in DENOISERS if name in modules), None)
    if net is None or type(net).__name__ not in FROM_CONFIG:
        return {}
    side = getattr(net.config, "sample_size", None) or 32
    height, width = side if isinstance(side, list | tuple) else (side, side)
    if "vocoder" in modules:  # time x bins
        width = modules["vocoder"].config.model_in_dim // 2 ** (len(modules["vae"].config.block_out_channels) - 1)
    latents = [net.config.in_channels, height, width]
    if type(net).__name__ != "UNet2DConditionModel":
        latents.insert(1, FRAMES)
    return {"latents": latents, "condition": condition, "steps": options.steps, "guided": guided}


# --- a preset


def _of_preset(preset: catalog.Preset, dtype: torch.dtype | None, device: str, quantize: str | None) -> Plan:
    made = Plan(model=preset.name, quantize=quantize)
    reading: list[str] = []
    width = 0
    for name in preset.parts:
        kind = catalog.PARTS[name].kind
        if kind == "llm":
            total, modules, _ = _from_config(name, quantization.precision(quantize, dtype))
            made.parts["llm"] = total
            width = modules["llm"].config.hidden_size
            usual = dtype or _precision(total)
            _add_llm(made, modules["llm"], device, dtype)
        elif kind == "encoders":
            made.parts[f"encoders.{name}"] = _from_config(name, dtype)[0]
            reading.append(f"encoders.{name}")
    described = _read(preset.name)
    into, outof = _projectors(described, width, preset.name)
    for side, projectors in (("input_projectors", into), ("output_projectors", outof)):
        made.parts[side] = counted(projectors, usual)
    made.stages["read"] = Stage(parts=[*reading, "input_projectors"])
    for name in preset.parts:
        if catalog.PARTS[name].kind in ("image", "audio", "video"):
            _add_known(made, catalog.PARTS[name].kind, name, device, dtype)
    return made


def _read(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))


def _from_config(name: str, dtype: torch.dtype | None) -> tuple[Part, dict[str, Any], dict[str, Any]]:
    """A part of the catalog, from its config in this package: its sum, its networks on meta, and its description."""
    described = _read(name)
    usual = dtype or getattr(torch, described["dtype"])
    if count := described.get("counted"):
        size = count["parameters"] * usual.itemsize
        return Part(**count, bytes=size, dtype=spelt(usual)), {}, described
    modules = {
        key: build(net["library"], net["class"], net["config"], f"{name}.json")
        for key, net in described["networks"].items()
    }
    parts = (counted(m, _of(described, key, usual)) for key, m in modules.items())
    return sum(parts, NOTHING), modules, described


def _of(described: Mapping[str, Any], key: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of one network: some keep their autoencoder in float32 whatever the rest is in."""
    return torch.float32 if key in described.get("float32", ()) else dtype


def _add_known(
    made: Plan, modality: str, name: str, device: str, dtype: torch.dtype | None, steps: int | None = None
) -> None:
    total, modules, described = _from_config(name, dtype)
    usual = dtype or getattr(torch, described["dtype"])
    for key, module in modules.items():
        made.parts[f"generators.{modality}.{key}"] = counted(module, _of(described, key, usual))
    made.left_out |= {f"generators.{modality}.{key}": why for key, why in described.get("left_out", {}).items()}
    run = {**described["run"], **({} if steps is None else {"steps": steps})}
    _add_generator(made, modality, modules, run, device, usual, described)


# --- stages


def _add_llm(made: Plan, llm: Any, device: str, dtype: torch.dtype | None) -> None:
    """A prompt in one pass, with all its hidden states, and then the text, token by token."""
    config = llm.config
    dtype = quantization.precision(made.quantize, dtype) or _precision(made.parts["llm"])
    largest, unpacked = made.shrink("llm", "llm", llm, device, dtype)
    with quiet(*_logs()):
        llm.to(dtype)

    def once(tokens: int) -> Cost:
        given = meter.empty(1, tokens, config.hidden_size, dtype=dtype)
        mask = meter.empty(1, 1, tokens, tokens, dtype=torch.bool)  # given whole: making one looks at numbers
        options = {"use_cache": False, "output_hidden_states": True, "logits_to_keep": 1}
        return meter.measure(lambda: llm(inputs_embeds=given, attention_mask=mask, **options))

    prompt, token = once(PROMPT), once(1)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    made.cache_bytes = 2 * config.num_hidden_layers * heads * width * (PROMPT + ANSWER) * dtype.itemsize
    weights = made.parts["llm"].bytes + 2 * unpacked  # what is unpacked is written and read once more
    made.stages["text"] = Stage(
        parts=["llm"], peak_bytes=prompt.peak_bytes + largest, works=[(1, prompt, weights), (ANSWER, token, weights)]
    )


def _add_generator(
    made: Plan,
    modality: str,
    modules: Mapping[str, Any],
    run: Mapping[str, Any],
    device: str,
    dtype: torch.dtype,
    described: Mapping[str, Any] | None = None,
) -> None:
    """One medium: all its steps, with guidance where it is usual, and its decoder."""
    names = [f"generators.{modality}.{key}" for key in modules]
    stage = Stage(parts=[*names, *_present(made, "output_projectors")])
    for key, module in modules.items():
        name = f"generators.{modality}.{key}"
        largest, unpacked = made.shrink(name, key, module, device, _of(described or {}, key, dtype))
        if key not in (*DENOISERS, *DECODERS):
            continue
        kind = type(module).__name__
        if not run or (key in DENOISERS and kind not in meter.DENOISERS):
            made.unmeasured.append(name)
            continue
        with quiet(*_logs()):
            module.to(_of(described or {}, key, dtype))
        weights = made.parts[name].bytes + 2 * unpacked
        if key in DECODERS:
            cost, times = meter.measure(meter.decode(kind, module, run)), 1
        else:
            sides = 2 if run["guided"] else 1
            apart = kind in APART
            cost = meter.measure(meter.forward(kind, module, run, 1 if apart else sides))
            times = run["steps"] * (sides if apart else 1)
        stage.works.append((times, cost, weights))
        stage.peak_bytes = max(stage.peak_bytes, cost.peak_bytes + largest)
    made.stages[modality] = stage


def _logs() -> Iterable[Any]:
    from anygen.generators.diffusion import logs

    return logs()
