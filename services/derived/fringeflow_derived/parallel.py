"""Several cores for one cube: a function applied to many parts of it by threads, the results in order.

numpy and scipy let go of the interpreter while they work on a part, so threads are enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def ordered(function: Callable[[_Part], _Result], parts: Iterable[_Part], cores: int = 1) -> Iterator[_Result]:
    """Yield ``function(part)`` for every part, in order, with `cores` of them under way at once.

    At most one more than `cores` results wait to be taken, so memory is bounded by the size of a part.
    """
    if cores <= 1:
        yield from map(function, parts)
        return
    with ThreadPoolExecutor(cores) as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(function, part))
                if len(waiting) > cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
