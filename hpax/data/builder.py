"""What the builders share: options that name the folder, the two schemas, shards of whole images, splits by protein."""

import dataclasses
import functools
import itertools
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import rich.progress
import tensorflow_datasets as tfds
from rich.console import Console

from hpax import atlas
from hpax.data import splits

Example = tuple[str, dict[str, Any]]


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
    """Options of a data set. The name spells each of them, so that two configs never share a folder."""

    name: str = ""
    fingerprint: str = ""  # of the folder that the data set is read from; "" where there is none

    def __post_init__(self):
        inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
        own = [field.name for field in dataclasses.fields(self) if field.name not in inherited]
        own.sort(key="fingerprint".__eq__)  # last
        spelled = ((name, _spell(getattr(self, name))) for name in own)
        self.name = self.name or ",".join(f"{name}={value}" for name, value in spelled if value)


def _spell(value: Any) -> str:
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a builder knows before it looks at a pixel: the fields of one image in Lu's sense, of one protein."""

    protein: str
    content: Any
    stratum: int | None = None  # a class that the splits should spread evenly, where it is known


class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes pictures in order, a bounded number to a shard, so that no data set has to fit in memory.

    A data set says what it consists of (`pictures`), and turns one picture into examples (`examples`); both are
    functions of the config, the second one of nothing else.
    """

    PICTURES_PER_SHARD: ClassVar[int] = 32
    show_progress = False

    @staticmethod
    def pictures(config: Config, folder: pathlib.Path | None) -> Iterable[Picture]:
        """Every picture in a fixed order, cheaply; checks what can be checked without reading pixels."""
        raise NotImplementedError

    @staticmethod
    def examples(config: Config, picture: Picture) -> Iterator[Example]:
        """The examples of one picture under keys unique in the data set."""
        raise NotImplementedError

    def _download_and_prepare(self, dl_manager, download_config=None):
        columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
        console = Console(stderr=True)
        with rich.progress.Progress(*columns, console=console, disable=not self.show_progress) as self._bar:
            super()._download_and_prepare(dl_manager, download_config)
        if not self.info.splits.total_num_examples:
            raise ValueError(f"{self.name} would be empty: no picture holds enough cells; lower min_cells")

    def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[Any]]:
        folder = pathlib.Path(dl_manager.manual_dir) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else None
        pictures = list(self.pictures(self.builder_config, folder))
        task = self._bar.add_task(self.name, total=len(pictures))
        advance = functools.partial(self._bar.advance, task)
        return {
            split: [functools.partial(self._shard, chunk, advance) for chunk in _chunks(part, self.PICTURES_PER_SHARD)]
            for split, part in _split(pictures).items()
        }

    def _shard(self, pictures: Sequence[Picture], advance) -> Iterator[Example]:
        for picture in pictures:
            yield from self.examples(self.builder_config, picture)
            advance()


def _split(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Split → its pictures, only splits that have any."""
    strata = {picture.protein: picture.stratum for picture in pictures if picture.stratum is not None}
    split_of = splits.by_protein({picture.protein for picture in pictures}) | splits.by_class(strata)
    parts = defaultdict(list)
    for picture in pictures:
        parts[split_of[picture.protein]].append(picture)
    return {split: parts[split] for split in splits.FRACTIONS if split in parts}


def _chunks(items: Sequence[Picture], size: int) -> Iterator[Sequence[Picture]]:
    for start in itertools.count(0, size):
        if not (chunk := items[start : start + size]):
            return
        yield chunk


def pixels(shape: tuple[int | None, ...], dtype: type[np.unsignedinteger]) -> tfds.features.Tensor:
    """A compressed array; never `features.Image`, which needs TensorFlow."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="zlib")


def cell_features(
    size: int, channels: int, dtype: type[np.unsignedinteger], *, labels: bool
) -> tfds.features.FeaturesDict:
    """One cell: its crop and where it comes from. `image_id` is the pairing group, `field` the single picture."""
    text = ("id", "image_id", "field", "protein", "antibody", "cell_line")
    return tfds.features.FeaturesDict(
        {
            "image": pixels((size, size, channels), dtype),
            **{name: tfds.features.Text() for name in text},
            "x": tfds.features.Scalar(np.float32),  # pixels of the field, NaN where unknown
            "y": tfds.features.Scalar(np.float32),
            **({"labels": multi_hot()} if labels else {}),
        }
    )


def field_features(dtype: type[np.unsignedinteger], *, masks: bool) -> tfds.features.FeaturesDict:
    """One field of view: four channels in `atlas.CHANNELS` order, its labels, and the truth where it is known."""
    text = ("id", "image_id", "field", "protein", "antibody", "cell_line")
    truth = {
        "cells": pixels((None, None), np.uint16),
        "nuclei": pixels((None, None), np.uint16),
        "cell_labels": tfds.features.Tensor(shape=(None, len(atlas.LOCATIONS)), dtype=np.uint8),
    }
    return tfds.features.FeaturesDict(
        {
            "image": pixels((None, None, len(atlas.CHANNELS)), dtype),
            **{name: tfds.features.Text() for name in text},
            "labels": multi_hot(),
            "um_per_pixel": tfds.features.Scalar(np.float32),
            **(truth if masks else {}),
        }
    )


def multi_hot() -> tfds.features.Tensor:
    """The 19 classes of `atlas.LOCATIONS`."""
    return tfds.features.Tensor(shape=(len(atlas.LOCATIONS),), dtype=np.uint8)
