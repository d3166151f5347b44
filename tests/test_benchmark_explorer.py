"""The benchmark of the explorer: what it draws is what it says, and what it measures is there or said to be missing."""

import json
import math
import pathlib

import numpy as np
import pytest

from hpax import atlas
from hpax.analysis import embed
from hpax.explore import browser
from hpax.recipes import explorer_speed


def test_cells_lie_around_their_protein_and_proteins_around_their_class():
    made = explorer_speed.vectors(cells=6000, features=64, proteins=38, seed=0)
    means = np.stack([made.features[made.proteins == protein].mean(0) for protein in range(38)])
    spread = made.features - means[made.proteins]
    assert spread.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(made.classes, made.proteins % len(atlas.LOCATIONS))
    within = (means[:19] - means[19:]).std()  # of two proteins of a class, of which each has its own 0.35
    assert within == pytest.approx(0.35 * math.sqrt(2), abs=0.07)
    same = explorer_speed.vectors(cells=6000, features=64, proteins=38, seed=0)
    np.testing.assert_array_equal(same.features, made.features)


def test_neighbours_agree_where_classes_lie_apart_and_by_chance_where_they_do_not():
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, 2000)
    noise = random.normal(size=(2000, 3))
    apart, reference = noise + 50 * np.eye(4)[classes, :3], np.arange(1000)
    assert explorer_speed.agreement(apart, classes, reference, seed=0) == 1
    assert explorer_speed.agreement(noise, classes, reference, seed=0) == pytest.approx(0.25, abs=0.06)
    assert explorer_speed.agreement(apart, classes, np.arange(2000), seed=0) == 1


def test_without_a_browser_the_page_is_left_and_its_speed_said_to_be_missing(tmp_path, monkeypatch, capsys):
    from experiments import benchmark_explorer

    def first(features, **_):
        return np.asarray(features[:, :3], np.float32)

    monkeypatch.setattr(embed, "umap", first)
    monkeypatch.setattr(browser, "executable", lambda: None)
    assert benchmark_explorer.main(["--fast", "--workdir", str(tmp_path)]) == 0
    folder = tmp_path / "default" / "seed0"
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert "no browser here" in capsys.readouterr().out
    assert metrics["frames/s"] is None
    assert metrics["opening (s)"] is None
    assert metrics["page (MB)"] == pytest.approx((folder / "index.html").stat().st_size / 1e6)
    assert metrics["peak memory (MB)"] > 50


@pytest.mark.slow
@pytest.mark.skipif(browser.executable() is None, reason=f"no browser: install one of {', '.join(browser.NAMES)}")
def test_the_fast_preset_opens_and_pans_its_page(tmp_path):
    from experiments import benchmark_explorer

    assert benchmark_explorer.main(["--fast", "--workdir", str(tmp_path)]) == 0
    (path,) = pathlib.Path(tmp_path).rglob("result.json")
    metrics = json.loads(path.read_text())["metrics"]
    assert metrics["frames/s"] > 1
    assert 0 < metrics["opening (s)"] < 60
