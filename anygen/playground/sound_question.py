"""Questions about a sound, with the one short answer to each and everything that counts as the same answer."""

import random
from collections.abc import Callable

from anygen.playground.clip import Clip, sample_heard
from anygen.playground.hearing import COUNT_WORDS, DIRECTION_WORDS, FAR_WORDS, NEAR_WORDS, TEMPO_WORDS, name_sound
from anygen.playground.question import Answered
from anygen.playground.sound import SOUNDS, sound_of
from anygen.playground.things import thing
from anygen.playground.word import NUMBERS, a, called, listed, pick, sentence

DESCRIBE = (
    "What do you hear?",
    "Describe the sound.",
    "What can you hear?",
    "Describe what you hear.",
    "Describe this sound for me.",
    "What is in this recording?",
    "Tell me what you hear.",
    "Write a caption for this sound.",
    "Listen and tell me what you hear.",
    "What does the recording contain?",
    "Please describe this recording.",
    "Caption this sound.",
    "Say what you hear.",
    "What is to be heard here?",
    "Listen to this.",
    "Can you describe this sound?",
    "What does this sound like?",
)
WHAT = (
    "What makes this sound?",
    "Which thing do you hear?",
    "What is it that sounds here?",
    "Name what you hear.",
    "Whose sound is this?",
    "Can you name what makes this sound?",
    "What sounds here?",
    "What is making this sound?",
    "Which thing makes this sound?",
    "Do you know what makes this sound?",
    "What do I hear?",
    "Name the thing that you hear.",
    "What thing sounds like this?",
    "Who or what makes this sound?",
    "Tell me what makes this sound.",
    "What is the thing in this recording?",
    "Whose sound is it?",
    "What is it that you hear?",
    "Say what makes this sound.",
)
WHAT_ALL = (
    "Which things do you hear?",
    "What makes these sounds?",
    "Name the things that you hear.",
    "Which two things can you hear?",
    "What are the things that sound here?",
    "List what you hear.",
    "Name both things.",
    "What are the two things that you hear?",
    "Which things can be heard?",
    "What do I hear here? Name the things.",
    "Tell me which things you hear.",
    "Which things make these sounds?",
    "Name all things in the recording.",
    "What things are in this recording?",
    "List the things that sound here.",
    "What are both sounds?",
)
HOW_OFTEN = (
    "How many times do you hear it?",
    "How often does it sound?",
    "How many times does it sound?",
    "How often do you hear {x}?",
    "How many times can {x} be heard?",
    "How many times is there the sound of {x}?",
    "How many times does {x} sound?",
    "Count how often it sounds.",
    "How often can you hear it?",
    "Tell me how many times you hear it.",
    "How many times is it heard?",
    "How often is {x} heard?",
    "Count the sounds.",
    "How many times do I hear {x}?",
    "Say how often it sounds.",
    "What is the number of times that it sounds?",
)
TEMPO = (
    "Is it fast or slow?",
    "Do the sounds come fast or slow?",
    "How fast does it go?",
    "Is the tempo slow or fast?",
    "Is {x} fast or slow?",
    "At which tempo does it sound?",
    "Does it go slowly or quickly?",
    "Is this slow or fast?",
    "Does it sound fast or slow?",
    "Is the rhythm fast or slow?",
    "Tell me whether it is fast or slow.",
    "Do you hear it fast or slow?",
    "What is the tempo?",
    "How quickly does it repeat?",
    "Does {x} sound fast or slow?",
    "Slow or fast?",
)
DIRECTION = (
    "Is it rising or falling?",
    "Does the melody rise or fall?",
    "Do the notes go up or down?",
    "Is it getting higher or lower?",
    "In which direction does the melody go?",
    "Does {x} play higher and higher or lower and lower?",
    "Do the notes rise or fall?",
    "Is the melody going up or down?",
    "Does it go up or down?",
    "Which way does the melody go?",
    "Is {x} rising or falling?",
    "Do the tones get higher or lower?",
    "Rising or falling?",
    "Tell me whether the melody rises or falls.",
    "Is the tune going up or down?",
    "Does {x} rise or fall?",
)
DISTANCE = (
    "Is it near or far away?",
    "How far away is it?",
    "Does it come from near or from far away?",
    "Is the sound near or far?",
    "Is {x} near or far away?",
    "Do you hear it from near or from far?",
    "Is this near or far away?",
    "Does it sound near or far?",
    "Is {x} close by or far away?",
    "Near or far?",
    "Tell me whether it is near or far away.",
    "Where does it come from, near or far?",
    "Does the sound come from near or far?",
    "Is it close by or in the distance?",
    "How near is it?",
    "Does {x} sound near or far away?",
)
FIRST = (
    "What comes first?",
    "What do you hear first?",
    "Which sound is the first?",
    "Which thing sounds first?",
    "What came first?",
    "Which one is first?",
    "Which sound comes first?",
    "Which of the two do you hear first?",
    "What is heard first?",
    "What sounds first?",
    "Which thing comes first?",
    "Tell me what comes first.",
    "What is the first thing that you hear?",
    "What does it begin with?",
    "Which thing do you hear first?",
    "What is at the beginning?",
)
LAST = (
    "What comes last?",
    "What do you hear last?",
    "Which sound is the last?",
    "Which thing sounds last?",
    "What came last?",
    "What do you hear in the end?",
    "Which sound comes last?",
    "Which of the two do you hear last?",
    "What is heard last?",
    "What sounds last?",
    "Which thing comes last?",
    "Tell me what comes last.",
    "What is the last thing that you hear?",
    "What does it end with?",
    "Which thing do you hear last?",
    "What is at the end?",
)
ORDER = (
    "Do they sound together or one after the other?",
    "Are the sounds together or one after the other?",
    "Do you hear both at once or one after the other?",
    "Is it one after the other or both together?",
    "Do both sound at the same time?",
    "Are they at the same time or one after the other?",
    "Do the two sound together or one after the other?",
    "Is it both at once or one after the other?",
    "Are the two sounds at the same time or one after the other?",
    "Do they sound at once or one after the other?",
    "Together or one after the other?",
    "Tell me whether they sound together or one after the other.",
    "Do I hear them together or one after the other?",
    "Do the sounds come one after the other or together?",
    "Are both heard at the same time or one after the other?",
    "Do the things sound one after the other or at once?",
    "Are they heard at the same time?",
    "Is one heard after the other?",
    "Do both sound at once?",
)
IS_THERE = (
    "Do you hear {x}?",
    "Is there {x} in the recording?",
    "Can you hear {x}?",
    "Is there the sound of {x}?",
    "Is {x} to be heard?",
    "Does one hear {x}?",
    "Is this the sound of {x}?",
    "Can {x} be heard?",
    "Do I hear {x}?",
    "Is {x} in the recording?",
    "Tell me whether you hear {x}.",
    "Does this sound like {x}?",
    "Is there {x} to be heard?",
    "Do you hear {x} in the recording?",
    "Can one hear {x} here?",
    "Is {x} among the sounds?",
    "Does {x} sound here?",
    "Is the sound of {x} in it?",
    "Can I hear {x}?",
    "Does the recording contain {x}?",
)


def describe_sound(stream: random.Random, split: str = "train") -> str:
    """A request for a caption of a sound."""
    return pick(DESCRIBE, stream, split)


def _answer(ask: str, ways: list[str]) -> Answered:
    ways = [sentence(way) for way in ways]
    return ask, ways[0], ways


def _names(name: str) -> list[str]:
    """All ways to say what sounds, the canonical one first."""
    sound = sound_of(name)
    return list(dict.fromkeys([sound.heard, a(name), *sound.aliases, *(a(word) for word in thing(name).synonyms)]))


def _asked(family: tuple[str, ...], clip: Clip, stream: random.Random, split: str) -> str:
    return pick(family, stream, split).format(x=f"the {called(thing(clip.things[0]), stream)}")


def _what(clip: Clip, stream: random.Random, split: str) -> Answered:
    if len(clip.things) == 1:
        return _answer(pick(WHAT, stream, split), _names(clip.things[0]))
    first, second = map(_names, clip.things)
    ways = [listed([x, y]) for x in first for y in second]
    return _answer(pick(WHAT_ALL, stream, split), ways + [listed([y, x]) for x in first for y in second])


def _how_often(clip: Clip, stream: random.Random, split: str) -> Answered:
    count = len(clip.played)
    ways = [*COUNT_WORDS[count], NUMBERS[count], str(count), f"{count} times"]
    return _answer(_asked(HOW_OFTEN, clip, stream, split), ways)


def _tempo(clip: Clip, stream: random.Random, split: str) -> Answered:
    return _answer(_asked(TEMPO, clip, stream, split), [*TEMPO_WORDS[clip.tempo or ""], f"it is {clip.tempo}"])


def _direction(clip: Clip, stream: random.Random, split: str) -> Answered:
    rising = clip.direction == "rising"
    more = ("up", "higher", "it rises") if rising else ("down", "lower", "it falls")
    return _answer(_asked(DIRECTION, clip, stream, split), [*DIRECTION_WORDS[clip.direction or ""], *more])


def _distance(clip: Clip, stream: random.Random, split: str) -> Answered:
    words = (*FAR_WORDS, "far") if clip.loudness == "far" else NEAR_WORDS
    return _answer(_asked(DISTANCE, clip, stream, split), list(words))


def _first(clip: Clip, stream: random.Random, split: str) -> Answered:
    return _answer(pick(FIRST, stream, split), _names(clip.things[0]))


def _last(clip: Clip, stream: random.Random, split: str) -> Answered:
    return _answer(pick(LAST, stream, split), _names(clip.things[1]))


def _order(clip: Clip, stream: random.Random, split: str) -> Answered:
    if clip.kind == "together":
        return _answer(pick(ORDER, stream, split), ["together", "both together", "at the same time", "at once", "yes"])
    return _answer(pick(ORDER, stream, split), ["one after the other", "no"])


ASK: dict[str, Callable[[Clip, random.Random, str], Answered]] = {
    "what": _what,
    "how often": _how_often,
    "tempo": _tempo,
    "direction": _direction,
    "distance": _distance,
    "first": _first,
    "last": _last,
    "order": _order,
}
QUESTIONS_FOR = {
    "once": ("what", "what", "how often", "distance"),
    "times": ("what", "how often", "how often", "tempo", "tempo", "distance"),
    "melody": ("what", "direction", "direction", "direction", "distance"),
    "then": ("what", "first", "first", "last", "last", "order"),
    "together": ("what", "what", "order", "distance"),
}


def sound_question(clip: Clip, stream: random.Random, split: str = "train") -> tuple[str, Answered]:
    """The name of a kind of question that fits the clip, with a question of that kind."""
    kind = stream.choice(QUESTIONS_FOR[clip.kind])
    return kind, ASK[kind](clip, stream, split)


def is_heard(clip: Clip, stream: random.Random, split: str = "train") -> Answered:
    """A question after one sound; as often yes as no, and half of what is not heard is of a category that is."""
    names = clip.things
    ask = pick(IS_THERE, stream, split)
    if stream.random() < 0.5:
        sound = sound_of(stream.choice(names))
        ways = [f"yes, I hear {way}" for way in _names(sound.thing)]
        return _answer(ask.format(x=name_sound(sound, stream)), [*ways, "yes"])
    others = [sound for sound in SOUNDS if sound.thing not in names]
    category = thing(stream.choice(names)).category
    alike = [sound for sound in others if thing(sound.thing).category == category]
    sound = stream.choice(alike if alike and stream.random() < 0.5 else others)
    ways = [f"no, I do not hear {way}" for way in _names(sound.thing)]
    return _answer(ask.format(x=name_sound(sound, stream)), [*ways, "no"])


def clip_to_ask(stream: random.Random, split: str = "train") -> Clip:
    """A clip for a question; what comes first and how often more frequent than chance would."""
    return sample_heard(stream, stream.choice(("once", "times", "times", "melody", "then", "then", "together")), split)
