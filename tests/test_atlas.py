"""Classes, terms and pixel sizes, against the published tables."""

import csv

import numpy as np
import pytest

from hpax import atlas


def test_every_term_leads_to_a_class_or_is_known_to_have_none():
    assert len(atlas.LOCATIONS) == len(set(atlas.LOCATIONS)) == 19
    assert set(atlas.TERMS.values()) == {*range(19), None}


@pytest.mark.real
def test_every_term_of_the_hpa_table_is_known(real_data):
    with (real_data / "tables" / "hpa_subcellular_location.tsv").open() as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    columns = ["Main location", "Additional location", "Extracellular location", "Enhanced", "Supported", "Approved"]
    terms = {term for row in rows for column in columns if row[column] for term in row[column].split(";")}
    assert len(terms) >= 30
    classes = {atlas.location_of(term) for term in terms}
    assert classes == {*range(18), None}


def test_all_of_2018_but_two_ids_have_a_class_and_none_is_negative():
    assert set(atlas.KAGGLE_2018) == set(range(28))
    assert [old for old, new in atlas.KAGGLE_2018.items() if new is None] == [16, 27]
    assert set(atlas.KAGGLE_2018.values()) == {*range(18), None}


def test_unknown_terms_are_named_not_dropped():
    assert atlas.locations_of(["Cytosol", "VESICLES", "Lysosomes", "Kneecap", "Midbody"]) == (
        [16, 17],
        ["Kneecap", "Midbody"],
    )
    with pytest.raises(KeyError, match="Kneecap"):
        atlas.location_of("Kneecap")


def test_multi_hot_counts_a_repeated_class_once_and_refuses_nonsense():
    np.testing.assert_array_equal(np.flatnonzero(atlas.multi_hot([13, 13, 2])), [2, 13])
    with pytest.raises(ValueError, match="got \\[19\\]"):
        atlas.multi_hot([19])
    with pytest.raises(ValueError, match="excludes every other"):
        atlas.multi_hot([0, atlas.NEGATIVE])


def test_protein_and_structure_split_the_channels_of_every_kind_of_crop():
    for channels in (2, 3, 4):
        crop = np.arange(channels)[None]
        joined = np.concatenate([crop[..., atlas.PROTEIN], crop[..., atlas.STRUCTURE]], axis=-1)
        np.testing.assert_array_equal(joined, crop)
    assert atlas.CHANNELS[atlas.PROTEIN] == ("protein",)


def test_a_field_is_as_wide_in_um_at_any_resized_resolution():
    for width in (256, 512, 1024):
        assert width * atlas.um_per_pixel(width) == pytest.approx(2048 * 0.08)
    assert atlas.um_per_pixel(3072) == 0.08
