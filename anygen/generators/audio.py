"""The audio generator: AudioLDM's pipeline, a latent diffusion over mel spectrograms with a neural vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from anygen.error import RequestError
from anygen.generators.diffusion import DiffusionGenerator, OnStep
from anygen.media import Audio
from anygen.mel import log_mel


class AudioGenerator(DiffusionGenerator):
    """Sounds from conditions [batch, 1, width], through `AudioLDMPipeline` (arXiv 2301.12503).

    A condition is the unit vector that the pipeline's CLAP text tower would give; it is normalised here.
    """

    modality = "audio"

    @property
    def rate(self) -> int:
        """Samples per second."""
        return int(self.pipeline.vocoder.config.sampling_rate)

    @property
    def samples(self) -> int:
        """Samples of a sound."""
        hop = 1
        for factor in self.pipeline.vocoder.config.upsample_rates:
            hop *= factor
        return int(self.unet.config.sample_size) * self.pipeline.vae_scale_factor * hop

    @torch.no_grad()
    def condition(self, texts: Sequence[str]) -> Tensor:
        """The text tower's unit vectors: [batch, 1, width]."""
        tokenizer = self.pipeline.tokenizer
        coded = tokenizer(
            list(texts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        return self.tell(coded.input_ids, coded.attention_mask)

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The text tower's unit vectors for tokens [batch, tokens]: [batch, 1, width]."""
        told = self.pipeline.text_encoder(input_ids, attention_mask=attention_mask).text_embeds
        return F.normalize(told, dim=-1)[:, None]

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """[batch, channels, frames, bins], noise or flow as the scheduler has it."""
        unit = F.normalize(condition[:, 0], dim=-1)
        return self.unet(noisy, timesteps, encoder_hidden_states=None, class_labels=unit, return_dict=False)[0]

    @torch.no_grad()
    def generate(
        self,
        condition: Tensor,
        seeds: Sequence[int],
        *,
        steps: int = 20,
        guidance: float = 2.5,
        on_step: OnStep | None = None,
    ) -> list[Audio]:
        """One sound per row of `condition` [batch, 1, width], each from its own seed.

        `on_step(step, steps, preview)` is called after each step, `step` from 1; `preview()` decodes what is there.
        """
        self._check(condition, seeds, steps)
        options: dict[str, Any] = {}
        if guidance > 1:
            options["negative_prompt_embeds"] = self.null_condition(len(condition))[:, 0].to(self.dtype)
        if on_step is not None:
            options["callback"] = lambda step, _, latents: on_step(
                step + 1, steps, lambda: self.decode(self._guess(latents))
            )
        with self._lock:
            waves = self.pipeline(
                prompt_embeds=F.normalize(condition[:, 0], dim=-1).to(self.device, self.dtype),
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="pt",
                **options,
            ).audios  # [batch, samples]
        return self._audios(waves)

    @torch.no_grad()
    def encode(self, media: Tensor) -> Tensor:
        """Waveforms [batch, samples], int16 or float in -1..1, to latents in the scale that the network sees."""
        if media.shape[-1] != self.samples:
            raise RequestError(f"the audio generator makes {self.samples} samples, not {media.shape[-1]}")
        vae = self.pipeline.vae
        mel = log_mel(media.to(self.device)).transpose(1, 2)[:, None]  # [batch, 1, frames, bins]
        latents = vae.encode(mel.to(vae.dtype)).latent_dist.mode()
        return (latents * vae.config.scaling_factor).to(self.dtype)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Audio]:
        """Latents to sounds, through the autoencoder and the vocoder."""
        mel = self.pipeline.decode_latents(latents.to(self.pipeline.vae.dtype))
        return self._audios(self.pipeline.mel_spectrogram_to_waveform(mel))

    def _audios(self, waves: Tensor) -> list[Audio]:
        return [Audio(wave, rate=self.rate) for wave in waves.float().clamp(-1, 1).cpu().numpy()]
