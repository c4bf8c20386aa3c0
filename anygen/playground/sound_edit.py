"""Edits of sounds: an instruction and the clip that it makes of another one; what is not asked for stays as it is."""

import random
from collections.abc import Callable

from anygen.playground.clip import Clip, Player, is_heldout, sample_clip, sample_heard, upright
from anygen.playground.hearing import COUNT_WORDS, TEMPO_WORDS, name_sound
from anygen.playground.sound import SOUNDS, sound_of
from anygen.playground.word import pick

Edited = tuple[str, Clip]

SLOWER = (
    "The same, but slower.",
    "Slower, please.",
    "Play it slower.",
    "Now slowly.",
    "Can you make it slower?",
    "Make it slow.",
    "Slow it down.",
    "The same at a slow pace.",
    "Let it go slower.",
    "Make it go slowly.",
    "I want it slower.",
    "Could it be slower?",
    "Play the same slowly.",
    "A slower one, please.",
    "Now the same, slowly.",
    "Play it again, slower.",
)
FASTER = (
    "The same, but faster.",
    "Faster, please.",
    "Play it faster.",
    "Now quickly.",
    "Can you make it faster?",
    "Make it fast.",
    "Speed it up.",
    "The same in quick succession.",
    "Let it go faster.",
    "Make it go quickly.",
    "I want it faster.",
    "Could it be faster?",
    "Play the same quickly.",
    "A faster one, please.",
    "Now the same, fast.",
    "Play it again, faster.",
)
OFTEN = (
    "The same {times}.",
    "Play it {times}.",
    "Now {times}, please.",
    "I want to hear it {times}.",
    "Can you repeat it so that it sounds {times}?",
    "Make it sound {times}.",
    "I want it {times}.",
    "Let it sound {times}.",
    "Let me hear it {times}.",
    "I would like it {times}.",
    "Play the same {times}.",
    "Can I hear it {times}?",
    "Now let it sound {times}.",
    "Could you play it {times}?",
    "Again, but {times}.",
    "Repeat it so that I hear it {times}.",
)
FARTHER = (
    "The same, but farther away.",
    "Move it farther away.",
    "Now far away.",
    "Play it in the distance.",
    "Make it sound far away.",
    "Can I hear it from afar?",
    "Now from afar.",
    "Let it sound far away.",
    "Put it in the distance.",
    "I want it farther away.",
    "The same from far away.",
    "Play the same in the distance.",
    "Could it be farther away?",
    "Can you move it away?",
    "Again, but far away.",
    "Let it come from far away.",
)
CLOSER = (
    "The same, but closer.",
    "Bring it closer.",
    "Now close by.",
    "Play it nearby.",
    "Make it sound near.",
    "Can I hear it from near?",
    "Now from near.",
    "Let it sound near.",
    "Put it close by.",
    "I want it closer.",
    "The same from near.",
    "Play the same close by.",
    "Could it be closer?",
    "Can you bring it near?",
    "Again, but near.",
    "Let it come from near.",
)
AFTER = (
    "Add {y} after it.",
    "And then {y}.",
    "Let {y} follow.",
    "Put {y} after it.",
    "Play {y} after that.",
    "Add {y} at the end.",
    "Then {y}.",
    "I want {y} after it.",
    "Let {y} come after it.",
    "Follow it with {y}.",
    "Let it end with {y}.",
    "Now with {y} after it.",
    "Can you add {y} after it?",
    "And {y} at the end.",
    "After that, {y}.",
    "Then let me hear {y}.",
)
BEFORE = (
    "Add {y} before it.",
    "First {y}, then this.",
    "Put {y} before it.",
    "Play {y} before that.",
    "Let it begin with {y}.",
    "Add {y} at the beginning.",
    "Begin with {y}.",
    "I want {y} before it.",
    "Let {y} come before it.",
    "Start with {y}.",
    "First {y}, please.",
    "Now with {y} before it.",
    "Can you add {y} before it?",
    "And {y} at the beginning.",
    "Before that, {y}.",
    "Let me hear {y} first.",
)
WITH = (
    "Add {y} at the same time.",
    "Play it together with {y}.",
    "Let {y} sound together with it.",
    "Add {y} to it at once.",
    "Mix {y} into it.",
    "Let me hear it with {y} at the same time.",
    "Add {y} to it at the same time.",
    "I want {y} at the same time.",
    "Let both sound at once, it and {y}.",
    "Together with {y}, please.",
    "Now together with {y}.",
    "Play {y} at the same time.",
    "Can you add {y} at the same time?",
    "And {y} at the same time.",
    "At the same time, {y}.",
    "The same with {y} at once.",
)
TURN = (
    "The same, but {way}.",
    "Now let it {verb}.",
    "Play it {way}.",
    "Let the melody {verb}.",
    "Make the notes {verb}.",
    "Now {way}.",
    "The notes should {verb}.",
    "I want it {way}.",
    "Let the notes {verb}.",
    "Make the melody {verb}.",
    "Can you let it {verb}?",
    "Make it {way}.",
    "Play the melody {way}.",
    "The other way, {way}.",
    "Now the notes shall {verb}.",
)
SWAP = (
    "The other way round.",
    "Swap the two sounds.",
    "In the other order, please.",
    "Play the second one first.",
    "Turn the order around.",
    "Change the order.",
    "Play them in the other order.",
    "Now the other way round.",
    "Turn it around.",
    "The second one first, please.",
    "Can you swap them?",
    "First the second one, then the first one.",
    "Swap them.",
    "The same in the other order.",
    "Let the second one come first.",
)
REPLACE = (
    "Replace {x} with {y}.",
    "{y} instead of {x}, please.",
    "Change {x} to {y}.",
    "Play {y} instead of {x}.",
    "Swap {x} for {y}.",
    "The same, but with {y} instead of {x}.",
    "Play {y} in the place of {x}.",
    "Let it be {y} instead of {x}.",
    "I want {y} instead of {x}.",
    "Now {y} instead of {x}.",
    "Can you replace {x} with {y}?",
    "Use {y} instead of {x}.",
    "Replace {x} by {y}.",
    "Make it {y} instead of {x}.",
    "Not {x} but {y}.",
    "Let me hear {y} instead of {x}.",
)


def _player(clip: Clip, stream: random.Random, loudness: str | None = None) -> Player:
    """Plays as the clip was played: the same recording, at the same distance."""
    return Player(stream, loudness=loudness or clip.loudness, variant=clip.variant, gain=clip.gain)


def _again(clip: Clip, player: Player) -> Clip:
    """What the clip plays, played anew."""
    first = clip.played[0]
    if clip.kind == "once":
        return player.once(first.thing, first.pitch)
    if clip.kind == "times":
        return player.times(first.thing, len(clip.played), clip.tempo or "slow", first.pitch)
    if clip.kind == "melody":
        return player.melody(first.thing, clip.direction or "rising")
    return (player.then if clip.kind == "then" else player.together)(*clip.things)


def _tempo(clip: Clip, stream: random.Random, split: str) -> Edited:
    tempo, family = ("slow", SLOWER) if clip.tempo == "fast" else ("fast", FASTER)
    first = clip.played[0]
    slowed = _player(clip, stream).times(first.thing, len(clip.played), tempo, first.pitch)
    return pick(family, stream, split), slowed


def _often(clip: Clip, stream: random.Random, split: str) -> Edited:
    """So many times; slow goes without saying where it was heard once, else the tempo stays."""
    count = stream.choice([n for n in (2, 3, 4) if n != len(clip.played)])
    times, tempo, first = stream.choice(COUNT_WORDS[count]), clip.tempo or "slow", clip.played[0]
    if clip.kind == "once" and stream.random() < 0.5:
        tempo = stream.choice(tuple(TEMPO_WORDS))
        times = f"{times}, {stream.choice(TEMPO_WORDS[tempo])}"
    return pick(OFTEN, stream, split).format(times=times), _player(clip, stream).times(
        first.thing, count, tempo, first.pitch
    )


def _distance(clip: Clip, stream: random.Random, split: str) -> Edited:
    loudness, family = ("far", FARTHER) if clip.loudness == "near" else ("near", CLOSER)
    return pick(family, stream, split), _again(clip, _player(clip, stream, loudness))


def _add(clip: Clip, stream: random.Random, split: str) -> Edited:
    name = clip.things[0]
    sound = stream.choice([sound for sound in SOUNDS if sound.thing != name])
    player = _player(clip, stream)
    family, made = stream.choice(
        (
            (AFTER, player.then(name, sound.thing)),
            (AFTER, player.then(name, sound.thing)),
            (BEFORE, player.then(sound.thing, name)),
            (WITH, player.together(name, sound.thing)),
        )
    )
    return pick(family, stream, split).format(y=name_sound(sound, stream)), made


def _turn(clip: Clip, stream: random.Random, split: str) -> Edited:
    direction = "falling" if clip.direction == "rising" else "rising"
    ask = pick(TURN, stream, split).format(way=direction, verb={"falling": "fall", "rising": "rise"}[direction])
    return ask, _player(clip, stream).melody(clip.things[0], direction)


def _swap(clip: Clip, stream: random.Random, split: str) -> Edited:
    return pick(SWAP, stream, split), _player(clip, stream).then(*reversed(clip.things))


def _replace(clip: Clip, stream: random.Random, split: str) -> Edited:
    names = list(clip.things)
    index = stream.randrange(len(names))
    sound = stream.choice([s for s in SOUNDS if s.thing not in names])
    x = name_sound(sound_of(names[index]), stream)
    ask = pick(REPLACE, stream, split).format(x=x, y=name_sound(sound, stream))
    ask = ask[:1].upper() + ask[1:]
    names[index] = sound.thing
    player = _player(clip, stream)
    if clip.kind == "once":
        return ask, player.once(names[0])
    if clip.kind == "times":
        return ask, player.times(names[0], len(clip.played), clip.tempo or "slow")
    return ask, (player.then if clip.kind == "then" else player.together)(*names)


SOUND_EDITS: dict[str, Callable[[Clip, random.Random, str], Edited]] = {
    "tempo": _tempo,
    "often": _often,
    "distance": _distance,
    "add": _add,
    "turn": _turn,
    "swap": _swap,
    "replace": _replace,
}
EDITS_FOR = {
    "once": ("often", "often", "distance", "add", "add", "replace"),
    "times": ("tempo", "tempo", "often", "distance", "replace"),
    "melody": ("turn", "distance"),
    "then": ("swap", "distance", "replace"),
    "together": ("distance", "replace"),
}


def edit_sound(clip: Clip, stream: random.Random, split: str = "train") -> tuple[str, str, Clip] | None:
    """A kind of edit, its instruction and the edited clip; None where this try does not fit the split."""
    kind = stream.choice(EDITS_FOR[clip.kind])
    ask, target = SOUND_EDITS[kind](clip, stream, split)
    return (kind, ask, target) if is_heldout(target) == (split == "heldout") else None


def sample_sound_edit(stream: random.Random, split: str = "train") -> tuple[str, Clip, str, Clip]:
    """A kind of edit, a clip, an instruction and the edited clip; for "heldout" the edited clip is held out."""
    while True:
        source_split = "train" if split == "train" else stream.choice(("train", "heldout"))
        kind = stream.choice(("once", "once", "times", "times", "melody", "then", "together"))
        sample = sample_heard if split == "train" else sample_clip
        source = upright(sample(stream, kind, source_split))
        edited = edit_sound(source, stream, split)
        if edited:
            return edited[0], source, *edited[1:]
