"""Masks as other programs write them: taken where they can be meant, else refused with counts and a remedy."""

import logging

import numpy as np
import pytest
import tifffile
from PIL import Image

from hpax.formats import label_images, masks

CELLS = np.zeros((60, 90), np.uint16)
NUCLEI = np.zeros_like(CELLS)
for _number in range(6):
    _top, _left = 2 + 30 * (_number // 3), 2 + 30 * (_number % 3)
    CELLS[_top : _top + 24, _left : _left + 24] = _number + 1
    NUCLEI[_top + 8 : _top + 16, _left + 8 : _left + 16] = _number + 1


def save(folder, cells=CELLS, nuclei=NUCLEI, write=None, suffix=".png"):
    for name, plane in (("cells", cells), ("nuclei", nuclei)):
        path = folder / f"a_{name}{suffix}"
        (write or (lambda path, plane: Image.fromarray(plane).save(path)))(path, plane)


def lzw(path, plane):
    Image.fromarray(plane).save(path, compression="tiff_lzw")


WRITERS = {
    "int32": lambda path, plane: tifffile.imwrite(path, plane.astype(np.int32)),
    "int64": lambda path, plane: tifffile.imwrite(path, plane.astype(np.int64)),
    "float32": lambda path, plane: tifffile.imwrite(path, plane.astype(np.float32)),
    "big-endian": lambda path, plane: tifffile.imwrite(path, plane, byteorder=">"),
    "LZW 16": lzw,
    "LZW 8": lambda path, plane: lzw(path, plane.astype(np.uint8)),
    "LZW 32": lambda path, plane: lzw(path, plane.astype(np.int32)),
    "LZW float": lambda path, plane: lzw(path, plane.astype(np.float32)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_whole_numbers_of_every_type_are_taken(tmp_path, kind):
    save(tmp_path, write=WRITERS[kind], suffix=".tif")
    for back, original in zip(masks.read(tmp_path, "a"), (CELLS, NUCLEI), strict=True):
        assert back.dtype.kind == "u"
        np.testing.assert_array_equal(back, original)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.array([[0, 0.5]], np.float32), "not whole numbers; export indices"),
        (np.array([[0, np.nan]], np.float32), "not whole numbers"),
        (np.array([[-3, 5]], np.int16), "from 0 to 4294967295, it has -3 to 5; were they stored with too few bits"),
        (np.array([[0, 2**33]], np.int64), "it has 0 to 8.58993e\\+09"),
    ],
)
def test_what_is_no_index_is_refused(tmp_path, pixels, told):
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(ValueError, match=told) as error:
        label_images.read(tmp_path / "a.tif")
    assert "a.tif" in str(error.value)


def test_nuclei_numbered_for_themselves_are_matched_to_their_cells(tmp_path):
    shuffled = np.array([0, 5, 3, 1, 6, 2, 4], np.uint16)[NUCLEI]
    save(tmp_path, nuclei=np.where(shuffled > 0, shuffled + 40, 0).astype(np.uint16))
    cells, nuclei = masks.read(tmp_path, "a")
    np.testing.assert_array_equal(cells, CELLS)
    np.testing.assert_array_equal(nuclei, NUCLEI)


def test_nuclei_without_a_cell_are_counted(tmp_path, caplog):
    save(tmp_path, cells=np.where(CELLS > 4, 0, CELLS).astype(np.uint16))
    with caplog.at_level(logging.WARNING):
        _, nuclei = masks.read(tmp_path, "a")
    assert np.unique(nuclei).tolist() == [0, 1, 2, 3, 4]
    assert "2 of 6 nuclei of field a" in caplog.text


def test_masks_of_different_fields_are_refused(tmp_path):
    save(tmp_path, nuclei=np.where(CELLS > 0, 0, 9).astype(np.uint16))
    with pytest.raises(ValueError, match=r"no nucleus of field a .* lies in a cell"):
        masks.read(tmp_path, "a")


@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_inside_and_outside_are_refused_with_a_remedy(tmp_path, value):
    save(tmp_path, *(np.where(plane > 0, value, 0).astype(np.uint8) for plane in (CELLS, NUCLEI)))
    with pytest.raises(ValueError, match=rf"all have the value {value}, in 6 parts: .*skimage.measure.label"):
        masks.read(tmp_path, "a")


def test_one_cell_is_not_inside_and_outside(tmp_path):
    save(tmp_path, *(np.where(plane == 1, 1, 0).astype(np.uint8) for plane in (CELLS, NUCLEI)))
    assert masks.read(tmp_path, "a")[0].max() == 1


def test_numbers_that_wrapped_are_refused_with_counts(tmp_path):
    save(tmp_path, *(np.where(plane > 4, plane - 4, plane).astype(np.uint8) for plane in (CELLS, NUCLEI)))
    with pytest.raises(ValueError, match=r"2 of 4 cells of field a .* such as 1, 2: several cells have one number"):
        masks.read(tmp_path, "a")


def test_a_cell_that_is_cut_in_two_is_one_cell(tmp_path):
    cells = CELLS.copy()
    cells[2:26, 20] = 0  # of cell 1, whose nucleus lies on one side
    save(tmp_path, cells=cells)
    np.testing.assert_array_equal(masks.read(tmp_path, "a")[0], cells)


def test_a_picture_that_pillow_calls_a_bomb_is_a_named_error(tmp_path, monkeypatch):
    save(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"a_cells.png has more pixels than a PNG may have here"):
        masks.read(tmp_path, "a")


def test_the_names_of_hpa_s_own_tool_are_known(tmp_path):
    for ending, plane in (("cellmask", CELLS), ("nucleimask", NUCLEI)):
        label_images.write(tmp_path / f"a_{ending}.png", plane)
    assert masks.flavours(tmp_path, "a") == ["png"]
    np.testing.assert_array_equal(masks.read(tmp_path, "a"), (CELLS, NUCLEI))
    label_images.write(tmp_path / "a_cells.tif", CELLS)
    with pytest.raises(ValueError, match=r"a_cells\.tif and a_cellmask\.png both are the cells of one field"):
        masks.read(tmp_path, "a")
    masks.remove(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


def test_masks_that_lie_otherwise_than_the_pictures_are_told_of(caplog):
    nuclei = np.zeros((64, 64), np.uint16)
    nuclei[4:12, 40:56], nuclei[30:60, 8:20] = 1, 2
    stain = (nuclei > 0).astype(np.uint8) * 200 + 10
    masks.check_placed(nuclei, stain, "these")
    assert not caplog.text
    with pytest.raises(
        ValueError, match=r"these fit the nuclei better if they are turned by .*rows and columns swapped"
    ):
        masks.check_placed(np.ascontiguousarray(nuclei.T), stain, "these")
    masks.check_placed(nuclei, np.zeros_like(stain), "these")
    nearly = nuclei.copy()
    nearly[30:60, 8:20], nearly[4:12, 40:56] = 0, 0
    nearly[26:38, 26:38] = 3
    nearly[26:30, 40:44] = 4
    masks.check_placed(np.ascontiguousarray(nearly.T), (nearly > 0).astype(np.uint8), "those")
    assert "those fit the nuclei better" in caplog.text


def test_masks_lie_in_the_workdir_of_segment_or_in_the_folder_itself(tmp_path):
    assert masks.located(tmp_path) == tmp_path
    (tmp_path / "masks").mkdir()
    assert masks.located(tmp_path) == tmp_path / "masks"
    assert masks.located(tmp_path / "masks") == tmp_path / "masks"
    with pytest.raises(FileNotFoundError, match="give the workdir of `hpax segment`"):
        masks.located(tmp_path / "none")


@pytest.mark.parametrize("background", [7, 255, 1])
def test_a_background_that_has_a_number_is_no_cell(tmp_path, background):
    cells = np.where(CELLS > 0, CELLS + (background == 1), background).astype(np.uint8)
    save(tmp_path, cells=cells)
    with pytest.raises(ValueError, match=rf"cell {background} of field a .* along all four sides, as background does"):
        masks.read(tmp_path, "a")


@pytest.mark.parametrize("value", [1, 255])
def test_nuclei_without_numbers_have_those_of_their_cells(tmp_path, caplog, value):
    save(tmp_path, nuclei=np.where(NUCLEI > 0, value, 0).astype(np.uint8))
    np.testing.assert_array_equal(masks.read(tmp_path, "a"), (CELLS, NUCLEI))
    assert "the nuclei of field a" in caplog.text
    assert "have no numbers; they get those of their cells" in caplog.text


def test_nuclei_whose_numbers_wrapped_are_told_of(tmp_path, caplog):
    save(tmp_path, nuclei=np.where(NUCLEI > 4, NUCLEI - 4, NUCLEI).astype(np.uint8))
    masks.read(tmp_path, "a")
    assert "2 cells of field a" in caplog.text
    assert "such as 5, lost their nucleus to another cell: do nuclei share a number?" in caplog.text


def test_cells_without_any_nucleus_and_swapped_masks_are_told_of(tmp_path, caplog):
    save(tmp_path, nuclei=np.zeros_like(NUCLEI))
    masks.read(tmp_path, "a")
    assert "have cells, but no nucleus" in caplog.text
    save(tmp_path, cells=NUCLEI, nuclei=CELLS)
    masks.read(tmp_path, "a")
    assert "89% of the nuclei of field a" in caplog.text
    assert "were cells and nuclei swapped?" in caplog.text


LOSSY = {
    "jpeg": (lambda path, plane: Image.fromarray(plane.astype(np.uint8)).save(path, "JPEG"), "a JPEG of 1 pages"),
    "several": (
        lambda path, plane: (one := Image.fromarray(plane)).save(path, save_all=True, append_images=[one]),
        "a PNG of 2 pages",
    ),
    "turned": (lambda path, plane: Image.fromarray(plane).save(path, exif=tag(6)), "the orientation tag 6"),
}
TIFFS = {
    "turned": ({"extratags": [(274, "H", 1, 6, True)]}, "has the orientation tag 6; save the masks upright"),
    "white": ({"photometric": "miniswhite"}, "shows 0 as white"),
}


def tag(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("kind", LOSSY)
def test_pictures_that_keep_no_numbers_or_no_place_are_refused(tmp_path, kind):
    write, told = LOSSY[kind]
    save(tmp_path, write=write)
    with pytest.raises(ValueError, match=rf"a_cells.png .*{told}"):
        masks.read(tmp_path, "a")


@pytest.mark.parametrize("kind", TIFFS)
def test_tags_of_masks_that_change_their_meaning_are_refused(tmp_path, kind):
    options, told = TIFFS[kind]
    save(tmp_path, write=lambda path, plane: tifffile.imwrite(path, plane, **options), suffix=".tif")
    with pytest.raises(ValueError, match=rf"a_cells.tif .*{told}"):
        masks.read(tmp_path, "a")


def test_flavours_that_differ_are_an_error_and_not_the_first(tmp_path):
    image = np.zeros((*CELLS.shape, 4), np.uint8)
    for flavour in ("png", "ome-tiff", "ome-zarr"):
        masks.write(tmp_path, "a", CELLS, NUCLEI, image=image, um_per_pixel=0.3, flavour=flavour)
    np.testing.assert_array_equal(masks.read(tmp_path, "a"), (CELLS, NUCLEI))
    corrected = np.where(CELLS == 2, 0, CELLS)
    masks.write(
        tmp_path, "a", corrected, np.minimum(NUCLEI, corrected), image=image, um_per_pixel=0.3, flavour="ome-zarr"
    )
    with pytest.raises(ValueError, match=r"the masks of field a in .* differ as png and ome-zarr; keep one of them"):
        masks.read(tmp_path, "a")
    np.testing.assert_array_equal(masks.read(tmp_path, "a", flavour="ome-zarr")[0], corrected)


def test_two_ome_tiffs_of_a_field_are_an_error(tmp_path):
    masks.write(
        tmp_path, "a", CELLS, NUCLEI, image=np.zeros((60, 90, 4), np.uint8), um_per_pixel=1.0, flavour="ome-tiff"
    )
    (tmp_path / "a.ome.tiff").write_bytes((tmp_path / "a.ome.tif").read_bytes())
    with pytest.raises(ValueError, match=r"a.ome.tif and a.ome.tiff both are the masks of one field"):
        masks.read(tmp_path, "a")
