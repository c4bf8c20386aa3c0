"""The steps of a run that train the video parts, from the finished image parts of the same run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from anygen.training.run import Run


def train_encoder(run: Run, folder: Path) -> bool:
    """Trains what the video encoder adds to the image encoder, and its projector beside it; True when it is done."""
    from anygen.encoders.image import ImageEncoder
    from anygen.encoders.video import VideoTowerConfig
    from anygen.training.assembly import TELLING
    from anygen.training.video_encoder import VideoEncoderStage

    image = ImageEncoder.from_pretrained(run.need("image-encoder") / "part")
    config = VideoTowerConfig(width=image.width, joint=image.config.joint, depth=run.recipe.video_depth)
    projector, table = None, None
    if run.recipe.pool:
        projector = run._resampler("video", config.frames // config.tubelet * config.grid**2, config.width)
        table = load_file(run.need("llm") / "part" / "model.safetensors")["model.embed_tokens.weight"]
    stage = VideoEncoderStage(config, image, run.tokenizer(), projector=projector, table=table)
    if not run._fit(stage, folder, "video-encoder"):
        return False
    stage.encoder.save_pretrained(folder / "part")
    if projector is not None:
        save_file(projector.state_dict(), folder / TELLING)
    return True


def train_generator(run: Run, folder: Path) -> bool:
    """Trains the video generator, and the image generator beside it where they learn together; True when it is done."""
    from anygen.generators.image import ImageGenerator
    from anygen.training.video_generator import VideoGeneratorStage

    r = run.recipe
    stage = VideoGeneratorStage(
        ImageGenerator.from_pretrained(run.need("image-generator") / "part").pipeline,
        heads=r.motion_heads,
        focus=r.focus,
        settled=r.settled,
        given=r.given,
        seen=r.motion_seen,
        whole=r.motion_whole,
        spatial=r.motion_spatial,
        pictures=r.motion_pictures,
        edits=r.edits,
        placed=r.placed,
        aligned=r.aligned,
        sketch_steps=r.motion_sketch,
        stills=r.motion_stills,
        looks_steps=r.motion_looks,
        squares=r.motion_squares,
    )
    if not run._fit(stage, folder, "video-generator"):
        return False
    stage.save(folder / "part")
    if r.motion_pictures:
        stage.save_image(folder / "image")
    return True
