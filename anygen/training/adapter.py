"""LoRA adapters for networks that are no language models: all their matrices, and their convolutions."""

from typing import Any

from torch import nn


def lora(network: nn.Module, rank: int) -> Any:
    """A network with a fresh LoRA adapter (arXiv 2106.09685) on every matrix and 3 x 3 convolution; all else is frozen.

    Convolutions of less than `rank` channels, at a UNet's ends, are frozen as they are. Not all that a network learns
    of a new look is attention.
    """
    from peft import LoraConfig, get_peft_model

    network.requires_grad_(False)
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and min(module.in_channels, module.out_channels) >= rank)
    ]
    wrapped: Any = network  # peft takes any module, though it says that it wants a transformers model
    return get_peft_model(wrapped, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=found))
