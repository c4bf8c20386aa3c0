"""Sounds from tokens: codebooks that follow one another with a delay, drawn frame by frame, a seed for each sound."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from anygen.error import ModelError, RequestError
from anygen.generators.contract import mask_of
from anygen.generators.diffusion import OnStep, coded
from anygen.media import Audio

LENGTH = 128  # most rows of a condition; Stable Audio's, which has the same text encoder

Step = Callable[[Tensor], Tensor]
"""The next tokens [batch, codebooks, 1] to logits [batch, codebooks, vocabulary] of those that follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenOptions:
    """How long sounds are and what their tokens are drawn from.

    `seconds` None: as many frames as `steps` are asked for. `top_k` is that of audiocraft.
    """

    seconds: float | None = None
    top_k: int = 250
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ModelError(f"a generator's {name} must be above 0, got {value!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """The code of a sound: `codebooks` tokens below `vocabulary` in every frame, `fps` of them in a second.

    Codebook k begins `delays[k]` frames late; `most` frames fit into the model.
    """

    vocabulary: int
    delays: tuple[int, ...]
    fps: float
    most: int

    @property
    def codebooks(self) -> int:
        return len(self.delays)

    @property
    def silence(self) -> int:
        """The token of what has not begun or is over."""
        return self.vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a model of tokens is made of, by the names that plans and training have for its neighbours'."""

    tokenizer: Any  # None: it reads no text
    networks: Mapping[str, nn.Module]

    @property
    def components(self) -> dict[str, Any]:
        return {**self.networks, "tokenizer": self.tokenizer}


class TokenGenerator(ABC):
    """Sounds from conditions [batch, length, width], by a frozen language model of sound tokens.

    A condition is the states of a T5 text encoder, zeros for padding; guidance is against zeros (MusicGen, arXiv
    2306.05284, section 2.1; AudioGen, arXiv 2209.15352). A step is a frame. There is no diffusion loss.
    """

    modality: ClassVar[str] = "audio"
    borrowed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, parts: Parts, tokens: Tokens, width: int, rate: int, options: TokenOptions) -> None:
        self.pipeline, self.tokens, self.width, self.rate, self.options = parts, tokens, width, rate, options
        for module in self.modules():
            module.requires_grad_(False).eval()
        if parts.tokenizer is not None:  # T5's own says what it could read, not what it should be padded to
            parts.tokenizer.model_max_length = min(LENGTH, parts.tokenizer.model_max_length)
        self.length = LENGTH if parts.tokenizer is None else int(parts.tokenizer.model_max_length)
        self._lock = threading.Lock()  # one batch at a time
        if options.seconds is not None:
            self._frames(1)

    @property
    def name(self) -> str:
        """What the model is called in errors."""
        return type(self).__name__.removesuffix("Generator")

    def networks(self) -> dict[str, nn.Module]:
        """The networks of the model, by name."""
        return dict(self.pipeline.networks)

    def modules(self) -> list[nn.Module]:
        """The networks of the model."""
        return list(self.networks().values())

    @property
    def device(self) -> torch.device:
        return next(self.pipeline.networks["decoder"].parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.pipeline.networks["decoder"].parameters()).dtype

    @property
    def moments(self) -> int:
        """Parts of a condition that say the same of different moments: one."""
        return 1

    @property
    def condition_shape(self) -> tuple[int, int]:
        """Length and width of one condition."""
        return self.length, self.width

    def to(self, device: str | torch.device) -> Self:
        """Move every network to `device`."""
        for module in self.modules():
            module.to(device)
        return self

    @property
    def reads(self) -> bool:
        """Whether it has its own text encoder, with a tokenizer."""
        return self.pipeline.tokenizer is not None

    def condition(self, texts: Sequence[str]) -> Tensor:
        """What the model's own text encoder makes of `texts`: [batch, length, width]."""
        return self.tell(**{key: value.to(self.device) for key, value in self.coded(texts).items()})

    def coded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as `tell` takes them, on the CPU."""
        if not self.reads:
            raise ModelError(f"this {self.name} came without its tokenizer: it reads no text")
        return coded(self.pipeline.tokenizer, texts)

    def null_condition(self, batch: int = 1) -> Tensor:
        """The other side of guidance, all zeros: [batch, length, width]."""
        return torch.zeros(batch, *self.condition_shape, device=self.device, dtype=self.dtype)

    def diffusion_loss(self, condition: Tensor, media: Tensor, rng: torch.Generator) -> Tensor:
        raise ModelError(f"{self.name} draws tokens and has no diffusion loss: train on the condition's distance alone")

    @torch.no_grad()
    def generate(
        self,
        condition: Tensor,
        seeds: Sequence[int],
        *,
        steps: int = 500,
        guidance: float = 3.0,
        on_step: OnStep | None = None,
    ) -> list[Audio]:
        """One sound per row of `condition` [batch, length, width], each from its own seed.

        `steps` are frames, unless the options say how many seconds a sound has. `on_step(step, steps, preview)` is
        called after each frame, `step` from 1; `preview()` is what there is so far.
        """
        if len(seeds) != len(condition):
            raise RequestError(f"{len(condition)} conditions need as many seeds, got {len(seeds)}")
        if tuple(condition.shape[1:]) != self.condition_shape:
            raise RequestError(
                f"{self.name} takes conditions of {list(self.condition_shape)}, not {list(condition.shape[1:])}"
            )
        frames = self._frames(steps)
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        states = condition.to(self.device, self.dtype)
        mask = mask_of(states)
        if guidance > 1:
            states, mask = (torch.cat([rows, torch.zeros_like(rows)]) for rows in (states, mask))
        with self._lock, self.decoding(states * mask.unsqueeze(-1), mask) as step:
            codes = self._draw(step, rngs, frames, guidance, on_step)
            waves = self.decode(codes)
        return self._audios(waves, frames)

    def _draw(
        self, step: Step, rngs: list[torch.Generator], frames: int, guidance: float, on_step: OnStep | None
    ) -> Tensor:
        """Tokens [batch, codebooks, frames]: all codebooks in one go, each behind the one before by its delay."""
        delays = torch.tensor(self.tokens.delays)
        late = int(delays.max())
        codes = torch.zeros(len(rngs), len(delays), frames, dtype=torch.long, device=self.device)
        last = torch.full((len(rngs), len(delays), 1), self.tokens.silence, device=self.device)
        for place in range(frames + late):
            logits = step(last if guidance <= 1 else last.repeat(2, 1, 1)).float()
            if guidance > 1:
                given, null = logits.chunk(2)
                logits = null + guidance * (given - null)
            last = drawn(logits, rngs, self.options.top_k, self.options.temperature).unsqueeze(-1)
            at = place - delays  # the frame of each codebook
            there = (at >= 0) & (at < frames)
            codes[:, there, at[there]] = last[:, there, 0]
            last[:, ~there] = self.tokens.silence
            done = place + 1 - late
            if on_step is not None and done > 0:
                on_step(done, frames, partial(self._preview, codes[..., :done], done))
        return codes

    def _preview(self, codes: Tensor, frames: int) -> list[Audio]:
        return self._audios(self.decode(codes), frames)

    def _audios(self, waves: Tensor, frames: int) -> list[Audio]:
        """Waves [batch, channels, samples], cut at the last frame."""
        samples = round(frames / self.tokens.fps * self.rate)
        return [Audio(wave, rate=self.rate) for wave in waves[..., :samples].float().clamp(-1, 1).cpu().numpy()]

    def _frames(self, steps: int) -> int:
        if steps < 1:
            raise RequestError(f"steps={steps}: at least 1 step is needed")
        tokens, seconds = self.tokens, self.options.seconds
        frames = steps if seconds is None else max(1, round(seconds * tokens.fps))
        if frames > tokens.most:
            most = f"{tokens.most} frames, {tokens.most / tokens.fps:g} s"
            asked = f"{steps} steps" if seconds is None else f"seconds={seconds:g}"
            raise RequestError(f"{asked} are {frames} frames of sound, and this {self.name} makes at most {most}")
        return frames

    @abstractmethod
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text encoder's states of tokens [batch, tokens], zeros for padding: [batch, tokens, width]."""

    @abstractmethod
    def decoding(self, states: Tensor, mask: Tensor) -> AbstractContextManager[Step]:
        """What makes tokens under conditions [batch, length, width] whose rows of padding are False in `mask`."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """Tokens [batch, codebooks, frames] to waves [batch, channels, samples]."""


def drawn(logits: Tensor, rngs: Sequence[torch.Generator], top_k: int, temperature: float) -> Tensor:
    """A token each [batch, ...] from logits [batch, ..., vocabulary], among the `top_k` likeliest, one rng per row.

    The largest of logits - log(e), e exponential, is a draw from their softmax (Gumbel 1954): so a row draws the same
    alone and in a batch, on any device, and the global random state is not touched.
    """
    noise = torch.stack([torch.empty(logits.shape[1:]).exponential_(generator=rng) for rng in rngs])
    noise = noise.clamp_min(1e-30).log().to(logits.device)
    if top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return (logits / temperature - noise).argmax(-1)
