"""Explores an atlas of single cells: clusters, enriched terms, variable proteins, attention, and a page to look at.

Takes the simulated atlas, whose biology is planted, or `--fields FOLDER`, whose cells are found, labelled and embedded
as `hpax segment` and `hpax label` do. Leaves atlas.h5ad (opens in scanpy and cellxgene), tables/*.csv, figures/ as PNG
and SVG, and index.html, one page that opens offline. What is known of a field is kept in cells/, so that a command that
was stopped goes on, and `--gene-sets` or a number of clusters can be changed in a new workdir at little cost.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpax import launch
from hpax.atlas import UmPerPixel
from hpax.recipes import data_configs

if TYPE_CHECKING:
    from hpax.analysis.enrich import GeneSets
    from hpax.analysis.study import Study
    from hpax.commands.atlas_cells import Describer, Fields


@dataclasses.dataclass(frozen=True)
class Config:
    """Which cells, what describes them, and what to ask."""

    fields: Path | None = None  # folder of fields; None: the simulated atlas
    annotations: str = ""  # the labels' table in the folder; "": the only one there, if any
    masks: Path | None = None  # of a folder: the workdir of `hpax segment`, or masks; None: cells are found first
    um_per_pixel: UmPerPixel = 0.0  # µm, of a folder; 0: as the files state, or by the width; auto: by the nuclei
    gene_sets: Path | None = None  # a .gmt file of the proteins' names; of the simulated atlas its planted locations
    locations: Path | None = None  # proteinatlas.org's subcellular_location.tsv: checks the gene sets on known genes
    models: tuple[Path, ...] = (Path("label-fields"), Path("label-cells"))  # that label cells; names or files
    encoder: Path | None = None  # of features, by `hpax train inpaint`; None: the classifier's last but one layer
    layer: str = "conv3"  # of the encoder
    tta: int = 1  # views of each image: 1, 2, 4 or 8 flips and rotations
    atlas: data_configs.Atlas = data_configs.Atlas(proteins=304, realism="randomised")
    data_dir: Path = Path("runs/data")  # where the simulated atlas is kept
    clusters: int = 0  # of proteins; 0: as many as the silhouette likes best
    permutations: int = 100  # of the null run of enrichment
    decoys: int = 100  # random gene sets beside the planted ones
    attention_layer: str = ""  # of the network of cells: backbone, its last map, or a module in it; "": the finest map
    attention_cells: int = 200  # cells of one location whose maps are compared with their protein
    seed: int = 0


PRESETS: dict[str, launch.Difference] = {
    "fast": {"atlas.proteins": 38, "atlas.size": 320, "attention_cells": 38, "decoys": 40},
}
SWEEPS: dict[str, Sequence[launch.Difference]] = {}


def run(config: Config, workdir: Path) -> launch.Result:
    """Collects the cells, studies them, and leaves tables, figures and the page."""
    from hpax.analysis import atlas as atlas_tables
    from hpax.analysis import study
    from hpax.commands import atlas_cells, exploring

    describe = atlas_cells.describer(config.models, encoder=config.encoder, layer=config.layer, tta=config.tta)
    with launch.opening():
        fields = opened(config, workdir)
    kept = atlas_cells.collect(fields, describe, workdir / "cells")
    sets = gene_sets(config)
    options = study.Options(clusters=config.clusters, seed=config.seed)
    told = provenance(config)
    found = study.run(atlas_tables.joined(kept.parts, uns={"provenance": told}), options, sets=sets)
    metrics = attention(config, workdir, fields, describe, found)
    metrics |= null_run(config, found, sets) | known_terms(config, sets)
    if config.fields is None:
        metrics |= planted(config, found)
    metrics["heterogeneous images"] = float(found.images["heterogeneous"].mean()) if len(found.images) else np.nan
    exploring.write_tables(found, workdir)
    exploring.write_figures(found, kept, workdir)
    warnings = remarks(config) + [f"field {field} failed: {why}" for field, why in sorted(fields.failures.items())]
    shown = exploring.view(
        found, kept, title="The atlas explored", provenance=told, warnings=warnings, seed=config.seed
    )
    exploring.write_page(shown, workdir / exploring.PAGE)
    headline = [name for name in metrics if name in HEADLINE or name.startswith("attention: IoU, ")]
    return launch.Result(metrics, counts(found), data=data_configs.Data(fields=config.fields).kind, headline=headline)


HEADLINE = (
    "clusters: adjusted Rand",
    "clusters: mutual information",
    "variable proteins: precision at 10",
    "variable proteins: precision at 50",
    "heterogeneous images: F1",
    "enrichment: planted found",
    "enrichment: null runs with a term",
    "attention: IoU",
    "attention: IoU of random weights",
    "known genes: terms found",
)


def opened(config: Config, workdir: Path) -> "Fields":
    """The fields, with their masks."""
    from hpax.commands import atlas_cells, label
    from hpax.commands.command import Call

    if config.fields is None:
        return atlas_cells.simulated(config.atlas, config.data_dir, config.seed)
    labels = label.Config(
        fields=config.fields,
        models=config.models,
        workdir=workdir / "labels",
        masks=config.masks,
        annotations=config.annotations,
        um_per_pixel=config.um_per_pixel,
        tta=config.tta,
        explorer=False,
    )
    return atlas_cells.of_folder(labels, Call(("python", "-m", "experiments.explore_atlas"), "", ()))


def gene_sets(config: Config) -> "GeneSets | None":
    """Those of the file, or of the simulated atlas its main locations and as many random ones."""
    from hpax.analysis import enrich, planted

    if config.gene_sets is not None:
        return enrich.read_gmt(config.gene_sets)
    if config.fields is not None:
        return None
    return planted.gene_sets(proteome(config), decoys=config.decoys, seed=config.seed)


def proteome(config: Config) -> tuple:
    """The proteins of the simulated atlas, with what was planted."""
    from hpax import simulate

    atlas = config.atlas
    return simulate.proteome(
        proteins=atlas.proteins,
        seed=config.seed,
        balanced=atlas.balanced,
        multilocalised=atlas.multilocalised,
        varying=atlas.varying,
    )


def attention(
    config: Config, workdir: Path, fields: "Fields", describe: "Describer", found: "Study"
) -> dict[str, float]:
    """How the maps of cells of one location overlap with their protein; a table and a figure of it."""
    from hpax.commands import attending

    if not describe.ensemble.cells or config.attention_cells < 1:
        return {}
    table = attending.study(
        describe.ensemble.cells[0],
        fields.open(),
        found.cells,
        workdir,
        layer=config.attention_layer,
        most=config.attention_cells,
        seed=config.seed,
    )
    if not len(table):
        return {}
    own, control = (float(table[name].mean()) for name in ("iou", "control"))
    classes = {f"attention: IoU, {name}": float(iou) for name, iou in table["iou"].items()}
    return {"attention: IoU": own, "attention: IoU of random weights": control, **classes}


def null_run(config: Config, found: "Study", sets: "GeneSets | None") -> dict[str, float]:
    """Of shuffled clusters, how many have any enriched term."""
    from hpax.analysis import enrich

    if sets is None:
        return {}
    names, clusters = found.proteins.index.to_numpy(str), found.proteins["cluster"].to_numpy(int)
    false = enrich.null_run(names, clusters, sets, permutations=config.permutations, seed=config.seed)
    return {"enrichment: null runs with a term": float((false > 0).mean()) if len(false) else np.nan}


def known_terms(config: Config, sets: "GeneSets | None") -> dict[str, float]:
    """Whether genes of known locations have the terms that mean the same."""
    from hpax.analysis import known_locations

    if config.locations is None or sets is None:
        return {}
    genes, every = known_locations.genes_of_locations(config.locations)
    table = known_locations.expected_terms(genes, every, sets)
    return {"known genes: terms found": float(table["found"].sum()), "known genes: terms": float(len(table))}


def planted(config: Config, found: "Study") -> dict[str, float]:
    """The study against what was planted."""
    from hpax import atlas
    from hpax.analysis import planted as truth

    proteins = {protein.name: protein for protein in proteome(config)}
    table, cells = found.proteins, found.cells
    main = np.array([atlas.LOCATIONS[proteins[name].locations[0]] for name in table.index])
    metrics = {f"clusters: {name}": value for name, value in truth.clusters(table["cluster"].to_numpy(), main).items()}
    metrics["clusters"] = float(table["cluster"].nunique())
    varying = {name for name, protein in proteins.items() if protein.variation > 0}
    for name, column in (("variable proteins", "variability"), ("log ratio", "log_ratio_sd")):
        ranked = table.dropna(subset=[column]).sort_values(column, ascending=False).index.tolist()
        for k in (10, 50):
            metrics[f"{name}: precision at {k}"] = truth.precision_at(ranked, varying, k)
        metrics[f"{name}: chance"] = sum(each in varying for each in ranked) / max(1, len(ranked))
    fields, cut = cells.obs["field"].astype(str).to_numpy(), cells.obs["nucleus_cut"].to_numpy(bool)
    images = truth.heterogeneous_images(found.images, fields, cells.obsm["truth"], cut)
    metrics |= {f"heterogeneous images: {name}": value for name, value in images.items()}
    tables = (cells.obsm[name] for name in ("labels", "refined", "truth"))
    metrics |= {f"refinement: {name}": value for name, value in truth.refinement(*tables).items()}
    return metrics | {f"enrichment: {name}": value for name, value in truth.enriched(found.enrichment).items()}


def provenance(config: Config) -> dict[str, str]:
    """What the page and the files say of how they were made."""
    told = {"fields": "the simulated atlas" if config.fields is None else str(config.fields)}
    told |= {"cells": "true masks" if config.fields is None else str(config.masks or "found by hpax segment")}
    told |= {"labels": ", ".join(map(str, config.models)), "features": str(config.encoder or "the cell classifier's")}
    told |= {"gene sets": str(config.gene_sets or ("planted" if config.fields is None else "none"))}
    return told | {"µm per pixel": str(config.um_per_pixel or "as files state"), "seed": str(config.seed)}


def remarks(config: Config) -> list[str]:
    """What a reader must know first."""
    shipped = {"label-fields", "label-cells"} & {str(name) for name in config.models}
    kind = data_configs.Data(fields=config.fields).kind
    told = ["simulated cells: nothing here is biology"] if kind == "simulated" else []
    if shipped:
        told.append(f"{', '.join(sorted(shipped))} learnt from simulated cells alone; cards say which classes fail")
    return told


def counts(found: "Study") -> dict[str, int]:
    """What the numbers rest on."""
    return {
        "cells": found.cells.n_obs,
        "fields": found.cells.obs["field"].nunique(),
        "proteins": len(found.proteins),
        "terms": found.enrichment["term"].nunique(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
