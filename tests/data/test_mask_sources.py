import numpy as np
import pytest

from hpax.data import mask_sources
from hpax.fields import Field, Masks
from hpax.formats import masks

CELLS = np.array([[0, 1, 1], [2, 2, 6]], np.uint16)
NUCLEI = np.array([[0, 1, 0], [2, 0, 0]], np.uint16)
IMAGE = np.zeros((2, 3, 4), np.uint8)
FIELD = Field("P1_HPA1_A549_0", IMAGE, 0.3, truth=Masks(CELLS, NUCLEI))


def test_true_masks_are_the_field_s_own():
    assert mask_sources.ground_truth(FIELD) is FIELD.truth
    with pytest.raises(KeyError, match="brings no masks"):
        mask_sources.ground_truth(Field("x", IMAGE, 0.3))


def test_stored_masks_are_read_by_the_field_s_id(tmp_path):
    masks.write(tmp_path, FIELD.id, CELLS, NUCLEI, image=IMAGE, um_per_pixel=0.3)
    found = mask_sources.from_folder(tmp_path)(Field(FIELD.id, IMAGE, 0.3))
    np.testing.assert_array_equal(found.cells, CELLS)
    np.testing.assert_array_equal(found.nuclei, NUCLEI)
    with pytest.raises(FileNotFoundError, match="no masks of field other"):
        mask_sources.from_folder(tmp_path)(Field("other", IMAGE, 0.3))


def test_stored_masks_come_at_the_size_of_the_field(tmp_path):
    masks.write(tmp_path, FIELD.id, CELLS, NUCLEI, image=IMAGE, um_per_pixel=0.3)
    larger = mask_sources.from_folder(tmp_path)(Field(FIELD.id, np.zeros((4, 6, 4), np.uint8), 0.15))
    np.testing.assert_array_equal(larger.cells, CELLS.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(larger.nuclei, NUCLEI.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("id", ["../{}", "inner/../../{}", "{}/", "."])
def test_an_id_leads_nowhere_else(tmp_path, id):
    inside = tmp_path / "masks"
    inside.mkdir()
    masks.write(tmp_path, "x", CELLS, NUCLEI, image=IMAGE, um_per_pixel=0.3)
    with pytest.raises(ValueError, match="plain file name"):
        mask_sources.from_folder(inside)(Field(id.format("x"), IMAGE, 0.3))


def test_the_name_of_masks_follows_what_the_folder_holds(tmp_path):
    masks.write(tmp_path, FIELD.id, CELLS, NUCLEI, image=IMAGE, um_per_pixel=0.3)
    first = mask_sources.name(mask_sources.from_folder(tmp_path))
    masks.write(tmp_path, FIELD.id, CELLS.T.reshape(2, 3), NUCLEI, image=IMAGE, um_per_pixel=0.3)
    names = [first, mask_sources.name(mask_sources.from_folder(tmp_path))]
    names += [mask_sources.name(mask_sources.ground_truth), mask_sources.name(None)]
    assert len(set(names)) == 4


def test_masks_of_another_shape_are_no_masks_of_the_field(tmp_path):
    masks.write(tmp_path, FIELD.id, CELLS, NUCLEI, image=IMAGE, um_per_pixel=0.3)
    with pytest.raises(ValueError, match=r"is 2x3, its masks in .* are 3x2.*rows and columns swapped"):
        mask_sources.from_folder(tmp_path)(Field(FIELD.id, np.zeros((3, 2, 4), np.uint8), 0.3))
