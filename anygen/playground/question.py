"""Questions about a picture, with the one short answer to each and everything that counts as the same answer."""

import random
from collections.abc import Callable

from anygen.playground.scene import Scene, place_of, sample_scene
from anygen.playground.things import RELATIONS, THINGS, thing
from anygen.playground.unknown import UNKNOWN, thirds
from anygen.playground.word import (
    BACKDROP_WORDS,
    INVERSE,
    NUMBERS,
    RELATION_WORDS,
    Family,
    a,
    article,
    at,
    called,
    counted,
    listed,
    pick,
    sentence,
)

Answered = tuple[str, str, list[str]]
"""A question, its canonical answer, and all answers that are as right."""

DESCRIBE = Family(
    "Describe the picture.",
    "What do you see?",
    "Describe this image.",
    "What is in the picture?",
    "What does the picture show?",
    "Tell me what you see.",
    "Write a caption for this image.",
    "What is in this image?",
    "Caption this.",
    "What can you see in the image?",
    "Please describe what you see.",
    "Give me a caption.",
    "Say what this shows.",
    "Describe it.",
    "What does this image show?",
    "What is shown here?",
    "Tell me about this picture.",
    "What is this a picture of?",
    "Say what you see here.",
    "Can you describe the image?",
    "What have we here?",
    "Write what is in the picture.",
    "Could you describe this picture for me?",
    "Put this picture into words.",
    "What is this an image of?",
    "Tell me what is in the image.",
    "Please caption the picture.",
    "What is there to see?",
    "I want a description of this image.",
    "Explain what the picture shows.",
    "Look at this and tell me what it is.",
    "Describe what is here.",
    "Give a description.",
    "What do we see here?",
    "What does this show?",
    more=(
        "What is to be seen here?",
        "What can be seen in this picture?",
        "Describe what you see in the image.",
        "What is shown in this picture?",
        "Tell me what this picture shows.",
        "Say what is in the picture.",
        "Please say what you see.",
        "Write a description.",
        "Describe the image, please.",
        "Can you tell me what is in this image?",
        "What would you say this shows?",
        "Give me a description of the picture.",
        "What do you see here?",
        "Tell me what this shows.",
        "Sum up this picture.",
        "Explain this image.",
        "Say what this image shows.",
        "What does the image show?",
        "What do you see in this picture?",
    ),
)
WHAT = Family(
    "What is this?",
    "Which thing is it?",
    "Name the thing in the picture.",
    "What is the thing in the image called?",
    "What thing is shown?",
    "Can you name this thing?",
    "What is the thing here?",
    "Tell me what thing this is.",
    "What is in this picture?",
    "What do we call this thing?",
    "Say what thing you see.",
    "What is it?",
    "Which thing do you see?",
    "Tell me the name of the thing.",
    "What thing is in the image?",
    "What is the thing in the picture?",
    "Say which thing it is.",
    "What thing do you see?",
    "What is it that the image shows?",
    more=(
        "What thing is this?",
        "Name this thing.",
        "What is this thing called?",
        "What is this thing?",
        "Say what thing this is.",
        "Tell me which thing this is.",
        "What would you call this thing?",
    ),
)
WHAT_ALL = (
    "Which things are in the picture?",
    "What things do you see?",
    "Name the things in the picture.",
    "List the things in the image.",
    "Which things can you find here?",
    "What are the things in this image?",
    "What is there in the picture?",
    "Tell me which things you see.",
    "Say which things are here.",
    "What are all the things in the picture?",
    "Which things does the image show?",
    "Can you name the things?",
    "Can you list what is in the image?",
    "Tell me all the things that are here.",
    "Name everything in the image.",
    "Which things are in the image?",
    "Tell me all things that you see.",
    "List everything in the picture.",
    "What things do you find in it?",
)
HOW_MANY = Family(
    "How many {xs} are there?",
    "How many {xs} do you see?",
    "Count the {xs}.",
    "How many {xs} are in the picture?",
    "What is the number of {xs}?",
    "How many {xs} does the image show?",
    "Tell me how many {xs} there are.",
    "Tell me the number of {xs}.",
    "Can you count the {xs}?",
    "Which number of {xs} is there?",
    "How many {xs} can you find?",
    "What number of {xs} do you see?",
    "Say how many {xs} you can see.",
    "Count the {xs} in the image.",
    "Do you know how many {xs} there are?",
    "Please count the {xs}.",
    "How many {xs} have we here?",
    "Give me the number of {xs}.",
    more=(
        "How many {xs} are here?",
        "How many {xs} can you see?",
        "How many {xs} does this picture have?",
        "Say how many {xs} there are.",
        "Tell me how many {xs} you see.",
        "Count all {xs}.",
        "Can you tell me how many {xs} there are?",
        "Are there any {xs}, and how many?",
    ),
)
WHERE = (
    "Where is the {x}?",
    "In which place is the {x}?",
    "Where in the picture is the {x}?",
    "Where do you see the {x}?",
    "In which part of the image is the {x}?",
    "Where can I find the {x}?",
    "Tell me where the {x} is.",
    "In which corner or side is the {x}?",
    "Which part of the picture has the {x}?",
    "Where does the {x} stand?",
    "Can you tell me where the {x} is?",
    "What is the place of the {x}?",
    "Say where you see the {x}.",
    "At which place in the image is the {x}?",
    "Where has the {x} been put?",
    "Where is the {x} to be seen?",
    "Tell me in which part the {x} is.",
    "At what place is the {x}?",
    "Where did someone put the {x}?",
)
BACKDROP = (
    "Where does this take place?",
    "What is the backdrop?",
    "What is the background?",
    "Where are we?",
    "Which backdrop is this?",
    "What is behind it all?",
    "Where was this picture made?",
    "What kind of place is it?",
    "Tell me where this is.",
    "Which place is this?",
    "What backdrop does the picture have?",
    "Say what the background is.",
    "What do you see in the background?",
    "Where is this scene?",
    "Where is all this?",
    "In which place are we?",
    "What place does the image show?",
    "Name the backdrop.",
    "Which background does the image have?",
    "What is the scene?",
    "Where does the scene take place?",
    "What place do you see?",
    "Tell me where it is.",
    "Which scene is behind it?",
)
SIZE = (
    "What size is the {x}?",
    "How big is the {x}?",
    "How large is the {x}?",
    "Is the {x} small, medium or large?",
    "Which size does the {x} have?",
    "Tell me the size of the {x}.",
    "Would you say that the {x} is small, medium or large?",
    "Can you tell me how big the {x} is?",
    "Tell me how large the {x} is.",
    "What is the size of the {x}?",
    "Say how big the {x} is.",
    "Of which size is the {x}?",
    "How big is the {x} in the picture?",
    "Is the {x} big or small?",
    "Name the size of the {x}.",
)
BESIDE = (
    "What is {relation} the {x}?",
    "Which thing is {relation} the {x}?",
    "What do you see {relation} the {x}?",
    "What stands {relation} the {x}?",
    "Name what is {relation} the {x}.",
    "What can be found {relation} the {x}?",
    "Tell me what is {relation} the {x}.",
    "Which thing do you see {relation} the {x}?",
    "Say what stands {relation} the {x}.",
    "What thing is {relation} the {x}?",
    "Can you tell me what is {relation} the {x}?",
    "Which thing stands {relation} the {x}?",
    "What can you see {relation} the {x}?",
    "{relation} the {x}, what is there?",
    "What is there {relation} the {x}?",
)
IS_BESIDE = Family(
    "Is the {x} {relation} the {y}?",
    "Is it true that the {x} is {relation} the {y}?",
    "Do you see the {x} {relation} the {y}?",
    "Does the {x} stand {relation} the {y}?",
    "The {x} is {relation} the {y}, right?",
    "Can you see the {x} {relation} the {y}?",
    "Would you say that the {x} is {relation} the {y}?",
    "The {x} stands {relation} the {y}, does it not?",
    "Tell me if the {x} is {relation} the {y}.",
    "Is the {x} in this picture {relation} the {y}?",
    "Is it right that the {x} is {relation} the {y}?",
    "Can you find the {x} {relation} the {y}?",
    "So the {x} is {relation} the {y}?",
    "Do we see the {x} {relation} the {y}?",
    "Does one see the {x} {relation} the {y}?",
    "Is it so that the {x} stands {relation} the {y}?",
    "The {x} is seen {relation} the {y}, yes or no?",
    "Do you agree that the {x} is {relation} the {y}?",
    "Tell me whether the {x} is {relation} the {y}.",
    more=(
        "Is it correct that the {x} is {relation} the {y}?",
        "Do you find the {x} {relation} the {y}?",
        "Do you think that the {x} is {relation} the {y}?",
        "The {x} is {relation} the {y}, is it not?",
        "Say whether the {x} is {relation} the {y}.",
        "Is the {x} to be found {relation} the {y}?",
        "Is the {x} really {relation} the {y}?",
    ),
)
ROW = (
    "What is {where}?",
    "Which thing is {where}?",
    "Name the thing {where}.",
    "What do you see {where}?",
    "What stands {where}?",
    "Tell me what is {where}.",
    "Which thing do you see {where}?",
    "Say what is {where}.",
    "What can you see {where}?",
    "Can you tell me what is {where}?",
    "Which thing stands {where}?",
    "What is the thing {where}?",
    "Tell me which thing is {where}.",
    "What thing is {where}?",
    "What is there {where}?",
)
IS_THERE = Family(
    "Is there {x} in the picture?",
    "Do you see {x}?",
    "Is there {x}?",
    "Does the image show {x}?",
    "Is there {x} in the image?",
    "Can you see {x}?",
    "Does the picture have {x} in it?",
    "Tell me if there is {x}.",
    "Can you find {x}?",
    "Is {x} in the picture?",
    "Is {x} here?",
    "Do you find {x} in the image?",
    "Would you say that there is {x}?",
    "Does this picture show {x}?",
    "Do you see {x} in the picture?",
    "Can you see {x} in the image?",
    "Is {x} shown here?",
    "Is there {x} here?",
    "Can we see {x} in this picture?",
    "Tell me whether you see {x}.",
    "Is {x} to be seen?",
    "Is {x} there?",
    "Say whether there is {x}.",
    "Is there {x} or not?",
    more=(
        "Can {x} be seen?",
        "Are you able to see {x}?",
        "Say if you see {x}.",
        "Is there {x} anywhere?",
        "Does this image have {x} in it?",
        "Can one find {x} here?",
    ),
)


def question(scene: Scene, stream: random.Random, split: str = "train") -> tuple[str, Answered]:
    """The name of a kind of question that fits the scene, with a question of that kind."""
    kind = stream.choice(QUESTIONS_FOR[scene.kind])
    return kind, ASK[kind](scene, stream, split)


def describe(stream: random.Random, split: str = "train") -> str:
    """A request for a caption."""
    return pick(DESCRIBE, stream, split)


def _named(names: list[str]) -> list[str]:
    """All ways to name these things one after the other, canonical names first."""
    ways = [listed([a(name) for name in names])]
    if len(names) == 1:
        ways += [a(synonym) for synonym in thing(names[0]).synonyms]
    else:
        ways += [listed([a(name) for name in reversed(names)])]
    return ways


def _answer(ask: str, ways: list[str]) -> Answered:
    ways = [sentence(way) for way in ways]
    return ask, ways[0], ways


def _what(scene: Scene, stream: random.Random, split: str) -> Answered:
    names = [placed.thing for placed in scene.things]
    if scene.kind == "count":
        return _answer(pick(WHAT_ALL, stream, split), [counted(names[0], len(names)), thing(names[0]).plural])
    return _answer(pick(WHAT if len(names) == 1 else WHAT_ALL, stream, split), _named(names))


def _how_many(scene: Scene, stream: random.Random, split: str) -> Answered:
    names = [placed.thing for placed in scene.things]
    if stream.random() < (0.3 if split == "train" else 0.15):  # none is said too seldom, else
        asked = stream.choice([item for item in THINGS if item.name not in names])
    else:
        asked = thing(stream.choice(names))
    count = names.count(asked.name)
    ask = pick(HOW_MANY, stream, split).format(xs=called(asked, stream, plural=True))
    said = f"one {asked.name}" if count == 1 and article(asked.name) != "some" else f"{NUMBERS[count]} {asked.plural}"
    more = ["zero", "none"] if count == 0 else [counted(asked.name, 1)] if count == 1 else []
    return _answer(ask, [said, NUMBERS[count], str(count), *more])


def _where(scene: Scene, stream: random.Random, split: str) -> Answered:
    placed = scene.things[0]
    if stream.random() < 0.1:
        other = stream.choice([item for item in THINGS if item.name != placed.thing])
        ask = pick(WHERE, stream, split).format(x=other.name)
        return _answer(ask, [f"there is no {other.name}"])
    place = place_of(placed.x, placed.y)
    return _answer(pick(WHERE, stream, split).format(x=called(thing(placed.thing), stream)), [at(place), place])


def _backdrop(scene: Scene, stream: random.Random, split: str) -> Answered:
    ways = [*BACKDROP_WORDS[scene.backdrop], scene.backdrop]
    return _answer(pick(BACKDROP, stream, split), ways)


def _size(scene: Scene, stream: random.Random, split: str) -> Answered:
    placed = scene.things[0]
    ask = pick(SIZE, stream, split).format(x=called(thing(placed.thing), stream))
    return _answer(ask, [placed.size, f"the {placed.thing} is {placed.size}", f"{placed.size} {placed.thing}"])


def _beside(scene: Scene, stream: random.Random, split: str) -> Answered:
    """What stands in a relation to one of a pair; at times asked for the side where nothing stands."""
    assert scene.relation
    first, second = (placed.thing for placed in scene.things)
    relation = scene.relation
    if stream.random() < 0.5:
        first, second, relation = second, first, INVERSE[relation]
    ask = pick(BESIDE, stream, split)
    x = called(thing(second), stream)
    if stream.random() < 0.15 and relation in RELATIONS[:4]:
        wrong = stream.choice(RELATION_WORDS[INVERSE[relation]])
        return _answer(ask.format(relation=wrong, x=x), ["nothing"])
    return _answer(ask.format(relation=stream.choice(RELATION_WORDS[relation]), x=x), _named([first]))


def _is_beside(scene: Scene, stream: random.Random, split: str) -> Answered:
    assert scene.relation
    first, second = (placed.thing for placed in scene.things)
    relation = scene.relation
    if stream.random() < 0.5:
        first, second, relation = second, first, INVERSE[relation]
    asked = relation
    if stream.random() < 0.5:
        others = [word for word in RELATION_WORDS if word not in (relation, "in front of", "behind")]
        asked = INVERSE[relation] if stream.random() < 0.5 else stream.choice(others)
    names = [called(thing(name), stream) for name in (first, second)]
    words = stream.choice(RELATION_WORDS[asked])
    ask = pick(IS_BESIDE, stream, split).format(x=names[0], y=names[1], relation=words)
    yes = "Yes" if asked == relation else "No"
    return _answer(ask, [f"{yes}, the {first} is {relation} the {second}", yes])


def _row(scene: Scene, stream: random.Random, split: str) -> Answered:
    index = stream.randrange(3)
    where = ("on the left", "in the middle", "on the right")[index]
    return _answer(pick(ROW, stream, split).format(where=where), _named([scene.things[index].thing]))


ASK: dict[str, Callable[[Scene, random.Random, str], Answered]] = {
    "what": _what,
    "how many": _how_many,
    "where": _where,
    "backdrop": _backdrop,
    "size": _size,
    "beside": _beside,
    "is beside": _is_beside,
    "row": _row,
}
QUESTIONS_FOR = {
    "one": ("what", "what", "how many", "where", "where", "backdrop", "size"),
    "count": ("what", "how many", "how many", "how many", "backdrop"),
    "pair": ("what", "how many", "backdrop", "beside", "beside", "is beside", "is beside"),
    "three": ("what", "what", "how many", "backdrop", "row", "row"),
}


def is_there(scene: Scene, stream: random.Random, split: str = "train") -> Answered:
    """A question after one thing; as often yes as no, and half of what is not there is of a category that is."""
    names = [placed.thing for placed in scene.things]
    if stream.random() < 0.5:
        item = thing(stream.choice(names))
        said = f"there are {item.plural}" if scene.kind == "count" else f"there is {a(item.name)}"
        ask = pick(IS_THERE, stream, split).format(x=a(called(item, stream)))
        return _answer(ask, [f"yes, {said}", "yes", f"yes, there is {a(item.name)}"])
    if stream.random() < 0.1:
        name = asked = stream.choice(thirds(UNKNOWN, split))
    else:
        others = [item for item in THINGS if item.name not in names]
        category = thing(stream.choice(names)).category
        alike = [item for item in others if item.category == category]
        item = stream.choice(alike if alike and stream.random() < 0.5 else others)
        name, asked = item.name, called(item, stream)
    ways = [f"no, there is no {name}", "no", f"no, there is no {asked}"]
    return _answer(pick(IS_THERE, stream, split).format(x=a(asked)), ways)


def scene_to_ask(stream: random.Random, split: str = "train") -> Scene:
    """A scene for a question; how many of what is asked more often than chance would."""
    return sample_scene(stream, stream.choice(("one", "one", "count", "pair", "pair", "three")), split)
