"""Makes tests/golden/imagebind.* from the reference implementation of ImageBind.

    PYTHONPATH=. python tools/imagebind_golden.py /path/to/ImageBind [/path/to/what/it/imports ...]

The first path is a checkout of facebookresearch/ImageBind, the others hold what it imports (torchaudio, torchvision,
pytorchvideo at its pinned commit, einops, ftfy, regex, iopath, fvcore, parameterized). Its code is CC-BY-NC-SA and not
part of this repository: only the numbers that it computes are kept, from weights and media that tests/noise.py makes.
"""

import gzip
import hashlib
import json
import sys
import types
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from noise import MERGES, TEXTS, film, noise, picture, sound, weights  # noqa: E402

SIZES = {
    "out_embed_dim": 16,
    "kernel_size": (2, 56, 56),
    "vision_embed_dim": 32,
    "vision_num_blocks": 2,
    "vision_num_heads": 4,
    "text_embed_dim": 16,
    "text_num_blocks": 2,
    "text_num_heads": 2,
    "audio_embed_dim": 24,
    "audio_num_blocks": 2,
    "audio_num_heads": 3,
    "depth_embed_dim": 16,
    "depth_num_blocks": 2,
    "depth_num_heads": 4,
    "thermal_embed_dim": 24,
    "thermal_num_blocks": 1,
    "thermal_num_heads": 2,
    "imu_embed_dim": 16,
    "imu_num_blocks": 2,
    "imu_num_heads": 2,
}


def shim(reference: Path) -> None:
    """What the reference imports and does not need, or what no longer exists, by another name."""
    operators = torch.library.Library("torchvision", "DEF")  # a CUDA build of torchvision wants to see these
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    shim.kept = operators  # type: ignore[attr-defined]
    timm, layers, resources = (types.ModuleType(name) for name in ("timm", "timm.layers", "pkg_resources"))
    layers.DropPath = torch.nn.Identity  # type: ignore[attr-defined]
    layers.trunc_normal_ = torch.nn.init.trunc_normal_  # type: ignore[attr-defined]
    resources.resource_filename = lambda package, file: str(reference / package / file)  # type: ignore[attr-defined]
    sys.modules |= {"timm": timm, "timm.layers": layers, "pkg_resources": resources}
    import torchvision.transforms.functional as functional

    sys.modules["torchvision.transforms.functional_tensor"] = functional


def shape_hash(shapes: dict[str, tuple[int, ...]]) -> str:
    """sha256 of all names and shapes."""
    return hashlib.sha256("\n".join(f"{name} {list(shapes[name])}" for name in sorted(shapes)).encode()).hexdigest()


def read_wave(file: str) -> tuple[torch.Tensor, int]:
    """What torchaudio.load returns of 16-bit wav."""
    import soundfile

    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def in_memory(video: Any) -> Any:
    """The reference's own video reader, over frames that need no codec."""
    from pytorchvideo.data.encoded_video_decord import EncodedVideoDecord

    class Reader:
        def __len__(self) -> int:
            return len(video.frames)

        def get_batch(self, indices: list[int]) -> torch.Tensor:
            return torch.from_numpy(video.frames[indices])

    opened = EncodedVideoDecord.__new__(EncodedVideoDecord)
    opened._decode_audio, opened._video_name, opened._av_reader = False, "frames", Reader()
    opened._fps, opened._duration = video.fps, len(video.frames) / video.fps
    return opened


def media(data: Any, folder: Path) -> dict[str, torch.Tensor]:
    """What the reference's preprocessing makes of the media of tests/noise.py."""
    from imagebind.models.multimodal_preprocessors import SimpleTokenizer

    made = {}
    for width, height in ((300, 260), (200, 333), (224, 224)):
        file = picture(width, height).save(folder / "picture.png")
        made[f"picture {width}x{height}"] = data.load_and_transform_vision_data([str(file)], "cpu")
    data.torchaudio.load = read_wave
    for seconds, rate, channels in ((1.5, 16_000, 1), (3.3, 16_000, 2), (9.1, 44_100, 2)):
        file = sound(seconds, rate, channels).save(folder / "sound.wav")
        made[f"sound {seconds} {rate} {channels}"] = data.load_and_transform_audio_data([str(file)], "cpu")
    for width, height, frames, fps in ((80, 60, 95, 12.5), (50, 90, 20, 24.0)):
        shown = film(width, height, frames, fps)
        data.EncodedVideo = types.SimpleNamespace(from_path=lambda *_, shown=shown, **__: in_memory(shown))
        made[f"film {width}x{height} {frames} {fps}"] = data.load_and_transform_video_data(["frames"], "cpu")
    file = folder / "merges.txt.gz"
    file.write_bytes(gzip.compress("\n".join(["#version", *MERGES]).encode()))
    tokenizer = SimpleTokenizer(bpe_path=str(file))
    made["words"] = torch.stack([tokenizer(text) for text in TEXTS])
    return made


def main() -> None:
    """Writes the golden files."""
    reference = Path(sys.argv[1]).resolve()
    sys.path[:0] = [str(reference), *sys.argv[2:]]
    shim(reference)
    import imagebind.data as data
    from imagebind.models.imagebind_model import ImageBindModel, imagebind_huge

    golden = ROOT / "tests" / "golden"
    model = ImageBindModel(**SIZES).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(weights(shapes), strict=True)
    held: dict[str, np.ndarray] = {}
    with TemporaryDirectory() as folder, torch.no_grad():
        inputs = media(data, Path(folder))
        for name, tensor in inputs.items():
            # a share of the values; all of them count in the embedding below
            held[f"input {name}"] = tensor.flatten()[:: max(1, tensor.numel() // 400)].numpy()
            kind = name.split()[0]
            modality = {"picture": "vision", "film": "vision", "sound": "audio", "words": "text"}[kind]
            if kind != "words":
                held[f"embedding {name}"] = model({modality: tensor})[modality].numpy()
        inputs = {
            "depth": noise("depth", (2, 1, 224, 224)),
            "thermal": noise("thermal", (2, 1, 224, 224)),
            "imu": noise("imu", (2, 6, 2000)),
            "audio": noise("audio", (2, 3, 1, 128, 204)),
            "vision": noise("vision", (2, 3, 224, 224)),
            "text": torch.tensor([[49_406, 320, 2368, 49_407] + [0] * 73, [49_406, 7, 49_407] + [0] * 74]),
        }
        for modality, tensor in inputs.items():
            held[f"embedding {modality}"] = model({modality: tensor})[modality].numpy()
            clips = tensor.flatten(0, 1) if tensor.ndim == 5 else tensor
            given = model.modality_preprocessors[modality](**{modality: clips})
            states = model.modality_trunks[modality](**given["trunk"])
            head = model.modality_heads[modality]
            normed = (head.proj[0] if modality == "text" else head[0])(states)
            held[f"features {modality}"] = normed[:, :: max(1, normed.shape[1] // 6)].numpy()
    arrays: dict[str, Any] = held
    np.savez_compressed(golden / "imagebind.npz", **arrays)
    del model
    huge = {name: tuple(tensor.shape) for name, tensor in imagebind_huge().state_dict().items()}
    about = {"sizes": SIZES, "shapes": shapes, "huge": {"tensors": len(huge), "sha256": shape_hash(huge)}}
    (golden / "imagebind.json").write_text(json.dumps(about, indent=1) + "\n")
    print(*(f"{file} {file.stat().st_size}" for file in sorted(golden.glob("imagebind.*"))), sep="\n")


if __name__ == "__main__":
    main()
