"""ImageBind's six towers at any width (arXiv 2305.05665), and strict opening of the published `imagebind_huge.pth`."""

import logging
import math
import pickle
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.encoders.imagebind import Block, Tower
from anygen.error import ModelError
from anygen.optional import optional
from anygen.weights import cast, compare

LICENCE = "CC-BY-NC-SA-4.0"
MOST = 100.0  # of a scale, whatever was learnt
MASK = "modality_preprocessors.text.mask"


@dataclass(frozen=True, kw_only=True, slots=True)
class HugeConfig:
    """Sizes of one tower.

    `size` is the shape of one clip, channels first: text (length,), vision (3, frames, side, side), audio, depth and
    thermal (1, bins or side, frames or side), imu (channels, steps). `kernel` and `stride` are those of the stem.
    """

    modality: str
    width: int
    depth: int
    heads: int
    size: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    joint: int = 1024
    vocabulary: int = 0
    scale: float = 1.0  # of the unit vectors in the joint space, before training

    def __post_init__(self) -> None:
        if self.modality not in HUGE_RANKS:
            raise ModelError(f"ImageBind has no tower for {self.modality!r}; it has {', '.join(HUGE_RANKS)}")
        if self.width % self.heads:
            raise ModelError(f"an encoder's width ({self.width}) is a multiple of its heads ({self.heads})")
        rank = HUGE_RANKS[self.modality]
        if (len(self.size), len(self.kernel), len(self.stride)) != rank:
            raise ModelError(
                f"the {self.modality} tower's size, kernel and stride have {', '.join(map(str, rank))} numbers, "
                f"not {len(self.size)}, {len(self.kernel)}, {len(self.stride)}"
            )
        if any(n < 1 for n in self.grid):
            raise ModelError(f"the {self.modality} tower's kernel {self.kernel} is larger than its input {self.size}")

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along each axis of the input."""
        if self.modality == "text":
            return self.size
        seen = self.size[-len(self.kernel) :]  # without the channels
        return tuple((s - k) // t + 1 for s, k, t in zip(seen, self.kernel, self.stride, strict=True))

    @property
    def patches(self) -> int:
        """Patches of one clip; of a text its tokens."""
        return math.prod(self.grid)


# how many numbers describe size, kernel and stride
HUGE_RANKS = {
    "vision": (4, 3, 3),
    "text": (1, 0, 0),
    "audio": (3, 2, 2),
    "depth": (3, 2, 2),
    "thermal": (3, 2, 2),
    "imu": (2, 1, 1),
}
HUGE = {
    config.modality: config
    for config in (
        HugeConfig(
            modality="vision",
            width=1280,
            depth=32,
            heads=16,
            size=(3, 2, 224, 224),
            kernel=(2, 14, 14),
            stride=(2, 14, 14),
        ),
        HugeConfig(modality="text", width=1024, depth=24, heads=16, size=(77,), vocabulary=49_408, scale=1 / 0.07),
        HugeConfig(
            modality="audio",
            width=768,
            depth=12,
            heads=12,
            size=(1, 128, 204),
            kernel=(16, 16),
            stride=(10, 10),
            scale=20.0,
        ),
        HugeConfig(
            modality="depth",
            width=384,
            depth=12,
            heads=8,
            size=(1, 224, 224),
            kernel=(16, 16),
            stride=(16, 16),
            scale=5.0,
        ),
        HugeConfig(
            modality="thermal",
            width=768,
            depth=12,
            heads=12,
            size=(1, 224, 224),
            kernel=(16, 16),
            stride=(16, 16),
            scale=10.0,
        ),
        HugeConfig(modality="imu", width=512, depth=6, heads=8, size=(6, 2000), kernel=(8,), stride=(8,), scale=5.0),
    )
}


class HugeTower(Tower):
    """One of ImageBind's towers, any of the six.

    `embed` gives the vector in the joint space, `features` the states of all patches. What they read is made by
    `anygen.encoders.imagebind_inputs`: [batch, *size], or [batch, clips, *size] for media that are seen clip by clip.
    A picture, [batch, 3, side, side], is a film of equal frames.
    """

    config_type = HugeConfig

    def __init__(self, config: HugeConfig) -> None:
        super().__init__()
        self.config = config
        vision, text = config.modality == "vision", config.modality == "text"
        self.stem = _stem(config)
        self.stem_norm = None if vision or text else nn.LayerNorm(config.width)
        self.class_token = None if text else nn.Parameter(torch.randn(1, 1, config.width) * config.width**-0.5)
        places = config.patches + (not text)
        self.position_embedding = nn.Parameter(torch.randn(1, places, config.width) * config.width**-0.5)
        self.norm_first = nn.LayerNorm(config.width, eps=1e-6) if vision else None
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, bias_kv=not (vision or text)) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, config.joint, bias=False)
        # text learns its scale, the others' are fixed; vision has none
        start = torch.tensor(config.scale).log()
        if text:
            self.log_scale: Tensor | None = nn.Parameter(start)
        else:
            self.register_buffer("log_scale", None if vision else start)

    def embed(self, x: Tensor, scale: bool = True) -> Tensor:
        """The joint space: [batch, joint]; unit vectors times the modality's scale, or as they are.

        Of several clips this is the mean, which is shorter than each of them.
        """
        clips, batch = self._clips(x)
        states = self.norm(self._run(clips))
        if self.config.modality == "text":
            # the end of a text has the highest id of all tokens
            pooled = states[torch.arange(len(states), device=states.device), clips.argmax(-1)]
        else:
            pooled = states[:, 0]
        made = F.normalize(self.head(pooled), dim=-1)
        if scale and self.log_scale is not None:
            made = made * self.log_scale.exp().clamp_max(MOST)
        return made.view(batch, -1, self.config.joint).mean(1)

    def features(self, x: Tensor) -> Tensor:
        """The normed states of the patches, clip after clip: [batch, clips * patches, width]; no class token."""
        clips, batch = self._clips(x)
        states = self.norm(self._run(clips))
        first = int(self.class_token is not None)
        return states[:, first:].reshape(batch, -1, self.config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)

    def _run(self, x: Tensor) -> Tensor:
        """[clips, *size] to states before the last norm, [clips, tokens, width], the class token first."""
        tokens = _patches(self.stem, x, self.config)
        if self.stem_norm is not None:
            tokens = self.stem_norm(tokens)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], 1)
        tokens = tokens + self.position_embedding
        if self.norm_first is not None:
            tokens = self.norm_first(tokens)
        for block in self.blocks:
            tokens = block(tokens, causal=self.config.modality == "text")
        return tokens

    def _clips(self, x: Tensor) -> tuple[Tensor, int]:
        """All clips in one row, [batch * clips, *size], and the batch."""
        size = self.config.size
        if self.config.modality == "vision" and x.ndim == 4 and x.shape[1:] == (size[0], *size[2:]):
            x = x.unsqueeze(2).expand(-1, -1, size[1], -1, -1)
        if x.ndim not in (len(size) + 1, len(size) + 2) or tuple(x.shape[-len(size) :]) != size or not x.numel():
            raise ModelError(
                f"ImageBind's {self.config.modality} tower reads [batch, {', '.join(map(str, size))}], "
                f"clips may stand behind the batch; it was given {list(x.shape)}"
            )
        return x.reshape(-1, *size), len(x)


def _stem(config: HugeConfig) -> nn.Module:
    match config.modality:
        case "text":
            return nn.Embedding(config.vocabulary, config.width)
        case "imu":
            return nn.Linear(config.size[0] * config.kernel[0], config.width, bias=False)
        case "vision":
            return nn.Conv3d(config.size[0], config.width, config.kernel, config.stride, bias=False)  # type: ignore[arg-type]
        case _:
            return nn.Conv2d(config.size[0], config.width, config.kernel, config.stride, bias=False)  # type: ignore[arg-type]


def _patches(stem: nn.Module, x: Tensor, config: HugeConfig) -> Tensor:
    """[clips, *size] to [clips, patches, width]"""
    match config.modality:
        case "text":
            return stem(x)
        case "imu":  # a patch is all channels of a few steps, channel by channel
            steps = x.unfold(-1, config.kernel[0], config.stride[0])  # [clips, channels, patches, kernel]
            return stem(steps.transpose(1, 2).flatten(2))
        case _:
            return stem(x).flatten(2).transpose(1, 2)


# --- the published file

_STEMS = {
    "vision": "rgbt_stem.proj.1.weight",
    "text": "token_embedding.weight",
    "audio": "rgbt_stem.proj.weight",
    "depth": "depth_stem.proj.weight",
    "thermal": "rgbt_stem.proj.weight",
    "imu": "imu_stem.proj.weight",
}
_PLACES = {"text": "pos_embed", "imu": "pos_embed"}
_HEADS = {"text": ("proj.0", "proj.1"), "imu": ("0", "3")}  # a dropout stands before imu's
_BLOCK = {
    "qkv.weight": "attn.in_proj_weight",
    "qkv.bias": "attn.in_proj_bias",
    "bias_k": "attn.bias_k",
    "bias_v": "attn.bias_v",
    "out.weight": "attn.out_proj.weight",
    "out.bias": "attn.out_proj.bias",
    "fc1.weight": "mlp.fc1.weight",
    "fc1.bias": "mlp.fc1.bias",
    "fc2.weight": "mlp.fc2.weight",
    "fc2.bias": "mlp.fc2.bias",
}


def published_name(modality: str, name: str) -> str:
    """What the published file calls the tensor `name` of a HugeTower."""
    before, trunk = f"modality_preprocessors.{modality}.", f"modality_trunks.{modality}."
    if name.startswith("blocks."):
        _, number, rest = name.split(".", 2)
        return f"{trunk}blocks.{number}.{_BLOCK.get(rest, rest)}"
    norm, head = _HEADS.get(modality, ("0", "2"))
    part, _, kind = name.partition(".")
    return {
        "stem": before + _STEMS[modality],
        "stem_norm": f"{before}{_STEMS[modality].split('.')[0]}.norm_layer.{kind}",
        "class_token": before + "cls_token",
        "position_embedding": before + _PLACES.get(modality, "pos_embedding_helper.pos_embed"),
        "norm_first": f"{trunk}pre_transformer_layer.0.{kind}",
        "norm": f"modality_heads.{modality}.{norm}.{kind}",
        "head": f"modality_heads.{modality}.{head}.{kind}",
        "log_scale": f"modality_postprocessors.{modality}.1.log_logit_scale",
    }[part]


def published_shapes(configs: Mapping[str, HugeConfig] = HUGE) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a published file with these towers; the causal mask of text is one of them."""
    found: dict[str, tuple[int, ...]] = {}
    for modality, config in configs.items():
        with torch.device("meta"):
            tower = HugeTower(config)
        found |= {published_name(modality, name): tuple(t.shape) for name, t in tower.state_dict().items()}
        if modality == "text":
            found[MASK] = config.size * 2
    return found


def open_published(
    file: Path,
    modalities: Collection[str] = tuple(HUGE),
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    configs: Mapping[str, HugeConfig] = HUGE,
) -> dict[str, HugeTower]:
    """Towers from `imagebind_huge.pth`, strictly: the whole file must fit, the towers of `modalities` are opened.

    The pickle is opened with `weights_only=True`, and memory-mapped: of towers that are not asked for nothing is read.
    Raises ModelError for what is no such file, and for the first tensor that does not fit, with both shapes.
    """
    return _towers(_state(Path(file)), str(file), modalities, device, dtype, configs)


def open_reference(
    model: nn.Module | None = None,
    modalities: Collection[str] = tuple(HUGE),
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    configs: Mapping[str, HugeConfig] = HUGE,
) -> dict[str, HugeTower]:
    """Towers with the weights of Meta's own module, as strictly: `model`, as it was tuned, or what its package fetches.

    Without `model` the optional package `imagebind` is asked for `imagebind_huge(pretrained=True)`; ModelError where it
    does not import. The weights are copied: training either leaves the other as it is.
    """
    if model is None:
        model = optional("imagebind.models.imagebind_model").imagebind_huge(pretrained=True)
    held = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    towers = _towers(held, f"imagebind's {type(model).__name__}", modalities, device, dtype, configs)
    for tower in towers.values():
        tower.load_state_dict({name: tensor.clone() for name, tensor in tower.state_dict().items()}, assign=True)
    return towers


def _towers(
    held: Mapping[str, Tensor],
    where: str,
    modalities: Collection[str],
    device: str | torch.device,
    dtype: torch.dtype | None,
    configs: Mapping[str, HugeConfig],
) -> dict[str, HugeTower]:
    for modality in modalities:
        if modality not in configs:
            raise ModelError(f"ImageBind has no tower for {modality!r}; it has {', '.join(configs)}")
    compare(published_shapes(configs), {name: tuple(t.shape) for name, t in held.items()}, where)
    if MASK in held:
        length = len(held[MASK])
        if not torch.equal(held[MASK].float(), torch.full((length, length), -math.inf).triu(1)):
            raise ModelError(f"{where}: tensor {MASK} is not causal; this is not ImageBind's text tower")
    say_licence()
    towers = {}
    for modality in modalities:
        with torch.device("meta"):
            tower = HugeTower(configs[modality])
        names = {name: published_name(modality, name) for name in tower.state_dict()}
        tensors = {name: cast(held[theirs], torch.device(device), dtype) for name, theirs in names.items()}
        tower.load_state_dict(tensors, strict=True, assign=True)
        towers[modality] = tower.eval()
    return towers


def _state(file: Path) -> dict[str, Tensor]:
    """The tensors in a pickled state dict; nothing but tensors is let in."""
    if not file.is_file():
        raise ModelError(f"{file} is missing; ImageBind's weights are fetched by their user (see `anygen list`)")
    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise ModelError(f"{file} is truncated, or no state dict: {str(error).splitlines()[0]}") from error
    if not isinstance(held, dict) or not all(isinstance(tensor, Tensor) for tensor in held.values()):
        raise ModelError(f"{file} holds no state dict: names and tensors, and nothing else, are expected")
    return held


@lru_cache(maxsize=1)
def say_licence() -> None:
    """Once in a process: what these weights may be used for."""
    logging.getLogger("anygen").warning(
        "ImageBind's weights are under %s (Meta): not for commercial use, and what is made of them stays so", LICENCE
    )
