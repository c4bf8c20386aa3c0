"""Captions: the canonical sentence for a scene, and the many ways in which a user may say the same."""

import random
import re

from anygen.playground.arrange import on_backdrop, one_thing
from anygen.playground.scene import Scene, in_split, place_of, sample_scene
from anygen.playground.things import thing
from anygen.playground.word import (
    BACKDROP_WORDS,
    INVERSE,
    NUMBERS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    Family,
    a,
    at,
    called,
    counted,
    listed,
    pick,
    sentence,
)

# Noun phrases per kind of scene; every fifth is held out (see word.split_part).
NOUN_PHRASES = {
    "one": (
        "{thing} {at} {where}",
        "{thing} {where}, {at}",
        "{thing} {where} {at}",
        "{thing}, {at}, {where}",
        "{thing} that stands {at} {where}",
        "a scene {where} with {thing} {at}",
        "{thing} alone {at}, {where}",
        "{where}, {thing} {at}",
        "just {thing} {at}, {where}",
        "one {thing_bare} {at} {where}",
        "{thing} {at}, with nothing else, {where}",
        "a view {where} that has {thing} {at}",
        "{thing} which stands {at} {where}",
        "{thing} standing {at} {where}",
    ),
    "count": Family(
        "{things} {where}",
        "{things}, {where}",
        "a group of {things} {where}",
        "a scene {where} with {things}",
        "{things} together {where}",
        "{where}, {things}",
        "exactly {things} {where}",
        "{things} side by side {where}",
        "{things} and nothing else, {where}",
        "{things} {where}, no more and no less",
        more=(
            "only {things} {where}",
            "just {things}, {where}",
            "{things} in all {where}",
            "{things} {where}, not one more",
            "{things} and no others {where}",
            "{where}, {things} and nothing more",
            "a picture {where} that has {things}",
        ),
    ),
    "pair": (
        "{a} {relation} {b} {where}",
        "{a} {relation} {b}, {where}",
        "{b} with {a} {relation} it {where}",
        "{b} {inverse} {a} {where}",
        "{a} that is {relation} {b}, {where}",
        "a scene {where} with {a} {relation} {b}",
        "{where}, {a} {relation} {b}",
        "{b} and, {relation} it, {a}, {where}",
        "{a} {where}, {relation} {b}",
        "{b} {where} and {a} {relation} it",
        "{a} and {b} {where}, the first {relation} the second",
        "{a} placed {relation} {b} {where}",
        "{b}, with {a} {relation} it, {where}",
        "{where}, {b} and {a} {relation} it",
        "{b} {where} that has {a} {relation} it",
        "first {b}, then {a} {relation} it, {where}",
        "{where}, {b}, and {relation} it, {a}",
        "{a} and also {b} {where}, {the_a} {relation} {the_b}",
        "{b}, {where}, and {a} stands {relation} it",
        "{a} {where} that you see {relation} {b}",
        "{a} standing {relation} {b} {where}",
        "{a} which is {relation} {b} {where}",
        "{a} that you find {relation} {b} {where}",
        "{b} and {a}, which is {relation} it, {where}",
    ),
    "three": (
        "{list} {where}",
        "{list}, {where}",
        "from left to right {list} {where}",
        "{list} side by side {where}",
        "{list} in a row {where}",
        "a scene {where} with {list}",
        "{a}, then {b}, then {c}, {where}",
        "{where}, {list}",
        "{list} from left to right, {where}",
        "{a} and {b} and {c} {where}",
        "a row of things {where}: {list}",
        "{a} and then {b} and then {c} {where}",
        "{a}, and {b}, and {c}, {where}",
        "{a} and {b} and also {c} {where}",
    ),
}

TOGETHER = (
    "{a} and {b} {where}",
    "{a} next to {b} {where}",
    "{a} with {b} {where}",
    "{a} beside {b} {where}",
    "{a} together with {b} {where}",
    "a scene {where} with {a} and {b}",
    "{a} along with {b} {where}",
    "{a} and {b} together {where}",
    "{a} and also {b}, {where}",
)
FILLERS = ("cute", "beautiful", "nice", "funny", "happy", "friendly", "lovely", "old", "red", "strange", "colorful")
"""What users say of things though the playground has one drawing of each."""

STATEMENTS = (
    "{x}.",
    "There {is_} {x}.",
    "I see {x}.",
    "The picture shows {x}.",
    "You can see {x}.",
    "Here {is_} {x}.",
    "This is {x}.",
    "We look at {x}.",
    "It shows {x}.",
    "In the picture there {is_} {x}.",
    "Look, {x}.",
    "In the image {is_} {x}.",
    "The image has {x} in it.",
    "What you see {is_} {x}.",
    "This picture is of {x}.",
    "I can see {x}.",
    "A picture of {x}.",
    "An image with {x}.",
    "Here we have {x}.",
    "This image shows {x}.",
)

REQUESTS = (
    "Draw {x}.",
    "Please draw {x}.",
    "Show me {x}.",
    "Can you draw {x}?",
    "Could you show me {x}?",
    "Paint {x}.",
    "Make a picture of {x}.",
    "I want a picture of {x}.",
    "Can you show me {x}?",
    "I would love to see {x}.",
    "Create an image of {x}.",
    "Generate {x}.",
    "A picture of {x}, please.",
    "{x}, please.",
    "Please make an image of {x}.",
    "Draw me {x}.",
    "Give me {x}.",
    "I would like {x}.",
    "Make {x}.",
    "Let me see {x}.",
    "{x}.",
    "Could you draw {x}?",
    "Draw a picture of {x}.",
    "I need an image of {x}.",
    "Would you paint {x} for me?",
    "Please show {x}.",
    "Sketch {x}.",
    "An image of {x}.",
    "Can you make a picture of {x}?",
    "How about a drawing of {x}?",
    "How about {x}?",
    "Let us see {x}.",
    "I want to see {x}.",
    "Let me look at {x}.",
    "Now draw {x}.",
    "Would you draw {x}?",
    "Would you please draw {x}?",
    "What about a picture of {x}?",
    "Could you make an image of {x}?",
    "Might I see {x}?",
    "Can you paint {x}?",
    "I want you to draw {x}.",
    "Would you like to draw {x}?",
    "Paint me a picture of {x}.",
    "Do draw {x}.",
    "Make me an image of {x}.",
    "Could I have a picture of {x}?",
    "Create {x}.",
    "Create a drawing of {x}.",
    "We want to see {x}.",
    "Make a drawing of {x}.",
    "I would like to see a drawing of {x}.",
    "Would you show me {x}?",
    "Please give me a picture of {x}.",
    "Give us a drawing of {x}.",
    "What would {x} look like?",
    "I need {x}.",
    "Please paint a scene: {x}.",
    "Would you make a picture of {x} for me?",
    "A scene with {x}.",
    "Paint a scene with {x}.",
    "Can I have an image of {x}?",
    "Please, a drawing of {x}.",
    "Imagine {x}.",
    "Think of {x} and draw it.",
    "Could you paint a picture of {x} for us?",
    "Let me have a picture of {x}.",
    "How would {x} look?",
    "Show {x}.",
    "Draw for me {x}.",
)


def caption(scene: Scene) -> str:
    """The canonical caption of a scene: 'a large cat at the top left, meadow'."""
    names = [placed.thing for placed in scene.things]
    if scene.kind == "one":
        placed = scene.things[0]
        what = f"{a(f'{placed.size} {placed.thing}')} {at(place_of(placed.x, placed.y))}"
    elif scene.kind == "count":
        what = counted(names[0], len(names))
    elif scene.kind == "pair":
        what = f"{a(names[0])} {scene.relation} {a(names[1])}"
    else:
        what = listed([a(name) for name in names])
    return f"{what}, {scene.backdrop}"


def noun_phrase(scene: Scene, stream: random.Random, split: str = "train") -> str:
    """A scene in a user's words, with synonyms: 'a big kitty in the upper left on the grass'.

    A medium size, the middle and the meadow are what goes without saying: half of the time they are not said. Two
    things of which nothing more is said stand side by side, the first on the left. "a dog right of a car" is never said
    for "a car left of a dog": it has a caption of its own, and a request that has two answers teaches to swap things.
    """
    words = {"where": stream.choice(BACKDROP_WORDS[scene.backdrop])}
    if scene.backdrop == "meadow" and stream.random() < 0.5:
        words["where"] = ""
    names = [called(thing(placed.thing), stream) for placed in scene.things]
    if scene.kind == "one":
        name = f"{pick(FILLERS, stream, split)} {names[0]}" if stream.random() < 0.08 else names[0]
        words |= _one_words(scene, name, stream)
    elif scene.kind == "count":
        many = called(thing(scene.things[0].thing), stream, plural=True)
        number = str(len(names)) if stream.random() < 0.2 else NUMBERS[len(names)]
        words["things"] = f"{number} {many}"
    elif scene.kind == "pair":
        assert scene.relation
        words["relation"] = stream.choice(RELATION_WORDS[scene.relation])
        words["inverse"] = stream.choice(RELATION_WORDS[INVERSE[scene.relation]])
        second = f"the {names[1]}" if stream.random() < 0.1 else a(names[1])
        words |= {"a": a(names[0]), "b": second, "the_a": f"the {names[0]}", "the_b": f"the {names[1]}"}
        if scene.relation == "left of" and stream.random() < 0.3:
            return tidy(pick(TOGETHER, stream, split).format(**words))
    else:
        words |= dict(zip("abc", map(a, names), strict=True)) | {"list": listed([a(name) for name in names])}
    phrase = pick(NOUN_PHRASES[scene.kind], stream, split)
    if "{inverse}" in phrase and scene.relation != "in front of":
        phrase = NOUN_PHRASES["pair"][0]
    return tidy(phrase.format(**words))


def _one_words(scene: Scene, name: str, stream: random.Random) -> dict[str, str]:
    placed = scene.things[0]
    place = place_of(placed.x, placed.y)
    size = stream.choice(SIZE_WORDS[placed.size])
    said = name if placed.size == "medium" and stream.random() < 0.5 else f"{size} {name}"
    where = stream.choice(PLACE_WORDS[place])
    return {"thing": a(said), "thing_bare": said, "at": "" if place == "middle" and stream.random() < 0.5 else where}


def tidy(text: str) -> str:
    """Without the doubled spaces and stray commas that empty words leave."""
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"( ?,)+", ",", text).replace(",:", ":").strip(" ,")


def paraphrase(scene: Scene, stream: random.Random, split: str = "train") -> str:
    """A sentence that says what the canonical caption says, in other words."""
    words = {"x": noun_phrase(scene, stream, split), "is_": "are" if scene.kind == "count" else "is"}
    return sentence(pick(STATEMENTS, stream, split).format(**words), end="")


def casual(text: str, stream: random.Random) -> str:
    """The text as some users type it: now and then without capital and final punctuation."""
    if stream.random() < 0.25:
        return text[:1].lower() + text[1:].rstrip(".?!")
    return text


def draw_request(scene: Scene, stream: random.Random, split: str = "train") -> str:
    """A request to draw the scene."""
    words = noun_phrase(scene, stream, split)
    if stream.random() < 0.05:
        return re.sub(r"^an? ", "", words)
    return casual(sentence(pick(REQUESTS, stream, split).format(x=words), end=""), stream)


def sample_scene_to_draw(stream: random.Random, split: str = "train") -> Scene:
    """A scene as users ask for them: more often than chance of one medium thing in the middle, or on a meadow."""
    scene = sample_scene(stream, split=split)
    if stream.random() < 0.3:
        plain = plain_scene(scene, stream)
        if in_split(plain, split):
            return plain
    return scene


def plain_scene(scene: Scene, stream: random.Random) -> Scene:
    """The scene with some of what goes without saying: one medium thing in the middle, a meadow."""
    if scene.kind == "one" and stream.random() < 0.8:
        scene = one_thing(scene.things[0].thing, scene.backdrop, stream)
    return on_backdrop(scene, "meadow") if stream.random() < 0.5 else scene
