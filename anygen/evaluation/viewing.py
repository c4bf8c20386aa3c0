"""The watcher judged: how often it is right on films, clean and spoilt, and how often it accepts what is wrong."""

import random
import time
from collections.abc import Callable

import torch
from torch import Tensor

from anygen.evaluation.judging import blur, colour, noise
from anygen.evaluation.judging import spoil as spoil_pictures
from anygen.evaluation.metrics import share
from anygen.evaluation.watch import Watched, Watcher, shows_film
from anygen.playground.film import KINDS, Film, sample_film
from anygen.playground.watching import film_caption

SPOILT: dict[str, Callable] = {"blur 0.7": blur, "noise 10": noise, "colour": colour}
"""Ways of `judging.py` to spoil pictures that are tried on each frame on its own."""


def spoil(films: Tensor, name: str, stream: random.Random) -> Tensor:
    """uint8 [n, frames, 3, height, width], each frame spoilt in one of the ways of SPOILT."""
    return spoil_pictures(films.flatten(0, 1), name, stream).unflatten(0, films.shape[:2])


def accuracy(n: int, seed: int = 0, split: str = "heldout", watcher: Watcher | None = None) -> dict:
    """The share of clean films, all kinds alike, of which the watcher gets everything right: {"accuracy", ..., "n"}."""
    stream = random.Random(f"watcher|{seed}|{split}")
    films = [sample_film(stream, KINDS[i % len(KINDS)], split) for i in range(n)]
    watcher = watcher or Watcher()
    right = [shows_film(_look(watcher, watcher.projection.render([film])), film)["all"] for film in films]
    row = share(right)
    return {"accuracy": row.pop("right"), **row}


def _look(watcher: Watcher, film: Tensor) -> Watched:
    return watcher.watch(film)[0]


def examine(n: int, seed: int = 0, split: str = "heldout") -> tuple[dict, list[tuple[Tensor, Film, Watched]], dict]:
    """The watcher's own table, its mistakes on clean films, and its speed.

    n films in all, each kind alike, clean; a third as many spoilt in each way; each film judged against another one
    (right is to refuse it); backdrops with nothing before them and noise (right is to see no thing).
    """
    watcher = Watcher()
    cells: dict[str, dict[str, dict]] = {}
    mistakes: list[tuple[Tensor, Film, Watched]] = []
    refused: list[bool] = []
    every: list[bool] = []
    seconds = 0.0
    for kind in KINDS:
        stream = random.Random(f"examine|{kind}|{seed}|{split}")
        films = [sample_film(stream, kind, split) for _ in range(max(1, n // len(KINDS)))]
        frames = [watcher.projection.render([film]) for film in films]
        began = time.process_time()
        watched = [_look(watcher, frame) for frame in frames]
        seconds += time.process_time() - began
        facts = [shows_film(w, film) for w, film in zip(watched, films, strict=True)]
        every += [fact["all"] for fact in facts]
        mistakes += [
            (x[0], film, w) for x, film, w, fact in zip(frames, films, watched, facts, strict=True) if not fact["all"]
        ]
        rows = {f"clean: {name}": share([fact[name] for fact in facts]) for name in facts[0]}
        others = zip(watched, films, films[1:] + films[:1], strict=True)
        refused += [
            not shows_film(w, other)["all"] for w, film, other in others if film_caption(film) != film_caption(other)
        ]
        for name in SPOILT:
            part = range(max(1, len(films) // 3))
            right = [shows_film(_look(watcher, spoil(frames[i], name, stream)), films[i])["all"] for i in part]
            rows[name] = share(right)
        cells[f"film of {kind}"] = rows
    cells["film of any kind"] = {"clean: all": share(every)}
    rng = torch.Generator().manual_seed(seed)
    bare = torch.cat([watcher.projection.render([_empty(film)]) for film in _some(seed, split)])
    hiss = torch.randint(0, 256, (1, *bare.shape[1:]), generator=rng, dtype=torch.uint8)
    empty = watcher.watch(torch.cat([bare, hiss]))
    cells["wrong"] = {
        "another film refused": share(refused),
        "nothing and noise: no thing seen": share([not watched.actors for watched in empty]),
    }
    return cells, mistakes, {"films_per_second": round(len(every) / max(seconds, 1e-9), 2), "n": len(every)}


def _some(seed: int, split: str) -> list[Film]:
    stream = random.Random(f"empty|{seed}")
    return [sample_film(stream, "one", split) for _ in range(10)]


def _empty(film: Film) -> Film:
    return Film(kind="one", actors=(), backdrop=film.backdrop, variant=film.variant, camera=film.camera, dusk=film.dusk)
