"""Questions about a film, with the one short answer to each and everything that counts as the same answer."""

import random
from collections.abc import Callable

from anygen.playground.film import Film, can_get_dark, sample_film
from anygen.playground.motion import STILL
from anygen.playground.question import Answered
from anygen.playground.things import THINGS, thing
from anygen.playground.watching import CAMERA_WORDS, MOTION_WORDS, STILL_CAMERA, does, moves
from anygen.playground.word import BACKDROP_WORDS, Family, a, called, listed, pick, sentence

DESCRIBE = (
    "What happens in this film?",
    "Describe the video.",
    "What do you see in this video?",
    "Describe this film.",
    "What happens here?",
    "What is going on in the video?",
    "Tell me what happens in the film.",
    "Write a caption for this video.",
    "What does the video show?",
    "Watch this and tell me what happens.",
    "Please describe what happens.",
    "Caption this video.",
    "Say what happens in the video.",
    "Watch this film.",
    "Can you describe this video?",
)
WHAT_MOVES = Family(
    "What moves?",
    "Which thing moves?",
    "What is it that moves?",
    "Name what moves.",
    "What moves in this film?",
    "Which thing is in motion?",
    "What is moving in the film?",
    "Say what moves.",
    "What is it that is in motion here?",
    "What is in motion?",
    "What is moving here?",
    "Can you say what moves?",
    "Tell me what moves in the film.",
    "What is it that moves in this video?",
    "Do you see what is moving?",
    "Which thing is moving here?",
    "What can one see moving?",
    "Tell me which thing moves.",
    more=(
        "What is it here that moves?",
        "Name the thing that moves.",
        "Name the thing in motion.",
        "What is the thing in motion?",
        "What is the thing that moves?",
        "Which one moves?",
        "Which one is moving?",
        "Who or what moves?",
        "What do you see moving?",
        "Say which thing moves.",
        "What thing moves?",
        "Can you name the moving thing?",
        "What is the moving thing?",
    ),
)
WHAT_ALL = Family(
    "Which things move?",
    "Name the things that move.",
    "Which two things move?",
    "What are the things that move?",
    "What moves in this film?",
    "What things are moving here?",
    "Name what moves.",
    "What is moving in the film?",
    "Which things are in motion?",
    "Which things are moving?",
    "Tell me which things move.",
    "Say which things are in motion.",
    "What are the two things that move?",
    "Which things does one see moving?",
    "Tell me what moves here.",
    "Can you name the things that move?",
    "Which of the things are moving?",
    "Say what moves here.",
    more=(
        "Name the things in motion.",
        "What are the moving things?",
        "Name both things that move.",
        "Which two are moving?",
        "What two things move?",
        "List what moves.",
        "List the things that move.",
    ),
)
WHAT_DOES = Family(
    "What does the {x} do?",
    "How does the {x} move?",
    "What is the {x} doing?",
    "What happens to the {x}?",
    "Tell me what the {x} does.",
    "Which motion does the {x} make?",
    "Say what the {x} does.",
    "Tell me how the {x} moves.",
    "What does the {x} do in the film?",
    "In what way does the {x} move?",
    "What is it that the {x} does?",
    "Can you tell me what the {x} does?",
    "Describe what the {x} does.",
    "What can one see the {x} do?",
    "How is the {x} moving?",
    "Do you see what the {x} does?",
    "And the {x}, what does it do?",
    "Describe how the {x} moves.",
    more=(
        "What is the {x} up to?",
        "Say how the {x} moves.",
        "What motion does the {x} make?",
        "Name the motion of the {x}.",
        "What kind of motion does the {x} make?",
        "In which way is the {x} moving?",
        "Tell me what the {x} is doing.",
        "Say what the {x} is doing.",
        "How would you describe the motion of the {x}?",
        "Please tell me how the {x} moves.",
        "Tell me about the motion of the {x}.",
        "What is the motion of the {x}?",
        "What does one see the {x} do?",
    ),
)
WHAT_DOES_IT = Family(
    "What does it do?",
    "How does it move?",
    "What is it doing?",
    "What happens to it?",
    "Tell me what it does.",
    "Say what it does.",
    "Which motion does it make?",
    "Tell me how it moves.",
    "What does it do in the film?",
    "In what way does it move?",
    "Describe what it does.",
    "How is it moving?",
    "Can you tell me what it does?",
    "What is the motion that it makes?",
    "Describe how it moves.",
    "Do you see what it does?",
    "What can one see it do?",
    "What is its motion?",
    more=(
        "What is it up to?",
        "What motion does it make?",
        "Name its motion.",
        "What kind of motion is it?",
        "In which way is it moving?",
        "Tell me what it is doing.",
        "Say what it is doing.",
        "How would you describe its motion?",
        "Please tell me how it moves.",
        "Tell me about its motion.",
        "Say how it moves.",
        "Can you say what it does?",
    ),
)
WHICH_WAY = Family(
    "Which way does it go?",
    "In which direction does the {x} move?",
    "Which way does the {x} go?",
    "Where does the {x} go?",
    "In which direction does it move?",
    "Which way does it move?",
    "Say where the {x} goes.",
    "What is the direction of the {x}?",
    "Tell me which way it goes.",
    "To which side does it go?",
    "Tell me where the {x} goes.",
    "Where does it go?",
    "In what direction is the {x} moving?",
    "What is its direction?",
    "Say which way it goes.",
    "Where is the {x} going?",
    "Which way is it moving?",
    "Tell me the direction of the {x}.",
    more=(
        "Which way is the {x} moving?",
        "Where is it going?",
        "Say in which direction it moves.",
        "Tell me in which direction the {x} moves.",
        "Which direction does it take?",
        "Name its direction.",
        "In which direction is it moving?",
    ),
)
FIRST = (
    "What happens first?",
    "What happens at first?",
    "What comes first?",
    "Tell me what happens first.",
    "What happens at the beginning?",
    "What is the first thing that happens?",
    "How does it begin?",
    "Say what comes first.",
    "With what does the film begin?",
    "What is first?",
    "Tell me what comes first.",
    "What happens before the other thing?",
    "What do you see first?",
    "At the start, what happens?",
    "Say what happens first.",
    "How does the film begin?",
    "What is the beginning of the film?",
    "Which comes first?",
)
LAST = (
    "What happens last?",
    "What happens then?",
    "What happens after that?",
    "What comes last?",
    "What happens at the end?",
    "What is the last thing that happens?",
    "How does it end?",
    "Say what comes last.",
    "With what does the film end?",
    "What is last?",
    "Tell me what comes last.",
    "And what happens then?",
    "What do you see last?",
    "What happens after the first?",
    "Say what happens last.",
    "How does the film end?",
    "What is the end of the film?",
    "Which comes last?",
)
ORDER = (
    "Do they move at the same time or one after the other?",
    "Is it one after the other or both at the same time?",
    "Do both move together or one after the other?",
    "Do they move together or one after the other?",
    "Do both of them move at once?",
    "Do both move at the same time?",
    "Are both in motion at once or one after the other?",
    "Do they move at once?",
    "Does one move after the other?",
    "Is it at the same time or one after the other?",
    "Tell me if they move at the same time.",
    "Do the two move together?",
    "Are both of them in motion at the same time?",
    "Is it first one and then the other?",
    "Do they take turns or move together?",
    "Does one wait for the other?",
    "At once, or one after the other?",
    "Say whether they move at the same time.",
)
CAMERA = (
    "Does the camera move?",
    "What does the camera do?",
    "How does the camera move?",
    "Is the camera moving?",
    "Does the camera stand still?",
    "Is the camera still?",
    "Tell me what the camera does.",
    "Does the camera stay where it is?",
    "In which way does the camera move?",
    "What is the camera doing?",
    "Is the camera in motion?",
    "Say what the camera does.",
    "Where does the camera go?",
    "How is the camera moving?",
    "Does the camera keep still?",
    "What happens with the camera?",
    "Can you tell me what the camera does?",
    "Does the camera turn or move?",
)
DUSK = (
    "Does it get dark?",
    "Does night fall?",
    "Does the day turn to night?",
    "Is it getting dark?",
    "Does it become night?",
    "Does day become night?",
    "Is it night at the end?",
    "Tell me whether it gets dark.",
    "Does the light go?",
    "Does it grow dark?",
    "Does the sun go down?",
    "Tell me if it gets dark.",
    "Is it dark at the end?",
    "Does night come?",
    "Does the day end?",
    "Does evening come?",
    "Is the light going?",
    "Say whether it becomes night.",
)
BACKDROP = Family(
    "Where is it?",
    "Where does this happen?",
    "Where does it take place?",
    "Where is this?",
    "Where was this filmed?",
    "In what place does this happen?",
    "What is the place?",
    "In front of what does it happen?",
    "Where was this video made?",
    "Tell me where it happens.",
    "What is behind it?",
    "At what place is this?",
    "Where are we?",
    "What is in the background?",
    "Say where this happens.",
    "Where does the film take place?",
    "What is the backdrop?",
    "Before what backdrop does it happen?",
    more=(
        "Where does it happen?",
        "What place is this?",
        "Tell me the place.",
        "What do you see behind it?",
        "Say where it is.",
    ),
)
STANDS = Family(
    "What stands still?",
    "Which thing does not move?",
    "What does not move?",
    "Which thing stands still?",
    "Name what stands still.",
    "What keeps still?",
    "Tell me what does not move.",
    "Which thing stays where it is?",
    "What is not in motion?",
    "What is it that does not move?",
    "Say what stands still.",
    "What stays where it is?",
    "Tell me what stands still.",
    "Which thing is not in motion?",
    "What is it that stays?",
    "Name the thing that does not move.",
    "What keeps its place?",
    "Which of the two does not move?",
    more=(
        "Which thing keeps still?",
        "What thing does not move?",
        "Name the thing that stands still.",
        "Which one does not move?",
        "Which one stands still?",
        "Which one stays where it is?",
        "What is the thing that does not move?",
        "Say which thing does not move.",
        "Tell me which thing stands still.",
        "Which of the two stands still?",
        "What is it that stands still?",
        "What does not go anywhere?",
    ),
)
IS_THERE = (
    "Is there {x} in the film?",
    "Do you see {x}?",
    "Is there {x}?",
    "Does the video show {x}?",
    "Is there {x} in the video?",
    "Can you see {x} in the film?",
    "Is {x} to be seen?",
    "Does {x} come up in the film?",
    "Is there {x} here?",
    "Does one see {x} in the film?",
    "Can you see {x}?",
    "Do you see {x} in this video?",
    "Tell me if there is {x}.",
    "Is {x} in the film?",
    "Does the film show {x}?",
    "Is there any sign of {x}?",
    "Would you say that there is {x}?",
    "Say whether {x} comes up.",
)
WAYS = {
    "crosses from left to right": ("from left to right", "to the right", "right"),
    "crosses from right to left": ("from right to left", "to the left", "left"),
    "rises": ("up", "upwards", "to the top"),
    "falls": ("down", "downwards", "to the bottom"),
    "comes near": ("nearer", "closer", "near", "to the front"),
    "goes away": ("away", "into the distance", "farther away"),
}
"""Where the motions lead that lead somewhere; the first is the answer."""


def describe_film(stream: random.Random, split: str = "train") -> str:
    """A request for a caption of a film."""
    return pick(DESCRIBE, stream, split)


def _answer(ask: str, ways: list[str]) -> Answered:
    ways = [sentence(way) for way in dict.fromkeys(ways)]
    return ask, ways[0], ways


def _names(name: str) -> list[str]:
    """All ways to name a thing, the canonical one first."""
    return [a(word) for word in (name, *thing(name).synonyms)]


def _acts(name: str, motion: str) -> list[str]:
    """All ways to say what a thing does, the canonical one first: 'a cat rises', 'the cat goes up'."""
    words = [moves(name, motion), *(does(word) for word in MOTION_WORDS[motion])]
    return [f"{who} {word}" for word in words for who in (a(name), f"the {name}", "it")]


def _asked(family: tuple[str, ...], name: str, stream: random.Random, split: str) -> str:
    return pick(family, stream, split).format(x=called(thing(name), stream))


def _what_moves(film: Film, stream: random.Random, split: str) -> Answered:
    names = [_names(actor.thing) for actor in film.movers]
    if len(names) == 1:
        return _answer(pick(WHAT_MOVES, stream, split), names[0])
    ways = [listed([x, y]) for x in names[0] for y in names[1]]
    return _answer(pick(WHAT_ALL, stream, split), ways + [listed([y, x]) for x in names[0] for y in names[1]])


def _what_does(film: Film, stream: random.Random, split: str) -> Answered:
    actor = stream.choice(film.movers)
    family = WHAT_DOES_IT if film.kind == "one" and stream.random() < 0.4 else WHAT_DOES
    ways = _acts(actor.thing, actor.motion)
    return _answer(_asked(family, actor.thing, stream, split), [f"it {moves(actor.thing, actor.motion)}", *ways])


def _which_way(film: Film, stream: random.Random, split: str) -> Answered:
    actor = film.movers[0]
    ways = list(WAYS[actor.motion])
    more = [f"it {does(words)}" for words in MOTION_WORDS[actor.motion]]
    return _answer(_asked(WHICH_WAY, actor.thing, stream, split), [*ways, *(f"it goes {way}" for way in ways), *more])


def _first(film: Film, stream: random.Random, split: str) -> Answered:
    actor = film.actors[0]
    return _answer(pick(FIRST, stream, split), _acts(actor.thing, actor.motion))


def _last(film: Film, stream: random.Random, split: str) -> Answered:
    actor = film.actors[1]
    return _answer(pick(LAST, stream, split), _acts(actor.thing, actor.motion))


def _order(film: Film, stream: random.Random, split: str) -> Answered:
    if film.kind == "together":
        return _answer(pick(ORDER, stream, split), ["at the same time", "both at the same time", "together", "at once"])
    return _answer(pick(ORDER, stream, split), ["one after the other"])


def _camera(film: Film, stream: random.Random, split: str) -> Answered:
    words = [STILL_CAMERA] if film.camera is None else [w for w in CAMERA_WORDS[film.camera] if w.startswith("the")]
    return _answer(pick(CAMERA, stream, split), words)


def _dusk(film: Film, stream: random.Random, split: str) -> Answered:
    ways = ["yes, it gets dark", "yes"] if film.dusk else ["no, it does not get dark", "no"]
    return _answer(pick(DUSK, stream, split), ways)


def _backdrop(film: Film, stream: random.Random, split: str) -> Answered:
    return _answer(pick(BACKDROP, stream, split), [*BACKDROP_WORDS[film.backdrop], film.backdrop])


def _stands(film: Film, stream: random.Random, split: str) -> Answered:
    still = next(actor for actor in film.actors if actor.motion == STILL)
    return _answer(pick(STANDS, stream, split), _names(still.thing))


ASK: dict[str, Callable[[Film, random.Random, str], Answered]] = {
    "what moves": _what_moves,
    "what does it do": _what_does,
    "which way": _which_way,
    "first": _first,
    "last": _last,
    "order": _order,
    "camera": _camera,
    "dusk": _dusk,
    "backdrop": _backdrop,
    "stands still": _stands,
}
QUESTIONS_FOR = {
    "one": ("what moves", "what does it do", "what does it do", "backdrop", "camera"),
    "beside": ("what moves", "what does it do", "stands still", "stands still", "backdrop"),
    "together": ("what moves", "what does it do", "what does it do", "order", "backdrop"),
    "then": ("what moves", "what does it do", "first", "first", "last", "last", "order"),
}


def film_question(film: Film, stream: random.Random, split: str = "train") -> tuple[str, Answered]:
    """The name of a kind of question that fits the film, with a question of that kind."""
    kinds = list(QUESTIONS_FOR[film.kind])
    if film.kind in ("one", "beside") and film.movers[0].motion in WAYS:
        kinds += ["which way"] * 3
    if film.camera:
        kinds += ["camera"] * 3
    if film.dusk or (can_get_dark(film.backdrop) and stream.random() < 0.15):
        kinds += ["dusk"] * 3
    kind = stream.choice(kinds)
    return kind, ASK[kind](film, stream, split)


def is_seen(film: Film, stream: random.Random, split: str = "train") -> Answered:
    """A question after one thing; as often yes as no, and half of what is not there is of a category that is."""
    ask = pick(IS_THERE, stream, split)
    if stream.random() < 0.5:
        item = thing(stream.choice(film.things))
        ways = [f"yes, there is {a(item.name)}", "yes", *(f"yes, there is {a(word)}" for word in item.synonyms)]
        return _answer(ask.format(x=a(called(item, stream))), ways)
    others = [item for item in THINGS if item.name not in film.things]
    category = thing(stream.choice(film.things)).category
    alike = [item for item in others if item.category == category]
    item = stream.choice(alike if alike and stream.random() < 0.5 else others)
    ways = [f"no, there is no {item.name}", "no", *(f"no, there is no {word}" for word in item.synonyms)]
    return _answer(ask.format(x=a(called(item, stream))), ways)


def film_to_ask(stream: random.Random, split: str = "train") -> Film:
    """A film for a question; what happens first more frequent than chance would."""
    return sample_film(stream, stream.choice(("one", "one", "one", "beside", "together", "then", "then")), split)
