"""The language of the playground, in one place: captions, requests, chats and the reading of answers."""

from anygen.playground.caption import caption, draw_request, noun_phrase, paraphrase
from anygen.playground.chat import Chat, scenes_of
from anygen.playground.dialogue import TASKS, corpus_line, in_words, sample_chat
from anygen.playground.reading import Facts, answer_right, facts_of, parse_caption, thing_called, unknown_right
from anygen.playground.tale import page_right, story_request
from anygen.playground.unknown import UNKNOWN, decline

__all__ = [
    "TASKS",
    "UNKNOWN",
    "Chat",
    "Facts",
    "answer_right",
    "caption",
    "corpus_line",
    "decline",
    "draw_request",
    "facts_of",
    "in_words",
    "noun_phrase",
    "page_right",
    "paraphrase",
    "parse_caption",
    "sample_chat",
    "scenes_of",
    "story_request",
    "thing_called",
    "unknown_right",
]
