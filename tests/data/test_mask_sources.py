import numpy as np
import pytest

from hpax.data import segmented
from hpax.formats import masks

CELLS = np.array([[0, 1, 1], [2, 2, 6]], np.uint16)
NUCLEI = np.array([[0, 1, 0], [2, 0, 0]], np.uint16)
FIELD = {"id": "P1_HPA1_A549_0", "cells": CELLS, "nuclei": NUCLEI}


def test_true_masks_are_the_field_s_own():
    found = segmented.ground_truth(FIELD)
    assert found.cells is CELLS
    assert found.nuclei is NUCLEI
    with pytest.raises(KeyError, match="brings no masks"):
        segmented.ground_truth({"id": "x"})


def test_stored_masks_are_read_by_the_field_s_id(tmp_path):
    image = np.zeros((2, 3, 4), np.uint8)
    masks.write(tmp_path, FIELD["id"], CELLS, NUCLEI, image=image, um_per_pixel=0.3)
    found = segmented.from_folder(tmp_path)({"id": FIELD["id"]})
    np.testing.assert_array_equal(found.cells, CELLS)
    np.testing.assert_array_equal(found.nuclei, NUCLEI)
    with pytest.raises(FileNotFoundError, match="no masks of field other"):
        segmented.from_folder(tmp_path)({"id": "other"})


@pytest.mark.parametrize("id", ["../{}", "inner/../../{}", "{}/", "."])
def test_an_id_leads_nowhere_else(tmp_path, id):
    inside = tmp_path / "masks"
    inside.mkdir()
    masks.write(tmp_path, "x", CELLS, NUCLEI, image=np.zeros((2, 3, 4), np.uint8), um_per_pixel=0.3)
    with pytest.raises(ValueError, match="plain file name"):
        segmented.from_folder(inside)({"id": id.format("x")})
