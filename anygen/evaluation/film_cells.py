"""The cells of the table in which something is watched: held-out requests with films in or out, and their checks."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from anygen.evaluation.case import Case, Outcome
from anygen.evaluation.cells import NEAR, Cell, World, answered, case, describe, only_text
from anygen.evaluation.ear import sounds_like
from anygen.evaluation.judge import shows
from anygen.evaluation.sound_cells import tell
from anygen.evaluation.watch import Watched, shows_film
from anygen.media import Image, Video
from anygen.playground.clip import Clip
from anygen.playground.film import Film
from anygen.playground.language import (
    facts_of,
    film_facts,
    parse_caption,
    parse_film,
    parse_sound,
    sample_chat,
    sound_facts,
)
from anygen.playground.scene import Scene

FACTS = ("things_right", "motion_right", "backdrop_right", "camera_right", "consistent", "all")


def report(watched: Watched) -> str:
    """What was watched, in words: 'then: cat spins, dog rises; meadow, zooms in, dusk; 16 of 16 frames'."""
    acts = ", ".join(f"{acted.thing} {acted.motion}" for acted in watched.actors)
    place = [watched.backdrop or "no backdrop", watched.camera or "", "dusk" if watched.dusk else ""]
    around = ", ".join(word for word in place if word)
    return f"{watched.kind or 'no film'}: {acts or 'nothing'}; {around}; {watched.consistent} of 16 frames"


def _filmed(world: World, reply: Any, film: Film) -> tuple[dict[str, bool], str]:
    """What holds of the one film of a reply; nothing does where there is another number of films, or another medium."""
    if len(reply.videos) != 1 or any(part.type not in ("text", "video") for part in reply):
        return dict.fromkeys(FACTS, False), f"{len(reply.videos)} films"
    watched = world.watch(reply.videos[0])
    return shows_film(watched, film), report(watched)


def _told(text: str, film: Film) -> bool:
    claimed = parse_film(text)
    return claimed is not None and claimed.agrees(film_facts(film))


def _rows(facts: dict[str, bool], headline: str) -> dict[str, bool]:
    """The rows of a film that was made: thing and motion first, then each fact."""
    return {
        headline: facts["things_right"] and facts["motion_right"],
        "thing": facts["things_right"],
        "backdrop": facts["backdrop_right"],
        "camera and light": facts["camera_right"],
        "the same thing in 15 of 16 frames": facts["consistent"],
        "everything": facts["all"],
    }


# --- films out


def _shot(world: World, film: Film) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _filmed(world, reply, film)
        rows = _rows(facts, "thing and motion")
        rows |= {f"kind: {film.kind}": rows["thing and motion"]}
        return Outcome(rows=rows | {"words beside the film": _told(reply.text, film)}, saw=saw)

    return check


def text_to_video(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films to make; one in twelve is of what is unknown, and must be declined."""
    number = 0
    while True:
        number += 1
        if number % 12:
            chat = sample_chat(stream, "film", split)
            yield case(world, stream, "text->video", chat, _shot(world, chat.facts["target"]))
        else:
            chat = sample_chat(stream, "unfilmed", split)
            yield case(world, stream, "text->video", chat, answered(chat.facts, "unknown thing: declined"))


def text_to_video_with_sound(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films with their sound, in one part."""
    while True:
        chat = sample_chat(stream, "talkie", split)
        check = _sounding(world, chat.facts["target"], chat.facts["played"])
        yield case(world, stream, "text->video+audio", chat, check)


def _sounding(world: World, film: Film, clip: Clip) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _filmed(world, reply, film)
        sound = reply.videos[0].audio if len(reply.videos) == 1 else None
        heard = sounds_like(world.hear(sound), clip) if sound else {"sounds_right": False, "all": False}
        moves = facts["things_right"] and facts["motion_right"]
        rows = {"thing, motion and sound": moves and heard["sounds_right"], "thing and motion": moves}
        return Outcome(rows=rows | {"sound": heard["sounds_right"], "sound and pattern": heard["all"]}, saw=saw)

    return check


def audio_to_video(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films of what sounds."""
    while True:
        chat = sample_chat(stream, "screen", split)
        yield case(world, stream, "audio->video", chat, _screened(world, chat.facts["target"]))


def _screened(world: World, film: Film) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _filmed(world, reply, film)
        rows = {"what sounds moves": facts["things_right"]}
        return Outcome(rows=rows | _rows(facts, "thing and motion"), saw=saw)

    return check


def image_to_video(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Pictures to animate."""
    while True:
        chat = sample_chat(stream, "animate", split)
        check = _animated(world, chat.facts["scene"], chat.facts["target"])
        yield case(world, stream, "image->video", chat, check)


def _animated(world: World, scene: Scene, film: Film) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _filmed(world, reply, film)
        like = len(reply.videos) == 1 and _begins_with(world, reply.videos[0], scene)
        moves = facts["things_right"] and facts["motion_right"]
        rows = {"moves as asked, begins with the picture": moves and like, "moves as asked": moves}
        return Outcome(rows=rows | {"begins with the picture": like, "everything": facts["all"] and like}, saw=saw)

    return check


def _begins_with(world: World, video: Video, scene: Scene) -> bool:
    """Whether the first frame shows the picture's thing about where it was, on the same backdrop."""
    verdict = world.look(Image(video.frames[0]))
    facts = shows(verdict, scene)
    (placed,) = scene.things
    near = [s for s in verdict.things if max(abs(s.x - placed.x), abs(s.y - placed.y)) <= NEAR]
    alike = facts["things_right"] and facts["count_right"] and facts["backdrop_right"]
    return alike and any(seen.thing == placed.thing for seen in near)


def video_to_video(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films to change; the film that an edit makes is watched as a whole, so that what it leaves must have stayed."""
    while True:
        chat = sample_chat(stream, "refilm", split)
        yield case(world, stream, "video->video", chat, _edited(world, chat.facts["edit"], chat.facts["target"]))


def _edited(world: World, kind: str, film: Film) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _filmed(world, reply, film)
        done = all(facts[name] for name in ("things_right", "motion_right", "backdrop_right", "camera_right"))
        rows = {"change made, rest kept": done, f"edit: {kind}": done}
        return Outcome(rows=rows | _rows(facts, "thing and motion"), saw=saw)

    return check


# --- films in


def video_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films to describe: thing, motion and backdrop, and everything that the caption states."""
    while True:
        chat = sample_chat(stream, "watch", split)
        yield case(world, stream, "video->text", chat, _captioned(chat.facts["film"]))


def _captioned(film: Film) -> Callable[[Any], Outcome]:
    truth = film_facts(film)

    def check(reply: Any) -> Outcome:
        claimed = parse_film(reply.text) if only_text(reply) else None
        acts = claimed is not None and claimed.kind == truth.kind
        if claimed is not None and acts:
            same = sorted if truth.kind == "together" else list
            acts = same(map(repr, claimed.actors)) == same(map(repr, truth.actors))
        place = claimed is not None and claimed.backdrop == truth.backdrop
        rows = {"thing, motion and backdrop": acts and place, f"kind: {film.kind}": acts and place}
        rows["things"] = claimed is not None and {name for name, _ in claimed.actors} == set(film.things)
        rows |= {
            "thing and motion": acts,
            "backdrop": place,
            "everything": _told(reply.text, film) and only_text(reply),
        }
        return Outcome(rows=rows, saw=reply.text, values={"seen": reply.text})

    return check


def video_and_text_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Questions about films, by kind and together; every fifth asks whether something is there."""
    number = 0
    while True:
        number += 1
        chat = sample_chat(stream, "film_vqa" if number % 5 else "film_pope", split)
        check = answered(chat.facts, "question", f"question: {chat.facts['question']}")
        yield case(world, stream, "video+text->text", chat, check)


def video_with_sound_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films given with their sound: what happens, and what sounds."""
    while True:
        chat = sample_chat(stream, "attend", split)
        row = "what sounds" if "accept" in chat.facts else "what happens"
        yield case(world, stream, "video+audio->text", chat, answered(chat.facts, "answer", row))


def video_to_audio(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Films whose soundtrack is to be made."""
    while True:
        chat = sample_chat(stream, "score", split)
        yield case(world, stream, "video->audio", chat, _scored(world, chat.facts["target"]))


def _scored(world: World, clip: Clip) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        alone = len(reply.audios) == 1 and all(part.type in ("text", "audio") for part in reply)
        heard = world.hear(reply.audios[0]) if alone else None
        facts = sounds_like(heard, clip) if heard else {"sounds_right": False, "all": False}
        claimed = parse_sound(reply.text)
        rows = {"what moves sounds": facts["sounds_right"], "sound and pattern": facts["all"]}
        rows["words beside the sound"] = claimed is not None and claimed.agrees(sound_facts(clip))
        return Outcome(rows=rows, saw=tell(heard) if heard else f"{len(reply.audios)} sounds")

    return check


def video_to_image(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """The first or the last frame as a picture."""
    while True:
        chat = sample_chat(stream, "frame", split)
        check = _framed(world, chat.facts["frame"], chat.facts["target"])
        yield case(world, stream, "video->image", chat, check)


def _framed(world: World, which: str, scene: Scene) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        verdict = world.look(reply.images[0]) if len(reply.images) == 1 and not reply.videos else None
        facts = shows(verdict, scene) if verdict else {}
        right = bool(facts) and facts["things_right"] and facts["count_right"] and facts["backdrop_right"]
        words = parse_caption(reply.text)
        rows = {"things and backdrop": right, f"{which} frame": right, "everything": bool(facts) and facts["all"]}
        rows["words beside the picture"] = words is not None and words.agrees(facts_of(scene))
        return Outcome(rows=rows, saw=describe(verdict) if verdict else f"{len(reply.images)} pictures")

    return check


MATRIX: dict[str, tuple[Cell, int]] = {
    "text->video": (text_to_video, 400),
    "video->text": (video_to_text, 400),
    "video+text->text": (video_and_text_to_text, 400),
    "video->audio": (video_to_audio, 200),
    "audio->video": (audio_to_video, 200),
    "image->video": (image_to_video, 200),
    "video->image": (video_to_image, 200),
    "video->video": (video_to_video, 200),
    "text->video+audio": (text_to_video_with_sound, 100),
    "video+audio->text": (video_with_sound_to_text, 100),
}
"""The cells with films and how many of each are asked when nobody says."""

TARGETS = {
    "text->video": ("thing and motion", 0.90),
    "video->text": ("thing, motion and backdrop", 0.93),
    "video->audio": ("what moves sounds", 0.90),
    "audio->video": ("what sounds moves", 0.90),
    "image->video": ("moves as asked, begins with the picture", 0.85),
    "video+text->text": ("question", 0.90),
}
"""For each cell its headline and the least share that is wanted; of films that are made, 0.90 are consistent."""
