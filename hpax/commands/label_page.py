"""The page of `hpax label`: what the networks say of the cells of a folder, beside what is known of its fields."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anndata
import numpy as np
from jaxtyping import Float
from PIL import Image

from hpax import atlas, models
from hpax.commands import tables
from hpax.commands.folder import FolderField
from hpax.commands.label import Config
from hpax.data import folders
from hpax.explore import page
from hpax.models import Network, segmenter
from hpax.predict import submission

SAID = 3  # classes of a field, the most probable ones, that stand beside its known ones
PICTURES = {"labels": "Cells in the colour of their most probable label", "maps": "Where the network saw its classes"}


def told_first(
    config: Config,
    loaded: Sequence[Network],
    sizes: Mapping[str, int],
    remarks: Sequence[str],
    explorer: Path | None = None,
) -> list[page.Block]:
    """What to know before any label: doubts, how large pixels were taken to be, which networks learnt what."""
    blocks: list[page.Block] = [page.Text(remark) for remark in remarks]
    if explorer is not None:
        words = "Explore the cells: find a protein, look at any cell and its field, see which proteins vary"
        blocks.append(page.Link(explorer.name, words))
    blocks.append(page.Table(["pixel size", "fields"], list(sizes.items())))
    if config.masks is None:
        found = segmenter.described(config.segmenter)
        blocks.append(page.Table(["cells found by", "of which its card says"], found))
    rows: list[list[str | float]] = []
    for network in loaded:
        title = network.card.partition("\n")[0].lstrip("# ") or "without a card"
        rows.append([title, models.card_summary(network.card) or "nothing", f"{network.um_per_pixel:g}"])
    blocks.append(page.Table(["labelled by", "of which its card says", "µm per pixel that it sees"], rows))
    return blocks


def overview(
    config: Config,
    loaded: Sequence[Network],
    known: Sequence[FolderField],
    table: anndata.AnnData,
    failures: Mapping[str, str],
    first: page.Section,
) -> str:
    """The page: what to know first, what the folder's table says, how often each label comes, and the pictures."""
    said = {id: prob.mean(0) for id, prob in submission.by_field(table).items()} if table.n_obs else {}
    sections = [first, page.Section("Labels that are known", known_labels(known, said))]
    sections.append(page.Section("Labels", class_counts(config, known, table)))
    if trust := trust_tables(loaded):
        sections.append(page.Section("How far to trust each class", trust))
    if failures:
        sections.append(page.Section("Failed", [tables.listing("why", sorted(failures.items()), "the log")]))
    for field in known[: config.shown]:
        if pictures := list(pictures_of(config, field)):
            sections.append(page.Section(field.id, [*beside(field, said.get(field.id)), *pictures]))
    found = f"found ({config.segmenter})" if config.masks is None else f"of {config.masks},"
    names = ", ".join(path.name for path in config.models)
    about = f"Cells of {folders.kind(config.fields)} fields, {found} and labelled by {names}."
    return page.page("Labelled cells", about, sections)


def class_counts(config: Config, known: Sequence[FolderField], table: anndata.AnnData) -> list[page.Text | page.Table]:
    """How many cells each class is the most probable one of, how many may show it, and how to get all of a cell's."""
    best = np.bincount(table.obsm["prob"].argmax(1), minlength=len(atlas.LOCATIONS))
    likely = (table.obsm["prob"] >= config.threshold).sum(0)
    rows: list[list[str | float]] = []
    for name, one, several in zip(atlas.LOCATIONS, best.tolist(), likely.tolist(), strict=True):
        rows.append([name, one, several])
    columns = ["class", "cells where it is the most probable", f"cells where its probability is {at_least(config)}"]
    return [
        page.Text(
            'A cell may show several classes. In `cells.h5ad`, `obs["label"]` is the most probable one, '
            f'`obs["labels"]` are all whose probability is {at_least(config)} (`--threshold`; none for some cells), '
            'and `obsm["prob"]` has the probabilities of all 19. Pictures show the most probable one.'
        ),
        page.Table(columns, rows, f"{table.n_obs} cells of {len(known)} fields"),
    ]


def at_least(config: Config) -> str:
    """From what probability on a class counts, in words."""
    return f"{config.threshold:g} or more"


def known_labels(
    known: Sequence[FolderField], said: Mapping[str, Float[np.ndarray, " 19"]]
) -> list[page.Text | page.Table]:
    """Of all fields with labels and cells: which classes they have, and of how many the surest label is right.

    `said` are the means over the cells of fields.
    """
    labelled = [field for field in known if field.annotation.labels.any()]
    if not labelled:
        return [
            page.Text(
                "The folder has no table of labels, or one that names none of its fields: nothing on this page is "
                "checked against what is known. A table (.csv) with the columns id and label at its top would be."
            )
        ]
    labelled = [field for field in labelled if field.id in said]
    has = np.zeros(len(atlas.LOCATIONS), int)
    agree = np.zeros(len(atlas.LOCATIONS), int)
    right = 0
    for field in labelled:
        label = int(said[field.id].argmax())
        has += field.annotation.labels > 0
        if field.annotation.labels[label]:
            agree[label] += 1
            right += 1
    rows: list[list[str | float]] = []
    for label in np.flatnonzero(has).tolist():
        rows.append([atlas.LOCATIONS[label], int(has[label]), int(agree[label])])
    caption = f"The surest label is one that the table names in {right} of {len(labelled)} labelled fields with cells"
    return [page.Table(["class", "fields that have it", "of which it is the surest label"], rows, caption)]


def beside(field: FolderField, said: Float[np.ndarray, " 19"] | None) -> list[page.Text | page.Table]:
    """What the networks say of a field (the mean of its cells) beside what the table says, right or wrong."""
    labels = field.annotation.labels
    if said is None:
        return []
    if not labels.any():
        return [page.Text("The table does not name this field.")]
    order = np.argsort(-said, kind="stable").tolist()
    rows: list[list[str | float]] = []
    for place, label in enumerate(order):
        if place < SAID or labels[label]:
            unnamed = "✗ wrong" if place == 0 else "the table does not name it"  # a field may show less than three
            mark = ("✓ right" if labels[label] else unnamed) if place < SAID else "✗ missed: the table names it"
            rows.append([atlas.LOCATIONS[label], float(said[label]), mark])
    names = ", ".join(atlas.LOCATIONS[label] for label in np.flatnonzero(labels))
    return [page.Table([f"the {SAID} most probable", "mean of its cells", "by the table"], rows, f"Known: {names}")]


def trust_tables(of: Sequence[Network]) -> list[page.Table]:
    """What each network's card says of every class; nothing of networks whose card has no such table."""
    tables_of = []
    for network in of:
        rows = models.card_table(network.card, "Classes")
        if rows:
            title = network.card.partition("\n")[0].lstrip("# ")
            caption = f"{title}: average precision (AP) on fields that it never saw, by its card"
            tables_of.append(page.Table(rows[0], rows[1:], caption))
    return tables_of


def picture_path(config: Config, field: FolderField, kind: str) -> Path:
    """Where a picture of a field lies."""
    return config.workdir / "pictures" / f"{field.id}_{kind}.png"


def pictures_of(config: Config, field: FolderField) -> Iterator[page.Picture]:
    """The pictures of a field that are there."""
    for kind, title in PICTURES.items():
        path = picture_path(config, field, kind)
        if path.exists():
            yield page.Picture(np.asarray(Image.open(path).convert("RGB")), f"{title}, field {field.id}", title)
