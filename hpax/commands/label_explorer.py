"""The page to explore what `hpax label` found: every cell on a plane, its picture, its field, and what varies."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpax import models, progress
from hpax.analysis import study
from hpax.analysis.atlas import Collection, joined
from hpax.commands import exploring
from hpax.commands.label import Config
from hpax.data import folders
from hpax.models import Network

FOLDER, PAGE = "explorer", "explorer.html"
"""In the workdir: what is known of each field, and the page."""

LEAST = 5  # cells, that can be laid out
FEATURES = "the last but one layer of the first network of cells; without one, the probabilities"


def unavailable(kept: Collection) -> str:
    """Why there can be no explorer of these cells; "" if there can."""
    if importlib.util.find_spec("bokeh") is None:
        return "it needs bokeh; pip install 'hpax[explore]'"
    cells = sum(len(part.obs) for part in kept.parts)
    return f"it needs {LEAST} cells, there are {cells}" if cells < LEAST else ""


def leave(
    config: Config,
    loaded: Sequence[Network],
    kept: Collection | None,
    remarks: Sequence[str],
    failures: Mapping[str, str],
) -> Path | None:
    """Leaves the page of the cells of `kept`, or none, also of before, where none is asked for or there can be none."""
    path = config.workdir / PAGE
    path.unlink(missing_ok=True)
    if kept is None:
        return None
    if reason := unavailable(kept):
        print(f"no {PAGE}: {reason}")
        return None
    with progress.shown("laying out cells", 1) as bar:
        found = study.run(joined(kept.parts), study.Options())
        bar.advance()
    failed = [f"field {id} failed: {why}" for id, why in sorted(failures.items())]
    shown = exploring.view(
        found,
        kept,
        title="Labelled cells",
        provenance=provenance(config, loaded),
        warnings=[*remarks, *failed],
        seed=found.options.seed,
    )
    exploring.write_page(shown, path)
    return path


def provenance(config: Config, loaded: Sequence[Network]) -> dict[str, str]:
    """What the page says of how its cells came about."""
    told = {"fields": f"{config.fields}, {folders.kind(config.fields)}"}
    told["cells"] = f"found ({config.segmenter})" if config.masks is None else f"of {config.masks}"
    for number, network in enumerate(loaded, start=1):
        title = network.card.partition("\n")[0].lstrip("# ") or f"network {number}"
        told[f"labelled by {title}"] = models.card_summary(network.card) or "a network without a card"
    return told | {"features": FEATURES}
