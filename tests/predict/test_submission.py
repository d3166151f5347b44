"""What is written is read back: the competition's CSV by its own reader and scorer, the table by anndata."""

import dataclasses
import types

import anndata
import numpy as np
import pytest

from hpax import atlas, simulate
from hpax.fields import Masks
from hpax.formats import kaggle, label_images
from hpax.metrics import counting, detection
from hpax.predict import submission
from hpax.recipes import weak_report


def fields(count=3):
    """Masks with gaps in their indices, and a truth of one or two classes for each cell; the second has no cell."""
    rng = np.random.default_rng(0)
    for number in range(count):
        cells = np.zeros((24 + 8 * number, 40), np.uint16)
        truth = []
        for index in range(0 if number == 1 else 4):
            top, left = 2 + 11 * (index // 2), 3 + 20 * (index % 2)
            cells[top : top + 9, left : left + 8 + index] = 3 * index + 2
            truth.append(atlas.multi_hot(rng.choice(18, 2)))
        nuclei = np.where(np.roll(cells, (2, 2), (0, 1)) == cells, cells, 0).astype(np.uint16)
        yield f"field_{number}", Masks(cells, nuclei), np.array(truth).reshape(-1, 19)


def only_true(listing):
    keep = listing.score == 1
    return dataclasses.replace(listing, **{name: getattr(listing, name)[keep] for name in ("label", "score", "mask")})


def write(folder, predicted, **options):
    """Writes (id, masks, probabilities) one by one."""
    with submission.writer(folder) as cells:
        for id, masks, probabilities in predicted:
            cells.add(id, masks, probabilities, **({"um_per_pixel": 0.3} | options))


def test_the_truth_as_probabilities_scores_1(tmp_path):
    write(tmp_path, ((id, masks, 0.05 + 0.9 * truth) for id, masks, truth in fields()))
    listings = (submission.listing(id, masks.cells, truth * 1.0) for id, masks, truth in fields())
    kaggle.write(tmp_path / "truth.csv", map(only_true, listings))
    kaggle.strict(tmp_path / submission.SUBMISSION, truth=tmp_path / "truth.csv")
    found, ids = counting.from_csv(tmp_path / "truth.csv", tmp_path / submission.SUBMISSION)
    scores = detection.score(found)
    assert scores.mean("present") == 1
    assert (scores.images, scores.true_cells, scores.predicted_cells, ids[1]) == (3, 8, 8, "field_1")


def test_masks_and_scores_come_back_bit_by_bit(tmp_path):
    rng = np.random.default_rng(1)
    given = {id: (masks, rng.random((len(truth), 19))) for id, masks, truth in fields()}
    write(tmp_path, ((id, *rest) for id, rest in given.items()))
    for listing in kaggle.strict(tmp_path / submission.SUBMISSION):
        masks, probabilities = given[listing.id]
        drawn, scores = label_images.unlisting(listing)
        np.testing.assert_array_equal(np.append(0, np.unique(masks.cells)[1:])[drawn], masks.cells)
        np.testing.assert_array_equal(scores, probabilities)


def test_the_table_knows_every_cell(tmp_path):
    rng = np.random.default_rng(2)
    given = {id: (masks, rng.random((len(truth), 19))) for id, masks, truth in fields()}
    with submission.writer(tmp_path) as cells:
        for id, (masks, probabilities) in given.items():
            cells.add(id, masks, probabilities, um_per_pixel=0.5, obs={"protein": id.upper()})
    table = anndata.read_h5ad(tmp_path / submission.TABLE)
    assert list(table.uns["locations"]) == list(atlas.LOCATIONS)
    assert table.obs_names[4] == "field_2_2"
    assert table.obs["cell"].tolist() == [2, 5, 8, 11] * 2
    assert set(table.obs["protein"]) == {"FIELD_0", "FIELD_2"}
    targets = submission.by_field(table)
    shuffled = submission.by_field(table[np.random.default_rng(3).permutation(8)])
    for id, (masks, probabilities) in given.items():
        rows = table.obs[table.obs["field"] == id]
        best = np.array(atlas.LOCATIONS)[probabilities.argmax(1)] if len(probabilities) else []
        assert rows["label"].tolist() == list(best)
        for index, area, y, x in rows[["cell", "area_um2", "y_um", "x_um"]].itertuples(index=False):
            inside = np.argwhere(masks.cells == index)
            np.testing.assert_allclose([area, y, x], [0.25 * len(inside), *0.5 * inside.mean(0)], rtol=1e-5)
        if len(probabilities):
            np.testing.assert_allclose(targets[id], probabilities, rtol=1e-6)
            np.testing.assert_array_equal(shuffled[id], targets[id])


def test_fields_without_cells_give_an_empty_table(tmp_path):
    empty = np.zeros((8, 8), np.uint16)
    write(tmp_path, [("dark", Masks(empty, empty), np.zeros((0, 19)))])
    assert len(anndata.read_h5ad(tmp_path / submission.TABLE)) == 0
    assert len(kaggle.strict(tmp_path / submission.SUBMISSION)) == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: p[:-1], "row of probabilities per cell"),
        (lambda p: p * 2, "within 0 and 1"),
        (lambda p: p * np.nan, "look for NaN"),
    ],
)
def test_what_cannot_be_listed_leaves_nothing_behind(change, match, tmp_path):
    (tmp_path / submission.SUBMISSION).write_text("older")
    first, empty, (id, masks, truth) = fields()
    bad = change(np.where(truth, 0.9, 0.6))
    with pytest.raises(ValueError, match=match):
        write(tmp_path, [(*first[:2], first[2] * 1.0), (*empty[:2], empty[2] * 1.0), (id, masks, bad)])
    assert [path.name for path in tmp_path.iterdir()] == [submission.SUBMISSION]
    assert (tmp_path / submission.SUBMISSION).read_text() == "older"


def test_the_same_field_twice_is_refused(tmp_path):
    id, masks, truth = next(fields())
    with pytest.raises(ValueError, match="IDs must be unique"):
        write(tmp_path, [(id, masks, truth * 1.0)] * 2)


def test_ids_are_those_that_can_be_read_again(tmp_path):
    _, masks, truth = next(fields())
    write(tmp_path, [("my red cell 日本", masks, truth * 1.0)])
    assert list(kaggle.strict(tmp_path / submission.SUBMISSION).entries) == ["my red cell 日本"]
    for id in ("a,b", 'a"b', "a\u200bb", "a\nb", "a" * 257, ""):
        with pytest.raises(ValueError, match="IDs must be 1 to 256 printable characters without commas and quotes"):
            kaggle.check_id(id)


@pytest.mark.usefixtures("untyped")
def test_a_study_leaves_an_id_that_no_submission_may_have_out_and_tells(tmp_path, caplog):
    _, masks, truth = next(fields())
    one = types.SimpleNamespace(id="one", found=masks, um_per_pixel=0.3, origin={})
    other = types.SimpleNamespace(**{**vars(one), "id": "an,other"})
    weak_report.submit([one, other], [truth * 1.0, truth * 1.0], tmp_path)
    assert list(kaggle.strict(tmp_path / submission.SUBMISSION).entries) == ["one"]
    assert "field an,other is left out of" in caplog.text


def test_simulated_fields_score_1_with_their_own_truth(tmp_path):
    protein = simulate.proteome(proteins=4, seed=0)[0]
    field = simulate.field(protein, sorted(simulate.CELL_LINES)[0], 0, seed=0, size=192)
    masks = Masks(field.cells, field.nuclei)
    write(tmp_path, [("simulated", masks, field.cell_labels * 1.0)], um_per_pixel=field.um_per_pixel)
    listing = next(iter(kaggle.strict(tmp_path / submission.SUBMISSION)))
    drawn, scores = label_images.unlisting(listing)
    found = counting.from_label_images(0, drawn, scores, field.cells, field.cell_labels)
    assert detection.score(found).mean("present") == 1


def test_what_the_table_cannot_hold_leaves_nothing_behind(tmp_path):
    id, masks, truth = next(fields())
    with pytest.raises(TypeError, match="non-string"):
        write(tmp_path, [(id, masks, truth * 1.0)], obs={"protein": object()})
    assert not list(tmp_path.iterdir())
