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
the cells, and result.json. What was found of each field is kept in DIR/fields (of crops: shards in DIR/shards): a
command that was stopped goes on where it was, and what depends on pictures, masks or an encoder that have changed is
made again. Exit status 1: some fields or crops could not be read, and are left out; 2: nothing was done.
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
    planes: Literal["clear", "own"] = "clear"  # own: of pictures in several colours, that of the channel in their name
    workers: int = 0  # fields that are worked on at once; 0: as many as there are cores, 4 at most
    share: str = ""  # of the fields, such as 2/4, for the second of four processes; afterwards, once without it
    beam: str = ""  # flags of an Apache Beam pipeline, such as "--runner=FlinkRunner"; its workers share the fields
    beam_shares: int = 8  # elements of that pipeline: so many workers can be busy

    def __post_init__(self) -> None:
        if (self.fields is None) == (self.crops is None):
            raise ValueError("cells come from --fields FOLDER or from --crops FOLDER; give one of them")
        for name in ("masks", "share", "beam"):
            if getattr(self, name) and self.fields is None:
                raise ValueError(f"{name} is of fields, got {getattr(self, name)} with crops; give --fields instead")
        if self.workers < 0:
            raise ValueError(f"workers must be a number of fields, or 0 for as many as fit, got {self.workers}")

    @property
    def named(self) -> Path:
        """The encoder that is taken."""
        return self.encoder or (FOR_FIELDS if self.crops is None else FOR_CROPS[self.organism])


FOR_FIELDS = Path("label-cells")
FOR_CROPS = {"human": Path("encode-cells"), "yeast": Path("encode-yeast")}
"""What is taken where no encoder is named; of crops, by their organism."""


def work(config: Config, call: Call) -> Mapping[str, str]:
    """Cuts and embeds; returns what could not be read."""
    from hpax.commands import beam, embedding

    if config.beam:
        beam.run_shares(embedding.run, config, call)
    return embedding.run(dataclasses.replace(config, beam=""), call)


COMMAND = Command("embed", __doc__, Config, work)
main = COMMAND.main
