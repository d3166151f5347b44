import jax
import numpy as np
from flax import linen as nn

from hpax.nn.conv import glorot_uniform


def test_glorot_uniform_equals_flax():
    key = jax.random.key(1)
    expected = nn.initializers.glorot_uniform()(key, (3, 3, 5, 7))
    np.testing.assert_allclose(glorot_uniform(key, (3, 3, 5, 7)), expected, rtol=1e-6)
