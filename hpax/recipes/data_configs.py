"""Which data recipes learn from, and where these are kept: configs, which import nothing, so that help is quick.

Each is known by its recipe as well: `Data` is `datasets.Data`, `CellData` is `cells.Data`, `SegmentData` is
`segment.Data`. How recipes learn is in `hpax.recipes.configs`.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from hpax.atlas import UmPerPixel

DataKind = Literal["simulated", "real"]
CellKind = Literal["simulated", "human", "yeast", "simulated-yeast", "hpa"]
Finder = Literal["networks", "classical"]  # of cells, by their markers
Target = Literal["nuclei", "cells"]
Realism = Literal["plain", "randomised", "mixed"]

CROP = 40.96
"""µm of the side of a crop of a human cell, as published: `hpax.segment.nuclei.CROP`."""


@dataclasses.dataclass(frozen=True)
class Atlas:
    """The simulated fields that are learnt from where no folder is given."""

    proteins: int = 380
    cell_lines: int = 1  # of each protein
    fields: int = 1  # of each protein in each cell line
    size: int = 512  # pixels of a field's side, 0.32 µm each
    balanced: bool = True  # main classes equally frequent; else over two orders of magnitude
    multilocalised: float = 0.55  # share of proteins
    varying: float = 0.35  # share of proteins whose cells differ
    realism: Realism = "plain"  # "randomised": as real fields vary (hpax.simulate); mixed: of each protein both


@dataclasses.dataclass(frozen=True)
class Data:
    """Which fields, what finds their cells, and where what is made of them is kept."""

    fields: Path | None = None  # folder of fields with a table of labels; None: the simulated atlas
    annotations: str = ""  # the labels' table in the folder; "": the only one there
    um_per_pixel: UmPerPixel = 0.0  # µm of a folder's pixels; 0: as the files say, or by the width; auto: by nuclei
    bits: int = 0  # of the camera, for files of 16 bits; 0: the fewest that hold every pixel of the folder
    masks: Finder | Literal["true"] | Path = "networks"  # finds the cells, or their folder or hpax segment's workdir
    data_dir: Path = Path("runs/data")  # where shards are built and masks are kept, once
    atlas: Atlas = Atlas()

    def __post_init__(self) -> None:
        if self.masks == "true" and self.fields is not None:
            raise ValueError("masks 'true' are those of the simulation, a folder has none; use 'networks'")

    @property
    def kind(self) -> DataKind:
        """Whether the cells are simulated, as a folder may be too, or real."""
        from hpax.data import folders

        return "simulated" if self.fields is None else folders.kind(self.fields)


@dataclasses.dataclass(frozen=True)
class CellAtlas:
    """Simulated cells: proteins of one location each, classes equally frequent."""

    proteins: int = 190
    cell_lines: int = 1  # of each protein
    fields: int = 1  # of each protein in each cell line
    size: int = 512  # pixels of a field's side
    realism: Realism = "plain"  # "randomised": as real fields vary (hpax.simulate); mixed: of each protein both
    bleed_through: float = 0.0  # share of each stain that the other channels see; plain fields alone


@dataclasses.dataclass(frozen=True)
class YeastAtlas:
    """Simulated crops of yeast (hpax.simulate.yeast), main locations equally frequent."""

    proteins: int = 340
    per_protein: int = 40  # cells
    multilocalised: float = 0.3  # share of proteins


@dataclasses.dataclass(frozen=True)
class VariableProteins:
    """Proteins whose cells differ, which training may leave out; published: none are."""

    left_out: float = 0.0  # share of the training proteins, the most variable ones
    by: Literal["features", "labels", "random"] = "features"  # classic ones; labels of simulated cells; a control
    table: Path | None = None  # names them instead, such as HPA's subcellular_location.tsv, or any list of proteins

    def __post_init__(self) -> None:
        if not 0 <= self.left_out < 1:
            raise ValueError(f"left_out must be a share of proteins, 0 or more and below 1, got {self.left_out}")
        if self.by != "features" and not self.left_out:
            raise ValueError(f"left_out must be above 0 to leave proteins out by {self.by}, got 0; say which share")
        if self.table is not None and self.left_out:
            told = f"got left_out {self.left_out}"
            raise ValueError(f"a table says by itself which proteins are variable, {told} beside it; leave that out")


@dataclasses.dataclass(frozen=True)
class CellData:
    """Which cells."""

    cells: CellKind = "simulated"
    fields: Path | None = None  # folder of real fields, whose cells are cut out; implies --cells hpa
    folder: Path | None = None  # published crops of human, yeast or beside simulated-yeast; of hpa the same as --fields
    masks: Path | None = None  # of real fields: workdir of `hpax segment`, or a folder of masks; None: Otsu nuclei
    um_per_pixel: UmPerPixel = 0.0  # µm of a folder's pixels; 0: as the files say, or by the width; auto: by nuclei
    bits: int = 0  # of the camera, for files of 16 bits; 0: the fewest that hold every pixel of the folder
    data_dir: Path = Path("runs/data")  # where shards are built, once
    atlas: CellAtlas = CellAtlas()  # simulated
    yeast: YeastAtlas = YeastAtlas()  # of --cells simulated-yeast
    variable: VariableProteins = VariableProteins()  # not learnt from
    er: bool = False  # show the network (and the classic features) the ER too, where it was stained; published: no
    crop_um: float = CROP  # µm of the side of crops that are cut out of fields
    resolution: int = 64  # pixels of that side; published crops have theirs

    def __post_init__(self) -> None:
        cut = self.kind in ("simulated", "hpa")
        if self.resolution < 1 or self.resolution % 8:  # both inpainting networks halve sides up to three times
            raise ValueError(f"resolution must be a positive multiple of 8, got {self.resolution}")
        if self.resolution != 64 and not cut:
            told = f"got {self.resolution} of cells {self.kind!r}; leave it out"
            raise ValueError(f"resolution must be 64 of crops that are not cut out here, {told}")
        if not 5 <= self.crop_um <= 400 or (self.crop_um != CROP and not cut):
            told = f"got {self.crop_um:g} of cells {self.kind!r}"
            raise ValueError(f"crop_um must be 5 to 400, and {CROP:g} of crops that are not cut out here, {told}")
        if self.fields and (self.folder or self.cells not in ("simulated", "hpa")):
            told = f"cells {self.cells} and folder {self.folder}"
            raise ValueError(f"fields must be the only folder, of cells 'hpa', got {told}; give --fields alone")
        if self.folder and self.cells == "simulated":
            raise ValueError(f"simulated cells read no folder, got {self.folder}; say what it holds by --cells")

    @property
    def kind(self) -> CellKind:
        """Which cells they are, `fields` considered."""
        return "hpa" if self.fields else self.cells


@dataclasses.dataclass(frozen=True)
class SegmentAtlas:
    """Simulated fields: one of each protein in each cell line."""

    proteins: int = 96
    cell_lines: int = 2
    size: int = 512  # pixels of a field's side


@dataclasses.dataclass(frozen=True)
class SegmentData:
    """What to find, and what to learn it from."""

    target: Target = "nuclei"
    folder: Path | None = None  # nuclei: the real images, as hpax.data.dsb2018_nuclei reads them
    more: tuple[Path, ...] = ()  # nuclei: further such folders, of other names, each split by itself
    simulated: float = 0.3  # nuclei: share of the patches
    atlas: SegmentAtlas = SegmentAtlas()
    data_dir: Path = Path("runs/data")  # where shards are built, once

    def __post_init__(self) -> None:
        if not 0 < self.simulated < 1:
            raise ValueError(f"simulated must be a share between 0 and 1, got {self.simulated}")
        names = [folder.name for folder in self.more]
        if len(set(names)) < len(names):
            raise ValueError(f"folders of nuclei must have different names, got {', '.join(names)}; rename one")
