"""Labels every cell of a folder of microscope fields, by the networks that ship with hpax or by your own.

    hpax label --fields FOLDER --workdir DIR
    hpax label --fields FOLDER --models localize.safetensors classify.safetensors --workdir DIR

Those that ship learnt from simulated cells alone; the page says how far to trust each class. --models names others,
such as localize_cells and classify_cells train.

Takes the cells from --masks, the workdir of a finished `hpax segment` or any folder of masks; without it finds them
first, as `hpax segment` does, and leaves their masks and tables in DIR/cells. Then leaves submission.csv in the
competition's format (every cell with all 19 classes), cells.h5ad (a row for each cell: obs["label"] is the most
probable class, obs["labels"] all whose probability is --threshold or more, obsm["prob"] has all 19), refined.csv where
the folder's table says what the fields show, pictures of fields whose cells have the colour of their label and of where
the networks looked, result.json, index.html, which sets the labels beside those of the table, and explorer.html, which
has every cell on a plane: its picture, its field, and which proteins vary from cell to cell. A command that was stopped
goes on where it was; what depends on pictures, masks, networks or options that have changed is made again. Exit status
1: some fields failed; 2: nothing was done.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hpax.atlas import UmPerPixel
from hpax.commands.command import Call, Command


@dataclasses.dataclass(frozen=True)
class Config:
    """What to label by what, and what to leave."""

    fields: Path  # folder of the fields
    models: tuple[Path, ...] = (Path("label-fields"), Path("label-cells"))  # names, files; those of a kind are averaged
    workdir: Path = Path("runs/label")
    masks: Path | None = None  # the workdir of `hpax segment`, or a folder of masks; None: find the cells first
    annotations: str = ""  # the labels' table in the folder; "": the only one there, if any
    segmenter: Literal["networks", "classical"] = "networks"  # where the cells are to be found first
    um_per_pixel: UmPerPixel = 0.0  # µm; 0: what `segment` took, as the files state, or by the width; auto: by nuclei
    camera_bits: int = 0  # of channels with more than 8 bits, such as 12; 0: the fewest that hold all pixels
    planes: Literal["clear", "own"] = "clear"  # own: of pictures in several colours, that of the channel in their name
    tta: Annotated[int, tyro.conf.arg(aliases=("--turns",))] = 8  # views of each field: 1, 2, 4 or 8 flips and turns
    cell_tta: int | None = None  # views of each cell; None: as saved, or as many, at most 4 beside a network of fields
    negative: Literal["as predicted", "excludes", "is the rest"] = "as predicted"  # see hpax.predict.combine
    threshold: float = 0.4  # from which a class is among a cell's labels; of 0.1 to 0.5 the best F1 on simulated cells
    border_weights: bool = False  # lower the scores of small cells and of those that the border cuts
    refinement: Literal["relative", "paper", "code"] = "relative"  # of labels of fields to cells: hpax.predict.refine
    shown: int = 12  # fields with pictures
    explorer: bool = True  # leave explorer.html: every cell on a plane, its picture, its field; 11 KB a cell on disk
    workers: int = 0  # fields that are worked on at once; 0: as many as there are cores, 4 at most
    share: str = ""  # of the fields, such as 2/4, for the second of four processes; afterwards, once without it
    beam: str = ""  # flags of an Apache Beam pipeline, such as "--runner=FlinkRunner"; its workers share the fields
    beam_shares: int = 8  # elements of that pipeline: so many workers can be busy

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be a probability within 0 and 1, got {self.threshold}")
        if self.workers < 0:
            raise ValueError(f"workers must be a number of fields, or 0 for as many as fit, got {self.workers}")


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Finds and labels; returns why some fields failed."""
    from hpax.commands import beam, labelling

    if config.beam:
        beam.run_shares(labelling.run, config, call)
    return labelling.run(dataclasses.replace(config, beam=""), call)


COMMAND = Command("label", __doc__, Config, work)
main = COMMAND.main
