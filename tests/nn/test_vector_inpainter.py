"""The inpainter by one vector: the source tells what, the markers tell where, and nothing else passes between them."""

import jax
import numpy as np
import properties
import pytest

from hpax.models.store import Network
from hpax.nn.embedder import ContrastedVectorInpainter
from hpax.nn.inpainter import Inpainter
from hpax.nn.vector_inpainter import VectorInpainter

MODEL = VectorInpainter(width=0.03)


@pytest.fixture(scope="module")
def cells():
    return np.random.default_rng(0).random((2, 4, 32, 64, 3), np.float32)


@pytest.fixture(scope="module")
def fresh(cells):
    return properties.drawn(MODEL.init, cells[0], cells[1, ..., 1:])


def _shapes(model, channels):
    cells, markers = (jax.ShapeDtypeStruct((1, 128, 128, each), np.float32) for each in (channels, channels - 1))
    return jax.eval_shape(model.init, jax.random.key(0), cells, markers)


def test_the_source_encoder_is_the_published_one(fresh, cells):
    """Its parameters and its features are those of the published network."""
    published, told = Inpainter(width=0.03), {"params": {}, "batch_stats": {}}
    for kind in told:
        told[kind] = {
            **properties.drawn(published.init, cells[0], cells[1, ..., 1:])[kind],
            "source": fresh[kind]["source"],
        }
    expected = published.apply(told, cells[0], method="encode")
    found = MODEL.apply(fresh, cells[0], method="encode")
    assert list(found) == list(expected)
    for layer, features in expected.items():
        np.testing.assert_array_equal(found[layer], features)


def test_the_painter_has_a_width_of_its_own():
    wide, narrow = (_shapes(VectorInpainter(0.5, width), 4)["params"] for width in (None, 0.125))
    assert wide["painter"]["down0"]["bias"].size == 64
    assert narrow["painter"]["down0"]["bias"].size == 16
    assert jax.tree.map(np.shape, wide["source"]) == jax.tree.map(np.shape, narrow["source"])


def test_a_cell_is_painted_from_its_own_source_and_markers(fresh, cells):
    source, markers = cells[0], cells[1, ..., 1:]
    painted = np.asarray(MODEL.apply(fresh, source, markers))
    assert painted.shape == (4, 32, 64, 1)
    for changed in (MODEL.apply(fresh, source[::-1], markers), MODEL.apply(fresh, source, markers[::-1])):
        assert not np.allclose(changed, painted, atol=1e-5)
    other = source.copy()
    other[2] = 0
    again = np.asarray(MODEL.apply(fresh, other, markers))
    np.testing.assert_allclose(np.delete(again, 2, 0), np.delete(painted, 2, 0), atol=1e-6)


def test_of_the_source_nothing_but_a_vector_is_known(fresh, cells):
    """Where its parts lie is not told: a source that is mirrored by a network of mirrored kernels paints the same."""
    source, markers = cells[0], cells[1, ..., 1:]
    mirrored = jax.tree.map(lambda leaf: leaf, fresh)
    for part, leaves in fresh["params"]["source"].items():
        if part.startswith("conv"):
            mirrored["params"]["source"][part] = {**leaves, "kernel": leaves["kernel"][:, ::-1]}
    painted = MODEL.apply(fresh, source, markers)
    np.testing.assert_allclose(MODEL.apply(mirrored, source[:, :, ::-1], markers), painted, atol=1e-5)
    assert not np.allclose(MODEL.apply(mirrored, source, markers), painted, atol=1e-4)


def test_sides_that_do_not_halve_three_times_are_refused(cells):
    with pytest.raises(ValueError, match="must be multiples of 8"):
        MODEL.init(jax.random.key(0), cells[0, :, :, :36], cells[1, :, :, :36, 1:])


def test_a_contrast_paints_as_the_network_alone_does(cells):
    """Of pairs that it does not learn from; the head reads the vectors, of the targets with their protein."""
    model = ContrastedVectorInpainter(width=0.03)
    source, target = cells
    variables = properties.drawn(
        lambda key, *given: model.init(key, *given, mask=np.ones(4, np.float32), method="compare"), source, target
    )
    assert set(variables["params"]) == {"source", "norm", "painter", "between", "out"}
    painted, numbers = model.apply(variables, source, target, mask=np.ones(4, np.float32), method="compare")
    alone = {kind: {name: tree[name] for name in ("source", "norm", "painter")} for kind, tree in variables.items()}
    np.testing.assert_allclose(painted, MODEL.apply(alone, source, target[..., 1:]), atol=1e-6)
    swapped = model.apply(variables, target, source, mask=np.ones(4, np.float32), method="compare")[1]
    np.testing.assert_allclose(np.roll(np.asarray(numbers), 4, axis=0), swapped, atol=1e-6)


def test_what_is_saved_is_loaded(fresh, cells, tmp_path):
    from hpax import models

    network = Network(
        architecture="vector-inpainter",
        options={"width": 0.03},
        channels=("protein", "nucleus", "microtubules"),
        um_per_pixel=0.32,
        params=fresh["params"],
        model_state={"batch_stats": fresh["batch_stats"]},
        card="# mine",
        preprocessing="human",
    )
    encoder = models.load(network.save(tmp_path / "mine.safetensors"))
    crops = (255 * cells[0][:, :32, :32]).astype(np.uint8)
    prepared = encoder.prepare(crops)
    expected = MODEL.apply(fresh, prepared, method="encode")["conv5"]
    np.testing.assert_allclose(encoder.features(crops, "conv5"), expected, atol=1e-5)
    painted = encoder.paint(prepared, prepared[..., 1:])
    np.testing.assert_allclose(painted, MODEL.apply(fresh, prepared, prepared[..., 1:]), atol=1e-5)
