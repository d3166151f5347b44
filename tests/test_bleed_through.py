"""Mismatched pairs show one cell with another's protein; the experiment tells whom the painted one follows."""

import json
import types

import numpy as np
import pandas as pd
import pytest

from experiments import bleed_through


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("atlas")


@pytest.mark.slow
def test_a_run_ends_with_what_the_painted_protein_follows(folder):
    command = ["--fast", "--data.data-dir", str(folder / "data"), "--workdir", str(folder / "run")]
    assert bleed_through.main([*command, "--bleed-through", "0.2"]) == 0
    record = json.loads((folder / "run" / "default" / "seed0" / "result.json").read_text())
    assert record["counts"]["mismatched pairs"] > 20
    assert all(-1 <= record["metrics"][name] <= 1 for name in ("place of the source", "own protein alone"))
    assert 0 <= record["metrics"]["follows the source"] <= 1


@pytest.mark.slow
def test_the_two_truths_share_the_cell_and_not_the_place(folder):
    from hpax.recipes import mismatch
    from hpax.recipes.cells import Atlas, Data, open_cells

    atlas = Atlas(proteins=57, size=256, bleed_through=0.2)
    cells = open_cells(Data(atlas=atlas, data_dir=folder / "data"))
    pairs = mismatch.mismatched(atlas, cells, donors=1, seed=0)
    assert pairs.source.shape == pairs.target.shape
    truth = pairs.own.reshape(len(pairs.own), -1).astype(float)
    would = pairs.source_in_target.reshape(len(pairs.own), -1).astype(float)
    seen = pairs.target[..., 0].reshape(len(pairs.own), -1).astype(float)
    same = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(truth, seen, strict=True)])
    other = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(would, seen, strict=True)])
    assert np.median(same) > 0.5
    assert (same > other).mean() > 0.8
    with pytest.raises(ValueError, match="need plain fields"):
        mismatch.mismatched(Atlas(realism="randomised"), cells, seed=0)
    with pytest.raises(ValueError, match="bleed-through as --bleed-through says"):
        bleed_through.Config(data=Data(atlas=atlas))


def test_a_protein_in_two_cell_lines_gives_pairs_in_both(monkeypatch):
    """Three cells of each protein and line, the crops drawn: every target cell has its pair."""
    from hpax.data import builder
    from hpax.recipes import mismatch
    from hpax.recipes.cells import Atlas, Cells
    from hpax.simulate.proteome import Protein

    proteins = [Protein(f"P{index}", index, (index,), ("A",)) for index in range(2)]
    groups = [builder.FieldGroup(each.name, (each, line)) for each in proteins for line in ("A-431", "U-2 OS")]

    def crops(config, group):
        protein, line = group.content
        return {f"{protein.name}_{line}_{cell}": np.full((4, 4, 4), len(line), np.uint8) for cell in range(3)}

    monkeypatch.setattr(mismatch.SimulatedCells, "pictures", lambda config, source: groups)
    monkeypatch.setattr(mismatch, "_crops", crops)
    cells = object.__new__(Cells)  # no shards are needed
    table = pd.DataFrame({"protein": ["P0", "P1"]})
    cells.__dict__.update(held=types.SimpleNamespace(table=table))
    pairs = mismatch.mismatched(Atlas(cell_lines=2), cells, donors=2, seed=0)
    assert len(pairs.source) == 4 * 3 * 2
    assert set(pairs.source[:, 0, 0, 0]) == set(pairs.target[:, 0, 0, 0]) == {len("A-431"), len("U-2 OS")}
