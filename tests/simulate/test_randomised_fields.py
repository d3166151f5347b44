"""Randomised fields: pure, with the truth where the pixels are; and plain ones stay what they were."""

import dataclasses
import zlib

import numpy as np
import pytest

from hpax import atlas
from hpax.simulate import (
    ALL_CELL_LINES,
    CELL_LINES,
    Optics,
    Protein,
    field,
    layout,
    proteome,
    randomised,
    ranges,
    variants,
)
from hpax.simulate.proteome import Style
from hpax.simulate.streams import stream

PROTEINS = proteome(proteins=19, seed=0, balanced=True, multilocalised=0.3)
GOLDEN = [4285475799, 2372954240, 4009365597]
TABLES = (ranges.Staining, ranges.Shape, ranges.Culture, ranges.Markers, ranges.Microscope)
NUCLEAR, CYTOPLASMIC = (0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 13, 14, 15, 17)  # a centrosome may lie over the nucleus
KINDS = [(location, kind) for location, kinds in enumerate(variants.KINDS) for kind in kinds]


def small(protein, line="HeLa", index=0, seed=1, realism="randomised", **options):
    return field(protein, line, index, seed=seed, size=160, realism=realism, **options)


def checksum(made) -> int:
    return zlib.crc32(b"".join(part.tobytes() for part in (made.image, made.cells, made.nuclei, made.cell_labels)))


@pytest.fixture(scope="module")
def cell():
    """A whole interphase cell."""
    canvas, line = layout.Canvas(320, 0.32), CELL_LINES["HeLa"]
    outlines = layout.place(stream("cell"), canvas, line, mitosis=False)
    made = layout.cells(outlines, layout.territories(outlines, canvas), canvas, line, "cell")
    return max((one for one in made if not one.mitotic), key=lambda one: one.inside.sum())


def test_plain_fields_are_those_of_the_first_release():
    """If they change on purpose, atlases of another version differ: raise the data set's VERSION, then these."""
    assert [checksum(field(PROTEINS[number], "HeLa", 0, seed=1, size=160)) for number in (0, 7, 14)] == GOLDEN
    assert checksum(small(PROTEINS[7], realism="plain")) == GOLDEN[1]


def test_a_randomised_field_is_a_pure_function_of_its_arguments():
    there = [checksum(small(protein)) for protein in PROTEINS[6:9]]
    assert there[::-1] == [checksum(small(protein)) for protein in PROTEINS[8:5:-1]]
    others = [small(PROTEINS[6], "SiHa"), small(PROTEINS[6], index=1), small(PROTEINS[6], seed=2)]
    assert len({*there, *map(checksum, others), checksum(small(PROTEINS[6], realism="plain"))}) == 7


def test_truth_keeps_its_shape_whatever_is_drawn():
    for number, line in enumerate(sorted(ALL_CELL_LINES)):
        made = small(PROTEINS[number], line)
        assert made.image.dtype == np.uint8
        assert made.cells.max() == made.nuclei.max() == len(made.cell_labels) == len(made.mitotic)
        assert made.labels.any()
        assert not (made.cell_labels[:, atlas.NEGATIVE] & made.cell_labels[:, : atlas.NEGATIVE].any(1)).any()


def test_the_antibody_keeps_its_look_and_the_microscope_changes():
    protein = Protein("steady", 5, (14,), ("a", "b"))
    first, second = (randomised.look(protein, "a", 1, index) for index in (0, 1))
    assert first.staining == second.staining
    assert first.shown == second.shown
    assert first.microscope != second.microscope
    assert randomised.look(protein, "b", 1, 0).staining != first.staining


def test_a_randomised_field_refuses_another_microscope():
    with pytest.raises(ValueError, match="leave optics out"):
        small(PROTEINS[0], optics=Optics(defocus=1.0))


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_drawn_by_itself(table):
    rows = [dataclasses.asdict(ranges.drawn(table, "rows", seed)) for seed in range(40)]
    values = np.array([list(row.values()) for row in rows])
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values.std(0) > 0).all()
    assert ranges.drawn(table, "rows", 3) == table(**rows[3])


def test_distributions_keep_their_bounds():
    draw = np.random.default_rng(0)
    even = [ranges.uniform(2, 3)(draw) for _ in range(300)]
    wide = [ranges.log_uniform(0.01, 1)(draw) for _ in range(300)]
    rare = [ranges.sometimes(0.25, ranges.uniform(1, 2))(draw) for _ in range(1000)]
    around = np.log([ranges.factor(0.3)(draw) for _ in range(1000)])
    assert 2 <= min(even) < max(even) <= 3
    assert 0.01 <= min(wide) < max(wide) <= 1
    assert np.median(wide) == pytest.approx(0.1, rel=0.4)
    assert np.mean(np.array(rare) > 0) == pytest.approx(0.25, abs=0.05)
    assert around.std() == pytest.approx(0.3, rel=0.1)
    assert np.abs(around).max() <= 0.9 + 1e-9


@pytest.mark.parametrize(("location", "kind"), KINDS, ids=lambda value: getattr(value, "__name__", value))
def test_every_kind_lies_where_its_location_does(cell, location, kind):
    image = np.maximum(kind(cell, Style(contrast=0.4, spread=0.4)), 0)
    assert image.shape == cell.inside.shape
    assert np.isfinite(image).all()
    assert not image[~cell.inside].any()
    if location == atlas.NEGATIVE:
        assert not image.any()
        return
    assert image.max() > 0.02
    within = image[cell.nucleus].sum() / image.sum()
    if location in NUCLEAR:
        assert within > 0.6
    if location in CYTOPLASMIC:
        assert within < 0.45


def test_a_nucleus_shows_a_share_of_the_cytoplasm_around_it_and_nothing_else_moves(cell):
    plane = np.where(cell.cytoplasm, 2.0, 0.0)
    seen = randomised._overlaid(cell, plane, 0.5)
    assert (seen[~cell.nucleus] == plane[~cell.nucleus]).all()
    middle = cell.envelope < -0.5
    np.testing.assert_allclose(seen[middle], 1.0)
    assert (randomised._overlaid(cell, plane, 0.0) == plane).all()


def test_every_antibody_stains_cytosol_and_nucleus_a_little(cell):
    for seed in range(20):
        staining = dataclasses.replace(ranges.drawn(ranges.Staining, "some", seed), puncta=0.0)
        light = randomised._unspecific(cell, staining)
        assert light[cell.nucleus].mean() > 0.005
        assert light[cell.cytoplasm].mean() > 0.005
        assert not light[~cell.inside].any()


def test_the_protein_on_microtubules_shows_the_stained_ones(cell):
    stain = variants.microtubule_network(cell, 0.13)
    protein = variants.stained_microtubules(cell, Style(contrast=0))
    there = cell.cytoplasm
    assert np.corrcoef(stain[there], protein[there])[0, 1] > 0.9


def test_wide_blur_keeps_light_in_place():
    plane = np.zeros((90, 70))
    plane[40, 30] = 100
    wide = randomised.spread_widely(plane, 8.0)
    rows, columns = np.indices(plane.shape)
    assert wide.shape == plane.shape  # and within half a step of the coarse grid
    assert wide.sum() == pytest.approx(100, rel=0.05)
    assert (rows * wide).sum() / wide.sum() == pytest.approx(40, abs=3)
    assert (columns * wide).sum() / wide.sum() == pytest.approx(30, abs=3)


def test_compression_loses_more_in_coarser_steps():
    plane = np.random.default_rng(0).uniform(0, 255, (40, 43))
    fine, coarse = (np.abs(randomised.compressed(plane, step) - plane) for step in (1.0, 60.0))
    assert fine.max() < 4
    assert coarse.mean() > 3 * fine.mean()
    assert not coarse[:, 40:].any()
    flat = np.full((16, 16), 80.0)
    np.testing.assert_allclose(randomised.compressed(flat, 60.0), flat)
