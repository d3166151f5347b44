"""Draws a folder of simulated fields whose truth is known, to try everything on.

    hpax simulate --fields FIELDS --count 12

Leaves {id}_{red,green,blue,yellow}.png at 0.32 µm per pixel, fields.csv with their labels, proteins and cell lines,
truth.csv with what every cell shows, as `hpax score` takes it, and simulated.json, by which every command knows that
these fields are not real. The same options draw the same pixels.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

import hpax
from hpax import atlas, files, progress
from hpax.commands.command import Call, Command

if TYPE_CHECKING:
    from hpax import simulate
    from hpax.formats import kaggle

TABLE, TRUTH = "fields.csv", "truth.csv"


@dataclasses.dataclass(frozen=True)
class Config:
    """How many fields, of which proteins."""

    fields: Path  # the folder to draw them into
    count: int = 19  # fields, each of another protein; the main classes take turns
    size: int = 512  # pixels of a field's side, 0.32 µm each
    realism: Literal["plain", "randomised"] = "plain"  # "randomised": as real fields vary (hpax.simulate)
    seed: int = 0  # of the proteins and the fields

    def __post_init__(self) -> None:
        if self.count < 1 or self.size < 64:
            raise ValueError(f"count must be at least 1 and size 64, got {self.count} and {self.size}")


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Draws field after field, then their tables."""
    from hpax import simulate
    from hpax.commands import tables
    from hpax.data import folders
    from hpax.formats import kaggle

    proteins = simulate.proteome(proteins=config.count, seed=config.seed, balanced=True)
    lines = simulate.cell_lines(config.realism)
    config.fields.mkdir(parents=True, exist_ok=True)
    told = {"seed": config.seed, "realism": config.realism, "version": hpax.__version__}
    files.write_json(config.fields / folders.SIMULATED, told)  # first: there is no field without it
    rows: list[dict[str, str]] = []
    with kaggle.writing(config.fields / TRUTH) as add, progress.shown("drawing fields", config.count) as bar:
        for number, protein in enumerate(proteins):
            line = lines[number % len(lines)]
            field = simulate.field(protein, line, 0, seed=config.seed, size=config.size, realism=config.realism)
            id = f"field{number:04d}"
            write_channels(config.fields, id, field.image)
            row = {"id": id, "label": labels(field), "gene": field.protein, "cell_line": field.cell_line}
            rows.append(row)
            add(truth(id, field))
            bar.advance()
    tables.write(config.fields / TABLE, rows)
    print(f"the fields: {config.fields}")
    return {}


def write_channels(folder: Path, id: str, image: np.ndarray) -> None:
    """A grey PNG of each channel, as Kaggle names them."""
    from PIL import Image

    for channel, pixels in zip(atlas.CHANNELS, np.moveaxis(image, -1, 0), strict=True):
        with files.replacing(folder / f"{id}_{atlas.COLOURS[channel]}.png") as draft:
            Image.fromarray(np.ascontiguousarray(pixels)).save(draft, format="PNG")


def labels(field: "simulate.SimulatedField") -> str:
    """The classes of a field, by name."""
    return "|".join(atlas.LOCATIONS[label] for label in np.flatnonzero(field.labels))


def truth(id: str, field: "simulate.SimulatedField") -> "kaggle.Listing":
    """What every cell shows, as a row of a submission."""
    from hpax.formats import label_images

    return label_images.listing(id, field.cells, np.where(field.cell_labels == 1, 1.0, np.nan))


COMMAND = Command("simulate", __doc__, Config, work)
main = COMMAND.main
