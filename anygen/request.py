"""What a caller may ask for and what an answer reports: options, events, and the picture that an edit starts from."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from anygen.error import RequestError
from anygen.media import MODALITIES, Audio, Image, Message, Text, Value, Video
from anygen.reply import Part, Reply


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a caller may choose per request; checked here, before anything is computed.

    `to`: modalities that the answer must hold, and the only media that it may hold; text may accompany any of them, and
    a video may have sound. A video with sound is what ("video", "audio") asks for, unless the model keeps them apart.
    What the model would make beside these stays in its own memory of the conversation, and is not made; so does what
    goes beyond the `budget`.
    `seed`: None draws one, which the reply names. Part k (from 1) of an answer is generated with seed + k - 1.
    `steps`, `guidance`: of the generator; None takes the model's own. `temperature` 0 is greedy.
    `edit`: True starts a generated picture or video from the latest picture of the conversation, False never does,
    "auto" does when the last turn shows a picture, and no sound or film beside it, or its text refers to one.
    `preview`: show every so many steps, 0 for never. `budget`: the most media in one answer.
    """

    to: tuple[str, ...] | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    edit: bool | str = "auto"
    preview: int = 0
    budget: int = 8

    def __post_init__(self) -> None:
        to = self.to
        if to is not None:
            to = (to,) if isinstance(to, str) else tuple(to)
            for modality in to:
                if modality not in MODALITIES:
                    raise RequestError(f"to={modality!r}: modalities are {', '.join(MODALITIES)}")
            object.__setattr__(self, "to", to or None)
        if self.edit not in (True, False, "auto"):
            raise RequestError(f'edit={self.edit!r}: choose True, False or "auto"')
        for name, least, most in (
            ("seed", 0, 2**62),
            ("steps", 1, 1000),
            ("guidance", 0, 100),
            ("max_new_tokens", 1, 2**31),
            ("temperature", 0, 100),
            ("top_p", 0, 1),
            ("preview", 0, 1000),
            ("budget", 1, 1000),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            whole = name not in ("guidance", "temperature", "top_p")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise RequestError(f"{name}={value!r}: {'a whole number' if whole else 'a number'} is needed")
            if not least <= value <= most or (name == "top_p" and value == 0) or math.isnan(value):
                raise RequestError(f"{name}={value} is outside of {least}..{most}")

    @classmethod
    def of(cls, options: dict[str, Any]) -> Options:
        """Options from keywords; an unknown one is a RequestError."""
        known = [option.name for option in fields(cls)]
        for name in options:
            if name not in known:
                raise RequestError(f"unknown option {name!r}; options are {', '.join(known)}")
        return cls(**options)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened to an answer. `index` is the part's place, from 1.

    part.start: `modality`. text.delta: `text`. part.progress: `step` of `steps`. part.preview: `preview`.
    part.done: `part`. Last comes reply.done, with the whole `reply`. `modality` of part.progress and part.preview is
    what is being made: a video's soundtrack is made after its pictures, as "audio" of the same part, and previewed with
    them.
    """

    type: str
    index: int = 0
    modality: str | None = None
    text: str = ""
    step: int = 0
    steps: int = 0
    preview: Value | None = None
    part: Part | None = None
    reply: Reply | None = None


REFERS = re.compile(
    r"\b(it|its|this|that|them|these|those|same|again|instead|now|picture|image|photo|drawing|scene|one)\b",
    re.IGNORECASE,
)
ORDINALS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1, "latest": -1, "previous": -1}
ORDINAL = re.compile(
    rf"\b({'|'.join(ORDINALS)})\b(?:\s+\w+)?\s+(?:picture|image|photo|drawing|scene|one)\b", re.IGNORECASE
)


def edit_source(edit: bool | str, past: Sequence[Message], chat: Sequence[Message]) -> Image | None:
    """The picture that a generated one starts from, or None: see `Options.edit`."""
    if edit is False:
        return None
    seen = [part for message in (*past, *chat) for part in message.parts if isinstance(part, Image)]
    if not seen:
        if edit is True:
            raise RequestError("edit=True needs a picture in the request or earlier in the conversation")
        return None
    turn = chat[-1].parts
    shown = [part for part in turn if isinstance(part, Image)]
    text = " ".join(part.text for part in turn if isinstance(part, Text))
    latest = [part for message in (*past, *chat) for part in message.parts if isinstance(part, Image | Video)][-1]
    if shown:  # beside a sound or a film a picture says what is there, not what is to be changed
        alone = not any(isinstance(part, Audio | Video) for part in turn)
        return shown[-1] if alone or edit is True else None
    if named := ORDINAL.search(text):
        place = ORDINALS[named.group(1).lower()]
        if -1 <= place < len(seen):
            return seen[place]
    # "make it night" means a film if that was the last thing to be seen, and nothing starts from one
    if edit is True or (isinstance(latest, Image) and REFERS.search(text)):
        return seen[-1]
    return None
