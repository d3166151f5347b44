"""Segments every field of a folder: cells and nuclei as masks, pictures, a table of cells, and shards of single cells.

    hpax segment --fields FOLDER --workdir DIR

The folder holds pictures named {id}_{red,green,blue,yellow}.png, .jpg or .tif, and perhaps a table of labels. In DIR:
masks/ as index images, overlays/, cells.csv (a row per cell), fields.csv, failures.csv, shards/ (the data set
hpa_cells), index.html with a sheet of overlays (overlays.jpg), and result.json. The same command goes on where it was
stopped, and tries again what failed; masks that were changed by hand are kept and measured again. Where no file states
how large pixels are, the guess from the width is told beside what the nuclei suggest, and --um-per-pixel auto takes the
latter. Exit status 1: some fields failed; 2: nothing was done.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hpax.atlas import UmPerPixel
from hpax.commands.command import Call, Command

ANEW = ("workers", "shown", "share", "beam", "beam_shares")  # options that an interrupted run may change


@dataclasses.dataclass(frozen=True)
class Config:
    """What to segment and how, and what to leave."""

    fields: Path  # folder of the fields
    workdir: Path = Path("runs/segment")
    annotations: str = ""  # the labels' table in the folder; "": the only one there, if any
    segmenter: Literal["networks", "classical"] = "networks"
    networks: tuple[str, str] = ("segment-nuclei", "segment-cells")  # names of hpax.models, or .safetensors files
    um_per_pixel: UmPerPixel = 0.0  # µm; 0: as files state, or by width: 0.08 at 2048 px, 0.32 at 512; auto: by nuclei
    camera_bits: int = 0  # of channels with more than 8 bits, such as 12; 0: the fewest that hold all pixels
    planes: Literal["clear", "own"] = "clear"  # own: of pictures in several colours, that of the channel in their name
    masks: tuple[Literal["png", "ome-tiff", "ome-zarr"], ...] = ("png",)
    overlays: bool = True  # a picture of each field
    overlay_side: int = 1024  # pixels of its longer side, at most
    shown: int = 12  # fields on the sheet of overlays
    shards: bool = True  # cut the cells out, as a data set
    crop_um: float = 40.96  # µm of a crop's side
    crop_size: int = 64  # pixels of the stored crop
    centre: Literal["nucleus", "cell"] = "nucleus"  # what a crop is centred on
    neighbours: bool = True  # keep what lies around the cell; else it is 0 outside of the cell's mask
    min_cells: int = 1  # images with fewer are not in the shards; pairs of cells need 2
    workers: int = 1  # processes; the networks use all cores by themselves
    share: str = ""  # of the fields, such as 2/4, for the second of four processes; afterwards, once without it
    beam: str = ""  # flags of an Apache Beam pipeline, such as "--runner=FlinkRunner"; its workers share the fields
    beam_shares: int = 8  # elements of that pipeline: so many workers can be busy

    def __post_init__(self) -> None:
        if not self.masks or min(self.overlay_side, self.shown, self.workers, self.min_cells) < 1:
            raise ValueError("masks must name a format, and overlay_side, shown, workers and min_cells be at least 1")


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Segments, cuts and tells; returns why some fields failed."""
    from hpax.commands import beam, segmenting

    if config.beam:
        beam.run_shares(segmenting.run, config, call)
    return segmenting.run(dataclasses.replace(config, beam=""), call)


COMMAND = Command("segment", __doc__, Config, work)
main = COMMAND.main
