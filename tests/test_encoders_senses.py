"""The encoders of depth, heat and motion: that maps begin as grey pictures, what is theirs, and what they read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from anygen.encoders import ENCODERS, open_encoders
from anygen.encoders.depth import DepthEncoder
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.imagebind_encoder import ImageBindEncoder, ImageBindOptions
from anygen.encoders.imagebind_huge import HugeConfig, HugeTower
from anygen.encoders.imu import ImuEncoder, ImuTowerConfig, scaled
from anygen.encoders.relief import ReliefEncoder, ReliefTowerConfig
from anygen.error import ModelError
from anygen.projectors.input import BorrowedConfig, BorrowedProjector, MlpConfig, MlpProjector, lend
from anygen.sensed import Depth, Imu, Thermal

CONFIG = ReliefTowerConfig(width=16, joint=8, bottleneck=4)
MOTION = ImuTowerConfig(width=16, depth=1, heads=2, joint=8, samples=32, rate=16, patch=8)


@pytest.fixture(scope="module", params=["convolution", "patch"])
def image(request: pytest.FixtureRequest) -> ImageEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ImageEncoder(
            TowerConfig(width=16, depth=2, heads=2, joint=8, side=16, patch=4, stem=request.param)
        ).eval()


@pytest.fixture(params=["depth", "thermal"])
def encoder(request: pytest.FixtureRequest, image: ImageEncoder) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        kind: Any = ENCODERS[request.param]
        return kind(CONFIG, image).eval()


@pytest.fixture(scope="module")
def motion() -> ImuEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return ImuEncoder(MOTION).eval()


def values(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(0).random((height, width), dtype=np.float32)


@torch.no_grad()
def test_a_map_begins_as_a_grey_picture(encoder: ReliefEncoder, image: ImageEncoder) -> None:
    maps = torch.rand(3, 1, 16, 16) * 2 - 1
    assert not torch.allclose(encoder(maps), image(maps.expand(-1, 3, -1, -1)))
    encoder.begin_like_pictures()
    torch.testing.assert_close(encoder(maps), image(maps.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(encoder.embed(maps), image.embed(maps.expand(-1, 3, -1, -1)))


@torch.no_grad()
def test_what_maps_become(encoder: ReliefEncoder) -> None:
    value = (Depth if encoder.modality == "depth" else Thermal)(values(32, 40))
    read = encoder.prepare(value)
    assert read.shape == (1, 16, 16) and -1 <= read.min() < read.max() <= 1
    middle = value.values[:, 4:36].reshape(16, 2, 16, 2).mean((1, 3))  # the square of 32 x 32, as 16 x 16
    np.testing.assert_allclose(read[0].numpy(), middle * 2 - 1, atol=1e-5)
    assert torch.equal(encoder.prepare(Depth(np.full((16, 16), 7.0))), torch.ones(1, 16, 16))
    assert encoder(read[None]).shape == (1, encoder.tokens, encoder.width) == (1, 16, 16)
    assert encoder.embed(read[None]).norm() == pytest.approx(1.0, abs=1e-5)
    for wrong in (torch.zeros(1, 3, 16, 16), torch.zeros(1, 16, 16), torch.zeros(1, 1, 8, 8)):
        with pytest.raises(ModelError, match=f"the {encoder.modality} encoder reads 1 x 16 x 16 numbers, not"):
            encoder(wrong)


def test_only_its_own_is_stored_and_the_image_encoder_is_shared(
    encoder: ReliefEncoder, image: ImageEncoder, motion: ImuEncoder, tmp_path: Path
) -> None:
    for parameter in encoder.relief.parameters():
        nn.init.normal_(parameter, std=0.1)
    for name, part in (("image", image), ("map", encoder), ("imu", motion)):
        (tmp_path / name).mkdir()
        part.save_pretrained(tmp_path / name)
    parts: Any = {encoder.modality: "map", "imu": "imu", "image": "image"}
    opened = open_encoders({modality: (tmp_path / place, "tower", {}) for modality, place in parts.items()})
    assert list(opened) == list(parts)
    again: Any = opened[encoder.modality]
    assert again.image is opened["image"]
    maps = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(again(maps), encoder(maps))
    own = sum(parameter.numel() for parameter in again.own().parameters())
    assert own < sum(parameter.numel() for parameter in image.parameters())
    readings = torch.rand(2, 6, 32)
    opened_motion: Any = opened["imu"]
    torch.testing.assert_close(opened_motion(readings), motion(readings))
    with pytest.raises(ModelError, match="stands on the model's image encoder, but there is none"):
        type(encoder)(CONFIG, None)
    with pytest.raises(ModelError, match="encoder's width is 8, that of its image encoder 16"):
        type(encoder)(ReliefTowerConfig(width=8, joint=8), image)


def test_nano_has_room_for_them() -> None:
    """At nano's sizes each takes less than 1.2 MB in half precision, its projector included."""
    with torch.device("meta"):
        nano = ImageEncoder(TowerConfig())
        relief = DepthEncoder(ReliefTowerConfig(), nano).own()
        borrowed = BorrowedProjector(
            BorrowedConfig(lender="image", tokens_in=64, width_in=128, tokens=16, width_out=192)
        )
        motion = ImuEncoder(ImuTowerConfig())
    bytes_of = [2 * sum(p.numel() for p in part.parameters()) for part in (relief, borrowed, motion)]
    assert bytes_of[0] + bytes_of[1] < 0.85e6 and bytes_of[2] < 0.5e6


@torch.no_grad()
def test_what_motion_becomes(motion: ImuEncoder) -> None:
    seconds = (np.arange(64) + 0.5) / 32 - 1
    fine = np.stack([np.sin(3 * seconds + k) for k in range(6)]).astype(np.float32)
    coarse = np.stack([np.interp((np.arange(32) + 0.5) / 16 - 1, seconds, row) for row in fine]).astype(np.float32)
    one, other = motion.prepare(Imu(fine, rate=32)), motion.prepare(Imu(coarse, rate=16))
    assert one.shape == (6, 32)
    torch.testing.assert_close(one, other, atol=2e-3, rtol=0)
    rest = np.zeros((6, 8), np.float32)
    rest[1] = 9.81
    assert motion.prepare(Imu(rest, rate=16)).abs().max() < 1e-5  # a short motion rests before and after
    turning = Imu(rest + np.array([[0], [0], [0], [0], [0], [2]], np.float32), rate=16)
    assert motion.prepare(turning)[5].nonzero()[:, 0].tolist() == list(range(12, 20))
    assert motion(one[None]).shape == (1, motion.tokens, motion.width) == (1, 4, 16)
    assert motion.embed(one[None]).norm() == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ModelError, match=r"the imu encoder reads 6 x 32 numbers, not \[1, 6, 31\]"):
        motion(torch.zeros(1, 6, 31))
    assert scaled(torch.full((6, 4), 1e9)).max() == 4
    with pytest.raises(ModelError, match=r"patch \(7\) divides the 32 samples"):
        ImuTowerConfig(samples=32, patch=7)


def test_who_borrows_reads_as_the_lender_until_trained() -> None:
    lender = MlpProjector(MlpConfig(tokens_in=16, width_in=6, width_out=10, hidden=12, merge=2))
    config = BorrowedConfig(lender="image", tokens_in=16, width_in=6, tokens=4, width_out=10)
    projector = BorrowedProjector(config)
    features = torch.randn(2, 16, 6)
    with pytest.raises(ModelError, match="needs that of image, and nobody has lent it"):
        projector(features)
    lend(nn.ModuleDict({"depth": projector, "image": lender}))
    torch.testing.assert_close(projector(features), lender(features))
    assert {name for name, _ in projector.named_parameters()} == {"inward.weight", "inward.bias"}
    with pytest.raises(ModelError, match="depth borrows that of image, which has none to lend"):
        lend({"depth": projector})
    with pytest.raises(ModelError, match=r"the projector of image is \[16, 6, 4, 10\], who borrows it has"):
        BorrowedProjector(BorrowedConfig(lender="image", tokens_in=16, width_in=6, tokens=5, width_out=10)).borrow(
            lender
        )


@torch.no_grad()
def test_imagebind_reads_them_at_its_sizes() -> None:
    sizes: dict[str, Any] = {
        "depth": {"size": (1, 32, 32), "kernel": (16, 16), "stride": (16, 16)},
        "thermal": {"size": (1, 32, 32), "kernel": (16, 16), "stride": (16, 16)},
        "imu": {"size": (6, 2000), "kernel": (8,), "stride": (8,)},
    }
    media: Any = {"depth": Depth(values()), "thermal": Thermal(values()), "imu": Imu(np.ones((6, 50)), rate=20)}
    for modality, size in sizes.items():
        tower = HugeTower(HugeConfig(modality=modality, width=16, depth=1, heads=2, joint=8, **size)).eval()
        encoder = ImageBindEncoder(modality, tower, ImageBindOptions())
        made = encoder(encoder.prepare(media[modality])[None])
        assert made.shape == (1, encoder.tokens, encoder.width) == (1, tower.config.patches, 16)
