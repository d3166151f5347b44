"""What an atlas takes: fields to cells, labels and features, at growing counts of fields, and what follows for all.

Draws simulated fields, and runs `hpax label` (which finds the cells first) and `hpax embed` on the first 50, 200 and
800 of them, each in a process of its own, whose time and peak memory are measured. Seconds of a field are those between
the smallest count and the largest, so that what a start takes is told apart; memory that grows with the count is told
for each further field. From these follow the hours of the Human Protein Atlas' 83,762 fields and of 1.5 million cells
on so many cores, if cores share the fields without loss, as `--share` and `--beam` let them.
"""

import dataclasses
import itertools
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpax import launch
from hpax.atlas import COLOURS

if TYPE_CHECKING:
    from hpax.metrics.timing import Cost

ATLAS_FIELDS, ATLAS_CELLS = 83_762, 1_500_000
"""Fields of the Human Protein Atlas, and cells of the map of Le et al. (2022)."""

CORES = (1, 16, 64)


@dataclasses.dataclass(frozen=True)
class Config:
    """How many fields, and how they are looked at."""

    counts: tuple[int, ...] = (50, 200, 800)  # of fields, rising
    size: int = 512  # pixels of a field's side, 0.32 µm each
    tta: int = 1  # views of each image
    seed: int = 0  # of the fields

    def __post_init__(self) -> None:
        if len(self.counts) < 2 or any(a >= b for a, b in itertools.pairwise(self.counts)) or self.counts[0] < 1:
            raise ValueError(f"counts must be two or more, from 1 up and rising, got {self.counts}")


PRESETS = {"fast": {"counts": (2, 4), "size": 192}}
SWEEPS: dict[str, Sequence[launch.Difference]] = {}


def run(config: Config, workdir: Path) -> launch.Result:
    """Draws, measures, and computes what an atlas would take."""
    drawn = workdir / "fields"
    draw(config, drawn)
    costs: dict[str, list["Cost"]] = {"label": [], "embed": []}
    cells = []
    for count in config.counts:
        folder = first(drawn, count, workdir / f"first_{count}")
        work = workdir / f"of_{count}"
        for step, command in commands(config, folder, work).items():
            costs[step].append(measured(command, workdir / f"{step}_{count}.log"))
        cells.append(number_of_cells(work / "label" / "cells.h5ad"))
    metrics = rates(config, costs) | atlas(config, costs, cells)
    counts = {f"cells of {count} fields": found for count, found in zip(config.counts, cells, strict=True)}
    headline = [name for name in metrics if "(s)" not in name]
    return launch.Result(metrics, counts | {"cores": cores()}, data="simulated", headline=headline)


def draw(config: Config, folder: Path) -> None:
    """The most fields that are asked about, once."""
    from hpax.commands import main

    if (folder / "fields.csv").exists():  # the last that `hpax simulate` leaves
        return
    count, size, seed = config.counts[-1], config.size, config.seed
    options = ["--count", str(count), "--size", str(size), "--seed", str(seed)]
    if main.main(["simulate", "--fields", str(folder), *options]):
        raise RuntimeError(f"the fields could not be drawn into {folder}")


def first(drawn: Path, count: int, folder: Path) -> Path:
    """A folder with links to the first so many fields, which says that they are simulated."""
    folder.mkdir(exist_ok=True)
    ids = sorted({path.name.rpartition("_")[0] for path in drawn.glob("*_blue.png")})
    channels = itertools.product(ids[:count], COLOURS.values())
    for name in ["simulated.json", *(f"{id}_{colour}.png" for id, colour in channels)]:
        link = folder / name
        if not link.exists():
            link.symlink_to(os.path.relpath(drawn / link.name, folder))
    return folder


def commands(config: Config, folder: Path, work: Path) -> dict[str, list[str]]:
    """Step → its command, begun anew."""
    shutil.rmtree(work, ignore_errors=True)  # what an earlier run had finished would take no time
    hpax = [sys.executable, "-m", "hpax"]
    fields = ["--fields", str(folder)]
    label = ["--workdir", str(work / "label"), "--tta", str(config.tta), "--no-explorer", "--shown", "1"]
    embed = ["--masks", str(work / "label" / "cells"), "--workdir", str(work / "embed")]
    return {"label": [*hpax, "label", *fields, *label], "embed": [*hpax, "embed", *fields, *embed]}


def measured(command: Sequence[str], log: Path) -> "Cost":
    """What a command took.

    Raises:
        RuntimeError: it failed.
    """
    from hpax.metrics import timing

    found = timing.cost(command, log)
    if found.status:
        raise RuntimeError(f"{' '.join(command[1:5])} … ended with status {found.status}; its output is in {log}")
    return found


def number_of_cells(path: Path) -> int:
    """The rows of a table of cells."""
    import anndata

    return anndata.read_h5ad(path, backed="r").n_obs


def rates(config: Config, costs: dict[str, list["Cost"]]) -> dict[str, float]:
    """Seconds and memory of each step at each count, and of a further field."""
    metrics = {}
    for step, found in costs.items():
        for count, each in zip(config.counts, found, strict=True):
            metrics[f"{step}, {count} fields (s)"] = each.seconds
            metrics[f"{step}, {count} fields (fields/s)"] = count / each.seconds
            metrics[f"{step}, {count} fields, peak memory (MB)"] = each.peak_mb
        more = config.counts[-1] - config.counts[0]
        metrics[f"{step}, a further field (s)"] = (found[-1].seconds - found[0].seconds) / more
        metrics[f"{step}, a further field, memory (MB)"] = (found[-1].peak_mb - found[0].peak_mb) / more
    return metrics


def atlas(config: Config, costs: dict[str, list["Cost"]], cells: Sequence[int]) -> dict[str, float]:
    """Hours of the atlas' fields, and of 1.5 million cells in fields like these, by what a further field takes."""
    more = config.counts[-1] - config.counts[0]
    seconds = sum(found[-1].seconds - found[0].seconds for found in costs.values()) / more
    a_field = (cells[-1] - cells[0]) / more
    metrics = {"cells of a field": a_field}
    for many in CORES:
        share = cores() / many
        metrics[f"{ATLAS_FIELDS:,} fields, {many} cores (h)"] = seconds * ATLAS_FIELDS * share / 3600
        metrics[f"{ATLAS_CELLS:,} cells, {many} cores (h)"] = seconds / a_field * ATLAS_CELLS * share / 3600
    return metrics


def cores() -> int:
    """The cores that the measured commands have."""
    from hpax.data import pipeline

    return pipeline.cores()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, presets=PRESETS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
