import logging
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from skimage.segmentation import expand_labels

from hpax import atlas, images
from hpax.data import CellBatches, PairBatches, build
from hpax.data.hpa_fields import dummy, hpa_fields
from hpax.fields import Masks
from hpax.formats import fields as files
from hpax.formats import masks as mask_files
from hpax.segment import classical, crops, nuclei

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
    assert table["group_id"].value_counts().to_dict() == {"10_A1": 2, "00000000-bb9b-11e8": 1, "00000001-bb9b-11e8": 1}
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
                cell["image"], images.resize(crops.cut(field["image"], centre[None], 128)[0], (32, 32))
            )
            np.testing.assert_array_equal(cell["labels"], field["labels"])


@pytest.fixture(scope="module")
def segmented(folder):
    """Masks of every field, whose nuclei are discs in cells that touch."""
    found = {}
    (folder / "masks").mkdir()
    for field in files.find_fields(folder / "source"):
        image = files.read_field(field)
        inner = nuclei.label_nuclei(image[..., 1], 0.32)
        found[field.id] = Masks(expand_labels(inner, 40), inner)
        write_masks(folder / "masks", field.id, found[field.id])
    return found


def write_masks(folder, id, masks, **options):
    image = np.zeros((*masks.cells.shape, 4), np.uint8)
    mask_files.write(folder, id, masks.cells, masks.nuclei, image=image, um_per_pixel=0.32, **options)


def by_masks(folder, data="data", **options):
    options = {"masks": str(folder / "masks"), "min_cells": 2, "crop_size": 32, **SCALE, **options}
    return build("hpa_cells", folder / data, source=folder / "source", **options)


def test_cells_by_masks_bring_their_masks_and_borders(folder, segmented, fields, check_data_set):
    cells = by_masks(folder)
    check_data_set(cells)
    assert len(cells) == sum(int(masks.cells.max()) for masks in segmented.values())
    for cell in map(cells.__getitem__, range(0, len(cells), 5)):
        masks, image = segmented[cell["field"]], fields[fields.table.index.get_loc(cell["field"])]["image"]
        centre = np.array([crops.centroids(masks.nuclei)[cell["index"]]])
        np.testing.assert_array_equal(cell["image"], images.resize(crops.cut(image, centre, 128)[0], (32, 32)))
        for name, mask in (("cell_mask", masks.cells), ("nucleus_mask", masks.nuclei)):
            own = crops.cut((mask == cell["index"])[..., None].astype(np.uint8), centre, 128)[0]
            share = own.reshape(32, 4, 32, 4).mean((1, 3))
            assert (cell[name] != (share >= 0.5)).mean() < 0.02
            assert set(np.unique(cell[name])) == {0, 1}
        assert cell["area_um2"] == pytest.approx((masks.cells == cell["index"]).sum() * 0.32**2)
        assert cell["nucleus_area_um2"] == pytest.approx((masks.nuclei == cell["index"]).sum() * 0.32**2)
        assert cell["um_per_pixel"] == np.float32(0.32)
    assert {"area_um2", "touches_border", "missing"} <= set(cells.table)


def test_neighbours_are_masked_out_on_request(folder, segmented):
    kept, alone = by_masks(folder, crop_size=128), by_masks(folder, crop_size=128, neighbours=False)
    assert list(kept.table.index) == list(alone.table.index)
    for a, b in ((kept[row], alone[row]) for row in (0, 7, 20)):
        np.testing.assert_array_equal(b["image"], a["image"] * a["cell_mask"][..., None])
        assert a["image"][a["cell_mask"] == 0].any()


def test_a_crop_around_the_cell_has_the_cell_in_its_middle(folder, segmented):
    cells = by_masks(folder, centre="cell")
    for cell in map(cells.__getitem__, range(0, len(cells), 9)):
        centre = crops.centroids(segmented[cell["field"]].cells)[cell["index"]]
        assert (cell["y"], cell["x"]) == pytest.approx(centre, abs=1e-3)


@pytest.mark.parametrize("flavour", ["ome-tiff", "ome-zarr"])
def test_masks_in_every_flavour_give_the_same_cells(folder, segmented, tmp_path, flavour):
    (tmp_path / "masks").mkdir()
    for id, masks in segmented.items():
        write_masks(tmp_path / "masks", id, masks, flavour=flavour)
    other, cells = by_masks(folder, masks=str(tmp_path / "masks")), by_masks(folder)
    assert list(other.table.index) == list(cells.table.index)
    np.testing.assert_array_equal(other[5]["cell_mask"], cells[5]["cell_mask"])


def test_what_the_masks_hold_names_the_data_set_and_not_where_they_lie(folder, segmented, tmp_path):
    cells = by_masks(folder)
    shutil.copytree(folder / "masks", tmp_path / "masks")
    assert by_masks(folder, masks=str(tmp_path / "masks")).info.full_name == cells.info.full_name
    id, masks = next(iter(segmented.items()))
    write_masks(tmp_path / "masks", id, Masks(masks.cells * (masks.cells < 3), masks.nuclei))
    fewer = by_masks(folder, masks=str(tmp_path / "masks"))
    assert fewer.info.full_name != cells.info.full_name
    assert len(cells) - len(fewer) == masks.cells.max() - 2


def test_fields_without_masks_are_left_out_whatever_is_wrong_with_them(tmp_path, segmented, caplog):
    dummy.write(tmp_path / "source", size=192, seed=1)
    (tmp_path / "masks").mkdir()
    ids = [field.id for field in files.find_fields(tmp_path / "source")]
    for id in ids[:2]:
        write_masks(tmp_path / "masks", id, segmented[id])
    next((tmp_path / "source").rglob(f"{ids[3]}_red*")).unlink()
    next((tmp_path / "source").rglob(f"{ids[2]}_red*")).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        cells = by_masks(tmp_path)
    assert set(cells.table["field"]) == set(ids[:2])
    assert "1 of 3 fields in" in caplog.text


def test_wrong_masks_are_explained(folder, segmented, tmp_path):
    (tmp_path / "masks").mkdir()
    write_masks(tmp_path / "masks", "other", next(iter(segmented.values())))
    with pytest.raises(FileNotFoundError, match="masks of none of the 4 fields"):
        by_masks(folder, masks=str(tmp_path / "masks"))
    for id in segmented:
        write_masks(tmp_path / "masks", id, Masks(*np.ones((2, 6, 8), np.uint16)))
    with pytest.raises(ValueError, match=r"192x192 pixels, its masks in .* are 8x6"):
        by_masks(folder, masks=str(tmp_path / "masks"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"recipe": "otsu"}, "recipe must be one of code, paper, classical"),
        ({"recipe": "masks"}, "or masks a folder"),
        ({"neighbours": False}, "'code' knows nuclei, but no cells"),
        ({"recipe": "paper", "centre": "cell"}, "'paper' knows nuclei, but no cells"),
    ],
)
def test_options_that_do_not_fit_are_explained(folder, tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        build("hpa_cells", tmp_path, source=folder / "source", **options)


def test_cells_segmented_on_the_fly_are_those_of_their_masks(folder, tmp_path, fields):
    (tmp_path / "masks").mkdir()
    for field in (fields[i] for i in range(4)):
        write_masks(tmp_path / "masks", field["id"], classical.segment(field["image"], 0.32))
    stored = by_masks(folder, masks=str(tmp_path / "masks"))
    direct = by_masks(folder, masks="", recipe="classical")
    assert list(direct.table.index) == list(stored.table.index)
    for row in (0, 11):
        for name, value in direct[row].items():
            np.testing.assert_array_equal(value, stored[row][name])


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
    ],
)
@pytest.mark.parametrize("name", ["hpa_fields", "hpa_cells"])
def test_a_bad_table_is_named_and_leaves_nothing_behind(tmp_path, name, breaks, told):
    dummy.write(tmp_path / "source", kaggle=1, proteinatlas=2, size=96)
    breaks(tmp_path / "source")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        build(name, tmp_path / "data", source=tmp_path / "source", um_per_pixel=0.32)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (truncated, "_yellow.png cannot be read"),
        (other_size, "must have one size"),
        (no_channel, r"lacks its er \(yellow\).* a black picture does where no field has ER"),
    ],
)
@pytest.mark.parametrize("name", ["hpa_fields", "hpa_cells"])
def test_a_bad_field_is_left_out_and_named_and_the_others_are_built(tmp_path, name, breaks, told):
    dummy.write(tmp_path / "source", kaggle=2, proteinatlas=2, size=96)
    ids = {field.id for field in files.find_fields(tmp_path / "source")}
    breaks(tmp_path / "source")
    options = {"um_per_pixel": 0.32} | ({"min_cells": 1, "recipe": "classical"} if name == "hpa_cells" else {})
    built = build(name, tmp_path / "data", source=tmp_path / "source", **options)
    (bad,) = built.failures
    assert re.search(told, built.failures[bad])
    assert set(built.table["field"]) == ids - {bad}


def test_if_all_fields_are_bad_the_first_reasons_are_told(tmp_path):
    dummy.write(tmp_path / "source", kaggle=4, proteinatlas=0, size=16)
    for path in (tmp_path / "source").rglob("*_blue.*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"4 could not be read, as .*is empty.*is empty.*is empty.*; and 1 other"):
        build("hpa_fields", tmp_path / "data", source=tmp_path / "source")


@pytest.mark.real
def test_real_fields_give_cells_that_pair_up(real_data, tmp_path):
    cells = build("hpa_cells", tmp_path, source=real_data / "hpa_fields")
    assert (len(cells), cells.table["group_id"].nunique()) == (1105, 73)  # of 77; four have fewer than 5 nuclei
    batch = PairBatches(cells, 32)[0]
    assert np.isfinite(batch["source"]).all()
    assert batch["source"][..., 0].reshape(32, -1).max(1).tolist() == [1] * 32
    assert sum(int(rows["mask"].sum()) for rows in CellBatches(cells, 64)) == 1105


def test_fields_are_stored_no_finer_than_asked_for_and_never_upsampled(tmp_path):
    dummy.write(tmp_path / "source", kaggle=1, proteinatlas=0, size=256)
    (found,) = files.find_fields(tmp_path / "source")
    original = files.read_field(found)
    for um_per_pixel, side in ((0.08, 64), (0.16, 128), (0.32, 256), (0.64, 256)):
        field = build("hpa_fields", tmp_path / "data", source=tmp_path / "source", um_per_pixel=um_per_pixel)[0]
        np.testing.assert_array_equal(field["image"], images.resize(original, (side, side)))
        assert field["um_per_pixel"] == pytest.approx(um_per_pixel * 256 / side)
    whole = build("hpa_fields", tmp_path / "data", source=tmp_path / "source", um_per_pixel=0.08, stored_um_per_pixel=0)
    np.testing.assert_array_equal(whole[0]["image"], original)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        build("hpa_fields", tmp_path / "data", source=tmp_path / "source", stored_um_per_pixel=-1)


def test_what_networks_see_is_the_same_from_either_storage(tmp_path):
    dummy.write(tmp_path / "source", kaggle=1, proteinatlas=0, size=256)
    options = {"source": tmp_path / "source", "um_per_pixel": 0.08}
    coarse = build("hpa_fields", tmp_path / "data", **options)[0]
    whole = build("hpa_fields", tmp_path / "data", **options, stored_um_per_pixel=0)[0]
    seen = [images.to_um_per_pixel(field["image"], float(field["um_per_pixel"]), 0.32) for field in (coarse, whole)]
    np.testing.assert_array_equal(*seen)


def test_twelve_bits_span_what_is_stored(tmp_path):
    dummy.write(tmp_path / "source", kaggle=2, proteinatlas=0, size=96)
    highest = 0
    for path in (tmp_path / "source").rglob("*.png"):
        pixels = np.asarray(Image.open(path)).astype(np.uint16) * 16
        highest = max(highest, int(pixels.max()))
        Image.fromarray(pixels).save(path)
    options = {"source": tmp_path / "source", "um_per_pixel": 0.32, "bits": 16}
    found = build("hpa_fields", tmp_path / "data", **options)
    assert max(int(found[place]["image"].max()) for place in range(2)) == round(highest / 4095 * 65535)
    stated = build("hpa_fields", tmp_path / "data", **options, camera_bits=14)
    assert max(int(stated[place]["image"].max()) for place in range(2)) == round(highest / 16383 * 65535)


def test_a_folder_without_a_whole_field_is_looked_through_once(tmp_path, monkeypatch):
    dummy.write(tmp_path / "source", kaggle=2, proteinatlas=0, size=16)
    for path in (tmp_path / "source").rglob("*_blue.*"):
        path.unlink()
    tape, survey = [], files.survey
    monkeypatch.setattr(files, "survey", lambda folder: tape.append(folder) or survey(folder))
    with pytest.raises(ValueError, match=r"2 could not be read, as .* lacks its nucleus \(blue\) channel"):
        hpa_fields.pictures(hpa_fields.Config(), tmp_path / "source")
    assert len(tape) == 1
