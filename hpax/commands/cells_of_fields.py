"""What `hpax label` and `hpax embed` begin with: the fields of a folder, and who says where the cells of each are."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args, runtime_checkable

from hpax import ahead, files
from hpax.atlas import UmPerPixel
from hpax.commands import segment, segmenting, shares
from hpax.commands.folder import FolderField, scaled, sized, survey
from hpax.commands.mask_folders import CellFinder, Given, Segmented
from hpax.commands.shares import FieldShare
from hpax.data import pixel_sizes
from hpax.formats import fields as field_files
from hpax.models import segmenter

MOST_WORKERS = 4  # by themselves: each holds a field in memory

Found = TypeVar("Found")


@runtime_checkable
class Asked(Protocol):
    """The options that these commands share."""

    @property
    def workdir(self) -> Path:
        """Where it leaves what it makes."""

    @property
    def masks(self) -> Path | None:
        """The workdir of `hpax segment`, or a folder of masks; None: the cells are found first."""

    @property
    def annotations(self) -> str:
        """The labels' table in the folder."""

    @property
    def segmenter(self) -> Literal["networks", "classical"]:
        """What finds the cells."""

    @property
    def um_per_pixel(self) -> UmPerPixel:
        """Of the fields."""

    @property
    def camera_bits(self) -> int:
        """Of channels with more than 8 bits."""

    @property
    def planes(self) -> field_files.Planes:
        """Of pictures in several colours."""

    @property
    def workers(self) -> int:
        """Fields that are worked on at once."""

    @property
    def share(self) -> str:
        """Of the fields."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """The fields of a folder that can be read as far as one sees, and who finds their cells."""

    known: Sequence[FolderField]
    failures: Mapping[str, str]  # id → why it is no field
    find: CellFinder
    cells: segment.Config  # of what finds them, where nobody gave masks
    share: FieldShare | None
    guesses: Sequence[pixel_sizes.Guess] = ()

    @property
    def own(self) -> list[FolderField]:
        """The fields that this process works on."""
        return list(self.known) if self.share is None else self.share.of(self.known)

    @property
    def on_sheet(self) -> set[str]:
        """The ids of the fields on the sheet of what was segmented."""
        return segmenting.chosen(self.cells, self.known)


@contextlib.contextmanager
def opened(config: Asked, fields: Path, *, shown: int) -> Iterator[Opened]:
    """The fields of a folder; the workdir, and that of what finds the cells, are ours as long as this lasts.

    Of a share, its part of the work is. `shown` fields are on the sheet of what was segmented.

    Raises:
        FileNotFoundError: no folder, no field in it, no masks, or no such network.
        ValueError: the workdir is another config's or another process's, or a segmenter has nothing to do.
    """
    segmenting.check_asked(config.segmenter, needed=config.masks is None)
    config_of = of_segment(config, fields, shown=shown)
    if config.masks is not None:
        config_of = as_segmented(config_of, config.masks)
    known, failures = survey(fields, config.annotations, planes=config_of.planes)
    if config.masks is None:
        segmenter.by_name(config_of.segmenter, config_of.networks)  # before anything is written, if it cannot be made
    asked = pixel_sizes.number(config.um_per_pixel)
    find: CellFinder = Segmented(config_of) if config.masks is None else Given(config.masks, asked)
    share = shares.parse(config.share)
    with _exclusive(config, config_of, share):
        known = scaled(known, config_of.camera_bits, config.workdir / segmenting.SCALE)
        guesses: list[pixel_sizes.Guess] = []
        if config.masks is None or config.um_per_pixel == "auto":
            place = config_of.workdir if config.masks is None else config.workdir
            known, guesses = sized(known, config.um_per_pixel, place / pixel_sizes.FILE)
        yield Opened(known, failures, find, config_of, share, guesses)


@contextlib.contextmanager
def _exclusive(config: Asked, cells: segment.Config, share: FieldShare | None) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        segmenting.make_folder(segment.Config(cells.fields, config.workdir))
        stack.enter_context(shares.exclusive(config.workdir, share))
        if config.masks is None:
            segmenting.make_folder(cells)
            stack.enter_context(shares.exclusive(cells.workdir, share))
            segmenting.claim(cells)
        yield


def of_segment(config: Asked, fields: Path, *, shown: int) -> segment.Config:
    """The settings of what finds the cells, where nobody gave masks."""
    return segment.Config(
        fields=fields,
        workdir=config.workdir / "cells",
        annotations=config.annotations,
        segmenter=config.segmenter,
        um_per_pixel=config.um_per_pixel,
        camera_bits=config.camera_bits,
        planes=config.planes,
        overlays=False,
        shown=shown,
        shards=False,
        share=config.share,
    )


def as_segmented(config: segment.Config, masks: Path) -> segment.Config:
    """The same, with what `hpax segment` took the channels for when it left `masks`, unless something else is asked."""
    there = files.read_json(masks / "config.json")
    if not config.camera_bits and type(there.get("camera_bits")) is int:
        config = dataclasses.replace(config, camera_bits=there["camera_bits"])
    if config.planes == segment.Config.planes and there.get("planes") in get_args(field_files.Planes):
        config = dataclasses.replace(config, planes=there["planes"])
    return config


def attempted(
    work: Callable[[FolderField], Found], own: Sequence[FolderField], workers: int
) -> Iterator[tuple[FolderField, Found | Exception]]:
    """Each field with what `work` makes of it, or why it makes nothing; several are worked on at once, in their order.

    No field stops the others, whatever is wrong with it. `workers`: 0 for as many as there are cores, 4 at most.
    """

    def attempt(field: FolderField) -> Found | Exception:
        try:
            return work(field)
        except Exception as error:
            return error

    return zip(own, ahead.in_order(attempt, own, workers or min(MOST_WORKERS, ahead.cores())), strict=True)
