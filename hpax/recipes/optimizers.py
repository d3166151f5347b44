"""How parameters move: the optimisers of the recipes, and how long they train."""

import dataclasses
import functools
import math
from typing import Literal

import optax

Schedule = Literal["cosine", "constant"]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW whose rate rises for a twentieth of the steps and falls to 0 by a cosine, and how long it runs."""

    learning_rate: float = 2e-3  # at its highest
    weight_decay: float = 1e-4
    batch_size: int = 16  # examples (fields), on all devices together
    steps: int = 500
    epochs: float = 0.0  # passes over the data instead of `steps`, where above 0

    def __post_init__(self) -> None:
        _check(self.steps, self.epochs, self.batch_size)

    def steps_of(self, batches_per_epoch: int) -> int:
        """How many updates a run takes whose epoch has so many batches."""
        return max(1, math.ceil(self.epochs * batches_per_epoch)) if self.epochs else self.steps

    def make(self, steps: int) -> optax.GradientTransformation:
        """The optimiser of a run of `steps` updates; one object for equal settings, so that one update is compiled."""
        return _adamw(self.learning_rate, self.weight_decay, steps)


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam, as paired cell inpainting is published with, and how long it runs."""

    learning_rate: float = 1e-3  # published 1e-4, for thirty epochs of half a million cells
    schedule: Schedule = "cosine"  # how the rate falls to 0; published: constant
    b1: float = 0.5  # as published
    batch_size: int = 8  # pairs, on all devices together; published: 64 (yeast), 4 (human)
    steps: int = 1800
    epochs: float = 0.0  # passes over the data instead of `steps`, where above 0

    def __post_init__(self) -> None:
        _check(self.steps, self.epochs, self.batch_size)

    def steps_of(self, batches_per_epoch: int) -> int:
        """How many updates a run takes whose epoch has so many batches."""
        return max(1, math.ceil(self.epochs * batches_per_epoch)) if self.epochs else self.steps

    def make(self, steps: int) -> optax.GradientTransformation:
        """The optimiser of a run of `steps` updates; one object for equal settings, so that one update is compiled."""
        return _adam(self.learning_rate, self.schedule, self.b1, steps)


def _check(steps: int, epochs: float, batch_size: int) -> None:
    if steps < 1 or epochs < 0 or batch_size < 1:
        told = f"{steps}, {epochs}, {batch_size}"
        raise ValueError(f"steps and batch_size must be at least 1 and epochs at least 0, got {told}")


@functools.cache
def _adam(learning_rate: float, schedule: Schedule, b1: float, steps: int) -> optax.GradientTransformation:
    if schedule == "constant":
        return optax.adam(learning_rate, b1=b1)
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps), b1=b1)


@functools.cache
def _adamw(learning_rate: float, weight_decay: float, steps: int) -> optax.GradientTransformation:
    rise = max(1, steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, max(steps, rise + 1))
    return optax.adamw(rate, weight_decay=weight_decay)
