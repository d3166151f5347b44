"""The array types that the seams of hpax speak."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Array = jax.Array | np.ndarray

Batch = Mapping[str, Array]
"""What a step eats: arrays that share their leading axis b.

`batch["mask"]` (b,) float32 is always there: 1 for an example, 0 for padding, which counts as nothing.
"""

Params = Any
"""A pytree of parameters, as a Flax module's `params` collection."""

ModelState = Any
"""A pytree of everything else that a module keeps, such as `{"batch_stats": ...}`; may be empty."""

Take = Callable[[Array], dict[str, Array]]
"""Indices (n,) of examples that live on devices → these examples, wherever they lie; within what is compiled."""
