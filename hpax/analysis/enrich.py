"""Terms that a set of genes has more often than its background: a hypergeometric test against local gene sets.

As Lu et al. (2019, Table 3) ask of clusters of proteins, the background being all clustered genes.
"""

import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int, Shaped

GeneSets = Mapping[str, frozenset[str]]
Tested = Literal["all", "overlapping"]

MAX_BYTES = 256 << 20
MAX_TERMS = 200_000
COLUMNS = ["term", "overlap", "cluster_genes", "term_genes", "background", "fold", "p", "fdr", "genes"]


def read_gmt(path: str | os.PathLike[str]) -> dict[str, frozenset[str]]:
    """Term → genes of a .gmt file: a line for each term, its name, a description, and genes, by tabs.

    Terms of one name get their description as well; weights behind a comma, as in "TP53,1.0", are left out.

    Raises:
        ValueError: the file is too large, is not text, or a line has no gene.
    """
    path = pathlib.Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} must have at most {MAX_BYTES >> 20} MiB, it has {path.stat().st_size >> 20}; cut it")
    sets: dict[str, frozenset[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        genes = frozenset(gene.partition(",")[0].strip() for gene in rest[1:]) - {""}
        if not name or not genes:
            raise ValueError(f"{path}:{number} must be a term, a description and genes, by tabs; it is {line[:80]!r}")
        key = f"{name} ({rest[0]})" if name in sets else name
        if key in sets or len(sets) >= MAX_TERMS:
            raise ValueError(f"{path}:{number}: term {key!r} comes again, or is one of more than {MAX_TERMS}")
        sets[key] = genes
    if not sets:
        raise ValueError(f"{path} must hold gene sets, it holds none")
    return sets


def enrichment(
    genes: Collection[str], background: Collection[str], sets: GeneSets, *, least: int = 2, tested: Tested = "all"
) -> pd.DataFrame:
    """A row for each term, the surest first: how many of `genes` have it, and whether that is more than chance.

    p is the hypergeometric tail P(X ≥ overlap), fdr by Benjamini and Hochberg over the terms that were tested.

    Args:
        genes: the cluster; each must be in the background.
        background: all genes that could have been in it.
        sets: term → genes, of which those outside of the background do not count.
        least: terms with fewer genes in the background are not tested.
        tested: "all" such terms, or only those "overlapping" the cluster, as gseapy and Enrichr do; which makes for
            smaller FDRs than Benjamini and Hochberg promise, as the terms are chosen by the outcome.

    Raises:
        ValueError: a gene is not in the background.
    """
    chosen, whole = frozenset(genes), frozenset(background)
    if beyond := sorted(chosen - whole):
        raise ValueError(f"every gene must be in the background, {len(beyond)} are not, the first {beyond[0]!r}")
    return _judged(_overlaps(chosen, len(whole), _within(sets, whole, least), tested))


def _within(sets: GeneSets, background: frozenset[str], least: int) -> dict[str, frozenset[str]]:
    """The terms that have enough genes of the background, and these genes."""
    found = {term: members & background for term, members in sets.items()}
    return {term: own for term, own in found.items() if len(own) >= least}


def _overlaps(chosen: frozenset[str], background: int, sets: GeneSets, tested: Tested = "all") -> pd.DataFrame:
    """What each term shares with a set of genes, not yet judged."""
    rows = []
    for term, own in sets.items():
        shared = own & chosen
        if shared or tested == "all":
            fold = len(shared) * background / (len(own) * max(1, len(chosen)))
            counts = [len(shared), len(chosen), len(own), background]
            rows.append([term, *counts, fold, 1.0, 1.0, ";".join(sorted(shared))])
    return pd.DataFrame(rows, columns=COLUMNS)


def of_clusters(
    genes: Sequence[str] | Shaped[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    sets: GeneSets,
    *,
    least: int = 2,
) -> pd.DataFrame:
    """`enrichment` of every cluster, its number in "cluster"; the background is all `genes`, the FDR is over all rows.

    A gene that comes twice counts once in each cluster that it is in.
    """
    names = np.asarray(genes, str)
    whole = frozenset(names.tolist())
    known, parts = _within(sets, whole, least), []
    for cluster in np.unique(clusters).tolist():
        table = _overlaps(frozenset(names[clusters == cluster].tolist()), len(whole), known)
        parts.append(table.assign(cluster=cluster))
    return _judged(pd.concat(parts, ignore_index=True))


def null_run(
    genes: Sequence[str] | Shaped[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    sets: GeneSets,
    *,
    permutations: int = 100,
    seed: int = 0,
    fdr: float = 0.05,
    least: int = 2,
) -> Int[np.ndarray, " p"]:
    """How many terms `of_clusters` finds at this FDR where clusters are shuffled among genes: all of them are false."""
    from scipy import stats

    random = np.random.default_rng(seed)
    names, index = np.unique(np.asarray(genes, str), return_inverse=True)
    hot = _members(names, sets, least)
    _, places, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    tails = _tails(len(index), hot.sum(1), sizes)
    members = hot[:, index].astype(np.float32)
    found = np.zeros(permutations, np.int64)
    for number in range(permutations):
        one_hot = np.eye(len(sizes), dtype=np.float32)[random.permutation(places)]
        overlap = np.rint(members @ one_hot).astype(int)
        p = tails[np.arange(len(hot))[:, None], np.arange(len(sizes)), overlap].ravel()
        found[number] = (stats.false_discovery_control(p) <= fdr).sum() if p.size else 0
    return found


def _tails(background: int, terms: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """P(X ≥ k) of each size of a term, of a cluster, and each k: what shuffling leaves alone is computed once."""
    from scipy import stats

    most = int(min(terms.max(initial=0), clusters.max(initial=0)))
    k = np.arange(most + 1)
    sizes, which = np.unique(terms, return_inverse=True)
    pmf = stats.hypergeom.pmf(k, background, sizes[:, None, None], clusters[:, None])
    return np.minimum(np.cumsum(pmf[..., ::-1], -1)[..., ::-1], 1)[which]


def _members(names: np.ndarray, sets: GeneSets, least: int) -> np.ndarray:
    """Which of the names, in columns, each term has; terms that have enough of them."""
    column = {name: number for number, name in enumerate(names.tolist())}
    hot = np.zeros((len(sets), len(names)), bool)
    for row, members in enumerate(sets.values()):
        hot[row, [column[gene] for gene in members if gene in column]] = True
    return hot[hot.sum(1) >= least]


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """The table with p and fdr, the surest row first."""
    from scipy import stats

    if not len(table):
        return table
    names = ["overlap", "background", "term_genes", "cluster_genes"]
    rows, which = np.unique(table[names].to_numpy(np.int64), axis=0, return_inverse=True)
    overlap, background, term, cluster = rows.T
    p = np.clip(stats.hypergeom.sf(overlap - 1, background, term, cluster), 0, 1)[which.ravel()]
    judged = table.assign(p=p, fdr=stats.false_discovery_control(p))
    return judged.sort_values(["p", "term"], kind="stable", ignore_index=True)
