"""The steps of a run that give a model more senses: depth, heat and motion, from the parts for pictures and films.

With a `start` these parts are a finished model's, which then has the new senses as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from anygen.error import RequestError
from anygen.signals import SENSED, SignalTokens

if TYPE_CHECKING:
    from anygen.training.assembly import Assembly
    from anygen.training.run import Run

LIKE = {"depth": "image", "thermal": "image", "imu": "video"}
"""What a sense is like: whose brackets its own begin as, and whose encoder it learns from."""
QUERIES = 12
"""Tokens in which an IMU's projector tells a motion."""


class Teachers(NamedTuple):
    """The finished parts that a sense learns from; `lender` and `text` may be missing."""

    image: Any
    video: Any
    text: Any
    tokenizer: Any
    table: Tensor
    lender: Any


def teachers(run: Assembly) -> Teachers:
    """Encoders, tokenizer, the language model's embeddings and the projector of pictures: the start's, or the run's."""
    from anygen.encoders.image import ImageEncoder
    from anygen.encoders.text import TextEncoder
    from anygen.encoders.video import VideoEncoder

    if run.recipe.start:
        model = run.begun()
        if not isinstance(model.encoders["image"] if "image" in model.encoders else None, ImageEncoder):
            raise RequestError(f"{run.recipe.start} has no image encoder of this package for a sense to learn from")
        found = {name: model.encoders[name] if name in model.encoders else None for name in ("video", "text")}
        table = model.llm.get_input_embeddings().weight.detach().float()
        return Teachers(
            model.encoders["image"],
            found["video"],
            found["text"],
            model.tokenizer,
            table,
            model.input_projectors["image"],
        )
    image = ImageEncoder.from_pretrained(run.need("image-encoder") / "part")
    video = None
    if run.done("video-encoder"):
        video = VideoEncoder.from_pretrained(run.folder("video-encoder") / "part", base=image)
    text = TextEncoder.from_pretrained(run.need("image-encoder") / "text")
    table = load_file(run.need("llm") / "part" / "model.safetensors")["model.embed_tokens.weight"].float()
    return Teachers(image, video, text, run.tokenizer(), table, run._into("image", image))


def borrowed(lender: Any) -> Any:
    """A fresh projector that borrows that of pictures."""
    from anygen.projectors.input import BorrowedConfig, BorrowedProjector

    made = lender.config
    sizes = {"tokens_in": made.tokens_in, "width_in": made.width_in, "width_out": made.width_out}
    projector = BorrowedProjector(BorrowedConfig(lender="image", tokens=lender.tokens, **sizes))
    projector.borrow(lender)
    return projector


def resampler(encoder: Any, width: int) -> Any:
    """A fresh and small projector for the features of motion; `width` is the language model's."""
    from anygen.projectors.input import ResamplerConfig, ResamplerProjector

    sizes = {"tokens_in": encoder.tokens, "width_in": encoder.width, "width_out": width}
    return ResamplerProjector(ResamplerConfig(**sizes, queries=QUERIES, width=64, heads=4, layers=2))


def into(run: Assembly, sense: str, encoder: Any, lender: Any, width: int) -> Any:
    """A sense's input projector, as it told captions while the encoder was trained."""
    from anygen.training.assembly import TELLING

    projector = resampler(encoder, width) if sense == "imu" else borrowed(lender)
    told = run.folder(f"{sense}-encoder") / TELLING
    if told.exists():
        projector.load_state_dict(load_file(told))
    return projector


def train_sense(run: Run, folder: Path, sense: str) -> bool:
    """Trains the encoder of a sense; True when it is done."""
    return train_imu(run, folder) if sense == "imu" else train_relief(run, folder, sense)


def train_relief(run: Run, folder: Path, sense: str) -> bool:
    """Trains the depth or the thermal encoder; True when it is done.

    In a run from nothing its projector learns beside it. With a `start` it is that of pictures, which the encoder is to
    be read by.
    """
    from anygen.encoders.relief import ReliefTowerConfig
    from anygen.training.assembly import TELLING
    from anygen.training.relief_encoder import ReliefEncoderStage

    known = teachers(run)
    its = learning_on(run, sense)
    config = its[0].config if its else ReliefTowerConfig(width=known.image.width, joint=known.image.config.joint)
    projector = borrowed(known.lender)
    stage = ReliefEncoderStage(
        sense,
        config,
        known.image,
        known.tokenizer,
        text=known.text,
        lender=known.lender,
        projector=projector,
        # after a stage 3 what the lender says of a picture is no longer near to words: there it is best left as it is
        table=None if run.recipe.start else known.table,
    )
    if its:
        stage.encoder.load_state_dict(its[0].state_dict())
    if not run._fit(stage, folder, f"{sense}-encoder"):
        return False
    stage.encoder.save_pretrained(folder / "part")
    save_file(projector.state_dict(), folder / TELLING)
    return True


def train_imu(run: Run, folder: Path) -> bool:
    """Trains the IMU encoder, and its projector beside it; True when it is done."""
    from anygen.encoders.imu import ImuEncoder, ImuTowerConfig
    from anygen.training.assembly import TELLING
    from anygen.training.imu_encoder import ImuEncoderStage

    known = teachers(run)
    if known.video is None:
        raise RequestError("imu-encoder learns from films, and there is no video encoder: train it first, or start one")
    its = learning_on(run, "imu")
    config = its[0].config if its else ImuTowerConfig(joint=known.video.config.joint)
    projector = its[1] if its else resampler(ImuEncoder(config), known.table.shape[1])
    stage = ImuEncoderStage(config, known.video, known.tokenizer, projector=projector, table=known.table)
    if its:
        stage.encoder.load_state_dict(its[0].state_dict())
    if not run._fit(stage, folder, "imu-encoder"):
        return False
    stage.encoder.save_pretrained(folder / "part")
    save_file(projector.state_dict(), folder / TELLING)
    return True


def learning_on(run: Run, sense: str) -> tuple[Any, Any] | None:
    """The encoder and the projector that the start has for a sense which learns on; None where it begins anew."""
    from anygen.encoders.imu import ImuEncoder
    from anygen.encoders.relief import ReliefEncoder
    from anygen.projectors.input import BorrowedProjector

    if f"{sense}-encoder" not in run.recipe.onward:
        return None
    model = run.begun()
    if sense not in model.encoders or sense not in model.input_projectors:
        raise RequestError(f"there is no {sense} encoder to learn on: leave {sense}-encoder out of onward")
    encoder, projector = model.encoders[sense], model.input_projectors[sense]
    kind, reader = (ImuEncoder, torch.nn.Module) if sense == "imu" else (ReliefEncoder, BorrowedProjector)
    if not (isinstance(encoder, kind) and isinstance(projector, reader)):
        raise RequestError(
            f"a {type(encoder).__name__} with a {type(projector).__name__} cannot learn on: leave it out of onward"
        )
    return encoder, projector


def equip(model: Any, run: Assembly, senses: Sequence[str]) -> Any:
    """The model with these senses from the run's finished steps. All else that it had stays as it was, to the bit.

    Each sense gets brackets of its own behind all other tokens; they begin as those of what it is like, so that the
    language model reads them as it reads these.
    """
    from anygen.encoders import open_encoder
    from anygen.model import AnyGenModel
    from anygen.training.assembly import PARTS, TELLING

    missing = [sense for sense in senses if sense not in model.encoders]
    onward = [sense for sense in senses if f"{sense}-encoder" in run.recipe.onward]
    trained = [*missing, *(sense for sense in onward if sense not in missing)]
    if not trained:
        return model
    encoders, projectors = dict(model.encoders.items()), dict(model.input_projectors.items())
    for sense in trained:
        place = run.need(f"{sense}-encoder") / "part"
        encoders[sense] = open_encoder(sense, place, base=encoders["image"])
        if sense in missing:
            projectors[sense] = into(run, sense, encoders[sense], projectors["image"], model.width)
        else:
            projectors[sense].load_state_dict(load_file(run.folder(f"{sense}-encoder") / TELLING))
    add_brackets(model.tokenizer, model.llm, missing)
    config = dataclasses.replace(
        model.config,
        signals={**model.config.signals, **dict.fromkeys(missing, 0)},
        encoders={**model.config.encoders, **{sense: f"encoders/{PARTS[sense]}" for sense in missing}},
    )
    outward = dict(model.output_projectors.items())
    return AnyGenModel(
        config, model.tokenizer, model.llm, encoders, projectors, outward, model.generators, folder=model.folder
    )


@torch.no_grad()
def add_brackets(tokenizer: Any, llm: Any, senses: Sequence[str]) -> None:
    """Adds the tokens of these senses behind all others, and rows for them to the LLM's embeddings."""
    from tokenizers import AddedToken

    rows = llm.get_input_embeddings().num_embeddings
    pairs: list[tuple[str, str]] = []
    for sense in (sense for sense in SENSED if sense in senses):
        own, like = SignalTokens(modality=sense, count=0), SignalTokens(modality=LIKE[sense], count=1)
        pairs += [(own.open, like.open), (own.close, like.close), (own.placeholder, like.placeholder)]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name, _ in pairs], special_tokens=True)
    if len(tokenizer) > rows:
        llm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    matrices = [llm.get_input_embeddings().weight]
    head = llm.get_output_embeddings()
    if head is not None and head.weight is not matrices[0]:
        matrices.append(head.weight)
    for name, model_of_it in pairs:
        for matrix in matrices:
            matrix[tokenizer.convert_tokens_to_ids(name)] = matrix[tokenizer.convert_tokens_to_ids(model_of_it)]
