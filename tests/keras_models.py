"""Keras's networks with drawn weights, as oracles."""

import os
import warnings
from collections.abc import Callable

import jax
import numpy as np
import pytest


def drawn(make: Callable, *, seed: int = 0) -> tuple[dict[str, np.ndarray], Callable]:
    """The weights of `make(keras)` by path, and a function of images at inference.

    Keras never draws its own weights, which takes it half a minute. Those drawn here keep the size of the signal.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras")
    keras.utils.clear_session()  # names are counted from the start
    with keras.StatelessScope(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects", UserWarning)  # four channels
        model = make(keras)
    rng = np.random.default_rng(seed)
    lots = [[_draw(rng, each) for each in part] for part in (model.trainable_variables, model.non_trainable_variables)]
    paths = [each.path for part in (model.trainable_variables, model.non_trainable_variables) for each in part]
    apply = jax.jit(lambda images: model.stateless_call(*lots, images, training=False)[0])
    return dict(zip(paths, lots[0] + lots[1], strict=True)), apply


def _draw(rng: np.random.Generator, variable) -> np.ndarray:
    """Kernels of the size that He et al. (2015) give them; gains and variances about 1, the rest about 0."""
    kind = variable.path.rpartition("/")[2]
    if kind == "kernel":
        fan = np.prod(variable.shape[:-1])
        return rng.standard_normal(variable.shape, np.float32) * np.float32(np.sqrt(2 / fan))
    low, high = (0.5, 1.5) if kind in ("gamma", "moving_variance") else (-0.2, 0.2)
    return rng.uniform(low, high, variable.shape).astype(np.float32)
