"""Weights that others left become networks of hpax, all of them or none."""

import os
import warnings

import h5py
import numpy as np
import pytest
import safetensors.numpy

from hpax import models
from hpax.models import checks
from hpax.models.convert import renamed
from hpax.nn.inpainter import Inpainter

WIDTH = 1 / 16


def _published(keras, channels, width=WIDTH):
    """Paired cell inpainting in Keras: layers, their names and their order as published."""
    layers = keras.layers

    def conv(name, filters, size=3, activation="relu"):
        return layers.Conv2D(round(width * filters), size, activation=activation, padding="same", name=name)

    def norm(x, pool):
        x = layers.BatchNormalization()(x)
        return layers.MaxPooling2D((2, 2))(x) if pool else x

    source = layers.Input((64, 64, channels), name="x_in")
    markers = layers.Input((64, 64, channels - 1), name="y_rfp")
    x, y, taps = source, markers, []
    for layer, filters in ((1, 96), (2, 256)):
        taps.append(conv(f"conv{layer}_1", filters)(x))
        x = norm(taps[-1], True)
    for layer, filters in ((1, 16), (2, 32)):
        y = norm(conv(f"rfpconv{layer}_1", filters)(y), True)
    for layer, filters in ((3, 384), (4, 384), (5, 256)):
        taps.append(conv(f"conv{layer}_1", filters)(x))
        x = norm(taps[-1], False)
    y = norm(conv("rfpconv3_1", 32)(y), False)
    z = layers.Concatenate()([x, y])
    for layer, filters in ((6, 256), (7, 384), (8, 384), (9, 256), (10, 96)):
        z = layers.UpSampling2D((2, 2))(z) if layer > 8 else z
        z = conv(f"conv{layer}_1", filters)(z)
    painted = layers.Conv2D(1, 1, name="y_gfp")(z)
    return keras.Model([source, markers], painted), keras.Model([source, markers], [*taps, painted])


@pytest.fixture(scope="module", params=[3, 2], ids=["human", "yeast"])
def saved(request, tmp_path_factory):
    os.environ["KERAS_BACKEND"] = "jax"
    keras = pytest.importorskip("keras")
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, tapped = _published(keras, request.param)
        for weight in model.weights:
            low, high = (0.5, 1.5) if "variance" in weight.path or "gamma" in weight.path else (-0.2, 0.2)
            weight.assign(rng.uniform(low, high, weight.shape).astype(np.float32))
        model.save(folder / "pci.h5")
        source = rng.uniform(size=(2, 64, 64, request.param)).astype(np.float32)
        expected = [np.asarray(each) for each in tapped([source, source[..., 1:]])]
    return folder / "pci.h5", source, expected


def test_every_layer_of_the_published_network_agrees(saved):
    path, source, expected = saved
    encoder = models.convert(path)
    features = encoder.encode(source)
    for layer, tap in zip(encoder.layers, expected, strict=False):
        np.testing.assert_allclose(features[layer], tap.max((1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(encoder.paint(source, source[..., 1:]), expected[-1], rtol=1e-5, atol=1e-5)


def test_what_was_converted_is_saved_and_loaded_as_any_other(saved, tmp_path):
    path, source, _ = saved
    encoder = models.convert(path)
    yeast = source.shape[-1] == 2
    assert encoder.network.preprocessing == ("yeast" if yeast else "human")
    assert encoder.channels == (("protein", "marker") if yeast else ("protein", "nucleus", "microtubules"))
    again = models.load(encoder.save(tmp_path / "pci.safetensors"))
    np.testing.assert_array_equal(again.encode(source)["conv5"], encoder.encode(source)["conv5"])


def test_the_command_writes_an_encoder_or_nothing(saved, tmp_path, capsys):
    from hpax.commands import convert as command

    assert command.main([str(saved[0]), "--out", str(tmp_path / "out.safetensors")]) == 0
    assert models.load(tmp_path / "out.safetensors").layers[0] == "conv1"
    (tmp_path / "a.keras").write_bytes(b"")
    assert command.main([str(tmp_path / "a.keras"), "--out", str(tmp_path / "none.safetensors")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "none.safetensors").exists()


def test_a_layer_that_is_missing_changed_or_linked_is_told(saved, tmp_path):
    path = saved[0]
    for change, told in (
        ("missing", "params/source/conv3/kernel is missing"),
        ("norm", "8 BatchNorm"),
        ("link", "link"),
    ):
        copy = tmp_path / f"{change}.h5"
        copy.write_bytes(path.read_bytes())
        with h5py.File(copy, "r+") as file:
            root = file["model_weights"]
            if change == "missing":
                del root["conv3_1"]
            elif change == "norm":
                del root[next(name for name in root if name.startswith("batch_norm"))]
            else:
                del root["conv3_1"]
                root["conv3_1"] = h5py.ExternalLink("/etc/passwd", "/")
        with pytest.raises(ValueError, match=told):
            models.convert(copy)


def test_what_cannot_be_read_is_told(tmp_path):
    for name, told in (("a.keras", "save them as safetensors"), ("a.h5", "no HDF5 file"), ("a.pth", "needs rules")):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match=told):
            models.convert(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layers"] = 1.0
    with pytest.raises(ValueError, match="must have the layer_names"):
        models.convert(tmp_path / "other.h5")
    with pytest.raises(FileNotFoundError):
        models.convert(tmp_path / "none.h5")


RULES = (
    (r"^encoder\.(\d)\.norm\.num_batches_tracked$", ""),
    (r"^(source|markers)\.conv(\d)\.weight$", r"params/\1/conv\2/kernel"),
    (r"^(source|markers|decoder)\.(conv\d|paint)\.bias$", r"params/\1/\2/bias"),
    (r"^decoder\.(conv\d|paint)\.weight$", r"params/decoder/\1/kernel"),
    (r"^(source|markers)\.norm(\d)\.weight$", r"params/\1/norm\2/scale"),
    (r"^(source|markers)\.norm(\d)\.bias$", r"params/\1/norm\2/bias"),
    (r"^(source|markers)\.norm(\d)\.running_mean$", r"model_state/batch_stats/\1/norm\2/mean"),
    (r"^(source|markers)\.norm(\d)\.running_var$", r"model_state/batch_stats/\1/norm\2/var"),
)


def test_tensors_of_torch_come_by_rules_for_their_names(tmp_path):
    tensors = {}
    shapes = checks.expected_leaves(Inpainter(width=WIDTH), 3)
    rng = np.random.default_rng(0)
    back = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    for name, leaf in shapes.items():
        *_, part, layer, kind = name.split("/")
        value = rng.uniform(0.1, 1, leaf.shape).astype(np.float32)
        turned = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        tensors[f"{part}.{layer}.{back[kind]}"] = np.ascontiguousarray(turned)
    safetensors.numpy.save_file(tensors, tmp_path / "net.safetensors")
    told = {"architecture": "inpainter", "options": {"width": WIDTH}, "channels": ("protein", "nucleus", "er")}
    with pytest.raises(ValueError, match="preprocessing of inpainter"):  # an inpainter must say how crops are prepared
        models.convert(tmp_path / "net.safetensors", rules=RULES, um_per_pixel=0.64, **told)
    encoder = models.convert(
        tmp_path / "net.safetensors", rules=RULES, um_per_pixel=0.64, preprocessing="human", **told
    )
    kernel = encoder.network.params["source"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), tensors["source.conv2.weight"])
    with pytest.raises(ValueError, match=r"params/source/conv5/kernel is missing; source\.conv5\.weight is unexpected"):
        models.convert(
            tmp_path / "net.safetensors",
            rules=[*RULES[2:], (r"^(source|markers)\.conv([1-4])\.weight$", r"params/\1/conv\2/kernel")],
            um_per_pixel=0.64,
            preprocessing="human",
            **told,
        )
    with pytest.raises(ValueError, match="a name of its own"):
        renamed(tensors, [(r".*", "params/x")])


def test_the_catalogue_lists_what_ships():
    entries = {entry.name: entry for entry in models.catalogue()}
    assert tuple(entries) == models.NAMES
    assert entries["segment-nuclei"].channels == ("nucleus",)
    for entry in entries.values():
        assert entry.use
        assert entry.kind
        assert entry.card.startswith(f"# {entry.name}")
        assert entry.megabytes < 24
    assert sum(entry.megabytes for entry in entries.values()) < 24
