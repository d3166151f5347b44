"""The benchmark of storage, and that what it compares shows networks the same."""

import json

import pytest

from experiments import benchmark_storage


@pytest.mark.slow
def test_coarse_storage_is_smaller_and_shows_the_same(tmp_path):
    command = ["--side", "1024", "--fields", "2", "--reads", "4", "--turns", "1", "--workdir", str(tmp_path)]
    assert benchmark_storage.main(command) == 0
    metrics = json.loads((tmp_path / "default" / "seed0" / "result.json").read_text())["metrics"]
    assert metrics["times smaller"] > 2
    assert metrics["times faster"] > 1
