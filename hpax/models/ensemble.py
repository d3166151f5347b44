"""Labels of the cells of a field, by image-level and cell-level networks together.

ensemble = hpax.Ensemble.load(["localize.safetensors", "classify.safetensors"])
prediction = ensemble.predict(field)  # a field with masks
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hpax import files
from hpax.fields import Field
from hpax.models.cell_classifier import CellClassifier
from hpax.models.field_classifier import FieldClassifier
from hpax.models.store import Network, load_network
from hpax.predict import cams, combine, tta

SHIPPED = ("label-fields", "label-cells")
"""The networks of the catalogue that label fields and cells: `hpax.Ensemble.load(SHIPPED)`."""

INDEX = "ensemble.json"
"""In the folder of a saved ensemble: which files it consists of."""

CELL_VIEWS = 4
"""Of each crop, where a network looks at the field, too: the fewest with which cells of held-out simulated fields were
told as well as with 8, by `label-cells` alone and with `label-fields`."""

MAX_INDEX = 2**16  # bytes
MAX_MEMBERS = 64


class LabelPrediction(NamedTuple):
    """What is said of a field and its cells; None where no network says it."""

    cells: Float[np.ndarray, "k n"]  # by ascending index, together with their field
    cell_only: Float[np.ndarray, "k n"]  # of each cell by itself: by its crop, or by maps where no network sees crops
    field: Float[np.ndarray, " n"] | None
    maps: Float[np.ndarray, "y x n"] | None  # logits
    features: Float[np.ndarray, "k d"] | None = None  # what the first network of cells sees before its last layer


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Networks of both kinds, or of one of them. Those of a kind are averaged; the two kinds meet in `combine.fuse`.

    Raises:
        ValueError: no network, or one that labels neither fields nor cells.
    """

    fields: tuple[FieldClassifier, ...]
    cells: tuple[CellClassifier, ...]

    def __post_init__(self) -> None:
        if not self.fields and not self.cells:
            raise ValueError("an ensemble needs a network of kind cam-net or cell-net, got none; see hpax.recipes")

    @classmethod
    def of(cls, networks: Sequence[Network], *, tta: int = len(tta.ALL), cell_tta: int | None = None) -> "Ensemble":
        """Networks as an ensemble, with `tta` views of each field and `cell_tta` of each cell's crop: 1, 2, 4 or 8.

        `cell_tta` is `tta` if not given, and at most `CELL_VIEWS` where a network looks at the field, too.

        Raises:
            ValueError: a network labels neither fields nor cells, or there is no such number of views.
        """
        kinds = [network.architecture for network in networks]
        if not set(kinds) <= {"cam-net", "cell-net"}:
            raise ValueError(f"an ensemble needs networks of kind cam-net or cell-net, got {kinds}; leave others out")
        fields = [FieldClassifier(network, tta) for network in networks if network.architecture == "cam-net"]
        views = _cell_views(cell_tta, tta, alone=not fields)
        cells = [CellClassifier(network, views) for network in networks if network.architecture == "cell-net"]
        return cls(tuple(fields), tuple(cells))

    @classmethod
    def load(
        cls, names: Sequence[str | os.PathLike], *, tta: int = len(tta.ALL), cell_tta: int | None = None
    ) -> "Ensemble":
        """Networks of the catalogue by name, or from files; see `of` and `load_network` for what goes wrong."""
        return cls.of([load_network(name) for name in names], tta=tta, cell_tta=cell_tta)

    @property
    def networks(self) -> list[Network]:
        """All networks, those of fields first."""
        return [each.network for each in self.fields] + [each.network for each in self.cells]

    @property
    def views(self) -> dict[str, int]:
        """The most views of a field, and of a crop, as `of` takes them; 1 where there is no such network."""
        return {
            "tta": max((model.tta for model in self.fields), default=1),
            "cell_tta": max((model.tta for model in self.cells), default=1),
        }

    def predict(self, field: Field) -> LabelPrediction:
        """The probabilities of a field and its cells.

        Raises:
            ValueError: the field has no masks.
        """
        cells = [model.described(model.crops(field)) for model in self.cells]
        by_crop = combine.ensemble([prob for prob, _ in cells]) if cells else None
        features = cells[0][1] if cells else None
        if not self.fields:
            assert by_crop is not None
            return LabelPrediction(by_crop, by_crop, None, None, features)
        seen = [model.predict(field) for model in self.fields]
        whole = np.mean([each.probabilities for each in seen], axis=0)
        by_map = combine.ensemble(
            [cams.cell_probabilities(each.maps, each.probabilities, field.found.cells) for each in seen]
        )
        of_each = [by_map] if by_crop is None else [by_map, by_crop]
        return LabelPrediction(combine.fuse(whole, of_each), of_each[-1], whole, seen[0].maps, features)

    def save(self, folder: str | os.PathLike) -> pathlib.Path:
        """Writes every network, its card, and an index to `folder`; `hpax.load` reads it."""
        folder = pathlib.Path(folder)
        names = []
        kinds: dict[str, Sequence[FieldClassifier | CellClassifier]] = {"field": self.fields, "cell": self.cells}
        for kind, models in kinds.items():
            for number, model in enumerate(models):
                names.append(f"{kind}{number}.safetensors")
                model.save(folder / names[-1])
        files.write_json(folder / INDEX, {"networks": names, **self.views})
        return folder


def _cell_views(asked: int | None, of_fields: int, *, alone: bool) -> int:
    """The views of a crop; a ValueError if there is no such number of them, whether or not a network looks at crops."""
    if asked is None:
        return of_fields if alone else min(of_fields, CELL_VIEWS)
    tta.check(asked)
    return asked


def read(folder: pathlib.Path) -> Ensemble:
    """The ensemble that `Ensemble.save` left in a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: its index is damaged or names files elsewhere, or a network is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {INDEX}; give the folder that Ensemble.save wrote, or a network's file"
        )
    try:
        if path.stat().st_size > MAX_INDEX:
            raise ValueError(f"it has more than {MAX_INDEX} bytes")
        index = json.loads(path.read_text(encoding="utf-8"))
        names, of_fields = list(index["networks"]), index["tta"]
        of_cells = index.get("cell_tta", of_fields)  # the same, in earlier files
        if not 0 < len(names) <= MAX_MEMBERS or any(pathlib.PurePath(str(name)).name != name for name in names):
            raise ValueError(f"it must name 1 to {MAX_MEMBERS} files in its folder, got {names[:3]}")
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ValueError(f"it names {missing[0][:80]!r}, which is not there")
        for views in (of_fields, of_cells):
            if type(views) is not int:
                raise ValueError(f"its tta must be a number of views, got {views!r}")
            tta.check(views)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); save the ensemble again") from error
    return Ensemble.load([folder / name for name in names], tta=of_fields, cell_tta=of_cells)
