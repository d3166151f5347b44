"""The inpainting network has the published size and taps, and keeps source and target apart."""

import jax
import jax.numpy as jnp
import numpy as np
import properties
import pytest

from hpax.nn.inpainter import SOURCE_WIDTHS, Encoder, Inpainter


def _shapes(channels, **fields):
    x = jax.ShapeDtypeStruct((1, 64, 64, channels), np.float32)
    markers = jax.ShapeDtypeStruct((1, 64, 64, channels - 1), np.float32)
    return jax.eval_shape(Inpainter(**fields).init, jax.random.key(0), x, markers)


def _size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _small(h=16, w=16, channels=3, **fields):
    rng = np.random.default_rng(0)
    source, target = rng.uniform(size=(2, 4, h, w, channels)).astype(np.float32)
    model = Inpainter(width=0.05, **fields)
    return model, properties.drawn(model.init, source, target[..., 1:]), source, target[..., 1:]


@pytest.mark.parametrize(("channels", "published"), [(3, 7_324_529), (2, 7_323_521)])
def test_has_the_published_number_of_parameters(channels, published):
    assert _size(_shapes(channels)) == published


def test_the_source_encoder_has_its_published_size():
    variables = _shapes(3)
    assert _size(variables["params"]["source"]) + _size(variables["batch_stats"]["source"]) == 3_327_232


def test_width_scales_every_layer():
    params = _shapes(3, width=0.25)["params"]
    widths = [params["source"][f"conv{i}"]["bias"].size for i in range(1, 6)]
    assert widths == [24, 64, 96, 96, 64]
    assert params["markers"]["conv1"]["bias"].size == 4
    assert params["decoder"]["conv3"]["bias"].size == 96
    assert params["decoder"]["paint"]["kernel"].shape == (1, 1, 24, 1)


def test_initialises_as_keras_does():
    """Glorot uniform: within ±sqrt(6 / (fan in + fan out)), and filling that range; biases zero."""
    x = np.zeros((1, 16, 16, 3), np.float32)
    conv = Encoder().init(jax.random.key(0), x)["params"]["conv2"]
    limit = np.sqrt(6 / (9 * 96 + 9 * 256))
    assert 0.99 * limit < np.abs(conv["kernel"]).max() <= limit
    assert np.std(conv["kernel"]) == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert not conv["bias"].any()


def test_features_are_tapped_after_relu_and_before_batchnorm():
    """Shifting and scaling what BatchNorm makes of a layer changes the layers after it, not the layer itself."""
    model, variables, source, _ = _small()
    before = model.apply(variables, source, method="encode")
    norm = variables["params"]["source"]["norm3"]
    norm["bias"], norm["scale"] = norm["bias"] - 5.0, norm["scale"] * 2
    after = model.apply(variables, source, method="encode")
    assert list(before) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    for layer in ("conv1", "conv2", "conv3"):
        np.testing.assert_array_equal(before[layer], after[layer])
    assert not np.allclose(before["conv4"], after["conv4"])
    assert all((features >= 0).all() for features in before.values())


def test_first_features_equal_the_formula():
    model, variables, source, _ = _small()
    conv = variables["params"]["source"]["conv1"]
    padded = np.pad(source, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.maximum(np.einsum("bhwcij,ijck->bhwk", windows, conv["kernel"]) + conv["bias"], 0).max((1, 2))
    np.testing.assert_allclose(model.apply(variables, source, method="encode")["conv1"], expected, atol=1e-5)


def test_features_are_those_of_the_image_of_any_size_and_position():
    """Global max pooling: a mirrored cell has as many features, one per channel, whatever its frame."""
    model, variables, _, _ = _small()
    features = model.apply(variables, np.ones((2, 20, 28, 3), np.float32), method="encode")
    assert [f.shape for f in features.values()] == [(2, max(1, round(0.05 * w))) for w in SOURCE_WIDTHS]


def test_paints_each_target_from_its_own_markers_and_source():
    """At inference an example's painting hangs on its own row alone, and on both of its inputs."""
    model, variables, source, markers = _small()
    painted = model.apply(variables, source, markers)
    assert painted.shape == (4, 16, 16, 1)
    for changed in (model.apply(variables, source[::-1], markers), model.apply(variables, source, markers[::-1])):
        assert not np.allclose(changed, painted, atol=1e-4)
    other = source.copy()
    other[2] = 0
    np.testing.assert_allclose(np.delete(model.apply(variables, other, markers), 2, 0), np.delete(painted, 2, 0))


def test_training_moves_every_statistic_and_inference_none():
    model, variables, source, markers = _small()
    mask = np.ones(4, np.float32)
    _, trained = model.apply(variables, source, markers, mask=mask, train=True, mutable=["batch_stats"])
    _, rested = model.apply(variables, source, markers, mask=mask, mutable=["batch_stats"])
    before = variables["batch_stats"]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: not np.allclose(a, b), before, trained["batch_stats"])))
    jax.tree.map(np.testing.assert_array_equal, before, rested["batch_stats"])


def test_paints_outside_of_the_unit_range_if_it_must():
    """The last layer is linear: a negative bias shows."""
    model, variables, source, markers = _small()
    variables["params"]["decoder"]["paint"]["bias"] = jnp.full(1, -10.0)
    assert model.apply(variables, source, markers).max() < -5


@pytest.mark.parametrize(("shape", "says"), [((18, 16), "multiples of 4"), ((3, 16), r"use \(4, 16\)")])
def test_rejects_sides_that_do_not_halve_twice(shape, says):
    with pytest.raises(ValueError, match=says):
        Inpainter().init(jax.random.key(0), np.zeros((1, *shape, 3)), np.zeros((1, *shape, 2)))


@pytest.mark.usefixtures("untyped")
def test_rejects_unequal_frames():
    with pytest.raises(ValueError, match="equally large"):
        Inpainter().init(jax.random.key(0), np.zeros((1, 16, 16, 3)), np.zeros((1, 32, 32, 2)))
