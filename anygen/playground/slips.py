"""How users really type: a small word left out or put in, a comma or a full stop missing. What is meant stays."""

import random
import re
from dataclasses import replace

from anygen.playground.chat import Chat, Message, Part

SMALL = frozenset(
    """
    a an the please me us my you your i we can could would will do does did is are be there that this have has let want
    like love see show tell say give
    """.split()
)
"""Words without which a request still says what is meant."""

FILLERS = (
    *("please", "so", "now", "well", "just", "really", "hey", "hi", "hello", "ok", "okay", "oh", "maybe", "kindly"),
    *("simply", "today", "again", "thanks", "quickly", "actually", "you", "know", "perhaps", "somehow", "dear"),
    *("friend", "my", "the", "a", "for", "me", "us", "that", "would", "could", "this"),
)

_LEFT_OUT, _SWAPPED, _PUT_IN, _MARK = 0.12, 0.05, 0.04, 0.15


def slip(text: str, stream: random.Random) -> str:
    """The text with small words left out, exchanged and put in, and without some of its marks."""
    words: list[str] = []
    for word in text.split():
        bare = re.sub(r"\W", "", word).lower()
        if bare in SMALL and bare == word.lower():
            chance = stream.random()
            if chance < _LEFT_OUT:
                continue
            if chance < _LEFT_OUT + _SWAPPED:
                word = stream.choice(FILLERS)
        elif word[-1] in ".?!," and stream.random() < _MARK:
            word = word[:-1]
        if stream.random() < _PUT_IN:
            words.append(stream.choice(FILLERS))
        words.append(word)
    return " ".join(word for word in words if word) or text


def slipped(chat: Chat, stream: random.Random, share: float) -> Chat:
    """The chat with slips in a share of what the user says. Answers, media and facts are as they were."""
    said = (_slipped(message, stream, share) if message["role"] == "user" else message for message in chat.messages)
    return replace(chat, messages=tuple(said))


def _slipped(message: Message, stream: random.Random, share: float) -> Message:
    parts: list[Part] = [
        part | {"text": slip(part["text"], stream)} if part["type"] == "text" and stream.random() < share else part
        for part in message["content"]
    ]
    return message | {"content": parts}
