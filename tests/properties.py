"""What must hold of batches."""

import numpy as np


def join(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def assert_same(batch, other):
    assert batch.keys() == other.keys()
    for name in batch:
        assert batch[name].dtype == other[name].dtype
        np.testing.assert_array_equal(batch[name], other[name], err_msg=name)
