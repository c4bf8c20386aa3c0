"""The cells of the table: for each pair of what goes in and what comes out, held-out requests with their checks."""

import random
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import cycle
from typing import Any

import numpy as np
import torch

from anygen.evaluation.case import Case, Outcome
from anygen.evaluation.ear import Ear, Heard
from anygen.evaluation.judge import Judge, Seen, Verdict, shows
from anygen.evaluation.metrics import says_yes
from anygen.evaluation.watch import Watched, Watcher
from anygen.media import Audio, Image, Text, Video
from anygen.mel import RATE, SAMPLES
from anygen.playground.chat import drawn, user
from anygen.playground.clip import Clip
from anygen.playground.compositor import Compositor
from anygen.playground.dataset import film_video
from anygen.playground.film import Film
from anygen.playground.language import (
    Chat,
    Facts,
    answer_right,
    caption,
    declined,
    draw_request,
    facts_of,
    paraphrase,
    parse_caption,
    sample_chat,
)
from anygen.playground.mixer import Mixer
from anygen.playground.ride import RATE as RIDE_RATE
from anygen.playground.ride import in_units, readings
from anygen.playground.scene import Scene, sample_scene
from anygen.playground.sensor import SENSORS, Sensor, map_of
from anygen.sensed import SENSED_MEDIA, Imu

NEAR = 0.15  # how far an untouched thing may move in an edit, as a share of the canvas


class World:
    """What the checks need: what draws, plays and films what is asked, and what judges what is answered."""

    def __init__(self, size: int = 64) -> None:
        self.compositor, self.judge = Compositor(size), Judge()

    @cached_property
    def mixer(self) -> Mixer:
        """Made when the first sound is asked for."""
        return Mixer()

    @cached_property
    def ear(self) -> Ear:
        """Made when the first sound is answered."""
        return Ear()

    @cached_property
    def watcher(self) -> Watcher:
        """Made when the first film is asked for; it has the projection as well."""
        return Watcher()

    @cached_property
    def sensors(self) -> dict[str, Sensor]:
        """Made when the first map is asked for."""
        return {kind: sensor(self.compositor.size) for kind, sensor in SENSORS.items()}

    def sense(self, kind: str, scene: Scene) -> Any:
        """The scene as a depth map or a thermal picture."""
        return SENSED_MEDIA[kind](map_of(self.sensors[kind].render([scene])[0]))

    def ride(self, film: Film) -> Imu:
        """What the film's thing feels."""
        return Imu(in_units(readings(film)), RIDE_RATE)

    def film(self, film: Film, sound: Clip | None = None) -> Video:
        """The film as a video, with its soundtrack if any."""
        return film_video(film, sound, self.watcher.projection, self.mixer if sound else None)

    def watch(self, video: Video) -> Watched:
        """What the watcher sees."""
        frames = torch.from_numpy(np.array(video.frames)).permute(0, 3, 1, 2)
        return self.watcher.watch(frames[None])[0]

    def play(self, clip: Clip) -> Audio:
        """The clip as a sound."""
        return Audio(self.mixer.render([clip])[0].numpy(), RATE)

    def hear(self, audio: Audio) -> Heard:
        """What the ear hears in the first four seconds."""
        samples = audio.mono().resample(RATE).samples[:, :SAMPLES]
        return self.ear.listen(torch.from_numpy(np.array(samples)))[0]

    def draw(self, scene: Scene) -> Image:
        """The scene as a picture."""
        return Image(self.compositor.render([scene])[0].permute(1, 2, 0).numpy())

    def look(self, image: Image) -> Verdict:
        """What the judge sees."""
        return self.judge.look(torch.from_numpy(np.array(image.pixels)).permute(2, 0, 1)[None])[0]

    def values(self, message: dict[str, Any]) -> tuple[Any, ...]:
        """A sampled message's parts, scenes drawn or sensed, clips played, films with the sound that follows them."""
        found: list[Any] = []
        film: Film | None = None
        for part in message["content"]:
            if film and part["type"] == "audio":
                found[-1] = self.film(film, part["clip"])
            else:
                found.append(self._value(part))
            film = part["film"] if part["type"] == "video" else None
        return tuple(found)

    def _value(self, part: dict[str, Any]) -> Any:
        if part["type"] == "text":
            return Text(part["text"])
        if part["type"] == "video":
            return self.film(part["film"])
        if part["type"] == "imu":
            return self.ride(part["film"])
        if part["type"] in SENSORS:
            return self.sense(part["type"], part["scene"])
        return self.draw(part["scene"]) if part["type"] == "image" else self.play(part["clip"])

    def request(self, chat: Chat) -> list[dict[str, Any]]:
        """The chat without its last answer."""
        return [{"role": message["role"], "content": self.values(message)} for message in chat.messages[:-1]]


Cell = Callable[[World, random.Random, str], Iterator[Case]]
"""An endless stream of cases, from a world, a stream and a split."""


def describe(verdict: Verdict) -> str:
    """A verdict in words: 'large cat (0.30, 0.62), meadow'."""
    things = [f"{seen.size} {seen.thing} ({seen.x:.2f}, {seen.y:.2f})" for seen in verdict.things]
    return ", ".join([*things, verdict.backdrop or "no backdrop"])


def said(chat: Chat) -> str:
    """The words of the chat's last answer."""
    return " ".join(part["text"] for part in chat.messages[-1]["content"] if part["type"] == "text")


def only_text(reply: Any) -> bool:
    """Whether a reply holds no medium."""
    return all(part.type == "text" for part in reply)


def answered(facts: dict, row: str, *more: str) -> Callable[[Any], Outcome]:
    """The text is right, and there is nothing else."""

    def check(reply: Any) -> Outcome:
        alone = only_text(reply)
        right = alone and answer_right(reply.text, facts)
        rows = dict.fromkeys((row, *more), right)
        if "unknown" in facts or "unheard" in facts:
            rows = {row: alone and declined(reply.text), f"{row}, by its name": right}
        return Outcome(rows=rows, saw=reply.text, values={"answer": reply.text})

    return check


def case(world: World, stream: random.Random, cell: str, chat: Chat, check: Callable[[Any], Outcome]) -> Case:
    """A sampled chat as a case: its last answer is what is right, what comes before is asked."""
    answer = world.values(chat.messages[-1])
    seed = stream.getrandbits(31)
    return Case(cell=cell, request=world.request(chat), expected=said(chat), answer=answer, seed=seed, check=check)


# --- text to text


def text_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Questions about the world, and things that must be declined; spelling a word never seen is measured apart."""
    for task, row in cycle((("world", "world"), ("world", "world"), ("unknown", "unknown thing"))):
        chat = sample_chat(stream, task, split)
        yield case(world, stream, "text->text", chat, answered(chat.facts, row))


# --- text to image


def _drawn(world: World, scene: Scene) -> Callable[[Any], Outcome]:
    """One picture that shows the scene; a second picture, or none, is wrong."""
    short, whole = {
        "one": ("one thing and backdrop", "one thing, size, place and backdrop"),
        "count": ("counted things and backdrop", None),
        "pair": ("two things and backdrop", "two things, relation and backdrop"),
        "three": ("three things and backdrop", "three things in order and backdrop"),
    }[scene.kind]

    def check(reply: Any) -> Outcome:
        verdict = world.look(reply.images[0]) if len(reply.images) == 1 else None
        facts = shows(verdict, scene) if verdict else {}
        plain = bool(facts) and facts["things_right"] and facts["count_right"] and facts["backdrop_right"]
        words = parse_caption(reply.text)
        rows = {whole: bool(facts) and facts["all"]} if whole else {}
        rows |= {short: plain, "words beside the picture": words is not None and words.agrees(facts_of(scene))}
        return Outcome(rows=rows, saw=describe(verdict) if verdict else f"{len(reply.images)} pictures")

    return check


def text_to_image(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Requests to draw, one and two things twice as often as counts and threes."""
    for kind in cycle(("one", "pair", "count", "one", "pair", "three")):
        scene = sample_scene(stream, kind, split)
        messages = (user(draw_request(scene, stream, split)), drawn(scene))
        yield case(world, stream, "text->image", Chat(messages=messages, task="draw"), _drawn(world, scene))


# --- image to text


def captions(world: World, stream: random.Random, split: str, row: str = "caption: ") -> Iterator[Case]:
    """Pictures to describe: each fact that the canonical caption states, and all of them."""
    while True:
        chat = sample_chat(stream, "caption", split)
        yield case(world, stream, "image->text", chat, captioned(chat.facts["scene"], row, stream, split))


CLAIMS: dict[str, Callable[[Facts], Any]] = {
    "things": lambda facts: {name for name, _ in facts.things},
    "count": lambda facts: sorted(facts.things),
    "backdrop": lambda facts: facts.backdrop,
    "size": lambda facts: facts.sizes,
    "place": lambda facts: facts.places,
}


def captioned(scene: Scene, row: str, stream: random.Random, split: str) -> Callable[[Any], Outcome]:
    """The text says what the scene's caption says, whole and fact by fact, in rows that begin with `row`."""
    truth = facts_of(scene)
    parts = {name: part for name, part in CLAIMS.items() if scene.kind == "one" or name not in ("size", "place")}
    references = [caption(scene), *(paraphrase(scene, stream, split) for _ in range(4))]

    def check(reply: Any) -> Outcome:
        said = parse_caption(reply.text)
        rows = {"all right": said is not None and said.agrees(truth) and only_text(reply)}
        rows |= {name: said is not None and part(said) == part(truth) for name, part in parts.items()}
        rows = {row + name: right for name, right in rows.items()}
        return Outcome(rows=rows, saw=reply.text, values={"answer": reply.text, "references": references})

    return check


def questions(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Questions about pictures, by kind and together."""
    while True:
        chat = sample_chat(stream, "vqa", split)
        check = answered(chat.facts, "question", f"question: {chat.facts['question']}")
        yield case(world, stream, "image->text", chat, check)


def presence(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """POPE: is there a thing, half of the time there is."""
    while True:
        chat = sample_chat(stream, "pope", split)
        truth = says_yes(said(chat))

        def check(reply: Any, truth: bool | None = truth) -> Outcome:
            said = says_yes(reply.text)
            rows = {"is there: yes or no": said is truth and only_text(reply)}
            return Outcome(rows=rows, saw=reply.text, values={"said": said, "truth": truth})

        yield case(world, stream, "image->text", chat, check)


def image_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Captions, questions and presence in turn."""
    for source in cycle(
        (captions(world, stream, split), questions(world, stream, split), presence(world, stream, split))
    ):
        yield next(source)


# --- image to image


def kept(verdict: Verdict, source: Scene, target: Scene, near: float = NEAR) -> bool:
    """Whether every thing that the edit does not touch is still about where it was."""
    left: list[Seen] = list(verdict.things)
    for placed in target.things:
        if placed not in source.things:
            continue
        close = [s for s in left if s.thing == placed.thing and max(abs(s.x - placed.x), abs(s.y - placed.y)) <= near]
        if not close:
            return False
        left.remove(min(close, key=lambda s: max(abs(s.x - placed.x), abs(s.y - placed.y))))
    return True


def _edited(world: World, kind: str, source: Scene, target: Scene) -> Callable[[Any], Outcome]:
    needed = ["things_right", "count_right", "backdrop_right"]
    needed += {"move": ["place_right"], "resize": ["size_right"], "add": ["relation_right"]}.get(kind, [])

    def check(reply: Any) -> Outcome:
        verdict = world.look(reply.images[0]) if len(reply.images) == 1 else None
        facts = shows(verdict, target) if verdict else {}
        made = bool(facts) and all(facts[name] for name in needed)
        rest = verdict is not None and kept(verdict, source, target)
        rows = {"change made, rest kept": made and rest, f"edit: {kind}": made and rest}
        rows |= {"change made": made, "rest kept": rest}
        return Outcome(rows=rows, saw=describe(verdict) if verdict else f"{len(reply.images)} pictures")

    return check


def image_to_image(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Edits of pictures."""
    while True:
        chat = sample_chat(stream, "edit", split)
        check = _edited(world, chat.facts["edit"], chat.facts["source"], chat.facts["target"])
        yield case(world, stream, "image->image", chat, check)


# --- more than one answer, more than one turn


def dialogues(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """The last question of a conversation that drew, changed and showed pictures."""
    while True:
        chat = sample_chat(stream, "dialogue", split)
        yield case(world, stream, "dialogue->text", chat, answered(chat.facts, "last answer"))


def stories(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Stories: pages of a text and its picture, the hero on each."""
    while True:
        chat = sample_chat(stream, "story", split)
        yield case(world, stream, "text->text+image", chat, _told(world, chat.facts["hero"], chat.facts["pages"]))


def _told(world: World, hero: str, pages: int) -> Callable[[Any], Outcome]:
    """Every page is judged by what it says itself; of the request, the hero and the number of pages count."""

    def check(reply: Any) -> Outcome:
        kinds = [part.type for part in reply]
        told = kinds == ["text", "image"] * (len(kinds) // 2) and len(kinds) > 0
        texts = [part.text for part in reply if part.type == "text"]
        verdicts = [world.look(image) for image in reply.images]
        right = [_page_shown(text, verdict) for text, verdict in zip(texts, verdicts, strict=False)]
        heroes = [any(seen.thing == hero for seen in verdict.things) for verdict in verdicts]
        rows = {
            "every picture shows its page": told and all(right),
            "hero on every picture": told and all(heroes),
            "as many pages as asked for": told and len(reply.images) == pages,
        }
        rows["story: all right"] = all(rows.values())
        saw = " | ".join(map(describe, verdicts))
        return Outcome(rows=dict(reversed(rows.items())), saw=saw, values={"pages": right, "heroes": heroes})

    return check


def _page_shown(text: str, verdict: Verdict) -> bool:
    said = parse_caption(text)
    if said is None:
        return False
    same = {name for name, _ in said.things} == {seen.thing for seen in verdict.things}
    return same and said.backdrop in (None, verdict.backdrop)


MATRIX: dict[str, tuple[Cell, int]] = {
    "text->text": (text_to_text, 300),
    "text->image": (text_to_image, 600),
    "image->text": (image_to_text, 450),
    "image->image": (image_to_image, 240),
}
"""The matrix: each cell's cases and how many are asked when nobody says. `sound_cells.py` has those with sound."""
