"""Simulated yeast: a pure function of its seeds, whose proteins lie where their locations say."""

import numpy as np
import pytest

from hpax.simulate import yeast, yeast_cells, yeast_patterns
from hpax.simulate.proteome import Style
from hpax.simulate.streams import stream


@pytest.fixture(scope="module")
def proteins():
    return yeast.proteome(proteins=3 * len(yeast.LOCATIONS), seed=3)


def test_the_same_seeds_draw_the_same_crops_and_fewer_cells_are_the_first_of_more(proteins):
    crops = yeast.crops(proteins[9], count=4, seed=1)
    assert crops.shape == (4, 64, 64, 2)
    assert crops.dtype == np.uint16
    np.testing.assert_array_equal(yeast.crops(proteins[9], count=2, seed=1), crops[:2])
    assert (yeast.crops(proteins[9], count=1, seed=2)[0] != crops[0]).mean() > 0.9
    assert (yeast.crops(proteins[26], count=1, seed=1)[0] != crops[0]).mean() > 0.9  # of the same location


def test_main_locations_take_turns_and_some_proteins_have_two(proteins):
    assert [protein.locations[0] for protein in proteins] == list(yeast.LOCATIONS) * 3
    assert 3 < sum(len(protein.locations) == 2 for protein in proteins) < 30
    assert all(len(protein.locations) == 1 for protein in yeast.proteome(proteins=40, multilocalised=0))


@pytest.mark.parametrize(
    ("location", "depth", "least"),
    [
        ("nucleus", "nucleus_depth", 0.85),
        ("nucleolus", "nucleus_depth", 0.8),
        ("vacuole", "vacuole_depth", 0.85),
        ("cytoplasm", "depth", 0.95),
        ("mitochondria", "depth", 0.85),
        ("Golgi", "depth", 0.85),
        ("ER", "depth", 0.8),
    ],
)
def test_signal_lies_in_its_structure(location, depth, least):
    shares = []
    for number in range(12):
        draw = stream("test", number)
        cell = yeast_cells.drawn(draw, 64, y=31.5, x=31.5, radius=18)
        if depth == "vacuole_depth" and not cell.vacuoles:
            continue
        plane = yeast_patterns.PATTERNS[location](cell, Style(), draw)
        within = getattr(cell, depth) > -1.5
        shares.append(plane[within].sum() / plane.sum())
    assert np.mean(shares) > least


def test_membranes_are_brightest_on_their_outline():
    cell = yeast_cells.drawn(stream("test", 1), 64, y=31.5, x=31.5, radius=18)
    for location, depth in (("cell periphery", cell.depth - 1), ("nuclear periphery", cell.nucleus_depth)):
        plane = yeast_patterns.PATTERNS[location](cell, Style(), stream("test", 2))
        assert plane[np.abs(depth) < 1].mean() > 4 * plane[np.abs(depth) > 4].mean()


def test_vacuoles_are_dark_in_the_marker():
    draw = stream("test", 5)
    protein = yeast.proteome(proteins=1)[0]
    cells = [yeast_cells.drawn(draw, 64, y=31.5, x=31.5, radius=20) for _ in range(20)]
    for cell in (cell for cell in cells if cell.vacuoles):
        marker = yeast._lit(protein, cell, draw)[..., 1]
        inner = cell.depth > 6
        assert marker[inner & (cell.vacuole_depth > 2)].mean() < marker[inner & (cell.vacuole_depth < -3)].mean()


def test_refusals():
    with pytest.raises(ValueError, match=r"needs at least 1 protein.*got 0"):
        yeast.proteome(proteins=0)
    with pytest.raises(ValueError, match=r"share in \[0, 1\].*1\.5"):
        yeast.proteome(proteins=3, multilocalised=1.5)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        yeast.crops(yeast.proteome(proteins=1)[0], count=0)
