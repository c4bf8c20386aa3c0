"""The sounds of the playground: which things can be heard, what language says of it, and the baked bank."""

import io
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

from anygen.playground.things import thing
from anygen.playground.word import a

RATE = 16_000
"""Samples per second of every clip, mono."""

CLIP = 4 * RATE
"""Samples of a clip."""

VARIANTS = 2  # recordings of each sound
PITCHES = 5  # steps of a major scale, for pitched sounds
EVENT = 12_000  # samples that a near event has at most
TAIL = 4_000  # samples of echo after a far one


@dataclass(frozen=True, kw_only=True, slots=True)
class Sound:
    """One sound: the `thing` that makes it, what is heard of it, and whether it plays melodies.

    `heard` is what the canonical caption says ("a dog", "rain on an umbrella"), `verb` what the thing does ("barks"),
    `doing` its participle ("barking"), `aliases` words that mean this sound though they name no thing ("rain").
    """

    thing: str
    heard: str
    verb: str
    doing: str
    aliases: tuple[str, ...] = ()
    pitched: bool = False

    @property
    def pitches(self) -> int:
        """How many pitches each recording has."""
        return PITCHES if self.pitched else 1


# thing | verb | participle | what is heard where it is not the thing alone | aliases, comma separated
_TABLE = """
    dog|barks|barking
    cat|meows|meowing
    horse|neighs|neighing
    cow|moos|mooing
    pig|oinks|oinking
    sheep|bleats|bleating
    elephant|trumpets|trumpeting
    monkey|hoots|hooting
    chicken|clucks|clucking
    duck|quacks|quacking
    owl|calls|calling
    parrot|squawks|squawking
    frog|croaks|croaking
    snake|hisses|hissing
    dinosaur|roars|roaring
    whale|sings|singing
    dolphin|clicks|clicking
    fish|blubs|blubbing||bubbles
    bee|buzzes|buzzing
    lion|growls|growling
    mouse|squeaks|squeaking
    tree|rustles|rustling|wind in a tree|wind
    car|starts|starting||engine
    taxi|honks|honking||horn
    fire engine|wails|wailing||siren
    ambulance|passes by|passing by
    tractor|chugs|chugging
    train|whistles|whistling
    bicycle|rings|ringing
    airplane|flies past|flying past
    helicopter|hovers|hovering
    rocket|takes off|taking off
    flying saucer|hums|humming
    sailboat|sails|sailing|waves around a sailboat|waves
    ship|toots|tooting||foghorn
    clock|ticks|ticking
    umbrella|drips|dripping|rain on an umbrella|rain
    balloon|pops|popping
    telephone|rings|ringing
    drum|beats|beating
    hammer|bangs|banging
    scissors|snip|snipping
    camera|clicks|clicking
    basketball|bounces|bouncing
    house|creaks|creaking|the door of a house|door
    christmas tree|jingles|jingling||sleigh bells
    volcano|erupts|erupting
    cloud|thunders|thundering|thunder in a cloud|thunder
    fire|crackles|crackling
    ghost|moans|moaning
    baby|cries|crying
    clown|squeaks|squeaking||slide whistle
"""
_PITCHED = """
    guitar|plays|playing
    piano|plays|playing
    trumpet|plays|playing
    violin|plays|playing
    saxophone|plays|playing
    bell|rings|ringing
    robot|beeps|beeping
    star|twinkles|twinkling
    ferris wheel|plays|playing||barrel organ
"""


def _read(table: str, pitched: bool) -> tuple[Sound, ...]:
    sounds = []
    for row in table.strip().splitlines():
        name, verb, doing, heard, aliases = [*row.strip().split("|"), "", ""][:5]
        words = tuple(alias for alias in aliases.split(",") if alias)
        heard = heard or a(thing(name).name)
        sounds.append(Sound(thing=name, heard=heard, verb=verb, doing=doing, aliases=words, pitched=pitched))
    return tuple(sounds)


SOUNDS = _read(_TABLE, False) + _read(_PITCHED, True)
INDEX = {sound.thing: index for index, sound in enumerate(SOUNDS)}


def sound_of(name: str) -> Sound:
    """The sound that the thing of this canonical name makes; KeyError names what is silent."""
    if name not in INDEX:
        raise KeyError(f"no sound of '{name}' is known in the playground")
    return SOUNDS[INDEX[name]]


@lru_cache(maxsize=1)
def events() -> dict[str, list[np.ndarray]]:
    """The baked events, int16 [samples] at RATE: for each thing variant by variant, each from low to high pitch."""
    import soundfile

    assets = files("anygen.playground") / "assets"
    lengths = json.loads((assets / "sounds.json").read_text())
    samples, rate = soundfile.read(io.BytesIO((assets / "sounds.flac").read_bytes()), dtype="int16")
    assert rate == RATE and list(lengths) == [sound.thing for sound in SOUNDS]
    ends = np.cumsum([length for row in lengths.values() for length in row])
    assert ends[-1] == len(samples)
    pieces = iter(np.split(samples, ends[:-1]))
    return {name: [next(pieces) for _ in row] for name, row in lengths.items()}


def event(name: str, variant: int, pitch: int = 0) -> np.ndarray:
    """One baked event, int16 [samples]; the pitch of an unpitched sound makes no difference."""
    pitches = sound_of(name).pitches
    return events()[name][variant * pitches + min(pitch, pitches - 1)]


@lru_cache(maxsize=1)
def depths() -> dict[str, float]:
    """For each thing the centroid of its sound's spectrum in Hz, over all recordings: what sounds deeper has less."""

    def centroid(pieces: list[np.ndarray]) -> float:
        power = sum(np.abs(np.fft.rfft(piece / 32768.0, EVENT)) ** 2 for piece in pieces)
        return float((np.fft.rfftfreq(EVENT, 1 / RATE) * power).sum() / np.sum(power))

    return {name: centroid(pieces) for name, pieces in events().items()}
