"""Sums: what numbers make, what is left of things, and counting."""

import random

from anygen.playground.things import THINGS
from anygen.playground.word import NUMBERS, Family, called, listed, pick, sentence

Answered = tuple[str, list[str]]
"""A question, and its right answers, the canonical one first."""

MORE = Family(
    "I have {a} and draw {b} more. How many {xs} are there?",
    "There are {a}. Then {b} more come. How many {xs} are there now?",
    "You see {a} and then {b} more. How many {xs} is that?",
    "Draw {a} and add {b}. How many {xs} are there?",
    "If there are {a} and {b} more arrive, how many {xs} are there?",
    "{a} and {b} more: how many {xs} is that?",
    "There are {a} and {b} more come. How many {xs} are there?",
    "I see {a}, and then I see {b} more. How many {xs} do I see?",
    "If I have {a} and get {b} more, how many {xs} do I have?",
    "First {a}, then {b} more. How many {xs} is that?",
    "With {a} and {b} more, how many {xs} are there?",
    "Take {a} and add {b} more. How many {xs} are there now?",
    "We have {a}. We get {b} more. How many {xs} do we have?",
    "How many {xs} are {a} and {b} more?",
    "When there are {a} and {b} come, how many {xs} are there?",
    "Take {a} and add {b}. How many {xs} are there?",
    "We see {a}, and then {b} come. How many {xs} are there?",
    "When {b} join {a}, how many {xs} are there?",
    "We see {a}. If {b} more come, how many {xs} is that?",
    more=(
        "There are {a}. {b} more come. How many {xs} are there?",
        "{a} and then {b} more. How many {xs} are there?",
        "If {b} more come to {a}, how many {xs} are there?",
        "I draw {a}, then {b} more. How many {xs} did I draw?",
        "How many {xs} are there if {b} join {a}?",
        "We had {a} and got {b}. How many {xs} do we have?",
        "Here are {a}, there are {b}. How many {xs} is that?",
        "I see {a} here and {b} there. How many {xs} do I see?",
    ),
)
FEWER = Family(
    "I have {a} and {b} go away. How many {xs} are left?",
    "There are {a}. {b} leave. How many {xs} are left?",
    "From {a} we take {b} away. How many {xs} are left?",
    "You see {a} and {b} vanish. How many {xs} are left?",
    "If there are {a} and {b} go, how many {xs} are left?",
    "{a} minus {b}: how many {xs} is that?",
    "There are {a} and {b} go away. How many {xs} are left?",
    "If I have {a} and lose {b}, how many {xs} do I have?",
    "We have {a}. {b} go. How many {xs} are there now?",
    "First {a}, then {b} leave. How many {xs} are left?",
    "When there are {a} and {b} vanish, how many {xs} are left?",
    "I see {a}, then {b} go. How many {xs} do I see?",
    "Take {b} from {a}. How many {xs} are left?",
    "How many {xs} are left if {b} of {a} go?",
    "With {a}, if {b} leave, how many {xs} are left?",
    more=(
        "There are {a}. {b} go away. How many {xs} are there now?",
        "I had {a} and lost {b}. How many {xs} do I have?",
        "{b} of {a} leave. How many {xs} stay?",
        "If {b} of {a} go away, how many {xs} are left?",
        "Of {a}, {b} leave. How many {xs} are left?",
        "How many {xs} stay when {b} of {a} go?",
        "We see {a}, then {b} vanish. How many {xs} do we see?",
        "You have {a} and give {b} away. How many {xs} do you have?",
    ),
)
PLUS = Family(
    "What is {a} plus {b}?",
    "How much is {a} plus {b}?",
    "{a} plus {b}?",
    "Add {a} and {b}.",
    "What is {a} and {b}?",
    "Tell me what {a} plus {b} is.",
    "How much is {a} and {b}?",
    "{a} and {b}: how much is that?",
    "Can you add {a} and {b}?",
    "What do {a} and {b} make?",
    "{a} and {b} is what?",
    "Say how much {a} plus {b} is.",
    "If you add {a} and {b}, what is it?",
    more=(
        "How much do {a} and {b} make?",
        "What is the sum of {a} and {b}?",
        "{a} and {b} make what?",
        "Add {b} to {a}.",
        "What do you get if you add {a} and {b}?",
        "Tell me the sum of {a} and {b}.",
    ),
)
MINUS = Family(
    "What is {a} minus {b}?",
    "How much is {a} minus {b}?",
    "{a} minus {b}?",
    "Take {b} from {a}.",
    "What is {a} less {b}?",
    "Tell me what {a} minus {b} is.",
    "{a} less {b}: how much is that?",
    "How much is {a} less {b}?",
    "Can you take {b} from {a}?",
    "{a} minus {b} is what?",
    "Say how much {a} minus {b} is.",
    "What is left when you take {b} from {a}?",
    "If you take {b} from {a}, what is it?",
    more=(
        "What do you get if you take {b} from {a}?",
        "How much is left of {a} without {b}?",
        "Tell me what {a} less {b} is.",
        "What is {a} without {b}?",
        "Say what {a} minus {b} is.",
    ),
)
COUNT_TO = (
    "Count to {n}.",
    "Can you count to {n}?",
    "Please count to {n}.",
    "Count from one to {n}.",
    "Count up to {n}.",
    "Could you count to {n}?",
    "Let me hear you count to {n}.",
    "Would you count to {n}?",
    "Count for me to {n}.",
    "Count all numbers up to {n}.",
    "I want you to count to {n}.",
    "Start at one and count to {n}.",
    "Say the numbers from one to {n}.",
    "Can you count up to {n}?",
    "Tell me the numbers up to {n}.",
)

COUNT_ON = (
    "Count on {b} from {a}.",
    "Start at {a} and count {b} on.",
    "Count {b} numbers on from {a}.",
    "Which {b} numbers come after {a}?",
    "What are the {b} numbers after {a}?",
    "Go on counting from {a}: {b} numbers.",
    "From {a}, count {b} more.",
    "You are at {a}. Count {b} on.",
    "Say the {b} numbers that follow {a}.",
    "Can you count {b} on from {a}?",
)
COUNT_BACK = (
    "Count back {b} from {a}.",
    "Start at {a} and count {b} back.",
    "Count {b} numbers back from {a}.",
    "Which {b} numbers come before {a}?",
    "What are the {b} numbers before {a}?",
    "Go back counting from {a}: {b} numbers.",
    "From {a}, count {b} down.",
    "You are at {a}. Count {b} back.",
    "Say the {b} numbers before {a}, going down.",
    "Can you count {b} back from {a}?",
)


def answered(ask: str, *ways: str) -> Answered:
    """A question and its answers, each as a sentence."""
    return sentence(ask, end=""), [sentence(way) for way in ways]


_TEENS = (
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
)
_WORDS = (*NUMBERS, *_TEENS)


def number_pairs(split: str, most: int = 10) -> list[tuple[int, int]]:
    """Pairs of numbers whose sum is at most `most`; the rule of five keeps a fifth of them from training."""
    pairs = [(x, y) for x in range(1, most) for y in range(1, most + 1 - x)]
    return [(x, y) for x, y in pairs if ((x + 2 * y) % 5 == 0) == (split == "heldout")]


def _numbers(stream: random.Random, split: str) -> tuple[int, int]:
    """A pair that is asked: up to ten; half of what training asks goes to twenty, as few sums teach no adding."""
    return stream.choice(number_pairs(split, 20 if split == "train" and stream.random() < 0.5 else 10))


def _number(n: int, stream: random.Random) -> str:
    return str(n) if stream.random() < 0.3 else _WORDS[n]


def _counted(start: int, by: int, more: bool) -> str:
    """How a sum is counted, one by one, as children do: 'one more is six, two more is seven'.

    A step needs no more than what comes after a number, so sums that nobody has been told come out right.
    """
    word = "more" if more else "less"
    return ", ".join(f"{_WORDS[i]} {word} is {_WORDS[start + (i if more else -i)]}" for i in range(1, by + 1))


def things_sum(stream: random.Random, split: str) -> Answered:
    """A sum of things that come or go, counted."""
    x, y = _numbers(stream, split)
    item = stream.choice(THINGS)
    more = stream.random() < 0.6
    start, total = (x, x + y) if more else (x + y, x)
    first = f"{_number(start, stream)} {called(item, stream, plural=start > 1)}"
    ask = pick(MORE if more else FEWER, stream, split)
    ask = ask.replace("There are", "There is") if start == 1 else ask
    ask = sentence(ask.format(a=first, b=_number(y, stream), xs=called(item, stream, plural=True)), end="")
    verb, name = ("is", item.name) if total == 1 else ("are", item.plural)
    full = f"there {verb} {_WORDS[total]} {name}"
    ways = [f"{_counted(start, y, more)}: {full}", full, f"{_WORDS[total]} {name}", _WORDS[total], str(total)]
    return ask, list(map(sentence, ways))


def plain_sum(stream: random.Random, split: str) -> Answered:
    """A sum of two numbers, or what is left, counted."""
    x, y = _numbers(stream, split)
    more = stream.random() < 0.6
    start, total, word = (x, x + y, "plus") if more else (x + y, x, "minus")
    ask = pick(PLUS if more else MINUS, stream, split).format(a=_number(start, stream), b=_number(y, stream))
    full = f"{_WORDS[start]} {word} {_WORDS[y]} is {_WORDS[total]}"
    return answered(ask, f"{_counted(start, y, more)}: {full}", full, _WORDS[total], str(total))


def count_to(stream: random.Random, split: str) -> Answered:
    """Counting up to a number."""
    n = stream.randint(2, 10)
    return answered(pick(COUNT_TO, stream, split).format(n=_number(n, stream)), listed(NUMBERS[1 : n + 1]))


def count_on(stream: random.Random, split: str) -> Answered:
    """Counting on from a number, or back: what adding and taking away do, step by step. Of the same pairs as sums."""
    x, y = _numbers(stream, split)
    while y == 1:
        x, y = _numbers(stream, split)
    on = stream.random() < 0.6
    start, passed = (x, range(x + 1, x + y + 1)) if on else (x + y, range(x + y - 1, x - 1, -1))
    ask = pick(COUNT_ON if on else COUNT_BACK, stream, split).format(a=_number(start, stream), b=_number(y, stream))
    return answered(ask, listed([_WORDS[n] for n in passed]))
