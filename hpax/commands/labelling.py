"""What `hpax label` does."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

import hpax
from hpax import atlas, files, launch, models, progress
from hpax.analysis.atlas import Collection, field_cells
from hpax.commands import label_explorer, label_page, plausibility, segmenting, tables
from hpax.commands.cells_of_fields import Opened, attempted, opened
from hpax.commands.command import Call
from hpax.commands.folder import FolderField, Load, er_remarks
from hpax.commands.found_cells import masks_digest
from hpax.commands.label import Config
from hpax.commands.mask_folders import CellFinder, Cells
from hpax.commands.shares import FieldShare
from hpax.data import folders, pixel_sizes
from hpax.data.failures import why
from hpax.explore import colour, labelled, page
from hpax.fields import Masks
from hpax.formats import kaggle, kept_arrays
from hpax.models import Network, load_network
from hpax.models.store import path_of
from hpax.predict import combine, refine, submission
from hpax.segment import borders

Said = Float[np.ndarray, "2 k n"]
"""What is said of the cells of a field: together with it, and by themselves."""


def run(config: Config, call: Call) -> dict[str, str]:
    """Finds and labels; field → why it failed.

    Raises:
        FileNotFoundError: no folder, no field in it, or no such network.
        ValueError: the workdir is another config's or another process's, or nothing could be labelled.
    """
    start, resumed = time.perf_counter(), any((config.workdir / "fields").glob("*.npz"))
    loaded = networks(config.models)
    ensemble = models.Ensemble.of(loaded, tta=config.tta, cell_tta=cell_views(config))
    with opened(config, config.fields, shown=config.shown) as begun:
        known, guesses, failures = begun.known, begun.guesses, dict(begun.failures)
        explored = Collection(config.workdir / label_explorer.FOLDER) if config.explorer else None
        labeller = Labeller(config, ensemble, begun.find, content(config.models), explored)
        if begun.share is not None:
            return failures | label_share(labeller, begun, begun.share)
        with submission.writer(config.workdir) as writer:
            rows, unlabelled, sizes = label_all(labeller, begun, writer)
            failures |= unlabelled
            if config.masks is None:
                segmenting.finish(begun.cells, call, known, failures, guesses, start=start)
            table = writer.table()
            if not table.n_obs:
                first = next(iter(failures.values()), "no cell was found")
                raise ValueError(f"no cell in any of {len(known)} fields, {len(failures)} of which failed: {first}")
    with files.exclusive(config.workdir):
        remarks = [f"Doubtful: {doubt}" for doubt in sizes.doubts()]
        remarks += er_remarks(known)
        remarks += [guess.remark(config.um_per_pixel) for guess in guesses]
        explorer = label_explorer.leave(config, loaded, explored, remarks, failures)
        opening = page.Section("First", label_page.told_first(config, loaded, sizes.pixels, remarks, explorer))
        _leave(config, label_page.overview(config, loaded, known, table, failures, opening), rows)
        counts = {"fields": len(known), "cells": table.n_obs, "failed fields": len(failures)}
        _record(config, call, counts, seconds=time.perf_counter() - start, resumed=resumed)
        for doubt in sizes.doubts():
            print(f"doubtful: {doubt}")
        print(f"{table.n_obs} cells of {len(known)} fields")
        if explorer is not None:
            print(f"to explore the cells: {explorer}")
        print(f"the page: {config.workdir / 'index.html'}")
    return failures


def networks(names: Sequence[Path]) -> list[Network]:
    """The networks of files, of the catalogue, and of folders that hold ensembles.

    Raises:
        FileNotFoundError, ValueError: one is not there, or is none.
    """
    found = []
    for name in names:
        if name.is_dir():
            ensemble = models.load(name)
            found += ensemble.networks if isinstance(ensemble, models.Ensemble) else []
        else:
            found.append(load_network(name))
    return found


def cell_views(config: Config) -> int | None:
    """The views of a crop: as asked, or as in saved ensembles, at most as many as of fields; None: nothing says it."""
    if config.cell_tta is not None:
        return config.cell_tta
    saved = [models.ensemble.read(name).views["cell_tta"] for name in config.models if name.is_dir()]
    return min(config.tta, max(saved)) if saved else None


def content(names: Sequence[Path]) -> str:
    """A name for what the files of networks hold."""
    parts: list[str | Path] = []
    for name in names:
        if name.is_dir():
            parts += sorted(name.glob("*.safetensors"))
        else:
            parts.append(path_of(name))
    return files.digest(*parts)


@dataclasses.dataclass(frozen=True)
class Labeller:
    """Labels the cells of one field after another, and keeps what was said for the next time."""

    config: Config
    ensemble: models.Ensemble
    find: CellFinder
    networks: str  # their content
    explored: Collection | None = None  # takes the cells of every field, for explorer.html

    def __call__(self, field: FolderField, *, shown: bool, on_sheet: bool) -> tuple[Cells, Said]:
        """The cells of a field, and what is said of them; leaves pictures of the field if it is `shown`.

        The field is read once, and only if something about it is not known yet.

        Raises:
            ValueError, OSError: it cannot be read, or there are no cells to be had.
        """
        load = field.loader(pixel_sizes.number(self.config.um_per_pixel))
        cells = self.find(field, load, shown=on_sheet)
        path = self.config.workdir / "fields" / f"{field.id}.npz"
        key = self._key(cells)
        known = _kept(path, key)
        drawn = not shown or label_page.picture_path(self.config, field, "labels").exists()
        if known is not None and drawn and self._explorable(field, cells, key):
            return cells, known
        return cells, self._label(field, load, cells, path, key, shown=shown)

    def _explorable(self, field: FolderField, cells: Cells, key: str) -> bool:
        """Whether all that the explorer shows of a field is there, if there is anything."""
        if self.explored is None or not len(cells.masks):
            return True
        return self.explored.kept(field.id, _explorer_key(key, field))

    def _key(self, cells: Cells) -> str:
        """What the answer depends on."""
        options = f"{self.ensemble.views} {cells.um_per_pixel} {hpax.__version__}"
        return files.digest(cells.pixels, masks_digest(cells.masks), self.networks, options)

    def _label(self, field: FolderField, load: Load, cells: Cells, path: Path, key: str, *, shown: bool) -> Said:
        for kind in label_page.PICTURES:
            label_page.picture_path(self.config, field, kind).unlink(missing_ok=True)
        seen = dataclasses.replace(load(), um_per_pixel=cells.um_per_pixel, masks=cells.masks)
        found = self.ensemble.predict(seen)
        said = np.stack([found.cells, found.cell_only]).astype(np.float32)
        if shown:
            picture = labelled.labelled(seen.image, cells.masks, found.cells)
            files.write_bytes(label_page.picture_path(self.config, field, "labels"), colour.png(picture))
            if found.maps is not None and found.field is not None:
                picture = labelled.activations(seen.image, found.maps, found.field)
                files.write_bytes(label_page.picture_path(self.config, field, "maps"), colour.png(picture))
        if self.explored is not None and len(cells.masks):
            features = said[1] if found.features is None else found.features
            named = {**field.origin, "protein": field.annotation.protein}  # and nothing in its place
            shown_as = dataclasses.replace(seen, origin=named)
            part = field_cells(shown_as, said[0], features, alone=said[1], maps=found.maps)
            self.explored.add(field.id, part, _explorer_key(key, field))
        kept_arrays.write(path, key, {"said": said})
        return said


def _explorer_key(key: str, field: FolderField) -> str:
    """What is shown of a field depends on what the table says of it, too."""
    told = field.annotation.protein, sorted(field.origin.items())
    return files.digest(key, field.annotation.labels.tobytes(), str(told))


def _kept(path: Path, key: str) -> Said | None:
    """What was said before, if it still holds."""
    return (kept_arrays.read(path, key) or {}).get("said")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large pixels, nuclei and cells were taken to be."""

    pixels: dict[str, int] = dataclasses.field(default_factory=dict)  # a size and how it is known → fields
    nuclei: list[float] = dataclasses.field(default_factory=list)  # µm²
    cells: list[float] = dataclasses.field(default_factory=list)  # µm²

    def add(self, cells: Cells) -> None:
        """Counts a field."""
        size = f"{cells.um_per_pixel:.4g} µm, {cells.source}"
        self.pixels[size] = self.pixels.get(size, 0) + 1
        for areas, plane in ((self.nuclei, cells.masks.nuclei), (self.cells, cells.masks.cells)):
            counts = np.unique(plane[plane > 0], return_counts=True)[1]
            areas.extend((counts * cells.um_per_pixel**2).tolist())

    def doubts(self) -> list[str]:
        """What is doubtful about them."""
        return plausibility.doubts(self.nuclei, self.cells)


def label_all(
    labeller: Labeller, begun: Opened, writer: submission.Writer
) -> tuple[list[dict[str, str]], dict[str, str], Sizes]:
    """Labels the fields, adds their cells to `writer`; the rows of refined.csv, why some fields failed, and sizes."""
    config, known, rows, failures, sizes = labeller.config, begun.known, [], {}, Sizes()
    with progress.shown("fields", len(known)) as bar:
        for field, found in label_each(labeller, begun):
            bar.advance()
            try:
                cells, (prob, own) = _or_raised(found)
                said = ranked(config, cells, prob)
                obs = {**field.origin, "labels": likely(said, config.threshold)}
                writer.add(field.id, cells.masks, said, um_per_pixel=cells.um_per_pixel, obs=obs)
                rows += refined(config, field, cells.masks, own, said.argmax(1))
                sizes.add(cells)
            except Exception as error:  # no field stops the others, whatever is wrong with it
                failures[field.id] = why(error)
                bar.say(f"failed: {field.id}: {failures[field.id]}")
    if labeller.explored is not None:
        labeller.explored.arrange([field.id for field in known])
    return rows, failures, sizes


def label_share(labeller: Labeller, begun: Opened, share: FieldShare) -> dict[str, str]:
    """Labels a share of the fields, and keeps what was said for the one who brings all together; why some failed."""
    own, failures = begun.own, {}
    with progress.shown("fields", len(own)) as bar:
        for field, found in label_each(labeller, begun):
            bar.advance()
            if isinstance(found, Exception):
                failures[field.id] = why(found)
                bar.say(f"failed: {field.id}: {failures[field.id]}")
    print(share.told(len(own), len(begun.known)))
    return failures


Found = tuple[Cells, Said] | Exception
"""The cells of a field and what is said of them, or why there is nothing."""


def label_each(labeller: Labeller, begun: Opened) -> Iterator[tuple[FolderField, Found]]:
    """The fields of this process, each with what was found; several are worked on at once."""
    config, on_sheet = labeller.config, begun.on_sheet
    first = {field.id for field in begun.known[: config.shown]}

    def label(field: FolderField) -> tuple[Cells, Said]:
        kaggle.check_id(field.id)
        return labeller(field, shown=field.id in first, on_sheet=field.id in on_sheet)

    return attempted(label, begun.own, config.workers)


def _or_raised(found: Found) -> tuple[Cells, Said]:
    if isinstance(found, Exception):
        raise found
    return found


def ranked(config: Config, cells: Cells, prob: Float[np.ndarray, "k n"]) -> Float[np.ndarray, "k n"]:
    """The probabilities as the submission lists them."""
    if config.negative == "excludes":
        prob = combine.negative_excludes(prob)
    elif config.negative == "is the rest":
        prob = combine.negative_as_complement(prob)
    if not config.border_weights:
        return prob
    return combine.weighted(prob, borders.weights(borders.cell_properties(cells.masks, cells.um_per_pixel)))


def likely(prob: Float[np.ndarray, "k 19"], threshold: float) -> list[str]:
    """The names of each cell's classes whose probability is `threshold` or more, with ; between them."""
    return [";".join(atlas.LOCATIONS[label] for label in np.flatnonzero(row >= threshold)) for row in prob]


def refined(
    config: Config,
    field: FolderField,
    masks: Masks,
    own: Float[np.ndarray, "k n"],
    best: Integer[np.ndarray, " k"],
) -> list[dict[str, str]]:
    """Each cell with those of its field's labels that it shows, where the field has labels.

    By what is said of cells by themselves, and by the most probable class of each as the tables have it.
    """
    labels = field.annotation.labels
    if not labels.any():
        return []
    if config.refinement == "relative":
        kept = refine.relative(labels, own, least=refine.ALONE, best=best)
    else:
        kept = {"paper": refine.by_paper, "code": refine.by_code}[config.refinement](labels, own)
    rows = []
    for index, row in zip(masks.indices, kept, strict=True):
        names = ";".join(atlas.LOCATIONS[label] for label in np.flatnonzero(row))
        rows.append({"field": field.id, "cell": str(index), "locations": names})
    return rows


def _record(config: Config, call: Call, counts: Mapping[str, int], *, seconds: float, resumed: bool) -> None:
    """Leaves result.json."""
    metrics = {"cells per second": counts["cells"] / seconds}
    asked = dataclasses.replace(config, workdir=type(config).workdir)
    kind = folders.kind(config.fields)
    result = launch.Result(metrics=metrics, counts=counts, data=kind, headline=list(metrics))
    told = launch.origin(call.command, call.about, asked, call.arguments)
    record = launch.record(config, result, told, arm="default", seed=0, seconds=seconds, resumed=resumed)
    record["networks"] = {str(name): content([name]) for name in config.models}
    files.write_json(config.workdir / "result.json", record)


def _leave(config: Config, overview: str, rows: Sequence[Mapping[str, str]]) -> None:
    """The table of refined labels and the page, once the submission is whole."""
    path = config.workdir / "refined.csv"
    path.unlink(missing_ok=True)
    if rows:
        tables.write(path, rows)
    written = kaggle.Table(config.workdir / submission.SUBMISSION)
    if written.defects:
        raise ValueError(f"the submission has defects: {written.defects[:3]}")
    page.write(config.workdir / "index.html", overview)
