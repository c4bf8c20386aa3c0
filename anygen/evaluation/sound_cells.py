"""The cells of the table in which something is heard: held-out requests with sounds in or out, and their checks."""

import random
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from anygen.evaluation.case import Case, Outcome
from anygen.evaluation.cells import Cell, World, answered, case, describe, only_text, said
from anygen.evaluation.ear import Heard, sounds_like
from anygen.evaluation.judge import shows
from anygen.evaluation.metrics import says_yes
from anygen.playground.clip import Clip
from anygen.playground.language import Chat, facts_of, parse_caption, parse_sound, sample_chat, sound_facts
from anygen.playground.scene import Scene


def tell(heard: Heard) -> str:
    """What was heard, in words: 'times, fast, near: dog at 0.50 s, dog at 1.02 s'."""
    pattern = ", ".join(word for word in (heard.kind, heard.tempo, heard.direction, heard.loudness) if word)
    events = ", ".join(f"{event.thing} at {event.onset:.2f} s" for event in heard.events)
    return f"{pattern or 'no clip'}: {events or 'nothing'}"


def _played(world: World, reply: Any, clip: Clip) -> tuple[dict[str, bool], str]:
    """What holds of the one sound of a reply; nothing does where there is another number of sounds, or a picture."""
    if len(reply.audios) != 1 or any(part.type not in ("text", "audio") for part in reply):
        return dict.fromkeys(("sounds_right", "pattern_right", "all"), False), f"{len(reply.audios)} sounds"
    heard = world.hear(reply.audios[0])
    return sounds_like(heard, clip), tell(heard)


def _told(text: str, clip: Clip) -> bool:
    claimed = parse_sound(text)
    return claimed is not None and claimed.agrees(sound_facts(clip))


# --- text to audio


def _sounding(world: World, clip: Clip) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _played(world, reply, clip)
        rows = {"sound and pattern": facts["all"], f"kind: {clip.kind}": facts["all"]}
        rows |= {"sound": facts["sounds_right"], "pattern": facts["pattern_right"]}
        return Outcome(rows=rows | {"words beside the sound": _told(reply.text, clip)}, saw=saw)

    return check


def text_to_audio(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Sounds to make; one in ten is of what has no sound or is unknown, and must be declined."""
    for number in cycle(range(10)):
        if number < 9:
            chat = sample_chat(stream, "sound", split)
            yield case(world, stream, "text->audio", chat, _sounding(world, chat.facts["target"]))
        else:
            chat = _only_words(stream, split)
            yield case(world, stream, "text->audio", chat, answered(chat.facts, "unheard of: declined"))


def _only_words(stream: random.Random, split: str) -> Chat:
    while True:
        chat = sample_chat(stream, "unheard", split)
        if all(part["type"] == "text" for message in chat.messages for part in message["content"]):
            return chat


# --- audio to text


def audio_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Sounds to describe: what sounds, and how."""
    while True:
        chat = sample_chat(stream, "hear", split)
        yield case(world, stream, "audio->text", chat, _captioned(chat.facts["clip"]))


def _captioned(clip: Clip) -> Callable[[Any], Outcome]:
    truth = sound_facts(clip)

    def check(reply: Any) -> Outcome:
        claimed = parse_sound(reply.text)
        right = _told(reply.text, clip) and only_text(reply)
        rows = {"sound and pattern": right, f"kind: {clip.kind}": right}
        rows["sound"] = claimed is not None and set(claimed.things) == set(truth.things)
        rows["distance"] = claimed is not None and (claimed.loudness or "near") == clip.loudness
        return Outcome(rows=rows, saw=reply.text, values={"heard": reply.text})

    return check


def audio_and_text_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Questions about sounds, by kind and together; every fourth asks whether something is heard."""
    for task in cycle(("sound_vqa", "sound_vqa", "sound_vqa", "sound_pope")):
        chat = sample_chat(stream, task, split)
        if task == "sound_vqa":
            check = answered(chat.facts, "question", f"question: {chat.facts['question']}")
        else:
            check = _yes_or_no(chat, "is it heard: yes or no")
        yield case(world, stream, "audio+text->text", chat, check)


def _yes_or_no(chat: Chat, row: str) -> Callable[[Any], Outcome]:
    truth = says_yes(said(chat))

    def check(reply: Any) -> Outcome:
        return Outcome(rows={row: says_yes(reply.text) is truth and only_text(reply)}, saw=reply.text)

    return check


def image_and_audio_to_text(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """A picture and a sound: do they belong together?"""
    while True:
        chat = sample_chat(stream, "belong", split)
        check = _yes_or_no(chat, "belong together: yes or no")
        yield case(world, stream, "image+audio->text", chat, check)


# --- what is heard and what is seen


def audio_to_image(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Draw what sounds."""
    while True:
        chat = sample_chat(stream, "see", split)
        yield case(world, stream, "audio->image", chat, _drawn(world, chat.facts["target"]))


def _drawn(world: World, scene: Scene) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        verdict = world.look(reply.images[0]) if len(reply.images) == 1 and not reply.audios else None
        facts = shows(verdict, scene) if verdict else {}
        words = parse_caption(reply.text)
        rows = {"what sounds is drawn": bool(facts) and facts["things_right"] and facts["count_right"]}
        rows["thing, size, place and backdrop"] = bool(facts) and facts["all"]
        rows["words beside the picture"] = words is not None and words.agrees(facts_of(scene))
        return Outcome(rows=rows, saw=describe(verdict) if verdict else f"{len(reply.images)} pictures")

    return check


def image_to_audio(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """The sound of what is seen: mostly once and near, sometimes as asked."""
    while True:
        chat = sample_chat(stream, "voice", split)
        yield case(world, stream, "image->audio", chat, _voiced(world, chat.facts["target"]))


def _voiced(world: World, clip: Clip) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _played(world, reply, clip)
        rows = {"what is seen sounds": facts["sounds_right"], "sound and pattern": facts["all"]}
        return Outcome(rows=rows | {"words beside the sound": _told(reply.text, clip)}, saw=saw)

    return check


def audio_to_audio(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """Sounds to change; the sound that an edit makes is heard as a whole, so that what it leaves must have stayed."""
    while True:
        chat = sample_chat(stream, "repeat", split)
        yield case(world, stream, "audio->audio", chat, _edited(world, chat.facts["edit"], chat.facts["target"]))


def _edited(world: World, kind: str, clip: Clip) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        facts, saw = _played(world, reply, clip)
        rows = {"change made, rest kept": facts["all"], f"edit: {kind}": facts["all"]}
        return Outcome(rows=rows | {"sound": facts["sounds_right"], "pattern": facts["pattern_right"]}, saw=saw)

    return check


def image_and_audio_to_both(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """A picture and a sound; one answer draws what is heard and plays what is seen, in the order asked for."""
    return _of_both(world, stream, split, "image+audio->image+audio")


def text_to_both(world: World, stream: random.Random, split: str) -> Iterator[Case]:
    """One answer with a picture and its sound."""
    return _of_both(world, stream, split, "text->image+audio")


def _of_both(world: World, stream: random.Random, split: str, cell: str) -> Iterator[Case]:
    while True:
        chat = sample_chat(stream, "both", split)
        if (len(chat.messages[0]["content"]) > 1) == cell.startswith("image"):
            order = [part["type"] for part in chat.messages[1]["content"]]
            yield case(world, stream, cell, chat, _both(world, chat.facts["drawn"], chat.facts["played"], order))


def _both(world: World, scene: Scene, clip: Clip, order: list[str]) -> Callable[[Any], Outcome]:
    def check(reply: Any) -> Outcome:
        verdict = world.look(reply.images[0]) if len(reply.images) == 1 else None
        seen = shows(verdict, scene) if verdict else {}
        drawn = bool(seen) and seen["things_right"] and seen["count_right"]
        heard = sounds_like(world.hear(reply.audios[0]), clip) if len(reply.audios) == 1 else {}
        played = bool(heard) and heard["sounds_right"]
        ordered = [part.type for part in reply] == order
        rows = {"words, picture and sound in order": ordered, "thing drawn": drawn, "sound played": played}
        rows["everything right"] = ordered and drawn and played
        return Outcome(rows=rows, saw=describe(verdict) if verdict else f"{len(reply.images)} pictures")

    return check


MATRIX: dict[str, tuple[Cell, int]] = {
    "text->audio": (text_to_audio, 500),
    "audio->text": (audio_to_text, 400),
    "audio+text->text": (audio_and_text_to_text, 400),
    "audio->image": (audio_to_image, 300),
    "image->audio": (image_to_audio, 300),
    "audio->audio": (audio_to_audio, 240),
    "image+audio->text": (image_and_audio_to_text, 200),
    "image+audio->image+audio": (image_and_audio_to_both, 200),
    "text->image+audio": (text_to_both, 100),
}
"""The cells with sound and how many of each are asked when nobody says."""
