"""The suites about sound that ask no whole request: the ear itself, retrieval, the vocoder, Fréchet audio distance."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anygen.error import ModelError
from anygen.evaluation.case import PLOT, SHOWN, ask, keep, tabulate
from anygen.evaluation.cells import World
from anygen.evaluation.ear import sounds_like
from anygen.evaluation.listening import examine
from anygen.evaluation.metrics import frechet, recall_at_one, share, stft_distance
from anygen.evaluation.sheet import sheet
from anygen.evaluation.sound_cells import tell, text_to_audio
from anygen.media import Audio
from anygen.mel import RATE, griffin_lim, log_mel
from anygen.playground.arrange import one_thing
from anygen.playground.clip import Clip, Player, sample_clip, settle
from anygen.playground.language import sound_caption
from anygen.playground.scene import sample_scene
from anygen.playground.sound import INDEX, SOUNDS
from anygen.playground.word import a

EARS = 1000  # clips on which the ear is measured
QUERIES = 500  # of each retrieval
VOCODED = 200
SAMPLED = 300  # sounds of the model and as many real ones, for the Fréchet distance
BATCH = 16


def ear(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """The ear judged on clips; `engine` is not asked."""
    table, mistakes, speed = examine(limit or EARS, seed, split)
    if folder:
        texts = [f"{sound_caption(clip)} > {tell(heard)}" for _, clip, heard in mistakes]
        (folder / "mistakes.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        _sheet([Audio(wave.numpy(), RATE) for wave, *_ in mistakes], texts, folder / "mistakes.png")
    return {"cells": table, "seconds": {}, "measures": speed}


def _sheet(sounds: Sequence[Audio], captions: Sequence[str], path: Path) -> None:
    if sounds:
        sheet([sound.plot(*PLOT).pixels for sound in sounds[:SHOWN]], captions[:SHOWN]).save(path)


# --- retrieval


def embed(engine: Any, modality: str, values: Sequence[Any]) -> np.ndarray:
    """Texts, pictures or sounds in the joint space of the model's frozen encoders: unit vectors [values, joint]."""
    if modality not in getattr(engine.model, "encoders", {}):
        raise ModelError(f"{engine.name} has no {modality} encoder, so there is nothing to retrieve {modality} with")
    encoder = engine.model.encoders[modality]
    found: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(values), 4 * BATCH):
            chunk = values[start : start + 4 * BATCH]
            if modality == "text":
                found.append(encoder.embed_texts(chunk, engine.model.tokenizer))
            else:
                weight = next(encoder.parameters())
                ready = torch.stack([encoder.prepare(value) for value in chunk])
                found.append(encoder.embed(ready.to(weight.device, weight.dtype)))
    return torch.cat(found).float().cpu().numpy()


def _single_clip(stream: random.Random, split: str) -> Clip:
    return sample_clip(stream, stream.choice(("once", "times", "times", "melody")), split)


def _sounding_scene(stream: random.Random, split: str) -> Any:
    while True:
        scene = sample_scene(stream, "one", split)
        if scene.things[0].thing in INDEX:
            return scene


def retrieval(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """Recall at one over the classes of sounds: a held-out query finds its class among one example of each.

    Sounds as queries are held-out clips of one thing, as a gallery each thing's sound once; pictures as queries are
    held-out scenes of one thing, as a gallery each thing large on a meadow; texts are names ("a dog") and captions
    ("the sound of a dog, once"). Where no sound was trained with its text, both directions between them are emergent.
    """
    encoders = getattr(engine.model, "encoders", {})
    if len({"text", "image", "audio"} & set(encoders)) < 2:
        raise ModelError(f"{engine.name} has no two encoders of one space: {', '.join(encoders) or 'none'}")
    world, n = World(), limit or QUERIES
    stream = random.Random(f"retrieval|{seed}|{split}")
    names = [sound.thing for sound in SOUNDS]
    once = [Player(stream).once(name) for name in names]
    gallery: dict[str, dict[str, Any]] = {"text": {}, "image": {}, "audio": {}}
    queries: dict[str, tuple[Any, list[int]]] = {}
    if "text" in encoders:
        gallery["text"]["name"] = embed(engine, "text", [a(name) for name in names])
        gallery["text"]["caption"] = embed(engine, "text", [sound_caption(clip) for clip in once])
    if "image" in encoders:
        scenes = [one_thing(name, "meadow", stream, size="large") for name in names]
        gallery["image"][""] = embed(engine, "image", [world.draw(scene) for scene in scenes])
        asked = [_sounding_scene(stream, split) for _ in range(n)]
        truth = [INDEX[scene.things[0].thing] for scene in asked]
        queries["image"] = embed(engine, "image", [world.draw(scene) for scene in asked]), truth
    if "audio" in encoders:
        gallery["audio"][""] = embed(engine, "audio", [world.play(clip) for clip in once])
        heard = [_single_clip(stream, split) for _ in range(n)]
        truth = [INDEX[clip.things[0]] for clip in heard]
        queries["audio"] = embed(engine, "audio", [world.play(clip) for clip in heard]), truth
    table: dict[str, dict[str, dict]] = {}
    for modality, (vectors, truth) in queries.items():
        for other, kinds in gallery.items():
            for kind, found in kinds.items() if other != modality else ():
                row = f"recall@1 of {len(names)}" + (f", {kind}" if kind else "")
                table.setdefault(f"{modality}->{other}", {})[row] = share(recall_at_one(vectors, found, truth))
                if other == "text":
                    # the other way: each class's text finds its class among as many galleries as there are queries
                    right = _text_to(found, vectors, truth, stream)
                    table.setdefault(f"text->{modality}", {})[row] = share(right)
    return {"cells": table, "seconds": {}, "measures": {"classes": len(names)}}


def _text_to(texts: np.ndarray, vectors: np.ndarray, truth: Sequence[int], stream: random.Random) -> list[bool]:
    """Each query's text, among one random query of every class that there is, finds the one of its own class."""
    members: dict[int, list[int]] = {}
    for index, name in enumerate(truth):
        members.setdefault(name, []).append(index)
    right = []
    for name in truth:
        shown = {other: stream.choice(indices) for other, indices in members.items()}
        likeness = {other: float(texts[name] @ vectors[index]) for other, index in shown.items()}
        right.append(max(likeness, key=likeness.__getitem__) == name)
    return right


# --- sounds of the model against real ones


def latents(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, dict[str, Any]]:
    """Held-out clips, settled as what is asked for is played, through the generator's autoencoder, its vocoder and
    back: whether the ear hears the same."""
    generator = _audio_generator(engine)
    stream = random.Random(f"latents|{seed}|{split}")
    world = World()
    clips = [settle(sample_clip(stream, None, split)) for _ in range(limit or VOCODED)]
    rows: dict[str, list[bool]] = {"everything still heard": []}
    shown: list[Audio] = []
    for start in range(0, len(clips), BATCH):
        chunk = clips[start : start + BATCH]
        back = generator.decode(generator.encode(world.mixer.render(chunk)))
        waves = torch.from_numpy(np.stack([sound.samples[0] for sound in back]))
        for clip, heard in zip(chunk, world.ear.listen(waves), strict=True):
            same = sounds_like(heard, clip)["all"]
            rows["everything still heard"].append(same)
            rows.setdefault(f"kind: {clip.kind}", []).append(same)
        shown += back
    if folder:
        _sheet(shown, [sound_caption(clip) for clip in clips], folder / "latents.png")
    return {"audio->latents->audio": {name: share(right) for name, right in rows.items()}}


def vocoder(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """Held-out clips through their mel and back, by the model's vocoder and by Griffin-Lim: distance, and the ear."""
    pipeline = _audio_generator(engine).pipeline
    stream = random.Random(f"vocoder|{seed}|{split}")
    world = World()
    clips = [sample_clip(stream, None, split) for _ in range(limit or VOCODED)]

    def neural(mel: Tensor) -> Tensor:
        weight = next(pipeline.vocoder.parameters())
        spoken = pipeline.mel_spectrogram_to_waveform(mel.transpose(1, 2)[:, None].to(weight.device, weight.dtype))
        return torch.as_tensor(spoken).float().cpu()

    ways: dict[str, Callable[[Tensor], Tensor]] = {"vocoder": neural, "Griffin-Lim": griffin_lim}
    distances: dict[str, list[float]] = {name: [] for name in ways}
    right: dict[str, list[bool]] = {name: [] for name in ways}
    shown: list[Audio] = []
    with torch.no_grad():
        for start in range(0, len(clips), BATCH):
            chunk = clips[start : start + BATCH]
            truth = world.mixer.render(chunk).float() / 32768
            mel = log_mel(truth)
            spoken = {name: way(mel).clamp(-1, 1) for name, way in ways.items()}
            for name, waves in spoken.items():
                distances[name] += stft_distance(truth, waves).tolist()
                right[name] += [sounds_like(h, c)["all"] for h, c in zip(world.ear.listen(waves), chunk, strict=True)]
            for row in range(len(chunk)):
                shown += [Audio(truth[row].numpy(), RATE), *(Audio(w[row].numpy(), RATE) for w in spoken.values())]
    if folder:
        names = ("real", *ways)
        _sheet(
            shown,
            [f"{names[i % 3]}: {sound_caption(clips[i // 3])}" for i in range(len(shown))],
            folder / "vocoder.png",
        )
        for index, sound in enumerate(shown[:SHOWN]):
            sound.save(folder / f"{index // 3:03d}-{names[index % 3].lower()}.wav")
    means = {name: float(np.mean(values)) for name, values in distances.items()}
    ratios = [ours / theirs for ours, theirs in zip(*distances.values(), strict=True)]
    measured: dict[str, Any] = {"n": len(clips), "of Griffin-Lim": round(means["vocoder"] / means["Griffin-Lim"], 4)}
    measured["of Griffin-Lim, each clip, 2.5 % to 97.5 %"] = [
        round(float(x), 4) for x in np.percentile(ratios, [2.5, 97.5])
    ]
    table = {"audio->mel->audio": {f"{name}: everything still heard": share(values) for name, values in right.items()}}
    figures = {f"STFT distance, {name}": round(value, 4) for name, value in means.items()}
    return {"cells": table, "seconds": {}, "measures": figures | measured}


def fad(engine: Any, limit: int | None, seed: int, split: str, folder: Path | None) -> dict[str, Any]:
    """Fréchet audio distance of sounds that were asked for from real ones, in the frozen audio encoder's space.

    Beside it the distance between two sets of real clips, which is what it would be for a perfect model.
    """
    _audio_generator(engine)
    n = max(2, limit or SAMPLED)
    stream = random.Random(f"fad|{seed}|{split}")
    world = World()
    source = (case for case in text_to_audio(world, stream, split) if any(isinstance(v, Audio) for v in case.answer))
    cases = [next(source) for _ in range(n)]
    results = ask(engine, cases)
    made = [sound for result in results if result.reply is not None for sound in result.reply.audios[:1]]
    if len(made) < 2:
        raise ModelError(f"{engine.name} answered {len(made)} of {n} requests with a sound: too few for a distance")
    real = [value for case in cases for value in case.answer if isinstance(value, Audio)]
    other = [world.play(sample_clip(stream, None, split)) for _ in range(n)]
    vectors = [embed(engine, "audio", sounds) for sounds in (made, real, other)]
    if folder:
        keep(results, folder)
    measured = {"fad": round(frechet(vectors[0], vectors[1]), 5), "real against real": round(frechet(*vectors[1:]), 5)}
    return {
        "cells": tabulate(results),
        "seconds": {},
        "measures": measured | {"n": len(made), "width": vectors[0].shape[1]},
    }


def _audio_generator(engine: Any) -> Any:
    if "audio" not in engine.writes:
        raise ModelError(f"{engine.name} has no audio generator, so there is no sound of it to measure")
    return engine.model.generator("audio")


SOUND_SUITES: dict[str, Callable[[Any, int | None, int, str, Path | None], dict[str, Any]]] = {
    "retrieval": retrieval,
    "vocoder": vocoder,
    "fad": fad,
}
"""Suites of a model's parts, from (engine, limit, seed, split, folder)."""
