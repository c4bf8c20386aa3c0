"""Events of an answer: followed while a thread makes it, and consumed for the reply at their end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any

from anygen.reply import Reply
from anygen.request import Event


def consume(events: Iterator[Event]) -> Reply:
    """The reply at the end of a stream."""
    reply = None
    for event in events:
        reply = event.reply
    assert reply is not None
    return reply


class Abandoned(Exception):
    """Raised inside a generator's thread when nobody reads its stream any more."""


def follow(work: Callable[[Callable[[Event], None]], Any]) -> Generator[Event, None, Any]:
    """Run `work(report)` in a thread, yield what it reports, return what it returns; leaving the stream stops it."""
    reports: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    left = threading.Event()
    result: list[Any] = []
    failure: list[BaseException] = []

    def report(event: Event) -> None:
        if left.is_set():
            raise Abandoned
        reports.put(event)

    def run() -> None:
        try:
            result.append(work(report))
        except BaseException as error:
            failure.append(error)
        finally:
            reports.put(None)

    thread = threading.Thread(target=run, name="anygen-generator", daemon=True)
    thread.start()
    try:
        while (event := reports.get()) is not None:
            yield event
    finally:
        left.set()
        thread.join()
    if failure:
        raise failure[0]
    return result[0]
