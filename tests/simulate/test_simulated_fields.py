"""Fields: the same bytes everywhere, sound masks, honest labels."""

import dataclasses
import functools
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from scipy import ndimage

from hpax import atlas
from hpax.simulate import CELL_LINES, Protein, field, layout, proteome
from hpax.simulate.fields import annotate
from hpax.simulate.streams import stream

LINES = sorted(CELL_LINES)
PROTEINS = proteome(proteins=19, seed=0, balanced=True, multilocalised=0.3)


@pytest.fixture(scope="module")
def fields():
    return [field(PROTEINS[2 * i], line, i, seed=1) for i, line in enumerate(LINES)]


def checksum(made) -> int:
    return zlib.crc32(
        b"".join(a.tobytes() for a in (made.image, made.cells, made.nuclei, made.cell_labels, made.labels))
    )


def small(protein, line="HeLa", index=0, seed=1, **options):
    return field(protein, line, index, seed=seed, size=160, **options)


def test_a_field_is_the_same_in_any_order():
    asked = [(p, line, i) for p in PROTEINS[:2] for line in LINES[:2] for i in (0, 1)]
    there = [checksum(small(*request)) for request in asked]
    assert there[::-1] == [checksum(small(*request)) for request in asked[::-1]]
    assert len(set(there)) == len(asked)


@pytest.mark.parametrize("plain_arithmetic", [False, True], ids=["same machine", "machine without vector units"])
def test_a_field_is_the_same_in_another_process(plain_arithmetic):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_simulated_fields import PROTEINS, checksum, small\n"
        "print(*(checksum(small(p)) for p in (PROTEINS[7], PROTEINS[14])))"
    )
    environment = dict(os.environ, PYTHONHASHSEED="77")
    if plain_arithmetic:
        vector_units = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
        environment["NPY_DISABLE_CPU_FEATURES"] = " ".join(vector_units)
    command = [sys.executable, "-c", program, os.path.dirname(__file__)]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert [int(number) for number in printed] == [checksum(small(p)) for p in (PROTEINS[7], PROTEINS[14])]


def test_every_argument_changes_the_field():
    first = checksum(small(PROTEINS[0]))
    others = [small(PROTEINS[1]), small(PROTEINS[0], "A549"), small(PROTEINS[0], index=1), small(PROTEINS[0], seed=2)]
    assert len({first, *map(checksum, others)}) == 5


def test_the_looks_of_a_protein_do_not_depend_on_the_seed_of_the_field():
    ring = next(p for p in PROTEINS if p.locations == (1,))
    assert ring.style(1) == ring.style(1)
    another = dataclasses.replace(ring, seed=ring.seed + 1)
    assert another.style(1) != ring.style(1)


def test_shapes_types_and_names(fields):
    for made, line in zip(fields, LINES, strict=True):
        assert made.image.shape == (512, 512, 4)
        assert made.image.dtype == made.cell_labels.dtype == made.labels.dtype == np.uint8
        assert made.cells.dtype == made.nuclei.dtype == np.uint16
        assert made.cell_line == line
        assert len({made.id for made in fields}) == len(fields)


@functools.cache
def scattered(line, count=12, size=512):
    """For each of some fields: which of its cells' nuclei reach into it, and which cells divide."""
    canvas = layout.Canvas(size, 0.32)
    found = []
    for index in range(count):
        outlines = layout.place(stream(7, line, index), canvas, CELL_LINES[line], mitosis=False)
        reach = [canvas.beyond(o.centre) < o.nucleus.max() for o in outlines]
        found.append((np.array(reach), np.array([o.mitotic for o in outlines])))
    return found


def test_fields_hold_5_to_40_cells_and_more_in_denser_lines():
    counts = {line: [reach.sum() for reach, _ in scattered(line)] for line in LINES}
    assert all(5 <= count <= 40 for row in counts.values() for count in row)
    assert np.mean(counts["HEK 293"]) > 1.5 * np.mean(counts["U-2 OS"])


def test_a_small_field_holds_its_share():
    assert all(1 <= reach.sum() <= 10 for reach, _ in scattered("HeLa", size=256))


def test_microtubules_of_a_dividing_cell_are_a_spindle():
    made = field(Protein("tubulin", 3, (10, 11), ("a",)), "A-431", 0, seed=2, size=256)
    assert (made.cell_labels[made.mitotic] == atlas.multi_hot([11])).all()
    assert (made.cell_labels[~made.mitotic] == atlas.multi_hot([10])).all()
    assert np.flatnonzero(made.labels).tolist() == [10, 11]


def test_about_two_percent_of_the_cells_divide():
    divide = np.concatenate([mitotic for line in LINES for _, mitotic in scattered(line)])
    assert 0.01 < divide.mean() < 0.03


def test_full_fields_hold_5_to_40_cells(fields):
    assert all(5 <= len(made.cell_labels) <= 40 for made in fields)


def test_every_cell_is_one_piece_around_one_nucleus_of_its_own(fields):
    for made in fields:
        numbers = np.arange(1, len(made.cell_labels) + 1)
        assert np.array_equal(np.unique(made.cells), [0, *numbers])
        assert np.array_equal(np.unique(made.nuclei), [0, *numbers])
        assert np.array_equal(made.cells[made.nuclei > 0], made.nuclei[made.nuclei > 0])
        for number in numbers:
            assert ndimage.label(made.cells == number)[1] == 1
            assert ndimage.label(made.nuclei == number, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize("line", LINES)
def test_territories_hold_their_nuclei_in_one_piece(line):
    canvas = layout.Canvas(512, 0.32)
    outlines = layout.place(stream(8, line), canvas, CELL_LINES[line], mitosis=True)
    owner = layout.territories(outlines, canvas)
    turn = np.exp(2j * np.pi * np.arange(layout.ANGLES) / layout.ANGLES)
    for number, outline in enumerate(outlines, 1):
        within = (outline.centre + 0.9 * outline.nucleus * turn) / canvas.um_per_pixel
        rows, columns = within.imag.astype(int), within.real.astype(int)
        there = (rows >= 0) & (columns >= 0) & (rows < canvas.shape[0]) & (columns < canvas.shape[1])
        assert (owner[rows[there], columns[there]] == number).all()
        assert ndimage.label(owner == number)[1] == 1


def test_cells_touch_and_are_cut_by_the_border(fields):
    for made in fields:
        beside = (made.cells[:, 1:] != made.cells[:, :-1]) & (made.cells[:, 1:] > 0) & (made.cells[:, :-1] > 0)
        assert beside.any()
        edge = np.concatenate([made.cells[0], made.cells[-1], made.cells[:, 0], made.cells[:, -1]])
        assert edge.any()


def test_the_stains_fill_what_the_masks_say(fields):
    for made in fields:
        _, nucleus, microtubules, er = np.moveaxis(made.image.astype(float), -1, 0)
        inside, cytoplasm = made.nuclei > 0, (made.cells > 0) & (made.nuclei == 0)
        assert nucleus[inside].mean() > 12 * nucleus[made.cells == 0].mean()
        for stain in (microtubules, er):
            assert stain[cytoplasm].mean() > 1.5 * stain[inside].mean()
            assert stain[cytoplasm].mean() > 4 * stain[made.cells == 0].mean()


def test_the_same_cells_at_another_pixel_size():
    coarse, fine = (
        field(PROTEINS[0], "A549", 0, seed=1, size=s, um_per_pixel=u) for s, u in ((160, 0.32), (320, 0.16))
    )
    assert len(coarse.cell_labels) == len(fine.cell_labels)
    agree = fine.cells[::2, ::2] == coarse.cells
    assert agree.mean() > 0.97


def test_cells_of_a_steady_protein_show_all_its_locations():
    protein = Protein("steady", 5, (14, 0), ("a",), variation=0.0)
    made = field(protein, "U-2 OS", 0, seed=3)
    interphase = made.cell_labels[~made.mitotic]
    assert (interphase == atlas.multi_hot((14, 0))).all()
    assert np.flatnonzero(made.labels).tolist() == [0, 14]


def test_a_varying_protein_shows_only_a_part_in_each_cell_and_the_truth_follows_the_pixels():
    protein = Protein("varying", 6, (0, 13), ("a",), variation=0.4)
    made = [field(protein, "A-431", i, seed=3) for i in range(3)]
    rates = np.concatenate([f.cell_labels[~f.mitotic] for f in made]).mean(0)
    assert rates[[0, 13]] == pytest.approx([0.6, 0.6], abs=0.17)
    assert rates[atlas.NEGATIVE] == pytest.approx(0.16, abs=0.1)
    for f in made:
        assert np.flatnonzero(f.labels).tolist() == [0, 13]
        numbers = np.arange(1, len(f.cell_labels) + 1)
        in_nucleus = ndimage.mean(f.image[..., 0], f.nuclei, numbers)
        lit = f.cell_labels[:, 0] == 1
        assert np.median(in_nucleus[lit]) > 4 * np.median(in_nucleus[~lit & ~f.mitotic])


def test_negative_stands_alone(fields):
    for made in fields:
        for labels in (made.labels, *made.cell_labels):
            assert labels.any()
            assert not (labels[atlas.NEGATIVE] and labels[:-1].any())


def test_fields_of_a_spindle_protein_hold_a_spindle_and_only_dividing_cells_show_it():
    protein = Protein("spindle", 8, (11,), ("a",), variation=0.4)
    for index in range(3):
        made = field(protein, LINES[index], index, seed=2)
        shows = made.cell_labels[:, 11] == 1
        assert shows.any()
        assert np.array_equal(shows, made.mitotic)
        areas = ndimage.sum_labels(made.nuclei > 0, made.nuclei, 1 + np.flatnonzero(shows)) * made.um_per_pixel**2
        assert (areas < 60).all()  # condensed
        assert (made.cell_labels[~shows, atlas.NEGATIVE] == 1).all()
        assert np.flatnonzero(made.labels).tolist() == [11]


def test_without_an_envelope_the_nucleoplasm_spreads_in_a_dividing_cell(fields):
    shown = np.concatenate([f.cell_labels[f.mitotic] for f in fields if np.array_equal(f.labels, atlas.multi_hot([0]))])
    assert (shown == atlas.multi_hot([16])).all()


def test_an_annotator_names_what_enough_cells_show():
    cells = np.zeros((21, 19), np.uint8)
    cells[:20, 0], cells[0, 13], cells[:3, 7], cells[20, [11, 16]] = 1, 1, 1, 1
    dividing = np.arange(21) == 20
    assert np.flatnonzero(annotate(cells, dividing, (0, 7, 13))).tolist() == [0, 7]
    assert np.flatnonzero(annotate(cells, dividing, (0, 11))).tolist() == [0, 11]
    assert np.flatnonzero(annotate(cells, dividing, (2,))).tolist() == [atlas.NEGATIVE]


def test_antibodies_take_turns():
    protein = Protein("two", 0, (16,), ("first", "second"))
    assert [small(protein, index=i).antibody for i in range(3)] == ["first", "second", "first"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("HeLa S3", 0), {}, r"cell line 'HeLa S3' is not simulated; choose one of \['A-431'"),
        (
            ("HeLa", 0),
            {"size": 20},
            "16 to 400 µm wide, got 20 pixels of 0.32 µm = 6.4 µm; use .* between 50 and",
        ),
        (("HeLa", 0), {"um_per_pixel": 5.0}, r"um_per_pixel must be in \[0.04, 1.0\], got 5.0"),
        (("HeLa", 0), {"um_per_pixel": float("nan")}, "um_per_pixel must be in"),
        (("HeLa", -1), {}, "must not be negative, got -1"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        field(PROTEINS[0], *arguments, **({"seed": 0} | options))
