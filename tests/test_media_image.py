"""Pictures: every source and mode gives the same pixels, files round-trip, bad files say what is wrong."""

import base64
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from anygen.error import MediaError, RequestError
from anygen.media import Image, data_url

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **settings)
    return out.getvalue()


def test_every_source_gives_the_same_picture(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(PIXELS)
    png = encoded(picture)
    path = tmp_path / "cat.png"
    path.write_bytes(png)
    expected = Image(PIXELS)
    sources = [str(path), path, png, bytearray(png), io.BytesIO(png), path.open("rb"), picture, expected]
    sources += [f"data:image/png;base64,{base64.b64encode(png).decode()}", path.as_uri()]
    for source in sources:
        assert Image(source) == expected
        if hasattr(source, "close"):
            source.close()
    assert (expected.height, expected.width) == (5, 7)
    assert np.array_equal(np.asarray(expected.pil()), PIXELS)


@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))))
def test_lossless_files_round_trip(pixels: np.ndarray) -> None:
    image = Image(pixels)
    for suffix in (".png", ".bmp"):
        again = Image(image.encode(suffix))
        assert again == image and np.array_equal(again.pixels, pixels)
    assert Image(data_url(image)) == image


@given(st.binary(max_size=60), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]), st.integers(0, 200))
def test_damaged_bytes_give_a_picture_or_a_media_error(noise: bytes, kind: str, at: int) -> None:
    whole = encoded(PIL.Image.fromarray(PIXELS), kind)
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    try:
        assert Image(damaged).pixels.shape[2] == 3
    except MediaError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".gif", ".PNG"])
def test_save_takes_the_format_from_the_suffix(tmp_path: Path, suffix: str) -> None:
    image = Image(np.full((16, 16, 3), 200, np.uint8))
    path = image.save(tmp_path / f"cat{suffix}")
    assert np.abs(Image(path).pixels.astype(int) - 200).max() <= 4


def test_save_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"cannot write image as '\.xyz'; use \.png"):
        Image(PIXELS).save(tmp_path / "cat.xyz")
    with pytest.raises(MediaError, match="No such file or directory"):
        Image(PIXELS).save(tmp_path / "nowhere" / "cat.png")


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    assert Image(rgba).pixels[0, :, 0].tolist() == [255, 127, 0]
    assert Image(encoded(PIL.Image.fromarray(rgba))).pixels[0, 0].tolist() == [255, 255, 255]
    palette = PIL.Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    pixels = Image(encoded(palette, transparency=0)).pixels
    assert pixels[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_grey_sixteen_bit_palette_and_cmyk_are_read() -> None:
    grey = np.array([[0, 65535, 32896]], np.uint16)
    assert Image(encoded(PIL.Image.fromarray(grey))).pixels[0, :, 0].tolist() == [0, 255, 128]
    assert Image(encoded(PIL.Image.fromarray(grey), "TIFF")).pixels[0, :, 0].tolist() == [0, 255, 128]
    assert Image(encoded(PIL.Image.new("L", (2, 2), 77))).pixels.tolist() == [[[77] * 3] * 2] * 2
    assert Image(encoded(PIL.Image.new("1", (2, 2), 1))).pixels.max() == 255
    assert Image(PIL.Image.fromarray(np.array([[0.0, 1.0]], np.float32))).pixels[0, :, 0].tolist() == [0, 255]
    red = PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    assert Image(encoded(red, "JPEG")).pixels[4, 4, 0] > 200 > 60 > Image(encoded(red, "JPEG")).pixels[4, 4, 1]
    assert (
        Image(np.full((2, 3), 9, np.uint8))
        == Image(np.full((2, 3, 1), 9, np.uint8))
        == Image(np.full((2, 3, 3), 9, np.uint8))
    )


def test_exif_orientation_is_applied() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture = PIL.Image.fromarray(PIXELS)
    turned = Image(encoded(picture, "PNG", exif=exif))
    assert np.array_equal(turned.pixels, np.rot90(PIXELS, -1))


def test_pixels_are_a_frozen_copy() -> None:
    array = PIXELS.copy()
    image = Image(array)
    array[:] = 0
    assert np.array_equal(image.pixels, PIXELS)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0] = 0
    with pytest.raises(AttributeError):
        image.pixels = array  # type: ignore[misc]


def test_equality_and_hash_are_by_content() -> None:
    image, other = Image(PIXELS), Image(PIXELS[:, ::-1])
    assert image == Image(PIXELS) != other
    assert len({image, Image(PIXELS), other}) == 2
    assert Image(PIXELS.reshape(7, 5, 3)).hash != image.hash
    assert len(image.hash) == 64 and image != "cat"
    assert pickle.loads(pickle.dumps(image)) == image
    assert repr(image).startswith("Image(7x5, ")
    assert image._repr_html_().startswith('<img src="data:image/png;base64,')


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is of that size, and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"image bytes is empty \(0 bytes\)"),
        (b"not a picture at all", "is not an image that can be read; use png, jpeg"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "looks like audio: pass it as Audio"),
        (encoded(PIL.Image.effect_noise((64, 64), 50))[:1500], "damaged or truncated image"),
        (encoded(PIL.Image.effect_noise((64, 64), 50), "JPEG")[:900], "damaged or truncated image"),
        (png_of_size(9000, 8000), "9000 x 8000 = 72 million pixels, more than 64 million: scale it down"),
        (png_of_size(60000, 60000), "too large"),
    ],
)
def test_bad_files_say_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        Image(data)
    assert "\n" not in str(caught.value)


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    for content in (b"", b"x", encoded(PIL.Image.fromarray(PIXELS))[:40]):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=r"cat\.png"):
            Image(path)
    with pytest.raises(MediaError, match=r"no such file: .*dog\.png"):
        Image(tmp_path / "dog.png")
    with pytest.raises(MediaError, match="Is a directory"):
        Image(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4, 3)), "must be uint8"),
        (np.zeros((3, 4, 5), np.uint8), r"got uint8 \[3, 4, 5\]; scale to 0..255, put channels last"),
        (np.zeros((0, 4, 3), np.uint8), "must not be empty"),
        (42, "cannot read image from a value of type int"),
        (io.StringIO("x"), "gives str, not bytes"),
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,???", "not valid base64"),
        ("bad\0name", "cannot read"),
    ],
)
def test_bad_sources_say_what_is_wrong(source: Any, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        Image(source)


def test_the_network_is_refused() -> None:
    with pytest.raises(RequestError, match="download it and pass the file"):
        Image("https://example.com/cat.png")
