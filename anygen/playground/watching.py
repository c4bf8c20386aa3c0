"""What is said of films: the canonical caption of a film, the many other ways to say it, and the reading of both."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from anygen.playground.caption import casual, tidy
from anygen.playground.film import Film
from anygen.playground.motion import MOTIONS, STILL
from anygen.playground.things import THINGS, thing
from anygen.playground.word import BACKDROP_WORDS, Family, a, called, pick, plural_of, sentence

MOTION_WORDS: dict[str, tuple[str, ...]] = {
    "crosses from left to right": (
        *("cross from left to right", "move from left to right", "go from left to right", "travel from left to right"),
        *("move to the right", "pass from left to right", "go to the right"),
    ),
    "crosses from right to left": (
        *("cross from right to left", "move from right to left", "go from right to left", "travel from right to left"),
        *("move to the left", "pass from right to left", "go to the left"),
    ),
    "rises": ("rise", "go up", "move up", "ascend", "climb", "move upwards"),
    "falls": ("fall", "go down", "fall down", "drop", "move down", "move downwards"),
    "bounces": ("bounce", "hop", "jump up and down", "bounce up and down", "jump"),
    "spins": ("spin", "turn around", "rotate", "whirl", "twirl"),
    "grows": ("grow", "get bigger", "become larger", "get larger", "become bigger"),
    "shrinks": ("shrink", "get smaller", "become smaller", "grow smaller"),
    "circles": ("circle", "go in a circle", "move in a circle", "go round in a circle"),
    "shakes": ("shake", "tremble", "wobble", "shiver", "jiggle"),
    "appears": ("appear", "show up", "pop up", "become visible"),
    "disappears": ("disappear", "vanish", "become invisible", "go out of sight"),
    "comes near": ("come near", "come closer", "approach", "come nearer", "move closer"),
    "goes away": ("go away", "move away", "go far away", "move off into the distance"),
}
"""For each motion what a thing may do; the first is the canonical one."""

STILL_WORDS = ("stand still", "stay where it is", "not move", "keep still")
CAMERA_WORDS = {
    "pans left": (
        *("the camera pans left", "the camera moves to the left", "the camera pans to the left", "panning left"),
    ),
    "pans right": (
        *("the camera pans right", "the camera moves to the right", "the camera pans to the right", "panning right"),
    ),
    "zooms in": ("the camera zooms in", "zooming in", "the camera comes closer", "with a zoom in"),
    "zooms out": ("the camera zooms out", "zooming out", "the camera goes farther away", "with a zoom out"),
}
STILL_CAMERA = "the camera stands still"
DUSK_WORDS = ("it gets dark", "night falls", "day turns to night", "it grows dark", "it becomes night", "dusk falls")
"""What is said of a film in which day turns to night; the first is canonical."""

_PARTICIPLES = {"get": "getting", "drop": "dropping", "hop": "hopping", "spin": "spinning", "pop": "popping"}
_PLURAL_NAMES = frozenset({"grapes", "scissors"})


def does(words: str) -> str:
    """What a thing does, of what it may do: 'rise' to 'rises', 'go up' to 'goes up'."""
    verb, *rest = words.split()
    if verb == "not":
        return f"does {words}"
    end = "es" if verb.endswith(("s", "sh", "ch", "x", "o")) else "s"
    return " ".join([verb + end, *rest])


def doing(words: str) -> str:
    """The participle of what a thing may do: 'rise' to 'rising', 'go up' to 'going up'."""
    verb, *rest = words.split()
    if verb == "not":
        return f"not {doing(' '.join(rest))}"
    stem = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb
    return " ".join([_PARTICIPLES.get(verb, stem + "ing"), *rest])


def moves(name: str, motion: str) -> str:
    """What a thing of this name does, in canonical words: 'rises', and of grapes 'rise'."""
    return MOTION_WORDS[motion][0] if name in _PLURAL_NAMES else motion


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmFacts:
    """What a caption claims of a film; what is not said is None, of what stands still the motion is STILL.

    `actors` are (thing, motion) in their order, what moves before what stands beside it.
    """

    kind: str
    actors: tuple[tuple[str, str | None], ...]
    backdrop: str | None = None
    camera: str | None = None
    dusk: bool = False

    def agrees(self, other: "FilmFacts") -> bool:
        """Whether both claim the same: two that move at the same time have no order."""
        order = sorted if self.kind == "together" else list
        return (
            self.kind == other.kind
            and order(map(repr, self.actors)) == order(map(repr, other.actors))
            and (self.backdrop, self.camera, self.dusk) == (other.backdrop, other.camera, other.dusk)
        )


def film_facts(film: Film) -> FilmFacts:
    """What the canonical caption of a film claims."""
    return FilmFacts(
        kind=film.kind,
        actors=tuple((actor.thing, actor.motion) for actor in film.actors),
        backdrop=film.backdrop,
        camera=film.camera,
        dusk=film.dusk,
    )


def film_caption(film: Film) -> str:
    """The canonical caption of a film: 'a cat spins, then a dog rises, meadow, it gets dark'."""
    names = [a(actor.thing) for actor in film.actors]
    acts = [
        f"{name} {moves(actor.thing, actor.motion)}"
        for name, actor in zip(names, film.actors, strict=True)
        if actor.motion != STILL
    ]
    if film.kind == "one":
        what = acts[0]
    elif film.kind == "beside":
        what = f"{acts[0]} beside {names[1]}"
    else:
        what = f"{acts[0]}{' and' if film.kind == 'together' else ', then'} {acts[1]}"
    camera = f", {CAMERA_WORDS[film.camera][0]}" if film.camera else ""
    return f"{what}, {film.backdrop}{camera}{f', {DUSK_WORDS[0]}' if film.dusk else ''}"


def told_film(film: Film) -> str:
    """The assistant's sentence for what a film shows: the canonical caption."""
    return sentence(film_caption(film))


# --- reading

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+")


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    entries: list[tuple[str, str, str]] = []
    for motion, phrases in ((STILL, STILL_WORDS), *MOTION_WORDS.items()):
        for phrase in phrases:
            entries += [(form, "motion", motion) for form in (phrase, does(phrase), doing(phrase))]
    entries += [("stand still", "motion", STILL), ("stays where they are", "motion", STILL)]
    for camera, phrases in CAMERA_WORDS.items():
        entries += [(phrase, "camera", camera) for phrase in phrases]
    entries += [(phrase, "camera", "") for phrase in (STILL_CAMERA, "the camera does not move", "a still camera")]
    entries += [(phrase, "dusk", "") for phrase in DUSK_WORDS]
    entries += [(phrase, "backdrop", backdrop) for backdrop, phrases in BACKDROP_WORDS.items() for phrase in phrases]
    entries += [(backdrop, "backdrop", backdrop) for backdrop in BACKDROP_WORDS]
    entries += [
        (phrase, "then", "")
        for phrase in ("then", "before", "followed by", "next", "first", "afterwards", "after that")
    ]
    entries += [("next to", "beside", ""), ("after", "after", ""), ("at the same time", "together", "")]
    lexicon = {_words(phrase): (kind, value) for phrase, kind, value in entries}
    for item in THINGS:
        for name in (item.plural, *map(plural_of, item.synonyms), *item.synonyms, item.name):
            lexicon[_words(name)] = ("thing", item.name)
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


def motion_said(text: str) -> str | None:
    """The one motion that a text names, or None where it names none or several."""
    said = {value for kind, value in _marks(text) if kind == "motion"}
    return said.pop() if len(said) == 1 else None


def parse_film(text: str) -> FilmFacts | None:
    """What a caption or a paraphrase claims of a film, or None when it names nothing; exact on canonical captions.

    A motion is that of the last thing before it which has none yet. Of two things of which one has no motion, that one
    stands still.
    """
    said: dict[str, str | None] = {}
    backdrop = camera = last = None
    dusk = then = turned = False
    for kind, value in _marks(text):
        if kind == "thing":
            said.setdefault(value, None)
            last = value
        elif kind == "motion" and last and said[last] is None:
            said[last] = value
        elif kind == "backdrop":
            backdrop = backdrop or value
        elif kind == "camera":
            camera = camera or value
        dusk = dusk or kind == "dusk"
        then = then or kind in ("then", "after")
        turned = turned or (kind == "after" and bool(said))
    actors = list(said.items())
    if not actors or len(actors) > 2:
        return None
    kind = "one"
    if len(actors) == 2:
        moving = [actor for actor in actors if actor[1] not in (None, STILL)]
        kind = "then" if then else "together"
        if len(moving) < 2:
            kind = "beside"
            still = [(name, STILL) for name, motion in actors if motion in (None, STILL)]
            actors = [*moving, *still]
        elif turned:
            actors.reverse()
    return FilmFacts(kind=kind, actors=tuple(actors), backdrop=backdrop, camera=camera or None, dusk=dusk)


# --- other words

# Noun phrases per kind of film; every fifth is held out (see word.split_part).
NOUN_PHRASES = {
    "one": Family(
        "{x} {doing} {where}",
        "{x} that {does} {where}",
        "{where}, {x} {doing}",
        "{x} {where} that {does}",
        "{x} {doing}, {where}",
        "how {x} {does} {where}",
        "a scene {where} with {x} {doing}",
        "just {x} {doing} {where}",
        "{x} alone {doing} {where}",
        "{x} {where}, {doing}",
        more=(
            "{x} which {does} {where}",
            "{x} that is {doing} {where}",
            "{where}, {x} that {does}",
            "{x} {where} which is {doing}",
            "a short scene of {x} {doing} {where}",
            "nothing but {x} {doing} {where}",
        ),
    ),
    "beside": Family(
        "{x} {doing} beside {y} {where}",
        "{x} that {does} beside {y} {where}",
        "{where}, {x} {doing} next to {y}",
        "{x} {doing} while {y} stands still {where}",
        "{x} that {does} next to {y}, {where}",
        "{y} standing still and {x} {doing} {where}",
        "{x} {doing}, beside {y}, {where}",
        "how {x} {does} next to {y} {where}",
        "a scene {where} with {x} {doing} beside {y}",
        "{x} that {does} while {y} does not move, {where}",
        "{x} {doing} beside {y} which stands still, {where}",
        "{x} that {does}, and {y} that does not move, {where}",
        "{x} {doing} and {y} not moving, {where}",
        "{y} which does not move and {x} that {does}, {where}",
        more=(
            "{x} that is {doing} beside {y} {where}",
            "{x} {doing} next to {y}, {where}",
            "{where}, {x} that {does} beside {y}",
            "{x} {doing} by the side of {y} {where}",
            "{x} {doing} with {y} beside it {where}",
            "{x} {doing} and next to it {y} standing still {where}",
            "{y} that stands still and {x} that {does} {where}",
        ),
    ),
    "together": Family(
        "{x} {doing} and {y} {doing_y} {where}",
        "{x} {doing} while {y} {does_y} {where}",
        "{where}, {x} {doing} and {y} {doing_y}",
        "{x} that {does} and {y} that {does_y} {where}",
        "{x} {doing} as {y} {does_y} {where}",
        "{y} {doing_y} and {x} {doing}, {where}",
        "how {x} {does} and {y} {does_y} {where}",
        "{x} {doing} and {y} {doing_y} at the same time {where}",
        "both {x} {doing} and {y} {doing_y} {where}",
        "{y} that {does_y} while {x} {does}, {where}",
        "as {x} {does}, {y} {does_y} {where}",
        more=(
            "{x} {doing} with {y} {doing_y} {where}",
            "{x} {doing} while {y} is {doing_y} {where}",
            "{x} {doing}, and at the same time {y} {doing_y}, {where}",
            "{x} that {does} together with {y} that {does_y} {where}",
            "{x} {doing} and also {y} {doing_y} {where}",
            "{y} {doing_y} together with {x} {doing} {where}",
            "{x} that is {doing} and {y} that is {doing_y}, {where}",
            "{x} {doing}, {y} {doing_y}, both at once, {where}",
            "{where}, {x} that {does} while {y} {does_y}",
            "two things {where}: {x} {doing} and {y} {doing_y}",
            "{x} {doing} when {y} {does_y} {where}",
            "{x} {doing}, {y} {doing_y}, {where}",
            "{x} {doing} {where} while {y} {does_y}",
            "{x} {doing} {where} and {y} {doing_y}",
            "while {x} {does}, {y} {doing_y} {where}",
            "{x} {doing} just when {y} {does_y}, {where}",
        ),
    ),
    "then": Family(
        "{x} {doing}, then {y} {doing_y} {where}",
        "first {x} {doing}, then {y} {doing_y} {where}",
        "{x} that {does} and then {y} that {does_y} {where}",
        "{where}, {x} {doing} and then {y} {doing_y}",
        "{x} {doing} before {y} {does_y} {where}",
        "{x} {doing}, followed by {y} {doing_y} {where}",
        "how {x} {does} and then {y} {does_y} {where}",
        "{y} {doing_y} after {x} {does}, {where}",
        "{x} {doing} {where}, then {y} {doing_y}",
        "first {x} that {does} and then {y} that {does_y} {where}",
        more=(
            "{x} {doing}, and after that {y} {doing_y} {where}",
            "{x} that {does}, then {y} that {does_y} {where}",
            "{x} {doing}, afterwards {y} {doing_y}, {where}",
            "{x} {doing} and afterwards {y} {doing_y} {where}",
            "{x} {doing}, next {y} {doing_y} {where}",
            "after {x} {does}, {y} {does_y} {where}",
            "first {x} {does}, then {y} {does_y} {where}",
            "first {x} {doing} and afterwards {y} {doing_y}, {where}",
            "{where}, first {x} {doing}, then {y} {doing_y}",
            "{x} {doing} first and then {y} {doing_y} {where}",
        ),
    ),
}
ENDINGS = Family(
    "{x}, {more}",
    "{x}, while {more}",
    "{x} and {more}",
    "{x}, and {more}",
    "{x} as {more}",
    "as {more}, {x}",
    more=(
        "{x} where {more}",
        "{x} in which {more}",
        "{x}, and in it {more}",
        "{x}; {more}",
        "{x}, also {more}",
        "{more}, and {x}",
    ),
)

STATEMENTS = (
    "{x}.",
    "I see {x}.",
    "The film shows {x}.",
    "You can watch {x}.",
    "This film has {x}.",
    "In the film there is {x}.",
    "The video shows {x}.",
    "We watch {x}.",
    "What you see is {x}.",
    "It is a film of {x}.",
)
REQUESTS = Family(
    "Make a film of {x}.",
    "Show me a video of {x}.",
    "I want to see a film of {x}.",
    "Film {x}.",
    "Can you make a video of {x}?",
    "Make a video of {x}.",
    "A film of {x}, please.",
    "Create a video of {x}.",
    "Please make a film of {x}.",
    "I want a video of {x}.",
    "Show me a film of {x}.",
    "Generate a video of {x}.",
    "A video of {x}, please.",
    "Can I see a film of {x}?",
    "Could you film {x}?",
    "Give me a video of {x}.",
    "Let me see a film of {x}.",
    "I would like a film of {x}.",
    "Please make a video of {x}.",
    "I need a video of {x}.",
    "Make me a film of {x}.",
    "Create a short film of {x}.",
    "Could you make a video of {x}?",
    "I would love to see a video of {x}.",
    "How about a film of {x}?",
    "A short video of {x}.",
    "Animate {x}.",
    "Can you film {x}?",
    "Let me watch {x}.",
    "Would you make a film of {x}?",
    more=(
        "Play a film of {x}.",
        "I would like to watch {x}.",
        "Make a clip of {x}.",
        "Make a movie of {x}.",
        "Film for me {x}.",
        "A movie of {x}.",
        "Do film {x}.",
        "Please film {x}.",
        "Would you film {x} for me?",
        "Please show me a video of {x}.",
        "I want to watch {x}.",
        "Let us see a video of {x}.",
        "Could I see a video of {x}?",
        "Create a film that shows {x}.",
        "Make a video that shows {x}.",
        "What about a video of {x}?",
        "Can you show me a film of {x}?",
        "We want a film of {x}.",
        "A film that shows {x}.",
        "A video with {x}.",
    ),
)


def film_phrase(film: Film, stream: random.Random, split: str = "train") -> str:
    """A film in a user's words, with synonyms: 'a kitty moving up while a dog spins in the snow, and night falls'.

    A meadow is what goes without saying: half of the time it is not said.
    """
    words = {"where": stream.choice(BACKDROP_WORDS[film.backdrop])}
    if film.backdrop == "meadow" and stream.random() < 0.5:
        words["where"] = ""
    for actor, name, end in zip(film.actors, "xy", ("", "_y"), strict=False):
        words[name] = a(called(thing(actor.thing), stream))
        if actor.motion != STILL:
            motion = MOTION_WORDS[actor.motion]
            said = motion[0] if stream.random() < 0.5 else stream.choice(motion)
            words |= {f"doing{end}": doing(said), f"does{end}": said if actor.thing in _PLURAL_NAMES else does(said)}
    said = tidy(pick(NOUN_PHRASES[film.kind], stream, split).format(**words))
    more = [stream.choice(CAMERA_WORDS[film.camera])] if film.camera else []
    more += [stream.choice(DUSK_WORDS)] if film.dusk else []
    for extra in more:
        said = pick(ENDINGS, stream, split).format(x=said, more=extra)
    return said


def film_paraphrase(film: Film, stream: random.Random, split: str = "train") -> str:
    """A sentence that says what the canonical caption says, in other words."""
    return sentence(pick(STATEMENTS, stream, split).format(x=film_phrase(film, stream, split)), end="")


def film_request(film: Film, stream: random.Random, split: str = "train") -> str:
    """A request to make the film."""
    ask = pick(REQUESTS, stream, split).format(x=film_phrase(film, stream, split))
    return casual(sentence(ask, end=""), stream)


assert tuple(MOTION_WORDS) == MOTIONS and all(does(words[0]) == name for name, words in MOTION_WORDS.items())
