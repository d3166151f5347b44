"""From nothing to features of single cells in minutes, on cells that are simulated while you wait.

Simulates an atlas, builds its shards, trains a narrow inpainting network on some of its proteins, and asks what the
features know of the others: nearest neighbours of each layer against the same encoder untrained and against classic
features. Leaves index.html, a page with tables and pictures; features.h5ad with the features of all cells; and
unseen.h5ad with those of the other proteins and their UMAP.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
import rich.console
from jaxtyping import Float

from experiments import inpaint_pairs
from experiments.inpaint_pairs import LAYERS, Study
from hpax import launch
from hpax.explore import charts, page, scatter


@dataclasses.dataclass(frozen=True)
class Config(inpaint_pairs.Config):
    """As `experiments.inpaint_pairs`; its defaults suit two processor cores and a few minutes."""


SWEEPS: dict[str, tuple[launch.Difference, ...]] = {}


def run(config: Config, workdir: Path) -> launch.Result:
    """The study of `inpaint_pairs`, a UMAP of its features, and the page that holds them together."""
    done = inpaint_pairs.study(config, workdir)
    table = done.tables["trained"]
    unseen = table[table.obs["asked"]].copy()
    unseen.obsm["X_umap"] = embed(unseen, done.config)
    unseen.write_h5ad(workdir / "unseen.h5ad")
    page.write(workdir / "index.html", page.page("hpax quickstart", about(done), sections(done, unseen)))
    rich.console.Console().print(f"the page: {workdir / 'index.html'}", soft_wrap=True)
    shown = [f"{who} {layer}" for layer in LAYERS for who in ("trained", "untrained")] + ["classic", "chance"]
    metrics, counts = inpaint_pairs.metrics(done), inpaint_pairs.counts(done)
    return launch.Result(metrics=metrics, counts=counts, data=done.cells.kind, headline=shown)


def embed(table: anndata.AnnData, config: Config) -> Float[np.ndarray, "n 2"]:
    """UMAP of the layer that the config names, features standardised."""
    features = table[:, table.var["layer"] == config.layer].X
    spread = features.std(0)
    return scatter.embed((features - features.mean(0)) / np.where(spread > 0, spread, 1), seed=config.seed)


def about(done: Study) -> str:
    """What was done, in a sentence."""
    counts = inpaint_pairs.counts(done)
    return (
        f"A network learnt from {counts['training cells']} simulated cells of {counts['training proteins']} proteins, "
        f"without labels, to paint the protein of one cell from another cell of the same image "
        f"(paired cell inpainting, Lu et al. 2019). Below, what its features know of {counts['benchmark cells']} cells "
        "of proteins that it has not seen. All cells are simulated."
    )


def sections(done: Study, unseen: anndata.AnnData) -> list[page.Section]:
    """The page, from top to bottom."""
    layer, points, labels = done.config.layer, unseen.obsm["X_umap"], unseen.obs["label"].to_numpy(str)
    known = labels != ""
    pairs, mismatched = done.pictures["siblings"], done.pictures["mismatched"]
    return [
        page.Section("Do neighbours in feature space share a location?", [accuracy_table(done)]),
        page.Section(
            "What the network paints",
            [
                page.Picture(pairs, "Grid of source cells, target markers, painted and actual proteins", "Siblings"),
                page.Picture(
                    mismatched,
                    "Grid of source cells and markers of cells with another protein, painted and actual proteins",
                    "Mismatched pairs: the prediction should look like the source's protein in the target's shape",
                ),
            ],
        ),
        page.Section("Training", [page.Picture(curve(done), "Loss falling over the steps", "Mean squared error")]),
        page.Section(
            f"Cells of unseen proteins by {layer}",
            [
                page.Picture(
                    scatter.scatter(points[known], labels[known].tolist()),
                    f"Scatter of cells coloured by their location, by UMAP of {layer}",
                    "UMAP, 20 neighbours, minimum distance 0.3; the colours are true locations of simulated cells",
                )
            ],
        ),
    ]


def accuracy_table(done: Study) -> page.Table:
    """Balanced accuracy by layer, trained against untrained, classic features below."""
    scores = inpaint_pairs.metrics(done)
    rows: list[Sequence[str | float | None]] = [
        [layer, scores[f"trained {layer}"], scores[f"untrained {layer}"]] for layer in LAYERS
    ]
    rows += [["classic features", scores["classic"], None], ["chance", scores["chance"], None]]
    caption = (
        f"Balanced accuracy of the {done.config.k} nearest neighbours over {len(done.scores['classic'].classes)} "
        f"classes; a cell's neighbours come from other proteins only. Simulated cells."
    )
    return page.Table(["features", "trained", "untrained"], rows, caption)


def curve(done: Study) -> np.ndarray:
    """Training and validation loss over the steps."""

    def line(name: str) -> tuple[list[float], list[float]]:
        rows = [row for row in done.history if name in row]
        return [row["step"] for row in rows], [row[name] for row in rows]

    return charts.curves({name.partition("/")[0]: line(name) for name in ("train/loss", "validation/loss")})


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
