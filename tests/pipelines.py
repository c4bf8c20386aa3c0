"""Diffusers pipelines of others at toy widths with random weights: the real classes, no network needed."""

from collections.abc import Callable
from typing import Any

import torch
from film_pipelines import cogvideo, ltx, wan, zeroscope
from pipeline_parts import DIFFUSION, TWO_D, clip_text, ddim, flow, t5_text, vae
from sound_pipelines import audioldm2, stable_audio
from torch import nn

from anygen.generators.diffusion import logs
from anygen.testing import tiny_words
from anygen.weights import quiet


def sdxl() -> Any:
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        **TWO_D,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12 + 6 * 4,
    )
    tokenizer, words = tiny_words(8)
    return StableDiffusionXLPipeline(
        unet=unet,
        vae=vae(),
        scheduler=ddim(),
        text_encoder=clip_text(6, words, 8),
        text_encoder_2=clip_text(10, words, 8, projected=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        add_watermarker=False,
    )


def sd3() -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    tokenizer, words = tiny_words(8)
    network = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=28,
        pooled_projection_dim=24,
    )
    return StableDiffusion3Pipeline(
        transformer=network,
        vae=vae(shift_factor=0.0609, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=flow(),
        text_encoder=clip_text(12, words, 8, projected=True),
        text_encoder_2=clip_text(14, words, 8, projected=True),
        text_encoder_3=t5_text(28, words),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=tiny_words(256)[0],
    )


def lcm() -> Any:
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler, UNet2DConditionModel

    tokenizer, words = tiny_words(8)
    return LatentConsistencyModelPipeline(
        unet=UNet2DConditionModel(**TWO_D, time_cond_proj_dim=16),
        vae=vae(),
        scheduler=LCMScheduler(**DIFFUSION),
        text_encoder=clip_text(16, words, 8),
        tokenizer=tokenizer,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sana() -> Any:
    from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel

    network = SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        num_cross_attention_heads=2,
        cross_attention_head_dim=4,
        cross_attention_dim=8,
        caption_channels=12,
        sample_size=32,
    )
    blocks, widths, attend = ("ResBlock", "EfficientViTBlock"), (8, 8), ((), (5,))
    autoencoder = AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_qkv_multiscales=attend,
        decoder_qkv_multiscales=attend,
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    return SanaPipeline(
        transformer=network, vae=autoencoder, scheduler=flow(shift=3.0), text_encoder=None, tokenizer=None
    )


def flux() -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    clip_tokenizer, words = tiny_words(8)
    network = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=12,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        transformer=network,
        vae=vae(shift_factor=0.1159, scaling_factor=0.3611, use_quant_conv=False, use_post_quant_conv=False),
        scheduler=flow(),
        text_encoder=clip_text(12, words, 8),
        tokenizer=clip_tokenizer,
        text_encoder_2=t5_text(16, words),
        tokenizer_2=tiny_words(512)[0],
    )


def pixart(alpha: bool = False) -> Any:
    from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel

    tokenizer, words = tiny_words(120 if alpha else 300)
    network = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=12,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        use_additional_conditions=False,
    )
    return (PixArtAlphaPipeline if alpha else PixArtSigmaPipeline)(
        transformer=network, vae=vae(), scheduler=ddim(), text_encoder=t5_text(12, words), tokenizer=tokenizer
    )


def zimage() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    network = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        norm_eps=1e-5,
        qk_norm=True,
        cap_feat_dim=12,
        rope_theta=256.0,
        t_scale=1000.0,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 32, 32],
    )
    autoencoder = vae(latents=16, scaling_factor=0.3611, shift_factor=0.1159)
    return ZImagePipeline(transformer=network, vae=autoencoder, scheduler=flow(), text_encoder=None, tokenizer=None)


def klein() -> Any:
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Transformer2DModel

    network = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        timestep_guidance_channels=32,
        axes_dims_rope=[4, 4, 4, 4],
        guidance_embeds=False,
    )
    autoencoder = AutoencoderKLFlux2(
        sample_size=32,
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(4,),
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return Flux2KleinPipeline(
        transformer=network, vae=autoencoder, scheduler=flow(), text_encoder=None, tokenizer=None, is_distilled=False
    )


# what makes it, what it makes, its condition's shape, and sizes that keep it small
PIPELINES: dict[str, tuple[Callable[[], Any], str, tuple[int, int], dict[str, Any]]] = {
    "sdxl": (sdxl, "image", (9, 16), {}),
    "sd3": (sd3, "image", (8 + 256 + 1, 28), {}),
    "lcm": (lcm, "image", (8, 16), {}),
    "sana": (sana, "image", (300, 12), {"height": 32, "width": 32}),
    "pixart": (pixart, "image", (300, 12), {"height": 16, "width": 16}),
    "pixart-alpha": (lambda: pixart(alpha=True), "image", (120, 12), {"height": 16, "width": 16}),
    "flux": (flux, "image", (513, 16), {"height": 16, "width": 16}),
    "zimage": (zimage, "image", (512, 12), {"height": 32, "width": 32}),
    "klein": (klein, "image", (512, 12), {"height": 8, "width": 8}),
    "zeroscope": (zeroscope, "video", (8, 16), {"height": 16, "width": 16, "frames": 4}),
    "wan": (wan, "video", (512, 12), {"height": 16, "width": 16, "frames": 5, "fps": 16}),
    "ltx": (ltx, "video", (128, 12), {"height": 32, "width": 32, "frames": 9}),
    "cogvideo": (cogvideo, "video", (16, 12), {"height": 16, "width": 16, "frames": 8}),
    "audioldm2": (audioldm2, "audio", (520, 16), {"seconds": 0.032}),
    "stable_audio": (stable_audio, "audio", (16, 8), {"seconds": 0.005}),
}


def pipeline(name: str) -> Any:
    """One of them, with weights that let its condition through."""
    with quiet(*logs()), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = PIPELINES[name][0]()
        for part in made.components.values():
            if isinstance(part, nn.Module):
                part.eval()
                for weight in part.parameters():
                    if weight.ndim > 1 and float(weight.detach().abs().max()) == 0:
                        nn.init.normal_(weight, std=0.1)  # what starts at zero would shut the text out
                    elif not torch.isfinite(weight).all():
                        nn.init.ones_(weight)
    return made
