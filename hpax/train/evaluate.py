"""Means of a task's per-example numbers over a whole set."""

from collections.abc import Iterable, Sequence

import jax
import numpy as np

from hpax.task import Task
from hpax.train import parallel
from hpax.types import Batch, ModelState, Params


class Evaluator:
    """Compiles once, evaluates often."""

    def __init__(self, task: Task, devices: Sequence[jax.Device] | None = None):
        self._devices = devices
        self._totals = parallel.compile_evaluation(task, devices)

    def __call__(self, params: Params, model_state: ModelState, batches: Iterable[Batch]) -> dict[str, float]:
        """The mean of every number over the real examples of all processes, and "examples", their count.

        Every process must bring the same number of batches. Sums are kept in float64 on the host.

        Raises:
            ValueError: there is no example.
        """
        params, model_state = parallel.replicate((params, model_state), self._devices)
        sums: dict[str, float] = {}
        examples = 0
        for batch in batches:
            totals, count = parallel.unreplicate(
                self._totals(params, model_state, parallel.shard(batch, self._devices))
            )
            examples += int(count)
            for name, total in totals.items():
                sums[name] = sums.get(name, 0.0) + float(np.float64(total))
        if not examples:
            raise ValueError("an evaluation needs at least one example, got none; check the split's name and size")
        return {name: total / examples for name, total in sums.items()} | {"examples": float(examples)}


def evaluate(task: Task, params: Params, model_state: ModelState, batches: Iterable[Batch]) -> dict[str, float]:
    """One evaluation on all devices; use `Evaluator` to repeat it without compiling again."""
    return Evaluator(task)(params, model_state, batches)
