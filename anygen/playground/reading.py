"""Reading what a model wrote: what a caption claims, and whether an answer is the right one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from anygen.playground.clip import Clip
from anygen.playground.film import Film
from anygen.playground.hearing import parse_sound, sound_facts
from anygen.playground.scene import Scene, place_of
from anygen.playground.things import SIZES, THINGS
from anygen.playground.watching import film_facts, parse_film
from anygen.playground.word import (
    BACKDROP_WORDS,
    INVERSE,
    NUMBERS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    plural_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a caption claims: things with counts (0: several), what is said of them, and where it takes place.

    `relation` is (subject, relation, object); `sizes` and `places` are (thing, value) in the order of mention;
    what is not said is empty or None.
    """

    things: tuple[tuple[str, int], ...]
    relation: tuple[str, str, str] | None = None
    sizes: tuple[tuple[str, str], ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    backdrop: str | None = None

    def agrees(self, other: "Facts") -> bool:
        """Whether both claim the same; 'a left of b' is 'b right of a', and order counts only in a row of three."""
        if len(self.things) > 2 or len(other.things) > 2:
            same_things = self.things == other.things
        else:
            same_things = sorted(self.things) == sorted(other.things)
        return (
            same_things
            and _upright(self.relation) == _upright(other.relation)
            and sorted(self.sizes) == sorted(other.sizes)
            and sorted(self.places) == sorted(other.places)
            and self.backdrop == other.backdrop
        )


def facts_of(scene: Scene) -> Facts:
    """What the canonical caption of a scene claims."""
    names = [placed.thing for placed in scene.things]
    if scene.kind == "count":
        return Facts(things=((names[0], len(names)),), backdrop=scene.backdrop)
    things = tuple((name, 1) for name in names)
    if scene.kind == "one":
        placed = scene.things[0]
        return Facts(
            things=things,
            sizes=((placed.thing, placed.size),),
            places=((placed.thing, place_of(placed.x, placed.y)),),
            backdrop=scene.backdrop,
        )
    relation = (names[0], scene.relation, names[1]) if scene.relation else None
    return Facts(things=things, relation=relation, backdrop=scene.backdrop)


def _upright(relation: tuple[str, str, str] | None) -> tuple[str, str, str] | None:
    if relation and relation[1] in ("right of", "below", "behind"):
        subject, word, other = relation
        return other, INVERSE[word], subject
    return relation


_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _lexicon() -> dict[tuple[str, ...], tuple[str, str]]:
    entries: list[tuple[str, str, str]] = []
    for kind, table in (("size", SIZE_WORDS), ("backdrop", BACKDROP_WORDS), ("relation", RELATION_WORDS)):
        entries += [(phrase, kind, value) for value, phrases in table.items() for phrase in phrases]
    entries += [(phrase, "backdrop", phrase) for phrase in BACKDROP_WORDS]
    for place, phrases in PLACE_WORDS.items():
        forms = [place, *(re.sub(r"^(at|in|on|near) the ", "", phrase) for phrase in phrases)]
        entries += [(form, "place", place) for form in forms]
    entries += [(f"its {side}", "relation it", f"{side} of") for side in ("left", "right")]
    entries += [(f"{word} it", "relation it", r) for r, words in RELATION_WORDS.items() for word in words]
    entries += [("left to right", "row", ""), ("right to left", "row", ""), ("side by side", "row", "")]
    entries += [(word, "number", str(i)) for i, word in enumerate(NUMBERS)]
    entries += [(str(i), "number", str(i)) for i in range(len(NUMBERS))]
    entries += [("a pair of", "number", "2"), ("a couple of", "number", "2")]
    entries += [("a", "number", "1"), ("an", "number", "1"), ("some", "number", "1"), ("the", "number", "1")]
    lexicon = {tuple(_words(phrase)): (kind, value) for phrase, kind, value in entries}
    for item in THINGS:
        for synonym in item.synonyms:
            lexicon.setdefault(tuple(_words(plural_of(synonym))), ("things", item.name))
            lexicon[tuple(_words(synonym))] = ("thing", item.name)
    for item in THINGS:
        lexicon[tuple(_words(item.plural))] = ("things", item.name)
        lexicon[tuple(_words(item.name))] = ("thing", item.name)
    return lexicon


_LEXICON = _lexicon()
_LONGEST = max(map(len, _LEXICON))


def _marks(text: str) -> Iterator[tuple[str, str, int, int]]:
    """What the words of a text mean, in their order, and where in the text each phrase begins and ends."""
    found = list(_WORD.finditer(text.lower()))
    words = [match[0] for match in found]
    i = 0
    while i < len(words):
        for length in range(min(_LONGEST, len(words) - i), 0, -1):
            if mark := _LEXICON.get(tuple(words[i : i + length])):
                yield *mark, found[i].start(), found[i + length - 1].end()
                i += length
                break
        else:
            i += 1


def mentions(text: str) -> dict[str, int]:
    """The things that a text names, by canonical name, and where in it each one's first name ends."""
    ends: dict[str, int] = {}
    for kind, value, _, end in _marks(text):
        if kind in ("thing", "things"):
            ends.setdefault(value, end)
    return ends


def names_in(text: str, thing: str) -> list[tuple[int, int, bool]]:
    """Where a text names the thing, by whatever name: begin and end of each, and whether it is a plural."""
    marks = (mark for mark in _marks(text) if mark[1] == thing and mark[0] in ("thing", "things"))
    return [(begin, end, kind == "things") for kind, _, begin, end in marks]


def meaning(phrase: str) -> str | None:
    """What kind of word of the playground a phrase is as a whole: "thing", "number", "backdrop" ..., or None."""
    kind, _ = _LEXICON.get(tuple(_words(phrase)), (None, ""))
    return kind


def parse_caption(text: str) -> Facts | None:
    """What a caption or a paraphrase claims, or None when it names nothing; exact on canonical captions."""
    things: dict[str, int] = {}
    sizes: dict[str, str] = {}
    places: dict[str, str] = {}
    relation, backdrop = None, None
    of_first = False
    size = place = number = last = None
    for kind, value, _, _ in _marks(text):
        if kind in ("thing", "things"):
            last = value
            count = int(number) if number is not None else int(kind == "thing")
            things.setdefault(value, count)
            if size:
                sizes[value] = size
            if place:
                places[value] = place
            size = place = number = None
        elif kind == "number":
            number = value
        elif kind == "size":
            if last and number is None and last not in sizes:
                sizes[last] = value
            else:
                size = value
        elif kind == "place":
            if last and last not in places:
                places[last] = value
            else:
                place = value
        elif kind == "backdrop":
            backdrop = backdrop or value
            number = None
        elif kind.startswith("relation"):
            relation = relation or value
            of_first = of_first or kind == "relation it" or not things
            number = None
    if not things:
        return None
    triple = None
    if relation and len(things) == 2:
        first, second = things
        triple = (second, relation, first) if of_first else (first, relation, second)
    return Facts(
        things=tuple(things.items()),
        relation=triple,
        sizes=tuple(sizes.items()),
        places=tuple(places.items()),
        backdrop=backdrop,
    )


def thing_called(name: str) -> str | None:
    """The canonical name of the thing that a name, plural or synonym means, or None when there is no such thing."""
    kind, value = _LEXICON.get(tuple(_words(name)), ("", ""))
    return value if kind in ("thing", "things") else None


def plain(text: str) -> str:
    """Text without case, punctuation and articles, for comparing answers."""
    return " ".join(word for word in _words(text) if word not in ("a", "an", "the", "some"))


def unknown_right(reply: str, name: str) -> bool:
    """Whether a reply without a picture says that it does not know how to draw what is called `name`."""
    words = plain(reply)
    return words.startswith(f"i do not know how to draw {plain(name)}") and "here it is" not in words


def declined(reply: str) -> bool:
    """Whether a reply says that it does not know how to draw, or what it sounds like, whatever it calls it."""
    words = plain(reply)
    return words.startswith(("i do not know how to draw", "i do not know what")) and "here it is" not in words


def unheard_right(reply: str, name: str) -> bool:
    """Whether a reply without a sound says that it does not know what `name` sounds like."""
    words = plain(reply)
    return words.startswith(f"i do not know what {plain(name)} sounds like") and "here it is" not in words


def answer_right(answer: str, facts: dict) -> bool:
    """Whether an answer is right: strict about content, tolerant of case, punctuation and articles.

    `facts` are those of a sampled chat: `accept` lists the right answers, `unknown` is a name that must be
    declined, `unheard` one whose sound must be; otherwise the answer is read as a caption of `target`, `scene`,
    `clip` or `film`.
    """
    if "unknown" in facts:
        return unknown_right(answer, facts["unknown"])
    if "unheard" in facts:
        return unheard_right(answer, facts["unheard"])
    if "accept" in facts:
        return plain(answer) in {plain(text) for text in facts["accept"]}
    wanted = facts.get("target") or facts.get("scene") or facts.get("clip") or facts["film"]
    if isinstance(wanted, Film):
        seen = parse_film(answer)
        return seen is not None and seen.agrees(film_facts(wanted))
    if isinstance(wanted, Clip):
        heard = parse_sound(answer)
        return heard is not None and heard.agrees(sound_facts(wanted))
    claimed = parse_caption(answer)
    return claimed is not None and claimed.agrees(facts_of(wanted))


assert set(SIZE_WORDS) == set(SIZES)
