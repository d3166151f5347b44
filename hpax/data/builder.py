"""What the builders share: options that name the folder, the two schemas, shards of whole images, splits by protein."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import logging
import multiprocessing
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import rich.progress
import tensorflow_datasets as tfds
from rich.console import Console

from hpax import atlas
from hpax.data import splits

Example = tuple[str, dict[str, Any]]

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
    """Options of a data set. The name tells what differs from the defaults and ends in a digest of all options.

    So two configs never share a folder; `description` (in dataset_info.json) spells every option.
    """

    name: str = ""
    fingerprint: str = ""  # of the folder that the data set is read from; "" where there is none

    def __post_init__(self):
        inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
        own = [field for field in dataclasses.fields(self) if field.name not in inherited]
        self.description = _spell((field.name, getattr(self, field.name)) for field in own)
        changed = _spell((f.name, getattr(self, f.name)) for f in own if getattr(self, f.name) != f.default)
        changed = re.sub(r"[^\w=,.+-]", "_", changed)[:120]  # of any option's text, only what a file system likes
        digest = hashlib.blake2b(self.description.encode(), digest_size=4).hexdigest()
        self.name = self.name or f"{changed or 'default'}-{digest}"


def _spell(options: Iterable[tuple[str, Any]]) -> str:
    return ",".join(f"{name}={value}" for name, value in options)


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a builder knows before it looks at a pixel: the fields of one image in Lu's sense, of one protein."""

    protein: str
    content: Any
    stratum: int | None = None  # a class that the splits should spread evenly, where it is known


class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes pictures in order, a bounded number to a shard, so that no data set has to fit in memory.

    A data set says what it consists of (`pictures`), and turns one picture into examples (`examples`); both are
    functions of the config, the second one of nothing else, so that several processes may share the work.
    """

    PICTURES_PER_SHARD: ClassVar[int] = 128
    show_progress = False
    workers = 1

    @staticmethod
    def pictures(config: Config, folder: pathlib.Path | None) -> Iterable[Picture]:
        """Every picture in a fixed order, cheaply; checks what can be checked without reading pixels."""
        raise NotImplementedError

    @staticmethod
    def examples(config: Config, picture: Picture) -> Iterable[Example]:
        """The examples of one picture under keys unique in the data set; none if it holds too few cells."""
        raise NotImplementedError

    def _download_and_prepare(self, dl_manager, download_config=None):
        columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
        with contextlib.ExitStack() as stack:
            bar = rich.progress.Progress(*columns, console=Console(stderr=True), disable=not self.show_progress)
            self._bar = stack.enter_context(bar)
            self._pool = stack.enter_context(_pool(self.workers)) if self.workers > 1 else None
            super()._download_and_prepare(dl_manager, download_config)
        if not self.info.splits.total_num_examples:
            raise ValueError(f"{self.name} would be empty: no image holds enough cells; lower min_cells")
        if self._left_out:
            log.warning("%s left out %d pictures with too few cells", self.name, self._left_out)

    def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[Any]]:
        folder = pathlib.Path(dl_manager.manual_dir) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else None
        pictures = list(self.pictures(self.builder_config, folder))
        self._task, self._left_out = self._bar.add_task(self.name, total=len(pictures)), 0
        return {
            split: [functools.partial(self._shard, chunk) for chunk in _chunks(part, self.PICTURES_PER_SHARD)]
            for split, part in _split(pictures).items()
        }

    def _shard(self, pictures: Sequence[Picture]) -> Iterator[Example]:
        work = functools.partial(self.examples, self.builder_config)
        for examples in _in_order(work, pictures, self._pool, ahead=2 * self.workers):
            empty = True
            for key, example in examples:
                empty = False
                yield key, example
                example.clear()  # written by now; TFDS keeps the dict to count it, and should not keep the pixels
            self._left_out += empty
            self._bar.advance(self._task)


def _pool(workers: int) -> concurrent.futures.Executor:
    """Fresh processes: forking one that runs JAX's threads can hang."""
    return concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def _in_order(
    work: Callable[[Picture], Iterable[Example]],
    pictures: Sequence[Picture],
    pool: concurrent.futures.Executor | None,
    *,
    ahead: int,
) -> Iterator[Iterable[Example]]:
    """The work on each picture in order; a pool is kept busy, but at most `ahead` results wait."""
    if pool is None:
        yield from map(work, pictures)
        return
    waiting = collections.deque()
    for picture in pictures:
        waiting.append(pool.submit(_listed, work, picture))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _listed(work: Callable[[Picture], Iterable[Example]], picture: Picture) -> list[Example]:
    return list(work(picture))


def _split(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    """Split → its pictures, only splits that have any."""
    strata = {picture.protein: picture.stratum for picture in pictures if picture.stratum is not None}
    split_of = splits.by_protein({picture.protein for picture in pictures}) | splits.by_class(strata)
    parts = collections.defaultdict(list)
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
