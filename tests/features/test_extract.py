"""Extraction puts every cell's features in its own row of a valid AnnData file, whole or not at all."""

import tracemalloc

import anndata
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from hpax.features import tables
from hpax.features.extract import extract, on_devices

IMAGES = np.random.default_rng(0).uniform(size=(10, 4, 4, 3)).astype(np.float32)
OBS = pd.DataFrame(
    {"protein": list("aabbccaabb"), "x": np.arange(10.0)}, index=pd.Index([f"cell{i}" for i in range(10)], name="id")
)


def _encode(images):
    return {"mean": images.mean((1, 2)), "max": images.max((1, 2))[:, :2]}


def _batches(order=range(10), size=4):
    """The images of `order`, the last batch padded with rows of NaN that claim to be cell 0."""
    order = np.array(order, np.int32)
    for start in range(0, len(order), size):
        index = order[start : start + size]
        padding = size - len(index)
        yield {
            "image": np.concatenate([IMAGES[index % 10], np.full((padding, 4, 4, 3), np.nan, np.float32)]),
            "index": np.pad(index, (0, padding)),
            "mask": np.repeat([1.0, 0.0], [len(index), padding]).astype(np.float32),
        }


def _expected():
    return np.concatenate(list(_encode(IMAGES).values()), 1)


@pytest.mark.parametrize("order", [range(10), [7, 3, 9, 0, 1, 2, 8, 6, 5, 4]])
def test_every_cell_gets_its_own_features_whatever_the_order(tmp_path, order):
    cells = anndata.read_h5ad(extract(_encode, _batches(order), OBS, tmp_path / "f.h5ad", progress=False))
    np.testing.assert_array_equal(cells.X, _expected())
    assert cells.X.dtype == np.float32


def test_the_file_says_what_rows_and_columns_are(tmp_path):
    labels = np.eye(10, 19, dtype=np.uint8)
    path = tmp_path / "new" / "f.h5ad"
    extract(_encode, _batches(), OBS, path, obsm={"labels": labels}, uns={"encoder": "drawn"}, progress=False)
    cells = anndata.read_h5ad(path)
    assert cells.obs_names.tolist() == OBS.index.tolist()
    assert cells.obs["protein"].tolist() == OBS["protein"].tolist()
    np.testing.assert_array_equal(cells.obs["x"], OBS["x"])
    assert cells.var["layer"].tolist() == ["mean"] * 3 + ["max"] * 2
    assert cells.var["channel"].tolist() == [0, 1, 2, 0, 1]
    assert cells.var_names.tolist() == ["mean_0", "mean_1", "mean_2", "max_0", "max_1"]
    np.testing.assert_array_equal(cells.obsm["labels"], labels)
    assert cells.uns["encoder"] == "drawn"


def test_reads_backed_and_by_layer(tmp_path):
    path = extract(_encode, _batches(), OBS, tmp_path / "f.h5ad", progress=False)
    cells = anndata.read_h5ad(path, backed="r")
    np.testing.assert_array_equal(cells[:, cells.var["layer"] == "max"].X, _expected()[:, 3:])
    cells.file.close()


def test_keeps_the_layers_asked_for_in_their_order_and_names_their_features(tmp_path):
    path = extract(
        _encode, _batches(), OBS, tmp_path / "f.h5ad", layers=["max"], names={"max": ["p", "n"]}, progress=False
    )
    cells = anndata.read_h5ad(path)
    assert cells.var_names.tolist() == ["p", "n"]
    np.testing.assert_array_equal(cells.X, _expected()[:, 3:])


def test_leaves_the_obs_of_the_caller_alone(tmp_path):
    before = OBS.copy(deep=True)
    extract(_encode, _batches(), OBS, tmp_path / "f.h5ad", progress=False)
    pd.testing.assert_frame_equal(OBS, before)


def _nan(images):
    return {"mean": np.full((len(images), 1), np.nan)}


def _broken(images):
    raise RuntimeError("out of luck")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"batches": _batches(range(8))}, ValueError, "2 of 10 had none, the first of them in row 8"),
        ({"batches": _batches([*range(10), 3])}, ValueError, "row 3 came again"),
        ({"batches": _batches([0, 1, 1])}, ValueError, "row 1 came again"),
        ({"batches": _batches([5, 12])}, ValueError, r"0\.\.9, got 12"),
        ({"batches": iter(())}, ValueError, "at least one batch"),
        ({"layers": ["max", "conv9"]}, ValueError, "among mean, max, got conv9"),
        ({"encode": _nan}, ValueError, "those of row 0 are not"),
        ({"encode": _broken}, RuntimeError, "out of luck"),
        ({"obs": OBS.set_axis(["same"] * 10)}, ValueError, "'same' is not"),
    ],
)
def test_an_error_leaves_an_older_file_whole_and_nothing_else(tmp_path, change, error, says):
    path = extract(_encode, _batches(), OBS, tmp_path / "f.h5ad", progress=False)
    before = path.read_bytes()
    valid = {"encode": _encode, "batches": _batches(), "obs": OBS, "path": path, "progress": False}
    with pytest.raises(error, match=says):
        extract(**valid | change)
    assert [file.name for file in tmp_path.iterdir()] == ["f.h5ad"]
    assert path.read_bytes() == before


def test_memory_is_that_of_a_few_batches(tmp_path):
    """20,000 cells × 500 features are 40 MB; a batch of 100 is 0.2 MB."""
    count, obs = 20_000, pd.DataFrame(index=[str(i) for i in range(20_000)])

    def encode(images):
        return {"layer": np.repeat(images.reshape(len(images), -1), 500, 1)}

    def batches():
        for start in range(0, count, 100):
            index = np.arange(start, start + 100)
            yield {"image": index.astype(np.float32).reshape(-1, 1, 1, 1), "index": index, "mask": np.ones(100)}

    extract(encode, batches(), obs, tmp_path / "warm.h5ad", progress=False)
    tracemalloc.start()
    path = extract(encode, batches(), obs, tmp_path / "f.h5ad", progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    cells = anndata.read_h5ad(path, backed="r")
    assert cells.X[12_345, 499] == 12_345
    cells.file.close()


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_devices_share_the_images(devices):
    """Ten images on three devices: padded to twelve on the way, ten on return."""

    def encode(scale, shift, images):
        return {"mean": scale * images.mean((1, 2)) + shift}

    call = on_devices(encode, jnp.float32(2.0), np.float32(1.0), devices=jax.devices()[:devices])
    features = call(IMAGES)["mean"]
    np.testing.assert_allclose(features, 2 * IMAGES.mean((1, 2)) + 1, rtol=1e-6)


def test_extracts_with_a_compiled_encoder(tmp_path):
    encode = on_devices(lambda scale, images: {"a": scale * images.max((1, 2))}, 3.0, devices=jax.devices()[:2])
    cells = anndata.read_h5ad(extract(encode, _batches(), OBS, tmp_path / "f.h5ad", progress=False))
    np.testing.assert_allclose(cells.X, 3 * IMAGES.max((1, 2)), rtol=1e-6)


def test_layers_keep_the_order_of_the_network(tmp_path):
    path = extract(lambda x: {"late": x.mean((1, 2)), "early": x.max((1, 2))}, _batches(), OBS, tmp_path / "f.h5ad")
    assert tables.layers(anndata.read_h5ad(path)) == ["late", "early"]


def test_tables_name_the_features_of_the_layers_that_have_names(tmp_path):
    paths = {name: tmp_path / f"{name}.h5ad" for name in ("ours", "classic")}
    encoders = {"ours": _encode, "classic": lambda images: {"classic": images.mean((1, 2))}}
    made = tables.write(encoders, list(_batches()), OBS, paths, names={"classic": ["red", "green", "blue"]})
    assert made["classic"].var_names.tolist() == ["red", "green", "blue"]
    assert made["ours"].var_names[0] == "mean_0"


def test_a_layer_is_called_by_its_table_where_that_says_all():
    assert tables.title("classic", "classic", ["classic", "more"]) == "classic"
    assert tables.title("pca pixels", "pixels", ["pixels"]) == "pca pixels"
    assert tables.title("ours", "conv1", ["conv1", "conv2"]) == tables.title("ours", "conv1") == "ours conv1"


def test_what_rounding_leaves_of_a_constant_has_no_place_on_the_plane(monkeypatch):
    monkeypatch.setattr(tables.scatter, "embed", lambda features, *, seed: features)
    features = np.column_stack([np.arange(3000), np.full(3000, 0.1)]).astype(np.float32)
    assert features[:, 1].std() > 0
    obs = pd.DataFrame({"query": np.ones(3000, bool)}, index=np.arange(3000).astype(str))
    var = pd.DataFrame({"layer": pd.Categorical(["a", "a"])}, index=["a_0", "a_1"])
    shown = tables.on_a_plane(anndata.AnnData(features, obs=obs, var=var), "a", seed=0)
    assert (shown.obsm["X_umap"][:, 1] == 0).all()
