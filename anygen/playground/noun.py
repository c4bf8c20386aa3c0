"""The grammar of a name that the playground does not have: how it stands in a sentence in place of a thing's name."""

import re
from dataclasses import dataclass

from anygen.playground.caption import FILLERS
from anygen.playground.edit import GROW, SHRINK
from anygen.playground.reading import names_in
from anygen.playground.word import NUMBERS, SIZE_WORDS, article, plural_of

OWNERS = ("my", "our", "your", "his", "her", "its", "their")

_ADJECTIVES = sorted({*(word for words in SIZE_WORDS.values() for word in words), *FILLERS, *GROW, *SHRINK})
_BEFORE = re.compile(
    rf"(?:\b(?P<word>a|an|the|some|its|this|that|these|those|many|{'|'.join(NUMBERS)}|\d+|a pair of|a couple of) )?"
    rf"(?P<more>(?:\b(?:{'|'.join(_ADJECTIVES)}) )*)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Noun:
    """A name: whose it is ("my", "Anna's" or nobody's) and what it is called, one and several.

    What belongs to somebody, "my robot", has its owner for an article: "my large robot", "two of my robots". A proper
    name, "Rex", has none, but for "a large Rex". Anything else, "zorblax", is a thing like others.
    """

    owner: str
    one: str
    many: str

    @classmethod
    def of(cls, name: str) -> "Noun":
        """The noun that a name is."""
        first, _, rest = name.partition(" ")
        if rest and (first.lower() in OWNERS or first.endswith(("'s", "s'"))):
            return cls(owner=first, one=rest, many=plural_of(rest))
        return cls(owner="", one=name, many=plural_of(name))

    @property
    def name(self) -> str:
        return f"{self.owner} {self.one}".strip()

    @property
    def proper(self) -> bool:
        """Whether it is a proper name, as its capital says."""
        return not self.owner and self.one[0].isupper()

    def phrase(self, word: str, more: str, plural: bool) -> str:
        """The noun with what stood before the one whose place it takes.

        `word` is an article, a number or nothing, `more` are adjectives, each with a space behind it.
        """
        word = word.lower()
        counts = word in NUMBERS or word.isdigit() or word.startswith(("a pair", "a couple")) or word == "many"
        said = self.many if plural else self.one
        if self.owner:
            if word == "no":
                return f"none of {self.owner} {more}{self.many}"
            if counts:
                return f"{word.removesuffix(' of')} of {self.owner} {more}{self.many}"
            return f"{self.owner} {more}{said}"
        if word in ("a", "an"):
            if self.proper and not more:
                return said
            return f"{article(more + said.lower())} {more}{said}"
        if self.proper and not more and word in ("the", "some", "its", "this", "that"):
            return said
        return f"{word} {more}{said}".strip()


def rename(text: str, thing: str, noun: Noun) -> str:
    """The text with the noun wherever the thing is named: by its name, a synonym or a plural, articles put right."""
    for begin, end, plural in reversed(names_in(text, thing)):
        before = _BEFORE.search(text[:begin])
        assert before is not None  # it matches nothing at all, too
        phrase = noun.phrase(before["word"] or "", before["more"], plural)
        start = before.start()
        if text[start].isupper() and not (noun.proper and phrase.startswith(noun.one)):
            phrase = phrase[0].upper() + phrase[1:]
        text = text[:start] + phrase + text[end:]
    return text
