"""A meter for networks without weights: kernels, arithmetic, and the most memory that a pass holds at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Floating-point operations, kernels, and the bytes of activations at their peak."""

    flops: float = 0.0
    kernels: int = 0
    peak_bytes: int = 0


class Memory(TorchDispatchMode):
    """Counts kernels, and the bytes of all storages that are made inside and alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.bytes = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        self.kernels += 1
        for tensor in tree_leaves(out):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if id(storage) in given or storage in self._known:
                continue
            self._known.add(storage)
            size = storage.nbytes()
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._free, size)
        return out

    def _free(self, size: int) -> None:
        self.bytes -= size


class FusedAttention(TorchFunctionMode):
    """Attention as the fused kernels do it, which never hold the matrix of scores; on meta it would be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            q, k, v = (args[i] if i < len(args) else kwargs[name] for i, name in enumerate(("query", "key", "value")))
            if q.is_meta:
                self.flops += 2.0 * prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])
                return q.new_empty(*q.shape[:-1], v.shape[-1])
        return func(*args, **kwargs)


def measure(work: Callable[[], Any]) -> Cost:
    """What `work` costs. On meta tensors nothing is computed and nothing allocated."""
    fused, memory, counter = FusedAttention(), Memory(), FlopCounterMode(display=False)
    with torch.no_grad(), fused, counter, memory:
        kept = work()
    del kept
    return Cost(flops=counter.get_total_flops() + fused.flops, kernels=memory.kernels, peak_bytes=memory.peak)


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


DENOISERS = (
    "UNet2DConditionModel",
    "UNet3DConditionModel",
    "UNetMotionModel",
    "WanTransformer3DModel",
    "StableAudioDiTModel",
    "Flux2Transformer2DModel",
    "ZImageTransformer2DModel",
    "MusicgenForCausalLM",
)


def forward(name: str, network: nn.Module, run: Mapping[str, Any], batch: int) -> Callable[[], Any]:
    """One step of the denoiser `name`, a class of `DENOISERS`, for `batch` conditions, on meta.

    `run` holds the shape of one latent and of one condition [length, width].
    """
    net: Any = network
    dtype = next(network.parameters()).dtype
    if name == "MusicgenForCausalLM":
        return lambda: _frame(net, run, batch, dtype)
    latents = empty(batch, *run["latents"], dtype=dtype)
    length, width = run["condition"]
    condition = empty(batch, length, width, dtype=dtype)
    times = empty(batch, dtype=dtype)
    given: dict[str, Any] = {"encoder_hidden_states": condition}
    match name:
        case "UNet2DConditionModel" if net.config.class_embed_type:
            given = {"encoder_hidden_states": None, "class_labels": condition[:, 0]}
        case "UNetMotionModel":  # every frame reads the same text
            given = {"encoder_hidden_states": condition.repeat_interleave(run["latents"][1], 0)}
        case "StableAudioDiTModel":
            places, head = run["latents"][1] + 1, net.config.attention_head_dim // 2
            given |= {
                "global_hidden_states": empty(batch, 1, net.config.global_states_input_dim, dtype=dtype),
                "rotary_embedding": (empty(places, head, dtype=dtype), empty(places, head, dtype=dtype)),
            }
        case "Flux2Transformer2DModel":  # latents are a row of patches
            latents = latents.flatten(2).transpose(1, 2).contiguous()
            given |= {
                "img_ids": empty(latents.shape[1], 4, dtype=torch.float32),
                "txt_ids": empty(length, 4, dtype=torch.float32),
                "guidance": None,
            }
        case "ZImageTransformer2DModel":  # a list, each picture of one frame
            apart = [latent.unsqueeze(1) for latent in latents]
            return lambda: net(apart, times, list(condition), return_dict=False)
    return lambda: (
        net(hidden_states=latents, timestep=times, **given, return_dict=False)
        if name.endswith(("Transformer3DModel", "Transformer2DModel"))
        else net(latents, times, **given, return_dict=False)
    )


def _frame(net: Any, run: Mapping[str, Any], batch: int, dtype: torch.dtype) -> Any:
    """One frame of a language model of sound tokens, the last: it holds keys and values of all that were before."""
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    config = net.config
    head = config.hidden_size // config.num_attention_heads
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    for layer in range(config.num_hidden_layers):
        for side, length in (
            (cache.self_attention_cache, max(1, run["latents"][-1] - 1)),
            (cache.cross_attention_cache, run["condition"][0]),
        ):
            keys, values = (empty(batch, config.num_attention_heads, length, head, dtype=dtype) for _ in range(2))
            side.update(keys, values, layer)
        cache.is_updated[layer] = True
    tokens = empty(batch * config.num_codebooks, 1, dtype=torch.long)
    condition = empty(batch, run["condition"][0], config.hidden_size, dtype=dtype)
    return net(tokens, encoder_hidden_states=condition, past_key_values=cache, use_cache=True), cache


def decode(name: str, network: nn.Module, run: Mapping[str, Any]) -> Callable[[], Any]:
    """The decoder of the autoencoder `name` (its class) for one latent, on meta."""
    net: Any = network
    if name == "EncodecModel":  # left and right are decoded alone
        codes = empty(1, *run["latents"], dtype=torch.long)
        _measured(net)
        return lambda: net.decode(codes, [None])
    latent = empty(1, *run["latents"], dtype=next(network.parameters()).dtype)
    if name == "AutoencoderKL" and len(run["latents"]) == 4:  # frames are decoded as pictures
        latent = latent[0].transpose(0, 1)
    if name == "AutoencoderKLFlux2":  # latents are packed, two by two
        latent = empty(1, run["latents"][0] // 4, 2 * run["latents"][1], 2 * run["latents"][2], dtype=latent.dtype)
    return lambda: net.decode(latent, return_dict=False)


def _measured(codec: nn.Module) -> None:
    """EnCodec's convolutions keep their sizes as tensors, which they look at: on meta there is nothing to see."""
    for module in codec.modules():
        if hasattr(module, "padding_total"):
            conv: Any = module.conv
            size, stride = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1, conv.stride[0]
            for name, value in (("kernel_size", size), ("stride", stride), ("padding_total", size - stride)):
                setattr(module, name, torch.tensor(value))
