"""VGG16 answers as Keras's does, whoever's weights it has."""

import h5py
import jax
import keras_models
import numpy as np
import pytest
import safetensors.numpy

from hpax.models import vgg16
from hpax.nn.vgg import LAYERS

SIDE = 32


@pytest.fixture(scope="module")
def published():
    """Drawn weights by path, and Keras's answer of every convolution to what its own preprocessing left."""

    def make(keras):
        whole = keras.applications.VGG16(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
        return keras.Model(whole.input, [whole.get_layer(name).output for name in LAYERS])

    weights, _ = keras_models.drawn(make)
    return weights, make


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)


def answers(published, seen):
    """The maximum over space of every convolution, by Keras."""
    import keras

    weights, make = published
    with keras.StatelessScope():
        model = make(keras)
    values = [weights[variable.path] for variable in model.trainable_variables]
    maps, _ = jax.jit(lambda images: model.stateless_call(values, [], images, training=False))(seen)
    return dict(zip(LAYERS, (np.asarray(one).max((1, 2)) for one in maps), strict=True))


def assert_answers(found, expected):
    assert list(found) == list(LAYERS)
    for layer, values in expected.items():
        np.testing.assert_allclose(found[layer], values, rtol=1e-3, atol=1e-5 * np.abs(values).max())


def write_h5(path, weights, *, names=("kernel:0", "bias:0"), drop=()):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in LAYERS]
        for layer in LAYERS:
            for kind, name in zip(("kernel", "bias"), names, strict=True):
                if f"{layer}/{kind}" not in drop:
                    file[f"{layer}/{layer}/{name.format(layer)}"] = weights[f"{layer}/{kind}"]
        file["fc1/fc1/kernel:0"] = np.zeros((2, 2), np.int64)  # the top is not read


@pytest.mark.parametrize("names", [("kernel:0", "bias:0"), ("{}_W_1:0", "{}_b_1:0")])
def test_weights_of_keras_give_its_answers(published, pictures, tmp_path, names):
    write_h5(tmp_path / "vgg16.h5", published[0], names=names)
    model, params = vgg16.load(tmp_path / "vgg16.h5")
    centred = 255 * pictures[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    assert_answers(jax.jit(model.apply)({"params": params}, pictures), answers(published, centred))


def test_weights_of_torchvision_give_the_answers_of_its_scale(published, pictures, tmp_path):
    tensors = {"classifier.0.weight": np.zeros((2, 2), np.float32)}
    for layer, place in zip(LAYERS, vgg16.TORCH_PLACES, strict=True):
        kernel = published[0][f"{layer}/kernel"]
        tensors[f"features.{place}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        tensors[f"features.{place}.bias"] = published[0][f"{layer}/bias"]
    safetensors.numpy.save_file(tensors, tmp_path / "vgg16.safetensors")
    model, params = vgg16.load(tmp_path / "vgg16.safetensors")
    scaled = (pictures - np.float32(vgg16.TORCH_MEAN)) / np.float32(vgg16.TORCH_SD)
    assert_answers(jax.jit(model.apply)({"params": params}, pictures), answers(published, scaled))


def test_other_files_are_refused_with_what_they_lack(published, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        vgg16.load(tmp_path / "vgg16.h5")
    write_h5(tmp_path / "vgg16.h5", published[0], drop=("block3_conv2/kernel",))
    with pytest.raises(ValueError, match="params/block3_conv2/kernel is missing"):
        vgg16.load(tmp_path / "vgg16.h5")
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="block1_conv1/bias is missing"):
        vgg16.load(tmp_path / "other.safetensors")
