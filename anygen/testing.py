"""A tiny random model folder: every part is the real class at toy widths, for tests here and in other people's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from anygen.encoders.audio import AudioEncoder, AudioTowerConfig
from anygen.encoders.depth import DepthEncoder
from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.encoders.imu import ImuEncoder, ImuTowerConfig
from anygen.encoders.relief import ReliefTowerConfig
from anygen.encoders.thermal import ThermalEncoder
from anygen.encoders.video import VideoEncoder, VideoTowerConfig
from anygen.folder import FORMAT, GeneratorConfig, ModelConfig
from anygen.generators.audio import AudioGenerator
from anygen.generators.diffusion import logs
from anygen.generators.image import ImageGenerator
from anygen.generators.video import VideoGenerator
from anygen.model import AnyGenModel
from anygen.projectors.input import BorrowedConfig, BorrowedProjector, MlpConfig, MlpProjector
from anygen.projectors.output import QueryConfig, QueryTransformer
from anygen.signals import SENSED, special_tokens
from anygen.weights import quiet

SIGNALS = {"image": 3, "audio": 2, "video": 4}


def tiny_model(directory: str | Path, seed: int = 0, context: int = 512, media: tuple[str, ...] = ("image",)) -> Path:
    """Write a random model that reads and writes `media` to `directory`, and return it. Pictures are 16 x 16.

    Of `media`, "depth", "thermal" and "imu" are only read.
    """
    senses = [modality for modality in media if modality in SENSED]
    media = tuple(modality for modality in media if modality not in SENSED)
    signals = SIGNALS | dict.fromkeys(senses, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer(signals)
        llm = tiny_llm(len(tokenizer), context)
        parts = {modality: PARTS[modality]() for modality in media if modality in PARTS}
        if "video" in media and "video" not in parts:  # films stand on pictures
            parts["video"] = tiny_video_parts(parts["image"][0], parts["image"][4])
        sensed = {sense: tiny_sense_parts(sense, parts["image"][0]) for sense in senses}  # maps stand on pictures
    config = ModelConfig(
        format=FORMAT,
        name="tiny",
        signals=signals,
        llm="llm",
        encoders={modality: ENCODERS_AT[modality] for modality in (*media, *senses)},
        generators={modality: parts[modality][3] for modality in media},
    )
    sides: Any = [{m: parts[m][i] for m in media} for i in (0, 1, 2, 4)]
    encoders, into, outof, generators = sides
    encoders |= {sense: encoder for sense, (encoder, _) in sensed.items()}
    into |= {sense: projector for sense, (_, projector) in sensed.items()}
    model = AnyGenModel(config, tokenizer, llm, encoders, into, outof, generators)
    return model.save(directory)


def tiny_image_parts() -> tuple[Any, Any, Any, GeneratorConfig, ImageGenerator]:
    """Encoder, projectors, options and generator of pictures."""
    encoder = ImageEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, side=16, patch=4, stem="patch"))
    into = MlpProjector(MlpConfig(tokens_in=16, width_in=16, width_out=32, hidden=32, merge=2))
    outof = QueryTransformer(_query("image", 8, 16))
    generator = ImageGenerator(tiny_pipeline())
    outof.measure(generator.condition(_TEXTS))
    return (
        encoder,
        into,
        outof,
        GeneratorConfig(path="generators/image", steps=2, guidance=2.0, edit_strength=0.6),
        generator,
    )


def tiny_audio_parts() -> tuple[Any, Any, Any, GeneratorConfig, AudioGenerator]:
    """Encoder, projectors, options and generator of sounds."""
    encoder = AudioEncoder(AudioTowerConfig(width=16, depth=1, heads=2, joint=8, patch=16))
    into = MlpProjector(MlpConfig(tokens_in=16, width_in=16, width_out=32, hidden=32, run=4))
    outof = QueryTransformer(_query("audio", 1, 16))
    generator = AudioGenerator(tiny_audio_pipeline())
    outof.measure(generator.condition(_TEXTS))
    options = GeneratorConfig(path="generators/audio", steps=2, guidance=2.0)
    return encoder, into, outof, options, generator


def tiny_sense_parts(sense: str, image: ImageEncoder) -> tuple[Any, Any]:
    """Encoder and projector of "depth", "thermal" or "imu"."""
    if sense == "imu":
        encoder = ImuEncoder(ImuTowerConfig(width=16, depth=1, heads=2, joint=8, patch=40))
        return encoder, MlpProjector(MlpConfig(tokens_in=4, width_in=16, width_out=32, hidden=32, run=2))
    kind = DepthEncoder if sense == "depth" else ThermalEncoder
    sizes = {"tokens_in": 16, "width_in": 16, "width_out": 32}
    config = ReliefTowerConfig(width=16, joint=8, bottleneck=4)
    return kind(config, image), BorrowedProjector(BorrowedConfig(lender="image", tokens=4, **sizes))


def tiny_video_parts(
    image: ImageEncoder, lender: ImageGenerator
) -> tuple[Any, Any, Any, GeneratorConfig, VideoGenerator]:
    """Encoder, projectors, options and generator of films of four frames, on the encoder and generator of pictures."""
    encoder = VideoEncoder(VideoTowerConfig(width=16, joint=8, frames=4, tubelet=2, grid=2, depth=1, heads=2), image)
    into = MlpProjector(MlpConfig(tokens_in=8, width_in=16, width_out=32, hidden=32, run=4))
    outof = QueryTransformer(_query("video", 8, 16))
    generator = VideoGenerator(tiny_video_pipeline(lender.pipeline, frames=4))
    generator.borrowed = ("unet", "vae")
    outof.measure(generator.condition(_TEXTS))
    options = GeneratorConfig(path="generators/video", steps=2, guidance=2.0, edit_strength=1.0, base="image")
    return encoder, into, outof, options, generator


PARTS: dict[str, Callable[[], tuple[Any, Any, Any, GeneratorConfig, Any]]] = {
    "image": tiny_image_parts,
    "audio": tiny_audio_parts,
}
ENCODERS_AT = {"image": "encoders/imagebind", "audio": "encoders/imagebind-audio", "video": "encoders/imagebind-video"}
ENCODERS_AT |= {sense: f"encoders/imagebind-{sense}" for sense in SENSED}
_TEXTS = ["a cat", "a dog", "a red car", "the sea", "two birds", ""]


def _query(modality: str, length: int, width: int) -> QueryConfig:
    return QueryConfig(
        count=SIGNALS[modality],
        width_in=32,
        length=length,
        width_out=width,
        width=16,
        heads=2,
        feedforward=32,
        encoder_layers=1,
        decoder_layers=1,
    )


def tiny_tokenizer(signals: Mapping[str, int] = SIGNALS) -> Any:
    """Bytes as tokens, and all structural tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special_tokens(signals)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<|pad|>",
        bos_token="<|begin|>",
        eos_token="<|end|>",
        clean_up_tokenization_spaces=False,
    )


def tiny_llm(vocabulary: int, context: int = 512) -> Any:
    """A Llama of two layers and width 32, with tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,  # wide enough that a greedy answer varies
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def tiny_pipeline() -> Any:
    """A StableDiffusionPipeline with nano's classes and scheduler: 16 x 16 pixels, condition [8, 16]."""
    with quiet(*logs()):
        from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer, words = tiny_words(8)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    vae = AutoencoderKL(
        latent_channels=4,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    )
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, steps_offset=1)
    with quiet(*logs()):
        return StableDiffusionPipeline(
            unet=unet,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def tiny_video_pipeline(image: Any = None, frames: int = 16) -> Any:
    """An AnimateDiffPipeline around the networks of `image` (default: `tiny_pipeline()`): 16 x 16 pixels, [8, 16]."""
    with quiet(*logs()):
        from diffusers import AnimateDiffPipeline, MotionAdapter, UNetMotionModel

        image = image or tiny_pipeline()
        adapter = MotionAdapter(
            block_out_channels=(4, 8),
            motion_layers_per_block=1,
            motion_mid_block_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=2,
            motion_max_seq_length=frames,
        )
        return AnimateDiffPipeline(
            unet=UNetMotionModel.from_unet2d(image.unet, adapter),
            motion_adapter=None,
            vae=image.vae,
            text_encoder=image.text_encoder,
            tokenizer=image.tokenizer,
            scheduler=image.scheduler,
        )


def tiny_words(length: int) -> tuple[Any, int]:
    """A tokenizer of whole words, and how many it knows; the pad is 0."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *"a the two three cat dog bird birds car sea red blue left right of and".split()]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", model_max_length=length, padding_side="right"
    )
    return tokenizer, len(words)


def tiny_audio_pipeline() -> Any:
    """An AudioLDMPipeline with nano's classes and scheduler: 4 s at 16 kHz, condition [1, 16]."""
    with quiet(*logs()):
        from diffusers import AudioLDMPipeline, AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import ClapTextConfig, ClapTextModelWithProjection, SpeechT5HifiGan, SpeechT5HifiGanConfig

    tokenizer, words = tiny_words(8)
    text_encoder = ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=words,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=18,
            projection_dim=16,
            pad_token_id=0,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=(4, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=(4, 8),
        attention_head_dim=4,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=16,
        class_embeddings_concat=True,
    )
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        block_out_channels=(4, 4, 4, 8),
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=64,
            sampling_rate=16_000,
            upsample_initial_channel=16,
            upsample_rates=[5, 5, 5, 2],
            upsample_kernel_sizes=[11, 11, 11, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1]],
            normalize_before=False,
        )
    )
    for name, weight in vocoder.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(weight, std=0.12)  # audible
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, steps_offset=1)
    with quiet(*logs()):
        return AudioLDMPipeline(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler, vocoder=vocoder
        )
