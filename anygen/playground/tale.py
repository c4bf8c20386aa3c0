"""Stories: a hero, a wish, two to five pages, each with its picture, and an end."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from anygen.playground.arrange import one_thing, two_things
from anygen.playground.caption import casual
from anygen.playground.reading import parse_caption
from anygen.playground.scene import Scene, in_split
from anygen.playground.things import BACKDROPS, THINGS, Thing, thing
from anygen.playground.unknown import unknown_name
from anygen.playground.word import BACKDROP_WORDS, NUMBERS, Family, a, called, pick, sentence

Page = tuple[str, Scene]

PAGES = (2, 3, 4, 5)
PAGES_UNSAID = 3

REQUESTS = Family(
    "Tell a story about {idea} in {pages} pages.",
    "Tell me a story about {idea} in {pages} pages.",
    "Write a story about {idea} with {pages} pages.",
    "A story about {idea}, {pages} pages.",
    "Tell a {pages} page story about {idea}.",
    "I want a story about {idea} in {pages} pages.",
    "Please tell a story of {pages} pages about {idea}.",
    "Tell me about {idea} in {pages} pages.",
    "Make a picture book of {pages} pages about {idea}.",
    "Can you tell a story about {idea} in {pages} pages?",
    "Tell us a story about {idea} in {pages} pages.",
    "Write me a {pages} page story about {idea}.",
    "Make up a story about {idea} with {pages} pages.",
    "I would like a story of {pages} pages about {idea}.",
    "{pages} pages about {idea}, please.",
    "Could you tell me a story about {idea} in {pages} pages?",
    "Give me a story about {idea}, {pages} pages.",
    "Please write a story about {idea} with {pages} pages.",
    "Invent a story of {pages} pages about {idea}.",
    "Tell {pages} pages about {idea}.",
    more=(
        "Tell the story of {idea} in {pages} pages.",
        "Please make up a story of {pages} pages about {idea}.",
        "A picture story about {idea} in {pages} pages, please.",
        "Write {pages} pages about {idea}.",
        "Can you write a {pages} page story about {idea}?",
        "I want to read {pages} pages about {idea}.",
        "Show me a story about {idea} in {pages} pages.",
        "Tell me {pages} pages about {idea}.",
        "Make a {pages} page story about {idea}.",
        "In {pages} pages, tell a story about {idea}.",
    ),
)
REQUESTS_UNSAID = Family(
    "Tell a story about {idea}.",
    "Tell me a story about {idea}.",
    "A story about {idea}, please.",
    "Write a story about {idea}.",
    "Can you tell me a story about {idea}?",
    "I want a story about {idea}.",
    "Tell us a story about {idea}.",
    "Make up a story about {idea}.",
    "Can I have a story about {idea}?",
    "Please tell a story about {idea}.",
    "Give me a story about {idea}.",
    "Invent a story about {idea}.",
    "I would like a story about {idea}.",
    "Could you tell a story about {idea}?",
    "Write me a story about {idea}.",
    more=(
        "Tell the story of {idea}.",
        "Please make up a story about {idea}.",
        "I want to read a story about {idea}.",
        "Can you write a story about {idea}?",
        "Show me a story about {idea}.",
        "Tell me about {idea} in a story.",
        "Make a story about {idea}.",
    ),
)

# A wish in the user's words, then which things may come up in the story (none: any).
FREE_WISHES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("wants to fly", ("airplane", "balloon", "helicopter", "rocket")),
    ("wants to be king", ("crown", "castle")),
    ("loves music", ("guitar", "piano", "drum", "violin")),
    ("is hungry", ("pizza", "apple", "hamburger", "cake")),
    ("cannot sleep", ("moon", "star", "teddy bear")),
    ("is cold", ("fire", "hat", "coffee")),
    ("is afraid of the dark", ("candle", "moon", "light bulb")),
    ("wants a friend", ("dog", "duck", "rabbit", "robot")),
    ("is late for school", ("clock", "bus", "bicycle")),
    ("wants to sail", ("sailboat", "ship", "whale")),
    ("has a birthday", ("cake", "gift", "balloon")),
    ("learns to read", ("book",)),
    ("likes to play ball", ("soccer ball", "basketball")),
    ("gets lost", ("house", "key", "tower")),
    ("is bored", ("ferris wheel", "clown", "television")),
    ("goes on a journey", ("train", "car", "tent", "ship")),
    ("wants to grow", ("tree", "sunflower", "dinosaur")),
    ("travels to the moon", ("rocket", "moon", "planet")),
    ("saves the day", ("fire engine", "ambulance", "fire")),
    ("finds a treasure", ("key", "crown", "lock")),
    ("learns to sing", ("bell", "parrot", "trumpet")),
    ("meets a monster", ("dinosaur", "ghost", "octopus")),
    ("is sad", ("rainbow", "clown", "gift")),
    ("dreams at night", ("star", "moon", "cloud")),
    ("wants to be famous", ("camera", "television", "guitar")),
)
THING_WISHES = (
    "finds {x}",
    "wants {x}",
    "meets {x}",
    "looks for {x}",
    "dreams of {x}",
    "lost {x}",
    "builds {x}",
    "loves {x}",
    "is looking for {x}",
    "needs {x}",
    "chases {x}",
    "gets {x}",
)
PLACE_WISHES = (
    "goes {where}",
    "gets lost {where}",
    "lives {where}",
    "wants to live {where}",
    "travels and wakes up {where}",
    "has an adventure {where}",
    "walks {where}",
    "wants to go {where}",
    "is alone {where}",
    "finds a home {where}",
    "spends a day {where}",
    "looks for friends {where}",
    "moves to live {where}",
    "is happy {where}",
    "takes a trip and ends up {where}",
)
STRANGE_WISHES = (
    "{verb}s with {x}",
    "wants to {verb}",
    "is very {mood}",
    "never {verb}s",
    "likes {x}",
    "does not like {x}",
    "wants to be {mood}",
)
_VERBS = ("jump", "cook", "dance", "win", "work", "swim", "laugh", "paint", "run", "wait", "hide", "climb")
_MOODS = ("happy", "brave", "lazy", "rich", "clever", "angry", "strong", "shy", "curious", "tired", "kind", "fast")

BEGIN: dict[str | None, tuple[str, ...]] = {
    None: (
        "Once there was {hero} {where}. It had a dream.",
        "Once upon a time {hero} lived {where}.",
        "This is the story of {hero}. It lived {where}.",
        "One day {hero} woke up {where}.",
    ),
}
MIDDLE: dict[str | None, tuple[str, ...]] = {
    None: (
        "Then {hero} went on and was {where}.",
        "The next day {hero} was {where}.",
        "After a while {hero} rested {where}.",
    ),
    "left of": (
        "There {hero} met {other} {where}.",
        "Then {hero} found {other} {where}.",
        "Next to {other}, {hero} stopped {where}.",
    ),
    "above": (
        "Then {hero} jumped over {other} {where}.",
        "Up went {hero}, high above {other}, {where}.",
    ),
    "below": ("Then {hero} hid under {other} {where}.", "Soon {hero} slept under {other} {where}."),
    "in front of": (
        "Then {hero} stood in front of {other} {where}.",
        "Soon {hero} danced in front of {other} {where}.",
    ),
}
END: dict[str | None, tuple[str, ...]] = {
    None: (
        "At last {hero} was happy {where}. The end.",
        "In the end {hero} fell asleep and slept well {where}. The end.",
    ),
    "left of": (
        "At last {hero} and {other} were friends {where}. The end.",
        "In the end {hero} kept {other} and was happy {where}. The end.",
    ),
}
_HOMES = {
    "sea": ("whale", "dolphin", "fish", "shark", "octopus", "crab", "ship", "sailboat"),
    "desert": ("camel", "snake", "lion", "cactus", "palm tree", "dinosaur", "volcano"),
    "snow": ("penguin", "snowman", "snowflake", "christmas tree"),
    "forest": ("elephant", "monkey", "parrot", "frog", "fox", "tiger", "bear", "panda", "koala", "mushroom", "tree"),
    "city": ("car", "taxi", "bus", "fire engine", "ambulance", "truck", "tower", "robot"),
    "night": ("owl", "ghost", "moon", "star", "candle", "tent"),
    "space": ("rocket", "flying saucer", "planet"),
    "sunset": ("flamingo", "sun", "balloon", "airplane", "giraffe"),
    "room": ("cat", "mouse", "fire", "clown", "baby"),
}
_HOME_OF = {name: backdrop for backdrop, names in _HOMES.items() for name in names}
_AT_HOME = 0.8  # share of the stories that begin where their hero lives
_LIVING = tuple(item for item in THINGS if item.category in ("animal", "person"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a story owes to the user's idea: a thing, a backdrop, or neither; `words` follow 'a cat who'."""

    words: str = ""
    thing: str | None = None
    backdrop: str | None = None


def story_request(idea: str, pages: int) -> str:
    """The request that is sent to the model for an idea such as 'a cat who wants to fly'."""
    idea = idea.strip().rstrip(".!?")
    idea = idea[:1].lower() + idea[1:]
    return f"Tell a story about {idea} in {pages} pages."


def _wish(hero: str, stream: random.Random, split: str) -> Wish:
    form = stream.random()
    if form < 0.15:
        return Wish()
    if form < 0.45:
        words, things = pick(FREE_WISHES, stream, split)
        owed = [name for name in things if name != hero]
        return Wish(words=words, thing=stream.choice(owed) if owed else None)
    if form < 0.75:
        item = stream.choice([item for item in THINGS if item.name != hero])
        name = called(item, stream)
        said = stream.choice((a(name), a(name), f"its {name}", f"the {name}"))
        return Wish(words=pick(THING_WISHES, stream, split).format(x=said), thing=item.name)
    if form < 0.9:
        backdrop = stream.choice(BACKDROPS)
        where = stream.choice(BACKDROP_WORDS[backdrop])
        return Wish(words=pick(PLACE_WISHES, stream, split).format(where=where), backdrop=backdrop)
    slots = {"x": a(unknown_name(stream, split)), "verb": stream.choice(_VERBS), "mood": stream.choice(_MOODS)}
    return Wish(words=pick(STRANGE_WISHES, stream, split).format(**slots))


def home_of(name: str) -> str:
    """The backdrop where a thing lives: a fish at sea, a cake in a room, most animals on a meadow."""
    indoors = ("food", "instrument", "object")
    return _HOME_OF.get(name) or ("room" if thing(name).category in indoors else "meadow")


def _picture(hero: str, relation: str | None, other: str | None, backdrop: str, stream: random.Random) -> Scene:
    if relation and other:
        return two_things(hero, relation, other, backdrop, stream)
    return one_thing(hero, backdrop, stream)


def _companions(hero: str, other: str, relations: Sequence[str], split: str, stream: random.Random) -> list[str]:
    """The relations in which a story of this split may show the hero with the other thing."""
    pictures = {relation: two_things(hero, relation, other, BACKDROPS[0], stream) for relation in relations}
    return [relation for relation, scene in pictures.items() if split == "heldout" or in_split(scene, split)]


def tell(hero: str, pages: int, wish: Wish, stream: random.Random, split: str = "train") -> list[Page] | None:
    """The pages of a story, the hero on each and the wish on the last or the last but one; most begin where it lives.

    None where the wish could only be shown by a picture that is held out from training.
    """
    grounds = [name for name in BACKDROPS if split == "heldout" or in_split(one_thing(hero, name, stream), split)]
    if wish.backdrop and wish.backdrop not in grounds:
        return None
    turn = max(1, pages - 2)
    free = [name for name in grounds if name != wish.backdrop]
    ground = stream.choice(free)
    if (home := home_of(hero)) in free and stream.random() < _AT_HOME:
        ground = home
    told, said = [], []
    for number in range(pages):
        last = number == pages - 1
        texts = BEGIN if number == 0 else END if last else MIDDLE
        other, relation = None, None
        if number == turn:
            ground = wish.backdrop or stream.choice(grounds)
        elif number and not (last and wish.backdrop) and stream.random() < 0.5:
            ground = stream.choice(grounds)
        if number == turn or (last and stream.random() < 0.6):
            other = wish.thing
        if number and not last and not other and stream.random() < 0.6:
            other = stream.choice([item.name for item in THINGS if item.name not in (hero, wish.thing)])
        if other:
            relations = _companions(hero, other, [r for r in texts if r], split, stream)
            if not relations and other == wish.thing and number == turn:
                return None
            relation = stream.choice(relations) if relations else None
        text = stream.choice([text for text in texts[relation] if text not in said] or texts[relation])
        said.append(text)
        told.append(_page(text, hero, relation, other, ground, number == 0, stream))
    return told


def _page(
    text: str,
    hero: str,
    relation: str | None,
    other: str | None,
    backdrop: str,
    first: bool,
    stream: random.Random,
) -> Page:
    """One page; `text`, filled in, names all that its picture shows, and nothing else that could be drawn."""
    said = a(hero) if first else f"the {hero}"
    words = {"hero": said, "other": a(other or hero), "where": BACKDROP_WORDS[backdrop][0]}
    return sentence(text.format(**words), end=""), _picture(hero, relation, other, backdrop, stream)


def sample_story(stream: random.Random, split: str = "train") -> tuple[str, str, list[Page]]:
    """A request, the hero's name and the pages of a story."""
    while True:
        hero = stream.choice(_LIVING if stream.random() < 0.5 else THINGS)
        wish = _wish(hero.name, stream, split)
        pages = stream.choice(PAGES)
        unsaid = pages == PAGES_UNSAID and stream.random() < 0.5
        told = tell(hero.name, pages, wish, stream, split)
        if told:
            idea = _idea(hero, wish, stream)
            if unsaid:
                return casual(pick(REQUESTS_UNSAID, stream, split).format(idea=idea), stream), hero.name, told
            if split == "train" and stream.random() < 0.5:
                return story_request(idea, pages), hero.name, told
            number = stream.choice((str(pages), NUMBERS[pages]))
            ask = pick(REQUESTS, stream, split).format(idea=idea, pages=number)
            return casual(ask, stream), hero.name, told


def _idea(hero: Thing, wish: Wish, stream: random.Random) -> str:
    """'a cat who wants to fly', 'a kitty and a rocket'."""
    subject = a(called(hero, stream))
    if wish.thing and stream.random() < 0.15:
        return f"{subject} and {a(wish.thing)}"
    return f"{subject} {stream.choice(('who', 'who', 'that'))} {wish.words}" if wish.words else subject


def page_right(text: str, scene: Scene) -> bool:
    """Whether a page's text names just what the picture shows: the hero, its companion if any, and the backdrop."""
    said = parse_caption(text)
    shown = {placed.thing for placed in scene.things}
    return said is not None and {name for name, _ in said.things} == shown and said.backdrop == scene.backdrop
