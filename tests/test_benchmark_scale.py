"""What an atlas takes, by what was measured at several counts of fields."""

import json
import sys

import pytest

from experiments import benchmark_scale
from hpax.metrics import timing
from hpax.metrics.timing import Cost


def test_a_further_field_is_told_apart_from_the_start():
    config = benchmark_scale.Config(counts=(10, 110))
    costs = {"label": [Cost(30.0, 500.0, 0), Cost(130.0, 510.0, 0)], "embed": [Cost(12.0, 300.0, 0)] * 2}
    metrics = benchmark_scale.rates(config, costs)
    assert metrics["label, a further field (s)"] == pytest.approx(1)
    assert metrics["label, a further field, memory (MB)"] == pytest.approx(0.1)
    assert metrics["embed, 110 fields (fields/s)"] == pytest.approx(110 / 12)
    whole = benchmark_scale.atlas(config, costs, [200, 2200])
    assert whole["cells of a field"] == 20
    hours = 83_762 / 3600 * benchmark_scale.cores()
    assert whole["83,762 fields, 1 cores (h)"] == pytest.approx(hours)
    assert whole["83,762 fields, 64 cores (h)"] == pytest.approx(hours / 64)
    assert whole["1,500,000 cells, 1 cores (h)"] == pytest.approx(hours * (1_500_000 / 20) / 83_762)


@pytest.mark.parametrize("counts", [(4,), (4, 4), (0, 4), (8, 4)])
def test_counts_that_do_not_rise_are_refused(counts):
    with pytest.raises(ValueError, match="counts must be two or more"):
        benchmark_scale.Config(counts=counts)


def test_the_cost_of_a_command_is_its_own(tmp_path):
    held = bytearray(b"x") * (300 * 2**20)  # of this process, which does not count
    idle = "import time; print('told', flush=True); time.sleep(0.6)"
    full = f"import time; held = bytearray(b'x') * {100 * 2**20}; time.sleep(0.6); raise SystemExit(3)"
    small = timing.cost([sys.executable, "-c", idle], tmp_path / "small.log")
    large = timing.cost([sys.executable, "-c", full], tmp_path / "large.log")
    assert (small.status, large.status) == (0, 3)
    assert (tmp_path / "small.log").read_text() == "told\n"
    assert small.peak_mb < 60
    assert large.peak_mb > small.peak_mb + 90
    assert len(held) > 0


@pytest.mark.slow
def test_it_runs(tmp_path):
    assert benchmark_scale.main(["--fast", "--workdir", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "default" / "seed0" / "result.json").read_text())
    assert record["counts"]["cells of 4 fields"] > record["counts"]["cells of 2 fields"] > 0
    assert record["metrics"]["label, 4 fields, peak memory (MB)"] > 100
