"""Shards: each one written whole or not at all, known by its receipt, by whichever process or machine gets to it."""

import dataclasses
import functools
import json
import pathlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from hpax import files

Example = tuple[str, dict[str, Any]]
"""A key, and what belongs to it."""

Record = tuple[str, bytes]
"""The key, and the example as it is written."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """An item (a field, a crop, an image) of which there is no example, and why."""

    id: str
    reason: str


def attempted(id: str, make: Callable[[], Iterable[Example]]) -> Iterator[Example | Failure]:
    """The examples of one item; or, where its files are bad, why there are none."""
    try:
        made = list(make())
    except (ValueError, OSError) as error:
        yield Failure(id, str(error))
    else:
        yield from made


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file to write: its name, and the pictures whose examples it holds, in order."""

    name: str
    pictures: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What a finished shard holds; lies beside it as `{name}.json`."""

    examples: int
    left_out: int  # pictures without an example
    size: int  # bytes
    digest: str
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)  # id of an item → why it has no example


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes shards into `folder`. Pickles, so that it can travel to other processes and machines.

    The bytes of a shard are a function of its pictures. It appears under its name once it is complete; a second
    writer of the same shard, as runners start when the first is slow, replaces it by the same bytes.
    """

    folder: pathlib.Path
    examples: Callable[[Any], Iterable[Example | Failure]]  # of one picture
    features: tfds.features.FeaturesDict

    def records(self, picture: Any) -> Iterator[Record | Failure]:
        """The examples of one picture as they are written; compressing them is much of the work of large ones."""
        serializer = tfds.core.example_serializer.ExampleSerializer(self.features.get_serialized_info())
        for made in self.examples(picture):
            if isinstance(made, Failure):
                yield made
                continue
            key, example = made
            message = serializer.get_tf_example(self.features.encode_example(example))
            yield key, message.SerializeToString(deterministic=True)  # else each process has its own order of keys

    def write(self, shard: Shard, results: Iterable[Iterable[Record | Failure]] | None = None) -> Receipt:
        """Writes a shard; `results` are the records of its pictures where they are already being made."""
        part = self.folder / f"{shard.name}.{uuid.uuid4().hex}.part"
        counts: list[int] = []
        failures: dict[str, str] = {}
        try:
            results = map(self.records, shard.pictures) if results is None else results
            tfds.core.file_adapters.ArrayRecordFileAdapter.write_examples(part, _counted(results, counts, failures))
            whole = files.digest(part, size=32)
            receipt = Receipt(sum(counts), counts.count(0), part.stat().st_size, whole, failures)
            files.write_json(self._receipt(shard), dataclasses.asdict(receipt))
            part.replace(self.folder / shard.name)
        finally:
            part.unlink(missing_ok=True)
        return receipt

    def finished(self, shard: Shard) -> Receipt | None:
        """The receipt of a shard whose bytes are still those that were written; None if it has to be written."""
        path = self.folder / shard.name
        try:
            receipt = Receipt(**json.loads(self._receipt(shard).read_text(encoding="utf-8")))
            whole = path.stat().st_size == receipt.size and files.digest(path, size=32) == receipt.digest
        except (FileNotFoundError, ValueError, TypeError):  # no shard, or a receipt cut short
            return None
        return receipt if whole else None

    def move(self, shard: Shard, folder: pathlib.Path) -> None:
        """Puts a finished shard where it belongs, and throws its receipt away."""
        (self.folder / shard.name).replace(folder / shard.name)
        self._receipt(shard).unlink()

    def _receipt(self, shard: Shard) -> pathlib.Path:
        return self.folder / f"{shard.name}.json"


def _counted(
    results: Iterable[Iterable[Record | Failure]], counts: list[int], failures: dict[str, str]
) -> Iterator[Record]:
    """The records of pictures; their number goes to `counts`, but for a picture of which there are failures alone."""
    for found in results:
        counts.append(0)
        known = len(failures)
        for made in found:
            if isinstance(made, Failure):
                failures[made.id] = made.reason
                continue
            counts[-1] += 1
            yield made
        if len(failures) > known and not counts[-1]:  # told of as a failure, and no picture with too few cells
            counts.pop()


def write_with_beam(writer: Writer, shards: Sequence[Shard], flags: Sequence[str]) -> None:
    """Writes shards as a Beam pipeline; a shard is one element, so they and their bytes are those without Beam.

    The workers must see the folders of the images and of the data set under the same paths.

    Raises:
        ModuleNotFoundError: Beam is not installed.
    """
    map_with_beam(functools.partial(_written, writer=writer), shards, flags)


def map_with_beam(work: Callable[[Any], Any], items: Sequence[Any], flags: Sequence[str]) -> None:
    """Does the work on each of the items as a Beam pipeline, which `flags` (`--runner=...`) send to Dataflow, Flink,
    Spark or nowhere; what it returns is dropped. The workers need hpax.

    Raises:
        ModuleNotFoundError: Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("working with Beam needs apache-beam; pip install 'hpax[beam]'") from error
    with beam.Pipeline(options=PipelineOptions(list(flags))) as pipeline:
        todo = pipeline | "Items" >> beam.Create(list(items)) | "Spread" >> beam.Reshuffle()
        _ = todo | "Work" >> beam.Map(work)


def _written(shard: Shard, writer: Writer) -> str:
    writer.write(shard)
    return shard.name
