"""ImageBind-style towers: one trunk per modality and a head into the joint space (arXiv 2305.05665)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.error import ModelError
from anygen.weights import fill, load_strict, read_config, save


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    """Sizes of one tower. `side` and `patch` are pixels of the picture; a text tower has `vocabulary` and `length`."""

    width: int = 128
    depth: int = 5
    heads: int = 4
    joint: int = 128
    side: int = 64
    patch: int = 8
    stem: str = "convolution"  # or "patch", as in ImageBind: one convolution with stride `patch`
    vocabulary: int = 0
    length: int = 32

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ModelError(f"an encoder's width ({self.width}) is a multiple of its heads ({self.heads})")
        if self.side % self.patch:
            raise ModelError(f"an encoder's picture side ({self.side}) is a multiple of its patch ({self.patch})")
        if self.stem not in ("convolution", "patch"):
            raise ModelError(f"no stem '{self.stem}'; there are convolution, patch")


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), x + mlp(norm(x)).

    With `bias_kv` a learnt key and a learnt value, [1, 1, width], stand behind those of the tokens.
    """

    def __init__(self, width: int, heads: int, bias_kv: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.bias_k, self.bias_v = (nn.Parameter(torch.zeros(1, 1, width)) if bias_kv else None for _ in "kv")
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:  # [batch, tokens, width]
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [batch, heads, tokens, width / heads]
        if self.bias_k is not None and self.bias_v is not None:
            one = (1, self.heads, 1, width // self.heads)
            k = torch.cat([k, self.bias_k.view(one).expand(batch, -1, -1, -1)], 2)
            v = torch.cat([v, self.bias_v.view(one).expand(batch, -1, -1, -1)], 2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm_2(x))))


class Trunk(nn.Module):
    """Blocks and a final norm."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        for block in self.blocks:
            x = block(x, causal)
        return self.norm(x)


def patch_stem(config: TowerConfig, colours: int = 3) -> nn.Module:
    """Pixels [batch, colours, side, side] to a grid [batch, width, side / patch, side / patch]."""
    if config.stem == "patch":
        return nn.Conv2d(colours, config.width, config.patch, config.patch, bias=False)
    halvings = config.patch.bit_length() - 1
    if 1 << halvings != config.patch:
        raise ModelError(f"a convolution stem wants a patch that is a power of two, not {config.patch}")
    layers: list[nn.Module] = []
    channels = colours
    for step in range(halvings):
        wider = config.width >> (halvings - 1 - step)
        layers += [nn.Conv2d(channels, wider, 3, 2, 1), nn.GroupNorm(1, wider), nn.GELU()]
        channels = wider
    return nn.Sequential(*layers, nn.Conv2d(channels, config.width, 1))


class Tower(nn.Module):
    """What all towers share: they are saved as, and opened strictly from, config.json and model.safetensors.

    A tower may stand on another, the model's encoder of the modality `base`; then its folder holds what it adds.
    """

    config_type: ClassVar[type]
    base: ClassVar[str | None] = None
    config: Any

    def own(self) -> nn.Module:
        """The part that is stored in the tower's folder."""
        return self

    def save_pretrained(self, folder: Path) -> None:
        """Writes config.json and model.safetensors."""
        save(self.own(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        base: nn.Module | None = None,
    ) -> Self:
        """Reads what `save_pretrained` wrote, strictly; `base` is the encoder that this one stands on, if it does."""
        config: Any = fill(cls.config_type, read_config(folder / "config.json"), str(folder / "config.json"))
        with torch.device("meta"):
            tower = cls(config) if cls.base is None else cls(config, base)
        load_strict(tower.own(), folder / "model.safetensors", device, dtype)
        return tower.eval()


class ImageTower(Tower):
    """A vision transformer with a class token; `forward` gives patch tokens, `embed` the joint embedding."""

    config_type = TowerConfig

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = patch_stem(config)
        self.class_token = nn.Parameter(torch.randn(1, 1, config.width) * 0.02)
        patches = (config.side // config.patch) ** 2
        self.position_embedding = nn.Parameter(torch.randn(1, 1 + patches, config.width) * 0.02)
        self.trunk = Trunk(config)
        self.head = nn.Linear(config.width, config.joint, bias=False)

    def states(self, pixels: Tensor) -> Tensor:
        """[batch, 3, side, side] to [batch, 1 + patches, width], the class token first."""
        grid = self.stem(pixels).flatten(2).transpose(1, 2)  # [batch, patches, width]
        tokens = torch.cat([self.class_token.expand(len(grid), -1, -1), grid], 1)
        return self.trunk(tokens + self.position_embedding)


class TextTower(Tower):
    """A causal text transformer; the joint embedding is read at the last token of each text, as in CLIP."""

    config_type = TowerConfig

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.position_embedding = nn.Parameter(torch.randn(1, config.length, config.width) * 0.02)
        self.trunk = Trunk(config)
        self.head = nn.Linear(config.width, config.joint, bias=False)

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and their mask [batch, tokens], padded on the right, to unit vectors [batch, joint]."""
        states = self.trunk(self.token_embedding(ids) + self.position_embedding[:, : ids.shape[1]], causal=True)
        last = states[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1]
        return F.normalize(self.head(last), dim=-1)
