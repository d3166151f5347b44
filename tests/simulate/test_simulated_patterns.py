"""Each of the 19 patterns is where its name says, and can be told from the others."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpax import atlas
from hpax.simulate import CELL_LINES, Optics, Style, field, layout, patterns, proteome

LOCATIONS = range(len(atlas.LOCATIONS))
CLEAR = Optics(
    photons=(400.0, 100.0, 100.0, 100.0), background=0, read_noise=0, offset=0, antibody_spread=0, field_spread=0
)
UM = 0.32
REPLICATES = 3


def measure(picture, cell, nucleus) -> dict[str, float]:
    """Where the protein of one cell lies, and how it is spread."""
    protein, _, microtubules, er = np.moveaxis(picture.astype(float), -1, 0)
    depth = ndimage.distance_transform_edt(np.pad(cell, 1))[1:-1, 1:-1] * UM
    envelope = (ndimage.distance_transform_edt(~nucleus) - ndimage.distance_transform_edt(nucleus)) * UM
    inside = np.where(cell, protein, 0)
    total = max(inside.sum(), 1)
    excess = np.maximum(inside - 2 * np.median(inside[cell]), 0)
    softened = ndimage.gaussian_filter(inside, 0.7)
    peak = np.unravel_index(np.argmax(softened), cell.shape)
    rows, columns = np.indices(cell.shape)
    around_peak = np.hypot(rows - peak[0], columns - peak[1]) * UM < 3
    bright = (softened > 0.5 * softened.max()) & cell
    pieces, count = ndimage.label(bright)
    largest = np.bincount(pieces.ravel())[1:].max(initial=0)
    cytoplasm = cell & ~nucleus
    smooth = ndimage.gaussian_filter(inside, 1.5)
    return {
        "total": np.log(total / cell.sum() + 0.1),
        "in nucleus": inside[nucleus].sum() / total,
        "on envelope": inside[np.abs(envelope) < 0.8].sum() / total,
        "on edge": inside[cell & (depth < 1.0)].sum() / total,
        "at peak": excess[around_peak].sum() / max(excess.sum(), 1),
        "bright area": np.log(bright.sum() * UM**2 + 0.1),
        "pieces": np.log(count + 1),
        "largest piece": largest / max(bright.sum(), 1),
        "peak from envelope": envelope[peak],
        "rough": np.log((inside - smooth)[cell].std() / max(inside[cell].mean(), 1) + 0.01),
        "uneven": np.log(smooth[cell].std() / max(smooth[cell].mean(), 1) + 0.01),
        "uneven in nucleus": np.log(softened[nucleus].std() / max(softened[nucleus].mean(), 1) + 0.01),
        "with microtubules": correlation(protein, microtubules, cytoplasm),
        "with er": correlation(protein, er, cytoplasm),
        "with dna": correlation(protein, picture[..., 1].astype(float), nucleus),
        "off-nucleus radius": (inside * np.maximum(envelope, 0)).sum() / total,
    }


def correlation(a, b, where) -> float:
    a, b = a[where], b[where]
    return 0.0 if a.std() == 0 or b.std() == 0 else float(np.corrcoef(a, b)[0, 1])


def cells_of(protein, line, index, optics):
    """Measurements of every cell that shows the protein's location (dividing ones for the spindle, else not)."""
    made = field(protein, line, index, seed=1, size=320, optics=optics)
    chosen = made.mitotic == (protein.locations[0] == 11)
    found = []
    for row in np.flatnonzero(chosen):
        window = ndimage.find_objects(made.cells)[row]
        cell, nucleus = made.cells[window] == row + 1, made.nuclei[window] == row + 1
        cut = min(s.start for s in window) == 0 or max(s.stop for s in window) == made.cells.shape[0]
        if not cut and nucleus.sum() * UM**2 > 10:
            found.append(measure(made.image[window], cell, nucleus))
    return found


def table(optics):
    proteins = proteome(proteins=19 * REPLICATES, seed=2, balanced=True, multilocalised=0, varying=0)
    lines = ("A-431", "U-2 OS", "HeLa")
    return [(p.locations[0], p.index, cells_of(p, lines[p.index // 19], 0, optics)) for p in proteins]


@pytest.fixture(scope="module")
def medians():
    """Location → measurement → its median over cells of three proteins in three lines, with clear optics."""
    rows = table(CLEAR)
    cells = {c: [cell for location, _, found in rows if location == c for cell in found] for c in LOCATIONS}
    return {c: {name: float(np.median([cell[name] for cell in cells[c]])) for name in cells[c][0]} for c in LOCATIONS}


def ranked(medians, name):
    """Locations that have a signal at all, by falling median of a measurement."""
    return sorted((c for c in LOCATIONS if c != atlas.NEGATIVE), key=lambda c: -medians[c][name])


@pytest.mark.parametrize("location", [0, 2, 3, 4, 5])
def test_nuclear_patterns_lie_in_the_nucleus(medians, location):
    assert medians[location]["in nucleus"] > 0.85


@pytest.mark.parametrize("location", [6, 7, 8, 10, 12, 13, 14, 15, 16, 17])
def test_cytoplasmic_patterns_spare_the_nucleus(medians, location):
    assert medians[location]["in nucleus"] < 0.25


def test_the_nuclear_membrane_is_the_one_on_the_envelope(medians):
    assert ranked(medians, "on envelope")[0] == 1
    assert medians[1]["on envelope"] > 0.5


def test_the_plasma_membrane_is_the_one_on_the_edge(medians):
    assert ranked(medians, "on edge")[0] == 13
    assert medians[13]["on edge"] > 1.5 * medians[16]["on edge"]


def test_nucleoli_are_larger_and_fewer_than_speckles_and_darker_in_dna(medians):
    assert medians[2]["with dna"] < -0.2 < medians[0]["with dna"]
    assert medians[2]["pieces"] < medians[4]["pieces"]
    assert medians[3]["bright area"] < medians[2]["bright area"]


def test_bodies_are_small_and_nucleoplasm_is_even(medians):
    assert medians[5]["bright area"] < medians[0]["bright area"] - 1
    assert medians[0]["uneven in nucleus"] < min(medians[c]["uneven in nucleus"] for c in (2, 3, 4, 5))


@pytest.mark.parametrize("location", [12, 15])
def test_centrosome_and_aggresome_are_one_place_beside_the_nucleus(medians, location):
    found = medians[location]
    assert found["at peak"] > 0.4
    assert 0 < found["peak from envelope"] < 5
    assert found["largest piece"] > 0.8


def test_the_aggresome_is_larger_than_the_centrosome(medians):
    assert medians[15]["bright area"] > medians[12]["bright area"] + 1


def test_the_golgi_gathers_beside_the_nucleus_but_less_than_the_aggresome(medians):
    assert medians[17]["at peak"] < medians[7]["at peak"] < medians[15]["at peak"]
    assert 0 < medians[7]["peak from envelope"] < 6
    assert medians[7]["bright area"] > medians[12]["bright area"]


def test_microtubules_follow_their_stain_and_the_er_its_own(medians):
    assert next(c for c in ranked(medians, "with microtubules") if c != 11) == 10
    assert medians[10]["with microtubules"] > 0.8
    assert max((c for c in LOCATIONS if c not in (11, 16)), key=lambda c: medians[c]["with er"]) == 6


def test_cytosol_is_the_smoothest_of_the_cytoplasm(medians):
    assert min((6, 7, 8, 9, 10, 12, 14, 16, 17), key=lambda c: medians[c]["rough"]) == 16


def test_vesicles_fall_into_many_pieces_and_filaments_into_fewer(medians):
    assert medians[17]["pieces"] > medians[7]["pieces"]
    assert medians[17]["largest piece"] < medians[8]["largest piece"]


def test_actin_crosses_the_nucleus_and_lines_the_edge(medians):
    assert medians[9]["in nucleus"] > 1.5 * medians[8]["in nucleus"]
    assert medians[9]["on edge"] > medians[8]["on edge"]


def test_negative_is_dark(medians):
    assert max(LOCATIONS, key=lambda c: -medians[c]["total"]) == atlas.NEGATIVE


@pytest.mark.slow
def test_a_simple_classifier_tells_the_classes_of_unseen_proteins_apart():
    """Default optics; each protein is classified by a linear rule learned on the others."""
    rows = table(Optics())
    features = np.array([list(cell.values()) for *_, found in rows for cell in found])
    labels = np.array([location for location, _, found in rows for _ in found])
    replicate = np.array([index // 19 for _, index, found in rows for _ in found])
    predicted = np.empty_like(labels)
    for left_out in range(REPLICATES):
        rule = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
        train = replicate != left_out
        predicted[~train] = rule.fit(features[train], labels[train]).predict(features[~train])
    assert balanced_accuracy_score(labels, predicted) > 0.65  # chance is 1/19


@pytest.fixture(scope="module")
def cell():
    """The geometry of one interphase cell."""
    canvas, line = layout.Canvas(256, UM), CELL_LINES["U-2 OS"]
    outlines = layout.place(np.random.default_rng(0), canvas, line, mitosis=False)
    made = layout.cells(outlines, layout.territories(outlines, canvas), canvas, line, 1, 2, 3)
    return max((c for c in made if not c.mitotic), key=lambda c: c.inside.sum())


@pytest.mark.parametrize(
    ("pattern", "knob"),
    [
        (patterns.vesicles, "number"),
        (patterns.vesicles, "size"),
        (patterns.nuclear_bodies, "number"),
        (patterns.nuclear_bodies, "size"),
        (patterns.nuclear_membrane, "size"),
        (patterns.plasma_membrane, "size"),
        (patterns.mitochondria, "number"),
        (patterns.actin_filaments, "number"),
        (patterns.aggresome, "size"),
        (patterns.centrosome, "size"),
        (patterns.golgi, "spread"),
    ],
)
def test_two_proteins_of_a_class_differ_as_their_styles_say(cell, pattern, knob):
    low, high = (pattern(cell, Style(**{knob: value})) for value in ((0.1, 0.9) if knob == "spread" else (0.6, 1.6)))
    assert (high > 0.3).sum() > 1.2 * (low > 0.3).sum()


@pytest.mark.parametrize("location", LOCATIONS)
def test_patterns_are_finite_bounded_and_within_their_cell(cell, location):
    plane = patterns.PATTERNS[location](cell, Style())
    assert np.isfinite(plane).all()
    assert plane[cell.inside].max() < 3
    assert (plane[~cell.inside] == 0).all()


def test_patterns_stand_in_the_order_of_the_classes():
    names = [name.split(" and ")[0].lower().replace(" ", "_") for name in atlas.LOCATIONS]
    renamed = {"nucleoli_fibrillar_center": "fibrillar_centers", "golgi_apparatus": "golgi"}
    assert [pattern.__name__ for pattern in patterns.PATTERNS] == [renamed.get(name, name) for name in names]
