"""What an encoder knows of cells: tables of features, nearest neighbours, pictures, and the page that holds them.

Held against the same encoder untrained and against classic features. Cells without classes get all but the benchmark.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
from jaxtyping import UInt8

from hpax import train
from hpax.explore import charts, colour, page, scatter
from hpax.features import handcrafted, tables
from hpax.metrics import field_neighbours, neighbours
from hpax.nn.inpainter import LAYERS
from hpax.recipes import inpaint
from hpax.recipes.cells import Cells

CAPTIONS = {
    "siblings": ("Grid of source cells, target markers, painted and actual proteins", "Siblings"),
    "mismatched": (
        "Grid of source cells and markers of cells with another protein, painted and actual proteins",
        "Mismatched pairs: the prediction should look like the source's protein in the target's shape",
    ),
}
"""Of pictures: what they show in words, and their caption."""

SOURCES = {
    "sibling": "another cell of the same image",
    "protein": "a cell of the same protein in another field",
    "self": "the same cell",
    "random": "a cell of another image",
}
"""Kind of pair → what the protein is painted from, in words."""

ERRORS = {
    "squared": "Mean squared error",
    "absolute": "Mean absolute error",
    "correlation": "1 − Pearson's correlation",
}
"""The error of what is painted, in words."""

UNKNOWN = "Neighbours were not asked: fewer than two classes are known of cells in two groups each."


@dataclasses.dataclass(frozen=True)
class Report:
    """What an encoder was found to know."""

    cells: Cells
    config: inpaint.Config  # how the encoder learnt
    layer: str  # that pictures speak of
    k: int  # neighbours that vote
    shown: anndata.AnnData  # the cells asked about, with their UMAP
    scores: Mapping[str, neighbours.Benchmark]  # as `tables.benchmark` names them; empty where no class is known
    fields: Mapping[str, field_neighbours.FieldBenchmark]  # as `tables.benchmark_fields` has them
    quality: Mapping[str, float]  # of the painted proteins
    history: Sequence[Mapping[str, float]]  # of training
    pictures: Mapping[str, UInt8[np.ndarray, "h w 3"]]


def study(
    config: inpaint.Config, cells: Cells, folder: Path, workdir: Path, *, layer: str, k: int, seed: int
) -> Report:
    """Trains in `folder`, extracts and benchmarks.

    Leaves features.h5ad of every layer, untrained.h5ad, classic.h5ad, the cells of the UMAP (unseen.h5ad where
    training held their proteins out, else umap.h5ad) and pictures in `workdir`.
    """
    encoder = inpaint.train_model(config, cells, folder, seed=seed)
    encoders = {
        "trained": encoder.encode,
        "untrained": inpaint.untrained(config, cells, seed=seed).encode,
        "classic": handcrafted.encode,
    }
    paths = {"trained": workdir / "features.h5ad"}
    paths |= {name: workdir / f"{name}.h5ad" for name in ("untrained", "classic")}
    obsm = None if cells.all_labels is None else {"labels": cells.all_labels}
    names = {"classic": handcrafted.names(cells.channels)}
    made = tables.write(encoders, cells.batches(), cells.obs(), paths, names=names, obsm=obsm)
    shown = tables.on_a_plane(made["trained"], layer, seed=seed)
    shown.write_h5ad(workdir / ("unseen.h5ad" if cells.held_out else "umap.h5ad"))
    painted = inpaint.pictures(encoder, cells)
    for name, picture in painted.items():
        (workdir / f"{name}.png").write_bytes(colour.png(picture))
    return Report(
        cells=cells,
        config=config,
        layer=layer,
        k=k,
        shown=shown,
        scores=tables.benchmark(made, protocol=cells.protocol, k=k) if cells.labelled else {},
        fields=tables.benchmark_fields(made, k=k),
        quality=inpaint.quality(encoder, cells, seed=seed),
        history=train.history(folder),
        pictures=painted,
    )


def metrics(report: Report) -> dict[str, float]:
    """Balanced accuracy by encoder and layer, what to hold it against, and how well the network paints.

    Where fields show several classes, their mean average precision by "fields, trained conv3" and the like, too.
    """
    painted = {"correlation": report.quality["correlation"], "loss": report.quality["loss"]}
    for name, result in report.fields.items():
        painted[f"fields, {name}"] = result.interval[report.k].value
        painted["fields, chance"] = result.chance[report.k]
    if not report.scores:
        return painted
    accuracy = {name: score.balanced_accuracy[report.k] for name, score in report.scores.items()}
    return {
        "knn": accuracy[f"trained {report.layer}"],
        **accuracy,
        "untrained best": max(accuracy[f"untrained {layer}"] for layer in LAYERS),
        "chance": report.scores["classic"].chance[report.k],
        **painted,
    }


def counts(report: Report) -> dict[str, int]:
    """What the numbers rest on."""
    cells = report.cells
    learnt = {
        "training cells": len(cells.training),
        "training proteins": cells.training.table["protein"].nunique(),
    }
    if cells.left_out:
        learnt["variable proteins left out"] = len(cells.left_out)
    if report.fields:
        learnt |= next(iter(report.fields.values())).counts
    if not report.scores:
        return learnt | {"cells": len(cells.everything), "classes": 0}
    score = report.scores["classic"]
    return learnt | {
        "benchmark cells": sum(score.counts),
        "classes": len(score.classes),
        f"groups left out by {cells.protocol}": score.groups,
        "classes of one group dropped": len(score.single_group_classes),
    }


def write_page(report: Report, path: Path, *, title: str, explorer: str = "") -> None:
    """The page, from top to bottom; `explorer` is the name of the page of cells beside it, to which it leads first."""
    words = "Explore the cells: each on the plane, with its picture; find a protein, compare its cells"
    first = [page.Section("Cells", [page.Link(explorer, words)])] if explorer else []
    page.write(path, page.page(title, about(report), [*first, *sections(report)]))


def about(report: Report) -> str:
    """What was done, in a sentence or three."""
    cells = report.cells
    beside = ", and to tell cells of its protein from others beside" if report.config.contrast else ""
    asked = f"{len(cells.held)} cells of proteins that it has not seen" if cells.held_out else "the same cells"
    return (
        f"A network learnt from {len(cells.training)} {cells.origin} cells of "
        f"{cells.training.table['protein'].nunique()} proteins, without labels, to paint the protein of one cell from "
        f"{SOURCES[report.config.pair]} (paired cell inpainting, Lu et al. 2019){beside}. Below, what its features "
        f"know of {asked}. All cells are {cells.origin}."
    )


def sections(report: Report) -> list[page.Section]:
    """Neighbours, pictures, training, and the UMAP."""
    painted = [page.Picture(picture, *CAPTIONS[name]) for name, picture in report.pictures.items()]
    error = ERRORS[report.config.error] + (", in training with the weighted contrast" if report.config.contrast else "")
    return [
        page.Section("Do neighbours in feature space share a class?", neighbour_tables(report)),
        page.Section("What the network paints", painted),
        page.Section("Training", [page.Picture(_curve(report), "Loss falling over the steps", error)]),
        page.Section(f"Cells by {report.layer}", [_umap(report)]),
    ]


def neighbour_tables(report: Report) -> list[page.Table | page.Text]:
    """Balanced accuracy by layer, trained against untrained, classic features below; the same of whole fields."""
    cells, numbers = report.cells, metrics(report)
    blocks: list[page.Table | page.Text] = []
    if report.scores:
        caption = (
            f"Balanced accuracy of the {report.k} nearest neighbours over {len(report.scores['classic'].classes)} "
            f"classes; a cell's neighbours come from another {cells.protocol} only. {cells.origin.capitalize()} cells."
        )
        blocks.append(_by_layer(numbers, "", caption))
    else:
        blocks.append(page.Text(UNKNOWN))
    if report.fields:
        first = report.fields["classic"]
        caption = (
            f"Fields of several classes, ranked by the labels of the {report.k} nearest neighbours of their cells in "
            f"other fields: mean average precision over {len(first.classes)} classes of {len(first.fields)} fields; "
            f"{first.cells} {cells.origin} cells."
        )
        blocks.append(_by_layer(numbers, "fields, ", caption))
    return blocks


def _by_layer(scores: Mapping[str, float], kind: str, caption: str) -> page.Table:
    rows: list[Sequence[str | float | None]] = []
    for layer in LAYERS:
        rows.append([layer, scores[f"{kind}trained {layer}"], scores[f"{kind}untrained {layer}"]])
    rows.append(["classic features", scores[f"{kind}classic"], None])
    rows.append(["neighbours at random", scores[f"{kind}chance"], None])
    return page.Table(["features", "trained", "untrained"], rows, caption)


def _curve(report: Report) -> UInt8[np.ndarray, "h w 3"]:
    """Training and validation loss over the steps."""
    lines = {}
    for name in ("train/loss", "validation/loss"):
        rows = [row for row in report.history if name in row]
        lines[name.partition("/")[0]] = [row["step"] for row in rows], [row[name] for row in rows]
    return charts.curves(lines)


def _umap(report: Report) -> page.Picture:
    """The cells asked about, in the colour of their class, or of their protein where no class is known."""
    column = "label" if report.scores else "protein"
    points, names = report.shown.obsm["X_umap"], report.shown.obs[column].to_numpy(str)
    known = names != ""
    truth = "true locations of simulated cells" if report.cells.protocol == "protein" else f"each cell's {column}"
    return page.Picture(
        scatter.scatter(points[known], names[known].tolist()),
        f"Scatter of cells coloured by their {column}, by UMAP of {report.layer}",
        f"UMAP, 20 neighbours, minimum distance 0.3; the colours are {truth}",
    )
