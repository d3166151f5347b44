"""The whole study of an atlas whose truth is known, without networks: probabilities and features are planted."""

import dataclasses

import anndata
import numpy as np
import pandas as pd
import pytest

from hpax import atlas, simulate
from hpax.analysis import atlas as atlas_tables
from hpax.analysis import planted, study

CLASSES = len(atlas.LOCATIONS)


@pytest.fixture(scope="module")
def cells():
    """Thirty proteins of three locations, ten cells each; every fifth protein shows one of two places in each cell."""
    random = np.random.default_rng(0)
    rows, labels, truth, proteins = [], [], [], []
    for number in range(30):
        main, varies = (2, 7, 14)[number % 3], number % 5 == 0
        for _ in range(10):
            shown = [main] if not varies or random.uniform() < 0.5 else [16]
            truth.append(atlas.multi_hot(shown))
            labels.append(atlas.multi_hot([main, 16] if varies else [main]))
            proteins.append(f"P{number:02}")
            rows.append(np.clip(truth[-1] * 0.9 + random.normal(0, 0.02, CLASSES), 0, 1))
    prob = np.array(rows, np.float32)
    fields = np.array([f"F{name}" for name in proteins])
    obs = pd.DataFrame({"field": fields, "cell": np.tile(np.arange(1, 11), 30), "protein": proteins})
    obs = obs.assign(cell_line="HeLa", nucleus_cut=False, label="x", probability=1.0)
    obs.index = obs["field"] + "_" + obs["cell"].astype(str)
    features = np.c_[prob, random.normal(0, 0.05, (300, 4))].astype(np.float32)
    tables = {"prob": prob, "labels": np.array(labels), "truth": np.array(truth)}
    return anndata.AnnData(X=features, obs=obs, obsm=tables)


@pytest.fixture(scope="module")
def found(cells):
    sets = {"main 2": frozenset(f"P{n:02}" for n in range(0, 30, 3)), "none": frozenset(["Q1", "Q2"])}
    return study.run(cells, study.Options(resamples=50), sets=sets)


def test_variable_proteins_clusters_and_terms_are_those_that_were_planted(found):
    varying = {f"P{number:02}" for number in range(0, 30, 5)}
    ranked = found.proteins.sort_values("variability", ascending=False).index[:6]
    assert set(ranked) == varying
    main = np.array([int(name[1:]) % 3 for name in found.proteins.index])
    steady = np.array([name not in varying for name in found.proteins.index])
    scores = planted.clusters(found.proteins["cluster"].to_numpy(int)[steady], main[steady])
    assert scores["adjusted Rand"] > 0.9
    assert set(found.enrichment["term"][found.enrichment["fdr"] <= 0.05]) == {"main 2"}
    assert found.images.loc[[f"F{name}" for name in varying], "heterogeneous"].all()
    assert found.images["heterogeneous"].sum() == 6
    assert found.single["single_located"].all()
    assert set(found.single_terms["term"]) == {"main 2"}
    assert set(found.single.index) == varying


def test_what_a_page_needs_is_in_the_table_and_survives_a_file(found, tmp_path):
    found.cells.write_h5ad(tmp_path / "atlas.h5ad")
    cells = anndata.read_h5ad(tmp_path / "atlas.h5ad")
    assert cells.obsm["X_umap"].shape == (300, 3)
    assert {"cluster", "variability", "within_protein"} <= set(cells.obs)
    np.testing.assert_array_equal(cells.obsm["refined"], found.cells.obsm["truth"])


def test_cells_without_a_protein_count_under_their_field_and_it_is_said(cells):
    nameless = cells.copy()
    nameless.obs["protein"] = ""
    nameless.obsm["labels"] = np.zeros_like(nameless.obsm["labels"])
    found = study.run(nameless, study.Options(resamples=5, clusters=3))
    assert set(found.proteins.index) == set(cells.obs["field"])
    assert "30 of 30 proteins are not known" in found.remarks[0]
    np.testing.assert_array_equal(found.cells.obsm["refined"], cells.obsm["truth"])
    assert found.enrichment.empty
    assert found.proteins["cluster"].nunique() == 3


def test_scores_against_the_truth():
    one, other = np.array([atlas.multi_hot([2]), atlas.multi_hot([7])]), np.array([atlas.multi_hot([2])] * 2)
    assert planted.refinement(one, other, other) == {"inherited right": 0.5, "refined right": 1.0}
    assert planted.precision_at(["a", "b", "c"], {"a", "c"}, 2) == 0.5
    assert np.isnan(planted.precision_at(["a"], {"a"}, 2))
    proteins = simulate.proteome(proteins=57, balanced=True, seed=1)
    sets = planted.gene_sets(proteins, decoys=5)
    assert len(sets) == 19 + 5
    assert sets["planted Nucleoli"] == {each.name for each in proteins if each.locations[0] == 2}
    table = pd.DataFrame({"term": ["planted a", "planted b", "decoy 1"], "fdr": [0.01, 0.5, 0.02]})
    assert planted.enriched(table) == {"planted found": 0.5, "decoys found": 1.0}


def test_cells_of_a_field_come_back_from_their_file_as_they_were(tmp_path):
    protein = simulate.proteome(proteins=1, seed=3)[0]
    field = simulate.field(protein, "U-2 OS", 0, seed=3, size=128, um_per_pixel=0.64)
    prob = np.linspace(0, 1, len(field.found) * CLASSES, dtype=np.float32).reshape(-1, CLASSES)
    logits = np.stack([np.full((2, 3), value) for value in np.linspace(-9, 9, CLASSES)], axis=-1)
    part = atlas_tables.field_cells(field, prob, prob[:, :5], alone=prob / 2, maps=logits)
    assert part.maps[1, 2, CLASSES // 2] == 128
    part.save(tmp_path / "a.npz", "key")
    again = atlas_tables.load(tmp_path / "a.npz", "key")
    for each in dataclasses.fields(part):
        one, other = getattr(part, each.name), getattr(again, each.name)
        if each.name == "obs":
            pd.testing.assert_frame_equal(one, other, check_dtype=False, check_categorical=False)
        else:
            np.testing.assert_array_equal(one, other)
    assert atlas_tables.load(tmp_path / "a.npz", "other key") is None
    (tmp_path / "a.npz").write_bytes(b"damaged")
    assert atlas_tables.load(tmp_path / "a.npz", "key") is None
    np.testing.assert_array_equal(part.truth, field.cell_labels)
    joined = atlas_tables.joined([part])
    np.testing.assert_array_equal(joined.obsm["prob_alone"], prob / 2)
    assert joined.n_obs == len(field.found)
    inside = part.outlines.reshape(-1, 2)
    assert (inside <= 128).all()
    with pytest.raises(ValueError, match="must have its rows"):
        atlas_tables.field_cells(field, prob[:-1], prob[:-1, :5])
    with pytest.raises(ValueError, match="needs cells"):
        atlas_tables.joined([])


def test_a_collection_keeps_numbers_and_leaves_pictures_in_files(tmp_path):
    protein = simulate.proteome(proteins=1, seed=3)[0]
    kept = atlas_tables.Collection(tmp_path / "cells")
    for id in ("a", "b"):
        field = dataclasses.replace(simulate.field(protein, "U-2 OS", 0, seed=3, size=128, um_per_pixel=0.64), id=id)
        prob = np.full((len(field.found), CLASSES), 0.5, np.float32)
        assert not kept.kept(id, "key")
        kept.add(id, atlas_tables.field_cells(field, prob, prob), "key")
    assert [part.thumbs.size + len(part.planes) for part in kept.parts] == [0, 0]
    assert atlas_tables.joined(kept.parts).n_obs == 2 * len(prob)
    kept.arrange(["c", "b", "a"])
    assert [part.obs["field"].iloc[0] for part in kept.parts] == ["b", "a"]
    assert len(kept.whole("b").thumbs) == len(prob)
    assert set(kept.whole("b").obs["field"]) == {"b"}
    later = atlas_tables.Collection(tmp_path / "cells")
    assert later.kept("a", "key")
    assert not later.kept("b", "other key")
    assert len(later.parts) == 1
    (tmp_path / "cells" / "a.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npz was there and is no longer"):
        later.whole("a")
