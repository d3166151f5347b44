"""What analyses are worth where the truth was planted: the simulated atlas."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int, Num, Shaped

from hpax import atlas
from hpax.analysis import heterogeneity
from hpax.simulate import Protein


def clusters(found: Int[np.ndarray, " p"], truth: Shaped[np.ndarray, " p"]) -> dict[str, float]:
    """The adjusted Rand index and the normalised mutual information (arithmetic) of clusters and planted locations."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    rand, shared = adjusted_rand_score(truth, found), normalized_mutual_info_score(truth, found)
    return {"adjusted Rand": float(rand), "mutual information": float(shared)}


def precision_at(ranked: Sequence[str], true: frozenset[str] | set[str], k: int) -> float:
    """The share of the first `k` that are true; NaN of fewer than `k`."""
    return sum(name in true for name in ranked[:k]) / k if len(ranked) >= k else float("nan")


def heterogeneous_images(
    found: pd.DataFrame, fields: Shaped[np.ndarray, " n"], truth: Num[np.ndarray, "n 19"], left_out: np.ndarray
) -> dict[str, float]:
    """Precision, recall and F1 of `heterogeneity.images`, and the F1 of calling all images heterogeneous."""
    true = heterogeneity.images(fields, truth, left_out=left_out)["heterogeneous"].reindex(found.index).astype(bool)
    told = found["heterogeneous"].to_numpy(bool)
    both, said, there = (true & told).sum(), told.sum(), true.sum()
    return {
        "precision": float(both / said) if said else float("nan"),
        "recall": float(both / there) if there else float("nan"),
        "F1": float(2 * both / (said + there)) if said + there else float("nan"),
        "F1 of all": float(2 * there / (len(true) + there)) if there else float("nan"),
    }


def refinement(
    labels: Num[np.ndarray, "n 19"], refined: Num[np.ndarray, "n 19"], truth: Num[np.ndarray, "n 19"]
) -> dict[str, float]:
    """The share of cells whose label set is the true one: as inherited from their field, and refined."""
    sets = [heterogeneity.label_sets(each) for each in (labels, refined, truth)]
    return {"inherited right": float((sets[0] == sets[2]).mean()), "refined right": float((sets[1] == sets[2]).mean())}


def gene_sets(proteins: Sequence[Protein], *, decoys: int = 100, seed: int = 0) -> dict[str, frozenset[str]]:
    """A set for each main location, its proteins, and `decoys` of as many proteins drawn from all."""
    random = np.random.default_rng(seed)
    names = [protein.name for protein in proteins]
    sets: dict[str, frozenset[str]] = {}
    for label, location in enumerate(atlas.LOCATIONS):
        own = frozenset(protein.name for protein in proteins if protein.locations[0] == label)
        if len(own) > 1:
            sets[f"planted {location}"] = own
    sizes = [len(own) for own in sets.values()]
    for number in range(decoys if sizes else 0):
        drawn = random.choice(names, sizes[number % len(sizes)], replace=False)
        sets[f"decoy {number}"] = frozenset(drawn.tolist())
    return sets


def enriched(table: pd.DataFrame, *, fdr: float = 0.05) -> dict[str, float]:
    """Of `enrich.of_clusters` with `gene_sets`: the share of planted terms found, and the number of decoys found."""
    sure = table[table["fdr"] <= fdr]["term"].unique()
    planted = table["term"][table["term"].str.startswith("planted")].unique()
    hits = sum(term.startswith("planted") for term in sure)
    return {
        "planted found": hits / len(planted) if len(planted) else float("nan"),
        "decoys found": float(len(sure) - hits),
    }
