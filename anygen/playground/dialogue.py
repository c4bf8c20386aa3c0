"""Sampled chats of every task, and the same with media told in words for a language model that has no senses yet."""

import random
from collections.abc import Callable, Collection
from dataclasses import replace

from anygen.playground import film_dialogue, sound_dialogue
from anygen.playground.arrange import upright
from anygen.playground.caption import caption, casual, draw_request, sample_scene_to_draw
from anygen.playground.chat import Chat, Message, Part, asked, assistant, drawn, image_part, text_part, told, user
from anygen.playground.clip import upright as upright_clip
from anygen.playground.edit import edit, sample_edit
from anygen.playground.film import upright as upright_film
from anygen.playground.hearing import sound_caption
from anygen.playground.knowledge import SUMS, world_question
from anygen.playground.question import describe, is_there, question, scene_to_ask
from anygen.playground.ride import ride_caption
from anygen.playground.scene import Scene, sample_scene
from anygen.playground.sense_dialogue import SENSE_MIXTURE, SENSE_SAMPLERS
from anygen.playground.tale import sample_story, story_request
from anygen.playground.unknown import decline, unknown_name, unknown_request
from anygen.playground.watching import film_caption
from anygen.playground.word import a


def _drawing(stream: random.Random, split: str) -> Chat:
    scene = sample_scene_to_draw(stream, split)
    return Chat(messages=(user(draw_request(scene, stream, split)), drawn(scene)), task="draw", facts={"target": scene})


def _captioning(stream: random.Random, split: str) -> Chat:
    scene = upright(sample_scene(stream, split=split))
    messages = (asked(scene, describe(stream, split), stream), assistant(told(scene)))
    return Chat(messages=messages, task="caption", facts={"scene": scene})


def _answering(stream: random.Random, split: str) -> Chat:
    scene = scene_to_ask(stream, split)
    kind, (ask, answer, ways) = question(scene, stream, split)
    facts = {"scene": scene, "question": kind, "accept": ways}
    return Chat(messages=(asked(scene, ask, stream), assistant(answer)), task="vqa", facts=facts)


def _finding(stream: random.Random, split: str) -> Chat:
    scene = scene_to_ask(stream, split)
    ask, answer, ways = is_there(scene, stream, split)
    facts = {"scene": scene, "question": "is there", "accept": ways}
    return Chat(messages=(asked(scene, ask, stream), assistant(answer)), task="pope", facts=facts)


def _changed(scene: Scene, source: Scene) -> Message:
    """The assistant's turn that draws what an edit makes of the source."""
    said = text_part(f"Done: {caption(scene)}.")
    return {"role": "assistant", "content": [said, image_part(scene, source)]}


def _editing(stream: random.Random, split: str) -> Chat:
    kind, source, ask, target = sample_edit(stream, split)
    messages = (asked(source, ask, stream), _changed(target, source))
    return Chat(messages=messages, task="edit", facts={"edit": kind, "source": source, "target": target})


def _knowing(stream: random.Random, split: str) -> Chat:
    field, ask, ways = world_question(stream, split)
    return Chat(messages=(user(ask), assistant(ways[0])), task="world", facts={"question": field, "accept": ways})


def _reckoning(stream: random.Random, split: str) -> Chat:
    field, ask, ways = world_question(stream, split, SUMS[split])
    return Chat(messages=(user(ask), assistant(ways[0])), task="sums", facts={"question": field, "accept": ways})


def _declining(stream: random.Random, split: str) -> Chat:
    ask, name = unknown_request(stream, split)
    if stream.random() < 0.1:
        name = unknown_name(stream, split)
        ask = story_request(f"{a(name)} who wants to fly", stream.randint(2, 5))
    return Chat(messages=(user(ask), assistant(decline(name))), task="unknown", facts={"unknown": name})


def _telling(stream: random.Random, split: str) -> Chat:
    ask, hero, pages = sample_story(stream, split)
    parts = [part for page in pages for part in page]
    facts = {"hero": hero, "pages": len(pages), "scenes": [scene for _, scene in pages]}
    return Chat(messages=(user(ask), assistant(*parts)), task="story", facts=facts)


def _talking(stream: random.Random, split: str) -> Chat:
    """A picture that is drawn or given, one or two edits of it, and a question or a description at the end."""
    while True:
        scene = sample_scene_to_draw(stream, split)
        given = stream.random() < 0.3
        if given:
            messages = [asked(scene, describe(stream, split), stream), assistant(told(scene))]
        else:
            messages = [user(draw_request(scene, stream, split)), drawn(scene)]
        for _ in range(stream.choice((0, 1, 1, 2))):
            edited = edit(scene, stream, split, seen=False)
            if edited:
                messages += [user(casual(edited[1], stream)), _changed(edited[2], scene)]
                scene = edited[2]
        if len(messages) > 2 or not given:
            break
    form = stream.random()
    if form < 0.2:
        messages += [user(describe(stream, split)), assistant(told(scene))]
        return Chat(messages=tuple(messages), task="dialogue", facts={"scene": scene})
    ask, answer, ways = is_there(scene, stream, split) if form < 0.4 else question(scene, stream, split)[1]
    messages += [user(casual(ask, stream)), assistant(answer)]
    return Chat(messages=tuple(messages), task="dialogue", facts={"scene": scene, "accept": ways})


SAMPLERS: dict[str, Callable[[random.Random, str], Chat]] = {
    "draw": _drawing,
    "caption": _captioning,
    "vqa": _answering,
    "pope": _finding,
    "edit": _editing,
    "world": _knowing,
    "sums": _reckoning,
    "unknown": _declining,
    "story": _telling,
    "dialogue": _talking,
    "hear": sound_dialogue.hearing,
    "sound": sound_dialogue.sounding,
    "sound_vqa": sound_dialogue.answering,
    "sound_pope": sound_dialogue.finding,
    "see": sound_dialogue.seeing,
    "voice": sound_dialogue.voicing,
    "both": sound_dialogue.both,
    "repeat": sound_dialogue.repeating,
    "belong": sound_dialogue.belonging,
    "unheard": sound_dialogue.declining,
    "mixed": sound_dialogue.mixing,
}
TASKS = tuple(SAMPLERS)
"""The tasks of pictures and sounds; those of films follow."""
FILM_SAMPLERS: dict[str, Callable[[random.Random, str], Chat]] = {
    "watch": film_dialogue.watching,
    "film": film_dialogue.filming,
    "film_vqa": film_dialogue.answering,
    "film_pope": film_dialogue.finding,
    "animate": film_dialogue.animating,
    "frame": film_dialogue.freezing,
    "refilm": film_dialogue.changing,
    "unfilmed": film_dialogue.declining,
    "cinema": film_dialogue.cinema,
    "talkie": film_dialogue.talking,
    "score": film_dialogue.scoring,
    "screen": film_dialogue.screening,
    "attend": film_dialogue.attending,
}
FILM_TASKS = tuple(FILM_SAMPLERS)
LONG = ("story", "dialogue", "mixed", "both", "cinema")
"""Tasks whose answers are more than one text: the first of their texts says too little to be judged alone."""
MIXTURE = {
    "draw": 22,
    "caption": 14,
    "vqa": 18,
    "pope": 7,
    "edit": 12,
    "world": 10,
    "sums": 3,
    "unknown": 4,
    "story": 7,
    "dialogue": 6,
    "hear": 12,
    "sound": 16,
    "sound_vqa": 14,
    "sound_pope": 5,
    "see": 6,
    "voice": 6,
    "both": 6,
    "repeat": 8,
    "belong": 4,
    "unheard": 3,
    "mixed": 4,
}
FILM_MIXTURE = {
    "watch": 14,
    "film": 18,
    "film_vqa": 16,
    "film_pope": 4,
    "animate": 9,
    "frame": 5,
    "refilm": 9,
    "unfilmed": 2,
    "cinema": 5,
    "talkie": 7,
    "score": 7,
    "screen": 7,
    "attend": 4,
}
MEDIA = ("image", "audio")
_AUDIO = (*TASKS[TASKS.index("hear") :], *FILM_TASKS[FILM_TASKS.index("talkie") :])


def tasks(media: Collection[str] = MEDIA) -> tuple[str, ...]:
    """The tasks for a model that sees and draws, with "audio" in `media` hears and plays, with "video" films, too.

    What it can do with "depth", "thermal" and "imu" comes behind.
    """
    every = TASKS + FILM_TASKS if "video" in media else TASKS
    every = every if "audio" in media else tuple(task for task in every if task not in _AUDIO)
    return every + tuple(task for sense, some in SENSE_SAMPLERS.items() if sense in media for task in some)


def sample_chat(
    stream: random.Random, task: str | None = None, split: str = "train", media: Collection[str] = MEDIA
) -> Chat:
    """A random chat of the task, or of any for these media by MIXTURE.

    `split` "heldout" takes words, new pictures, new sounds and new films that are held out.
    """
    samplers = SAMPLERS | FILM_SAMPLERS
    for some in SENSE_SAMPLERS.values():
        samplers = samplers | some
    if task is not None and task not in samplers:
        raise ValueError(f"no task is called '{task}'; there are {', '.join(samplers)}")
    if task is None:
        names, weights = tasks(media), MIXTURE | FILM_MIXTURE | SENSE_MIXTURE
        task = stream.choices(names, [weights[name] for name in names])[0]
    return samplers[task](stream, split)


def caption_of(part: Part) -> str:
    """The caption of a medium: the one that the part brings along, or the canonical one."""
    if "caption" in part:
        return part["caption"]
    if part["type"] == "imu":
        return ride_caption(part["film"])
    if part["type"] == "video":
        return film_caption(part["film"])
    return sound_caption(part["clip"]) if part["type"] == "audio" else caption(part["scene"])


def told_of(part: Part) -> str:
    """What is told of a medium that is given: the caption that does not depend on who made it."""
    if "told" in part:
        return part["told"]
    if part["type"] == "imu":
        return ride_caption(part["film"])
    if part["type"] == "video":
        return film_caption(upright_film(part["film"]))
    return sound_caption(upright_clip(part["clip"])) if part["type"] == "audio" else caption(upright(part["scene"]))


def in_words(chat: Chat, but: Collection[str] = ()) -> Chat:
    """The chat with each medium that the user gives replaced by its caption in brackets; what is made stays.

    So do media of the types `but`.
    """

    def told(part: Part) -> Part:
        return part if part["type"] in ("text", *but) else text_part(f"[{told_of(part)}]")

    messages = [
        {"role": "user", "content": [told(part) for part in message["content"]]}
        if message["role"] == "user"
        else message
        for message in chat.messages
    ]
    return replace(chat, messages=tuple(messages))


def corpus_line(stream: random.Random, split: str = "train", media: Collection[str] = MEDIA) -> Chat:
    """A chat for training a language model that has no senses: media in its prompt are told in words."""
    return in_words(sample_chat(stream, split=split, media=media))
