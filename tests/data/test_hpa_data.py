import logging

import numpy as np
import pytest
from PIL import Image

from hpax import atlas
from hpax.data import CellBatches, PairBatches, build
from hpax.data.hpa_fields import dummy
from hpax.formats import fields as files
from hpax.segment import crops, nuclei

SCALE = {"um_per_pixel": dummy.UM_PER_PIXEL}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hpa")
    dummy.write(folder / "source", size=192, seed=1)
    return folder


@pytest.fixture(scope="module")
def fields(folder):
    return build("hpa_fields", folder / "data", source=folder / "source", **SCALE)


@pytest.fixture(scope="module")
def cells(folder):
    return build("hpa_cells", folder / "data", source=folder / "source", min_cells=2, crop_size=32, **SCALE)


def test_the_builder_of_fields(folder, fields, check_data_set):
    check_data_set(fields)
    assert len(fields) == 4
    annotations = files.read_annotations(folder / "source" / "fields.csv")
    pictures = {found.id: found for found in files.find_fields(folder / "source")}
    for example in (fields[i] for i in range(4)):
        np.testing.assert_array_equal(example["image"], files.read_field(pictures[example["id"]]))
        np.testing.assert_array_equal(example["labels"], annotations[example["id"]].labels)
        assert example["um_per_pixel"] == np.float32(0.32)


def test_fields_of_one_well_are_one_image(fields):
    table = fields.table
    assert table["image_id"].value_counts().to_dict() == {"10_A1": 2, "00000000-bb9b-11e8": 1, "00000001-bb9b-11e8": 1}
    assert set(table["protein"]) == {"GENE0", "00000000-bb9b-11e8", "00000001-bb9b-11e8"}
    assert set(table["cell_line"]) == {"U-2 OS", ""}


def test_the_builder_of_cells(cells, fields, check_data_set):
    check_data_set(cells)
    found = {id: row for row, id in enumerate(fields.table.index)}
    assert cells.table["field"].value_counts().to_dict() == dict.fromkeys(found, 9)
    for id, row in found.items():
        field = fields[row]
        centres = nuclei.find_nuclei(field["image"][..., 1], 0.32)
        for index, centre in enumerate(centres, start=1):
            cell = cells[cells.table.index.get_loc(f"{id}_{index}")]
            np.testing.assert_array_equal(
                cell["image"], crops.resize(crops.cut(field["image"], centre[None], 128)[0], 32)
            )
            np.testing.assert_array_equal(cell["labels"], field["labels"])


def test_16_bits_are_asked_for(folder, tmp_path):
    dummy.write(tmp_path / "source", kaggle=1, proteinatlas=0, size=96)
    path = next((tmp_path / "source").rglob("*_green.png"))
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 256).save(path)
    with pytest.raises(ValueError, match="has 16 bits; build with bits=16"):
        build("hpa_fields", tmp_path / "data", source=tmp_path / "source")
    deep = build("hpa_fields", tmp_path / "data", source=tmp_path / "source", bits=16)
    assert deep[0]["image"].dtype == np.uint16
    assert deep[0]["image"][..., 1].max() % 257 == 0
    assert deep[0]["um_per_pixel"] == np.float32(atlas.um_per_pixel(96))


def test_fields_without_annotation_are_counted(tmp_path, caplog):
    dummy.write(tmp_path / "source", kaggle=1, proteinatlas=0, size=96)
    (tmp_path / "source" / "fields.csv").unlink()
    with caplog.at_level(logging.WARNING):
        fields = build("hpa_fields", tmp_path / "data", source=tmp_path / "source")
    assert "1 of 1 fields in" in caplog.text
    assert not fields.labels.any()


def two_tables(source):
    (source / "more.csv").write_text("id,label\n")


def two_proteins(source):
    path = source / "fields.csv"
    path.write_text(path.read_text().replace("GENE0", "GENE1", 1))


def truncated(source):
    path = next(source.rglob("*_yellow.png"))
    path.write_bytes(path.read_bytes()[:-200])


def other_size(source):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(next(source.rglob("*_yellow.png")))


def no_channel(source):
    next(source.rglob("*_yellow.png")).unlink()


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (two_tables, "several tables"),
        (two_proteins, "must show one protein, got GENE0, GENE1"),
        (truncated, "_yellow.png cannot be read"),
        (other_size, "must have one size"),
        (no_channel, r"lacks its er \(yellow\)"),
    ],
)
@pytest.mark.parametrize("name", ["hpa_fields", "hpa_cells"])
def test_bad_fields_are_named_and_leave_nothing_behind(tmp_path, name, breaks, told):
    dummy.write(tmp_path / "source", kaggle=1, proteinatlas=2, size=96)
    breaks(tmp_path / "source")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        build(name, tmp_path / "data", source=tmp_path / "source", um_per_pixel=0.32)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.real
def test_real_fields_give_cells_that_pair_up(real_data, tmp_path):
    cells = build("hpa_cells", tmp_path, source=real_data / "hpa_fields")
    assert (len(cells), cells.table["image_id"].nunique()) == (1105, 73)  # of 77; four have fewer than 5 nuclei
    batch = PairBatches(cells, 32)[0]
    assert np.isfinite(batch["source"]).all()
    assert batch["source"][..., 0].reshape(32, -1).max(1).tolist() == [1] * 32
    assert sum(int(rows["mask"].sum()) for rows in CellBatches(cells, 64)) == 1105
