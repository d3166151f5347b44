"""Trains models of your fields or cells: the study of that name, with its own options.

    hpax train combine --fields FOLDER --workdir DIR

`hpax train NAME --help` tells the options of a study, which are those of `python -m experiments.STUDY`. Each run leaves
its networks, which `hpax.load` reads, result.json and index.html in DIR/ARM/SEED, and goes on where it was stopped.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from hpax import launch
from hpax.commands import listing
from hpax.commands.command import NOTHING_DONE, OK, parts
from hpax.launch.manual import wrapped

STUDIES = {
    "localize": "localize_cells",
    "classify": "classify_cells",
    "combine": "combine_labels",
    "inpaint": "inpaint_pairs",
    "segment": "segment_fields",
}
"""What to train → the study that trains it. Studies come with hpax, but hpax knows them by their names alone."""

PACKAGE = "experiments"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study that the arguments name; without one, lists them all."""
    name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        print("error: the studies are not installed; run this in a checkout of hpax", file=sys.stderr)
        return NOTHING_DONE
    if name in ("-h", "--help"):
        print(overview(Path(next(iter(found.submodule_search_locations)))))
        return OK
    if name not in STUDIES:
        print(f"error: there is no study {name!r}; {listing.nearest(name, STUDIES)}", file=sys.stderr)
        return NOTHING_DONE
    study = importlib.import_module(f"{PACKAGE}.{STUDIES[name]}")
    with launch.called(f"hpax train {name}"):
        return study.main(rest)


def overview(folder: Path) -> str:
    """Every study with its claim."""
    claims = {name: listing.claim(folder / f"{study}.py") for name, study in STUDIES.items()}
    about, example, outputs = parts(__doc__ or "")
    usage = "usage: hpax train NAME [OPTIONS]"
    return "\n\n".join([f"for example: {example}", usage, about, listing.table(claims), wrapped(outputs)])
