"""Sampled chats with sounds: hearing, making, changing them, and what is seen with what is heard."""

import random
from typing import Any

from anygen.playground.arrange import one_thing
from anygen.playground.caption import caption, casual, draw_request
from anygen.playground.chat import Chat, asked, assistant, drawn, user
from anygen.playground.clip import TEMPOS, TIMES, Clip, Player, is_heldout, sample_clip, sample_heard, upright
from anygen.playground.hearing import (
    COUNT_WORDS,
    FAR_WORDS,
    REQUESTS,
    TEMPO_WORDS,
    silent_words,
    sound_caption,
    sound_request,
    told_sound,
    unheard_words,
)
from anygen.playground.scene import Scene
from anygen.playground.scene import is_heldout as is_scene_heldout
from anygen.playground.sound import INDEX, SOUNDS, sound_of
from anygen.playground.sound_edit import edit_sound, sample_sound_edit
from anygen.playground.sound_question import clip_to_ask, describe_sound, is_heard, sound_question
from anygen.playground.things import BACKDROPS, THINGS, thing
from anygen.playground.unknown import unknown_name
from anygen.playground.word import BACKDROP_WORDS, Family, a, called, pick, sentence

DRAW_HEARD = (
    "Draw what you hear{where}.",
    "Show me what you hear{where}.",
    "What does it look like{where}? Draw it.",
    "Paint what makes this sound{where}.",
    "Can you paint what you hear{where}?",
    "Draw what makes this sound{where}.",
    "Make a picture of what you hear{where}.",
    "Show me what sounds like this{where}.",
    "Can you draw what you hear{where}?",
    "Paint what you hear{where}.",
    "A picture of what you hear{where}, please.",
    "Please draw what you hear{where}.",
    "I want to see what I hear{where}.",
    "Draw the thing that you hear{where}.",
    "Let me see what makes this sound{where}.",
    "Paint the thing that sounds like this{where}.",
    "Draw what this is{where}.",
    "Show me what this is{where}.",
    "Could you draw what you hear{where}?",
    "Make an image of what you hear{where}.",
)
SOUND_SEEN = (
    "What does it sound like{how}?",
    "What does this sound like{how}?",
    "Let me hear it{how}.",
    "Play the sound of this{how}.",
    "Make its sound{how}.",
    "Let me hear what you see{how}.",
    "Play what you see{how}.",
    "Can I hear it{how}?",
    "Make me hear this{how}.",
    "I want to hear it{how}.",
    "What would this sound like{how}?",
    "Play its sound{how}.",
    "Make the sound of this{how}.",
    "Can you play its sound{how}?",
    "Can you make me hear it{how}?",
    "Make the sound of what you see{how}.",
    "I would like to hear it{how}.",
    "Play what this sounds like{how}.",
    "Please let me hear this{how}.",
    "The sound of this{how}, please.",
)
BELONG = (
    "Do they belong together?",
    "Do the picture and the sound belong together?",
    "Does the sound fit the picture?",
    "Is this the sound of what you see?",
    "Do picture and sound match?",
    "Does the picture show what you hear?",
    "Does this thing sound like that?",
    "Do these two fit?",
    "Is it the same thing in the picture and in the sound?",
    "Do they match?",
    "Does the picture match the sound?",
    "Do sound and picture fit together?",
    "Is what you see what you hear?",
    "Does what you hear belong to what you see?",
    "Is the sound that of the picture?",
    "Does the sound belong to the picture?",
    "Do picture and sound show the same thing?",
    "Does the sound match the picture?",
    "Is it the same thing that you see and hear?",
    "Do the picture and the sound fit?",
    "Tell me whether they belong together.",
    "Do you see what you hear?",
    "Does this sound belong to this picture?",
    "Are the picture and the sound of the same thing?",
    "Do these belong together?",
)
HEAR_IT = (
    "Now let me hear it.",
    "And what does it sound like?",
    "Now I want to hear it.",
    "Can I hear it, too?",
    "Let me hear it, please.",
    "Now play its sound.",
    "I want to hear it, too.",
    "Play it for me.",
    "Make its sound now.",
    "Let us hear it.",
    "Can you play its sound?",
    "How does it sound?",
    "And its sound?",
    "Please play what it sounds like.",
    "Could I hear it now?",
)
DRAW_IT = (
    "Now draw it{where}.",
    "And what does it look like{where}? Draw it.",
    "Can you draw it{where}?",
    "Show me what it looks like{where}.",
    "Draw it{where}, please.",
    "Now paint it{where}.",
    "Please draw it{where}.",
    "Let me see it{where}.",
    "Make a picture of it{where}.",
    "I want to see it{where}.",
    "Could you draw it{where}?",
    "And now a picture of it{where}.",
    "Paint it{where}, please.",
    "Can I see it{where}?",
    "Show it to me{where}.",
)
DRAWN_FIRST = Family(
    "Draw what you hear{where}, and let me hear what you see.",
    "Show me what you hear{where}, and play what you see.",
    "Paint what you hear{where}, then make the sound of what you see.",
    "A picture of what you hear{where} and the sound of what you see, please.",
    "Can you draw what you hear{where} and play what you see?",
    "Draw the thing that you hear{where}, then play the thing that you see.",
    "Please draw what you hear{where} and then let me hear what you see.",
    "First draw what you hear{where}, then play what you see.",
    "Make a picture of what you hear{where} and the sound of what you see.",
    "Let me see what you hear{where} and hear what you see.",
    more=(
        "Show me what sounds{where}, and let me hear what is in the picture.",
        "Draw the sound{where} and play the picture.",
        "I want to see what you hear{where} and to hear what you see.",
        "A drawing of what you hear{where}, then the sound of what you see.",
        "Make me see the sound{where} and hear the picture.",
        "Could you paint what sounds{where} and make the sound of the picture?",
        "Draw what makes the sound{where}, and play what the picture sounds like.",
        "Give me a picture of the sound{where} and a sound of the picture.",
        "Paint the sound{where}; then let me hear the picture.",
        "What does the sound look like{where}, and what does the picture sound like? Show me both.",
    ),
)
SOUNDED_FIRST = Family(
    "Let me hear what you see, and draw what you hear{where}.",
    "Play what you see, and show me what you hear{where}.",
    "Make the sound of what you see, then paint what you hear{where}.",
    "The sound of what you see and a picture of what you hear{where}, please.",
    "Can you play what you see and draw what you hear{where}?",
    "Play the thing that you see, then draw the thing that you hear{where}.",
    "Please play what you see and then draw what you hear{where}.",
    "First play what you see, then draw what you hear{where}.",
    "Make the sound of what you see and a picture of what you hear{where}.",
    "Let me hear what you see and see what you hear{where}.",
    more=(
        "Let me hear what is in the picture, and show me what sounds{where}.",
        "Play the picture and draw the sound{where}.",
        "I want to hear what you see and to see what you hear{where}.",
        "The sound of what you see, then a drawing of what you hear{where}.",
        "Make me hear the picture and see the sound{where}.",
        "Could you make the sound of the picture and paint what sounds{where}?",
        "Play what the picture sounds like, and draw what makes the sound{where}.",
        "Give me a sound of the picture and a picture of the sound{where}.",
        "Let me hear the picture; then paint the sound{where}.",
        "What does the picture sound like, and what does the sound look like{where}? Play it and draw it.",
    ),
)
DRAWN_AND_SOUNDED = (
    "{request} and let me hear it",
    "{request} and play its sound",
    "{request}, and let me hear it, too",
    "{request}, with its sound",
    "{request} and then its sound",
    "{request}, and what does it sound like",
    "{request} and then play its sound",
    "{request} and make its sound",
    "{request} and let me know what it sounds like",
    "{request}, and I want to hear it",
    "{request} and also play its sound",
    "{request}, then let me hear it",
    "{request}, together with its sound",
    "{request} and its noise",
    "{request}, and play what it sounds like",
)


def sounded(clip: Clip) -> dict:
    """The assistant's turn that makes a sound: what it makes in canonical words, then the sound."""
    return assistant(f"Here it is: {sound_caption(clip)}.", clip)


def _changed(clip: Clip) -> dict:
    return assistant(f"Done: {sound_caption(clip)}.", clip)


def hearing(stream: random.Random, split: str) -> Chat:
    """A sound to describe."""
    clip = upright(sample_heard(stream, split=split))
    messages = (asked(clip, describe_sound(stream, split), stream), assistant(told_sound(clip)))
    return Chat(messages=messages, task="hear", facts={"clip": clip})


def sounding(stream: random.Random, split: str) -> Chat:
    """A sound to make."""
    clip = sample_clip(stream, split=split)
    messages = (user(sound_request(clip, stream, split)), sounded(clip))
    return Chat(messages=messages, task="sound", facts={"target": clip})


def answering(stream: random.Random, split: str) -> Chat:
    """A question about a sound."""
    clip = clip_to_ask(stream, split)
    kind, (ask, answer, ways) = sound_question(clip, stream, split)
    facts = {"clip": clip, "question": kind, "accept": ways}
    return Chat(messages=(asked(clip, ask, stream), assistant(answer)), task="sound_vqa", facts=facts)


def finding(stream: random.Random, split: str) -> Chat:
    """Is there a sound, half of the time there is."""
    clip = clip_to_ask(stream, split)
    ask, answer, ways = is_heard(clip, stream, split)
    facts = {"clip": clip, "question": "is heard", "accept": ways}
    return Chat(messages=(asked(clip, ask, stream), assistant(answer)), task="sound_pope", facts=facts)


def _single(stream: random.Random, split: str) -> Clip:
    """A clip of one thing."""
    return sample_clip(stream, stream.choices(("once", "times", "melody"), (6, 3, 1))[0], split)


def _alone(name: str, backdrop: str, stream: random.Random) -> Scene:
    return one_thing(name, backdrop, stream, size="large")


def _backdrop(name: str, split: str, stream: random.Random) -> str | None:
    """A backdrop on which the split shows the thing, if there is one; a meadow more often than chance."""
    choice = [b for b in BACKDROPS if is_scene_heldout(_alone(name, b, stream)) == (split == "heldout")]
    if not choice:
        return None
    return "meadow" if "meadow" in choice and stream.random() < 0.4 else stream.choice(choice)


def seeing(stream: random.Random, split: str) -> Chat:
    """What sounds is drawn: large, in the middle, on a meadow where no other place is asked for."""
    while True:
        clip = _single(stream, split)
        name = clip.things[0]
        backdrop = _backdrop(name, split, stream)
        if backdrop is None:
            continue
        scene = _alone(name, backdrop, stream)
        unsaid = backdrop == "meadow" and stream.random() < 0.8
        where = "" if unsaid else f" {stream.choice(BACKDROP_WORDS[backdrop])}"
        ask = pick(DRAW_HEARD, stream, split).format(where=where)
        facts = {"target": scene, "clip": clip}
        return Chat(messages=(asked(clip, ask, stream), drawn(scene)), task="see", facts=facts)


def _one_seen(stream: random.Random, split: str) -> Scene:
    """A picture of one thing that has a sound."""
    while True:
        name = stream.choice(SOUNDS).thing
        backdrop = _backdrop(name, split, stream)
        if backdrop:
            size = stream.choice(("medium", "large", "large"))
            return one_thing(name, backdrop, stream, size=size)


def voicing(stream: random.Random, split: str) -> Chat:
    """What is seen is heard: once and near where nothing else is asked for; the picture is one of the split."""
    while True:
        scene = _one_seen(stream, split)
        clip, how = _as_asked(scene.things[0].thing, stream)
        if split == "train" and is_heldout(clip):
            continue
        ask = pick(SOUND_SEEN, stream, split).format(how=how)
        facts = {"target": clip, "scene": scene}
        return Chat(messages=(asked(scene, ask, stream), sounded(clip)), task="voice", facts=facts)


def _as_asked(name: str, stream: random.Random) -> tuple[Clip, str]:
    """The sound of a thing and what was asked of it: mostly nothing."""
    form = stream.random()
    if form < 0.7:
        return Player(stream).once(name), ""
    if form < 0.8:
        return Player(stream, loudness="far").once(name), f" {stream.choice(FAR_WORDS)}"
    count, tempo = stream.choice(TIMES), stream.choice(TEMPOS)
    said = "" if tempo == "slow" and stream.random() < 0.5 else f", {stream.choice(TEMPO_WORDS[tempo])}"
    return Player(stream).times(name, count, tempo), f" {stream.choice(COUNT_WORDS[count])}{said}"


def repeating(stream: random.Random, split: str) -> Chat:
    """A sound to change."""
    kind, source, ask, target = sample_sound_edit(stream, split)
    messages = (asked(source, ask, stream), _changed(target))
    return Chat(messages=messages, task="repeat", facts={"edit": kind, "source": source, "target": target})


def both(stream: random.Random, split: str) -> Chat:
    """One answer with a picture and a sound: of what is asked for, or of a sound and a picture that are given."""
    while True:
        shown = _one_seen(stream, split)
        played = Player(stream).once(shown.things[0].thing)  # what is seen, to be heard
        if split == "train" and is_heldout(played):
            continue
        if stream.random() < 0.5:
            request = draw_request(shown, stream, split).rstrip(".!?")
            asking = user(pick(DRAWN_AND_SOUNDED, stream, split).format(request=request) + stream.choice((".", "")))
            scene, first = shown, True
            break
        heard = _single(stream, split)
        backdrop = _backdrop(heard.things[0], split, stream)
        if backdrop is None or heard.things == played.things:
            continue
        scene = _alone(heard.things[0], backdrop, stream)
        where = "" if backdrop == "meadow" else f" {stream.choice(BACKDROP_WORDS[backdrop])}"
        first = stream.random() < 0.5
        ask = casual(pick(DRAWN_FIRST if first else SOUNDED_FIRST, stream, split).format(where=where), stream)
        given: list[Scene | Clip] = [shown, heard] if stream.random() < 0.6 else [heard, shown]
        asking = user(*given, ask) if stream.random() < 0.8 else user(ask, *given)
        break
    picture: list[str | Scene | Clip] = [f"Here it is: {caption(scene)}.", scene]
    sound: list[str | Scene | Clip] = [f"Here it is: {sound_caption(played)}.", played]
    parts = picture + sound if first else sound + picture
    said = " ".join(part for part in parts if isinstance(part, str))
    facts = {"accept": [said], "drawn": scene, "played": played}
    return Chat(messages=(asking, assistant(*parts)), task="both", facts=facts)


def belonging(stream: random.Random, split: str) -> Chat:
    """A picture and a sound; as often of the same thing as not, and half of what is not is of a like category."""
    while True:
        clip = _single(stream, split)
        name = seen = clip.things[0]
        if stream.random() < 0.5:
            others = [sound.thing for sound in SOUNDS if sound.thing != name]
            alike = [other for other in others if thing(other).category == thing(name).category]
            seen = stream.choice(alike if alike and stream.random() < 0.5 else others)
        backdrop = _backdrop(seen, split, stream)
        if backdrop:
            break
    scene = one_thing(seen, backdrop, stream, size=stream.choice(("medium", "large", "large")))
    ask = casual(pick(BELONG, stream, split), stream)
    parts: list[Scene | Clip] = [scene, clip] if stream.random() < 0.5 else [clip, scene]
    heard = sound_of(name).heard
    answer = f"Yes, I see and hear {a(name)}." if seen == name else f"No, I see {a(seen)} but hear {heard}."
    asking = user(*parts, ask) if stream.random() < 0.8 else user(ask, *parts)
    facts = {"scene": scene, "clip": clip, "accept": [answer, "Yes." if seen == name else "No."]}
    return Chat(messages=(asking, assistant(answer)), task="belong", facts=facts)


def declining(stream: random.Random, split: str) -> Chat:
    """A sound of what is unknown, or of a thing that has none, named or shown."""
    form = stream.random()
    if form < 0.6:
        name = unknown_name(stream, split)
        answer = unheard_words(name)
        facts: dict[str, Any] = {"unheard": name}
        asking = user(_ask_for(a(name), stream, split))
    else:
        silent = [item for item in THINGS if item.name not in INDEX and item.sound is None]
        item = stream.choice(silent)
        answer, facts = silent_words(item.name), {"accept": [silent_words(item.name)]}
        backdrop = _backdrop(item.name, split, stream)
        if form < 0.8 and backdrop:
            scene = one_thing(item.name, backdrop, stream, size=stream.choice(("medium", "large")))
            asking = asked(scene, pick(SOUND_SEEN, stream, split).format(how=""), stream)
        else:
            asking = user(_ask_for(a(called(item, stream)), stream, split))
    return Chat(messages=(asking, assistant(answer)), task="unheard", facts=facts)


def _ask_for(name: str, stream: random.Random, split: str) -> str:
    said = stream.choice((name, f"the sound of {name}"))
    return casual(sentence(pick(REQUESTS, stream, split).format(x=said), end=""), stream)


def mixing(stream: random.Random, split: str) -> Chat:
    """A dialogue of pictures and sounds: one is given or made, the other made of it, and a change or a question."""
    while True:
        scene = _one_seen(stream, split)
        name = scene.things[0].thing
        clip = Player(stream).once(name)
        if split == "heldout" or not is_heldout(clip):
            break
    if stream.random() < 0.5:
        messages = [user(draw_request(scene, stream, split)), drawn(scene)]
        messages += [user(casual(pick(HEAR_IT, stream, split), stream)), sounded(clip)]
    else:
        scene = _alone(name, scene.backdrop, stream)
        where = "" if scene.backdrop == "meadow" else f" {stream.choice(BACKDROP_WORDS[scene.backdrop])}"
        messages = [asked(clip, describe_sound(stream, split), stream), assistant(told_sound(clip))]
        ask = pick(DRAW_IT, stream, split).format(where=where)
        messages += [user(casual(ask, stream)), drawn(scene)]
    form = stream.random()
    if form < 0.4:
        for _ in range(20):
            edited = edit_sound(clip, stream, split)
            if edited and edited[0] != "replace":  # a picture could be meant
                clip = edited[2]
                messages += [user(casual(edited[1], stream)), _changed(clip)]
                return Chat(messages=tuple(messages), task="mixed", facts={"target": clip, "scene": scene})
    if form < 0.7:
        ask, answer, ways = sound_question(clip, stream, split)[1]
        messages += [user(casual(ask, stream)), assistant(answer)]
        return Chat(messages=tuple(messages), task="mixed", facts={"scene": scene, "clip": clip, "accept": ways})
    last = messages[-1]["content"][-1]
    facts = {"target": scene if last["type"] == "image" else clip}
    return Chat(messages=tuple(messages), task="mixed", facts=facts)
