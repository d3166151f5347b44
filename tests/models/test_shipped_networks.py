"""The networks that ship find cells, and the same ones whatever the size of a pixel."""

import numpy as np
import pytest
from PIL import Image

from hpax import models, simulate
from hpax.images import nearest
from hpax.metrics import segmentation

UM_PER_PIXEL = 0.32


@pytest.fixture(scope="module")
def segmenter():
    return models.Segmenter(*map(models.load, models.NAMES))


@pytest.fixture(scope="module")
def field():
    protein = simulate.proteome(proteins=19, seed=991)[3]
    return simulate.field(protein, sorted(simulate.CELL_LINES)[0], 0, seed=991, size=384)


def test_finds_the_cells_of_a_field_that_it_never_saw(segmenter, field):
    found = segmentation.score(segmentation.count(segmenter(field.image, UM_PER_PIXEL).cells, field.cells))
    assert found.f1 > 0.9
    assert found.matched_iou > 0.85


@pytest.mark.parametrize("factor", [2, 4])
def test_the_same_cells_at_any_pixel_size(segmenter, field, factor):
    side = factor * len(field.image)
    planes = [
        Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC)
        for plane in np.moveaxis(field.image, -1, 0)
    ]
    finer = segmenter(np.stack(planes, axis=-1), UM_PER_PIXEL / factor).cells
    coarse = segmenter(field.image, UM_PER_PIXEL).cells
    assert finer.max() == pytest.approx(coarse.max(), rel=0.05)
    assert segmentation.score(segmentation.count(nearest(finer, coarse.shape), coarse)).matched_iou >= 0.8


def test_told_a_wrong_pixel_size_it_finds_other_cells(segmenter, field):
    wrong = segmenter(field.image, UM_PER_PIXEL / 4).cells
    assert segmentation.score(segmentation.count(wrong, field.cells)).f1 < 0.8
