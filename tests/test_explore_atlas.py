"""The experiments that explore an atlas, from their command lines."""

import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest

from hpax import atlas
from hpax.explore import packing

CLASSES = len(atlas.LOCATIONS)


def labelled_cells(path):
    """Cells of six proteins as `hpax label` leaves them; those of P0 differ."""
    random = np.random.default_rng(0)
    proteins = np.repeat([f"P{number}" for number in range(6)] + [""], 12)
    prob = np.tile(0.8 * np.eye(CLASSES)[2], (84, 1)) + random.uniform(0, 0.05, (84, CLASSES))
    prob[:6] = 0.8 * np.eye(CLASSES)[16] + random.uniform(0, 0.05, (6, CLASSES))
    obs = pd.DataFrame({"field": [f"f{p}" for p in proteins], "protein": proteins}, index=[str(n) for n in range(84)])
    order = random.permutation(84)
    anndata.AnnData(obs=obs.iloc[order], obsm={"prob": prob[order].astype(np.float32)}).write_h5ad(path)


def test_proteins_are_ranked_from_the_table_that_label_leaves(tmp_path):
    from experiments import rank_proteins

    labelled_cells(tmp_path / "cells.h5ad")
    command = ["--cells", str(tmp_path / "cells.h5ad"), "--workdir", str(tmp_path / "run"), "--resamples", "50"]
    assert rank_proteins.main(command) == 0
    folder = tmp_path / "run" / "default" / "seed0"
    ranking = pd.read_csv(folder / "ranking.csv", index_col="protein")
    assert ranking.index[0] == "P0"
    assert ranking["low"].iloc[0] > 1 > ranking["high"].iloc[1]
    record = json.loads((folder / "result.json").read_text())
    assert record["counts"] == {"cells": 72, "cells without protein": 12, "proteins": 6}
    assert (folder / "ranking.svg").exists()


def test_attention_is_asked_of_cells_of_one_location_alike_many_of_each():
    from hpax.commands import attending

    sets = [[2]] * 20 + [[7]] * 3 + [[2, 7]] * 5 + [[atlas.NEGATIVE]] * 5
    truth = np.array([atlas.multi_hot(each) for each in sets])
    obs = pd.DataFrame({"field": "f", "cell": np.arange(1, 34), "nucleus_cut": np.arange(33) == 22})
    obs.index = obs["cell"].astype(str)
    cells = anndata.AnnData(obs=obs, obsm={"truth": truth, "refined": np.zeros_like(truth)})
    chosen = attending.single_cells(cells, most=6, seed=0)
    assert chosen["location"].value_counts().to_dict() == {2: 4, 7: 2}  # the third of class 7 is cut by the border
    assert set(chosen["cell"]) <= set(range(1, 23))


@pytest.mark.slow
def test_the_simulated_atlas_is_explored_end_to_end_and_goes_on_where_it_was(tmp_path):
    from experiments import explore_atlas

    command = ["--atlas.proteins", "19", "--atlas.size", "224", "--attention-cells", "8", "--permutations", "10"]
    command += ["--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "run")]
    assert explore_atlas.main(command) == 0
    folder = tmp_path / "run" / "default" / "seed0"
    record = json.loads((folder / "result.json").read_text())
    assert record["data"] == "simulated"
    assert {"clusters: adjusted Rand", "attention: IoU", "heterogeneous images: F1"} <= set(record["headline"])
    cells = anndata.read_h5ad(folder / "atlas.h5ad")
    assert cells.obsm["X_umap"].shape == (record["counts"]["cells"], 3)
    names = {path.stem for path in (folder / "tables").glob("*.csv")}
    assert {"proteins", "clusters", "enrichment", "variable_proteins", "images", "attention"} <= names
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png", ".svg"}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.index("simulated cells: nothing here is biology") < page.index('id="plot"')
    told = packing.unpacked(json.loads(re.search(r"const ATLAS = (.*?);</script>", page).group(1)))
    assert cells.obs_names[0] in told["ids"]
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    (folder / "result.json").unlink()
    assert explore_atlas.main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again = json.loads((folder / "result.json").read_text())
    assert again["metrics"] == record["metrics"]


def test_probabilities_are_not_ranked_as_features(tmp_path, capsys):
    from experiments import rank_proteins

    labelled_cells(tmp_path / "cells.h5ad")
    cells = anndata.read_h5ad(tmp_path / "cells.h5ad")
    told = anndata.AnnData(
        X=cells.obsm["prob"], obs=cells.obs, obsm=cells.obsm, var=pd.DataFrame(index=list(atlas.LOCATIONS))
    )
    told.write_h5ad(tmp_path / "told.h5ad")
    command = ["--cells", str(tmp_path / "told.h5ad"), "--by", "features", "--workdir", str(tmp_path / "run")]
    assert rank_proteins.main(command) == 2
    assert "holds probabilities, not features" in capsys.readouterr().err
