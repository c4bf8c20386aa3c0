"""What is said of sounds: the canonical caption of a clip, the many other ways to say it, and the reading of both."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from anygen.playground.clip import Clip
from anygen.playground.sound import INDEX, SOUNDS, sound_of
from anygen.playground.things import THINGS
from anygen.playground.word import NUMBERS, plural_of, sentence

COUNT_WORDS = {1: ("once", "one time"), 2: ("twice", "two times"), 3: ("three times",), 4: ("four times",)}
TEMPO_WORDS = {"slow": ("slow", "slowly", "at a slow pace"), "fast": ("fast", "quickly", "in quick succession")}
DIRECTION_WORDS = {
    "rising": ("rising", "going up", "getting higher", "climbing"),
    "falling": ("falling", "going down", "getting lower", "sinking"),
}
FAR_WORDS = ("far away", "in the distance", "from afar", "at a distance")
NEAR_WORDS = ("near", "close by", "nearby")


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
    entries += [(phrase, "then", "") for phrase in ("then", "before", "followed by", "next", "first")]
    entries += [("after", "after", ""), ("preceded by", "after", "")]
    entries += [(phrase, "together", "") for phrase in ("together", "at once", "at the same time", "and", "with")]
    lexicon = {_words(phrase): (kind, value) for phrase, kind, value in entries}
    for item in THINGS:
        for name in (item.plural, *map(plural_of, item.synonyms), *item.synonyms, item.name):
            lexicon[_words(name)] = ("thing", item.name)
    for sound in SOUNDS:
        for name in (*sound.aliases, sound.heard):
            lexicon[_words(name)] = ("thing", sound.thing)
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
