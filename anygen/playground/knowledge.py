"""What nano knows without a picture: what there is, what it is, what it sounds like, and sums (`sums.py`)."""

import random
from collections.abc import Callable

from anygen.playground.caption import casual
from anygen.playground.sound import INDEX as AUDIBLE
from anygen.playground.sums import Answered, answered, count_on, count_to, plain_sum, things_sum
from anygen.playground.things import BACKDROPS, SIZES, THINGS
from anygen.playground.unknown import decline, unknown_name
from anygen.playground.word import Family, a, article, called, listed, pick, plural_of

KINDS = {
    "animal": "an animal",
    "food": "food",
    "plant": "a plant",
    "vehicle": "a vehicle",
    "instrument": "an instrument",
}
KINDS_PLURAL = {
    "animal": "animals",
    "food": "food",
    "plant": "plants",
    "vehicle": "vehicles",
    "instrument": "instruments",
}

ABILITIES = (
    "What can you draw?",
    "What can you do?",
    "What things do you know?",
    "Which things can you draw?",
    "What do you know?",
    "Tell me what you can draw.",
    "What are you able to draw?",
    "Tell me what you know.",
    "What pictures can you make?",
    "What can I ask you?",
    "Which things are you able to draw?",
    "What is there that you can draw?",
    "Say what you can do.",
    "What do you know how to draw?",
    "Tell me which things you know.",
)
NAME_SOME = (
    "Which {kinds} can you draw?",
    "Which {kinds} do you know?",
    "Name some {kinds}.",
    "What {kinds} do you know?",
    "Tell me some {kinds}.",
    "Give me a list of {kinds}.",
    "Tell me which {kinds} you know.",
    "Can you name some {kinds}?",
    "Which {kinds} are there?",
    "Say some {kinds} that you can draw.",
    "What {kinds} are you able to draw?",
    "List some {kinds}.",
    "Do you know some {kinds}?",
    "What {kinds} can you draw?",
    "Give me some {kinds}.",
)
CAN_DRAW = (
    "Can you draw {x}, or not?",
    "Do you know how to draw {x}?",
    "Are you able to draw {x}?",
    "Do you know what {x} looks like?",
    "Would you be able to draw {x}?",
    "Is {x} something that you can draw?",
    "Tell me if you can draw {x}.",
    "Is it possible for you to draw {x}?",
    "Do you know {x} well enough to draw it?",
    "Could you draw {x}, if I asked?",
    "Tell me whether you know how to draw {x}.",
    "Is {x} a thing that you know?",
    "Can you make a picture of {x}, or not?",
    "Are you able to make an image of {x}?",
    "Would you know how to draw {x}?",
    "Are you able to paint {x}?",
    "Could you paint {x}?",
    "Can {x} be drawn by you?",
    "If I asked for {x}, could you draw it?",
)
IS_A = Family(
    "Is {x} {kind}?",
    "Would you say that {x} is {kind}?",
    "Is it true that {x} is {kind}?",
    "Do you think that {x} is {kind}?",
    "Can we call {x} {kind}?",
    "{x} is {kind}, right?",
    "Tell me if {x} is {kind}.",
    "Is it right that {x} is {kind}?",
    "So {x} is {kind}?",
    "Can one say that {x} is {kind}?",
    "Would you call {x} {kind}?",
    "Do we call {x} {kind}?",
    "Do people think that {x} is {kind}?",
    "Can you tell me if {x} is {kind}?",
    "Is it true to call {x} {kind}?",
    "Is {x} one of those that are called {kind}?",
    "Does one call {x} {kind}?",
    "Is it right to say that {x} is {kind}?",
    "Can {x} be called {kind}?",
    more=(
        "Does {x} count as {kind}?",
        "Is it correct that {x} is {kind}?",
        "Is {x} {kind} or not?",
        "Would it be right to call {x} {kind}?",
        "Do you agree that {x} is {kind}?",
        "Am I right that {x} is {kind}?",
        "Do you call {x} {kind}?",
        "Is it a fact that {x} is {kind}?",
        "Let me know if {x} is {kind}.",
        "{x} is {kind}, is it not?",
    ),
)
WHAT_IS = (
    "What is {x}?",
    "What kind of thing is {x}?",
    "Tell me what {x} is.",
    "Do you know what {x} is?",
    "So what is {x}?",
    "Say what {x} is.",
    "Can you tell me what {x} is?",
    "What do we call {x}?",
    "Which kind of thing is {x}?",
    "Tell me, what is {x}?",
    "What would you say that {x} is?",
    "Explain what {x} is.",
    "What sort of thing is {x}?",
)
SOUND = (
    "What sound does {x} make?",
    "What does {x} sound like?",
    "Which sound does {x} make?",
    "How does {x} sound?",
    "What noise does {x} make?",
    "How does {x} go?",
    "Tell me what {x} sounds like.",
    "Which noise does {x} make?",
    "What does {x} say?",
    "What sound comes from {x}?",
    "Say how {x} sounds.",
    "Do you know what sound {x} makes?",
    "Can you tell me how {x} sounds?",
    "What is the sound of {x}?",
    "Tell me the sound that {x} makes.",
)
WHO_GOES = (
    "What goes {sound}?",
    "Which thing goes {sound}?",
    "Who goes {sound}?",
    "What makes {sound}?",
    "What says {sound}?",
    "Tell me what goes {sound}.",
    "Which thing says {sound}?",
    "Do you know what goes {sound}?",
    "Who says {sound}?",
    "Who makes {sound}?",
    "What is it that goes {sound}?",
    "Say what goes {sound}.",
    "Which thing makes {sound}?",
)
BACKDROPS_KNOWN = (
    "Which backdrops do you know?",
    "What backdrops are there?",
    "Which backgrounds can you draw?",
    "Name your backdrops.",
    "Where can your scenes take place?",
    "Which places can you draw?",
    "What backgrounds do you know?",
    "Which backdrops can you draw?",
    "Tell me your backdrops.",
    "List the backdrops.",
    "What places are there?",
    "Which scenes do you know?",
    "What are your backgrounds?",
    "Name all backdrops that you know.",
    "Which backgrounds are there?",
)
SIZES_KNOWN = (
    "Which sizes do you know?",
    "What sizes can things have?",
    "How big can you draw things?",
    "Name the sizes.",
    "Which sizes are there?",
    "What sizes do you know?",
    "In which sizes can you draw things?",
    "List the sizes.",
    "Tell me the sizes of things.",
    "Which sizes can things have?",
    "What sizes are there?",
    "In what sizes do you draw?",
    "How large can things be?",
    "Name the sizes that you know.",
    "What are the sizes?",
)
ANOTHER_WORD = Family(
    "What is another word for {x}?",
    "Do you know another word for {x}?",
    "What else can one call {x}?",
    "Give me another name for {x}.",
    "Which other word is there for {x}?",
    "How else do people call {x}?",
    "Tell me another word for {x}.",
    "Which other name does {x} have?",
    "Can you give me another word for {x}?",
    "Do you know what else {x} is called?",
    "What is another name for {x}?",
    "What other word is there for {x}?",
    "Say another word for {x}.",
    "How else can one call {x}?",
    "What else do people call {x}?",
    more=(
        "What is a synonym of {x}?",
        "Tell me a synonym for {x}.",
        "Name another word for {x}.",
        "Is there another word for {x}?",
        "What would be another word for {x}?",
        "Which word means the same as {x}?",
        "What other name does {x} go by?",
        "Another word for {x}?",
        "Which word could I use for {x}?",
    ),
)
PLURAL = Family(
    "What is the plural of {x}?",
    "What do you call more than one {x}?",
    "How do you say many of {x}?",
    "Which word is the plural of {x}?",
    "Plural of {x}?",
    "Tell me the plural of {x}.",
    "What is the word for many of {x}?",
    "If there is more than one {x}, what do you say?",
    "How do you call more than one {x}?",
    "What is the plural of the word {x}?",
    "Do you know the plural of {x}?",
    "Say the plural of {x}.",
    "Which plural does {x} have?",
    more=(
        "What is the plural form of {x}?",
        "Give me the plural of {x}.",
        "What are many of {x} called?",
        "Name the plural of {x}.",
        "What would be the plural of {x}?",
        "And the plural of {x}?",
        "How do you write the plural of {x}?",
        "What is {x} in the plural?",
        "Can you tell me the plural of {x}?",
    ),
)
WHO_ARE_YOU = Family(
    "Who are you?",
    "What are you?",
    "What is your name?",
    "Tell me about yourself.",
    "Introduce yourself.",
    "Who am I talking to?",
    "Please introduce yourself.",
    "Say who you are.",
    "What kind of model are you?",
    "Are you a model?",
    "What do they call you?",
    "Can you tell me who you are?",
    "Who is this?",
    "What should I call you?",
    "Tell me who you are.",
    more=(
        "Who might you be?",
        "What is this?",
        "Tell me who this is.",
        "What are you called?",
        "Tell me your name.",
        "May I ask who you are?",
        "Are you a program?",
        "Are you a machine?",
        "Which model is this?",
    ),
)
HELLO = Family(
    "Hello",
    "Hello!",
    "Hi",
    "Hi!",
    "Hey",
    "Hi there!",
    "Good morning!",
    "Hello there",
    "Good day",
    more=(
        "Hello, you!",
        "Good evening!",
        "Good afternoon!",
        "Greetings!",
        "Hey there!",
        "Hello, AnyGen!",
        "Good to see you.",
        "Hello again!",
        "Good morning to you!",
    ),
)
THANKS = Family(
    "Thank you.",
    "Thanks!",
    "Thank you!",
    "Very nice.",
    "Well done!",
    "Great!",
    "I like it.",
    more=(
        "Thanks a lot!",
        "Thank you very much.",
        "That is great.",
        "That is nice.",
        "Wonderful!",
        "Lovely!",
        "Good job!",
        "Nice work!",
        "Perfect!",
        "I love it.",
        "Beautiful!",
        "Cool!",
        "Good work.",
        "That is very good.",
        "Thank you so much!",
        "Nicely done.",
        "Well drawn!",
        "This is good.",
        "Excellent!",
    ),
)

_ABLE = "I can draw animals, food, plants, vehicles, instruments and many other things"
_SOUNDS = [item.sound for item in THINGS]


def _abilities(stream: random.Random, split: str) -> Answered:
    return answered(pick(ABILITIES, stream, split), _ABLE)


def _name_some(stream: random.Random, split: str) -> Answered:
    category = stream.choice(list(KINDS))
    names = [item.name for item in THINGS if item.category == category][:4]
    ask = pick(NAME_SOME, stream, split).format(kinds=KINDS_PLURAL[category])
    return answered(ask, f"I can draw {listed([a(name) for name in names])}, for example")


def _can_draw(stream: random.Random, split: str) -> Answered:
    if stream.random() < 0.5:
        name = unknown_name(stream, split)
        return answered(pick(CAN_DRAW, stream, split).format(x=a(name)), decline(name)[:-1])
    item = stream.choice(THINGS)
    ask = pick(CAN_DRAW, stream, split).format(x=a(called(item, stream)))
    return answered(ask, f"Yes, I can draw {a(item.name)}", "Yes")


def _is_a(stream: random.Random, split: str) -> Answered:
    category = stream.choice(list(KINDS))
    members = [item for item in THINGS if item.category == category]
    right = stream.random() < 0.5
    item = stream.choice(members if right else [item for item in THINGS if item not in members])
    ask = pick(IS_A, stream, split).format(x=a(called(item, stream)), kind=KINDS[category])
    said, short = (f"yes, {a(item.name)} is", "yes") if right else (f"no, {a(item.name)} is not", "no")
    return answered(ask, f"{said} {KINDS[category]}", short)


def _what_is(stream: random.Random, split: str) -> Answered:
    item = stream.choice([item for item in THINGS if item.category in KINDS])
    verb = "are" if item.plural == item.name and article(item.name) == "some" else "is"
    ask = pick(WHAT_IS, stream, split)
    if item.synonyms and stream.random() < 0.4:
        name = stream.choice(item.synonyms)
        return answered(ask.format(x=a(name)), f"{a(name)} is {a(item.name)}")
    return answered(ask.format(x=a(item.name)), f"{a(item.name)} {verb} {KINDS[item.category]}", KINDS[item.category])


def _sound(stream: random.Random, split: str) -> Answered:
    voiced = stream.random() < 0.85
    silent = [item for item in THINGS if not item.sound and item.name not in AUDIBLE]
    item = stream.choice([item for item in THINGS if item.sound] if voiced else silent)
    ask = pick(SOUND, stream, split).format(x=a(called(item, stream)))
    if item.sound:
        return answered(ask, f"{a(item.name)} goes {item.sound}", item.sound)
    return answered(ask, f"I know no sound of {a(item.name)}")


def _who_goes(stream: random.Random, split: str) -> Answered:
    item = stream.choice([item for item in THINGS if item.sound and _SOUNDS.count(item.sound) == 1])
    ask = pick(WHO_GOES, stream, split).format(sound=item.sound)
    return answered(ask, f"{a(item.name)} goes {item.sound}", a(item.name))


def _backdrops(stream: random.Random, split: str) -> Answered:
    return answered(pick(BACKDROPS_KNOWN, stream, split), listed(BACKDROPS))


def _sizes(stream: random.Random, split: str) -> Answered:
    return answered(pick(SIZES_KNOWN, stream, split), listed(list(SIZES)))


def _another_word(stream: random.Random, split: str) -> Answered:
    item = stream.choice([item for item in THINGS if item.synonyms])
    ask = pick(ANOTHER_WORD, stream, split)
    if stream.random() < 0.3:
        name = stream.choice(item.synonyms)
        return answered(ask.format(x=name), f"another word for {name} is {item.name}", item.name)
    ways = [f"another word for {item.name} is {name}" for name in item.synonyms]
    return answered(ask.format(x=item.name), *ways, *item.synonyms)


def _plural(stream: random.Random, split: str) -> Answered:
    item = stream.choice(THINGS)
    if item.synonyms and stream.random() < 0.2:
        name = stream.choice(item.synonyms)
        return answered(pick(PLURAL, stream, split).format(x=name), plural_of(name))
    return answered(pick(PLURAL, stream, split).format(x=item.name), item.plural)


def _manners(stream: random.Random, split: str) -> Answered:
    kind = stream.randrange(3)
    if kind == 0:
        return answered(pick(WHO_ARE_YOU, stream, split), "I am AnyGen. I look at pictures, draw and tell stories")
    if kind == 1:
        return pick(HELLO, stream, split), ["Hello! What shall I draw?"]
    return pick(THANKS, stream, split), ["You are welcome."]


FIELDS: dict[str, Callable[[random.Random, str], Answered]] = {
    "abilities": _abilities,
    "name some": _name_some,
    "can draw": _can_draw,
    "is a": _is_a,
    "what is": _what_is,
    "sound": _sound,
    "who goes": _who_goes,
    "sum of things": things_sum,
    "sum": plain_sum,
    "count to": count_to,
    "count on": count_on,
    "backdrops": _backdrops,
    "sizes": _sizes,
    "another word": _another_word,
    "plural": _plural,
    "manners": _manners,
}
_WEIGHTS = {
    "train": (1, 2, 2, 4, 3, 4, 2, 7, 5, 1, 3, 1, 1, 2, 1, 2),
    "heldout": (1, 2, 2, 4, 3, 4, 2, 4, 2, 1, 0, 1, 1, 2, 1, 2),
}
"""How often each field is asked about; sums, which take the longest to learn, are trained more often than asked for,
and counting on, which is a step on the way to them, in training alone."""


def world_question(stream: random.Random, split: str = "train") -> tuple[str, str, list[str]]:
    """A field of knowledge, a question from it, and its right answers, the canonical one first."""
    field = stream.choices(list(FIELDS), _WEIGHTS[split])[0]
    ask, ways = FIELDS[field](stream, split)
    return field, casual(ask, stream), ways
