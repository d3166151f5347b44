"""Work on what comes next while the results of what came first are used.

for field, result in zip(fields, in_order(label, fields, workers=cores()), strict=True):
    ...
"""

import collections
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """What `work` makes of each item, in their order; threads work on as many at once, and no further ahead.

    The first item is worked on alone: what it compiles, the others find. What `work` raises is raised in its turn, and
    nothing further is begun.
    """
    items = iter(items)
    if workers < 2:
        yield from map(work, items)
        return
    yield from map(work, itertools.islice(items, 1))
    waiting: collections.deque[Future[Result]] = collections.deque()
    with ThreadPoolExecutor(workers) as pool:
        waiting.extend(pool.submit(work, item) for item in itertools.islice(items, workers))
        try:
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in itertools.islice(items, 1))
                yield done
        finally:
            for each in waiting:
                each.cancel()
