"""MusicGen through transformers, and what has its layout: a folder of `MusicgenForConditionalGeneration`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from anygen.error import ModelError
from anygen.generators.diffusion import logs
from anygen.generators.tokens import Parts, Step, TokenGenerator, TokenOptions, Tokens
from anygen.weights import check_files, quiet, read_config

CLASS = "MusicgenForConditionalGeneration"
NETWORKS = ("text_encoder", "audio_encoder", "decoder")


class MusicgenGenerator(TokenGenerator):
    """Sounds from the states of the model's T5, before its own projection to the decoder's width.

    Lengths, widths and rates are those of its config: of T5, of the decoder, and of EnCodec.
    """

    def __init__(self, model: Any, tokenizer: Any = None, options: TokenOptions | None = None) -> None:
        decoder, codec = model.config.decoder, model.config.audio_encoder
        channels = int(decoder.audio_channels)
        # left and right take turns, and begin together
        delays = tuple(book // channels for book in range(decoder.num_codebooks))
        tokens = Tokens(
            vocabulary=decoder.vocab_size,
            delays=delays,
            fps=codec.sampling_rate / codec.hop_length,
            most=decoder.max_position_embeddings - max(delays),
        )
        self.model, self.channels = model, channels
        networks = {name: getattr(model, name) for name in NETWORKS}
        if (bridge := getattr(model, "enc_to_dec_proj", None)) is not None:
            networks["enc_to_dec_proj"] = bridge
        width = int(model.config.text_encoder.hidden_size)
        parts = Parts(tokenizer=tokenizer, networks=networks)
        super().__init__(parts, tokens, width, codec.sampling_rate, options or TokenOptions())

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        options: TokenOptions | None = None,
    ) -> Self:
        """Open a transformers folder strictly; `dtype` None is float32 on a CPU and the folder's own elsewhere.

        Without a tokenizer in the folder it makes sounds from conditions, and reads no text.
        """
        from transformers import AutoTokenizer, MusicgenForConditionalGeneration

        folder, device = Path(folder), torch.device(device)
        check_files(folder)
        wanted: Any = dtype or (torch.float32 if device.type == "cpu" else "auto")
        try:
            # opening must not draw from the global random state, whatever a library initialises
            with quiet(*logs()), torch.random.fork_rng(devices=[]):
                opened: Any = MusicgenForConditionalGeneration.from_pretrained(
                    folder,
                    dtype=wanted,
                    local_files_only=True,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # reported below, with both shapes
                    output_loading_info=True,
                )
                spelt = any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model"))
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True) if spelt else None
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{folder} does not open as a {CLASS}: {str(error).splitlines()[0]}") from error
        model, found = opened
        _complain(model, found, folder)
        return cls(model.to(device), tokenizer, options)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the transformers folder, with its tokenizer, and with what its processor says of sounds."""
        from transformers import EncodecFeatureExtractor

        with quiet(*logs()):
            self.model.save_pretrained(folder)
            heard = EncodecFeatureExtractor(feature_size=self.channels, sampling_rate=self.rate, padding_side="left")
            heard.save_pretrained(folder)
            if self.pipeline.tokenizer is not None:
                self.pipeline.tokenizer.save_pretrained(folder)
        file = Path(folder) / "config.json"
        values = json.loads(file.read_text(encoding="utf-8"))
        for part in (values, *(values[name] for name in NETWORKS)):  # where it was loaded from: a path of this machine
            part.pop("_name_or_path", None)
        file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @torch.no_grad()
    def tell(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.model.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states * attention_mask.unsqueeze(-1).to(states.dtype)

    @contextmanager
    def decoding(self, states: Tensor, mask: Tensor) -> Iterator[Step]:
        from transformers.modeling_outputs import BaseModelOutput

        given, cache = BaseModelOutput(last_hidden_state=states), None

        def step(tokens: Tensor) -> Tensor:
            nonlocal cache
            out = self.model(
                encoder_outputs=given,
                attention_mask=mask.long(),
                decoder_input_ids=tokens.flatten(0, 1),
                past_key_values=cache,
                use_cache=True,
            )
            cache = out.past_key_values
            return out.logits[:, -1].unflatten(0, (-1, self.tokens.codebooks))

        yield step

    def decode(self, codes: Tensor) -> Tensor:
        sides = [codes[:, side :: self.channels] for side in range(self.channels)]
        return torch.cat([self.model.audio_encoder.decode(side[None], [None]).audio_values for side in sides], 1)


def musical(folder: Path) -> bool:
    """Whether a folder holds a generator of transformers; ModelError if it holds one of another class, or pickles."""
    if (folder / "model_index.json").is_file() or not folder.is_dir():
        return False
    if (folder / "state_dict.bin").is_file() and (folder / "compression_state_dict.bin").is_file():
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} holds audiocraft's pickles, which are not opened here: let audiocraft open them, and put "
                "its model into a model's `generators` (docs/optional.md), or convert it to MusicGen's layout"
            )
    if not (folder / "config.json").is_file():
        return False
    values = read_config(folder / "config.json")
    named = values.get("architectures") or [values.get("model_type")]
    if named not in ([CLASS], ["musicgen"]):
        raise ModelError(f"{folder} is a {named[0]}: of transformers' models {CLASS} makes media here")
    return True


def _complain(model: nn.Module, found: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError for the first tensor that did not fit."""
    for name, stored, needed in sorted(found["mismatched_keys"]):
        raise ModelError(f"{folder}: tensor {name} is {list(stored)}, the model needs {list(needed)}")
    expected = model.state_dict()
    for name in sorted(found["missing_keys"]):
        raise ModelError(f"{folder}: tensor {name} {list(expected[name].shape)} is missing")
    for name in sorted(found["unexpected_keys"]):
        raise ModelError(f"{folder}: tensor {name} has no place in the model")
