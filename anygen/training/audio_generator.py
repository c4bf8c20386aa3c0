"""nano's audio generator: latent flow matching over log-mels, kept as a plain diffusers AudioLDM pipeline."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anygen.mel import BINS, FRAMES, HOP
from anygen.playground.clip import KIND_WEIGHTS, KINDS, Clip, sample_clip, settle
from anygen.playground.hearing import sound_caption, sound_paraphrase
from anygen.playground.mixer import Mixer
from anygen.playground.slots import clip_slots
from anygen.playground.sound import SOUNDS
from anygen.training.audio_vae import mel_sheet, to_mel
from anygen.training.image_generator import noise_levels
from anygen.training.image_pipeline import TIMESTEPS, build_scheduler
from anygen.training.loop import Batch
from anygen.training.tokenizer import caption_tokenizer

GRID = 8 * HOP
"""Samples of one latent's frames: clips that begin on this grid look alike in latents."""

_HOW = ("a", "two", "three", "four", "to", "then", "and", "slow", "fast", "r", "f", "near", "far", ".")
_WORDS = {word: index for index, word in enumerate((*_HOW, *(sound.thing for sound in SOUNDS)))}
_SLOTS = 5  # words of `clip_slots` before it says all of it again


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioGeneratorSizes:
    """Widths of the UNet's levels and of its text tower; `condition` is the width of the unit vector between them."""

    channels: tuple[int, ...] = (64, 128, 192)
    layers: int = 1
    heads: int = 4
    text_width: int = 128
    text_depth: int = 3
    length: int = 32
    condition: int = 192


def build_audio_unet(latents: int, frames: int, sizes: AudioGeneratorSizes) -> Any:
    """AudioLDM's `UNet2DConditionModel`: the condition joins the timestep; attention is of the sound to itself."""
    from diffusers import UNet2DConditionModel

    depth = len(sizes.channels)
    return UNet2DConditionModel(
        sample_size=frames,
        in_channels=latents,
        out_channels=latents,
        block_out_channels=sizes.channels,
        layers_per_block=sizes.layers,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (depth - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (depth - 1), "UpBlock2D"),
        cross_attention_dim=sizes.channels,
        attention_head_dim=sizes.heads,  # diffusers reads this as the number of heads
        norm_num_groups=16,
        use_linear_projection=True,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=sizes.condition,
        class_embeddings_concat=True,
        resnet_time_scale_shift="scale_shift",
    )


def build_text_tower(vocabulary: int, sizes: AudioGeneratorSizes, pad: int) -> Any:
    """A `ClapTextModelWithProjection` of the generator's own."""
    from transformers import ClapTextConfig, ClapTextModelWithProjection

    return ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=vocabulary,
            hidden_size=sizes.text_width,
            intermediate_size=4 * sizes.text_width,
            num_hidden_layers=sizes.text_depth,
            num_attention_heads=4,
            # the pipeline pads the empty text to as many tokens as the condition is wide; positions start after the pad
            max_position_embeddings=max(sizes.length, sizes.condition) + pad + 2,
            projection_dim=sizes.condition,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            type_vocab_size=1,
            pad_token_id=pad,
        )
    )


def build_audio_pipeline(vae: Any, text_encoder: Any, tokenizer: Any, unet: Any, vocoder: Any) -> Any:
    """The parts as an ordinary `AudioLDMPipeline`."""
    from diffusers import AudioLDMPipeline

    from anygen.generators.diffusion import logs
    from anygen.weights import quiet

    with quiet(*logs()):
        pipeline: Any = AudioLDMPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=build_scheduler(),
            vocoder=vocoder,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class AudioGeneratorStage(nn.Module):
    """Trains UNet and text tower on captioned clips; autoencoder and vocoder are frozen.

    Where `text_encoder` and `unet` are not given they begin anew, with these `sizes`.

    A second task makes the text tower's vector tell the sound before the UNet can use it: an MLP predicts the clip's
    mean latents from it (`sketch` weighs it; the UNet waits for `sketch_steps` batches). The MLP is not part of the
    pipeline. In a share `settled` of the clips the caption alone says what is heard when (`clip.settle`).
    `tells` weighs a third: of the vector alone, linearly, how it sounds, how fast, how near, and what (`clip_slots`).
    Latents alone teach no more than each caption by heart: the direction of a melody that one thing never plays, or
    which two sounds are heard together, is nowhere in the vector then. Where there is no `sketch` the clips of its
    `sketch_steps` are not rendered, and there are `repeats` times as many. `kinds` weighs the `KINDS` of its clips.
    """

    name = "audio-generator"
    short = True

    def __init__(
        self,
        vae: Any,
        vocoder: Any,
        tokenizer: Any,
        sizes: AudioGeneratorSizes,
        *,
        repeats: int = 2,
        plain: float = 0.7,
        text_steps: int | None = None,
        aligned: bool = True,
        sketch: float = 1.0,
        sketch_steps: int = 0,
        tells: float = 0.0,
        settled: float = 0.0,
        kinds: Sequence[int] = KIND_WEIGHTS,
        text_encoder: Any = None,
        unet: Any = None,
    ) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(False)
        self.vocoder = vocoder.eval().requires_grad_(False)
        self.repeats, self.plain, self.text_steps = repeats, plain, text_steps
        self.sketch_weight, self.sketch_steps, self.tells_weight = sketch, sketch_steps, tells
        self.grid, self.settled, self.kinds = GRID if aligned else None, settled, tuple(kinds)
        self.tokenizer = caption_tokenizer(tokenizer, sizes.length)
        self.text_encoder = text_encoder or build_text_tower(len(tokenizer), sizes, self.tokenizer.pad_token_id)
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.unet = unet or build_audio_unet(vae.config.latent_channels, FRAMES // factor, sizes)
        values = vae.config.latent_channels * (FRAMES // factor) * (BINS // factor)
        self.sketch = nn.Sequential(nn.Linear(sizes.condition, 512), nn.GELU(), nn.Linear(512, values))
        self.tells = nn.Linear(sizes.condition, _SLOTS * len(_WORDS))
        self.mixer = Mixer()

    def to(self, *args: Any, **kwargs: Any) -> "AudioGeneratorStage":
        super().to(*args, **kwargs)
        self.mixer = Mixer(next(self.parameters()).device)
        return self

    def train(self, mode: bool = True) -> "AudioGeneratorStage":
        """Frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval(), self.vocoder.eval()
        return self

    def clip(self, stream: random.Random) -> Clip:
        clip = sample_clip(stream, stream.choices(KINDS, self.kinds)[0], grid=self.grid)
        return settle(clip, self.grid) if stream.random() < self.settled else clip

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        stream = random.Random(f"{seed}|{step}|audio generator")
        unheard = step < self.sketch_steps and not self.sketch_weight
        clips = [self.clip(stream) for _ in range(size if unheard else max(1, size // self.repeats))]
        texts = [sound_caption(c) if stream.random() < self.plain else sound_paraphrase(c, stream) for c in clips]
        named = torch.tensor([stream.random() >= 0.1 for _ in texts])
        texts = [text if kept else "" for text, kept in zip(texts, named.tolist(), strict=True)]
        coded = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        return {
            "orders": self.mixer.orders(clips),
            "ids": coded["input_ids"],
            "mask": coded["attention_mask"],
            "named": named,
            "words": torch.tensor([[_WORDS[slot.said] for slot in clip_slots(clip)[:_SLOTS]] for clip in clips]),
            "step": torch.tensor(step),
        }

    def _latents(self, orders: Tensor) -> Tensor:
        with torch.no_grad():
            mel = to_mel(self.mixer.mix(orders))
            return self.vae.encode(mel).latent_dist.mean.float() * self.vae.config.scaling_factor

    def forward(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        step, named = int(batch["step"]), batch["named"]
        rests = self.text_steps is not None and step >= self.text_steps
        with torch.set_grad_enabled(torch.is_grad_enabled() and not rests):
            told = self.text_encoder(batch["ids"], attention_mask=batch["mask"]).text_embeds
            condition = F.normalize(told.float(), dim=-1)  # [clips, width]
        alone = step < self.sketch_steps and not rests
        losses: dict[str, Tensor] = {}
        if self.tells_weight and not rests:
            losses |= self._telling(condition[named], batch["words"][named])
            if alone and not self.sketch_weight:
                return losses
        latents = self._latents(batch["orders"])
        if self.sketch_weight and not rests:
            sketched = self.sketch(condition).float() - latents.flatten(1)
            losses["sketch"] = self.sketch_weight * sketched[named].square().mean()
            if alone:
                return losses
        latents = latents.repeat(self.repeats, 1, 1, 1)
        condition = condition.repeat(self.repeats, 1)
        noise = torch.randn(latents.shape, generator=rng, device=latents.device)
        sigma = noise_levels(len(latents), rng, latents.device)
        level = sigma.view(-1, 1, 1, 1)
        noisy = (1 - level) * latents + level * noise
        predicted = self.unet(noisy, sigma * TIMESTEPS, encoder_hidden_states=None, class_labels=condition).sample
        return losses | {"flow": (predicted.float() - (noise - latents)).square().mean()}

    def _telling(self, condition: Tensor, words: Tensor) -> dict[str, Tensor]:
        """How well the vectors [clips, width] tell the words [clips, _SLOTS]."""
        # of unit length: each value of it is about one over the root of the width
        told = self.tells(condition * condition.shape[-1] ** 0.5).float().unflatten(-1, (_SLOTS, -1))
        right = (told.argmax(-1) == words).all(1).float().mean()
        return {"tells": self.tells_weight * F.cross_entropy(told.transpose(1, 2), words), "_told": right}

    def pipeline(self) -> Any:
        """The pipeline as it is now; the parts are shared, not copied."""
        return build_audio_pipeline(self.vae, self.text_encoder, self.tokenizer, self.unet, self.vocoder)

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Held-out clips, heard by the audio judge; a sheet of their spectrograms and a wav of the first."""
        import soundfile

        from anygen.evaluation.ear import Ear, sounds_like
        from anygen.mel import log_mel

        stream = random.Random("sounds")
        clips = [sample_clip(stream, split="heldout") for _ in range(48)]
        texts = [sound_caption(clip) for clip in clips]
        waves: list[Tensor] = []
        pipeline = self.pipeline()
        for start in range(0, len(texts), 16):
            rngs = [torch.Generator().manual_seed(start + i) for i in range(16)]
            made = pipeline(
                texts[start : start + 16],
                num_inference_steps=12,
                guidance_scale=2.5,
                generator=rngs,
                negative_prompt=[""] * 16,
                output_type="pt",
            ).audios
            waves += list(made.float().cpu())
        sounds = torch.stack(waves).clamp(-1, 1)
        mel_sheet(log_mel(sounds).transpose(1, 2)[:32], texts[:32]).save(folder / f"{step:07d}.png")
        soundfile.write(str(folder / f"{step:07d}.wav"), sounds[:6].flatten().numpy(), 16_000)
        marks = [sounds_like(heard, clip) for heard, clip in zip(Ear().listen(sounds), clips, strict=True)]
        return {key: sum(mark[key] for mark in marks) / len(marks) for key in ("sounds_right", "pattern_right", "all")}


def sounds_of(
    pipeline: Any, *, settled: float, anew: int = 0, kinds: Sequence[int] = KIND_WEIGHTS
) -> AudioGeneratorStage:
    """The stage on the networks of a trained pipeline: its UNet learns on, and its text tower rests, since output
    projectors tell what that says.

    Or the tower begins `anew`, learns alone for so many batches, and then rests; output projectors must follow.
    """
    length, condition = pipeline.tokenizer.model_max_length, pipeline.unet.config.projection_class_embeddings_input_dim
    stage = AudioGeneratorStage(
        pipeline.vae,
        pipeline.vocoder,
        pipeline.tokenizer,
        AudioGeneratorSizes(length=length, condition=condition),
        text_steps=anew,
        sketch=0.0,
        sketch_steps=anew,
        tells=1.0 if anew else 0.0,
        settled=settled,
        kinds=kinds,
        text_encoder=None if anew else pipeline.text_encoder,
        unet=pipeline.unet,
    )
    if not anew:
        stage.requires_grad_(False)
    stage.unet.requires_grad_(True)
    return stage
