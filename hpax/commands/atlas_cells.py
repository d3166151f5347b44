"""The cells of an atlas: those of a folder of fields, found, labelled and embedded; or of the simulated atlas.

What was made of a field is kept in a file of its own, and believed as long as pixels, masks and networks are the same.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import anndata
import numpy as np
from jaxtyping import Float

import hpax
from hpax import files, models, progress
from hpax.analysis import atlas as atlas_tables
from hpax.analysis.atlas import Collection, FieldCells
from hpax.commands import label, labelling
from hpax.commands.command import Call
from hpax.commands.found_cells import masks_digest, read_record
from hpax.data.pixel_sizes import number
from hpax.data.reading import read_folder
from hpax.fields import Field, Masks
from hpax.formats import masks as mask_files
from hpax.predict import submission
from hpax.recipes import data_configs, datasets


@dataclasses.dataclass(frozen=True, eq=False)
class Fields:
    """Fields with masks, and where it is known before, what their cells show."""

    open: Callable[[], Iterator[Field]]
    count: int
    prob: Mapping[str, Float[np.ndarray, "k 19"]] | None = None  # by field; None: the networks are to be asked
    failures: Mapping[str, str] = dataclasses.field(default_factory=dict)


def simulated(atlas: data_configs.Atlas, data_dir: Path, seed: int) -> Fields:
    """The simulated atlas with its true masks; its shards are built once in `data_dir`."""
    data = data_configs.Data(data_dir=data_dir, atlas=atlas, masks="true")
    split = datasets.open_fields(data, seed=seed)
    sources = (split.training, split.validation, split.test)

    def every() -> Iterator[Field]:
        for source in sources:
            yield from source

    return Fields(every, sum(map(len, sources)))


def of_folder(config: label.Config, call: Call) -> Fields:
    """The fields of a folder, their cells found and labelled as `hpax label` does, in its workdir.

    Raises:
        FileNotFoundError, ValueError: as `hpax label`.
    """
    asked = config.um_per_pixel
    failures = labelling.run(config, call)
    prob = submission.by_field(anndata.read_h5ad(config.workdir / submission.TABLE))
    segmented = config.workdir / "cells" if config.masks is None else config.masks
    folder = segmented / "masks" if (segmented / "masks").is_dir() else segmented
    known = read_folder(
        config.fields,
        um_per_pixel=asked,
        camera_bits=config.camera_bits,
        annotations=config.annotations,
    )

    def every() -> Iterator[Field]:
        for place, id in enumerate(known.ids):
            if id in prob:
                field = known[place]
                size = number(asked)
                if not asked:
                    size = float(read_record(segmented, id).get("um_per_pixel", 0))
                masks = Masks(*mask_files.read(folder, id))
                yield dataclasses.replace(field, masks=masks, um_per_pixel=size or field.um_per_pixel)

    return Fields(every, len(prob), prob, failures)


@dataclasses.dataclass(frozen=True, eq=False)
class Describer:
    """Labels and features of the cells of a field.

    Features are those of an inpainting encoder where there is one, else of the classifier of cells before its last
    layer (Le et al. 2022).
    """

    ensemble: models.Ensemble
    encoder: models.Encoder | None
    layer: str
    content: str  # of the networks' files

    def __call__(self, field: Field, prob: Float[np.ndarray, "k 19"] | None) -> FieldCells:
        """What an atlas holds of a field."""
        said = self.ensemble.predict(field)
        cells = said.cells.astype(np.float32) if prob is None else prob
        return atlas_tables.field_cells(field, cells, self._features(field, said), alone=said.cell_only, maps=said.maps)

    def key(self, field: Field, prob: Float[np.ndarray, "k 19"] | None) -> str:
        """What the answer depends on."""
        said = b"" if prob is None else np.ascontiguousarray(prob, np.float32).tobytes()
        about = f"{field.image.shape} {field.image.dtype} {field.um_per_pixel} {dict(field.origin)} {self.layer}"
        labels = b"" if field.labels is None else field.labels.tobytes()
        versions = f"{about} {self.ensemble.views} {hpax.__version__}"
        pixels = np.ascontiguousarray(field.image).tobytes()
        return files.digest(pixels, masks_digest(field.found), said, labels, self.content, versions)

    def _features(self, field: Field, said: models.LabelPrediction) -> Float[np.ndarray, "k d"]:
        if self.encoder is not None:
            return np.asarray(self.encoder.features(self.encoder.crops(field), self.layer))
        if said.features is None:
            raise ValueError("features need a network of cells, an ensemble of networks of fields has none")
        return said.features


def describer(names: tuple[Path, ...], *, encoder: Path | None, layer: str, tta: int) -> Describer:
    """The networks of an atlas.

    Raises:
        ValueError: none of them classifies cells, and there is no encoder.
        FileNotFoundError: one is not there.
    """
    ensemble = models.Ensemble.of(labelling.networks(names), tta=tta)
    if encoder is None and not ensemble.cells:
        raise ValueError("features need a network of cells among --models, or an --encoder; add label-cells")
    content = labelling.content(names) + ("" if encoder is None else files.digest(encoder))
    return Describer(ensemble, None if encoder is None else models.Encoder.load(encoder), layer, content)


def collect(fields: Fields, describe: Describer, folder: Path) -> Collection:
    """What an atlas holds of every field; each is kept in `folder`, and taken from there if it still holds."""
    found = Collection(folder)
    with progress.shown("cells of fields", fields.count) as bar:
        for field in fields.open():
            bar.advance()
            if not len(field.found):
                continue
            prob = None if fields.prob is None else fields.prob[field.id]
            key = describe.key(field, prob)
            if not found.kept(field.id, key):
                found.add(field.id, describe(field, prob), key)
    return found
