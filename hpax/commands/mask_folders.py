"""Where a command takes the cells of a field from: its own segmentation, or masks that somebody left."""

import dataclasses
from pathlib import Path
from typing import Protocol, runtime_checkable

from hpax.commands import segment
from hpax.commands.folder import FolderField, Load, content
from hpax.commands.found_cells import NUCLEUS, SOURCES, finished, read_record
from hpax.commands.found_cells import segment as segment_field
from hpax.fields import Masks, matched
from hpax.formats import masks as mask_files


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a field, the size of its pixels, and a name for these pixels."""

    masks: Masks
    um_per_pixel: float
    pixels: str
    source: str = ""  # how the pixel size is known, in words


@runtime_checkable
class CellFinder(Protocol):
    """Says where the cells of a field are."""

    def __call__(self, field: FolderField, load: Load, *, shown: bool) -> Cells:
        """The cells; a ValueError or OSError says why there are none to be had."""


@dataclasses.dataclass(frozen=True)
class Segmented:
    """Segments what has not been segmented yet, and leaves it in the workdir of `config` as `hpax segment` does."""

    config: segment.Config

    def __call__(self, field: FolderField, load: Load, *, shown: bool) -> Cells:
        """The cells of a field.

        Raises:
            ValueError: it could not be segmented.
        """
        workdir = self.config.workdir
        if not finished(field, self.config) and (reason := segment_field(self.config, field, load, shown=shown)):
            raise ValueError(reason)
        record = read_record(workdir, field.id)
        masks = Masks(*mask_files.read(workdir / "masks", field.id))
        return Cells(masks, record["um_per_pixel"], record["digest"], record["pixel_size"])


@dataclasses.dataclass(frozen=True)
class Given:
    """Takes the masks in `folder`, which is the workdir of `hpax segment`, or any folder of masks.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    folder: Path
    um_per_pixel: float = 0.0  # 0: what was taken when the field was segmented, else as its files say

    def __post_init__(self) -> None:
        mask_files.located(self.folder)

    def __call__(self, field: FolderField, load: Load, *, shown: bool) -> Cells:
        """The cells of a field.

        Raises:
            FileNotFoundError: the folder holds no masks of it.
            ValueError: they are of other pictures, or damaged.
        """
        record = read_record(self.folder, field.id)
        pixels = content(field, record)  # before the pictures are read: they may change meanwhile
        planes = mask_files.read(mask_files.located(self.folder), field.id)
        masks, _ = matched(*planes)
        if not record:  # of another program
            stain = load().image[..., NUCLEUS]
            mask_files.check_placed(masks.nuclei, stain, f"the masks of field {field.id} in {self.folder}")
        if record.get("digest", pixels) != pixels:
            raise ValueError(
                f"the pictures of field {field.id} changed since {self.folder} was made; run hpax segment again"
            )
        if not self.um_per_pixel and record.get("um_per_pixel"):
            return Cells(masks, float(record["um_per_pixel"]), pixels, str(record.get("pixel_size", "as segmented")))
        size = field.pixel_size(masks.cells.shape, self.um_per_pixel)
        return Cells(masks, size.um_per_pixel, pixels, SOURCES[size.source])
