"""A built data set: examples at random access, and a table of everything but the pixels."""

import contextlib
import errno
import pathlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt

from hpax.data import failures, index, splits


class Damaged(ValueError):
    """The files of a built data set no longer hold what was built."""


@contextlib.contextmanager
def intact(folder: pathlib.Path) -> Iterator[None]:
    """Whatever reading the data set in `folder` raises in here becomes one error that says what to do.

    Raises:
        Damaged: (a ValueError) a record, an index or dataset_info.json is cut, changed or missing.
    """
    try:
        yield
    except (Damaged, MemoryError):
        raise
    except Exception as error:  # damaged files can raise nearly anything
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):  # such as too many open files
            raise
        why = str(error).partition("\n")[0][:300] or type(error).__name__
        raise Damaged(f"the data set in {folder} is damaged ({why}); delete that folder and build it again") from error


class Source:
    """One split (or several, "train+test"; or "all") of a built data set.

    `source[i]` decodes example i. `table`, `labels` and `groups` decode no pixel. A folder built elsewhere opens with
    `Source(tfds.builder_from_directory(folder))`.

    Raises:
        ValueError: the split holds nothing, as when no protein falls in it.
        Damaged: (a ValueError) files are cut, changed or missing; also later, where that is noticed later (`intact`).
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str = "all"):
        self.info = builder.info
        self._folder = pathlib.Path(builder.data_dir)
        with intact(self._folder):
            filled = filled_splits(builder)
            if not filled:
                raise ValueError("dataset_info.json is missing, or names no split with an example")
        self.splits = _resolve(split, filled)
        with intact(self._folder):
            self._examples = builder.as_data_source(split="+".join(self.splits))

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[dict[str, Any]]:
        """Several examples at once: faster, and what grain asks for."""
        wanted = [int(index) for index in indices]
        if outside := [index for index in wanted if not 0 <= index < len(self)]:
            raise IndexError(f"an example must be one of 0..{len(self) - 1}, got {outside[0]}")
        with intact(self._folder):
            return [_as_text(example) for example in self._examples.__getitems__(wanted)]

    @property
    def table(self) -> pd.DataFrame:
        """One row per example, with its `id` as index; text columns are categorical. Do not change it."""
        return self._index[0]

    @property
    def labels(self) -> UInt[np.ndarray, "n 19"]:
        """The multi-hot labels of every example.

        Raises:
            KeyError: the data set knows no labels.
        """
        if self._index[1] is None:
            raise KeyError(f"{self.info.name} holds no labels, only {', '.join(self.table)}; group by one of those")
        return self._index[1]

    @property
    def failures(self) -> dict[str, str]:
        """What the build could not read, and why, by the ids of items of all splits."""
        return failures.read(self._folder)

    @property
    def index_files(self) -> list[pathlib.Path]:
        """The files with everything but the pixels, one of each split."""
        return [index_path(self._folder, split) for split in self.splits]

    @cached_property
    def groups(self) -> Int[np.ndarray, " n"]:
        """The image of every example as a number: cells of one group may be paired."""
        return self.table["group_id"].cat.codes.to_numpy(np.int32)

    @cached_property
    def _index(self) -> tuple[pd.DataFrame, np.ndarray | None]:
        with intact(self._folder):
            table, labels = index.read(self.index_files)
            if len(table) != len(self):
                raise ValueError(f"its indices tell of {len(table)} examples, its records hold {len(self)}")
        return table, labels


class Part:
    """Some examples of a Source, as a Source of its own: those at `places`, in this order."""

    def __init__(self, source: "Source | Part | Joined", places: Sequence[int]):
        self.info: Any = source.info
        self._source, self._places = source, np.asarray(places, np.int64).reshape(-1)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self._source[int(self._places[index])]

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[dict[str, Any]]:
        """Several examples at once."""
        return self._source.__getitems__([int(self._places[index]) for index in indices])

    @property
    def table(self) -> pd.DataFrame:
        """As `Source.table`."""
        return self._source.table.iloc[self._places]

    @property
    def labels(self) -> UInt[np.ndarray, "n 19"]:
        """As `Source.labels`."""
        return self._source.labels[self._places]

    @property
    def index_files(self) -> list[pathlib.Path]:
        """As `Source.index_files`; they tell of the other examples, too."""
        return self._source.index_files

    @property
    def groups(self) -> Int[np.ndarray, " n"]:
        """As `Source.groups`, with the same numbers."""
        return self._source.groups[self._places]


class Joined:
    """Several sources of like examples as one, each after the other; no group of one is a group of another.

    Raises:
        ValueError: none at all, or their images have other shapes or dtypes.
    """

    def __init__(self, sources: Sequence[Source]):
        kinds = {(tuple(each.info.features["image"].shape), each.info.features["image"].np_dtype) for each in sources}
        if len(kinds) != 1:
            raise ValueError(f"sources must have images of one shape and dtype, got {kinds}; build them alike")
        self.info: Any = sources[0].info
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(each) for each in sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[dict[str, Any]]:
        """Several examples at once."""
        wanted = np.asarray([int(index) for index in indices], np.int64)
        if outside := [index for index in wanted.tolist() if not 0 <= index < len(self)]:
            raise IndexError(f"an example must be one of 0..{len(self) - 1}, got {outside[0]}")
        found: dict[int, dict[str, Any]] = {}
        whose = np.searchsorted(self._ends, wanted, side="right")
        for number, source in enumerate(self._sources):
            places = np.flatnonzero(whose == number)
            own = wanted[places] - (self._ends[number] - len(source))
            found |= dict(zip(places.tolist(), source.__getitems__(own.tolist()), strict=True))
        return [found[place] for place in range(len(wanted))]

    @cached_property
    def table(self) -> pd.DataFrame:
        """As `Source.table`; a column that some lack is empty there."""
        tables = [source.table.astype(dict.fromkeys(_texts(source.table), str)) for source in self._sources]
        whole = pd.concat(tables)
        whole = whole.fillna(dict.fromkeys(_texts(whole), ""))
        return whole.astype(dict.fromkeys(_texts(whole), "category"))

    @property
    def labels(self) -> UInt[np.ndarray, "n 19"]:
        """As `Source.labels`."""
        return np.concatenate([source.labels for source in self._sources])

    @property
    def index_files(self) -> list[pathlib.Path]:
        """As `Source.index_files`."""
        return [path for source in self._sources for path in source.index_files]

    @cached_property
    def groups(self) -> Int[np.ndarray, " n"]:
        """The image of every example as a number."""
        parts, first = [], 0
        for source in self._sources:
            parts.append(source.groups + first)
            first = int(parts[-1].max(initial=first - 1)) + 1
        return np.concatenate(parts).astype(np.int32)


def _texts(table: pd.DataFrame) -> list[str]:
    return [name for name in table if not pd.api.types.is_numeric_dtype(table[name].dtype)]


def index_path(folder: pathlib.Path, split: str) -> pathlib.Path:
    """Where the index of a split lies in the folder of its data set."""
    return folder / f"index-{split}.npz"


def filled_splits(builder: tfds.core.DatasetBuilder) -> list[str]:
    """The splits that hold an example, in the order of `splits.FRACTIONS`; all pictures of one may lack cells."""
    info = builder.info.splits
    return [split for split in splits.FRACTIONS if split in info and info[split].num_examples]


def write_index(builder: tfds.core.DatasetBuilder, split: str) -> None:
    """Reads a freshly built split once, without its pixels, and writes its index beside it."""
    large = [name for name, feature in builder.info.features.items() if len(feature.shape) > 1]
    skip = {name: tfds.decode.SkipDecoding() for name in large}
    examples = ({k: v for k, v in e.items() if k not in skip} for e in builder.as_data_source(split, decoders=skip))
    index.write(index_path(pathlib.Path(builder.data_dir), split), examples)


def _resolve(split: str, existing: Sequence[str]) -> list[str]:
    wanted = list(existing) if split == "all" else split.split("+")
    if missing := [name for name in wanted if name not in existing]:
        raise ValueError(f"split {missing[0]!r} holds nothing; there are {', '.join(existing)}, and 'all'")
    return wanted


def _as_text(example: dict[str, Any]) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in example.items()}
