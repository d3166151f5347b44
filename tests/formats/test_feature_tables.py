"""Tables of features from elsewhere are matched by cell id, and what does not fit is named."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from hpax.formats import cell_tables, feature_tables

IDS = ["a_1", "a_2", "b_1"]


def _write(folder, name="mine.csv", ids=IDS, **columns):
    columns = columns or {"f0": [0.0, 1.0, 2.0], "f1": [3, 4, 5]}
    pd.DataFrame(columns, index=pd.Index(ids, name="id")).to_csv(folder / name)
    return folder / name


def test_rows_follow_the_cells_that_are_asked_for(tmp_path):
    table = feature_tables.read(_write(tmp_path))
    np.testing.assert_array_equal(table.of(["b_1", "a_1"])["mine"], [[2, 5], [0, 3]])
    with pytest.raises(ValueError, match="it lacks 2: c_1, c_2; its own ids are such as a_1"):
        table.of(["a_1", "c_1", "c_2"])


def test_anndata_comes_by_layer_sparse_or_dense(tmp_path):
    var = pd.DataFrame({"layer": ["conv1", "conv2", "conv1"]}, index=list("xyz"))
    matrix = np.arange(9, dtype=np.float32).reshape(3, 3)
    for number, each in enumerate([matrix, scipy.sparse.csr_matrix(matrix)]):
        path = tmp_path / f"{number}.h5ad"
        anndata.AnnData(each, obs=pd.DataFrame(index=IDS), var=var).write_h5ad(path)
        sets = feature_tables.read(path).of(IDS)
        np.testing.assert_array_equal(sets["conv1"], matrix[:, [0, 2]])
        np.testing.assert_array_equal(sets["conv2"], matrix[:, [1]])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"f0": [1, np.nan, 2]}, "features must be finite, 1 cells' of mine are not, the first a_2"),
        ({"f0": [1, 2, 3], "gene": list("abc")}, "must be numbers, gene are not"),
    ],
)
def test_wrong_columns_are_named(tmp_path, columns, told):
    with pytest.raises(ValueError, match=told):
        feature_tables.read(_write(tmp_path, **columns))


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'a_1' is not"):
        feature_tables.read(_write(tmp_path, ids=["a_1", "a_1", "b_1"]))
    anndata.AnnData(obs=pd.DataFrame(index=IDS), obsm={"X_pca": np.zeros((3, 2))}).write_h5ad(tmp_path / "e.h5ad")
    with pytest.raises(ValueError, match="it is empty and obsm holds X_pca"):
        feature_tables.read(tmp_path / "e.h5ad")
    (tmp_path / "x.h5ad").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x\.h5ad cannot be read: .*; write it again as AnnData"):
        feature_tables.read(tmp_path / "x.h5ad")
    (tmp_path / "x.pkl").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"must be an \.h5ad or a \.csv"):
        feature_tables.read(tmp_path / "x.pkl")


def test_cells_lie_in_micrometres():
    obs = pd.DataFrame({"x": [10.0, np.nan], "y": [20.0, 1.0], "um_per_pixel": [0.5, 0.5]})
    np.testing.assert_array_equal(cell_tables.spatial(obs), [[5, 10], [np.nan, 0.5]])
    obs = pd.DataFrame({"x_um": [3.0], "y_um": [4.0], "x": [1.0], "y": [1.0], "um_per_pixel": [9.0]})
    np.testing.assert_array_equal(cell_tables.spatial(obs), [[3, 4]])
    assert np.isnan(cell_tables.spatial(pd.DataFrame({"x": [1.0]}))).all()


def test_ids_of_a_csv_are_text(tmp_path):
    ids = ["001", "NA", "1e3", "1"]
    path = _write(tmp_path, ids=ids, f0=[0.0, 1, 2, 3])
    assert feature_tables.read(path).ids.tolist() == ids
    np.testing.assert_array_equal(feature_tables.read(path).of(["1", "001"])["mine"], [[3], [0]])
    path.write_text(path.read_text().replace("id,f0", ",f0"))
    assert feature_tables.read(path).ids.tolist() == ids
    path.write_text(path.read_text().replace(",f0", "f0"))  # a name less than columns: the first are ids
    assert feature_tables.read(path).ids.tolist() == ids
    with pytest.raises(ValueError, match="it lacks 1: c") as told:
        feature_tables.read(path).of(["c"])
    assert "--" not in str(told.value)  # a flag belongs to the command that has it


def test_a_table_is_bounded_before_its_features_are_read(tmp_path, monkeypatch):
    matrix = scipy.sparse.csr_matrix((3, 3), dtype=np.float32)
    anndata.AnnData(matrix, obs=pd.DataFrame(index=IDS)).write_h5ad(tmp_path / "wide.h5ad")
    monkeypatch.setattr(feature_tables, "MAX_NUMBERS", 8)
    monkeypatch.setattr(anndata.AnnData, "to_memory", lambda _: pytest.fail("it was expanded"))
    with pytest.raises(ValueError, match=r"wide\.h5ad has 3 × 3 numbers, more than 8"):
        feature_tables.read(tmp_path / "wide.h5ad")


def test_a_table_without_rows_says_so(tmp_path):
    table = feature_tables.FeatureTable("mine", pd.Index([]), {"mine": np.zeros((0, 2), np.float32)}, pd.DataFrame())
    with pytest.raises(ValueError, match="mine has no rows, but must have all 1 cells: a_1"):
        table.of(["a_1"])
