"""What is packed comes back as it was, in the type that a page's script expects."""

import numpy as np
import pytest

from hpax.explore import packing


@pytest.mark.parametrize("name", packing.TYPES)
def test_arrays_come_back_flat_and_in_their_type(name):
    values = np.arange(12).reshape(3, 4).astype(name)
    found = packing.unpacked({"a": [packing.numbers(values[:, ::2])]})["a"][0]
    assert found.dtype.name == name
    np.testing.assert_array_equal(found, values[:, ::2].ravel())


def test_texts_come_back_whatever_is_in_them():
    told = ["</script>", 'a "quoted" µ\n', ""]
    assert packing.unpacked(packing.texts(told)) == told
    assert packing.unpacked({"packed": "data:,", "other": 1}) == {"packed": "data:,", "other": 1}


@pytest.mark.parametrize(("most", "name"), [(0, "uint8"), (255, "uint8"), (256, "uint16"), (70_000, "int32")])
def test_indices_take_no_more_room_than_they_need(most, name):
    assert packing.indices(np.array([0, most]))["type"] == name
    np.testing.assert_array_equal(packing.unpacked(packing.indices(np.array([0, most]))), [0, most])


def test_four_decimals_of_a_number_are_kept():
    for values in ([0.12345, np.nan, np.inf, -3.0], [20_000_001.25, 0.5]):
        found = packing.unpacked(packing.measures(np.array(values)))
        np.testing.assert_allclose(found, np.where(np.isfinite(values), values, np.nan), rtol=0, atol=5e-5)
    assert packing.measures(np.array([0.1]))["type"] == "float32"


def test_numbers_that_the_script_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="int64; use astype"):
        packing.numbers(np.arange(3))
