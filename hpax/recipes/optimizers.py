"""Optimizers of the recipes: equal settings give one object, so that runs that share it share what is compiled."""

import functools
from typing import Literal

import optax

Schedule = Literal["cosine", "constant"]


@functools.cache
def warmup_cosine_adamw(
    learning_rate: float, steps: int, *, warmup: float = 0.05, weight_decay: float = 1e-4
) -> optax.GradientTransformation:
    """AdamW whose rate rises from 0 for a share `warmup` of the steps, and falls to 0 by a cosine at the last."""
    rise = max(1, int(steps * warmup))
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, rise, max(steps, rise + 1))
    return optax.adamw(rate, weight_decay=weight_decay)


@functools.cache
def adam(
    learning_rate: float, steps: int, *, schedule: Schedule = "cosine", b1: float = 0.9
) -> optax.GradientTransformation:
    """Adam whose rate is constant, or falls to 0 by a cosine at the last step."""
    if schedule == "constant":
        return optax.adam(learning_rate, b1=b1)
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps), b1=b1)


def steps_of(steps: int, epochs: float, *, examples: int, batch_size: int) -> int:
    """How many updates a config asks for: those of its epochs, or its steps where `epochs` is 0.

    Raises:
        ValueError: neither, or less than nothing.
    """
    if epochs < 0 or steps < 0 or not (epochs or steps):
        raise ValueError(f"steps or epochs must be positive, got steps {steps} and epochs {epochs}; set one of them")
    return max(1, round(epochs * -(-examples // batch_size))) if epochs else steps
