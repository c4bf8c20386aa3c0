"""The suites about sound: cells with right and wrong answers, retrieval, vocoder and distance with known engines."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anygen import evaluation
from anygen.error import ModelError
from anygen.evaluation import sound_cells, sound_suites, suites
from anygen.evaluation.case import Case, Result, contact_sheet, keep
from anygen.evaluation.cells import MATRIX, World
from anygen.media import Audio, Image, Text
from anygen.mel import RATE, griffin_lim
from anygen.playground.sound import INDEX, SOUNDS
from anygen.playground.word import a
from anygen.reply import Part, Reply

SILENCE = Audio(np.zeros(16000), 16000)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def reply(*values: Any) -> Reply:
    return Reply(parts=tuple(Part(index=i, type=v.type, value=v) for i, v in enumerate(values, 1)), model="m", seed=0)


def cases(world: World, cell: str, n: int) -> list[Case]:
    source = sound_cells.MATRIX[cell][0](world, random.Random(f"test|{cell}"), "heldout")
    return [next(source) for _ in range(n)]


@pytest.mark.parametrize("cell", sound_cells.MATRIX)
def test_right_answers_pass_and_wrong_ones_fail(world: World, cell: str) -> None:
    asked = cases(world, cell, 5)
    for case in asked:
        right = case.check(reply(*case.answer))
        assert all(right.rows.values()), (case.expected, right)
        assert not any(case.check(reply()).rows.values())
        headline = next(iter(right.rows))
        media = [value for value in case.answer if not isinstance(value, Text)]
        if media:
            without = case.check(reply(Text(case.expected)))
            assert not without.rows[headline]
            twice = case.check(reply(*case.answer, *media))
            assert not twice.rows[headline]
        else:  # the right words beside a medium that nobody wanted
            assert not case.check(reply(*case.answer, SILENCE)).rows[headline]


def test_another_sound_is_wrong(world: World) -> None:
    for cell in ("text->audio", "image->audio", "audio->audio"):
        asked = cases(world, cell, 4)
        for case, other in zip(asked, asked[1:] + asked[:1], strict=True):
            outcome = case.check(reply(*other.answer))
            assert not next(iter(outcome.rows.values())), (case.expected, other.expected)


def test_a_model_without_sound_has_exactly_the_cells_that_it_had() -> None:
    seer = SimpleNamespace(reads=("text", "image"), writes=("text", "image"))
    able = [cell for cell in suites.ASKED["matrix"][0] if suites._can(seer, cell)]
    assert able == list(MATRIX) == ["text->text", "text->image", "image->text", "image->image"]
    hearer = SimpleNamespace(reads=("text", "audio"), writes=("text", "image"))
    able = [cell for cell in sound_cells.MATRIX if suites._can(hearer, cell)]
    assert able == ["audio->text", "audio+text->text", "audio->image"]


def test_sounds_are_kept_and_shown(world: World, tmp_path: Path) -> None:
    asked = [case for cell in ("text->audio", "audio->text", "image+audio->text") for case in cases(world, cell, 1)]
    results = []
    for case in asked:
        answer = reply(*case.answer)
        results.append(Result(case=case, reply=answer, outcome=case.check(answer)))
    keep(results, tmp_path)
    assert len(list((tmp_path / "media").glob("*.wav"))) == 3
    assert Audio(next((tmp_path / "media").glob("00000-answer-*.wav"))) == asked[0].answer[-1]
    for sheet in ("text-audio", "audio-text", "image+audio-text"):
        assert Image(tmp_path / f"{sheet}.png").width > 128
    assert contact_sheet(results).size[0] == 3 * 140 + 6


class Named(nn.Module):
    """Knows which thing is meant: the n-th unit vector for the n-th sound, moved on by `shift`."""

    def __init__(self, names: dict[str, int], shift: int = 0) -> None:
        super().__init__()
        self.names, self.shift = names, shift
        self.weight = nn.Parameter(torch.zeros(1))

    def _unit(self, index: int) -> Tensor:
        return torch.eye(len(SOUNDS))[(index + self.shift) % len(SOUNDS)]

    def prepare(self, value: Image | Audio) -> Tensor:
        return self._unit(self.names[value.hash])

    def embed(self, batch: Tensor) -> Tensor:
        return batch

    def embed_texts(self, texts: Sequence[str], tokenizer: Any) -> Tensor:
        return torch.stack([self._unit(self.names[text]) for text in texts])


class Recorder(World):
    """Remembers of what every picture and sound is."""

    names: dict[str, int] = {}

    def draw(self, scene: Any) -> Image:
        image = super().draw(scene)
        self.names[image.hash] = INDEX[scene.things[0].thing]
        return image

    def play(self, clip: Any) -> Audio:
        audio = super().play(clip)
        self.names[audio.hash] = INDEX[clip.things[0]]
        return audio


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    for sound in SOUNDS:
        Recorder.names[a(sound.thing)] = INDEX[sound.thing]
        Recorder.names[f"the sound of {sound.heard}, once"] = INDEX[sound.thing]
    monkeypatch.setattr(sound_suites, "World", Recorder)
    return Recorder.names


def engine_of(encoders: dict[str, nn.Module], **more: Any) -> Any:
    model = SimpleNamespace(encoders=encoders, tokenizer=None, **more)
    return SimpleNamespace(name="known", model=model, generate_batch=None, reads=("text",), writes=("text", "audio"))


def test_retrieval_of_a_perfect_space_and_of_one_that_is_off_by_one(names: dict[str, int]) -> None:
    perfect = engine_of({modality: Named(names) for modality in ("text", "image", "audio")})
    figures = evaluation.evaluate("retrieval", model=perfect, limit=8)
    assert set(figures["cells"]) == {
        "audio->text",
        "text->audio",
        "image->text",
        "text->image",
        "audio->image",
        "image->audio",
    }
    for rows in figures["cells"].values():
        assert all(row["right"] == 1 and row["n"] == 8 for row in rows.values())
    assert len(figures["cells"]["audio->text"]) == 2 and figures["measures"]["classes"] == len(SOUNDS)
    deaf = engine_of({"text": Named(names), "audio": Named(names, shift=1)})
    table = evaluation.evaluate("retrieval", model=deaf, limit=4)["cells"]
    assert set(table) == {"audio->text", "text->audio"}
    assert all(row["right"] == 0 for row in table["audio->text"].values())
    with pytest.raises(ModelError, match="known has no two encoders of one space: image"):
        evaluation.evaluate("retrieval", model=engine_of({"image": Named(names)}))


def test_a_vocoder_is_measured_against_griffin_lim(tmp_path: Path) -> None:
    class Pipeline:
        vocoder = nn.Linear(1, 1)

        def mel_spectrogram_to_waveform(self, mel: Tensor) -> Tensor:
            assert mel.shape[1:] == (1, 256, 64)
            return griffin_lim(mel[:, 0].transpose(1, 2), steps=3)

    engine = engine_of({}, generator=lambda modality: SimpleNamespace(pipeline=Pipeline()))
    figures = evaluation.evaluate("vocoder", model=engine, limit=2, output=tmp_path)
    measured = figures["measures"]
    ratio = measured["STFT distance, vocoder"] / measured["STFT distance, Griffin-Lim"]
    assert (
        measured["of Griffin-Lim"] == pytest.approx(ratio, abs=1e-3) and ratio > 1
    )  # three steps are worse than sixty
    assert measured["n"] == 2 and (tmp_path / "vocoder.png").is_file() and (tmp_path / "001-vocoder.wav").is_file()
    engine.writes = ("text",)
    with pytest.raises(ModelError, match="known has no audio generator"):
        evaluation.evaluate("vocoder", model=engine)


@pytest.mark.parametrize("keeps", [True, False])
def test_the_ear_hears_what_an_autoencoder_keeps(keeps: bool, tmp_path: Path) -> None:
    def decode(waves: Tensor) -> list[Audio]:
        return [Audio(wave.numpy() * keeps, RATE) for wave in waves]

    generator = SimpleNamespace(encode=lambda waves: waves.float() / 32768, decode=decode)
    engine: Any = engine_of({}, generator=lambda modality: generator)
    table = sound_suites.latents(engine, 6, 0, "heldout", tmp_path)["audio->latents->audio"]
    whole = table.pop("everything still heard")
    assert whole["n"] == 6 == sum(row["n"] for row in table.values()) and (tmp_path / "latents.png").is_file()
    assert whole["right"] == (1 if keeps else 0)


def test_frechet_audio_distance_of_real_clips_is_nothing() -> None:
    class Level(nn.Module):
        """The logarithm of a sound's power, and where its peak is."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def prepare(self, audio: Audio) -> Tensor:
            power = torch.tensor(audio.samples[0]).square()
            return torch.stack([power.mean().log10(), power.argmax() / len(power)])

        def embed(self, batch: Tensor) -> Tensor:
            return batch

    class Oracle:
        name, reads, writes = "oracle", ("text", "audio"), ("text", "audio")
        model = SimpleNamespace(encoders={"audio": Level()}, generator=lambda modality: None)
        louder = 1.0

        def generate_batch(self, requests: list[Any], *, seed: list[int]) -> list[Reply]:
            sounds = [Audio(answers[number].samples * self.louder, 16000) for number in seed]
            return [reply(sound) for sound in sounds]

    source = sound_cells.text_to_audio(World(), random.Random("fad|0|heldout"), "heldout")
    answers: dict[int, Audio] = {}
    while len(answers) < 6:
        case = next(source)
        if isinstance(case.answer[-1], Audio):
            answers[case.seed] = case.answer[-1]
    engine = Oracle()
    figures = evaluation.evaluate("fad", model=engine, limit=6)
    assert figures["measures"]["fad"] < 1e-6 and figures["measures"]["n"] == 6
    assert figures["cells"]["text->audio"]["sound and pattern"]["right"] == 1
    engine.louder = 0.1
    assert evaluation.evaluate("fad", model=engine, limit=6)["measures"]["fad"] == pytest.approx(4, rel=1e-3)


def test_the_ear_suite(tmp_path: Path) -> None:
    figures = evaluation.evaluate("ear", limit=5, output=tmp_path)
    assert figures["model"] == "none" and figures["cells"]["clip of any kind"]["clean: all"]["n"] == 5
    assert figures["cells"]["clip of melody"]["clean: all"]["right"] == 1
    assert figures["cells"]["wrong"]["silence and noise: no clip heard"]["right"] == 1
    assert (tmp_path / "mistakes.jsonl").is_file()
