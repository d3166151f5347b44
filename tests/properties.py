"""What must hold for every task and for all batches."""

import jax
import numpy as np
import optax

from hpax import train
from hpax.train import parallel


def join(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def drawn(init, *inputs, seed=0):
    """What `init(key, *inputs)` makes, drawn by NumPy: kernels of the usual spread, scales and variances 1, the rest 0.

    Compiling how a network draws its parameters takes longer than compiling the network.
    """
    rng = np.random.default_rng(seed)

    def leaf(path, shaped):
        if len(shaped.shape) > 1:
            return rng.normal(size=shaped.shape, scale=np.prod(shaped.shape[:-1]) ** -0.5).astype(shaped.dtype)
        ones = path[-1].key in ("scale", "var")
        return np.full(shaped.shape, float(ones), shaped.dtype)

    return jax.tree.map_with_path(leaf, jax.eval_shape(init, jax.random.key(0), *inputs))


def assert_same(batch, other):
    assert batch.keys() == other.keys()
    for name in batch:
        assert batch[name].dtype == other[name].dtype
        np.testing.assert_array_equal(batch[name], other[name], err_msg=name)


def outcome(task):
    """Fresh state, batch → the gradient, the losses of the first three rows and the moving statistics of a step."""

    def total(params, model_state, batch):
        losses, state = task.loss(params, model_state, batch, key=jax.random.key(0))
        return (losses * batch["mask"]).sum(), (losses[:3], state)

    return jax.jit(jax.grad(total, has_aux=True))


def assert_close(found, expected, *, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol), found, expected)


def assert_padding_influences_nothing(task, fresh, real, *, spoil=lambda padded, junk: padded, atol=1e-6):
    """Three rows have the same outcome with two rows of junk behind them; `spoil` adds what else must not count."""
    step = outcome(task)
    expected = step(*fresh, real)
    for junk in (0, 7):
        padded = {name: np.concatenate([value, np.full_like(value[:2], junk)]) for name, value in real.items()}
        padded["mask"][3:] = 0
        assert_close(step(*fresh, spoil(padded, junk)), expected, atol=atol)


class Steps:
    """Endless batches, each a function of its step; five of sixteen rows are padding."""

    def __init__(self, batch):
        self._batch = batch

    def __getitem__(self, step):
        batch = self._batch(16, seed=step)
        batch["mask"][-5:] = 0
        return batch

    def iterate(self, start):
        while True:
            yield self[start]
            start += 1


def assert_one_and_eight_devices_agree(task, batch, *moving):
    """Of two steps of ragged batches; the parameters at the paths `moving` must move, or nothing was compared."""
    runs = [train.Run(task, Steps(batch), optax.sgd(0.1), steps=2, devices=jax.local_devices()[:n]) for n in (1, 8)]
    initial, states = runs[0].initial(), []
    for run in runs:
        *_, (_, state, _) = train.updates(run, initial)
        states.append(parallel.unreplicate(state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), states[0].params, initial.params)
    moved = {
        jax.tree_util.keystr(path, simple=True, separator="/"): far for path, far in jax.tree.leaves_with_path(moved)
    }
    assert min(moved[path] for path in moving) > 1e-3, "nothing moved, nothing compared"
