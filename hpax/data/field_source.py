"""Fields at random access with what is known of each, whatever data set they come from: what recipes learn from."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol, SupportsIndex, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt

from hpax import files
from hpax.data import mask_sources
from hpax.data.mask_sources import MaskSource
from hpax.data.source import Part, Source
from hpax.fields import Field, from_example


@runtime_checkable
class Fields(Protocol):
    """What batches of fields need: every field, and the labels of all."""

    @property
    def labels(self) -> UInt[np.ndarray, "f n"]:
        """The multi-hot labels of every field; no class where they are not known."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Field: ...


class FieldSource:
    """The fields of a built data set, with their masks where `masks` says where these come from.

    A field without a label is not known, not negative: `labelled` tells them apart, and `known` leaves them out.
    """

    def __init__(self, source: Source | Part, masks: MaskSource | None = None, *, blind: bool = False):
        self._source, self._masks, self._blind = source, masks, blind

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> Field:
        field = from_example(self._source[index])
        if self._masks is not None:
            field = dataclasses.replace(field, masks=self._masks(field))
        return dataclasses.replace(field, labels=None, cell_labels=None) if self._blind else field

    def __iter__(self) -> Iterator[Field]:
        return (self[place] for place in range(len(self)))

    @property
    def masks(self) -> MaskSource | None:
        """Where the masks come from; None where the fields have none."""
        return self._masks

    @property
    def labels(self) -> UInt[np.ndarray, "f n"]:
        """The multi-hot labels of every field."""
        labels = self._source.labels
        return np.zeros_like(labels) if self._blind else labels

    @property
    def labelled(self) -> Bool[np.ndarray, " f"]:
        """Which fields have a label."""
        return np.any(self.labels, axis=1)

    @property
    def table(self) -> pd.DataFrame:
        """One row per field, by its id: group_id, protein, antibody, cell_line."""
        return self._source.table

    @property
    def ids(self) -> list[str]:
        """The id of every field, in order."""
        return [str(id) for id in self.table.index]

    @property
    def dataset(self) -> str:
        """The name of the data set that the fields are of, with all its options."""
        return str(self._source.info.full_name)

    @property
    def name(self) -> str:
        """A name for this data: the data set with all its options, which of its fields in which order, their masks."""
        return files.digest(self.dataset, "\n".join(self.ids), mask_sources.name(self._masks))

    def with_masks(self, masks: MaskSource) -> "FieldSource":
        """The same fields with other masks."""
        return FieldSource(self._source, masks, blind=self._blind)

    def blind(self) -> "FieldSource":
        """The same fields without their labels, whose own and whose cells' are as good as not known."""
        return FieldSource(self._source, self._masks, blind=True)

    def part(self, places: Sequence[int] | np.ndarray) -> "FieldSource":
        """The fields at `places`, in this order."""
        part = Part(self._source, np.asarray(places, np.int64).tolist())
        return FieldSource(part, self._masks, blind=self._blind)

    def known(self) -> "FieldSource":
        """The fields that have a label."""
        return self if self.labelled.all() else self.part(np.flatnonzero(self.labelled))
