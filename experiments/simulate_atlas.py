"""Look at the simulated atlas: a contact sheet of its 19 patterns, and simulated fields beside real ones.

Writes `patterns.jpg`; `fields.jpg` with simulated and real fields in the HPA's colours; `simulated_against_real.jpg`
with simulated fields and the distributions of both sides, which holds no real pixel; and `statistics.csv`. Prints for
every statistic whether the simulated median lies within the 5–95% spread of the real fields, and how far plain and
randomised fields are from real ones: grey levels, spectra, correlations, and how well a classifier tells patches apart.
"""

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich.console
import rich.table

from hpax import atlas, launch

if TYPE_CHECKING:
    import numpy

    from hpax.metrics import domain_gap

FOLDS = 5  # of the classifier that tells simulated from real


@dataclasses.dataclass(frozen=True)
class Config:
    """What to draw and to compare."""

    seed: int = 0
    simulated: int = 64  # fields to compare
    cells: int = 6  # shown per pattern
    realism: Literal["plain", "randomised"] = "plain"  # of the fields that are drawn and compared
    fields: Path | None = None  # folder of real fields, such as hpa_fields of the one that HPAX_REAL_DATA names


def run(config: Config, workdir: Path) -> launch.Result:
    """Draw the sheets, compare the statistics; without real fields, only the simulated side."""
    from hpax.commands import tables
    from hpax.data import read_folder
    from hpax.explore import atlas_sheets as sheets
    from hpax.metrics.field_statistics import compare, field_statistics

    sheets.save(sheets.pattern_sheet(config.seed, config.cells), workdir / "patterns.jpg")
    pictures = {"simulated": sheets.simulated_fields(config.seed, config.simulated, config.realism)}
    if config.fields:
        with launch.opening():
            pictures["real"] = [sheets.reduced(field.image, field.um_per_pixel) for field in read_folder(config.fields)]
    statistics = {side: [field_statistics(picture) for picture in images] for side, images in pictures.items()}
    sheets.save(sheets.field_sheet(pictures), workdir / "fields.jpg")
    sheets.save(sheets.statistics_sheet(pictures["simulated"], statistics), workdir / "simulated_against_real.jpg")
    rows = compare(statistics["simulated"], statistics.get("real", []))
    tables.write(workdir / "statistics.csv", rows)
    _print_table(rows)
    metrics = {row["statistic"]: row["simulated"] for row in rows}
    headline = ["nuclei per field", "nucleus area (µm²)"]
    if config.fields:
        metrics["share within the real spread"] = sum(row["within"] for row in rows) / len(rows)
        headline.append("share within the real spread")
        gaps = domain_gaps(config, **pictures)
        _print_gaps(gaps)
        for realism, gap in gaps.items():
            metrics |= gap_metrics(realism, gap)
            headline.append(f"{realism}: AUC simulated or real")
    counts = {f"{side} fields": len(images) for side, images in pictures.items()}
    return launch.Result(metrics=metrics, counts=counts, data="simulated", headline=headline)


def domain_gaps(
    config: Config, simulated: "list[numpy.ndarray]", real: "list[numpy.ndarray]"
) -> "dict[str, domain_gap.Gap]":
    """How far fields of each realism are from real ones; nothing where either side has too few to cross-validate.

    `simulated` are those of the config's own realism.
    """
    from hpax import simulate
    from hpax.explore.atlas_sheets import simulated_fields
    from hpax.metrics import domain_gap

    if min(config.simulated, len(real)) < FOLDS:
        return {}
    gaps = {}
    for realism in typing.get_args(simulate.Realism):
        own = simulated if realism == config.realism else simulated_fields(config.seed, config.simulated, realism)
        gaps[realism] = domain_gap.compare(own, real, channels=atlas.CHANNELS, folds=FOLDS)
    return gaps


def gap_metrics(realism: str, gap: "domain_gap.Gap") -> dict[str, float]:
    """The distances of one realism by name."""
    found = {f"{realism}: AUC simulated or real": gap.auc, f"{realism}: correlations apart": gap.correlations}
    for name, level, spectrum in zip(atlas.CHANNELS, gap.levels, gap.spectra, strict=True):
        found[f"{realism}: {name} levels apart"] = float(level)
        found[f"{realism}: {name} spectra apart"] = float(spectrum)
    return found


def _print_table(rows: Sequence[dict]) -> None:
    table = rich.table.Table(*rows[0], title="median of fields at 0.32 µm per pixel")
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console = rich.console.Console()
    console.print(table)
    if "within" in rows[0]:
        inside = sum(row["within"] for row in rows)
        console.print(f"{inside} of {len(rows)} simulated medians lie within the real fields' 5–95% spread")


def _print_gaps(gaps: "dict[str, domain_gap.Gap]") -> None:
    console = rich.console.Console()
    for realism, gap in gaps.items():
        telling = ", ".join(f"{name} {area:.2f}" for name, area in gap.telling[:3])
        sides = " and ".join(
            f"{count} patches of {of} fields" for count, of in zip(gap.patches, gap.fields, strict=True)
        )
        console.print(f"{realism}: a classifier tells simulated from real with AUC {gap.auc:.3f} ({sides}); {telling}")


SWEEPS: dict[str, tuple[dict, ...]] = {}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
