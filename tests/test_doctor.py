"""The doctor and the catalogue: each fault of an installation or a folder is found and named."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from anygen import catalog, cli, doctor
from anygen.error import ModelError


def safetensors(size: int = 16) -> bytes:
    header = json.dumps(
        {"__metadata__": {}, "weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, size]}}
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder without fault."""
    root = tmp_path / "model"
    files = {"anygen.json": b'{"format": 1}', "llm/config.json": b"{}", "llm/model.safetensors": safetensors()}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (root / "provenance.json").write_text(json.dumps({"files": sums}))
    return root


def test_a_sound_folder_has_no_fault(model: Path) -> None:
    assert doctor.folder(model) == []


def test_a_missing_file_is_named(model: Path) -> None:
    (model / "llm/config.json").unlink()
    assert [fault.split(" is missing")[0] for fault in doctor.folder(model)] == [str(model / "llm/config.json")]


def test_a_truncated_file_is_named_twice_over(model: Path) -> None:
    path = model / "llm/model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    changed, truncated = doctor.folder(model)
    assert str(path) in changed and "changed or damaged (sha256" in changed
    assert str(path) in truncated and "but its header says" in truncated


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "truncated in its header, 0 bytes"),
        (safetensors()[:40], "truncated in its header, 40 bytes"),
        ((3).to_bytes(8, "little") + b"{x}", "no safetensors header"),
        ((2).to_bytes(8, "little") + b"[]", "no safetensors header"),
        (safetensors() + b"x", "but its header says"),
        (safetensors(), None),
    ],
)
def test_headers(tmp_path: Path, data: bytes, fault: str | None) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    found = doctor.header_fault(path)
    assert (found is None) if fault is None else (found is not None and fault in found)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("anygen.json", "{", "cannot be read as JSON"),
        ("anygen.json", "[]", "holds a list, not an object"),
        ("provenance.json", "{}", "has no 'files'"),
        ("provenance.json", "x", "cannot be read as JSON"),
    ],
)
def test_bad_descriptions_are_named(model: Path, name: str, text: str, fault: str) -> None:
    (model / name).write_text(text)
    assert any(str(model / name) in found and fault in found for found in doctor.folder(model))


def test_without_provenance_nothing_can_be_verified(model: Path) -> None:
    (model / "provenance.json").unlink()
    assert "cannot be verified" in doctor.folder(model)[0]


def test_unknown_models_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown model 'frob': it is neither a folder nor a preset; presets are nano"):
        catalog.find("frob")
    with pytest.raises(ModelError, match=r"is no model folder: it has no anygen\.json"):
        catalog.find(tmp_path)
    with pytest.raises(
        ModelError,
        match="'imagebind_huge' is no model but a part of models, of the kind encoders, under CC-BY-NC-SA-4.0",
    ):
        catalog.find("imagebind_huge")
    assert doctor.folder("frob")[0].startswith("unknown model 'frob'")


def test_presets_are_found(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    preset = catalog.Preset(name="here", about="a", licence="MIT", needs="nothing", bundled=model)
    gone = catalog.Preset(name="gone", about="a", licence="MIT", needs="nothing", bundled=tmp_path / "gone")
    monkeypatch.setattr(catalog, "PRESETS", {"here": preset, "gone": gone})
    assert catalog.find("here") == catalog.find(model) == model
    assert preset.describe()["bytes"] == sum(path.stat().st_size for path in model.rglob("*") if path.is_file()) > 0
    assert gone.bytes == 0
    with pytest.raises(ModelError, match="preset 'gone' is not in this installation"):
        catalog.find("gone")


def test_wrong_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["numpy>=2", "pillow>=999", "frobnicate>=1", 'peft>=999; extra == "train"']
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    pillow, missing = doctor._versions()
    assert pillow.startswith("pillow is ") and "anygen needs >=999" in pillow
    assert missing.startswith("frobnicate is not installed")

    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert "anygen itself is not installed" in next(iter(doctor._versions()))


def test_a_broken_torchvision_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, error in (
        ("torchvision", "RuntimeError('operator torchvision::nms does not exist')"),
        ("torchaudio", "OSError('lib')"),
    ):
        (tmp_path / f"{name}.py").write_text(f"raise {error}\n")
    monkeypatch.syspath_prepend(tmp_path)
    vision, audio = doctor._traps()
    assert "torchvision is installed but broken" in vision and "nms does not exist" in vision
    assert vision.endswith("pip uninstall torchvision") and "OSError: lib" in audio


def test_what_does_not_import_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "frobnicate.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "HEAVY", ("frobnicate",))
    assert "frobnicate does not import (ModuleNotFoundError" in next(iter(doctor._imports()))


def test_the_command_exits_with_2_if_anything_is_wrong(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def healthy() -> Iterator[str]:
        yield from ()

    monkeypatch.setattr(doctor, "installation", lambda: list(healthy()))
    assert cli.main(["doctor", str(model)]) == 0
    assert capsys.readouterr().out == "everything is in order\n"
    (model / "anygen.json").write_text("{")
    assert cli.main(["doctor", str(model), "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["faults"]) == 2


def test_doctor_and_list_say_what_a_model_reads_and_writes(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"encoders": {"text": "t", "video": "v", "image": "i"}, "generators": {"video": {}, "audio": {}}}
    (model / "anygen.json").write_text(json.dumps(parts))
    able = "reads text, image, video; writes text, audio, video"
    monkeypatch.setattr(doctor, "diagnose", lambda model: [])
    assert cli.main(["doctor", str(model)]) == 0
    assert (
        capsys.readouterr().out
        == f"{model} reads text, image, video; writes text, audio, video\neverything is in order\n"
    )
    assert cli.main(["doctor", "--json", str(model)]) == 0
    assert json.loads(capsys.readouterr().out)["writes"] == ["text", "audio", "video"]
    nano = catalog.PRESETS["nano"]
    monkeypatch.setitem(catalog.PRESETS, "nano", replace(nano, bundled=model))
    assert cli.main(["list"]) == 0
    assert f"{able}; needs" in capsys.readouterr().out
    (model / "anygen.json").write_text("[1]")
    assert catalog.modalities(model) == ([], [])
