"""What is kept is believed as long as it is whole and of the same key."""

import numpy as np

from hpax.formats import kept_arrays


def test_only_a_whole_file_of_the_same_key_is_believed(tmp_path):
    path = tmp_path / "a.npz"
    assert kept_arrays.read(path, "k") is None
    kept_arrays.write(path, "k", {"said": np.arange(300.0)})
    np.testing.assert_array_equal(kept_arrays.read(path, "k")["said"], np.arange(300.0))
    assert kept_arrays.read(path, "other") is None
    assert kept_arrays.read(path, "k", []) == {}
    assert list(kept_arrays.read(path, "k", ["said"])) == ["said"]
    assert kept_arrays.read(path, "k", ["said", "meant"]) is None
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert kept_arrays.read(path, "k") is None
