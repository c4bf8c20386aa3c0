"""A thing of the user's own: it takes the place of things of the playground, in what is said and in what is shown."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anygen.playground.chat import Chat, Part, audio_part, clips_of, image_part, scenes_of
from anygen.playground.clip import Clip, deepest_first
from anygen.playground.clip import is_heldout as is_clip_heldout
from anygen.playground.dialogue import caption_of, sample_chat, tasks, told_of
from anygen.playground.noun import Noun, rename
from anygen.playground.reading import mentions
from anygen.playground.scene import Scene, is_heldout
from anygen.playground.slots import Slot, clip_slots, scene_slots
from anygen.playground.sound import INDEX, sound_of
from anygen.playground.things import THINGS, thing
from anygen.playground.word import a, article

SHOWN = frozenset(tasks(("image", "audio")))
"""The tasks of pictures and sounds: in films there is no own thing, and none is sensed in other ways."""

UNTAUGHT = ("world", "sums", "unknown", "unheard")
"""Tasks about what is known of things, and of what there is not: no thing can take another's place there."""

HEARD = ("hear", "sound", "sound_vqa", "sound_pope", "see", "voice", "both", "repeat", "belong", "mixed")
"""Tasks in which something must have a sound."""

_DOING = "sounding"  # what all own things do when they are heard
_ABSENT = 0.2  # share of the chats in which the own thing is one that is talked of, whether it is there or not
_BESIDE = 0.25  # share of the chats and scenes with it in which one of its rivals takes the place of another thing
_MARK = "#"


@dataclass(frozen=True, kw_only=True, slots=True)
class Concept:
    """A thing of the user's own.

    `looks` are its pictures, uint8 [BAKED, BAKED, 4] each, `sounds` its recordings, int16 [samples] at RATE each (none:
    it is silent). `like` is the thing of the playground that looks most like it.
    """

    noun: Noun
    like: str
    looks: tuple[np.ndarray, ...]
    sounds: tuple[np.ndarray, ...] = ()

    @property
    def name(self) -> str:
        return self.noun.name

    @property
    def rivals(self) -> tuple[str, ...]:
        """The things that it must not be mistaken for: what it is like, and what is called as it is ("my robot")."""
        return tuple(dict.fromkeys(name for name in (self.like, *mentions(self.noun.one)) if regular(name)))

    def sprites(self) -> dict[str, np.ndarray]:
        """Its pictures by the names that scenes call them, as `Compositor` takes them."""
        return {marked(self.name, number): look for number, look in enumerate(self.looks)}

    def events(self) -> dict[str, np.ndarray]:
        """Its recordings by the names that clips call them, as `Mixer` takes them."""
        return {marked(self.name, number): sound for number, sound in enumerate(self.sounds)}


def sprites_of(concepts: Sequence[Concept]) -> dict[str, np.ndarray]:
    """The pictures of all of them, as `Compositor` takes them."""
    return {name: look for concept in concepts for name, look in concept.sprites().items()}


def events_of(concepts: Sequence[Concept]) -> dict[str, np.ndarray]:
    """The recordings of all of them, as `Mixer` takes them."""
    return {name: event for concept in concepts for name, event in concept.events().items()}


def marked(name: str, number: int) -> str:
    """What scenes and clips call the picture or recording of this number: 'my robot#3'."""
    return f"{name}{_MARK}{number}"


def unmarked(name: str) -> str:
    """The name of the thing itself."""
    return name.partition(_MARK)[0]


def regular(name: str) -> bool:
    """Whether a name can take another's place in a sentence: it is counted, one is called other than several."""
    item = thing(name)
    return item.plural != name and article(name) != "some"


def _plainly_heard(name: str) -> bool:
    """Whether what is heard of a thing is the thing, by no other name, and at no pitch."""
    sound = sound_of(name)
    return not sound.pitched and not sound.aliases and sound.heard == a(name)


_REGULAR = frozenset(item.name for item in THINGS if regular(item.name))
_HEARD = frozenset(name for name in _REGULAR & INDEX.keys() if _plainly_heard(name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap:
    """Puts something in the place of the thing `was`: the noun in words, `shown` in scenes and `heard` in clips."""

    was: str
    noun: Noun
    shown: str
    heard: str

    def text(self, text: str) -> str:
        renamed = rename(text, self.was, self.noun)
        if renamed != text and self.was in INDEX and self.heard not in INDEX:
            renamed = renamed.replace(sound_of(self.was).doing, _DOING)
        return renamed

    def scene(self, scene: Scene) -> Scene:
        things = (replace(p, thing=self.shown) if p.thing == self.was else p for p in scene.things)
        return replace(scene, things=tuple(things))

    def clip(self, clip: Clip) -> Clip:
        played = (replace(p, thing=self.heard) if p.thing == self.was else p for p in clip.played)
        return replace(clip, played=tuple(played))

    def part(self, part: Part) -> Part:
        """A part of a chat; a medium brings its captions along, as the playground has no words for what it shows."""
        if part["type"] == "text":
            return part | {"text": self.text(part["text"])}
        said = {"caption": self.text(caption_of(part)), "told": self.text(told_of(part)), "slots": self.slots(part)}
        if part["type"] == "image":
            source = {"source": self.scene(part["source"])} if "source" in part else {}
            return part | said | source | {"scene": self.scene(part["scene"])}
        return part | said | {"clip": self.clip(part["clip"])}

    def slots(self, part: Part) -> list[Slot]:
        """What is told of a medium in slots, by the names of what is in it."""
        if part["type"] == "image":
            return scene_slots(plainly(self.scene(part["scene"])))
        return clip_slots(plainly_played(deepest_first(self.clip(part["clip"]))))

    def chat(self, chat: Chat) -> Chat:
        messages = [m | {"content": [self.part(part) for part in m["content"]]} for m in chat.messages]
        facts = {key: self._fact(value) for key, value in chat.facts.items()}
        return replace(chat, messages=tuple(messages), facts=facts)

    def _fact(self, value: Any) -> Any:
        if isinstance(value, Scene):
            return self.scene(value)
        if isinstance(value, Clip):
            return self.clip(value)
        if isinstance(value, list):
            return [self._fact(item) for item in value]
        return self.text(value) if isinstance(value, str) else value


def plainly(scene: Scene) -> Scene:
    """The scene with own things called by their names, whichever picture of them is shown."""
    return replace(scene, things=tuple(replace(p, thing=unmarked(p.thing)) for p in scene.things))


def plainly_played(clip: Clip) -> Clip:
    """The clip with own things called by their names, whichever recording of them is played."""
    return replace(clip, played=tuple(replace(p, thing=unmarked(p.thing)) for p in clip.played))


def is_own_heldout(medium: Scene | Clip) -> bool:
    """Whether training never shows or plays this of an own thing, by the rules of all others."""
    if isinstance(medium, Scene):
        return is_heldout(plainly(medium))
    return is_clip_heldout(plainly_played(medium))


def _own(concept: Concept, stream: random.Random, things: Collection[str]) -> Swap | None:
    """The concept for one of the things, with one of its pictures and recordings; None where there is none for it."""
    choice = sorted((_REGULAR & set(things)) - set(concept.rivals))
    if not choice:
        return None
    shown = marked(concept.name, stream.randrange(len(concept.looks)))
    heard = marked(concept.name, stream.randrange(len(concept.sounds) or 1))
    return Swap(was=stream.choice(choice), noun=concept.noun, shown=shown, heard=heard)


def _rival(
    concept: Concept, stream: random.Random, others: Collection[str], there: Collection[str], share: float = _BESIDE
) -> Swap | None:
    """In a share of all: a rival that is not there yet, in the place of one of the others."""
    choice, rivals = sorted(_REGULAR & set(others)), [name for name in concept.rivals if name not in there]
    if not choice or not rivals or stream.random() >= share:
        return None
    rival = thing(stream.choice(rivals))
    noun = Noun(owner="", one=rival.name, many=rival.plural)
    return Swap(was=stream.choice(choice), noun=noun, shown=rival.name, heard=rival.name)


def with_rival(concept: Concept, stream: random.Random, chat: Chat, share: float) -> Chat:
    """The chat, in which in a share of all a rival of the concept takes another thing's place."""
    if chat.task not in SHOWN or chat.task in (*UNTAUGHT, *HEARD):
        return chat
    there, said = _there(chat)
    swap = _rival(concept, stream, there, there | said, share)
    if swap is None:
        return chat
    changed = swap.chat(chat)
    return changed if _of_split(scenes_of(changed), "train") else chat


def rival_scene(concept: Concept, stream: random.Random, scene: Scene, share: float) -> Scene:
    """The scene, in which in a share of all a rival of the concept takes another thing's place."""
    names = _names(scene)
    swap = _rival(concept, stream, names, names, share)
    changed = scene if swap is None else swap.scene(scene)
    return changed if _of_split([changed], "train") else scene


def _there(chat: Chat) -> tuple[set[str], set[str]]:
    """The things that a chat shows or plays, and those that it names."""
    texts = [part["text"] for m in chat.messages for part in m["content"] if part["type"] == "text"]
    media: list[Scene | Clip] = [*scenes_of(chat), *clips_of(chat)]
    return {name for medium in media for name in _names(medium)}, {name for text in texts for name in mentions(text)}


def own_parts(
    concept: Concept,
    stream: random.Random,
    media: Sequence[Scene | Clip],
    split: str = "train",
    caption: Callable[[Any], str] | None = None,
) -> list[Part] | None:
    """Scenes or clips as parts of a chat, the concept in the last of them and wherever else that thing was.

    None where nothing in the last can be the concept, or it would not be of the split. At times one of its rivals takes
    the place of another thing. `caption` says what each is captioned (default: canonically).
    """
    names = _names(media[-1])
    swap = _own(concept, stream, _HEARD & names if isinstance(media[-1], Clip) else names)
    if swap is None:
        return None
    everywhere = {name for medium in media for name in _names(medium)}
    parts = [image_part(m) if isinstance(m, Scene) else audio_part(m) for m in media]
    if caption is not None:
        parts = [part | {"caption": caption(medium)} for part, medium in zip(parts, media, strict=True)]
    if isinstance(media[-1], Scene) and (rival := _rival(concept, stream, everywhere - {swap.was}, everywhere)):
        parts = [rival.part(part) for part in parts]
    parts = [swap.part(part) for part in parts]
    return parts if _of_split([part.get("scene") or part["clip"] for part in parts], split) else None


def _of_split(media: Sequence[Scene | Clip], split: str) -> bool:
    """Training shows nothing that is held out, of an own thing or of others; what is measured shows an own thing so."""
    if split == "train":
        return not any(map(is_own_heldout, media))
    own = [is_own_heldout(medium) for medium in media if any(_MARK in name for name in _names(medium))]
    return any(own) or not own


def _names(medium: Scene | Clip) -> set[str]:
    placed: Sequence[Any] = medium.things if isinstance(medium, Scene) else medium.played
    return {item.thing for item in placed}


def own_tasks(concept: Concept, mixture: Mapping[str, float]) -> dict[str, float]:
    """The tasks of a mixture that can be of this concept."""
    return {
        task: weight
        for task, weight in mixture.items()
        if task in SHOWN and task not in UNTAUGHT and (concept.sounds or task not in HEARD)
    }


def own_chat(concept: Concept, stream: random.Random, task: str, split: str = "train") -> Chat:
    """A random chat of the task that has to do with the concept: it shows it, asks for it, or asks whether it is there.

    Wherever it is not shown the right answer says so, as of any other thing.
    """
    while True:
        chat = sample_chat(stream, task, split)
        there, said = _there(chat)
        heard = {name for clip in clips_of(chat) for name in _names(clip)}
        choice = there if there and stream.random() >= _ABSENT else there | said
        swap = _own(concept, stream, choice & _HEARD if task in HEARD else choice)
        if swap is None:
            continue
        others = there - heard - {swap.was}
        if task not in HEARD and (rival := _rival(concept, stream, others, there | said)):
            chat = rival.chat(chat)
        own = swap.chat(chat)
        if _of_split([*scenes_of(own), *clips_of(own)], split):
            return own
