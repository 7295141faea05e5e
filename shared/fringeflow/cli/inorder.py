"""Calls a function of one item after another on several cores, for answers that are wanted in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

Answer = TypeVar("Answer")


def in_order(function: Callable[[str], Answer], items: Sequence[str], cores: int) -> Iterator[Answer]:
    """Yield ``function(item)`` of each item, worked out by as many processes.

    They are forked: what `function` holds need not be sent to them, and must have no threads. An exception in one of
    them is raised here.
    """
    if cores < 2 or len(items) < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("fork")
    channels: list[Connection] = []
    workers = []
    for first in range(cores):
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_answer, args=(theirs, function, items[first::cores]), daemon=True)
        worker.start()
        theirs.close()
        channels.append(ours)
        workers.append(worker)
    try:
        for number in range(len(items)):
            answer = channels[number % cores].recv()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        for worker, channel in zip(workers, channels, strict=True):
            channel.close()
            worker.terminate()
            worker.join()


def _answer(channel: Connection, function: Callable[[str], object], items: Sequence[str]) -> None:
    for item in items:
        try:
            answer = function(item)
        except BaseException as error:  # noqa: BLE001 - it is raised where the answers are wanted
            channel.send(error)
            return
        channel.send(answer)
