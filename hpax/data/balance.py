"""Rare classes more often: how often an epoch draws each field, and batches that do."""

import abc
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from hpax.data.field_source import Fields
from hpax.data.pipeline import Epochs, HostBatch, ProcessShard, padded

_PLAN, _ROW = range(2)  # streams of randomness

Row = Callable[[np.random.Generator, Int[np.ndarray, " n"], int], Mapping[str, Any]]
"""A generator, an epoch's fields in their order, and a place among them → what a batch says of that row."""


def weights(labels: Shaped[np.ndarray, "f n"], power: float = 0.5) -> Float64[np.ndarray, " f"]:
    """How often to draw each field: (most frequent class / its rarest class) ** power, 1 where it has no label.

    With `power` 0 all fields are alike; with 1, fields of a rare class come about as often as those of a common one.
    """
    frequency = np.maximum(labels.sum(0, dtype=np.float64), 1)
    rarity = (frequency.max(initial=1) / frequency) ** power
    return np.where(labels > 0, rarity, 1.0).max(1, initial=1.0)


def expected(weights: Float[np.ndarray, " f"]) -> Float64[np.ndarray, " f"]:
    """How often an epoch draws each field: proportional to its weight, at least 1, and a whole number in total.

    Raises:
        ValueError: a weight is not positive and finite.
    """
    if not (np.isfinite(weights) & (weights > 0)).all():
        wrong = weights[~(np.isfinite(weights) & (weights > 0))]
        raise ValueError(f"weights must be positive and finite, got {wrong[:3]}; leave such fields out of the source")
    often = np.asarray(weights, np.float64) / weights.min(initial=np.inf)
    return often * (np.ceil(often.sum() - 1e-6) / max(often.sum(), 1))


def draw(expected: Float64[np.ndarray, " f"], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """One epoch of fields, ascending: each one `expected` times, rounded up or down at random, n in total always."""
    whole = np.floor(expected)
    edges = np.cumsum(expected - whole)
    total = np.rint(expected.sum()) - whole.sum()
    extra = np.diff(np.minimum(np.append(np.floor(edges + rng.random())[:-1], total), total), prepend=0)
    return np.repeat(np.arange(len(expected)), (whole + extra).astype(int))


class FieldBatches(Epochs):
    """Endless batches with a field behind each row, those of greater weight more often.

    A subclass prepares a field when it is first needed (`_read`; `field` keeps the last `cached`), and makes a row of
    it by a generator that belongs to (seed, epoch, place) (`_row`). `index` and `labels` come by themselves.

    Raises:
        ValueError: no field, `batch_size` does not divide (see `ProcessShard.rows`), or weights are not one positive
            number for each field.
    """

    def __init__(
        self,
        source: Fields,
        batch_size: int,
        *,
        weights: Float[np.ndarray, " f"] | None,
        seed: int,
        shuffle: bool,
        share: ProcessShard | None,
        cached: int,
        threads: int,
    ):
        weights = np.ones(len(source)) if weights is None else weights
        if len(weights) != len(source) or not len(source):
            raise ValueError(f"there must be a field, and a weight for each: {len(source)} and {len(weights)}")
        self._expected, self.source, self._seed, self._shuffle = expected(weights), source, seed, shuffle
        super().__init__(round(self._expected.sum()), batch_size, share=share, threads=threads)
        self._plan = functools.lru_cache(maxsize=2)(self._make_plan)
        self.field = functools.lru_cache(maxsize=cached)(self._read)

    @abc.abstractmethod
    def _read(self, field: int) -> Any: ...

    @abc.abstractmethod
    def _row(self, rng: np.random.Generator, plan: Int[np.ndarray, " n"], place: int) -> Mapping[str, Any]: ...

    def _make_plan(self, epoch: int) -> Int[np.ndarray, " n"]:
        rng = np.random.default_rng((self._seed, _PLAN, epoch))
        fields = draw(self._expected, rng)
        return rng.permutation(fields) if self._shuffle else fields

    def _fill(self, epoch: int, places: Int[np.ndarray, " b"]) -> HostBatch:
        plan = self._plan(epoch)
        return self._rows(epoch, places, lambda rng, place: self._row(rng, plan, place))

    def drawn(self, step: int, row: Row) -> HostBatch:
        """The batch of `step` as `row` makes each row of it, called as `_row` is.

        With `labels`, `index` and `mask` as ever, and `random` (b, 3) uint32: (seed, epoch, place), for who draws more.
        """
        epoch, places = self._places(step)
        plan = self._plan(epoch)

        def own(rng: np.random.Generator, place: int) -> Mapping[str, Any]:
            random = np.array((self._seed, epoch, place), np.uint32)
            return {"random": random, **row(rng, plan, place)}

        return padded(self._rows(epoch, places, own), self._process.rows)

    def _rows(
        self,
        epoch: int,
        places: Int[np.ndarray, " b"],
        row: Callable[[np.random.Generator, int], Mapping[str, Any]],
    ) -> HostBatch:
        plan = self._plan(epoch)
        asked = places if len(places) else np.zeros(1, int)  # a row tells the shapes of none
        rows = []
        for place in asked.tolist():
            labels = self.source.labels[plan[place]].astype(np.float32)
            rows.append({"labels": labels, **row(np.random.default_rng((self._seed, _ROW, epoch, place)), place)})
        batch = {name: np.stack([row[name] for row in rows])[: len(places)] for name in rows[0]}
        return batch | {"index": plan[places]}
