"""The cells of fields of a folder, found once: masks, a record of each field, an overlay.

A record holds what was measured, and of which pictures and masks. It is believed as long as both are what they were:
other pictures are segmented, other masks (corrected by hand) are measured again. Masks that were corrected once are
never replaced: of other pictures, the field fails until somebody removes them. Of several flavours, the corrected one
replaces the others. What a table says of a field is no part of its record.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import hpax
from hpax import atlas, files
from hpax.commands.folder import FolderField, Load, content, state
from hpax.commands.segment import Config
from hpax.data import failures
from hpax.data.pixel_sizes import number
from hpax.explore import overlays
from hpax.fields import Field, Masks
from hpax.formats import fields
from hpax.formats import masks as mask_files
from hpax.models.segmenter import by_name
from hpax.segment import borders, crops

NUCLEUS = atlas.CHANNELS.index("nucleus")
SOURCES = {"option": "as asked for", "file": "as stated", "nuclei": "by nuclei", "width": "guessed from the width"}
"""How a pixel size is known, in words."""

SHEET_SIDE = 384  # pixels of an overlay in the sheet of all


def record_path(workdir: Path, id: str) -> Path:
    """Where the record of a field lies."""
    return workdir / "fields" / f"{id}.json"


def read_record(workdir: Path, id: str) -> dict[str, Any]:
    """The record of a field; empty if there is none that can be read, without cells if it was not measured."""
    return files.read_json(record_path(workdir, id))


def is_measured(workdir: Path, id: str) -> bool:
    """Whether a field has its whole record."""
    return "cells" in read_record(workdir, id)


def thumbnail_path(workdir: Path, id: str) -> Path:
    """Where the small overlay of a field on the sheet lies."""
    return workdir / "fields" / f"{id}.png"


def masks_stamp(workdir: Path, id: str) -> list[list[Any]]:
    """The state of a field's masks in all their flavours."""
    return files.stamp(mask_files.paths(workdir / "masks", id))


def finished(field: FolderField, config: Config) -> bool:
    """Whether the field has been segmented as it is now, and its masks are those that were measured.

    Not if its pictures or masks cannot be read; `segment` says what is wrong with them.
    """
    known = read_record(config.workdir, field.id)
    if "cells" not in known or known.get("version") != hpax.__version__:
        return False
    try:
        if known["digest"] != content(field, known):
            return False
        if config.um_per_pixel == "auto" and known["um_per_pixel"] != _size(field, known).um_per_pixel:
            return False  # other fields came, and changed what the nuclei say
        return _same_masks(config, field.id, known)
    except (ValueError, OSError):
        return False


def _size(field: FolderField, known: Mapping[str, Any]) -> fields.PixelSize:
    return field.pixel_size((known["height"], known["width"]), 0.0)


def _same_masks(config: Config, id: str, known: Mapping[str, Any]) -> bool:
    there = mask_files.flavours(config.workdir / "masks", id)
    if not set(config.masks) <= set(there):
        return False
    if known["masks_stamp"] == masks_stamp(config.workdir, id):
        return True
    return {masks_digest(_read(config, id, flavour)) for flavour in there} == {known["masks_digest"]}


def _read(config: Config, id: str, flavour: mask_files.Flavour) -> Masks:
    return Masks(*mask_files.read(config.workdir / "masks", id, flavour=flavour))


def masks_digest(masks: Masks) -> str:
    """A name for what masks hold, however they are stored."""
    planes = [plane.astype(np.uint32).tobytes() for plane in (masks.cells, masks.nuclei)]
    return files.digest(str(masks.cells.shape), *planes)


def segment(config: Config, field: FolderField, load: Load, *, shown: bool) -> str:
    """Segments one field, and leaves its masks, overlay and, last, its record; returns why it could not, or "".

    No field stops the others, whatever is wrong with it.
    """
    try:
        start = time.perf_counter()
        known, stamp = _begun(config, field.id), state(field)  # before anything is read: it may change meanwhile
        digest, pictures = field.digest(), files.digest(*field.files.paths)
        masks = _corrected(config, field.id, known, pictures) if "pictures" in known else None
        corrected = masks is not None
        if masks is None:
            record_path(config.workdir, field.id).unlink(missing_ok=True)  # else what is found next looks corrected
            mask_files.remove(config.workdir / "masks", field.id)
            masks = _find(config, field, load())
        of_masks = masks_stamp(config.workdir, field.id)
        told = _measured(config, field, load(), masks, shown=shown)
        if corrected:
            _write_alike(config, field.id, load(), masks)
            of_masks = masks_stamp(config.workdir, field.id)
            told["notes"].append("its masks were changed since they were found")
        told |= {"digest": digest, "stamp": stamp, "pictures": pictures}
        told |= {"masks_digest": masks_digest(masks), "corrected": corrected, "masks_stamp": of_masks}
        told |= {"version": hpax.__version__}
        told |= {"seconds": round(time.perf_counter() - start, 4)}
        files.write_json(record_path(config.workdir, field.id), told)
        return ""
    except Exception as error:
        return failures.why(error)


def _begun(config: Config, id: str) -> dict[str, Any]:
    """What a record says of pictures and masks, which is all that is left of it until the field is measured again."""
    known = read_record(config.workdir, id)
    kept: dict[str, Any] = {name: known[name] for name in ("pictures", "masks_digest", "corrected") if name in known}
    if known:
        files.write_json(record_path(config.workdir, id), kept)
    thumbnail_path(config.workdir, id).unlink(missing_ok=True)
    return kept


def _corrected(config: Config, id: str, known: Mapping[str, Any], pictures: str) -> Masks | None:
    """The masks of a field that were corrected by hand, now or before; None where those that were found are there.

    Raises:
        ValueError: two flavours were corrected differently, a file is damaged, or the pictures are others since.
    """
    folder = config.workdir / "masks"
    there = {flavour: _read(config, id, flavour) for flavour in mask_files.flavours(folder, id)}
    changed: dict[str, mask_files.Flavour] = {}
    for flavour, masks in there.items():
        changed.setdefault(masks_digest(masks), flavour)
    changed.pop(known["masks_digest"], None)
    if len(changed) > 1:
        told = " and ".join(changed.values())
        raise ValueError(f"the masks of field {id} in {folder} were changed, and differ as {told}; keep one of them")
    if not there or not (changed or known.get("corrected")):
        return None
    if known["pictures"] != pictures:
        raise ValueError(
            f"the pictures of field {id} are others than those whose masks were corrected by hand; remove its masks "
            f"from {folder} to find them anew, or bring the pictures back"
        )
    return there[next(iter(changed.values()))] if changed else next(iter(there.values()))


def _write_alike(config: Config, id: str, read: Field, masks: Masks) -> None:
    """Writes corrected masks in every flavour that lacks them or holds others."""
    folder, own = config.workdir / "masks", masks_digest(masks)
    there = mask_files.flavours(folder, id)
    for flavour in sorted({*there, *config.masks}):
        if flavour not in there or masks_digest(_read(config, id, flavour)) != own:
            mask_files.remove(folder, id, flavour=flavour)  # under whatever name; cut short, they are missing
            _write(config, id, read, masks, flavour)


def _write(config: Config, id: str, read: Field, masks: Masks, flavour: mask_files.Flavour) -> None:
    folder, size = config.workdir / "masks", read.um_per_pixel
    mask_files.write(folder, id, masks.cells, masks.nuclei, image=read.image, um_per_pixel=size, flavour=flavour)


def _find(config: Config, field: FolderField, read: Field) -> Masks:
    image = read.image
    if image[..., NUCLEUS].min() == image[..., NUCLEUS].max():
        path = field.files.paths[NUCLEUS]
        raise ValueError(f"{path} is blank, every pixel is {image[0, 0, NUCLEUS]}; no nucleus can be found")
    masks = by_name(config.segmenter, config.networks)(image, read.um_per_pixel)
    for flavour in config.masks:
        _write(config, field.id, read, masks, flavour)
    return masks


def _measured(config: Config, field: FolderField, read: Field, masks: Masks, *, shown: bool) -> dict[str, Any]:
    """What is known of a field and its cells; leaves its pictures."""
    image = read.image
    if masks.cells.shape != image.shape[:2]:
        sizes = f"{image.shape[:2]} and {masks.cells.shape}"
        raise ValueError(f"field {field.id} and its masks must have one shape, got {sizes}; delete these masks")
    if config.overlays:
        picture = overlays.overlay(image, masks, side=config.overlay_side)
        with files.replacing(config.workdir / "overlays" / f"{field.id}.jpg") as draft:
            Image.fromarray(picture).save(draft, quality=85)
    if shown:
        thumbnail(config.workdir, field.id, lambda: (image, masks))
    cells = measurements(masks, read.um_per_pixel)
    size = field.pixel_size(image.shape[:2], number(config.um_per_pixel))
    notes = [size.remark] if size.source == "option" and size.remark else []
    return {
        "id": field.id,
        "group_id": field.origin["group_id"],
        "width": image.shape[1],
        "height": image.shape[0],
        "bits": 8 * image.dtype.itemsize,
        "um_per_pixel": read.um_per_pixel,
        "pixel_size": SOURCES[size.source],
        "cells": cells,
        "notes": notes + fields.remarks(field.files, image) + ([] if cells else ["no cell was found"]),
    }


def thumbnail(workdir: Path, id: str, make: Any) -> np.ndarray:
    """The small overlay of a field; `make` → image and masks is called if it is not there yet."""
    path = thumbnail_path(workdir, id)
    if not path.exists():
        picture = overlays.overlay(*make(), side=SHEET_SIDE)
        with files.replacing(path) as draft:
            Image.fromarray(picture).save(draft)
    return np.asarray(Image.open(path).convert("RGB"))


def measurements(masks: Masks, um_per_pixel: float) -> list[dict[str, Any]]:
    """Place and size of every cell."""
    centres = crops.centroids(masks.cells)
    centres |= {index: at for index, at in crops.centroids(masks.nuclei).items() if index in centres}
    measured = []
    for row in borders.cell_properties(masks, um_per_pixel).to_dict("records"):
        y, x = centres[row["index"]]
        measured.append({"um_per_pixel": um_per_pixel, "y": round(y, 2), "x": round(x, 2), **row})
    return measured


def rows(field: FolderField, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a field in cells.csv: what the table says of it, and what was measured."""
    labels = "|".join(map(str, np.flatnonzero(field.annotation.labels)))
    told = []
    for cell in record["cells"]:
        told.append({"id": f"{field.id}_{cell['index']}", **field.origin, "labels": labels, **cell})
    return told
