"""A cell has the colour of its label, the legend names it, and heat is where the map is."""

import itertools

import numpy as np
import pytest

from hpax import atlas
from hpax.explore import grids, labelled, overlays
from hpax.fields import Masks


def field():
    """Three cells in a noisy field; the indices have gaps."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 4), dtype=np.uint8)
    cells = np.zeros((60, 90), np.uint16)
    cells[5:30, 5:30], cells[5:30, 30:50], cells[35:55, 60:85] = 4, 9, 2
    return image, Masks(cells, np.zeros_like(cells))


def one_hot(*classes):
    return np.eye(19)[list(classes)] * 0.5 + 0.1


def test_all_classes_have_colours_that_can_be_told_apart():
    colours = labelled.COLOURS.astype(int)
    assert colours.shape == (19, 3)
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(colours, 2)) >= 40
    assert [np.ptp(shade) == 0 for shade in colours] == [label == atlas.NEGATIVE for label in range(19)]


def test_cells_have_the_colour_of_their_most_probable_class():
    image, masks = field()
    picture = labelled.labelled(image, masks, one_hot(16, 0, atlas.NEGATIVE))[:60, :90].astype(float)
    light = overlays.light(image[..., :1], 90)
    lines = overlays.outlines(masks.cells)
    for index, label in ((2, 16), (4, 0), (9, atlas.NEGATIVE)):
        own = masks.cells == index
        assert (picture[own & lines] == labelled.COLOURS[label]).all()
        strength = labelled.TINT + (1 - labelled.TINT) * light[own & ~lines]
        np.testing.assert_allclose(picture[own & ~lines], strength * labelled.COLOURS[label], atol=0.51)
    outside = masks.cells == 0
    np.testing.assert_allclose(picture[outside], 255 * light[outside].repeat(3, axis=-1), atol=0.51)


def test_the_legend_shows_the_classes_that_occur_most_frequent_first():
    image, masks = field()
    picture = labelled.labelled(image, masks, one_hot(3, 7, 3))
    squares = picture[: 3 * grids.LINE, 90 + 2 * grids.GAP : 90 + 2 * grids.GAP + grids.TEXT]
    tops = {label: np.flatnonzero((squares == labelled.COLOURS[label]).all((1, 2))) for label in range(19)}
    assert {label: len(rows) for label, rows in tops.items() if len(rows)} == {3: grids.TEXT, 7: grids.TEXT}
    assert tops[3].max() < tops[7].min()


def test_a_field_without_cells_is_its_protein():
    image, masks = field()
    empty = Masks(masks.cells * 0, masks.cells * 0)
    picture = labelled.labelled(image, empty, np.zeros((0, 19)), side=30)
    assert (picture[:20, :30] == picture[:20, :30, :1]).all()


def test_every_cell_needs_its_row():
    with pytest.raises(ValueError, match="got 2 for 3 cells"):
        labelled.labelled(*field(), one_hot(3, 7))


def panels(maps, probabilities, **options):
    """The field and the heat maps of an activation picture."""
    picture = labelled.activations(field()[0], maps, probabilities, side=90, **options)[grids.GAP + grids.LINE :]
    starts = [grids.GAP + k * (90 + grids.GAP) for k in range(picture.shape[1] // 94)]
    return [picture[:60, start : start + 90].astype(float) for start in starts]


def test_heat_is_where_a_map_is_highest_be_it_above_0_or_not():
    maps = np.full((4, 6, 19), -5, np.float32)
    maps[1, 4, 16], maps[:, 0, 5], maps[1, 4, 0] = 2, 1e-3, -1  # faint, but all there is of classes 5 and 0
    probabilities = np.zeros(19)
    probabilities[[16, 5, 0]] = 0.9, 0.8, 0.7
    shown, cytosol, bodies, nucleoplasm, *_ = panels(maps, probabilities)
    grey = np.rint(255 * overlays.light(field()[0][..., :1], 90)).repeat(3, axis=-1)
    for panel, (y, x) in ((cytosol, (22, 67)), (bodies, (30, 7)), (nucleoplasm, (22, 67))):
        heat = np.abs(panel - grey).sum(-1) > 5
        rows, columns = np.nonzero(heat)
        assert abs(rows.mean() - y) < 5
        assert abs(columns.mean() - x) < 6
        assert heat.mean() < 0.5
    np.testing.assert_array_equal(shown, overlays.overlay(field()[0], Masks(*[np.zeros((60, 90), np.uint16)] * 2)))


def test_the_most_probable_classes_are_shown():
    maps, probabilities = np.ones((3, 3, 19), np.float32), np.linspace(0, 1, 19)
    assert len(panels(maps, probabilities, most=5)) == 6
