"""audiocraft's own models as generators of sounds: AudioGen, which transformers does not have, and MusicGen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from anygen.error import ModelError
from anygen.generators.diffusion import OnStep
from anygen.generators.tokens import Parts, Step, TokenGenerator, TokenOptions, Tokens
from anygen.media import Audio
from anygen.optional import optional

TEXT = "description"  # what audiocraft calls the condition that is a text
FAMILIES = ("AudioGen", "MusicGen")


class AudiocraftGenerator(TokenGenerator):
    """Sounds through an object of `audiocraft.models.AudioGen` or `MusicGen`, which audiocraft itself has opened.

    Conditions are the states of its T5, before its own projection. It has no folder that is opened or written here.
    """

    def __init__(self, model: Any, options: TokenOptions | None = None) -> None:
        language = model.lm
        others = [name for name in language.condition_provider.conditioners if name != TEXT]
        if others or TEXT not in language.condition_provider.conditioners:
            raise ModelError(
                f"{model.name} is told {', '.join((*others, '')) or 'no '}text; a generator is told text alone"
            )
        pattern = language.pattern_provider
        if getattr(pattern, "flatten_first", 1) or getattr(pattern, "empty_initial", 1):
            raise ModelError(f"{model.name} orders its tokens by {type(pattern).__name__}; a delay alone is known")
        self.model = model
        self._text = language.condition_provider.conditioners[TEXT]
        tokens = Tokens(
            vocabulary=language.card,
            delays=tuple(pattern.delays),
            fps=float(model.frame_rate),
            most=int(model.max_duration * model.frame_rate),
        )
        networks = {"decoder": language, "audio_encoder": model.compression_model, "text_encoder": self._text.t5}
        parts = Parts(tokenizer=self._text.t5_tokenizer, networks=networks)
        width = int(self._text.output_proj.in_features)
        super().__init__(parts, tokens, width, int(model.sample_rate), options or TokenOptions())

    @property
    def name(self) -> str:
        return type(self.model).__name__

    def save_pretrained(self, folder: Any) -> None:
        raise ModelError(
            f"{self.name} is audiocraft's: its files stay as audiocraft has them; save the model without it"
        )

    def generate(
        self,
        condition: Tensor,
        seeds: Sequence[int],
        *,
        steps: int = 500,
        guidance: float = 3.0,
        on_step: OnStep | None = None,
    ) -> list[Audio]:
        """As `TokenGenerator.generate`, one row after the other: audiocraft's attention knows no padding, so that rows
        of different lengths would be heard in one another."""
        if len(seeds) == 1 or len(seeds) != len(condition):
            return super().generate(condition, seeds, steps=steps, guidance=guidance, on_step=on_step)
        made: list[Audio] = []
        for row, seed in zip(condition.split(1), seeds, strict=True):

            def report(step: int, of: int, preview: Any, before: int = len(made)) -> None:
                if on_step is not None:
                    on_step(before * of + step, len(seeds) * of, preview)

            made += super().generate(row, [seed], steps=steps, guidance=guidance, on_step=report)
        return made

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        with self._text.autocast:
            states = self._text.t5(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states * attention_mask.unsqueeze(-1).to(states.dtype)

    @contextmanager
    def decoding(self, states: Tensor, mask: Tensor) -> Iterator[Step]:
        rows = int(mask.any(0).nonzero().amax()) + 1 if bool(mask.any()) else 1
        shown = mask[:, :rows].unsqueeze(-1)
        told = self._text.output_proj(states[:, :rows].to(self._text.output_proj.weight)) * shown
        given = {TEXT: (told, mask[:, :rows])}
        with self.model.lm.streaming(), self.model.autocast:
            yield lambda tokens: self.model.lm(tokens, conditions=[], condition_tensors=given)[:, :, -1]

    def decode(self, codes: Tensor) -> Tensor:
        return self.model.compression_model.decode(codes, None)


def open_audiocraft(name: str, device: str | torch.device = "cpu", options: TokenOptions | None = None) -> Any:
    """A generator from a checkpoint that audiocraft knows or has fetched: "facebook/audiogen-medium", or a folder.

    audiocraft opens the checkpoint, which is a pickle: only from sources that you trust. ModelError without audiocraft.
    """
    models = optional("audiocraft.models")
    family = FAMILIES["musicgen" in name.lower()]
    return AudiocraftGenerator(getattr(models, family).get_pretrained(name, device=str(device)), options)
