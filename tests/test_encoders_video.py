"""The video encoder: what it reads, that it begins as the image encoder, the order of time, and strict opening."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.video import VideoEncoder, VideoTowerConfig
from anygen.error import ModelError
from anygen.media import Image, Video
from anygen.model import AnyGenModel

CONFIG = VideoTowerConfig(width=16, joint=8, frames=8, tubelet=2, grid=2, depth=1, heads=2)


@pytest.fixture(scope="module")
def image() -> ImageEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ImageEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, side=16, patch=4, stem="patch")).eval()


@pytest.fixture
def encoder(image: ImageEncoder) -> VideoEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return VideoEncoder(CONFIG, image).eval()


@pytest.fixture
def trained(encoder: VideoEncoder) -> VideoEncoder:
    """As training leaves it: not a mean any more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for parameter in encoder.temporal.parameters():
            nn.init.normal_(parameter, std=0.1)
    return encoder


def film(frames: int, seed: int = 0) -> Video:
    return Video(np.random.default_rng(seed).integers(0, 256, (frames, 20, 30, 3), dtype=np.uint8), fps=8)


@torch.no_grad()
def test_features_have_their_shape(trained: VideoEncoder) -> None:
    films = trained.prepare(film(16))[None]
    assert films.shape == (1, 8, 3, 16, 16)
    assert trained(films).shape == (1, trained.tokens, trained.width) == (1, 16, 16)
    assert trained.embed(films).norm() == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_untrained_it_is_the_image_encoder_averaged(encoder: VideoEncoder, image: ImageEncoder) -> None:
    """Of a picture that stands still each tubelet has its features, four patches as one; the embedding is its own."""
    picture = image.prepare(Image(film(1).frames[0]))[None]
    still = picture[:, None].expand(-1, 8, -1, -1, -1)
    pooled = image(picture).view(1, 2, 2, 2, 2, 16).mean((2, 4)).view(1, 4, 16)
    torch.testing.assert_close(encoder(still), pooled.repeat(1, 4, 1))
    torch.testing.assert_close(encoder.embed(still), image.embed(picture))


@torch.no_grad()
def test_features_follow_time(encoder: VideoEncoder) -> None:
    """Before the blocks mix them, the features of a tubelet are of its frames alone; and order matters."""
    one, other = (encoder.prepare(film(8, seed))[None] for seed in (0, 1))
    mixed = one.clone()
    mixed[:, 4:6] = other[:, 4:6]
    change = (encoder(mixed) - encoder(one)).abs().sum(-1).view(4, 4)
    assert (change[2] > 0).all() and change[[0, 1, 3]].max() == 0


@torch.no_grad()
def test_backwards_is_another_film(trained: VideoEncoder) -> None:
    forwards = trained.prepare(film(8))[None]
    backwards = forwards.flip(1)
    assert (trained(forwards) - trained(backwards)).abs().mean() > 0.01
    assert (trained.embed(forwards) - trained.embed(backwards)).abs().mean() > 1e-4


@pytest.mark.parametrize(
    ("there", "chosen"),
    [(8, range(8)), (16, range(1, 16, 2)), (1, [0] * 8), (2, [0] * 4 + [1] * 4), (3, [0, 0, 0, 1, 1, 2, 2, 2])],
)
def test_frames_are_sampled_by_time(encoder: VideoEncoder, there: int, chosen: list[int]) -> None:
    given = film(there)
    films = encoder.prepare(given)
    for row, place in zip(films, chosen, strict=True):
        assert torch.equal(row, encoder.image.prepare(Image(given.frames[place])))


@torch.no_grad()
def test_it_opens_as_it_was_saved_and_stores_no_picture_weights(
    trained: VideoEncoder, image: ImageEncoder, tmp_path: Path
) -> None:
    from anygen.weights import shapes

    trained.save_pretrained(tmp_path)
    assert set(shapes(tmp_path / "model.safetensors")) == set(trained.temporal.state_dict())
    opened = VideoEncoder.from_pretrained(tmp_path, base=image)
    films = trained.prepare(film(16))[None]
    torch.testing.assert_close(opened(films), trained(films))
    assert opened.image is image
    with pytest.raises(ModelError, match="but there is none"):
        VideoEncoder.from_pretrained(tmp_path)
    wide = ImageEncoder(TowerConfig(width=32, depth=1, heads=2, joint=8, side=16, patch=4, stem="patch"))
    with pytest.raises(ModelError, match="width is 16, but that of its image encoder 32"):
        VideoEncoder.from_pretrained(tmp_path, base=wide)
    with pytest.raises(ModelError, match="8 frames of 16 x 16 pixels, not"):
        trained(films[:, :-1])


def test_wrong_sizes_are_named(image: ImageEncoder) -> None:
    with pytest.raises(ModelError, match=r"tubelet \(3\) divides its frames \(16\)"):
        VideoTowerConfig(tubelet=3)
    with pytest.raises(ModelError, match=r"width \(10\) is a multiple of its heads \(4\)"):
        VideoTowerConfig(width=10)
    with pytest.raises(ModelError, match=r"grid \(3\) divides the image encoder's 4 patches"):
        VideoEncoder(VideoTowerConfig(width=16, joint=8, grid=3, heads=2), image)


def test_in_a_model_both_encoders_are_one(tiny_film: Path) -> None:
    model = AnyGenModel.load(tiny_film)
    assert model.reads == model.writes == ("image", "video")
    assert model.encoders["video"].image is model.encoders["image"]
    features = model.encode("video", [film(4), film(9)])
    assert features.shape == (2, 8, 16)
    assert model.project("video", features).shape == (2, model.tokens["video"], model.width)
