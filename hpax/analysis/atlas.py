"""An atlas: the cells of many fields as one table, with what is needed to look at them.

    parts = [field_cells(field, prob, features) for field, prob, features in ...]
    cells = joined(parts)  # AnnData: X features, obsm["prob"], ["labels"], ["truth"], obs a row for each cell

    kept = Collection(folder)  # of more fields than fit: pictures stay in files
    kept.add(field_cells(field, prob, features), key)
    cells = joined(kept.parts)

The conventions are scverse's; scanpy, napari and cellxgene open what `write_h5ad` leaves.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import anndata
import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, UInt8, UInt16

from hpax import atlas
from hpax.explore import colour, overlays
from hpax.fields import Field
from hpax.formats import kept_arrays
from hpax.predict import submission
from hpax.segment.cells import cell_images

THUMB = 48  # pixels of a cell's picture
THUMB_UM = 40.96  # µm of its side
FIELD_SIDE = 420  # pixels of a field's picture, at most
CORNERS = 24  # of a cell's outline

UNKNOWN = ""


@dataclasses.dataclass(frozen=True, eq=False)
class FieldCells:
    """The cells of one field by ascending index."""

    obs: pd.DataFrame
    prob: Float32[np.ndarray, "k 19"]  # together with the field
    alone: Float32[np.ndarray, "a 19"]  # of each cell by itself; or nothing
    features: Float32[np.ndarray, "k d"]
    labels: UInt8[np.ndarray, " 19"]  # of the field; none set: not known
    truth: UInt8[np.ndarray, "k 19"]  # of each cell, none set: not known
    thumbs: UInt8[np.ndarray, "m s s 3"]  # the HPA's colours; of all cells, or of none where a Collection keeps them
    outlines: UInt16[np.ndarray, "k p 2"]  # (x, y) in pixels of the picture
    planes: bytes  # the field's channels, grey, one below the other in a JPEG
    maps: UInt8[np.ndarray, "y x c"]  # where in the field a network saw each class, 255 × probability; or nothing

    def save(self, path: pathlib.Path, key: str) -> None:
        """Writes it to an .npz file; `key` says what it was made of."""
        arrays = {
            "index": self.obs.index.to_numpy(str),
            "prob": self.prob,
            "alone": self.alone,
            "features": self.features,
            "labels": self.labels,
            "truth": self.truth,
            "thumbs": self.thumbs,
            "outlines": self.outlines,
            "planes": np.frombuffer(self.planes, np.uint8),
            "maps": self.maps,
        }
        columns = {f"obs_{name}": _plain(self.obs[name]) for name in self.obs}
        kept_arrays.write(path, key, arrays | columns)


@dataclasses.dataclass(frozen=True, eq=False)
class Collection:
    """The cells of many fields: their numbers in memory, all of a field in a file of `folder`, pictures included."""

    folder: pathlib.Path
    taken: dict[str, FieldCells] = dataclasses.field(default_factory=dict)  # field → its cells, without pictures
    keys: dict[str, str] = dataclasses.field(default_factory=dict)  # field → what its file was made of

    @property
    def parts(self) -> list[FieldCells]:
        """The cells of each field, in the order in which these were taken or arranged."""
        return list(self.taken.values())

    def arrange(self, ids: Sequence[str]) -> None:
        """Brings the fields into the order of `ids`; those that were not taken are passed over."""
        self.taken.update({id: self.taken.pop(id) for id in ids if id in self.taken})

    def kept(self, id: str, key: str) -> bool:
        """Takes a field that was added before, perhaps by another process; False if its file does not hold."""
        part = load(self._path(id), key)
        if part is not None:
            self._take(id, part, key)
        return part is not None

    def add(self, id: str, part: FieldCells, key: str) -> None:
        """Takes a field, and writes its file."""
        part.save(self._path(id), key)
        self._take(id, part, key)

    def whole(self, id: str) -> FieldCells:
        """All that is known of a field.

        Raises:
            KeyError: it was never added.
            FileNotFoundError: its file is gone, or has changed since.
        """
        part = load(self._path(id), self.keys[id])
        if part is None:
            raise FileNotFoundError(f"{self._path(id)} was there and is no longer; run the command again")
        return part

    def _take(self, id: str, part: FieldCells, key: str) -> None:
        self.taken[id] = dataclasses.replace(part, thumbs=part.thumbs[:0], planes=b"", maps=part.maps[:0])
        self.keys[id] = key

    def _path(self, id: str) -> pathlib.Path:
        return self.folder / f"{id}.npz"


def load(path: str | os.PathLike[str], key: str) -> FieldCells | None:
    """What `FieldCells.save` wrote; None if it is not there, damaged, or was made of something else."""
    kept = kept_arrays.read(path, key)
    if kept is None or not {"maps", "alone", "planes"} <= kept.keys():  # which earlier files have not
        return None
    columns = {name.removeprefix("obs_"): kept[name] for name in kept if name.startswith("obs_")}
    return FieldCells(
        obs=pd.DataFrame(columns, index=pd.Index(kept["index"])),
        prob=kept["prob"],
        alone=kept["alone"],
        features=kept["features"],
        labels=kept["labels"],
        truth=kept["truth"],
        thumbs=kept["thumbs"],
        outlines=kept["outlines"],
        planes=kept["planes"].tobytes(),
        maps=kept["maps"],
    )


def field_cells(
    field: Field,
    prob: Float[np.ndarray, "k 19"],
    features: Float[np.ndarray, "k d"],
    *,
    alone: Float[np.ndarray, "k 19"] | None = None,
    maps: Float[np.ndarray, "y x 19"] | None = None,
    side: int = FIELD_SIDE,
) -> FieldCells:
    """What an atlas holds of a field: a row of `prob` and `features` for each of its cells, by ascending index.

    `alone` is what is said of the cells by themselves, `maps` are logits (`LabelPrediction`).

    The truth of a cell is taken over where the masks of the field are the true ones.

    Raises:
        ValueError: the field has no masks, or there is another number of rows than cells.
    """
    if not len(field.found) == len(prob) == len(features):
        counts = f"{len(field.found)}, {len(prob)} and {len(features)}"
        raise ValueError(f"each cell of field {field.id} must have its rows, got {counts} cells, prob and features")
    known = {name: field.origin.get(name, UNKNOWN) for name in ("protein", "antibody", "cell_line")}
    writer = submission.Writer(lambda listing: None)
    writer.add(field.id, field.found, prob, um_per_pixel=field.um_per_pixel, obs=known)
    rgb = colour.picture(overlays.LIGHT * overlays.light(field.image, max(field.image.shape[:2])))
    _, thumbs = cell_images(rgb, field.found, field.um_per_pixel, crop_um=THUMB_UM, size=THUMB, masked=False)
    none = np.zeros(len(atlas.LOCATIONS), np.uint8)
    by_itself = np.zeros((0, len(none)), np.float32) if alone is None else alone
    own_truth = field.cell_labels if field.cell_labels is not None and field.masks is field.truth else None
    return FieldCells(
        obs=writer.table().obs.assign(um_per_pixel=field.um_per_pixel),
        prob=prob.astype(np.float32),
        alone=by_itself.astype(np.float32),
        features=features.astype(np.float32),
        labels=none if field.labels is None else field.labels.astype(np.uint8),
        truth=np.tile(none, (len(prob), 1)) if own_truth is None else own_truth.astype(np.uint8),
        thumbs=thumbs,
        outlines=_outlines(field, side),
        planes=overlays.planes(field.image, side),
        maps=np.zeros((0, 0, len(atlas.LOCATIONS)), np.uint8) if maps is None else _as_bytes(maps),
    )


def joined(parts: Sequence[FieldCells], *, uns: Mapping[str, object] | None = None) -> anndata.AnnData:
    """The cells of all fields: X the features, obsm "prob", "labels" (of the field) and "truth", uns "locations"; obsm
    "prob_alone", too, where it is known of all of them.

    Raises:
        ValueError: no cell at all.
    """
    full = [part for part in parts if len(part.obs)]
    if not full:
        raise ValueError(f"an atlas needs cells, {len(parts)} fields have none; look at how they were segmented")
    obs = pd.concat([part.obs for part in full])
    for name in ("field", "protein", "antibody", "cell_line", "label"):
        obs[name] = obs[name].astype(str).astype("category")
    features = np.concatenate([part.features for part in full])
    names = pd.DataFrame(index=[f"feature_{number}" for number in range(features.shape[1])])
    of_fields = [np.tile(part.labels, (len(part.obs), 1)) for part in full]
    known = all(len(part.alone) == len(part.obs) for part in full)
    return anndata.AnnData(
        X=features,
        obs=obs,
        var=names,
        obsm={
            "prob": np.concatenate([part.prob for part in full]),
            "labels": np.concatenate(of_fields),
            "truth": np.concatenate([part.truth for part in full]),
            **({"prob_alone": np.concatenate([part.alone for part in full])} if known else {}),
        },
        uns={"locations": np.array(atlas.LOCATIONS), **(uns or {})},
    )


def _plain(column: pd.Series) -> np.ndarray:
    """A column as an array that needs no pickle."""
    values = column.to_numpy()
    return values.astype(str) if values.dtype == object or not isinstance(values, np.ndarray) else values


def _as_bytes(logits: Float[np.ndarray, "y x c"]) -> UInt8[np.ndarray, "y x c"]:
    return np.rint(255 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.uint8)


def _outlines(field: Field, side: int) -> UInt16[np.ndarray, "k p 2"]:
    """Each cell's longest contour as so many corners, evenly along it."""
    from scipy import ndimage
    from skimage import measure

    scale = min(1.0, side / max(field.image.shape[:2]))
    cells = field.found.cells
    boxes = ndimage.find_objects(cells)
    found = np.zeros((len(field.found), CORNERS, 2), np.uint16)
    for place, index in enumerate(field.found.indices):
        rows, columns = boxes[index - 1]
        own = np.pad(cells[rows, columns] == index, 1)
        contour = max(measure.find_contours(own.astype(np.float32), 0.5), key=len)
        kept = contour[np.linspace(0, len(contour) - 1, CORNERS).round().astype(int)]
        xy = np.array([columns.start, rows.start]) + kept[:, ::-1] - 1 + 0.5
        found[place] = np.clip(np.rint(scale * xy), 0, 2**16 - 1)
    return found
