"""What output projectors learn from that see the picture which is edited or begins a film: sources, and squares."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from anygen.playground.arrange import settle
from anygen.playground.dialogue import caption_of
from anygen.playground.film import settle as settle_film
from anygen.playground.film_dialogue import reanimated
from anygen.playground.scene import Scene, sample_scene
from anygen.playground.squares import placed_caption
from anygen.playground.storyboard import squared, storyboard
from anygen.playground.undo import undone
from anygen.projectors.output import QueryTransformer

_SEEN = 0.9  # share of the edits whose picture is seen; a request need not say that it edits
_BESIDE = 0.15  # share of all else beside which a picture is seen that has nothing to do with it
_EDITED, _ASIDE = 0.65, 0.05  # the same of pictures behind cached requests, which are shown anew


def sources(parts: Sequence[dict[str, Any]], stream: random.Random) -> list[Scene | None]:
    """For each medium that is to be made the picture seen beside it: its source, none, now and then any other."""
    found = []
    for part in parts:
        source = part.get("source")
        seen = stream.random() < (_BESIDE if source is None else _SEEN)
        found.append((sample_scene(stream) if source is None else source) if seen else None)
    return found


def seen_anew(generator: Any, part: dict[str, Any], told: str, stream: random.Random) -> tuple[Scene | None, str]:
    """A picture behind what was asked for, or none, and what a generator is told of this: in squares what the picture
    shows of it, or what it is `told` where nothing is seen.

    The request's states say a caption and nothing of the picture behind it, whatever that was when they were cached: it
    may be any of which an edit makes the one that is asked for (`undo.undone`), or any with which a film like this may
    begin (`reanimated`), and is another one every time.
    """
    if "film" in part:
        if "source" in part:
            scene, film = reanimated(part["source"], part["film"], stream)
            return scene, told_to(generator, {"film": film, "source": scene})
        return sources([part], stream)[0], told
    chance = stream.random()
    if chance < _EDITED:
        source, target = undone(part["scene"], stream)
        return source, placed_caption(target, caption_of(part))
    return sample_scene(stream) if chance < _EDITED + _ASIDE else None, told


def told_to(generator: Any, part: dict[str, Any], *, seen: bool | None = None) -> str:
    """What a generator is told of a part of the playground: its caption; of a film where it takes them a storyboard.

    A film stands where one would put it first, but for one that begins with a picture: that shows where. Of a picture a
    projector that sees (`seen` is not None) tells where all stands: where its source is seen, what is kept where it
    was, and else everything where one would put it first.
    """
    if "film" in part and generator.moments > 1:
        film = part["film"] if "source" in part else settle_film(part["film"])
        return squared(film) if generator.film.squares else storyboard(film)
    if seen is None or "scene" not in part:
        return caption_of(part)
    return placed_caption(part["scene"] if seen and "source" in part else settle(part["scene"]), caption_of(part))


def told_beside(generator: Any, parts: Sequence[dict[str, Any]], behind: Sequence[Scene | None]) -> list[str]:
    """What a projector that sees tells of each part beside these pictures."""
    return [told_to(generator, part, seen=source is not None) for part, source in zip(parts, behind, strict=True)]


def widened(projector: Any, encoder: Any, generator: Any, captions: Sequence[str]) -> Any:
    """The query transformer with the same weights that also sees the encoder's features; scaled to these captions."""
    config = replace(projector.config, sights=encoder.tokens, sight_width=encoder.width)
    fresh = QueryTransformer(config)
    fresh.load_state_dict(fresh.state_dict() | projector.state_dict())
    fresh.measure(generator.condition(list(captions)))
    return fresh
