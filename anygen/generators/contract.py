"""Condition contracts: how one tensor [batch, length, width] becomes what a family of diffusers pipelines is told.

A contract packs what a pipeline's text encoders make into one tensor, which an output projector can learn, and unpacks
it into the pipeline's keywords. The sizes are read from the pipeline's own configuration.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 0.05  # a row that is shorter than this share of the longest is padding
# where a network says how wide the states of a text are; the first that it has
WIDTHS = (
    "caption_channels",
    "joint_attention_dim",
    "text_dim",
    "text_embed_dim",
    "cap_feat_dim",
    "cross_attention_input_dim",
    "cross_attention_dim",
)


class Contract(ABC):
    """What a family of pipelines is told. `length` is the most rows of a text's condition."""

    guided: ClassVar[bool] = True  # against a null condition; else guidance is a number that the network was taught

    def __init__(self, length: int) -> None:
        self.length = length

    def rows(self, pipeline: Any) -> int:
        """Rows that the text encoder makes of a text."""
        network = _network(pipeline)
        fixed = network.config.get("max_text_seq_length")
        tokenizer = getattr(pipeline, "tokenizer", None)
        # T5's tokenizer says what it could read, not what the pipeline was trained on
        longest = getattr(tokenizer, "model_max_length", self.length)
        return int(fixed or min(self.length, longest))

    def shape(self, pipeline: Any) -> tuple[int, int]:
        """Length and width of a condition."""
        return self.rows(pipeline), width_of(pipeline)

    def scale(self, guidance: float) -> float:
        """What the pipeline calls the guidance that is null + guidance * (condition - null), at 1 or less none."""
        return guidance

    @abstractmethod
    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        """What the pipeline's text encoders make of `texts`, packed: [batch, length, width]."""

    @abstractmethod
    def given(self, pipeline: Any, condition: Tensor, prefix: str = "") -> dict[str, Any]:
        """A condition as keywords of the pipeline's call; with the prefix "negative_" those of the other side."""


class Plain(Contract):
    """`prompt_embeds` as they are: Stable Diffusion, AnimateDiff, ZeroScope, Wan, CogVideoX, Flux.2 Klein."""

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        return _encode(pipeline, texts, self.rows(pipeline))[0]

    def given(self, pipeline: Any, condition: Tensor, prefix: str = "") -> dict[str, Any]:
        return {f"{prefix}prompt_embeds": condition}


class Pooled(Contract):
    """`prompt_embeds` and one pooled vector, which is the last row, filled up with zeros: SDXL, SD3.

    SD3's states are those of CLIP and, behind them, those of T5.
    """

    def __init__(self, length: int, behind: int = 0) -> None:
        super().__init__(length + behind)
        self.behind = behind

    def rows(self, pipeline: Any) -> int:
        first = getattr(getattr(pipeline, "tokenizer", None), "model_max_length", self.length)
        return min(self.length - self.behind, int(first)) + self.behind

    def shape(self, pipeline: Any) -> tuple[int, int]:
        return self.rows(pipeline) + 1, width_of(pipeline)

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        states, _, pooled, _ = _encode(pipeline, texts, self.behind or self.rows(pipeline))
        return _with_last(states, pooled)

    def given(self, pipeline: Any, condition: Tensor, prefix: str = "") -> dict[str, Any]:
        pooled = condition[:, -1, : self._pooled(pipeline)]
        return {f"{prefix}prompt_embeds": condition[:, :-1], f"{prefix}pooled_prompt_embeds": pooled}

    def _pooled(self, pipeline: Any) -> int:
        """Width of the pooled vector."""
        network = _network(pipeline)
        if "pooled_projection_dim" in network.config:
            return int(network.config.pooled_projection_dim)
        sizes = 6 * network.config.addition_time_embed_dim  # SDXL says size, crop and target size beside it
        return int(network.config.projection_class_embeddings_input_dim - sizes)


class Distilled(Pooled):
    """The same, of a network that was taught guidance and needs no null condition: Flux.1."""

    guided = False

    def rows(self, pipeline: Any) -> int:
        return self.length

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        states, pooled, _ = _encode(pipeline, texts, self.length)
        return _with_last(states, pooled)


class Masked(Contract):
    """`prompt_embeds` and a mask of what is no padding; padding is rows of zeros: Sana, PixArt, LTX, Stable Audio."""

    def __init__(self, length: int, mask: str = "prompt_attention_mask") -> None:
        super().__init__(length)
        self.mask = mask

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        states, mask, *_ = _encode(pipeline, texts, self.rows(pipeline))
        return states * mask.unsqueeze(-1).to(states.dtype)

    def given(self, pipeline: Any, condition: Tensor, prefix: str = "") -> dict[str, Any]:
        return {f"{prefix}prompt_embeds": condition, f"{prefix}{self.mask}": mask_of(condition).long()}


class Projected(Masked):
    """T5's own states with `attention_mask`, which the pipeline projects: Stable Audio."""

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        tokenizer = pipeline.tokenizer
        coded = tokenizer(
            list(texts), padding="max_length", max_length=self.rows(pipeline), truncation=True, return_tensors="pt"
        ).to(pipeline.device)
        states = pipeline.text_encoder(coded.input_ids, attention_mask=coded.attention_mask)[0]
        return states * coded.attention_mask.unsqueeze(-1)


class Listed(Contract):
    """`prompt_embeds` as a list of texts of different lengths; padding is rows of zeros: Z-Image."""

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        rows = self.rows(pipeline)
        states, _ = _encode(pipeline, texts, rows)
        return torch.stack([F.pad(one, (0, 0, 0, rows - len(one))) for one in states])

    def given(self, pipeline: Any, condition: Tensor, prefix: str = "") -> dict[str, Any]:
        kept = mask_of(condition)
        kept[:, 0] = True  # a text has one row at least
        return {f"{prefix}prompt_embeds": [row[keep] for row, keep in zip(condition, kept, strict=True)]}

    def scale(self, guidance: float) -> float:
        return max(0.0, guidance - 1)  # these count what is added to the condition


class TwoStreams(Contract):
    """GPT-2's states before T5's, the narrower filled up with zeros: AudioLDM2."""

    GENERATED = 8  # states that the language model goes on for

    def shape(self, pipeline: Any) -> tuple[int, int]:
        return self.GENERATED + self.rows(pipeline), max(self._widths(pipeline))

    def tell(self, pipeline: Any, texts: Sequence[str]) -> Tensor:
        states, mask, generated = pipeline.encode_prompt(list(texts), pipeline.device, 1, False)
        states = F.pad(states, (0, 0, 0, self.rows(pipeline) - states.shape[1])) if states.shape[1] else states
        mask = F.pad(mask, (0, self.rows(pipeline) - mask.shape[1]))
        width = max(self._widths(pipeline))
        streams = (generated, states * mask.unsqueeze(-1))
        return torch.cat([F.pad(one, (0, width - one.shape[-1])) for one in streams], 1)

    def given(self, pipeline: Any, condition: Tensor, prefix: str = "") -> dict[str, Any]:
        first, second = self._widths(pipeline)
        states = condition[:, self.GENERATED :, :second]
        return {
            f"{prefix}generated_prompt_embeds": condition[:, : self.GENERATED, :first],
            f"{prefix}prompt_embeds": states,
            f"{prefix}attention_mask": mask_of(states).long(),
        }

    def _widths(self, pipeline: Any) -> tuple[int, int]:
        """Widths of GPT-2's and of T5's states: the streams that a layer of the UNet attends to."""
        streams = [size for size in pipeline.unet.config.cross_attention_dim[0] if size is not None]
        return int(streams[0]), int(streams[1])


# name of the pipeline's class: what it makes, and its contract
CONTRACTS: dict[str, tuple[str, Contract]] = {
    "StableDiffusionXLPipeline": ("image", Pooled(77)),
    "StableDiffusion3Pipeline": ("image", Pooled(77, behind=256)),
    "FluxPipeline": ("image", Distilled(512)),
    "LatentConsistencyModelPipeline": ("image", Plain(77)),
    "SanaPipeline": ("image", Masked(300)),
    "PixArtAlphaPipeline": ("image", Masked(120)),
    "PixArtSigmaPipeline": ("image", Masked(300)),
    "ZImagePipeline": ("image", Listed(512)),
    "Flux2KleinPipeline": ("image", Plain(512)),
    "TextToVideoSDPipeline": ("video", Plain(77)),
    "WanPipeline": ("video", Plain(512)),
    "LTXPipeline": ("video", Masked(128)),
    "CogVideoXPipeline": ("video", Plain(226)),
    "AudioLDM2Pipeline": ("audio", TwoStreams(512)),
    "StableAudioPipeline": ("audio", Projected(128, mask="attention_mask")),
}


def mask_of(condition: Tensor) -> Tensor:
    """Rows that are more than padding: bool [batch, length].

    What a text encoder told has rows of exact zeros for padding; what a projector made of it comes near to that.
    """
    lengths = condition.float().norm(dim=-1)
    return lengths > PADDING * lengths.amax(-1, keepdim=True)


def width_of(pipeline: Any) -> int:
    """Width of the states that the network of a pipeline reads."""
    config = _network(pipeline).config
    for name in WIDTHS:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise KeyError(f"{type(_network(pipeline)).__name__} does not say how wide its text states are")


def _with_last(states: Tensor, pooled: Tensor) -> Tensor:
    """States [batch, rows, width] and a pooled vector, as a last row: [batch, rows + 1, width]."""
    assert pooled.shape[-1] <= states.shape[-1]
    return torch.cat([states, F.pad(pooled, (0, states.shape[-1] - pooled.shape[-1]))[:, None]], 1)


def _network(pipeline: Any) -> Any:
    return pipeline.unet if getattr(pipeline, "unet", None) is not None else pipeline.transformer


def _encode(pipeline: Any, texts: Sequence[str], sequence: int) -> Any:
    """`encode_prompt` without guidance, whichever keywords it has."""
    known = inspect.signature(pipeline.encode_prompt).parameters
    more = {"device": pipeline.device, "do_classifier_free_guidance": False, "max_sequence_length": sequence}
    more |= {"prompt_2": None, "prompt_3": None, "num_images_per_prompt": 1}
    return pipeline.encode_prompt(list(texts), **{key: value for key, value in more.items() if key in known})
