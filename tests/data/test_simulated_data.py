import numpy as np
import pytest
import tensorflow_datasets as tfds

from hpax import atlas, images, simulate
from hpax.data import PairBatches, build, simulated_fields
from hpax.data.simulated_fields import simulated_fields as shards_of
from hpax.segment import crops

SMALL = {"proteins": 4, "cell_lines": 1, "size": 192, "seed": 5, "varying": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("simulated")


@pytest.fixture(scope="module")
def fields(folder):
    return build("simulated_fields", folder, **SMALL)


@pytest.fixture(scope="module")
def cells(folder):
    return build("simulated_cells", folder, crop_um=20.48, crop_size=32, min_cells=2, **SMALL)


def test_the_builder_of_fields(fields, check_data_set):
    check_data_set(fields)
    assert len(fields) == 8


def test_the_builder_of_cells(cells, check_data_set):
    check_data_set(cells)
    assert cells.table["group_id"].value_counts().min() >= 2
    assert cells.labels.any(1).all()


def test_a_field_is_the_simulator_s(fields):
    (example,) = (fields[i] for i in range(len(fields)) if fields.table.index[i].endswith("_1") and i < 2)
    protein = next(p for p in simulate.proteome(proteins=4, seed=5, varying=1.0) if p.name == example["protein"])
    field = simulate.field(protein, example["cell_line"], 1, seed=5, size=192)
    for name in ("image", "cells", "nuclei", "cell_labels", "labels"):
        np.testing.assert_array_equal(example[name], getattr(field, name), err_msg=name)


def test_cells_of_one_field_may_differ(fields):
    assert any(np.ptp(fields[i]["cell_labels"], axis=0).any() for i in range(len(fields)))


def test_a_cell_is_a_crop_around_its_nucleus_with_its_own_labels(fields, cells):
    rows = {id: row for row, id in enumerate(fields.table.index)}
    for cell in (cells[i] for i in range(len(cells))):
        field = fields[rows[cell["field"]]]
        index = int(cell["id"].rsplit("_", 1)[1])
        np.testing.assert_array_equal(cell["labels"], field["cell_labels"][index - 1])
        centre = np.argwhere(field["nuclei"] == index).mean(0)
        np.testing.assert_allclose((cell["y"], cell["x"]), centre, rtol=1e-5)
        crop = crops.cut(field["image"], centre[None], 64)[0]
        np.testing.assert_array_equal(cell["image"], images.resize(crop, (32, 32)))
        assert (cell["protein"], cell["antibody"]) == (field["protein"], field["antibody"])
        assert cell["group_id"] == field["group_id"]


def test_cells_of_one_image_pair_up(cells):
    batch = PairBatches(cells, len(cells))[0]
    table = cells.table
    for column in ("protein", "antibody", "cell_line"):
        values = table[column].to_numpy()
        assert (values[batch["index"]] == values[batch["target_index"]]).all()
    assert batch["source"].shape[1:] == (32, 32, len(atlas.CHANNELS))


def test_whole_crops_only_if_asked(folder, cells):
    whole = build("simulated_cells", folder, crop_um=20.48, crop_size=32, min_cells=2, whole=True, **SMALL)
    inside = {
        id
        for id, x, y in zip(cells.table.index, cells.table.x, cells.table.y, strict=True)
        if not crops.sticks_out(np.array([[y, x]]), 64, (192, 192))[0]
    }
    assert 0 < len(whole) < len(cells)
    assert set(whole.table.index) <= inside


def test_too_few_cells_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"simulated_cells would be empty.*lower min_cells"):
        build("simulated_cells", tmp_path / "data", **{**SMALL, "proteins": 1}, min_cells=1000)
    assert not (tmp_path / "data").exists()


def test_processes_share_a_build_and_change_no_byte(tmp_path, folder, fields):
    shared = build("simulated_fields", tmp_path, workers=2, **SMALL)
    for name in ("train", "test"):
        for path in folder.rglob(f"simulated_fields-{name}*"):
            (twin,) = tmp_path.rglob(path.name)
            assert twin.read_bytes() == path.read_bytes()
    assert shared.table.equals(fields.table)


def test_workers_compress_what_they_make(tmp_path, fields, monkeypatch):
    def compressed(*_):
        raise AssertionError("by the process that writes")

    monkeypatch.setattr(tfds.features.FeaturesDict, "encode_example", compressed)
    assert build("simulated_fields", tmp_path, workers=2, **SMALL).table.equals(fields.table)


def test_mixed_fields_are_of_each_protein_both_and_the_plain_ones_those_of_a_plain_atlas():
    options = {"proteins": 3, "size": 96, "seed": 4}
    mixed = simulated_fields.Config(**options, cell_lines=2, fields=2, realism="mixed")
    plain = simulated_fields.Config(**options, cell_lines=1, fields=2)
    groups = shards_of.pictures(mixed, None)
    assert [group.protein for group in groups[::2]] == [group.protein for group in groups[1::2]]
    made = [list(shards_of.fields(mixed, group)) for group in groups]
    assert len({field.id for part in made for field in part}) == 12
    there = [list(shards_of.fields(plain, group)) for group in shards_of.pictures(plain, None)]
    for fresh, known in zip(made[::2], there, strict=True):
        assert [field.id for field in fresh] == [field.id for field in known]
        assert all((one.image == other.image).all() for one, other in zip(fresh, known, strict=True))
    protein, line, realism, first = groups[1].content
    assert (realism, first) == ("randomised", 2)
    alone = simulate.field(protein, line, first, seed=4, size=96, realism="randomised")
    assert (made[1][0].image == alone.image).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fields": 0}, "fields must be at least 1"),
        ({"cell_lines": 99}, "cell_lines must be at most"),
        ({"cell_lines": 3, "realism": "mixed"}, "must be even, got 3"),
        ({"cell_lines": 18, "realism": "mixed"}, "at most 8 of plain fields, got 9"),
        ({"crop_um": 0}, "must be positive"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        build("simulated_cells", tmp_path / "data", **options)


def test_plain_fields_keep_the_folder_that_they_had_before_there_were_others():
    assert simulated_fields.Config().name == "default-5cd34542"
    assert "realism=randomised" in simulated_fields.Config(realism="randomised").name
    assert "realism" in simulated_fields.Config(realism="randomised").description
