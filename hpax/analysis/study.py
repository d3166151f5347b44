"""All analyses of an atlas, one after the other: what a page shows, and what tables and figures are made of.

found = study.run(cells, study.Options(), sets=enrich.read_gmt("go.gmt"))
found.cells.write_h5ad("atlas.h5ad")
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import anndata
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped, UInt8

from hpax import atlas
from hpax.analysis import cluster, compartments, embed, enrich, heterogeneity
from hpax.metrics import variability
from hpax.predict import refine

SURE = 0.5
"""The probability from which a cell carries a label where its field's labels are not known."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to ask, and how."""

    components: int = 50  # principal components of the features, that distances are taken of
    clusters: int = 0  # of proteins; 0: as many as the silhouette likes best
    most_clusters: int = 40  # that the silhouette may choose
    reference: int = 50_000  # cells that UMAP lays out; more are placed among them
    resamples: int = 200  # of the cells of each protein, for intervals
    least: int = 5  # cells of a protein, for what is said of its variability
    fdr: float = 0.05
    refinement: Literal["relative", "paper"] = "relative"  # of labels, see `refined`
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What was found; tables are empty where there was nothing to ask."""

    options: Options
    cells: anndata.AnnData  # obsm X_pca, X_umap (3-D), refined; obs cluster, variability, within_protein
    proteins: pd.DataFrame  # by protein: cells, label, cluster, order, umap_1, umap_2, variability, low, high, sd, ...
    heat: Float[np.ndarray, "p d"]  # scaled means, rows as those of `proteins`
    clusters: pd.DataFrame
    enrichment: pd.DataFrame
    images: pd.DataFrame
    cell_lines: pd.DataFrame
    single: pd.DataFrame
    single_terms: pd.DataFrame  # enriched in proteins whose cells show one location at a time (Le et al. 2022)
    remarks: tuple[str, ...]


def run(cells: anndata.AnnData, options: Options, *, sets: enrich.GeneSets | None = None) -> Study:
    """The study of an atlas (`analysis.atlas.joined`).

    Cells whose protein is not known count under the id of their field.

    Raises:
        ValueError: fewer than 5 cells.
    """
    cells, remarks = cells.copy(), []
    proteins, unnamed = _proteins(cells)
    if unnamed:
        remarks.append(f"{unnamed} of {len(np.unique(proteins))} proteins are not known: their fields stand for them")
    cells.obs["protein"] = pd.Categorical(proteins)
    fields = cells.obs["field"].astype(str).to_numpy()
    alone = cells.obsm.get("prob_alone")
    cells.obsm["refined"] = refined(
        cells.obsm["prob"], cells.obsm["labels"], fields, alone=alone, rule=options.refinement
    )
    scores = embed.principal(np.asarray(cells.X), options.components, seed=options.seed)
    cells.obsm["X_pca"] = scores
    cells.obsm["X_umap"] = embed.umap(scores, embed.LE_CELLS, seed=options.seed, reference=options.reference)
    table, heat = _of_proteins(cells, proteins, scores, options)
    table = table.join(_variability(cells, proteins, options)).join(_spread(cells, proteins, scores, options))
    for name in ("cluster", "variability"):
        cells.obs[name] = table[name].reindex(proteins).to_numpy()
    cells.obs["within_protein"] = _within(cells.obsm["prob"], proteins)
    images = _images(cells)
    known = cells.obs.groupby("field", observed=True)["cell_line"].first().astype(str)
    terms = enrich.of_clusters(table.index.to_numpy(str), table["cluster"].to_numpy(int), sets) if sets else None
    if sets is not None and terms is not None and not (terms["overlap"] > 0).any():
        remarks.append("no protein's name is in the gene sets: give genes as the sets name them")
    single = heterogeneity.single_per_cell(proteins, cells.obsm["labels"], cells.obsm["refined"], least=options.least)
    return Study(
        options=options,
        cells=cells,
        proteins=table,
        heat=heat,
        clusters=_clusters(table, terms, options.fdr),
        enrichment=pd.DataFrame(columns=[*enrich.COLUMNS, "cluster"]) if terms is None else terms,
        images=images,
        cell_lines=heterogeneity.by_cell_line(images, known),
        single=single,
        single_terms=_terms(single.index[single["single_located"]].tolist(), table.index.tolist(), sets),
        remarks=tuple(remarks),
    )


def refined(
    prob: Float[np.ndarray, "n 19"],
    labels: UInt8[np.ndarray, "n 19"],
    fields: Shaped[np.ndarray, " n"],
    *,
    alone: Float[np.ndarray, "n 19"] | None = None,
    rule: Literal["relative", "paper"] = "relative",
) -> UInt8[np.ndarray, "n 19"]:
    """What each cell shows: the labels of its field that are likely; where these are not known, the likely classes.

    "paper": likely is a probability of a half (Le et al. 2022). "relative": a share of that of the field's surest cell
    (`hpax.predict.refine.relative`, which says why), by what is said of cells `alone` where that is known, as `hpax
    label` does. A cell without any likely label is negative, or has its most probable class where the labels of its
    field are not known.
    """
    shown = np.zeros_like(labels)
    for _, own in variability.rows_by_name(fields):
        of_field = labels[own[0]]
        if not of_field.any():
            shown[own] = _likely(prob[own])
        elif rule == "paper":
            shown[own] = refine.by_paper(of_field, prob[own])
        elif alone is None:
            shown[own] = refine.relative(of_field, prob[own], least=refine.TOGETHER)
        else:
            shown[own] = refine.relative(of_field, alone[own], least=refine.ALONE, best=prob[own].argmax(1))
    return shown


def _likely(prob: Float[np.ndarray, "k 19"]) -> Bool[np.ndarray, "k 19"]:
    """The classes that are likelier than not, or the most probable one."""
    likely = prob >= SURE
    none = ~likely.any(1)
    likely[none, prob[none].argmax(1)] = True
    likely[likely[:, : atlas.NEGATIVE].any(1), atlas.NEGATIVE] = False
    return likely


def _terms(genes: list[str], background: list[str], sets: enrich.GeneSets | None) -> pd.DataFrame:
    """The terms of some of the proteins; no row where there is nothing to ask."""
    if not sets or not genes:
        return pd.DataFrame(columns=enrich.COLUMNS)
    return enrich.enrichment(genes, background, sets)


def _proteins(cells: anndata.AnnData) -> tuple[np.ndarray, int]:
    """The protein of each cell, or its field's id; and how many of these stand in."""
    names, fields = (variability.names(cells.obs[name]) for name in ("protein", "field"))
    unknown = names == ""
    return np.where(unknown, fields, names), len(np.unique(fields[unknown]))


def _of_proteins(
    cells: anndata.AnnData, proteins: np.ndarray, scores: np.ndarray, options: Options
) -> tuple[pd.DataFrame, np.ndarray]:
    """Proteins with their cluster, place in the heat map and on the plane; and their scaled means."""
    means = cluster.protein_means(scores, proteins)
    heat = cluster.scaled(means.means)
    centred = (means.means - means.means.mean(0)).astype(np.float32)
    labels = cluster.protein_means(cells.obsm["refined"].astype(np.float32), proteins).means.argmax(1)
    table = pd.DataFrame({"cells": means.cells, "label": np.array(atlas.LOCATIONS)[labels]}, index=means.names)
    table.index.name = "protein"
    if len(table) < 5 or np.linalg.matrix_rank(centred) < 3:
        return table.assign(cluster=1, order=np.arange(len(table)), umap_1=0.0, umap_2=0.0), heat
    grown = cluster.tree(centred)
    counts = range(2, max(3, min(options.most_clusters, len(table) - 1) + 1))
    count = options.clusters or cluster.best_count(centred, grown, counts)
    place = np.empty(len(table), int)
    place[grown.order] = np.arange(len(table))
    plane = embed.umap(centred, embed.LU_PROTEINS, seed=options.seed)
    found = cluster.cut(grown.linkage, count, grown.order)
    return table.assign(cluster=found, order=place, umap_1=plane[:, 0], umap_2=plane[:, 1]), heat


def _variability(cells: anndata.AnnData, proteins: np.ndarray, options: Options) -> pd.DataFrame:
    """By the probabilities of classes: what differs is where the protein is, not how large the cell is."""
    found = variability.by_protein(
        cells.obsm["prob"],
        proteins,
        cells.obs["field"].astype(str).to_numpy(),
        resamples=options.resamples,
        seed=options.seed,
        least=options.least,
    )
    return found[["fields", "variability", "low", "high"]]


def _spread(cells: anndata.AnnData, proteins: np.ndarray, scores: np.ndarray, options: Options) -> pd.DataFrame:
    """The standard deviation of the log ratio between two compartments, of proteins that have two."""
    found = compartments.variable_proteins(scores, cells.obsm["labels"], proteins, least=options.least)
    return found[["first", "second", "sd"]].rename(columns={"sd": "log_ratio_sd"})


def _within(prob: Float[np.ndarray, "n 19"], proteins: np.ndarray) -> Float[np.ndarray, " n"]:
    """Where each cell lies along the direction in which its protein's cells differ most: their order in galleries."""
    found = np.zeros(len(prob))
    for _, rows in variability.rows_by_name(proteins):
        own = prob[rows].astype(np.float64)
        _, _, axes = np.linalg.svd(own - own.mean(0), full_matrices=False)
        axis = axes[0] * np.sign(axes[0][np.abs(axes[0]).argmax()])
        found[rows] = (own - own.mean(0)) @ axis
    return found


def _images(cells: anndata.AnnData) -> pd.DataFrame:
    cut = cells.obs["nucleus_cut"].to_numpy(bool)
    fields = cells.obs["field"].astype(str).to_numpy()
    found = heterogeneity.images(fields, cells.obsm["refined"], left_out=cut)
    proteins = cells.obs.groupby("field", observed=True)["protein"].first().astype(str)
    return found.assign(protein=proteins.reindex(found.index).to_numpy())


def _clusters(table: pd.DataFrame, terms: pd.DataFrame | None, fdr: float) -> pd.DataFrame:
    """Clusters with their commonest label, and their surest term."""
    rows: list[Mapping[str, object]] = []
    for number, own in table.groupby("cluster"):
        counts = own["label"].value_counts()
        row: dict[str, object] = {"cluster": number, "proteins": len(own), "cells": own["cells"].sum()}
        row |= {"label": counts.index[0], "share": counts.iloc[0] / len(own), "term": "", "fdr": np.nan}
        if terms is not None:
            sure = terms[(terms["cluster"] == number) & (terms["fdr"] <= fdr)]
            if len(sure):
                row |= {"term": sure["term"].iloc[0], "fdr": sure["fdr"].iloc[0]}
        rows.append(row)
    return pd.DataFrame(rows).set_index("cluster")
