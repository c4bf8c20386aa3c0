"""Retrieval between what was sensed and what it was never trained with: emergent alignment, in the joint space."""

import random
from typing import Any

from anygen.evaluation.cells import World
from anygen.evaluation.metrics import recall_at_one, share
from anygen.evaluation.sound_suites import QUERIES, embed
from anygen.playground.arrange import one_thing
from anygen.playground.film import Director
from anygen.playground.language import film_caption
from anygen.playground.ride import FELT, felt, sample_ride
from anygen.playground.scene import sample_scene
from anygen.playground.things import INDEX, THINGS
from anygen.playground.word import a

Table = dict[str, dict[str, dict]]


def retrieval(engine: Any, limit: int | None, seed: int, split: str) -> Table:
    """Recall at one of held-out queries, for the senses that the model has; an empty table where it has none.

    Maps are scenes of one thing; their gallery is every thing's name ("a dog") and every thing large on a meadow, as a
    picture. The same pictures as queries stand beside them: no map can be expected to do better. Motions are rides,
    their gallery a film of a cat in every motion, and its caption. No map and no motion was ever trained with a text.
    """
    encoders = getattr(engine.model, "encoders", {})
    world, n = World(), limit or QUERIES
    return _maps(engine, encoders, world, n, seed, split) | _rides(engine, encoders, world, n, seed, split)


def _maps(engine: Any, encoders: Any, world: World, n: int, seed: int, split: str) -> Table:
    kinds = [kind for kind in ("depth", "thermal") if kind in encoders]
    if not kinds or "image" not in encoders:
        return {}
    stream = random.Random(f"retrieval of maps|{seed}|{split}")
    names = [thing.name for thing in THINGS]
    gallery = {"image": [world.draw(one_thing(name, "meadow", stream, size="large")) for name in names]}
    found = {"image": embed(engine, "image", gallery["image"])}
    if "text" in encoders:
        found["text"] = embed(engine, "text", [a(name) for name in names])
    scenes = [sample_scene(stream, "one", split) for _ in range(n)]
    truth = [INDEX[scene.things[0].thing] for scene in scenes]
    table: Table = {}
    for kind in ("image", *kinds):
        shown = [world.draw(scene) if kind == "image" else world.sense(kind, scene) for scene in scenes]
        made = embed(engine, kind, shown)
        for other, vectors in found.items():
            if other != kind:
                row = f"recall@1 of {len(names)}" + (", name" if other == "text" else "")
                table.setdefault(f"{kind}->{other}", {})[row] = share(recall_at_one(made, vectors, truth))
    return table


def _rides(engine: Any, encoders: Any, world: World, n: int, seed: int, split: str) -> Table:
    if "imu" not in encoders:
        return {}
    stream = random.Random(f"retrieval of rides|{seed}|{split}")
    films = [Director(stream).one("cat", motion, "meadow", size="medium") for motion in FELT]
    rides = [sample_ride(stream, split, FELT) for _ in range(n)]
    truth = [FELT.index(felt(ride)) for ride in rides]
    made = embed(engine, "imu", [world.ride(ride) for ride in rides])
    table: Table = {}
    if "video" in encoders:
        vectors = embed(engine, "video", [world.film(film) for film in films])
        table["imu->video"] = {f"recall@1 of {len(FELT)} motions": share(recall_at_one(made, vectors, truth))}
    if "text" in encoders:
        vectors = embed(engine, "text", [film_caption(film) for film in films])
        table["imu->text"] = {f"recall@1 of {len(FELT)} motions, caption": share(recall_at_one(made, vectors, truth))}
    return table
