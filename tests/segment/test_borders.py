import numpy as np
import pandas as pd
import pytest
from skimage import measure

from hpax import simulate
from hpax.segment import borders, masks


def ellipse(shape, centre, radii):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1


def drawn(*places, shape=(200, 300), cell=(30, 20), nucleus=(12, 9)):
    """Cells at (y, x), all alike."""
    cells, nuclei = (np.zeros(shape, np.uint16) for _ in range(2))
    for index, place in enumerate(places, 1):
        cells[ellipse(shape, place, cell)] = index
        nuclei[ellipse(shape, place, nucleus)] = index
    return masks.Masks(cells, nuclei)


@pytest.fixture(scope="module")
def field():
    (protein,) = simulate.proteome(proteins=1, seed=3)
    return simulate.field(protein, "A-431", 0, seed=3, size=400)


def window(field, top, left, height, width):
    part = np.s_[top : top + height, left : left + width]
    return masks.Masks(field.cells[part], field.nuclei[part])


@pytest.mark.parametrize("um_per_pixel", [0.08, 0.32])
def test_areas_and_borders_equal_scikit_image_s(field, um_per_pixel):
    cut = window(field, 30, 50, 300, 250)
    table = borders.cell_properties(cut, um_per_pixel)
    regions = measure.regionprops(cut.cells, spacing=(um_per_pixel, um_per_pixel))
    nuclei = {region.label: region for region in measure.regionprops(cut.nuclei, spacing=(um_per_pixel,) * 2)}
    assert table["index"].tolist() == [region.label for region in regions]
    np.testing.assert_allclose(table["area_um2"], [region.area for region in regions])
    areas = [nuclei[region.label].area if region.label in nuclei else 0 for region in regions]
    np.testing.assert_allclose(table["nucleus_area_um2"], areas)

    def at_edge(region):
        top, left, bottom, right = region.bbox
        return top == 0 or left == 0 or bottom == 300 or right == 250

    assert table["touches_border"].tolist() == [at_edge(region) for region in regions]
    cut_nuclei = [region.label in nuclei and at_edge(nuclei[region.label]) for region in regions]
    assert table["nucleus_cut"].tolist() == cut_nuclei
    inner = [region.area for region in regions if not at_edge(region)]
    np.testing.assert_allclose(table["relative_size"], [region.area / np.median(inner) for region in regions])


def test_shares_are_the_same_at_any_pixel_size(field):
    cut = window(field, 30, 50, 300, 250)
    coarse, fine = borders.cell_properties(cut, 0.32), borders.cell_properties(cut.resized((900, 750)), 0.32 / 3)
    for column in ("touches_border", "nucleus_cut"):
        assert coarse[column].tolist() == fine[column].tolist()
    for column in ("area_um2", "nucleus_area_um2", "relative_size"):
        np.testing.assert_allclose(coarse[column], fine[column])
    np.testing.assert_allclose(coarse["missing"], fine["missing"], atol=0.01)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2])
def test_what_a_symmetric_cell_lacks_is_known(share):
    whole = drawn((100, 150), shape=(220, 300))
    rows = np.cumsum((whole.cells > 0).sum(1)) / (whole.cells > 0).sum()
    top = int(np.searchsorted(rows, share)) + 1 if share else 0
    cut = masks.Masks(whole.cells[top:], whole.nuclei[top:])
    (missing,) = borders.cell_properties(cut, 0.32)["missing"]
    assert missing == pytest.approx(rows[top - 1] if share else 0, abs=0.01)


def test_a_cut_nucleus_is_compared_with_the_field_s():
    table = borders.cell_properties(drawn((60, 60), (100, 150), (0, 100), (199 + 12, 200)), 0.32)
    assert table["missing"][:2].tolist() == [0, 0]
    whole = ellipse((200, 300), (60, 60), (30, 20)).sum()
    seen = ellipse((200, 300), (211, 200), (30, 20)).sum() / whole
    assert table["missing"][2] == pytest.approx(0.5, abs=0.03)
    assert table["missing"][3] == pytest.approx(1 - seen / 2, abs=0.01)  # the nucleus is not there
    assert table["nucleus_cut"].tolist() == [False, False, True, False]


def test_the_guess_is_near_the_truth_on_windows_of_simulated_fields():
    errors, generator = [], np.random.default_rng(0)
    for index, protein in enumerate(simulate.proteome(proteins=3, seed=11)):
        field = simulate.field(protein, ("U-2 OS", "A-431", "HeLa")[index], index, seed=11, size=512)
        whole = np.bincount(field.cells.ravel())
        beyond = np.unique(np.concatenate([*field.cells[[0, -1]], *field.cells[:, [0, -1]].T]))
        for top, left in generator.integers(60, 150, (4, 2)):
            cut = window(field, top, left, 300, 280)
            table = borders.cell_properties(cut, 0.32)
            table = table[table["touches_border"] & ~table["index"].isin(beyond)]
            truth = 1 - np.bincount(cut.cells.ravel(), minlength=len(whole))[table["index"]] / whole[table["index"]]
            errors += (table["missing"] - truth).tolist()
    assert len(errors) > 50
    assert np.abs(errors).mean() < 0.14
    assert abs(np.mean(errors)) < 0.06


def test_numbers_mean_nothing(field):
    cut = window(field, 30, 50, 300, 250)
    count = int(cut.cells.max())
    order = np.append(0, 400 + np.random.default_rng(0).permutation(count)).astype(np.uint16)
    table = borders.cell_properties(cut, 0.32)
    renamed = borders.cell_properties(masks.Masks(order[cut.cells], order[cut.nuclei]), 0.32).set_index("index")
    back = renamed.loc[order[table["index"]]].reset_index(drop=True)
    pd.testing.assert_frame_equal(back, table.drop(columns="index"))


def test_flips_change_nothing_of_a_cell(field):
    cut = window(field, 30, 50, 300, 250)
    flipped = masks.Masks(cut.cells[::-1].T, cut.nuclei[::-1].T)
    pd.testing.assert_frame_equal(borders.cell_properties(flipped, 0.32), borders.cell_properties(cut, 0.32))


def test_fields_without_cells_and_cells_without_fields_around():
    none = borders.cell_properties(drawn(), 0.32)
    assert len(none) == 0
    assert none.columns.tolist() == borders.cell_properties(drawn((60, 60)), 0.32).columns.tolist()
    assert [len(rule(none)) for rule in (borders.weights, borders.has_nucleus, borders.half_there)] == [0, 0, 0]
    assert len(borders.cell_properties(masks.Masks(*[np.zeros((0, 5), np.uint16)] * 2), 0.32)) == 0
    everywhere = np.ones((20, 30), np.uint16)
    (missing,) = borders.cell_properties(masks.Masks(everywhere, everywhere), 0.32)["missing"]
    assert missing == 0  # nothing to compare with
    no_nuclei = borders.cell_properties(masks.Masks(everywhere, 0 * everywhere), 0.32)
    assert np.isfinite(no_nuclei.to_numpy(float)).all()


def cells(**columns):
    return pd.DataFrame({"touches_border": [True, True, False, False], **columns})


def test_weights_are_those_of_the_winners():
    pixels = np.array([40_000, 90_000, 16_000, 33_000])
    weights = borders.weights(cells(area_um2=pixels * 0.08**2))
    np.testing.assert_allclose(weights, [0.5, 1, 0.5, 1])
    assert pytest.approx((512, 204.8)) == (borders.EDGE_UM2, borders.INNER_UM2)


def test_border_cells_need_half_a_nucleus_and_others_any():
    areas = [99.0, 101.0, 200.0, 200.0]
    assert borders.has_nucleus(cells(nucleus_area_um2=areas)).tolist() == [False, True, True, True]
    areas = [100.0, 0.0, 200.0, 0.0]
    assert borders.has_nucleus(cells(nucleus_area_um2=areas)).tolist() == [True, False, True, False]


def test_the_host_skips_what_is_more_than_half_missing():
    assert borders.half_there(cells(missing=[0.4, 0.51, 0.5, 0.0])).tolist() == [True, False, True, True]


def test_a_pixel_has_a_size():
    with pytest.raises(ValueError, match="must be positive"):
        borders.cell_properties(drawn(), 0)
