"""Depth, Thermal and Imu values: every spelling is the same value, files come back, and what is wrong is named."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from anygen.error import MediaError, RequestError
from anygen.media import Message, Text, data_url, messages, parts
from anygen.sensed import Depth, Imu, Thermal

MAP = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
MOTION = np.arange(60, dtype=np.float32).reshape(6, 10) / 7


@pytest.mark.parametrize("kind", [Depth, Thermal])
def test_every_spelling_of_a_map(kind: Any, tmp_path: Path) -> None:
    value, name = kind(MAP), kind.type
    path = value.save(tmp_path / "map.npy")
    with path.open("rb") as file:
        opened = parts({"type": name, name: file})
    spellings = [
        {"type": name, "path": str(path)},
        {"type": name, "url": data_url(value)},
        {"type": name, name: path.read_bytes()},
        {"type": name, name: MAP.astype(np.float64)},
        {"type": name, name: value},
        {"type": name, name: MAP[None]},
    ]
    assert opened == (value,) and parts(spellings) == (value,) * len(spellings)
    assert parts([value, "what?"]) == (value, Text("what?"))
    assert messages(value) == (Message("user", (value,)),)
    assert value.width == 6 and value.height == 4 and not value.values.flags.writeable
    assert value.hash != (Thermal if kind is Depth else Depth)(MAP).hash


def test_pictures_of_maps_keep_their_steps(tmp_path: Path) -> None:
    value = Depth(MAP)
    again = Depth(value.save(tmp_path / "map.png"))
    np.testing.assert_allclose(again.values, MAP, atol=0.5 / 65535)
    grey = PIL.Image.fromarray(np.array([[0, 51, 255]], np.uint8))
    np.testing.assert_allclose(Thermal(grey).values, [[0, 0.2, 1]])
    np.testing.assert_allclose(Thermal(np.array([[0, 65535]], np.uint16)).values, [[0, 1]])
    colour = io.BytesIO()
    grey.convert("RGB").save(colour, "PNG")
    np.testing.assert_allclose(Thermal(colour.getvalue()).values, [[0, 0.2, 1]])
    assert value.grey().shape == (4, 6, 3) and value.grey()[-1, -1].tolist() == [255] * 3


def test_metres_and_degrees() -> None:
    metres = np.array([[0.5, 1.0, 2.0, np.inf, np.nan, 0.0, 0.1]])
    np.testing.assert_allclose(Depth.of_metres(metres, nearest=0.5).values, [[1, 0.5, 0.25, 0, 0, 0, 1]])
    degrees = np.array([[-40.0, -20.0, 43.75, 107.5, 900.0]])
    np.testing.assert_allclose(Thermal.of_celsius(degrees).values, [[0, 0, 0.5, 1, 1]])


def test_every_spelling_of_motion(tmp_path: Path) -> None:
    value = Imu(MOTION, rate=50)
    path = value.save(tmp_path / "motion.npz")
    bare = tmp_path / "motion.npy"
    np.save(bare, MOTION)
    spellings = [
        {"type": "imu", "path": str(path)},
        {"type": "imu", "url": data_url(value)},
        {"type": "imu", "path": str(bare), "rate": 50},
        {"type": "imu", "imu": MOTION, "rate": 50.0},
        {"type": "imu", "imu": value},
    ]
    assert parts(spellings) == (value,) * len(spellings)
    assert value.seconds == pytest.approx(0.2) and value != Imu(MOTION, rate=51)
    assert value.plot(64, 48).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Depth(np.zeros((2, 3, 4), np.float32)),
            r"must be float, uint8 or uint16 \[height, width\], got float32",
        ),
        (lambda: Depth(np.array([[-1.0, 2.0]])), "goes from -1 to 2, outside of 0 and more: pass disparity"),
        (lambda: Depth(np.array([[np.nan]])), "not finite: what was not measured is 0"),
        (
            lambda: Thermal(np.array([[20.0, 37.0]])),
            "goes from 20 to 37, outside of 0..1: scale it, as with Thermal.of_c",
        ),
        (lambda: Depth(b"nothing of the kind"), "no depth map that can be read: use npy, or a grey png or tiff"),
        (lambda: Depth(np.array([[2.0]])).encode(".png"), "a png holds 0..1, but the depth map goes up to 2"),
        (lambda: Depth.of_metres([[1.0]], nearest=0), "nearest=0: the distance in metres that becomes 1 is above 0"),
        (lambda: Imu(MOTION), "needs its rate in samples per second, above 0, got None"),
        (lambda: Imu(MOTION.T, rate=50), r"must be numbers \[6, samples\], got float32 \[10, 6\], put time last"),
        (lambda: Imu(MOTION * np.inf, rate=50), "not finite"),
        (lambda: Imu(b"PK\x03\x04 and no more", rate=50), "a damaged array file"),
        (lambda: Imu(Imu(MOTION, rate=50), rate=60), "rate=60 was asked for, but the motion has 50"),
    ],
)
def test_what_is_wrong_is_named(make: Any, said: str) -> None:
    with pytest.raises(MediaError, match=said) as raised, np.errstate(invalid="ignore"):
        make()
    assert "\n" not in str(raised.value)


def test_parts_are_strict() -> None:
    with pytest.raises(RequestError, match="unknown key 'rate' in the depth part"):
        parts({"type": "depth", "depth": MAP, "rate": 5})
    with pytest.raises(RequestError, match="the imu part needs exactly one of url, path, imu, base64; got none"):
        parts({"type": "imu", "rate": 5})
    other = io.BytesIO()
    np.savez(other, speed=MOTION)
    with pytest.raises(MediaError, match="holds speed; motion needs readings and rate"):
        parts({"type": "imu", "imu": other.getvalue()})
