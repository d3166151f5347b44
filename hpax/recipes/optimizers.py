"""How parameters move: the optimisers of the recipes, and how long they train."""

import dataclasses
import functools
import math

import optax


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW whose rate rises for a twentieth of the steps and falls to 0 by a cosine, and how long it runs."""

    learning_rate: float = 2e-3  # at its highest
    weight_decay: float = 1e-4
    batch_size: int = 16  # examples (fields), on all devices together
    steps: int = 500
    epochs: float = 0.0  # passes over the data instead of `steps`, where above 0

    def __post_init__(self):
        if self.steps < 1 or self.epochs < 0 or self.batch_size < 1:
            told = f"{self.steps}, {self.epochs}, {self.batch_size}"
            raise ValueError(f"steps and batch_size must be at least 1 and epochs at least 0, got {told}")

    def steps_of(self, batches_per_epoch: int) -> int:
        """How many updates a run takes whose epoch has so many batches."""
        return max(1, math.ceil(self.epochs * batches_per_epoch)) if self.epochs else self.steps

    def make(self, steps: int) -> optax.GradientTransformation:
        """The optimiser of a run of `steps` updates; one object for equal settings, so that one update is compiled."""
        return _adamw(self.learning_rate, self.weight_decay, steps)


@functools.cache
def _adamw(learning_rate: float, weight_decay: float, steps: int) -> optax.GradientTransformation:
    rise = max(1, steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, max(steps, rise + 1))
    return optax.adamw(rate, weight_decay=weight_decay)
