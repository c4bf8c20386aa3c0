"""Diffusers pipelines of sounds at toy widths."""

from typing import Any

from pipeline_parts import BLOCKS, ddim, t5_text, vae

from anygen.testing import tiny_words


def audioldm2() -> Any:
    from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        GPT2Config,
        GPT2LMHeadModel,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    unet = AudioLDM2UNet2DConditionModel(
        **BLOCKS | {"block_out_channels": (8, 16), "norm_num_groups": 8},
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=((None, 8, 16), (None, 8, 16)),
    )
    small = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8, "intermediate_size": 8}
    text = {**small, "vocab_size": 32, "pad_token_id": 1, "projection_dim": 8}
    hearing = {
        "spec_size": 8,
        "window_size": 4,
        "num_mel_bins": 8,
        "depths": [1, 1],
        "num_attention_heads": [1, 1],
        "hidden_size": 16,
        "patch_embeds_hidden_size": 8,
        "projection_dim": 8,
        "patch_size": 2,
        "patch_stride": 2,
        "num_classes": 2,
    }
    language = GPT2LMHeadModel(
        GPT2Config(n_embd=8, n_head=1, n_layer=1, vocab_size=32, n_positions=64, bos_token_id=0, eos_token_id=0)
    )
    vocoder = SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8,
            sampling_rate=16_000,
            upsample_initial_channel=8,
            upsample_rates=[2, 2],
            upsample_kernel_sizes=[4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
        )
    )
    return AudioLDM2Pipeline(
        vae=vae(1),
        text_encoder=ClapModel(ClapConfig(text_config=text, audio_config=hearing, projection_dim=16)),
        text_encoder_2=t5_text(16, 32),
        projection_model=AudioLDM2ProjectionModel(16, 16, 8),
        language_model=language,
        tokenizer=None,
        tokenizer_2=None,
        feature_extractor=ClapFeatureExtractor(feature_size=8, frequency_min=1000, frequency_max=8000),
        unet=unet,
        scheduler=ddim(),
        vocoder=vocoder,
    )


def stable_audio() -> Any:
    from diffusers import (
        AutoencoderOobleck,
        EDMDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )

    tokenizer, words = tiny_words(16)
    network = StableAudioDiTModel(
        sample_size=4,
        in_channels=3,
        out_channels=3,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        num_key_value_attention_heads=2,
        cross_attention_dim=8,
        cross_attention_input_dim=8,
        time_proj_dim=8,
        global_states_input_dim=16,
    )
    autoencoder = AutoencoderOobleck(
        encoder_hidden_size=6,
        downsampling_ratios=[1, 2],
        decoder_channels=3,
        decoder_input_channels=3,
        audio_channels=2,
        channel_multiples=[2, 4],
        sampling_rate=1000,
    )
    return StableAudioPipeline(
        vae=autoencoder,
        text_encoder=t5_text(8, words),
        projection_model=StableAudioProjectionModel(text_encoder_dim=8, conditioning_dim=8, min_value=0, max_value=32),
        tokenizer=tokenizer,
        transformer=network,
        scheduler=EDMDPMSolverMultistepScheduler(prediction_type="v_prediction", sigma_schedule="exponential"),
    )
