"""Enrichment is the hypergeometric tail, finds what was planted, and finds nothing where nothing is."""

import numpy as np
import pytest
from scipy import stats

from hpax.analysis import enrich

BACKGROUND = [f"g{number}" for number in range(200)]
SETS = {f"term {number}": frozenset(BACKGROUND[10 * number : 10 * number + 15]) for number in range(18)}


def test_p_is_that_of_fishers_exact_test():
    genes = BACKGROUND[:12] + BACKGROUND[100:108]
    table = enrich.enrichment(genes, BACKGROUND, SETS)
    for row in table.itertuples():
        beside, rest = row.term_genes - row.overlap, row.cluster_genes - row.overlap
        square = [[row.overlap, rest], [beside, row.background - row.overlap - rest - beside]]
        assert row.p == pytest.approx(stats.fisher_exact(square, "greater").pvalue)
    assert table["term"].iloc[0] == "term 0"
    assert table["fdr"].iloc[0] < 1e-6
    assert len(table) == 18
    np.testing.assert_allclose(table["fdr"], stats.false_discovery_control(table["p"]))
    assert table.loc[table["term"] == "term 10", "genes"].item() == ";".join(sorted(BACKGROUND[100:108]))


def test_only_the_background_counts():
    wide = {name: genes | {f"elsewhere {n}" for n in range(50)} for name, genes in SETS.items()}
    genes = BACKGROUND[:20]
    first, second = (enrich.enrichment(genes, BACKGROUND, sets) for sets in (SETS, wide))
    assert first.equals(second)
    with pytest.raises(ValueError, match="must be in the background, 1 are not, the first 'x'"):
        enrich.enrichment(["x"], BACKGROUND, SETS)
    overlapping = enrich.enrichment(genes, BACKGROUND, SETS, tested="overlapping")
    assert len(overlapping) == 2
    assert (overlapping["overlap"] > 0).all()


def test_planted_terms_are_found_in_their_cluster_and_shuffled_clusters_have_none():
    clusters = np.arange(200) // 20
    sets = {f"planted {c}": frozenset(np.array(BACKGROUND)[clusters == c][:15].tolist()) for c in range(10)}
    random = np.random.default_rng(0)
    sets |= {f"decoy {n}": frozenset(random.choice(BACKGROUND, 15, replace=False).tolist()) for n in range(40)}
    table = enrich.of_clusters(BACKGROUND, clusters, sets)
    found = table[table["fdr"] <= 0.05]
    assert {(row.term, row.cluster) for row in found.itertuples()} == {(f"planted {c}", c) for c in range(10)}
    false = enrich.null_run(BACKGROUND, clusters, sets, permutations=100, seed=1)
    assert len(false) == 100
    assert (false > 0).mean() <= 0.05


def test_the_null_run_counts_as_the_table_does():
    clusters = np.arange(200) // 50
    shuffled = np.random.default_rng(3).permutation(clusters)
    table = enrich.of_clusters(BACKGROUND, shuffled, SETS)
    for fdr in (0.05, 0.5, 0.99):
        assert (
            enrich.null_run(BACKGROUND, clusters, SETS, permutations=1, seed=3, fdr=fdr) == (table["fdr"] <= fdr).sum()
        )


def test_gmt_files_are_read_and_damaged_ones_named(tmp_path):
    path = tmp_path / "sets.gmt"
    path.write_text("a\tGO:1\tTP53\tMDM2,1.0\t\n\na\tGO:2\tACTB\nb\t\tACTB\n", encoding="utf-8")
    sets = enrich.read_gmt(path)
    assert sets == {"a": {"TP53", "MDM2"}, "a (GO:2)": {"ACTB"}, "b": {"ACTB"}}
    for text, told in (
        ("", "holds none"),
        ("a\tb\n", ":1 must be a term"),
        ("a\tb\tc\na\tb\tc\na\tb\td\n", "comes again"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=told):
            enrich.read_gmt(path)
