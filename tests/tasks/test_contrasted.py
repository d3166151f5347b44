"""Inpainting with a contrast: it paints as inpainting does, and pulls siblings together, whatever their brightness."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from properties import assert_padding_influences_nothing, drawn

from hpax.nn.embedder import ContrastedInpainter
from hpax.nn.inpainter import Inpainter
from hpax.ops import siblings, views
from hpax.tasks.contrasted import ContrastedInpainting
from hpax.tasks.inpaint import PairedInpainting

PROTEINS = np.array([0, 0, 1, 1, 2, 2])
MODEL = ContrastedInpainter(0.05)
TASK = ContrastedInpainting(MODEL, PROTEINS, weight=0.5)


def batch(rows=3, seed=0):
    rng = np.random.default_rng(seed)
    cells = rng.random((2, rows, 16, 16, 3), np.float32)
    index, mask = 2 * np.arange(rows) % len(PROTEINS), np.ones(rows, np.float32)
    return {"source": cells[0], "target": cells[1], "index": index, "mask": mask}


@pytest.fixture(scope="module")
def fresh():
    return drawn(TASK.init, batch())


def test_it_paints_and_describes_as_the_inpainter_without_the_head_does(fresh):
    params, model_state = fresh
    assert set(params) == {"source", "markers", "decoder", "between", "out"}
    plain, cells = PairedInpainting(Inpainter(0.05)), batch()
    kept = {name: params[name] for name in ("source", "markers", "decoder")}
    for name, value in plain.evaluate(kept, model_state, cells).items():
        np.testing.assert_array_equal(TASK.evaluate(params, model_state, cells)[name], value)
    for layer, value in plain.encode(kept, model_state, cells["source"]).items():
        np.testing.assert_array_equal(TASK.encode(params, model_state, cells["source"])[layer], value)


def test_the_loss_is_what_it_says(fresh):
    params, model_state = fresh
    cells, key = batch(), jax.random.key(7)
    found, state = TASK.loss(params, model_state, cells, key=key)
    first, second = jax.random.split(key)
    source, target = views.view(first, cells["source"]), views.view(second, cells["target"])
    (painted, numbers), expected_state = MODEL.apply(
        {"params": params, **model_state},
        source.seen,
        target.seen,
        mask=cells["mask"],
        train=True,
        method="compare",
        mutable=["batch_stats"],
    )
    wanted = np.clip(np.asarray(target.placed)[..., :1] * np.asarray(source.gain)[:, None, None, :1], 0, 1)
    error = np.square(np.asarray(painted) - wanted).mean((1, 2, 3))
    apart = siblings.normalised_contrast(numbers[:3], numbers[3:], np.array([0, 1, 2]), cells["mask"])
    np.testing.assert_allclose(found, error + 0.5 * np.asarray(apart), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, state, expected_state)


def test_a_target_s_protein_is_not_painted_from_itself(fresh):
    params, model_state = fresh
    cells = batch()
    dark = cells["target"] * np.array([0, 1, 1], np.float32)
    compare = functools.partial(
        MODEL.apply, {"params": params, **model_state}, cells["source"], mask=cells["mask"], method="compare"
    )
    (painted, numbers), (painted_dark, numbers_dark) = compare(cells["target"]), compare(dark)
    np.testing.assert_array_equal(painted, painted_dark)
    assert np.abs(np.asarray(numbers) - np.asarray(numbers_dark))[3:].max() > 1e-4


def test_images_that_do_not_fit_are_refused():
    cells = np.zeros((3, 18, 18, 3), np.float32)
    odd = {**batch(), "source": cells, "target": cells}
    with pytest.raises(ValueError, match="must be multiples of 4"):
        TASK.init(jax.random.key(0), odd)


def test_cells_of_one_protein_do_not_repel_each_other(fresh):
    alone = dataclasses.replace(TASK, proteins=np.zeros(6, int))
    apart, _ = TASK.loss(*fresh, batch(), key=jax.random.key(1))
    together, _ = alone.loss(*fresh, batch(), key=jax.random.key(1))
    assert (np.asarray(together) < np.asarray(apart)).all()


def test_tasks_of_other_weights_are_compiled_apart(fresh):
    step = jax.jit(lambda task, *given: task.loss(*given, key=jax.random.key(1))[0], static_argnums=0)
    found, doubled = (np.asarray(step(dataclasses.replace(TASK, weight=w), *fresh, batch())) for w in (0.5, 1.0))
    assert (doubled > 1.1 * found).all()


@pytest.mark.slow
def test_padding_influences_nothing(fresh):
    assert_padding_influences_nothing(TASK, fresh, batch(), atol=1e-5)
