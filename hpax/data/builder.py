"""What the builders share: options that name the folder, the two schemas, shards of whole images, splits by protein."""

import abc
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import logging
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from hpax import atlas, processes, progress
from hpax.data import failures, shards, splits
from hpax.data.shards import Example, Failure, Record

log = logging.getLogger(__name__)

Records = Iterable[Record | Failure]
"""Of one picture."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
    """Options of a data set. The name tells what differs from the defaults and ends in a digest of all options.

    So two configs never share a folder; `description` (in dataset_info.json) spells every option.
    """

    name: str = ""
    LATER: ClassVar[frozenset[str]] = frozenset()  # options that older shards lack: at their default, nothing tells
    fingerprint: str = ""  # of the folder that the data set is read from; "" where there is none

    def __post_init__(self) -> None:
        inherited = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
        own = [field for field in dataclasses.fields(self) if field.name not in inherited and not self._untold(field)]
        self.description = _spell((field.name, getattr(self, field.name)) for field in own)
        changed = _spell((f.name, getattr(self, f.name)) for f in own if getattr(self, f.name) != f.default)
        changed = re.sub(r"[^\w=,.+-]", "_", changed)[:120]  # of any option's text, only what a file system likes
        digest = hashlib.blake2b(self.description.encode(), digest_size=4).hexdigest()
        self.name = self.name or f"{changed or 'default'}-{digest}"

    def _untold(self, field: dataclasses.Field) -> bool:
        return field.name in self.LATER and getattr(self, field.name) == field.default


def _spell(options: Iterable[tuple[str, Any]]) -> str:
    return ",".join(f"{name}={value}" for name, value in options)


@dataclasses.dataclass(frozen=True)
class FieldGroup:
    """What a builder knows before it looks at a pixel: the fields of one image in Lu's sense, of one protein."""

    protein: str
    content: Any
    stratum: int | None = None  # a class that the splits should spread evenly, where it is known


class Builder(
    tfds.core.dataset_builder.FileReaderBuilder,
    skip_registration=True,  # type: ignore[call-arg]  # the base class takes it, but has no types
):
    """Writes pictures in order, a bounded number to a shard, so that no data set has to fit in memory.

    A data set says what it consists of (`pictures`), and turns one picture into examples (`examples`); both are
    functions of the config, the second one of nothing else, so that several processes may share the work. Finished
    shards wait in `shards_folder`, where a build that was killed finds them again.
    """

    PICTURES_PER_SHARD: ClassVar[int] = 128
    show_progress = False
    workers = 1
    beam: Sequence[str] | None = None  # flags of a Beam pipeline
    shards_folder: pathlib.Path

    @staticmethod
    @abc.abstractmethod
    def pictures(config: Any, folder: Any) -> Iterable[FieldGroup]:
        """Every picture in a fixed order, cheaply; checks what can be checked without reading pixels.

        A data set takes its own Config, and a pathlib.Path, or None where it reads no folder.
        """

    @staticmethod
    def faults(config: Any, folder: Any) -> Mapping[str, str]:
        """What is wrong with items that are in none of the pictures, by their ids."""
        return {}

    @staticmethod
    @abc.abstractmethod
    def examples(config: Config, picture: FieldGroup) -> Iterable[Example | Failure]:
        """The examples of one picture under keys unique in the data set; none if it holds too few cells.

        Of an item whose files are bad, a Failure: the build goes on, and tells of it in the end.
        """

    def _download_and_prepare(self, dl_manager: tfds.download.DownloadManager, download_config: Any = None) -> None:
        folder = pathlib.Path(dl_manager.manual_dir) if self.MANUAL_DOWNLOAD_INSTRUCTIONS else None
        plan = self._plan(list(self.pictures(self.builder_config, folder)))
        writer = shards.Writer(
            self.shards_folder, functools.partial(type(self).examples, self.builder_config), self.info.features
        )
        receipts = self._write(writer, [shard for part in plan.values() for shard in part])
        failed = dict(self.faults(self.builder_config, folder))
        for receipt in receipts.values():
            failed.update(receipt.failures)
        if not sum(receipt.examples for receipt in receipts.values()):
            raise ValueError(_why_empty(self.name, failed))
        failures.write(pathlib.Path(self.data_dir), failed)
        if left_out := sum(receipt.left_out for receipt in receipts.values()):
            log.warning("%s left out %d pictures with too few cells", self.name, left_out)
        for shard in itertools.chain(*plan.values()):
            writer.move(shard, pathlib.Path(self.data_dir))
        self._describe(plan, receipts)

    def _plan(self, pictures: Sequence[FieldGroup]) -> dict[str, list[shards.Shard]]:
        """Split → its shards, under the names that TFDS gives them."""
        plan = {}
        for split, part in _split(pictures).items():
            chunks = list(_chunks(part, self.PICTURES_PER_SHARD))
            paths = self._get_filename_template(split).sharded_filepaths(len(chunks))
            plan[split] = [shards.Shard(path.name, chunk) for path, chunk in zip(paths, chunks, strict=True)]
        return plan

    def _write(self, writer: shards.Writer, plan: Sequence[shards.Shard]) -> dict[str, shards.Receipt]:
        receipts = {shard.name: receipt for shard in plan if (receipt := writer.finished(shard))}
        todo = [shard for shard in plan if shard.name not in receipts]
        if receipts:
            log.warning("%s goes on where a build was interrupted: %d shards are there", self.name, len(receipts))
        if self.beam is not None:
            shards.write_with_beam(writer, todo, self.beam)
            return receipts | {shard.name: _certain(writer.finished(shard), shard, writer) for shard in todo}
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(_pool(self.workers)) if self.workers > 1 else None
            left = sum(len(shard.pictures) for shard in todo)
            bar = stack.enter_context(progress.shown(self.name, left)) if self.show_progress else None
            pictures = [picture for shard in todo for picture in shard.pictures]
            made = _in_order(writer.records, pictures, pool, ahead=2 * self.workers)
            results = _counted(made, bar.advance if bar else lambda: None)
            for shard in todo:
                receipts[shard.name] = writer.write(shard, itertools.islice(results, len(shard.pictures)))
        return receipts

    def _describe(self, plan: Mapping[str, Sequence[shards.Shard]], receipts: Mapping[str, shards.Receipt]) -> None:
        told = []
        for split, part in plan.items():
            own = [receipts[shard.name] for shard in part]
            told.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[receipt.examples for receipt in own],
                    num_bytes=sum(receipt.size for receipt in own),
                    filename_template=self._get_filename_template(split),
                )
            )
        self.info.set_splits(tfds.core.splits.SplitDict(told))


def _why_empty(name: str, failed: Mapping[str, str]) -> str:
    if failed:
        return f"{name} would be empty: {failures.summary(failed)}"
    return f"{name} would be empty: no image holds enough cells; lower min_cells"


def _certain(receipt: shards.Receipt | None, shard: shards.Shard, writer: shards.Writer) -> shards.Receipt:
    if receipt is None:
        raise FileNotFoundError(
            f"the pipeline ended, but {shard.name} is not in {writer.folder}; give a data_dir that all workers share"
        )
    return receipt


def _counted(results: Iterable[Records], count: Callable[[], None]) -> Iterator[Records]:
    """The same results; `count` is called for each."""
    for result in results:
        count()
        yield result


def _pool(workers: int) -> contextlib.AbstractContextManager[concurrent.futures.Executor]:
    """Fresh processes: forking one that runs JAX's threads can hang."""
    return processes.pool(workers)


def _in_order(
    work: Callable[[FieldGroup], Records],
    pictures: Sequence[FieldGroup],
    pool: concurrent.futures.Executor | None,
    *,
    ahead: int,
) -> Iterator[Records]:
    """The work on each picture in order; a pool is kept busy, but at most `ahead` results wait."""
    if pool is None:
        yield from map(work, pictures)
        return
    waiting: collections.deque[concurrent.futures.Future[list[Record | Failure]]] = collections.deque()
    for picture in pictures:
        waiting.append(pool.submit(_listed, work, picture))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _listed(work: Callable[[FieldGroup], Records], picture: FieldGroup) -> list[Record | Failure]:
    return list(work(picture))


def _split(pictures: Sequence[FieldGroup]) -> dict[str, list[FieldGroup]]:
    """Split → its pictures, only splits that have any."""
    strata = {picture.protein: picture.stratum for picture in pictures if picture.stratum is not None}
    split_of = splits.by_protein({picture.protein for picture in pictures}) | splits.by_class(strata)
    parts = collections.defaultdict(list)
    for picture in pictures:
        parts[split_of[picture.protein]].append(picture)
    return {split: parts[split] for split in splits.FRACTIONS if split in parts}


def _chunks(items: Sequence[FieldGroup], size: int) -> Iterator[Sequence[FieldGroup]]:
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
    """One cell: its crop and where it comes from. `group_id` is the pairing group, `field` the single picture."""
    text = ("id", "group_id", "field", "protein", "antibody", "cell_line")
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
    text = ("id", "group_id", "field", "protein", "antibody", "cell_line")
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
