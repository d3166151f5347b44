"""Proteins by the mean features of their cells: a tree, an order for heat maps, clusters (Lu et al. 2019, Figure 4)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Shaped

MOST = 16_000
"""Proteins of one tree: SciPy holds two float64 distances for each pair, 2 × 1 GB here."""

OPTIMAL = 1_500
"""Leaves up to which the optimal order is found at once (its time grows with more than their square)."""


class ProteinMeans(NamedTuple):
    """The mean features of the cells of each protein, all cell lines and antibodies together."""

    names: Shaped[np.ndarray, " p"]
    means: Float64[np.ndarray, "p d"]
    cells: Int[np.ndarray, " p"]


class Tree(NamedTuple):
    """An agglomerative clustering of rows."""

    linkage: Float64[np.ndarray, "m 4"]  # as scipy.cluster.hierarchy has it
    order: Int[np.ndarray, " p"]  # of the leaves, neighbours alike
    exact: bool  # whether the order is optimal for the whole tree


def protein_means(features: Float[np.ndarray, "n d"], proteins: Shaped[np.ndarray, " n"]) -> ProteinMeans:
    """The mean over the cells of each protein, in float64, by name; cells without a protein ("") are left out."""
    known = proteins.astype(str) != ""
    names, index, counts = np.unique(proteins[known].astype(str), return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), features.shape[1]))
    order = np.argsort(index, kind="stable")
    rows = np.flatnonzero(known)[order]
    if len(rows):
        starts = np.append(0, np.cumsum(counts)[:-1])
        sums = np.add.reduceat(features[rows].astype(np.float64), starts, axis=0)
    return ProteinMeans(names, sums / np.maximum(counts, 1)[:, None], counts)


def scaled(means: Float[np.ndarray, "p d"]) -> Float32[np.ndarray, "p d"]:
    """Each feature centred, and divided by its standard deviation over rows; 0 where all rows are alike."""
    centred = means - means.mean(0)
    spread = centred.std(0)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12).astype(np.float32)


def tree(rows: Float[np.ndarray, "p d"], *, method: str = "average", metric: str = "correlation") -> Tree:
    """Rows joined from the bottom up, and their leaves in order.

    Up to 1,500 rows the order is the optimal one (Bar-Joseph 2001). Beyond, the tree is cut into as many groups, whose
    means are ordered optimally, and within a group leaves are as the tree has them.

    Args:
        rows: scaled means; with metric "correlation" none may be constant.
        method, metric: as scipy.cluster.hierarchy.linkage names them.

    Raises:
        ValueError: fewer than 2 rows, more than 16,000, or a distance that is not finite.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial import distance

    if not 2 <= len(rows) <= MOST:
        raise ValueError(f"a tree needs 2 to {MOST} rows, got {len(rows)}; cluster means, or draw some of the rows")
    apart = _correlation(rows) if metric == "correlation" else distance.pdist(rows, metric)
    if not np.isfinite(apart).all():
        raise ValueError(f"distances must be finite, some {metric} distances are not; leave out constant rows")
    linkage = hierarchy.linkage(apart, method)
    if len(rows) <= OPTIMAL:
        ordered = hierarchy.optimal_leaf_ordering(linkage, apart)
        return Tree(ordered, hierarchy.leaves_list(ordered), exact=True)
    del apart
    return Tree(linkage, _by_groups(rows, linkage, method, metric), exact=False)


def cut(linkage: Float64[np.ndarray, "m 4"], clusters: int, order: Int[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    """The cluster of each row, 1.. in the order of the leaves; at most `clusters` of them."""
    from scipy.cluster import hierarchy

    raw = hierarchy.fcluster(linkage, clusters, "maxclust")
    number = {old: new for new, old in enumerate(dict.fromkeys(raw[order].tolist()), 1)}
    return np.array([number[old] for old in raw.tolist()])


def best_count(
    rows: Float[np.ndarray, "p d"], grown: Tree, counts: range, *, metric: str = "correlation", most: int = 2_000
) -> int:
    """The number of clusters with the highest mean silhouette, over at most `most` evenly drawn rows."""
    from sklearn.metrics import silhouette_score

    kept = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))
    scores = {}
    for count in counts:
        clusters = cut(grown.linkage, count, grown.order)[kept]
        if 1 < len(np.unique(clusters)) < len(kept):
            scores[count] = float(silhouette_score(rows[kept], clusters, metric=metric))
    return max(scores, key=lambda count: scores[count]) if scores else min(counts)


def leiden(
    rows: Float[np.ndarray, "p d"], *, neighbours: int = 15, resolution: float = 1.0, seed: int = 0
) -> Int[np.ndarray, " p"]:
    """Communities of the graph of nearest neighbours by Leiden (Traag et al. 2019), 1.. from the largest.

    Raises:
        ImportError: leidenalg and igraph, which are no dependencies of hpax, are not installed.
    """
    try:
        import igraph  # type: ignore[import-not-found]
        import leidenalg  # type: ignore[import-not-found]
    except ImportError as error:
        raise ImportError("Leiden needs igraph and leidenalg; pip install igraph leidenalg, or take `tree`") from error
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(rows, min(neighbours, len(rows) - 1)).tocoo()
    edges = {(min(pair), max(pair)) for pair in zip(graph.row.tolist(), graph.col.tolist(), strict=True)}
    network = igraph.Graph(n=len(rows), edges=sorted(edges))
    kind = leidenalg.RBConfigurationVertexPartition
    found = leidenalg.find_partition(network, kind, resolution_parameter=resolution, seed=seed)
    return np.array(found.membership) + 1


def _correlation(rows: Float[np.ndarray, "p d"]) -> Float64[np.ndarray, " pairs"]:
    """1 - Pearson correlation of each pair of rows, condensed; row by row, so that no second square is held."""
    centred = rows.astype(np.float64) - rows.mean(1, keepdims=True, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    n = len(rows)
    apart = np.empty(n * (n - 1) // 2)
    start = 0
    for row in range(n - 1):
        count = n - 1 - row
        apart[start : start + count] = 1 - unit[row + 1 :] @ unit[row]
        start += count
    return np.clip(apart, 0, 2, out=apart)


def _by_groups(
    rows: Float[np.ndarray, "p d"], linkage: Float64[np.ndarray, "m 4"], method: str, metric: str
) -> Int[np.ndarray, " p"]:
    """Leaves in the tree's own order within groups, the groups by the optimal order of their means."""
    from scipy.cluster import hierarchy

    leaves = hierarchy.leaves_list(linkage)
    group = hierarchy.fcluster(linkage, OPTIMAL, "maxclust")
    names, index = np.unique(group, return_inverse=True)
    means = np.stack([rows[group == name].mean(0) for name in names])
    above = hierarchy.linkage(means.astype(np.float64), method, metric, optimal_ordering=True)
    rank = np.empty(len(names), int)
    rank[hierarchy.leaves_list(above)] = np.arange(len(names))
    return leaves[np.argsort(rank[index[leaves]], kind="stable")]
