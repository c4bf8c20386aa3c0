"""Sampled chats with depth maps, thermal pictures and what an inertial sensor felt: to tell, to ask, to draw."""

import random
from collections.abc import Callable

from anygen.playground.arrange import upright
from anygen.playground.caption import casual
from anygen.playground.chat import Chat, Message, Part, assistant, drawn, text_part, told
from anygen.playground.question import question, scene_to_ask
from anygen.playground.ride import LEADING, end_of, felt, ride_caption, sample_ride, told_ride
from anygen.playground.scene import sample_scene
from anygen.playground.things import thing
from anygen.playground.word import BACKDROP_WORDS, Family, a, called, pick, sentence

DESCRIBE = Family(
    "What does this {map} show?",
    "Describe this {map}.",
    "What is in this {map}?",
    "Tell me what this {map} shows.",
    "What do you see in this {map}?",
    "Write a caption for this {map}.",
    "What is shown in the {map}?",
    "Say what the {map} shows.",
    "This is a {map}. What do you see?",
    "What can you see in the {map}?",
    more=(
        "Look at this {map}. What does it show?",
        "What does the {map} show?",
        "Caption this {map}.",
        "Tell me what you see in this {map}.",
        "Here is a {map}. Describe it.",
        "Put into words what this {map} shows.",
        "In this {map}, what is shown?",
        "Say in one line what is in this {map}.",
        "What things are in this {map}, and where?",
        "Explain what this {map} shows.",
    ),
)
"""Requests to tell what a map shows; every fifth is held out, and more are for training alone."""
DRAW = Family(
    "Draw what this {map} shows.",
    "Make a picture of what this {map} shows.",
    "Paint the scene of this {map}.",
    "Show me what this {map} shows as a picture.",
    "Turn this {map} into a picture.",
    "Draw the scene in this {map}.",
    "Draw a picture from this {map}.",
    "What does the scene of this {map} look like? Draw it.",
    "Please draw what is in this {map}.",
    "Make an image from this {map}.",
    more=(
        "Show what is in this {map} as a picture.",
        "Use this {map} to make a picture.",
        "From this {map}, paint the scene.",
        "Create a picture of what is in this {map}.",
        "I want a picture of what this {map} shows.",
        "A drawing of what this {map} shows, please.",
        "Here is a {map}. Draw the scene.",
        "Give me an image of the scene in this {map}.",
        "Paint a picture of this {map}.",
        "How would this {map} look as a picture? Paint it.",
        "Make a drawing of this {map}.",
        "Create an image of this {map}.",
        "Let me see what this {map} shows, as a picture.",
        "Draw this {map} as one would see it.",
        "Could you make a picture of this {map}?",
        "Generate a picture from the {map}.",
    ),
)
"""Requests to draw what a map shows."""
MAP_WORDS = {
    "depth": ("depth map", "depth image", "depth picture"),
    "thermal": ("thermal image", "heat map", "thermal picture"),
}
"""What users call the maps; the first is the usual name."""
RIDDEN = Family(
    "{A} carried this sensor. What did it do?",
    "This sensor was on {a}. What did it do?",
    "How did {a} with this sensor move?",
    "This is the motion of {a}. What does it do?",
    "{A} had this sensor. How did it move?",
    "What did {a} do that carried this sensor?",
    "This was measured on {a}. How does it move?",
    "{A} carried this motion sensor. How did it move?",
    "Say how {a} with this sensor moves.",
    "This sensor was on {a}. How did it move?",
    more=(
        "{A} had this sensor on. What did it do?",
        "How does {a} with this sensor move?",
        "Tell me how {a} moved that had this sensor.",
        "This was felt on {a}. What did it do?",
        "What does {a} do whose motion this is?",
        "Here is how {a} moved. Say what it did.",
        "{A} felt this. How did it move?",
        "What was {a} doing that carried this sensor?",
    ),
)
"""Questions about what an inertial sensor felt; who carried it is said, since that is not felt."""
DRAW_RIDDEN = Family(
    "{A} carried this sensor{where}. Draw where it is in the end.",
    "This sensor was on {a}{where}. Draw how it ends.",
    "This is the motion of {a}{where}. Draw the end of it.",
    "Draw {a}{where} after this motion.",
    "{A} moved like this{where}. Draw where it is now.",
    "Show me {a}{where} after it has moved like this.",
    "{A}{where} had this sensor. Draw where it is in the end.",
    "This was measured on {a}{where}. Draw where it is now.",
    "Draw where {a}{where} is after this motion.",
    "{A} has moved like this{where}. Draw how it ends.",
    more=(
        "After this motion, draw {a}{where}.",
        "{A}{where} carried this sensor. Show me where it is now.",
        "Paint {a}{where} after it moved like this.",
        "Where is {a}{where} after this motion? Draw it.",
        "{A} felt this{where}. Draw where it is in the end.",
        "Make a picture of {a}{where} after this motion.",
        "This is how {a}{where} moved. Show where it ends.",
        "A picture of {a}{where} after it has moved like this, please.",
    ),
)
"""Requests to draw where a ride ends."""


def _given(part: Part, ask: str, stream: random.Random) -> Message:
    """A user's turn with a part and a question, the part mostly first."""
    words = text_part(casual(ask, stream))
    return {"role": "user", "content": [part, words] if stream.random() < 0.8 else [words, part]}


def _named(kind: str, family: tuple[str, ...], stream: random.Random, split: str) -> str:
    words = MAP_WORDS[kind]
    return pick(family, stream, split).format(map=words[0] if stream.random() < 0.6 else stream.choice(words))


def _telling(kind: str) -> Callable[[random.Random, str], Chat]:
    def sample(stream: random.Random, split: str) -> Chat:
        scene = upright(sample_scene(stream, split=split))
        asked = _given({"type": kind, "scene": scene}, _named(kind, DESCRIBE, stream, split), stream)
        return Chat(messages=(asked, assistant(told(scene))), task=kind, facts={"scene": scene})

    return sample


def _answering(kind: str) -> Callable[[random.Random, str], Chat]:
    def sample(stream: random.Random, split: str) -> Chat:
        scene = scene_to_ask(stream, split)
        about, (ask, answer, ways) = question(scene, stream, split)
        asked = _given({"type": kind, "scene": scene}, ask, stream)
        facts = {"scene": scene, "question": about, "accept": ways}
        return Chat(messages=(asked, assistant(answer)), task=f"{kind}_vqa", facts=facts)

    return sample


def _drawing(kind: str) -> Callable[[random.Random, str], Chat]:
    def sample(stream: random.Random, split: str) -> Chat:
        scene = upright(sample_scene(stream, split=split))
        asked = _given({"type": kind, "scene": scene}, _named(kind, DRAW, stream, split), stream)
        return Chat(messages=(asked, drawn(scene)), task=f"{kind}_draw", facts={"target": scene})

    return sample


def _who(stream: random.Random, name: str) -> dict[str, str]:
    who = a(called(thing(name), stream))
    return {"a": who, "A": sentence(who, end="")}


def riding(stream: random.Random, split: str) -> Chat:
    """What somebody did who carried a sensor."""
    film = sample_ride(stream, split)
    ask = pick(RIDDEN, stream, split).format(**_who(stream, film.actors[0].thing))
    asked = _given({"type": "imu", "film": film}, ask, stream)
    ways = [told_ride(film), sentence(ride_caption(film))]
    facts = {"film": film, "motion": felt(film), "accept": ways}
    return Chat(messages=(asked, assistant(ways[0])), task="imu", facts=facts)


def arriving(stream: random.Random, split: str) -> Chat:
    """Where somebody is who carried a sensor: the motion says which way and how far, the user who and on what."""
    while True:
        film = sample_ride(stream, split, LEADING)
        scene = end_of(film)
        if scene is None:
            continue
        unsaid = film.backdrop == "meadow" and stream.random() < 0.5
        where = "" if unsaid else f" {stream.choice(BACKDROP_WORDS[film.backdrop])}"
        ask = pick(DRAW_RIDDEN, stream, split).format(**_who(stream, film.actors[0].thing), where=where)
        asked = _given({"type": "imu", "film": film}, ask, stream)
        facts = {"target": scene, "film": film, "motion": felt(film)}
        return Chat(messages=(asked, drawn(scene)), task="imu_draw", facts=facts)


SENSE_SAMPLERS: dict[str, dict[str, Callable[[random.Random, str], Chat]]] = {
    **{
        kind: {kind: _telling(kind), f"{kind}_vqa": _answering(kind), f"{kind}_draw": _drawing(kind)}
        for kind in ("depth", "thermal")
    },
    "imu": {"imu": riding, "imu_draw": arriving},
}
"""For each sense its tasks."""
SENSE_MIXTURE = {
    "depth": 8,
    "depth_vqa": 8,
    "depth_draw": 6,
    "thermal": 8,
    "thermal_vqa": 8,
    "thermal_draw": 6,
    "imu": 8,
    "imu_draw": 8,
}
"""How often the tasks of a model's senses are sampled, beside those of dialogue."""
