"""Features of single cells by an encoder that inpainting trained: a row of numbers for each cell.

    hpax embed --fields FOLDER --workdir DIR
    hpax embed --fields FOLDER --masks runs/segment --workdir DIR
    hpax embed --crops CROPS/yeast --organism yeast --encoder encoder.safetensors --workdir DIR

Cuts the cells out of fields as the encoder knows them, around the cells of --masks (the workdir of `hpax segment`, or
any folder of masks); without it finds them first, as `hpax segment` does, and leaves their masks and tables in
DIR/cells. Or takes published crops (--crops). An encoder inpaints, or labels cells: what such a network sees before its
last layer are features, too. Without --encoder takes the one that ships and knows most of such cells: of fields
label-cells, of crops encode-cells or encode-yeast. Leaves in DIR features.h5ad (X holds the layers side by side,
var["layer"] says which, obs where each cell comes from), index.html with a UMAP, nearest neighbours and a gallery of
the cells, and result.json. Shards of the cells are kept in DIR/shards, so that the same command is fast the second
time. Exit status 1: some fields or crops could not be read, and are left out; 2: nothing was done.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hpax.atlas import UmPerPixel
from hpax.commands.command import Call, Command


@dataclasses.dataclass(frozen=True)
class Config:
    """What to embed by which encoder."""

    encoder: Path | None = None  # a file, or a name of the catalogue; None: what ships and knows most of such cells
    fields: Path | None = None  # folder of fields
    masks: Path | None = None  # of the fields: the workdir of `hpax segment`, or a folder of masks; None: found first
    crops: Path | None = None  # folder of published crops, instead of fields
    organism: Literal["human", "yeast"] = "human"  # of the crops
    workdir: Path = Path("runs/embed")
    layers: tuple[str, ...] = ()  # such as conv3; none: all
    segmenter: Literal["networks", "classical"] = "networks"  # where the cells are to be found first
    annotations: str = ""  # of the fields: the labels' table in the folder; "": the only one there, if any
    um_per_pixel: UmPerPixel = 0.0  # µm, of the fields; 0: as the files state, or by the width; auto: by nuclei
    camera_bits: int = 0  # of channels with more than 8 bits, such as 12; 0: the fewest that hold all pixels

    def __post_init__(self) -> None:
        if (self.fields is None) == (self.crops is None):
            raise ValueError("cells come from --fields FOLDER or from --crops FOLDER; give one of them")
        if self.masks is not None and self.fields is None:
            raise ValueError("masks are those of fields; give --fields too")

    @property
    def named(self) -> Path:
        """The encoder that is taken."""
        return self.encoder or (FOR_FIELDS if self.crops is None else FOR_CROPS[self.organism])


FOR_FIELDS = Path("label-cells")
FOR_CROPS = {"human": Path("encode-cells"), "yeast": Path("encode-yeast")}
"""What is taken where no encoder is named; of crops, by their organism."""


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Cuts and embeds; returns what could not be read."""
    from hpax.commands import embedding

    return embedding.run(config, call)


COMMAND = Command("embed", __doc__, Config, work)
main = COMMAND.main
