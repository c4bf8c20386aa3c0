"""The language of the playground, in one place: captions, requests, chats and the reading of answers."""

from anygen.playground.caption import caption, draw_request, noun_phrase, paraphrase
from anygen.playground.chat import Chat, clips_of, films_of, scenes_of
from anygen.playground.dialogue import FILM_TASKS, TASKS, corpus_line, in_words, sample_chat, tasks
from anygen.playground.hearing import (
    SoundFacts,
    parse_sound,
    sound_caption,
    sound_facts,
    sound_paraphrase,
    sound_request,
    told_sound,
)
from anygen.playground.reading import (
    Facts,
    answer_right,
    declined,
    facts_of,
    parse_caption,
    thing_called,
    unheard_right,
    unknown_right,
)
from anygen.playground.tale import page_right, story_request
from anygen.playground.unknown import UNKNOWN, decline
from anygen.playground.watching import (
    FilmFacts,
    film_caption,
    film_facts,
    film_paraphrase,
    film_request,
    parse_film,
    told_film,
)

__all__ = [
    "FILM_TASKS",
    "TASKS",
    "UNKNOWN",
    "Chat",
    "Facts",
    "FilmFacts",
    "SoundFacts",
    "answer_right",
    "caption",
    "clips_of",
    "corpus_line",
    "decline",
    "declined",
    "draw_request",
    "facts_of",
    "film_caption",
    "film_facts",
    "film_paraphrase",
    "film_request",
    "films_of",
    "in_words",
    "noun_phrase",
    "page_right",
    "paraphrase",
    "parse_caption",
    "parse_film",
    "parse_sound",
    "sample_chat",
    "scenes_of",
    "sound_caption",
    "sound_facts",
    "sound_paraphrase",
    "sound_request",
    "story_request",
    "tasks",
    "thing_called",
    "told_film",
    "told_sound",
    "unheard_right",
    "unknown_right",
]
