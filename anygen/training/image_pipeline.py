"""The parts of nano's image generator before they learn, and the diffusers pipeline that they make."""

from dataclasses import dataclass
from typing import Any

from anygen.error import RequestError

TIMESTEPS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorSizes:
    """Widths of the UNet's levels and of its text encoder; `length` is the condition's number of tokens."""

    channels: tuple[int, ...] = (128, 256)
    layers: int = 1
    heads: int = 4
    text_width: int = 128
    text_depth: int = 3
    length: int = 32


def build_unet(latents: int, grid: int, sizes: GeneratorSizes) -> Any:
    """A `UNet2DConditionModel` with cross-attention on every level."""
    from diffusers import UNet2DConditionModel

    depth = len(sizes.channels)
    return UNet2DConditionModel(
        sample_size=grid,
        in_channels=latents,
        out_channels=latents,
        block_out_channels=sizes.channels,
        layers_per_block=sizes.layers,
        down_block_types=("CrossAttnDownBlock2D",) * depth,
        up_block_types=("CrossAttnUpBlock2D",) * depth,
        cross_attention_dim=sizes.text_width,
        attention_head_dim=sizes.heads,  # diffusers reads this as the number of heads
        norm_num_groups=16,
        use_linear_projection=True,
    )


def build_text_encoder(vocabulary: int, sizes: GeneratorSizes, end: int, pad: int) -> Any:
    """A `T5EncoderModel` of the generator's own: every token sees the whole text, as a thing's name must its place."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=sizes.text_width,
            d_kv=sizes.text_width // 4,
            d_ff=4 * sizes.text_width,
            num_layers=sizes.text_depth,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gelu",
            eos_token_id=end,
            pad_token_id=pad,
        )
    )


def build_adapter(latents: int, sizes: GeneratorSizes, kind: str = "full_adapter") -> Any:
    """A `T2IAdapter` (arXiv 2302.08453) that reads the latents of a picture to be edited."""
    from diffusers import T2IAdapter

    if kind not in ("full_adapter", "light_adapter"):
        raise RequestError(f"no adapter '{kind}'; there are full_adapter, light_adapter")
    levels = list(sizes.channels)
    return T2IAdapter(in_channels=latents, channels=levels, num_res_blocks=2, downscale_factor=1, adapter_type=kind)


def build_scheduler() -> Any:
    """DPM-Solver++ (2M) on the flow-matching noise schedule sigma = t / 1000."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=TIMESTEPS,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=1.0,
        solver_order=2,
        steps_offset=1,
    )


def build_pipeline(vae: Any, unet: Any, text_encoder: Any, tokenizer: Any, adapter: Any = None) -> Any:
    """The parts as an ordinary `StableDiffusionPipeline`, or with an adapter `StableDiffusionAdapterPipeline`."""
    from diffusers import StableDiffusionAdapterPipeline, StableDiffusionPipeline

    parts = {
        "vae": vae,
        "unet": unet,
        "text_encoder": text_encoder,
        "tokenizer": tokenizer,
        "scheduler": build_scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    pipeline: Any = (
        StableDiffusionPipeline(**parts, image_encoder=None)
        if adapter is None
        else StableDiffusionAdapterPipeline(**parts, adapter=adapter)
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
