"""What recipes learn from: the simulated atlas, or anyone's folder of fields with a table of labels.

split = datasets.open_fields(datasets.Data(fields=pathlib.Path("FIELDS")), seed=1)
split.training, split.validation, split.test  # FieldSources, no protein on two sides
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpax import data, files, progress
from hpax.data import FieldSource, mask_sources, pixel_sizes, splits
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.models import segmenter
from hpax.recipes import distil
from hpax.recipes.data_configs import Atlas, Data, Finder
from hpax.recipes.data_configs import DataKind as Kind

__all__ = [
    "Atlas",
    "Data",
    "Kind",
    "Split",
    "counts",
    "find_cells",
    "name",
    "open_fields",
    "open_folder",
    "over_all",
]

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
"""Of a folder's groups; its fields are few where the atlas has as many as one likes."""

log = logging.getLogger(__name__)


class Split(NamedTuple):
    """Fields split by protein, with their masks."""

    training: FieldSource
    validation: FieldSource
    test: FieldSource
    kind: Kind


def open_fields(config: Data, *, seed: int) -> Split:
    """Builds the shards if they are not there, finds the cells if nobody did, and opens both.

    `seed` is that of the simulated atlas; a folder's fields are split by it, groups (a protein where it is known, else
    an image) kept together and rare classes on all sides where they can be; those without a label are left out.

    Raises:
        ValueError: no field has a label, or a picture or the table is wrong.
        FileNotFoundError: the folder holds no field.
    """
    if config.fields is not None:
        whole = open_folder(config)
        sides = splits.stratified_split(distil.groups(whole), whole.labels, FRACTIONS, seed=seed)
        training, validation, test = (whole.part(np.flatnonzero(sides == name)) for name in FRACTIONS)
        return Split(training, validation, test, kind=config.kind)
    training, validation, test = (
        _with_masks(config, _atlas(config, name, seed)) for name in ("train", "validation", "test")
    )
    return Split(training, validation, test, kind=config.kind)


def open_folder(config: Data, *, labelled: bool = True) -> FieldSource:
    """All fields of a folder with their masks; with `labelled`, those that have a label, and how many do not is said.

    Raises:
        ValueError: no field has a label, or a picture or the table is wrong.
        FileNotFoundError: the folder holds no field.
    """
    assert config.fields is not None
    if labelled:
        data.labelled(config.fields, config.annotations)  # says at once if there is no label
    found = fields.survey(config.fields).fields
    source = FieldSource(
        data.build(
            "hpa_fields",
            config.data_dir,
            source=config.fields,
            annotations=config.annotations,
            bits=fields.depth(found),
            camera_bits=config.bits,
            um_per_pixel=pixel_sizes.number(config.um_per_pixel),
            estimates=pixel_sizes.estimates(
                found,
                config.um_per_pixel,
                camera_bits=config.bits,
                cache=config.data_dir / pixel_sizes.FILE,
            ),
            progress=True,
        )
    )
    return _with_masks(config, source.known() if labelled else source)


def _atlas(config: Data, split: str, seed: int) -> FieldSource:
    atlas = config.atlas
    return FieldSource(
        data.build(
            "simulated_fields",
            config.data_dir,
            split=split,
            workers=os.cpu_count() or 1,
            progress=True,
            proteins=atlas.proteins,
            cell_lines=atlas.cell_lines,
            fields=atlas.fields,
            size=atlas.size,
            balanced=atlas.balanced,
            multilocalised=atlas.multilocalised,
            varying=atlas.varying,
            realism=atlas.realism,
            seed=seed,
        )
    )


def _with_masks(config: Data, source: FieldSource) -> FieldSource:
    if config.masks == "true":
        return source.with_masks(mask_sources.ground_truth)
    if isinstance(config.masks, Path):
        return source.with_masks(mask_sources.from_folder(mask_files.located(config.masks)))
    folder = config.data_dir / "masks" / segmenter.content_name(config.masks) / source.dataset
    find_cells(source, config.masks, folder)
    return source.with_masks(mask_sources.from_folder(folder))


def find_cells(source: FieldSource, kind: Finder, folder: Path) -> None:
    """Leaves the masks of every field in `folder`, as found from its markers; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [place for place, id in enumerate(source.ids) if not mask_files.flavours(folder, id)]
    segment = segmenter.by_name(kind)

    def find(place: int) -> None:
        field = source[place]
        masks = segment(field.image, field.um_per_pixel)
        mask_files.write(
            folder, field.id, masks.cells, masks.nuclei, image=field.image, um_per_pixel=field.um_per_pixel
        )

    over_all(find, todo, "finding cells")


def over_all(work: Callable[[int], None], places: list[int], title: str) -> None:
    """Does the work at every place, as many at once as there are cores, with a bar, or lines."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(work, places)
        for _ in progress.track(done, title, len(places)) if places else ():
            pass


def name(split: Split) -> str:
    """A name for the data of a split, for what is kept by it."""
    return files.digest(split.training.name, split.validation.name, split.test.name)


def counts(split: Split) -> dict[str, int]:
    """What numbers of the test fields rest on."""
    found = {
        "training fields": len(split.training),
        "training proteins": len(set(distil.groups(split.training))),
        "test fields": len(split.test),
        "test proteins": len(set(distil.groups(split.test))),
        "classes with truth": int((split.test.labels.sum(0) > 0).sum()),
    }
    if len(split.test) and split.test[0].cell_labels is not None:
        found["true test cells"] = sum(len(field.cell_labels) for field in split.test if field.cell_labels is not None)
    return found
