"""Cells are handed out as asked, tables come back as filled in, and known error rates are found again."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from hpax import atlas, simulate
from hpax.analysis import annotation


def test_everyone_sees_the_shared_tenth_and_a_part_of_the_others():
    parts = annotation.draw(200, 3, seed=4)
    shared = set.intersection(*(set(part.tolist()) for part in parts))
    assert len(shared) == 20
    assert set().union(*parts) == set(range(200))
    assert sum(map(len, parts)) == 180 + 3 * 20
    assert all(len(set(part.tolist())) == len(part) for part in parts)
    assert all((np.diff(part) < 0).any() for part in parts)  # not in the atlas's order
    np.testing.assert_array_equal(parts[0], annotation.draw(200, 3, seed=4)[0])
    with pytest.raises(ValueError, match="overlap in"):
        annotation.draw(10, 2, overlap=1.5)


def test_a_box_has_the_padding_and_stays_in_the_field():
    cells = np.zeros((200, 300), np.uint16)
    cells[100:110, 20:40] = 7
    assert annotation.box(cells, 7) == (slice(50, 160), slice(0, 90))
    with pytest.raises(ValueError, match="must hold cell 3"):
        annotation.box(cells, 3)


@pytest.fixture(scope="module")
def field():
    return simulate.field(simulate.proteome(proteins=1, seed=3)[0], "U-2 OS", 0, seed=3, size=200, um_per_pixel=0.64)


def test_tables_go_out_empty_and_come_back(field, tmp_path):
    cells = [(field.id, int(index)) for index in field.found.indices]
    tables = annotation.export(tmp_path, {field.id: field}, cells, ["ada", "bo"], overlap=1, padding=5)
    assert annotation.read(tables[0]) == ([], pytest.approx(np.zeros((0, 19))))
    table = pd.read_csv(tables[0], dtype=str)
    assert len(table) == len(cells)
    assert field.protein not in tables[0].read_text()
    table.loc[0, "Cytosol"] = "1"
    table.loc[1, "Nucleoli"] = "0"
    table.to_csv(tables[0], index=False)
    names, labels = annotation.read(tables[0])
    assert names == table["cell"][:2].tolist()
    assert labels.tolist() == [atlas.multi_hot([16]).tolist(), [0] * 19]
    known = pd.read_csv(tmp_path / "cells.csv", index_col="cell")
    picture = np.asarray(Image.open(tmp_path / "ada" / "pictures" / f"{names[0]}.png"))
    rows, columns = annotation.box(field.found.cells, int(known.loc[names[0], "index"]), padding=5)
    assert picture.shape == (rows.stop - rows.start, columns.stop - columns.start, 3)


def test_damaged_tables_are_named(tmp_path):
    table = pd.DataFrame({"cell": ["a", "a"]}).assign(**dict.fromkeys(atlas.LOCATIONS, "1"))
    for change, told in ((table, "comes again"), (table.drop(columns="Cytosol"), "'Cytosol' is missing")):
        change.to_csv(tmp_path / "tasks.csv", index=False)
        with pytest.raises(ValueError, match=told):
            annotation.read(tmp_path / "tasks.csv")
    table.assign(Cytosol="yes").to_csv(tmp_path / "tasks.csv", index=False)
    with pytest.raises(ValueError, match="0, 1 or empty, got 'yes'"):
        annotation.read(tmp_path / "tasks.csv")
    with pytest.raises(ValueError, match="these share none"):
        annotation.agreement((["a"], np.zeros((1, 19), np.uint8)), (["b"], np.zeros((1, 19), np.uint8)))


def annotator(truth, missed, false, random):
    chance = np.where(truth, 1 - missed, false)
    return (random.uniform(size=truth.shape) < chance).astype(np.uint8)


def test_two_annotators_of_known_error_rates_are_found_out():
    random = np.random.default_rng(0)
    truth = (random.uniform(size=(6000, 19)) < 0.3).astype(np.uint8)
    rates = ((0.1, 0.02), (0.25, 0.05))
    said = [annotator(truth, *rate, random) for rate in rates]
    for own, (missed, false) in zip(said, rates, strict=True):
        found = annotation.error_rates(truth, own)
        np.testing.assert_allclose(found["missed"], missed, atol=0.04)
        np.testing.assert_allclose(found["false"], false, atol=0.015)
    names = [f"c{n}" for n in range(6000)]
    order = random.permutation(6000)
    table = annotation.agreement((names, said[0]), ([names[n] for n in order], said[1][order]))
    (m1, f1), (m2, f2) = rates
    expected = 0.3 * ((1 - m1) * (1 - m2) + m1 * m2) + 0.7 * (f1 * f2 + (1 - f1) * (1 - f2))
    assert table.loc["any class", "agreement"] == pytest.approx(expected, abs=0.005)
    assert table.loc["Golgi apparatus", "kappa"] == pytest.approx(cohen_kappa_score(said[0][:, 7], said[1][:, 7]))
    assert (table["cells"] == 6000).all()
