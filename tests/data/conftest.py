"""A small data set on disk that several test files read."""

import itertools

import numpy as np
import pytest

from hpax.data import Source, build
from hpax.data.cell_crops import dummy

IMAGES = {"ABC1_1_A1": 6, "ABC1_2_A2": 5, "DEF2_3_B1": 7, "GHI3_4_B2": 5, "AAAS_5_C1": 9, "TP53_6_C2": 5}


@pytest.fixture(scope="session")
def crops(tmp_path_factory) -> Source:
    """37 human cells of six images and five proteins, 16 pixels wide."""
    folder = tmp_path_factory.mktemp("crops")
    dummy.write(folder / "source", "human", IMAGES, size=16)
    return build("cell_crops", folder / "built", source=folder / "source", size=16)


@pytest.fixture(scope="session")
def check_data_set():
    """What every data set of hpax must hold, in place of TFDS's own builder test, which needs TensorFlow."""

    def check(source: Source) -> None:
        info = source.info
        assert info.citation
        assert info.description
        assert info.redistribution_info.license
        assert str(info.version) in info.release_notes
        assert info.file_format.value == "array_record"
        conforms(source)
        agrees_with_its_index(source)
        keeps_proteins_apart(source)

    return check


def conforms(source: Source) -> None:
    features = source.info.features
    for example in map(source.__getitem__, range(len(source))):
        assert example.keys() == features.keys()
        for name, value in example.items():
            if isinstance(value, np.ndarray):
                assert value.dtype == features[name].np_dtype, name
                assert all(b in (None, a) for a, b in zip(value.shape, features[name].shape, strict=True)), name
            else:
                assert isinstance(value, str | float | int)


def agrees_with_its_index(source: Source) -> None:
    table = source.table
    assert len(table) == len(source)
    assert table.index.is_unique
    assert all(column.cat.categories.is_monotonic_increasing for _, column in table.select_dtypes("category").items())
    for row, example in enumerate(map(source.__getitem__, range(len(source)))):
        assert example["id"] == table.index[row]
        for name in table:
            np.testing.assert_equal(example[name], table[name].iloc[row])
        if "labels" in example:
            np.testing.assert_array_equal(example["labels"], source.labels[row])
    same_image = table["group_id"].to_numpy()[:, None] == table["group_id"].to_numpy()
    np.testing.assert_array_equal(source.groups[:, None] == source.groups, same_image)


def keeps_proteins_apart(source: Source) -> None:
    sizes = [source.info.splits[split].num_examples for split in source.splits]
    parts = np.split(source.table["protein"].to_numpy(), np.cumsum(sizes)[:-1])
    for part, other in itertools.combinations(map(set, parts), 2):
        assert not part & other
    assert source.info.splits.total_num_examples == len(source)
