"""MusicGen at toy widths with random weights: the real class of transformers, no network needed."""

from typing import Any

import torch

from anygen.generators.diffusion import logs
from anygen.testing import tiny_words
from anygen.weights import quiet

RATE, FPS, BOOKS, VOCABULARY = 1600, 100, 4, 16


def musicgen(channels: int = 1, width: int = 12) -> Any:
    """T5 of width 8, a decoder of `width`, EnCodec of 1600 Hz and 100 frames per second."""
    from transformers import (
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    _, words = tiny_words(8)
    text = T5Config(vocab_size=words, d_model=8, d_ff=8, d_kv=4, num_heads=2, num_layers=1)
    codec = EncodecConfig(
        hidden_size=8,
        num_filters=2,
        codebook_size=VOCABULARY,
        codebook_dim=8,
        upsampling_ratios=[4, 4],
        sampling_rate=RATE,
        target_bandwidths=[1.6],
        num_lstm_layers=1,
        norm_type="weight_norm",
        use_causal_conv=False,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        ffn_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_codebooks=BOOKS * channels,
        audio_channels=channels,
        max_position_embeddings=64,
        pad_token_id=VOCABULARY,
        bos_token_id=VOCABULARY,
    )
    with quiet(*logs()), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
        model = MusicgenForConditionalGeneration(config).eval()
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "audio_encoder" not in name:
                torch.nn.init.normal_(weight, std=0.5)  # wide enough that the text counts
        for layer in model.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_()
    settings = model.generation_config
    settings.pad_token_id = settings.bos_token_id = settings.decoder_start_token_id = VOCABULARY
    return model
