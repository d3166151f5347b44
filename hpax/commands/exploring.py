"""What an atlas leaves behind: tables, figures, and the page to explore it with."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from hpax import atlas, files
from hpax.analysis import compartments
from hpax.analysis.atlas import Collection
from hpax.analysis.study import Study
from hpax.explore import explorer, figures

FIELDS, THUMBS = 240, 8_000
"""Pictures of fields and of cells that a page holds, at most."""

PAGE, ATLAS = "index.html", "atlas.h5ad"
SHOWN = 40  # rows of figures
SHOWN_ROWS = 500  # rows of the page's tables


def write_tables(study: Study, workdir: Path) -> None:
    """atlas.h5ad, which holds all that the page shows of cells, and a CSV for each table."""
    with files.replacing(workdir / ATLAS) as draft:
        study.cells.write_h5ad(draft)
    tables = {
        "proteins": study.proteins,
        "clusters": study.clusters,
        "enrichment": study.enrichment.set_index("term"),
        "variable_proteins": variable(study),
        "images": study.images,
        "cell_lines": study.cell_lines,
        "single_located": study.single,
        "single_located_terms": study.single_terms.set_index("term"),
    }
    for name, table in tables.items():
        files.write_text(workdir / "tables" / f"{name}.csv", table.to_csv(lineterminator="\n", float_format="%.6g"))


def variable(study: Study) -> pd.DataFrame:
    """Proteins whose variability is known, the most variable first."""
    table = study.proteins.dropna(subset=["variability"]).sort_values("variability", ascending=False, kind="stable")
    columns = ["label", "cells", "fields", "variability", "low", "high", "log_ratio_sd", "first", "second", "cluster"]
    return table[columns]


def write_figures(study: Study, kept: Collection, workdir: Path) -> list[Path]:
    """The figures of both papers, as far as the atlas has what they show; PNG and SVG."""
    folder, cells, table = workdir / "figures", study.cells, study.proteins
    labels = cells.obs["label"].astype(str).to_numpy()
    left = figures.save(folder / "cells_umap", figures.points(cells.obsm["X_umap"][:, :2], labels), width=9)
    plane = table[["umap_1", "umap_2"]].to_numpy(float)
    left += figures.save(folder / "proteins_umap", figures.points(plane, table["label"].to_numpy(str)), width=9)
    heat = figures.heat_map(study.heat, table["order"].to_numpy(int), table["cluster"].to_numpy(int))
    left += figures.save(folder / "heat_map", heat, height=8)
    ranked = variable(study).head(SHOWN)
    if len(ranked):
        numbers = [ranked[name].to_numpy(float) for name in ("variability", "low", "high")]
        paint = figures.intervals(list(ranked.index), *numbers, across="variance within images, mean protein = 1")
        left += figures.save(folder / "variable_proteins", paint, height=1 + 0.2 * len(ranked))
        left += _tree(study, str(ranked.index[0]), kept, folder)
    if groups := log_ratios(study):
        paint = figures.violins(groups, up="ln (distance to first / distance to second)")
        left += figures.save(folder / "compartments", paint)
    lines = study.cell_lines.sort_values("share", ascending=False)
    if len(lines):
        names = [
            f"{name or 'unknown'} ({row.images})" for name, row in zip(lines.index, lines.itertuples(), strict=True)
        ]
        paint = figures.bars(names, lines["share"].tolist(), across="share of images whose cells differ")
        left += figures.save(folder / "heterogeneity", paint, height=1 + 0.25 * len(lines))
    return left


def log_ratios(study: Study) -> dict[str, np.ndarray]:
    """The scores of cells of the commonest pair of compartments: of one alone, of both, and of single proteins."""
    cells, labels = study.cells, study.cells.obsm["labels"]
    pairs = study.proteins.dropna(subset=["first"]).groupby(["first", "second"]).size()
    if not len(pairs):
        return {}
    first, second = (atlas.LOCATIONS.index(name) for name in pairs.idxmax())
    means = compartments.single_means(cells.obsm["X_pca"], labels)
    scores = compartments.log_ratio(cells.obsm["X_pca"], means[first], means[second])
    both, alone = compartments.of_both(labels, first, second), labels.sum(1) == 1
    groups = {
        f"{atlas.LOCATIONS[first]} alone": scores[alone & (labels[:, first] > 0)],
        "both": scores[both],
        f"{atlas.LOCATIONS[second]} alone": scores[alone & (labels[:, second] > 0)],
    }
    proteins = cells.obs["protein"].astype(str).to_numpy()
    ranked = study.proteins.dropna(subset=["log_ratio_sd"]).sort_values("log_ratio_sd", ascending=False)
    for name in [name for name in ranked.index if (both & (proteins == name)).any()][:4]:
        groups[str(name)] = scores[both & (proteins == name)]
    return groups


def _tree(study: Study, protein: str, kept: Collection, folder: Path) -> list[Path]:
    """The dendrogram of a protein's cells with crops on its branches."""
    rows = np.flatnonzero(study.cells.obs["protein"].astype(str).to_numpy() == protein)[:2000]
    if len(rows) < 3:
        return []
    tree = compartments.cell_tree(study.cells.obsm["prob"][rows])
    names = study.cells.obs["field"].astype(str).to_numpy()[rows].tolist()  # a field has one protein
    thumbs = np.concatenate([kept.whole(id).thumbs for id in dict.fromkeys(names)])
    paint = figures.dendrogram(tree.linkage, [thumbs[examples] for examples in tree.examples])
    return figures.save(folder / "cells_of_the_most_variable_protein", paint, height=6)


def view(
    study: Study,
    kept: Collection,
    *,
    title: str,
    provenance: Mapping[str, str],
    warnings: Sequence[str],
    seed: int,
) -> explorer.View:
    """What the page shows of a study of the cells of `kept`."""
    cells = study.cells
    shown = _shown_fields(study, seed)
    fields = cells.obs["field"].astype(str).to_numpy()
    with_thumb = np.flatnonzero(np.isin(fields, list(shown)))[:THUMBS]
    thumb_of = np.full(cells.n_obs, -1)
    thumb_of[with_thumb] = np.arange(len(with_thumb))
    full = {id: kept.whole(id) for id in dict.fromkeys(fields.tolist()) if id in shown}
    numbers = ("probability", "variability", "area_um2")
    columns = {name: cells.obs[name].astype(str).to_numpy() for name in ("label", "protein", "cell_line", "field")}
    columns |= {"protein cluster": cells.obs["cluster"].astype(str).to_numpy()}
    columns |= {name: cells.obs[name].to_numpy(float) for name in numbers}
    columns["known labels"] = _names(cells.obsm["labels"])
    columns["refined labels"] = _names(cells.obsm["refined"])
    if cells.obsm["truth"].any():
        columns["planted truth"] = _names(cells.obsm["truth"])
    told = len(shown) < len(np.unique(fields))
    missing = [f"pictures of {len(shown)} of {len(np.unique(fields))} fields are in the page"] if told else []
    return explorer.View(
        title=title,
        places=cells.obsm["X_umap"].astype(np.float32),
        ids=cells.obs_names.to_numpy(str),
        columns=columns,
        details=_top_three(cells),
        order=cells.obs["within_protein"].to_numpy(float),
        thumbs=np.concatenate([part.thumbs for part in full.values()])[:THUMBS],
        thumb_of=thumb_of,
        fields={id: part.planes for id, part in full.items()},
        channels=atlas.CHANNELS,
        outlines=np.concatenate([part.outlines for part in kept.parts]),
        classes=atlas.LOCATIONS,
        maps={id: part.maps for id, part in full.items() if part.maps.size},
        listings=_listings(study),
        warnings=[*warnings, *study.remarks, *missing],
        provenance=provenance,
    )


def _shown_fields(study: Study, seed: int) -> set[str]:
    """Fields of the most variable proteins first, then any."""
    fields = study.cells.obs.groupby("field", observed=True)["variability"].first()
    random = np.random.default_rng(seed).permutation(len(fields))
    ranked = fields.iloc[random].sort_values(ascending=False, kind="stable", na_position="last")
    order = dict.fromkeys([*ranked.index[: FIELDS // 2], *fields.index[random]])
    return {str(name) for name in list(order)[:FIELDS]}


def _names(hot: np.ndarray) -> np.ndarray:
    """Label sets in words, "" for none."""
    sets, which = np.unique(hot > 0, axis=0, return_inverse=True)
    words = [", ".join(atlas.LOCATIONS[label] for label in np.flatnonzero(row)) for row in sets]
    return np.array(words, dtype=str)[which.ravel()]


def _top_three(cells: anndata.AnnData) -> np.ndarray:
    prob = cells.obsm["prob"]
    best = np.argsort(-prob, axis=1, kind="stable")[:, :3]
    lines = []
    for row, own in enumerate(best.tolist()):
        lines.append(", ".join(f"{atlas.LOCATIONS[label]} {prob[row, label]:.2f}" for label in own))
    return np.array(lines)


def _listings(study: Study) -> list[explorer.Listing]:
    """The page's tables."""
    ranked = variable(study).reset_index().head(SHOWN_ROWS)
    about = "variance of the cells' probabilities within an image, the mean protein being 1; 95% of resamples of cells"
    found = [explorer.Listing("Proteins that vary from cell to cell", ranked, "protein", about)]
    clusters = study.clusters.reset_index()
    found.append(explorer.Listing("Clusters of proteins", clusters, "protein cluster", "with their commonest label"))
    if len(study.enrichment):
        first = ["cluster", "term", "overlap", "cluster_genes", "term_genes", "background", "fold", "fdr"]
        fdr = study.options.fdr
        sure = study.enrichment[study.enrichment["fdr"] <= fdr][first].head(SHOWN_ROWS)
        caption = f"terms at a false discovery rate of {fdr:.0%}; the background is all clustered proteins"
        found.append(explorer.Listing("Enriched terms", sure, "protein cluster", caption))
    images = study.images.reset_index().sort_values(["odd_share", "field"], ascending=[False, True]).head(SHOWN_ROWS)
    caption = "odd_share: cells beside the commonest set of labels; nuclei at the border are left out"
    found.append(explorer.Listing("Images by how their cells differ", images, "field", caption))
    single = study.single.reset_index()
    caption = "proteins of several locations, whose cells show one at a time where single_located"
    found.append(explorer.Listing("Several locations, cell by cell", single, "protein", caption))
    return found


def write_page(shown: explorer.View, path: Path) -> None:
    """Leaves the page."""
    files.write_text(path, explorer.page(shown))
