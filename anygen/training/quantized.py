"""QLoRA (arXiv 2305.14314): a frozen language model in four bits, while an adapter and projectors learn around it."""

from typing import Any

from torch import nn

from anygen.error import RequestError

KINDS = ("nf4",)


def quantize(llm: Any, kind: str) -> None:
    """Every matrix of the LLM's blocks in 4-bit NormalFloat, in place; embeddings and the head stay as they are.

    They are quantised when they are next moved to a device, the one that they are on included. Gradients flow through
    them, none to them; peft puts LoRA layers on top of them. RequestError without bitsandbytes, or for another `kind`.
    """
    if kind not in KINDS:
        raise RequestError(f"quantize={kind!r}: there is {', '.join(KINDS)}; leave it empty for full precision")
    try:
        import bitsandbytes
    except ImportError as error:
        raise RequestError(
            "quantize=nf4 needs bitsandbytes: pip install 'anygen[qlora]', or leave quantize empty"
        ) from error
    import torch

    head = llm.get_output_embeddings()
    for path, linear in list(llm.named_modules()):
        if type(linear) is not nn.Linear or linear is head:
            continue
        usual = torch.bfloat16 if linear.weight.is_cuda else torch.float32
        small = bitsandbytes.nn.Linear4bit(
            linear.in_features, linear.out_features, linear.bias is not None, compute_dtype=usual, device="meta"
        )
        small.weight = bitsandbytes.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type=kind)
        small.bias = linear.bias
        parent, _, name = path.rpartition(".")
        setattr(llm.get_submodule(parent), name, small)
    llm.is_loaded_in_4bit = True  # peft chooses its layers by this


def learned(stage: nn.Module, plain: nn.Module) -> None:
    """Copies what a stage on a quantised model has learnt into the same stage on the model at full precision."""
    import torch

    found = {name: p for name, p in stage.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(found[name])
