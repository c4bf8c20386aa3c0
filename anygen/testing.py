"""A tiny random model folder: every part is the real class at toy widths, for tests here and in other people's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from anygen.encoders.image import ImageEncoder
from anygen.encoders.imagebind import TowerConfig
from anygen.folder import FORMAT, GeneratorConfig, ModelConfig
from anygen.generators.image import ImageGenerator, logs
from anygen.model import AnyGenModel
from anygen.projectors import MlpConfig, MlpProjector, QueryConfig, QueryTransformer
from anygen.signals import special_tokens
from anygen.weights import quiet

SIGNALS = {"image": 3, "audio": 2, "video": 4}


def tiny_model(directory: str | Path, seed: int = 0, context: int = 512) -> Path:
    """Write a random model that reads and writes images to `directory`, and return it. Pictures are 16 x 16."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer()
        llm = tiny_llm(len(tokenizer), context)
        encoder = ImageEncoder(TowerConfig(width=16, depth=1, heads=2, joint=8, side=16, patch=4, stem="patch"))
        into = MlpProjector(MlpConfig(tokens_in=16, width_in=16, width_out=32, hidden=32, merge=2))
        outof = QueryTransformer(
            QueryConfig(
                count=SIGNALS["image"],
                width_in=32,
                length=8,
                width_out=16,
                width=16,
                heads=2,
                feedforward=32,
                encoder_layers=1,
                decoder_layers=1,
            )
        )
        generator = ImageGenerator(tiny_pipeline())
        outof.measure(generator.condition(["a cat", "a dog", "a red car", "the sea", "two birds", ""]))
    config = ModelConfig(
        format=FORMAT,
        name="tiny",
        signals=SIGNALS,
        llm="llm",
        encoders={"image": "encoders/imagebind"},
        generators={"image": GeneratorConfig(path="generators/image", steps=2, guidance=2.0, edit_strength=0.6)},
    )
    model = AnyGenModel(
        config, tokenizer, llm, {"image": encoder}, {"image": into}, {"image": outof}, {"image": generator}
    )
    return model.save(directory)


def tiny_tokenizer() -> Any:
    """Bytes as tokens, and all structural tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special_tokens(SIGNALS)])
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
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", *"a the two three cat dog bird birds car sea red blue left right of and".split()]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", model_max_length=8, padding_side="right"
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
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
