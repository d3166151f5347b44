"""Images of several items, such as the cells of several fields, looked at in batches that are full."""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Num

Item = TypeVar("Item")
Look = Callable[[np.ndarray], Mapping[str, Any]]
"""A batch of images → what is said of them: name → a row for each."""

Rows = Mapping[str, np.ndarray]
"""Name → a row for each image."""


def in_full_batches(
    look: Look, items: Iterable[tuple[Item, Num[np.ndarray, "_ ..."]]], batch: int
) -> Iterator[tuple[Item, Rows]]:
    """Each item with what `look` says of its images, by name, in order; `look` always sees `batch` images.

    An item comes out once a batch holds the last of its images, so that those of at most a batch and an item are held
    in memory. Only the last batch is padded, with zeros. Of an item without images nothing is said, under no name.
    """
    waiting: collections.deque[tuple[Item, int]] = collections.deque()
    images: collections.deque[np.ndarray] = collections.deque()  # of the items that are waiting, not looked at yet
    found: list[Rows] = []  # rows of the first images of those that are waiting
    for item, own in items:
        waiting.append((item, len(own)))
        images.append(own)
        while sum(map(len, images)) >= batch:
            found.append(_rows(look, _taken(images, batch)))
        yield from _ready(waiting, found)
    if left := sum(map(len, images)):
        last = _taken(images, left)
        padded = np.zeros((batch, *last.shape[1:]), last.dtype)
        padded[:left] = last
        found.append({name: rows[:left] for name, rows in _rows(look, padded).items()})
    yield from _ready(waiting, found)


def _taken(images: collections.deque[np.ndarray], count: int) -> np.ndarray:
    """The first so many images, which are taken away; copied only where they are of several items."""
    parts = []
    while count:
        first = images.popleft()
        parts.append(first[:count])
        if len(first) > count:
            images.appendleft(first[count:])
        count -= len(parts[-1])
    parts = [part for part in parts if len(part)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _rows(look: Look, images: np.ndarray) -> Rows:
    return {name: np.asarray(rows) for name, rows in look(images).items()}


def _ready(waiting: collections.deque[tuple[Item, int]], found: list[Rows]) -> Iterator[tuple[Item, Rows]]:
    """The first of the items that are waiting, as long as all of their images were looked at; takes their rows."""
    known = _joined(found)
    start = 0
    there = len(next(iter(known.values()), ()))
    while waiting and start + waiting[0][1] <= there:
        item, count = waiting.popleft()
        yield item, {name: rows[start : start + count] for name, rows in known.items()} if count else {}
        start += count
    found[:] = [{name: rows[start:] for name, rows in known.items()}] if start < there else []


def _joined(parts: list[Rows]) -> Rows:
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
