"""Images of several items, such as the cells of several fields, encoded in batches that are full."""

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from hpax.features.extract import Encode

Item = TypeVar("Item")


def encoded(
    encode: Encode, items: Iterable[tuple[Item, Float32[np.ndarray, "k h w c"]]], batch: int
) -> Iterator[tuple[Item, Mapping[str, Float32[np.ndarray, "k d"]]]]:
    """Each item with layer → the features of its images, in order; `encode` always sees `batch` images.

    An item comes out once a batch holds the last of its images, so that those of at most a batch and an item are held
    in memory. Only the last batch is padded, with zeros. An item without images has no features, not even of no cell.
    """
    waiting: collections.deque[tuple[Item, int]] = collections.deque()
    images: list[np.ndarray] = []  # of the items that are waiting, not encoded yet
    found: list[Mapping[str, np.ndarray]] = []  # features of the first images of those that are waiting
    for item, own in items:
        waiting.append((item, len(own)))
        if len(own):
            images.append(own)
        while sum(map(len, images)) >= batch:
            whole = np.concatenate(images)
            found.append(_rows(encode, whole[:batch]))
            images = [whole[batch:]] if len(whole) > batch else []
        yield from _ready(waiting, found)
    if images:
        whole = np.concatenate(images)
        padded = np.pad(whole, ((0, batch - len(whole)), (0, 0), (0, 0), (0, 0)))
        found.append({layer: rows[: len(whole)] for layer, rows in _rows(encode, padded).items()})
    yield from _ready(waiting, found)


def _rows(encode: Encode, images: Float32[np.ndarray, "b h w c"]) -> dict[str, np.ndarray]:
    return {layer: np.asarray(rows, np.float32) for layer, rows in encode(images).items()}


def _ready(
    waiting: collections.deque[tuple[Item, int]], found: list[Mapping[str, np.ndarray]]
) -> Iterator[tuple[Item, Mapping[str, np.ndarray]]]:
    """The first of the items that are waiting, as long as all of their images are encoded; takes their features."""
    known = _joined(found)
    start = 0
    there = len(next(iter(known.values()), ()))
    while waiting and start + waiting[0][1] <= there:
        item, count = waiting.popleft()
        yield item, {layer: rows[start : start + count] for layer, rows in known.items()} if count else {}
        start += count
    found[:] = [{layer: rows[start:] for layer, rows in known.items()}] if start < there else []


def _joined(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    layers = parts[0] if parts else ()
    return {layer: np.concatenate([part[layer] for part in parts]) for layer in layers}
