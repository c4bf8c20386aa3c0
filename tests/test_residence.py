"""Offload: only the stage at work is on the device, answers are the same, and caches travel with the LLM."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import anygen
from anygen import cli
from anygen.engine import Engine
from anygen.error import RequestError
from anygen.media import Audio, Image
from anygen.model import AnyGenModel
from anygen.residence import Residence

SOUND = Audio((np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32), rate=16_000)
PICTURE = Image(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
GPU, CPU = torch.device("meta"), torch.device("cpu")  # a device that this machine has, and never computes on here


class Part:
    """Remembers where it was sent."""

    def __init__(self, name: str, log: list[tuple[str, str]]) -> None:
        self.name, self.log = name, log

    def to(self, device: torch.device) -> None:
        self.log.append((self.name, str(device)))


class Layer:
    """A layer of a KV cache."""

    here = True

    def offload(self) -> None:
        self.here = False

    def prefetch(self) -> None:
        self.here = True


class Cache:
    def __init__(self) -> None:
        self.layers = [Layer(), Layer()]


def test_a_stage_comes_after_the_last_one_has_left() -> None:
    log: list[tuple[str, str]] = []
    ears, llm, painter = (Part(name, log) for name in ("ears", "llm", "painter"))
    residence = Residence("cuda:0")
    for stage, part in [("read", ears), ("text", llm), ("text", llm), ("image", painter), ("text", llm)]:
        with residence.at(stage, partial(list, (part,))):
            assert residence.stage == stage
    assert log == [
        ("ears", "cuda:0"), ("ears", "cpu"),
        ("llm", "cuda:0"), ("llm", "cpu"),
        ("painter", "cuda:0"), ("painter", "cpu"),
        ("llm", "cuda:0"),
    ]  # fmt: skip
    residence.leave()
    assert residence.stage is None and log[-1] == ("llm", "cpu")


def test_parts_are_asked_for_when_the_device_is_empty() -> None:
    log: list[tuple[str, str]] = []
    residence = Residence("cuda:0")

    def fails() -> list[Part]:
        assert log[-1] == ("llm", "cpu")
        raise RequestError("no generator")

    with residence.at("text", lambda: [Part("llm", log)]):
        pass
    with pytest.raises(RequestError, match="no generator"), residence.at("image", fails):
        pass
    with residence.at("text", lambda: [Part("llm", log)]):
        assert residence.stage == "text"
    with pytest.raises(AssertionError, match="image is entered inside text"), residence.at("text", list):
        with residence.at("image", list):
            pass


def test_caches_leave_with_the_llm_and_come_back_one_by_one() -> None:
    residence, one, other = Residence("cuda:0"), Cache(), Cache()
    with residence.at("text", list):
        residence.keep(one)
        residence.keep(other)
    with residence.at("image", list):
        assert not any(layer.here for cache in (one, other) for layer in cache.layers)
    with residence.at("text", list):
        residence.keep(other)
        assert all(layer.here for layer in other.layers) and not any(layer.here for layer in one.layers)


def test_one_thread_at_a_time_is_at_work() -> None:
    residence = Residence("cuda:0")
    seen: list[str | None] = []

    def work(stage: str) -> None:
        for _ in range(50):
            with residence.at(stage, list):
                seen.append(residence.stage if residence.stage != stage else None)

    threads = [threading.Thread(target=work, args=(stage,)) for stage in ("text", "image", "audio")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [None] * 150


class Watched(Residence):
    """A residence on this CPU that knows which networks are at work, and where every one of them was."""

    def __init__(self) -> None:
        super().__init__("cpu:0")  # the same as "cpu", where parts rest, but for its name
        self.here: set[int] = set()
        self.stages: list[str] = []
        self.free = False  # whoever may run anywhere: a generator that is just opened, another engine

    def at(self, stage: str, parts: Any) -> Any:
        def movers() -> list[Mover]:
            self.stages.append(stage)
            self.free = True
            found = [Mover(self, part) for part in parts()]
            self.free = False
            return found

        return super().at(stage, movers)


class Mover:
    """Marks the networks of a part as there or away, instead of moving them."""

    def __init__(self, residence: Watched, part: Any) -> None:
        self.residence, self.part = residence, part

    def to(self, device: torch.device) -> None:
        nets = {id(deep) for net in self.part.modules() for deep in net.modules()}
        here = self.residence.here
        self.residence.here = here - nets if device == self.residence.rest else here | nets


@pytest.fixture(scope="module")
def plain(tiny_sound: Path) -> Engine:
    return anygen.load(tiny_sound, device="cpu")


@pytest.fixture
def watched(tiny_sound: Path) -> Iterator[Engine]:
    """An engine whose networks must be on the device whenever they are run, except for rows of the embeddings."""
    model = AnyGenModel.load(tiny_sound, "cpu")
    residence = model.residence = Watched()
    embeddings = model.llm.get_input_embeddings()

    def check(module: nn.Module, given: Any) -> None:
        if module is not embeddings and not residence.free:
            assert id(module) in residence.here, f"{type(module).__name__} runs while {residence.stage} is there"

    handle = nn.modules.module.register_module_forward_pre_hook(check)
    yield Engine(model)
    handle.remove()


REQUESTS: list[Any] = ["Draw a cat.", [PICTURE, SOUND, "What are these?"]]


@pytest.mark.parametrize("request_", REQUESTS)
def test_whatever_runs_is_on_the_device(plain: Engine, watched: Engine, request_: Any) -> None:
    options: Any = {"to": ("text", "image", "audio"), "seed": 3, "max_new_tokens": 8, "edit": False}
    residence: Any = watched.model.residence
    reply = watched.generate(request_, **options)
    reads = {"read"} if request_ != REQUESTS[0] else set()
    assert set(residence.stages) == {"text", "image", "audio"} | reads
    batch = watched.generate_batch([request_, "hello"], **options)
    residence.leave()
    assert not residence.here
    residence.free = True
    assert [part.value for part in reply] == [part.value for part in plain.generate(request_, **options)]
    assert [part.type for part in batch[0]] == [part.type for part in reply]


def test_streams_side_by_side_answer_as_alone(plain: Engine, watched: Engine) -> None:
    options: Any = {"to": ("text", "image"), "max_new_tokens": 6, "edit": False}
    residence: Any = watched.model.residence
    streams = [watched.stream(request, seed=seed, **options) for seed, request in enumerate(REQUESTS)]
    replies: dict[int, Any] = {}
    while len(replies) < len(streams):
        for number, stream in enumerate(streams):
            for event in stream:
                if event.reply is not None:
                    replies[number] = event.reply
                break
    residence.free = True
    for seed, request in enumerate(REQUESTS):
        alone = plain.generate(request, seed=seed, **options)
        assert [part.value for part in replies[seed]] == [part.value for part in alone]


def test_a_model_rests_on_the_cpu_and_its_parts_move(tiny_sound: Path) -> None:
    model = AnyGenModel.load(tiny_sound, "cpu")
    model.residence = Residence(GPU)
    places = {"llm": model.llm, "encoders": model.encoders, "out": model.output_projectors}

    def where() -> set[str]:
        return {name for name, part in places.items() if next(part.parameters()).device == GPU}

    with model.at("read"):
        assert where() == {"encoders"}


def test_offload_needs_a_gpu(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError, match="offload=True keeps parts off a GPU, and the device is cpu"):
        anygen.load(tiny, device="cpu", offload=True)
    for command in (["generate", "hello", "--model", str(tiny)], ["plan", str(tiny)]):
        assert cli.main([*command, "--device", "cpu", "--offload"]) == 2
        err = capsys.readouterr().err.removeprefix(f"loading {tiny} ...\n")
        assert "and the device is cpu: leave it out" in err and err.count("\n") == 1
