"""Whether batches come as fast as updates eat them."""

import logging
import time
from collections.abc import Iterable, Iterator

import jax

from hpax.types import Array, Batch

log = logging.getLogger(__name__)

FIRST = 100
"""The batch from which on a run is watched: what was read ahead during compilation is eaten by then."""

WATCHED = 20
"""Batches over which it is watched; each is waited for, so that what the device does and what it waits for differ."""

SLACK = 0.25
"""The share of an update's time that waiting for a batch may take before it is worth a remark."""

WORTH = 60.0
"""Seconds of waiting in all that is left of a run below which it is not worth a remark, either."""


class Pace:
    """Passes batches on, and once in a run compares the rate at which they come with that at which they are eaten."""

    def __init__(self, *, left: int) -> None:
        self._left = left  # updates
        self._number, self._waited, self._ate, self._came = 0, 0.0, 0.0, 0.0

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches as they come."""
        asked = time.perf_counter()
        for batch in batches:
            self._came = time.perf_counter()
            if self._watching:
                self._waited += self._came - asked
            yield batch
            asked = time.perf_counter()

    def ate(self, batch: Batch, report: dict[str, Array]) -> None:
        """To be told after each update; says both rates if reading is behind and it matters."""
        self._number += 1
        if self._number < FIRST or self._number > FIRST + WATCHED:
            return
        jax.block_until_ready(report)
        if self._number > FIRST:  # the one before it has emptied the device's queue
            self._ate += time.perf_counter() - self._came
        if self._number == FIRST + WATCHED and self._matters:
            examples = WATCHED * len(batch["mask"]) * jax.process_count()
            log.warning(
                "batches come at %.4g examples/s, updates could eat %.4g: give their making more cores or threads, "
                "less to do, or examples to the devices (hpax.train.resident)",
                examples / (self._waited + self._ate),
                examples / self._ate,
            )

    @property
    def _matters(self) -> bool:
        to_come = self._waited / WATCHED * (self._left - self._number)
        return self._waited > SLACK * self._ate and to_come > WORTH

    @property
    def _watching(self) -> bool:
        return FIRST <= self._number < FIRST + WATCHED
