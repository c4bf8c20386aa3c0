"""`anygen chat`: lines of the terminal become turns of a conversation, files are added by commands."""

import sys
from collections.abc import Callable
from typing import Any

from anygen.error import AnyGenError, RequestError

HELP = "/image FILE, /audio FILE and /video FILE add a file, /save FILE keeps the chat, /quit ends it."


def converse(conversation: Any, answer: Callable[[list[Any], int], Any], say: Callable[[str], None]) -> int:
    """Read lines until the input ends. `answer(parts, turn)` shows the answer to a turn (from 1), `say` reports.

    A slip in one line is told and does not end the conversation; what was added waits for the next turn.
    """
    from anygen.media import Text

    waiting: list[Any] = []
    turn = 0
    say(f"Say something; {HELP}")
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return 0
        if line.split(" ")[0] in ("/quit", "/exit"):
            return 0
        try:
            if line.startswith("/"):
                _obey(line, conversation, waiting, say)
            elif line:
                turn += 1
                answer([*waiting, Text(line)], turn)
                waiting = []
        except AnyGenError as error:
            say(f"anygen: {error}")


def _obey(line: str, conversation: Any, waiting: list[Any], say: Callable[[str], None]) -> None:
    """Do what a command says; media are appended to `waiting`."""
    from anygen.media import READABLE

    word, _, rest = line[1:].partition(" ")
    file = rest.strip()
    if word not in ("help", "save", *READABLE):
        raise RequestError(f"unknown command /{word}; /help lists them")
    if word == "help":
        say(f"{HELP} Everything else is said to the model.")
    elif not file:
        raise RequestError(f"/{word} needs a file, as in /{word} {'chat.json' if word == 'save' else 'FILE'}")
    elif word == "save":
        say(f"saved {conversation.save(file) or file}")
    else:
        waiting.append(READABLE[word](file))
        say(f"added {waiting[-1]!r}: now say what to do with it")
