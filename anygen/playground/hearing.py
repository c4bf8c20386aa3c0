"""What is said of sounds: the canonical caption of a clip, the many other ways to say it, and the reading of both."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from anygen.playground.caption import casual, tidy
from anygen.playground.clip import Clip
from anygen.playground.sound import INDEX, SOUNDS, Sound, sound_of
from anygen.playground.things import THINGS, thing
from anygen.playground.word import NUMBERS, Family, a, called, pick, plural_of, sentence

COUNT_WORDS = {1: ("once", "one time"), 2: ("twice", "two times"), 3: ("three times",), 4: ("four times",)}
TEMPO_WORDS = {"slow": ("slow", "slowly", "at a slow pace"), "fast": ("fast", "quickly", "in quick succession")}
DIRECTION_WORDS = {
    "rising": ("rising", "going up", "getting higher", "climbing"),
    "falling": ("falling", "going down", "getting lower", "sinking"),
}
FAR_WORDS = ("far away", "in the distance", "from afar", "at a distance")
NEAR_WORDS = ("near", "close by", "nearby")
EXAMPLES = "a dog, a bell or a train"


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundFacts:
    """What a caption claims of a sound; what is not said is None. `things` are in the order in which they sound."""

    kind: str
    things: tuple[str, ...]
    count: int | None = None
    tempo: str | None = None
    direction: str | None = None
    loudness: str | None = None

    def agrees(self, other: "SoundFacts") -> bool:
        """Whether both claim the same: two that sound together have no order, and what is not far is near."""
        order = sorted if self.kind == "together" else list
        return (
            self.kind == other.kind
            and order(self.things) == order(other.things)
            and (self.count, self.tempo, self.direction) == (other.count, other.tempo, other.direction)
            and (self.loudness or "near") == (other.loudness or "near")
        )


def sound_facts(clip: Clip) -> SoundFacts:
    """What the canonical caption of a clip claims."""
    counts = {"once": 1, "times": len(clip.played)}
    return SoundFacts(
        kind=clip.kind,
        things=clip.things,
        count=counts.get(clip.kind),
        tempo=clip.tempo,
        direction=clip.direction,
        loudness="far" if clip.loudness == "far" else None,
    )


def sound_caption(clip: Clip) -> str:
    """The canonical caption of a clip: 'the sound of a bell, three times, fast, far away'."""
    heard = [sound_of(name).heard for name in clip.things]
    if clip.kind == "once":
        how = f"{heard[0]}, once"
    elif clip.kind == "times":
        how = f"{heard[0]}, {COUNT_WORDS[len(clip.played)][0]}, {clip.tempo}"
    elif clip.kind == "melody":
        how = f"{heard[0]}, {clip.direction}"
    elif clip.kind == "then":
        how = f"{heard[0]}, then {heard[1]}"
    else:
        how = f"{heard[0]} and {heard[1]} together"
    return f"the sound of {how}" + (", far away" if clip.loudness == "far" else "")


def told_sound(clip: Clip) -> str:
    """The assistant's sentence for what a clip sounds like: the canonical caption."""
    return sentence(sound_caption(clip))


# --- reading

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+")


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    entries: list[tuple[str, str, str]] = []
    entries += [(phrase, "count", str(count)) for count, phrases in COUNT_WORDS.items() for phrase in phrases]
    entries += [(f"{word} times", "count", str(i)) for i, word in enumerate(NUMBERS) if i > 1]
    entries += [(f"{i} times", "count", str(i)) for i in range(2, 11)]
    for kind, table in (("tempo", TEMPO_WORDS), ("direction", DIRECTION_WORDS)):
        entries += [(phrase, kind, value) for value, phrases in table.items() for phrase in phrases]
    entries += [(phrase, "loudness", "far") for phrase in FAR_WORDS]
    entries += [(phrase, "loudness", "near") for phrase in NEAR_WORDS]
    entries += [(phrase, "then", "") for phrase in ("then", "before", "followed by", "after that", "next", "first")]
    entries += [("after", "after", ""), ("preceded by", "after", "")]
    entries += [(phrase, "together", "") for phrase in ("together", "at once", "at the same time", "and", "with")]
    lexicon = {_words(phrase): (kind, value) for phrase, kind, value in entries}
    for item in THINGS:
        for name in (item.plural, *map(plural_of, item.synonyms), *item.synonyms, item.name):
            lexicon[_words(name)] = ("thing", item.name)
    for sound in SOUNDS:
        lexicon |= {_words(name): ("thing", sound.thing) for name in sound.aliases}
        if sound.heard != a(sound.thing):
            lexicon[_words(sound.heard)] = ("thing", sound.thing)
    return lexicon


_LEXICON = _lexicon()
_LONGEST = max(map(len, _LEXICON))


def _marks(text: str) -> Iterator[tuple[str, str]]:
    words, i = _words(text), 0
    while i < len(words):
        for length in range(min(_LONGEST, len(words) - i), 0, -1):
            if mark := _LEXICON.get(words[i : i + length]):
                i += length
                yield mark
                break
        else:
            i += 1


def parse_sound(text: str) -> SoundFacts | None:
    """What a caption or a paraphrase claims of a sound, or None when it names none; exact on canonical captions.

    One sound of which nothing more is said is heard once; two of which nothing more is said are heard together.
    """
    things: list[str] = []
    said: dict[str, str] = {}
    for kind, value in _marks(text):
        if kind != "thing":
            said.setdefault(kind, value)
        elif value not in things:
            things.append(value)
    if not things or any(name not in INDEX for name in things):
        return None
    loudness = said.get("loudness")
    if len(things) > 1:
        if "after" in said:
            things.reverse()
        kind = "then" if {"then", "after"} & set(said) else "together"
        return SoundFacts(kind=kind, things=tuple(things), loudness=loudness)
    if "direction" in said:
        return SoundFacts(kind="melody", things=tuple(things), direction=said["direction"], loudness=loudness)
    count = int(said.get("count", 1))
    tempo = said.get("tempo") if count > 1 else None
    kind = "times" if count > 1 else "once"
    return SoundFacts(kind=kind, things=tuple(things), count=count, tempo=tempo, loudness=loudness)


# --- other words

# Noun phrases per kind of clip; every fifth is held out (see word.split_part).
NOUN_PHRASES = {
    "once": (
        "{x} {how}",
        "the sound of {x} {how}",
        "{doing} {how}",
        "the noise of {x} {how}",
        "{doing}, {how}",
        "the sound of {x}, {how}",
        "the sound of {doing} {how}",
        "just {x} {how}",
        "a single sound of {x}",
        "what {x} sounds like {how}",
        "how {x} sounds {how}",
        "the way {x} sounds {how}",
    ),
    "times": Family(
        "{x} {times} {tempo}",
        "the sound of {x} {times}, {tempo}",
        "{doing} {times}, {tempo}",
        "{x}, {times}, {tempo}",
        "{times} {x}, {tempo}",
        "{x} {tempo}, {times}",
        "the noise of {x} {times}, {tempo}",
        "{doing} {times} {tempo}",
        "the sound of {doing} {tempo}, {times}",
        "{x} that is heard {times}, {tempo}",
        more=(
            "{doing}, {times}, {tempo}",
            "{times}, {x}, {tempo}",
            "{x} sounding {times}, {tempo}",
            "{x} heard {times}, {tempo}",
            "the sound of {x}, {tempo}, {times}",
        ),
    ),
    "melody": Family(
        "{x} {direction}",
        "the sound of {x}, {direction}",
        "a melody of {x} that is {direction}",
        "notes of {x} {direction}",
        "a tune of {x}, {direction}",
        "{x} with its notes {direction}",
        "a melody of {x}, {direction}",
        "four notes of {x}, {direction}",
        "{x} playing notes that are {direction}",
        "the melody of {x} {direction}",
        more=(
            "{x} playing a tune that is {direction}",
            "{x} with a melody {direction}",
            "a tune of {x} that is {direction}",
            "the notes of {x}, {direction}",
            "a few notes of {x}, {direction}",
        ),
    ),
    "then": Family(
        "{a}, then {b}",
        "{a} and then {b}",
        "first {a}, then {b}",
        "{a} followed by {b}",
        "{b} after {a}",
        "{doing_a}, then {doing_b}",
        "{a} before {b}",
        "the sound of {a}, then {b}",
        "first {doing_a} and then {doing_b}",
        "{doing_a} followed by {doing_b}",
        "{doing_b} after {doing_a}",
        "{doing_b} preceded by {doing_a}",
        "{a}, after that {b}",
        more=(
            "{a}, and then {b}",
            "{a}, next {b}",
            "first {a}, after that {b}",
            "first {a} and then {b}",
            "{a}, and after that {b}",
            "{a} first, then {b}",
            "{doing_a} and then {doing_b}",
            "{doing_a}, after that {doing_b}",
            "first {doing_a}, then {doing_b}",
            "{doing_a}, next {doing_b}",
            "{b}, after {a}",
            "{b} preceded by {a}",
            "{b} right after {a}",
            "{b} that comes after {a}",
            "the sound of {b} after {a}",
            "{doing_b}, after {doing_a}",
            "{doing_b} right after {doing_a}",
        ),
    ),
    "together": Family(
        "{a} and {b} together",
        "{a} and {b} at the same time",
        "{a} with {b}",
        "{doing_a} and {doing_b} together",
        "{a} together with {b}",
        "both {a} and {b} at once",
        "the sound of {a} and {b} together",
        "{doing_b} and {doing_a} at the same time",
        "{a} and {b}",
        "{b} and {a}, together",
        more=(
            "{a} as well as {b}",
            "{a} and {b}, both at once",
            "{a} and {b} at once",
            "{doing_a} with {doing_b}",
            "both {doing_a} and {doing_b}",
            "{a} along with {b}",
            "{doing_a} together with {doing_b}",
            "{a}, together with {b}",
            "{doing_a} and {doing_b}",
            "{a} and at the same time {b}",
            "{a} and also {b}",
        ),
    ),
}

STATEMENTS = (
    "{x}.",
    "I hear {x}.",
    "You can hear {x}.",
    "This sounds like {x}.",
    "It sounds like {x}.",
    "There is {x}.",
    "We hear {x}.",
    "Listen: {x}.",
    "The recording has {x}.",
    "Here one hears {x}.",
)

REQUESTS = Family(
    "Let me hear {x}.",
    "Play {x}.",
    "I want to hear {x}.",
    "Can you play {x}?",
    "Make me hear {x}.",
    "Please play {x}.",
    "A recording of {x}, please.",
    "Can I hear {x}?",
    "Play me {x}.",
    "I would love to hear {x}.",
    "Make an audio clip of {x}.",
    "I need a recording of {x}.",
    "Could you play {x}?",
    "Please let me hear {x}.",
    "Could you let me hear {x}?",
    "I want a recording of {x}.",
    "Record {x}.",
    "Let us listen to {x}.",
    "Generate audio of {x}.",
    "May I hear {x}?",
    "Play {x} for me.",
    "I would like to hear {x}.",
    "Create an audio clip of {x}.",
    "Audio of {x}, please.",
    "I want to listen to {x}.",
    "Give me a recording of {x}.",
    "Can you let me hear {x}?",
    "An audio clip of {x}.",
    "Would you play {x}?",
    "How about a recording of {x}?",
    more=(
        "Play the following: {x}.",
        "I wish to hear {x}.",
        "Make audio of {x}.",
        "A recording with {x}.",
        "Please record {x}.",
        "Can you record {x}?",
        "What about a recording of {x}?",
        "Please make an audio clip of {x}.",
        "Can I listen to {x}?",
        "Do play {x}.",
        "Let us hear {x}.",
        "Could I hear {x}?",
    ),
)


def name_sound(sound: Sound, stream: random.Random) -> str:
    """What is heard in a user's words: 'a puppy', 'rain on an umbrella', 'the rain'."""
    if sound.aliases and stream.random() < 0.4:
        return f"the {stream.choice(sound.aliases)}"
    plain = a(sound.thing)
    return a(called(thing(sound.thing), stream)) if sound.heard == plain else sound.heard


def _doing(sound: Sound, stream: random.Random) -> str:
    return f"{a(called(thing(sound.thing), stream))} {sound.doing}"


def sound_phrase(clip: Clip, stream: random.Random, split: str = "train") -> str:
    """A clip in a user's words, with synonyms: 'a puppy barking twice, quickly, in the distance'.

    Once, slow and near are what goes without saying: half of the time or more they are not said.
    """
    sounds = [sound_of(name) for name in clip.things]
    names, doing = [[form(sound, stream) for sound in sounds] for form in (name_sound, _doing)]
    words = {"x": names[0], "doing": doing[0], "a": names[0], "b": names[-1], "doing_a": doing[0], "doing_b": doing[-1]}
    words["how"] = stream.choice((*COUNT_WORDS[1], "", ""))
    if clip.kind == "times":
        words["times"] = stream.choice((*COUNT_WORDS[len(clip.played)], f"{len(clip.played)} times"))
        unsaid = clip.tempo == "slow" and stream.random() < 0.5
        words["tempo"] = "" if unsaid else stream.choice(TEMPO_WORDS[clip.tempo or ""])
    if clip.direction:
        words["direction"] = stream.choice(DIRECTION_WORDS[clip.direction])
    said = pick(NOUN_PHRASES[clip.kind], stream, split).format(**words)
    if clip.loudness == "far":
        said = f"{said}{stream.choice((',', ''))} {stream.choice(FAR_WORDS)}"
    elif stream.random() < 0.1:
        said = f"{said}, {stream.choice(NEAR_WORDS)}"
    return tidy(said)


def sound_paraphrase(clip: Clip, stream: random.Random, split: str = "train") -> str:
    """A sentence that says what the canonical caption says, in other words."""
    return sentence(pick(STATEMENTS, stream, split).format(x=sound_phrase(clip, stream, split)), end="")


def sound_request(clip: Clip, stream: random.Random, split: str = "train") -> str:
    """A request to make the sound."""
    ask = pick(REQUESTS, stream, split).format(x=sound_phrase(clip, stream, split))
    return casual(sentence(ask, end=""), stream)


def unheard_words(name: str) -> str:
    """The one answer to a request for the sound of what is not there."""
    return f"I do not know what {a(name)} sounds like. I can play {EXAMPLES}, for example."


def silent_words(name: str) -> str:
    """The one answer to a request for the sound of a thing that has none."""
    return f"I know no sound of {a(name)}."
