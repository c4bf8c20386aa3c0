"""ImageBind's own sizes: parity with the reference (tests/golden, tools/imagebind_golden.py), and strict opening."""

import gzip
import hashlib
import json
import logging
import math
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noise import MERGES, TEXTS, film, noise, picture, sound, weights
from torch import Tensor

from anygen.encoders import imagebind_inputs as inputs
from anygen.encoders.imagebind_huge import (
    HUGE,
    MASK,
    HugeConfig,
    HugeTower,
    open_published,
    published_shapes,
    say_licence,
)
from anygen.error import MediaError, ModelError

GOLDEN = Path(__file__).parent / "golden"
ABOUT = json.loads((GOLDEN / "imagebind.json").read_text())


def small(modality: str) -> HugeConfig:
    """The sizes that the golden files were made at."""
    sizes = ABOUT["sizes"]
    of: dict[str, Any] = {
        name: sizes[f"{modality}_{key}"] for name, key in zip(("width", "depth", "heads"), KEYS, strict=True)
    }
    kernel: dict[str, Any] = {"kernel": tuple(sizes["kernel_size"]), "stride": tuple(sizes["kernel_size"])}
    return replace(HUGE[modality], joint=sizes["out_embed_dim"], **of, **(kernel if modality == "vision" else {}))


KEYS = ("embed_dim", "num_blocks", "num_heads")
SMALL = {modality: small(modality) for modality in HUGE}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the published layout."""
    file = tmp_path_factory.mktemp("published") / "imagebind.pth"
    torch.save(weights(published_shapes(SMALL)), file)
    return file


@pytest.fixture(scope="module")
def towers(published: Path) -> dict[str, HugeTower]:
    return open_published(published, configs=SMALL)


@pytest.fixture(scope="module")
def golden() -> Any:
    return np.load(GOLDEN / "imagebind.npz")


def close(found: Tensor, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=tolerance, atol=tolerance)


def test_the_names_and_shapes_are_the_published_ones() -> None:
    assert {name: list(shape) for name, shape in published_shapes(SMALL).items()} == ABOUT["shapes"]
    huge = published_shapes()
    lines = "\n".join(f"{name} {list(huge[name])}" for name in sorted(huge))
    assert {"tensors": len(huge), "sha256": hashlib.sha256(lines.encode()).hexdigest()} == ABOUT["huge"]
    assert len(huge) == 1311 and sum(math.prod(shape) for shape in huge.values()) == 1_200_786_990


@pytest.mark.parametrize("modality", HUGE)
def test_outputs_are_the_references(towers: dict[str, HugeTower], golden: Any, modality: str) -> None:
    given = {
        "depth": noise("depth", (2, 1, 224, 224)),
        "thermal": noise("thermal", (2, 1, 224, 224)),
        "imu": noise("imu", (2, 6, 2000)),
        "audio": noise("audio", (2, 3, 1, 128, 204)),
        "vision": noise("vision", (2, 3, 224, 224)),
        "text": torch.tensor([[49_406, 320, 2368, 49_407] + [0] * 73, [49_406, 7, 49_407] + [0] * 74]),
    }[modality]
    tower, wanted = towers[modality], golden[f"embedding {modality}"]
    clips = given.shape[1] if modality == "audio" else 1
    with torch.no_grad():
        close(tower.embed(given), wanted)
        features = tower.features(given)
        assert features.shape == (2, clips * tower.config.patches, tower.config.width)
        bare = tower.embed(given, scale=False)
        if clips == 1:
            close(bare.norm(dim=-1), np.ones(2, np.float32))
        length = 1.0 if tower.log_scale is None else min(float(tower.log_scale.exp()), 100.0)
        close(bare * length, wanted)
    states = torch.from_numpy(golden[f"features {modality}"])  # of the reference, a share of them, class token first
    step = max(1, (tower.config.patches + (modality != "text")) // 6)
    mine = features.view(2 * clips, -1, tower.config.width)
    if modality != "text":
        mine = torch.nn.functional.pad(mine, (0, 0, 1, 0))[:, ::step][:, 1:]
        states = states[:, 1:]
    else:
        mine = mine[:, ::step]
    torch.testing.assert_close(mine, states, rtol=1e-5, atol=1e-5)


MADE = [
    *((f"picture {w}x{h}", "vision") for w, h in ((300, 260), (200, 333), (224, 224))),
    *((f"sound {s} {r} {c}", "audio") for s, r, c in ((1.5, 16_000, 1), (3.3, 16_000, 2), (9.1, 44_100, 2))),
    *((f"film {w}x{h} {n} {f}", "vision") for w, h, n, f in ((80, 60, 95, 12.5), (50, 90, 20, 24.0))),
]


def prepared(name: str) -> Tensor:
    kind, *rest = name.replace("x", " ").split()
    if kind == "picture":
        return inputs.picture(picture(*map(int, rest)))
    if kind == "sound":
        return inputs.sound(sound(float(rest[0]), int(rest[1]), int(rest[2])))
    return inputs.film(film(int(rest[0]), int(rest[1]), int(rest[2]), float(rest[3])))


@pytest.mark.parametrize(("name", "modality"), MADE)
def test_media_reach_the_towers_as_in_the_reference(
    towers: dict[str, HugeTower], golden: Any, name: str, modality: str
) -> None:
    made = prepared(name)
    wanted = golden[f"input {name}"]
    # the filterbank is a logarithm: near silence it magnifies what float32 rounds
    tolerance = 1e-3 if name.startswith("sound") else 1e-5
    close(made.flatten()[:: max(1, made.numel() // 400)], wanted, tolerance)
    with torch.no_grad():
        close(towers[modality].embed(made[None]), golden[f"embedding {name}"])


def test_texts_become_the_references_ids(golden: Any, tmp_path: Path) -> None:
    file = tmp_path / "merges.txt.gz"
    file.write_bytes(gzip.compress("\n".join(["#version", *MERGES]).encode()))
    tokenizer = inputs.clip_tokenizer(file)
    wanted = torch.from_numpy(golden["input words"]).view(len(TEXTS), 77)
    assert torch.equal(inputs.words(TEXTS, tokenizer), wanted)
    tokenizer.save_pretrained(tmp_path / "folder")
    again = inputs.clip_tokenizer(tmp_path / "folder")
    assert torch.equal(inputs.words(TEXTS, again), wanted)
    file.write_bytes(b"x")
    with pytest.raises(ModelError, match="neither a tokenizer's folder nor a gzipped list of merges"):
        inputs.clip_tokenizer(file)


def test_a_tower_opens_as_it_was_saved(towers: dict[str, HugeTower], tmp_path: Path) -> None:
    for modality in ("imu", "text", "vision"):
        towers[modality].save_pretrained(tmp_path / modality)
        again = HugeTower.from_pretrained(tmp_path / modality)
        assert again.config == towers[modality].config
        for name, tensor in towers[modality].state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor), name


def test_a_batch_is_its_rows_and_clips_are_averaged(towers: dict[str, HugeTower]) -> None:
    given = noise("rows", (3, 2, 1, 128, 204))
    tower = towers["audio"]
    with torch.no_grad():
        together = tower.embed(given)
        torch.testing.assert_close(tower.embed(given[1:2]), together[1:2], rtol=1e-5, atol=1e-5)
        single = tower.embed(given.flatten(0, 1)).view(3, 2, -1)
        torch.testing.assert_close(single.mean(1), together, rtol=1e-5, atol=1e-5)
        moved = tower.features(given)
        torch.testing.assert_close(tower.features(given[:, 1]), moved[:, 228:], rtol=1e-5, atol=1e-5)


def test_only_the_towers_asked_for_are_opened(published: Path) -> None:
    assert list(open_published(published, ["imu"], configs=SMALL)) == ["imu"]
    half = open_published(published, ["imu"], dtype=torch.bfloat16, configs=SMALL)["imu"]
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    with pytest.raises(ModelError, match="ImageBind has no tower for 'smell'; it has vision, text"):
        open_published(published, ["smell"], configs=SMALL)


def test_the_licence_is_said_once(published: Path, caplog: pytest.LogCaptureFixture) -> None:
    say_licence.cache_clear()
    with caplog.at_level(logging.WARNING, logger="anygen"):
        for _ in range(2):
            open_published(published, ["imu"], configs=SMALL)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "ImageBind's weights are under CC-BY-NC-SA-4.0 (Meta)"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda held: held.pop("modality_trunks.imu.blocks.1.attn.bias_k"),
            r"tensor modality_trunks\.imu\.blocks\.1\.attn\.bias_k \[1, 1, 16\] is missing",
        ),
        (
            lambda held: held.update({"modality_heads.imu.2.weight": torch.zeros(16, 16)}),
            r"tensor modality_heads\.imu\.2\.weight \[16, 16\] has no place",
        ),
        (
            lambda held: held.update({"modality_heads.audio.2.weight": torch.zeros(16, 23)}),
            r"tensor modality_heads\.audio\.2\.weight is \[16, 23\], the model needs \[16, 24\]",
        ),
        (lambda held: held.update({MASK: torch.zeros(77, 77)}), "is not causal"),
        (lambda held: held.update({"epoch": 3}), "holds no state dict"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    held = weights(published_shapes(SMALL))
    change(held)
    torch.save(held, tmp_path / "wrong.pth")
    with pytest.raises(ModelError, match=message):
        open_published(tmp_path / "wrong.pth", configs=SMALL)


class Mischief:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_no_code_of_a_pickle_is_run(tmp_path: Path, published: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"weight": Mischief(mark)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"weight": Mischief(mark)}, protocol=2))
    (tmp_path / "cut.pth").write_bytes(published.read_bytes()[:100_000])
    for name in ("zip.pth", "bare.pth", "cut.pth"):
        with pytest.raises(ModelError, match="is truncated, or no state dict"):
            open_published(tmp_path / name, configs=SMALL)
    assert not mark.exists()
    with pytest.raises(ModelError, match=r"none\.pth is missing; ImageBind's weights are fetched by their user"):
        open_published(tmp_path / "none.pth", configs=SMALL)


def test_wrong_shapes_are_named(towers: dict[str, HugeTower]) -> None:
    with pytest.raises(ModelError, match=r"imu tower reads \[batch, 6, 2000\], .* it was given \[1, 6, 1999\]"):
        towers["imu"].embed(torch.zeros(1, 6, 1999))
    with pytest.raises(ModelError, match="size, kernel and stride have 2, 1, 1 numbers, not 2, 0, 0"):
        HugeConfig(modality="imu", width=8, depth=1, heads=1, size=(6, 2000))
    with pytest.raises(ModelError, match=r"width \(8\) is a multiple of its heads \(3\)"):
        replace(SMALL["imu"], width=8, heads=3)
    with pytest.raises(ModelError, match="no tower for 'smell'"):
        replace(SMALL["imu"], modality="smell")
    with pytest.raises(ModelError, match=r"kernel \(4000,\) is larger than its input \(6, 2000\)"):
        replace(SMALL["imu"], kernel=(4000,))


def test_depth_and_heat_are_cropped_maps() -> None:
    flat = np.full((300, 400), 2.5, np.float32)
    assert torch.equal(inputs.depth(flat), torch.full((1, 224, 224), 2.5))
    slope = np.tile(np.arange(448, dtype=np.float32), (224, 1))
    seen = inputs.depth(slope)[0]
    torch.testing.assert_close(seen, torch.arange(112.0, 336.0).expand(224, -1))
    assert torch.equal(inputs.thermal(slope / 448)[0], torch.from_numpy(slope[:, 112:336] / 448))
    grey = inputs.thermal(picture(300, 260))
    assert grey.shape == (1, 224, 224) and 0 <= float(grey.min()) < float(grey.max()) <= 1
    near = inputs.disparity(np.array([[2.0, 0.0, np.nan, 1000.0]]), focal=500.0, baseline=0.1)
    np.testing.assert_allclose(near, [[25.0, 0.0, 0.0, 1.0]])
    with pytest.raises(MediaError, match=r"a depth map must be finite numbers, \[height, width\], got \[3, 4, 5\]"):
        inputs.depth(np.zeros((3, 4, 5)))


def test_motion_is_five_seconds_at_four_hundred_steps() -> None:
    ready = noise("motion", (6, 2000)).numpy()
    torch.testing.assert_close(inputs.motion(ready, 400.0), torch.from_numpy(ready))
    # a straight line stays one, at any rate
    line = np.tile(np.linspace(-3, 3, 1201, dtype=np.float32), (6, 1))  # 6 s at 200 per second
    seen = inputs.motion(line, 200.0)
    steps = seen.diff(dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 400), atol=1e-5, rtol=0)
    assert float(seen[0].mean()) == pytest.approx(0, abs=1e-5)
    short = inputs.motion(np.ones((6, 401)), 400.0)[2]  # 1 s of 5
    assert float(short.sum()) == pytest.approx(400.5, abs=1) and float(short[:700].abs().max()) == 0
    with pytest.raises(MediaError, match=r"motion must be finite numbers, \[6, samples\], got \[2000, 6\]"):
        inputs.motion(ready.T, 400.0)
    with pytest.raises(MediaError, match="motion needs its rate in samples per second, above 0, got 0"):
        inputs.motion(ready, 0)


def test_clips_are_spread_over_a_medium() -> None:
    assert inputs.clip_starts(10.0, 3) == [0, 4, 8]
    assert inputs.clip_starts(1.0, 5) == [0] * 5
    assert inputs.clip_starts(10.0, 1) == [0]
    made = inputs.film(film(80, 60, 95, 12.5), clips=2, crops=1)
    assert made.shape == (2, 3, 2, 224, 224)
    torch.testing.assert_close(made, inputs.film(film(80, 60, 95, 12.5), clips=2)[1::3])
    with pytest.raises(ModelError, match="in 1 or 3 crops, not in 5 and 2"):
        inputs.film(film(80, 60, 20, 12.5), crops=2)
