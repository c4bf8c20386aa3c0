"""Sampled chats with films: watching, making, animating, changing them, and what is heard with them."""

import random

from anygen.playground import sound_question
from anygen.playground.arrange import settle
from anygen.playground.caption import casual
from anygen.playground.chat import Chat, Message, asked, assistant, drawn, text_part, user, video_part
from anygen.playground.clip import Clip, Player
from anygen.playground.clip import is_heldout as is_clip_heldout
from anygen.playground.film import Director, Film, is_heldout, sample_film, scene_at, soundtrack, upright
from anygen.playground.film import settle as settle_film
from anygen.playground.film_edit import edit_film, sample_film_edit
from anygen.playground.film_question import describe_film, film_question, film_to_ask, is_seen
from anygen.playground.hearing import sound_caption
from anygen.playground.motion import FRAMES, MOTIONS, REPEATED
from anygen.playground.scene import Scene, rearranged, sample_scene
from anygen.playground.scene import is_heldout as is_scene_heldout
from anygen.playground.sound import SOUNDS
from anygen.playground.things import BACKDROPS, thing
from anygen.playground.unknown import decline, unknown_name
from anygen.playground.watching import (
    MOTION_WORDS,
    REQUESTS,
    does,
    doing,
    film_caption,
    film_request,
    told_film,
)
from anygen.playground.word import BACKDROP_WORDS, Family, a, called, pick, sentence

_TRIES = 20

WITH_SOUND = Family(
    "{request}, with sound",
    "{request} with its sound",
    "{request}, and let me hear it, too",
    "{request}, with a soundtrack",
    "{request} and its sound",
    "{request}, not without its sound",
    "{request} and the sound of it",
    "{request}, with the sound that it makes",
    "{request} together with its sound",
    more=(
        "{request} and also its sound",
        "{request}, together with its sound",
        "{request}, with what one hears",
        "{request}, and play its sound, too",
    ),
)
SOUND_OF = Family(
    "What does this sound like?",
    "Make the sound of this film.",
    "Let me hear it.",
    "What is the soundtrack of this?",
    "Add the sound: what does one hear?",
    "Play the sound of this video.",
    "Make a soundtrack for this film.",
    "Let me hear what happens.",
    "I want to hear this video.",
    "Make its soundtrack.",
    "What does one hear in this film?",
    "Add the sound.",
    "Add a soundtrack.",
    "What is to be heard in this video?",
    more=(
        "Make the sound of this video.",
        "What would this sound like?",
        "Play what this sounds like.",
        "Give this film its sound.",
        "Let me hear this film.",
        "Let me hear the video.",
        "Give me the sound of this film.",
        "The sound of this film, please.",
        "Put sound to this film.",
        "Can I hear this film?",
        "I want the sound of this film.",
        "What sound belongs to this video?",
        "Add what one hears to this film.",
        "Make the soundtrack of this video.",
        "Make the sound that goes with this.",
        "Add all sounds of this film.",
        "What sounds does this film have? Play them.",
        "Let me hear all that one hears in this.",
        "Make a soundtrack: what is to be heard?",
        "This film is silent. Make its sound.",
    ),
)
FILM_HEARD = Family(
    "Make a film of what you hear{how}.",
    "Film what makes this sound{how}.",
    "Make a video of what you hear{how}.",
    "Show me a film of what sounds like this{how}.",
    "A video of what you hear{how}, please.",
    "Can you film what you hear{how}?",
    "Make a video of what makes this sound{how}.",
    "Let me see a film of what you hear{how}.",
    "I want to see what makes this sound{how}, in a film.",
    "Show me a video of what you hear{how}.",
    more=(
        "Film what you hear{how}.",
        "Could you film what you hear{how}?",
        "I want a film of what you hear{how}.",
        "Make a film of the thing that you hear{how}.",
        "Show me in a film what makes this sound{how}.",
        "Create a video of what you hear{how}.",
    ),
)
ANIMATE = Family(
    "Animate this picture: let it {do}.",
    "Let it {do}.",
    "Make a film of this in which it {does}.",
    "Let the {x} {do}.",
    "Make it {do}, as a video.",
    "Animate this: the {x} {does}.",
    "Make a video in which the {x} {does}.",
    "I want to see it {do}.",
    "Make the {x} {do}.",
    "Turn this picture into a film: it {does}.",
    more=(
        "Animate it: let it {do}.",
        "Can you make it {do}?",
        "Please let the {x} {do}.",
        "Make a video of it in which it {does}.",
        "Make this picture move: let it {do}.",
        "A film in which the {x} {does}, please.",
        "Now let the {x} {do}, as a film.",
    ),
)
ANIMATE_ANYHOW = Family(
    "Animate this picture.",
    "Make a film of this picture.",
    "Let it move.",
    "Bring this picture to life.",
    "Turn this picture into a video.",
    "Make this picture move.",
    "Make a video of this picture.",
    "Turn the picture into a moving one.",
    "Set this picture in motion.",
    more=(
        "Make a moving picture of this.",
        "Let this picture move.",
        "Please animate this.",
        "A film of this picture, please.",
        "Can you animate this picture?",
        "I want to see it move.",
    ),
)
ANYHOW = "spins"
"""What is animated does where nothing is said of it."""

KEY_FRAMES = {
    "last": Family(
        "Show me the last frame.",
        "The last frame, please.",
        "Draw the last frame.",
        "A picture of the last frame.",
        "How does it look at the end? Draw it.",
        "Give me the last frame as a picture.",
        "How does it end? Draw it.",
        "What does the end look like? Show me.",
        "Draw how it looks when it is over.",
        more=(
            "Draw the end.",
            "I want the last frame as a picture.",
            "Can you draw the last frame?",
            "Draw how it ends.",
            "Show me the end as a picture.",
            "Paint the last frame.",
        ),
    ),
    "first": Family(
        "Show me the first frame.",
        "The first frame, please.",
        "Draw the first frame.",
        "A picture of the first frame.",
        "How does it look at the beginning? Draw it.",
        "Give me the first frame as a picture.",
        "How does it begin? Draw it.",
        "What does the beginning look like? Show me.",
        "Draw how it looks before anything moves.",
        more=(
            "Draw the beginning.",
            "I want the first frame as a picture.",
            "Can you draw the first frame?",
            "Draw how it begins.",
            "Show me the beginning as a picture.",
            "Paint the first frame.",
        ),
    ),
}
HEARD_AND_SEEN = Family(
    "What makes the sound?",
    "Which thing do you hear?",
    "What do you hear in this film?",
    "Name what you hear.",
    "Whose sound is in this video?",
    "Whose sound is it?",
    "Tell me what makes the sound.",
    "Which thing makes the sound in this video?",
    "What is it that you hear?",
    more=(
        "Which thing sounds?",
        "What thing do you hear?",
        "Say what you hear in the film.",
        "Tell me which thing you hear.",
        "Name the thing that makes the sound.",
        "Whose sound do you hear?",
        "What is making the sound?",
        "Name what makes the sound.",
    ),
)


def filmed(film: Film, clip: Clip | None = None) -> Message:
    """The assistant's turn that makes a film: what it makes in canonical words, the film, and its sound if any."""
    return assistant(_here(film), *_with(film, clip))


def _here(film: Film) -> str:
    return f"Here it is: {film_caption(film)}."


def _changed(film: Film) -> Message:
    return assistant(f"Done: {film_caption(film)}.", film)


def _with(film: Film, clip: Clip | None) -> tuple[Film | Clip, ...]:
    return (film, clip) if clip else (film,)


def _asked(film: Film, clip: Clip | None, ask: str, stream: random.Random) -> Message:
    """A user's turn with a film, its sound directly after it, and a question, the film mostly first."""
    ask = casual(ask, stream)
    return user(*_with(film, clip), ask) if stream.random() < 0.8 else user(ask, *_with(film, clip))


def watching(stream: random.Random, split: str) -> Chat:
    """A film to describe."""
    film = upright(sample_film(stream, split=split))
    messages = (asked(film, describe_film(stream, split), stream), assistant(told_film(film)))
    return Chat(messages=messages, task="watch", facts={"film": film})


def filming(stream: random.Random, split: str) -> Chat:
    """A film to make."""
    film = sample_film(stream, split=split)
    messages = (user(film_request(film, stream, split)), filmed(film))
    return Chat(messages=messages, task="film", facts={"target": film})


def answering(stream: random.Random, split: str) -> Chat:
    """A question about a film."""
    film = film_to_ask(stream, split)
    kind, (ask, answer, ways) = film_question(film, stream, split)
    facts = {"film": film, "question": kind, "accept": ways}
    return Chat(messages=(asked(film, ask, stream), assistant(answer)), task="film_vqa", facts=facts)


def finding(stream: random.Random, split: str) -> Chat:
    """Is there a thing in a film, half of the time there is."""
    film = film_to_ask(stream, split)
    ask, answer, ways = is_seen(film, stream, split)
    facts = {"film": film, "question": "is there", "accept": ways}
    return Chat(messages=(asked(film, ask, stream), assistant(answer)), task="film_pope", facts=facts)


def sample_animated(stream: random.Random, split: str = "train") -> tuple[Scene, Film, bool]:
    """A picture of one thing, a film that begins with it, and whether nothing need be said of how the thing moves."""
    while True:
        scene = sample_scene(stream, "one", "train" if split == "train" else stream.choice(("train", "heldout")))
        if stream.random() < 0.5:
            scene = settle(scene)
        anyhow = stream.random() < 0.1
        motion = ANYHOW if anyhow else stream.choice(MOTIONS)
        film = Director(stream, variant=scene.variant).animate(scene, motion)
        if film and is_heldout(film) == (split == "heldout"):
            return scene, film, anyhow


def reanimated(scene: Scene, film: Film, stream: random.Random) -> tuple[Scene, Film]:
    """Another picture of the same caption, with its thing elsewhere, and the film that begins with it; the same picture
    where no other is soon found that leaves room to move."""
    for _ in range(_TRIES):
        other = rearranged(scene, stream)
        if made := Director(stream, variant=other.variant).animate(other, film.actors[0].motion):
            return other, made
    return scene, film


def animating(stream: random.Random, split: str) -> Chat:
    """A picture of one thing that is to move; the film begins with the picture. It spins where nothing else is said."""
    scene, film, anyhow = sample_animated(stream, split)
    words = MOTION_WORDS[film.movers[0].motion]
    do = words[0] if stream.random() < 0.5 else stream.choice(words)
    x = called(thing(film.things[0]), stream)
    ask = pick(ANIMATE_ANYHOW if anyhow else ANIMATE, stream, split).format(do=do, does=does(do), x=x)
    made: Message = {"role": "assistant", "content": [text_part(_here(film)), video_part(film, scene)]}
    facts = {"scene": scene, "target": film}
    return Chat(messages=(asked(scene, ask, stream), made), task="animate", facts=facts)


def freezing(stream: random.Random, split: str) -> Chat:
    """The first or the last frame of a film as a picture."""
    while True:
        film = sample_film(stream, split=split)
        which = stream.choice(("last", "last", "first"))
        scene = scene_at(film, FRAMES - 1 if which == "last" else 0)
        if scene and not (split == "train" and is_scene_heldout(scene)):
            ask = pick(KEY_FRAMES[which], stream, split)
            facts = {"film": film, "frame": which, "target": scene}
            return Chat(messages=(asked(film, ask, stream), drawn(scene)), task="frame", facts=facts)


def changing(stream: random.Random, split: str) -> Chat:
    """A film to change."""
    kind, source, ask, target = sample_film_edit(stream, split)
    messages = (asked(source, ask, stream), _changed(target))
    return Chat(messages=messages, task="refilm", facts={"edit": kind, "source": source, "target": target})


def declining(stream: random.Random, split: str) -> Chat:
    """A film of what is unknown."""
    name = unknown_name(stream, split)
    motion = MOTION_WORDS[stream.choice(MOTIONS)][0]
    x = f"{a(name)} {doing(motion)}" if stream.random() < 0.8 else a(name)
    if stream.random() < 0.4:
        x += f" {stream.choice(BACKDROP_WORDS[stream.choice(BACKDROPS)])}"
    ask = casual(sentence(pick(REQUESTS, stream, split).format(x=x), end=""), stream)
    return Chat(messages=(user(ask), assistant(decline(name))), task="unfilmed", facts={"unknown": name})


def cinema(stream: random.Random, split: str) -> Chat:
    """A film that is made or given, mostly an edit of it, and a question, a description or a frame at the end."""
    while True:
        film = upright(sample_film(stream, split=split))
        given = stream.random() < 0.3
        if given:
            messages = [asked(film, describe_film(stream, split), stream), assistant(told_film(film))]
        else:
            messages = [user(film_request(film, stream, split)), filmed(film)]
        for _ in range(stream.choice((0, 1, 1, 2))):
            edited = edit_film(film, stream, split)
            if edited:
                film = edited[2]
                messages += [user(casual(edited[1], stream)), _changed(film)]
        if len(messages) > 2 or not given:
            break
    form = stream.random()
    # where the things of a film that was made stand, its caption alone says
    scene = scene_at(film if given and len(messages) == 2 else settle_film(film), FRAMES - 1)
    if form < 0.2 and scene and not (split == "train" and is_scene_heldout(scene)):
        ask = casual(pick(KEY_FRAMES["last"], stream, split), stream)
        messages += [user(ask), drawn(scene)]
        return Chat(messages=tuple(messages), task="cinema", facts={"target": scene})
    if form < 0.35:
        messages += [user(describe_film(stream, split)), assistant(told_film(film))]
        return Chat(messages=tuple(messages), task="cinema", facts={"film": film})
    ask, answer, ways = is_seen(film, stream, split) if form < 0.5 else film_question(film, stream, split)[1]
    messages += [user(casual(ask, stream)), assistant(answer)]
    return Chat(messages=tuple(messages), task="cinema", facts={"film": film, "accept": ways})


# --- films and sounds


def _sounding(stream: random.Random, split: str) -> tuple[Film, Clip]:
    """A film in which what moves has a sound, and that sound; in training both are of the split."""
    while True:
        kind = stream.choice(("one", "one", "one", "beside", "together", "then"))
        film = upright(sample_film(stream, kind, split))
        if kind == "one":  # of all things few enough sound
            names = [sound.thing for sound in SOUNDS]
            film = Director(stream).one(stream.choice(names), film.movers[0].motion, film.backdrop)
        clip = soundtrack(film)
        right = is_heldout(film) == (split == "heldout")
        if clip and right and not (split == "train" and is_clip_heldout(clip)):
            return film, clip


def talking(stream: random.Random, split: str) -> Chat:
    """A film with its sound to make: the sound is of what moves, in time with it."""
    film, clip = _sounding(stream, split)
    request = film_request(film, stream, split).rstrip(".!?")
    ask = pick(WITH_SOUND, stream, split).format(request=request) + stream.choice((".", ""))
    facts = {"target": film, "played": clip}
    return Chat(messages=(user(ask), filmed(film, clip)), task="talkie", facts=facts)


def scoring(stream: random.Random, split: str) -> Chat:
    """A film without its sound, which is to be made."""
    film, clip = _sounding(stream, split)
    ask = pick(SOUND_OF, stream, split)
    answer = assistant(f"Here it is: {sound_caption(clip)}.", clip)
    return Chat(messages=(asked(film, ask, stream), answer), task="score", facts={"target": clip, "film": film})


def screening(stream: random.Random, split: str) -> Chat:
    """A film of what is heard, as asked: what is repeated bounces, and what is heard once crosses to the right,
    on a meadow, where nothing else is said."""
    while True:
        name = stream.choice(SOUNDS).thing
        unsaid = stream.random() < 0.2
        motion, backdrop = stream.choice(MOTIONS), stream.choice(BACKDROPS)
        if unsaid:
            motion = stream.choice(("bounces", MOTIONS[0]))
        if motion in REPEATED:
            clip = Player(stream).times(name, stream.choice((2, 3, 4)), stream.choice(("slow", "fast", "fast")))
        else:
            clip = Player(stream).once(name)
        film = Director(stream).one(name, motion, backdrop)
        if is_heldout(film) == (split == "heldout") and not (split == "train" and is_clip_heldout(clip)):
            break
    said = MOTION_WORDS[motion]
    how = "" if unsaid else f" {doing(said[0] if stream.random() < 0.5 else stream.choice(said))}"
    if backdrop != "meadow" or stream.random() < 0.5:
        how += f" {stream.choice(BACKDROP_WORDS[backdrop])}"
    ask = pick(FILM_HEARD, stream, split).format(how=how)
    facts = {"target": film, "clip": clip}
    return Chat(messages=(asked(clip, ask, stream), filmed(film)), task="screen", facts=facts)


def attending(stream: random.Random, split: str) -> Chat:
    """A film given with its sound: what happens, or what sounds."""
    film, clip = _sounding(stream, split)
    if stream.random() < 0.5:
        messages = (_asked(film, clip, describe_film(stream, split), stream), assistant(told_film(film)))
        return Chat(messages=messages, task="attend", facts={"film": film, "clip": clip, "target": film})
    _, answer, ways = sound_question.ASK["what"](clip, stream, split)
    ask = pick(HEARD_AND_SEEN, stream, split)
    messages = (_asked(film, clip, ask, stream), assistant(answer))
    facts = {"film": film, "clip": clip, "accept": ways}
    return Chat(messages=messages, task="attend", facts=facts)
