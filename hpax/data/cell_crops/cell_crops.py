"""Single-cell crops in the layout of the published paired-cell-inpainting code (Lu et al. 2019), human and yeast."""

import dataclasses
import functools
import logging
import pathlib
import re
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hpax import images
from hpax.data import builder, failures
from hpax.data.shards import Failure, attempted
from hpax.formats import fields

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an organism's crops are named, and with how many cells an image is large enough.

    The numbers are those of Lu et al. (2019), Methods; the published code also drops human images of exactly 5 cells.
    """

    folder: re.Pattern[str]  # of one image in Lu's sense
    file: re.Pattern[str]
    channels: tuple[str, ...]  # in the order of atlas.CHANNELS
    min_cells: int


LAYOUTS = {
    "human": Layout(
        folder=re.compile(r"(?P<protein>.+)_(?P<plate>[^_]+)_(?P<well>[^_]+)"),
        file=re.compile(r"(?P<image>[^_]+_[^_]+)_(?P<field>\d+)_(?P<cell>\d+)_(?P<channel>red|green|blue)\.tif"),
        channels=("green", "blue", "red"),
        min_cells=5,
    ),
    "yeast": Layout(
        folder=re.compile(r"(?P<protein>.+)"),
        file=re.compile(r"(?P<image>.+)_(?P<field>\d+)_rfp_(?P<cell>\d+)_(?P<channel>gfp|rfp)\.tif"),
        channels=("gfp", "rfp"),
        min_cells=30,
    ),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(builder.Config):
    """Which layout to read, and how."""

    organism: str = "human"  # or "yeast"
    size: int = 64  # pixels of the stored crops
    min_cells: int | None = None  # smaller images are left out; None: as published, 5 human or 30 yeast cells

    def __post_init__(self) -> None:
        if self.organism not in LAYOUTS:
            raise ValueError(f"organism must be one of {', '.join(LAYOUTS)}, got {self.organism!r}")
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if self.min_cells is None:
            self.min_cells = LAYOUTS[self.organism].min_cells
        super().__post_init__()


@dataclasses.dataclass(frozen=True)
class Cell:
    """The files of one cell, in the order of its layout's channels."""

    field: int
    number: int
    paths: tuple[pathlib.Path, ...]


class CellCrops(builder.Builder):
    """Crops of single cells: (protein, nucleus, microtubules) of human cells, (protein, marker) of yeast."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar = {
        "1.0.0": "First release: both published layouts, 16-bit crops.",
        "2.0.0": "The column image_id is called group_id.",
    }
    BUILDER_CONFIGS: ClassVar = [Config(name=name, organism=name) for name in LAYOUTS]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """cell_crops reads a folder of crops: give it as source. Human: folders
    {protein}_{plate}_{well} of {plate}_{well}_{field}_{cell}_{red,green,blue}.tif; yeast: folders {protein} of
    {protein}_{field}_rfp_{cell}_{gfp,rfp}.tif."""

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        channels = len(LAYOUTS[config.organism].channels)
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=builder.cell_features(config.size, channels, np.uint16, labels=False),
            homepage="https://github.com/alexxijielu/paired_cell_inpainting",
            license="Human crops: CC BY-SA, the Human Protein Atlas. Yeast crops: see the CYCLoPS database.",
            citation="""@article{lu2019learning,
  title={Learning unsupervised feature representations for single cell microscopy images with paired cell inpainting},
  author={Lu, Alex X and Kraus, Oren Z and Cooper, Sam and Moses, Alan M},
  journal={PLoS Computational Biology}, volume={15}, number={9}, pages={e1007348}, year={2019}}""",
        )

    @staticmethod
    def pictures(config: Config, folder: pathlib.Path) -> list[builder.FieldGroup]:
        """One picture per folder with enough cells."""
        assert config.min_cells is not None, "__post_init__ sets it"
        layout, pictures, left_out = LAYOUTS[config.organism], [], 0
        for image in _images(folder):
            if not (name := layout.folder.fullmatch(image.name)):
                continue  # a fault
            if len(survey(image, layout)[0]) >= config.min_cells:
                pictures.append(
                    builder.FieldGroup(name["protein"], image)
                )  # its cells are listed again when it is read
            else:
                left_out += 1
        if left_out:
            log.warning("cell_crops left out %d images with fewer than %d cells", left_out, config.min_cells)
        if not pictures:
            told = f"{folder} holds no {config.organism} image of at least {config.min_cells} cells"
            faults = CellCrops.faults(config, folder)
            raise FileNotFoundError(f"{told}; {failures.summary(faults)}" if faults else told)
        return pictures

    @staticmethod
    def faults(config: Config, folder: pathlib.Path) -> dict[str, str]:
        """Folders that are not named as images, and cells that lack a channel, or have one twice."""
        layout = LAYOUTS[config.organism]
        found: dict[str, str] = {}
        for image in _images(folder):
            if layout.folder.fullmatch(image.name):
                found |= survey(image, layout)[1]
            else:
                found[image.name] = (
                    f"{image} is not named as a {config.organism} image ({layout.folder.pattern}); rename it"
                )
        return found

    @staticmethod
    def examples(config: Config, picture: builder.FieldGroup) -> Iterator[builder.Example | Failure]:
        """The cells of one image."""
        for cell in survey(picture.content, LAYOUTS[config.organism])[0]:
            make = functools.partial(_examples, config, picture.protein, picture.content.name, cell)
            yield from attempted(_id(picture.content, cell.field, cell.number), make)


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders of images; not those that programs leave."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not fields.is_stray(pathlib.Path(path.name)))


def _id(image: pathlib.Path, field: int, number: int) -> str:
    return f"{image.name}_{field}_{number}"


def _examples(config: Config, protein: str, image: str, cell: Cell) -> Iterator[builder.Example]:
    id = f"{image}_{cell.field}_{cell.number}"
    yield (
        id,
        {
            "image": images.resize(read_crop(cell.paths), (config.size, config.size)),
            "id": id,
            "group_id": image,
            "field": f"{image}_{cell.field}",
            "protein": protein,
            "antibody": "",
            "cell_line": "",
            "x": np.nan,
            "y": np.nan,
        },
    )


def survey(image: pathlib.Path, layout: Layout) -> tuple[list[Cell], dict[str, str]]:
    """The cells in the folder of one image, by field and number; and what is wrong with others, by their ids."""
    found: dict[tuple[int, int], dict[str, pathlib.Path]] = {}
    faults: dict[tuple[int, int], str] = {}
    for path in sorted(image.iterdir()):
        if not path.name.startswith(".") and (name := layout.file.fullmatch(path.name)):
            key = int(name["field"]), int(name["cell"])
            other = found.setdefault(key, {}).setdefault(name["channel"], path)
            if other != path:
                faults[key] = f"{other} and {path.name} are the same channel of one cell; keep one of them"
    for key, channels in found.items():
        if missing := [channel for channel in layout.channels if channel not in channels]:
            faults.setdefault(key, f"cell {key[1]} of field {key[0]} in {image} lacks its {missing[0]} channel")
    whole = []
    for key, channels in sorted(found.items()):
        if key not in faults:
            whole.append(Cell(*key, tuple(channels[channel] for channel in layout.channels)))
    return whole, {_id(image, *key): reason for key, reason in sorted(faults.items())}


def read_crop(paths: tuple[pathlib.Path, ...]) -> np.ndarray:
    """The channels of one cell as (h, h, c) uint16.

    Raises:
        ValueError: a file cannot be read, or the channels are not squares of one size.
    """
    channels = [fields.read_channel(path) for path in paths]
    if len({size for channel in channels for size in channel.shape}) > 1:
        shapes = ", ".join(f"{p.name} {c.shape}" for p, c in zip(paths, channels, strict=True))
        raise ValueError(f"the channels of a crop must be squares of one size, got {shapes}")
    return np.stack([c if c.dtype == np.uint16 else c.astype(np.uint16) * 257 for c in channels], axis=-1)
