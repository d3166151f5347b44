"""Files that change while a field is worked on: nothing that was found of the older ones is believed later."""

import numpy as np
import pytest
from PIL import Image

from hpax import atlas
from hpax.commands import folder, found_cells, mask_folders, segment
from hpax.fields import Masks
from hpax.formats import masks as mask_files

CELLS = np.zeros((16, 16), np.uint16)
CELLS[4:12, 4:12] = 1


def save(fields, seed):
    fields.mkdir(exist_ok=True)
    for channel, plane in enumerate(np.random.default_rng(seed).integers(0, 255, (4, 16, 16)).astype(np.uint8)):
        Image.fromarray(plane).save(fields / f"a_{atlas.COLOURS[atlas.CHANNELS[channel]]}.png")


@pytest.fixture
def config(tmp_path, monkeypatch):
    save(tmp_path / "fields", 0)
    monkeypatch.setattr(found_cells, "by_name", lambda *_: lambda *_: Masks(CELLS, CELLS))
    options = {"um_per_pixel": 1.0, "overlays": False, "shards": False}
    return segment.Config(tmp_path / "fields", tmp_path / "work", **options)


def field_of(config):
    ((field,), _) = folder.survey(config.fields)
    return field


def segmented(config):
    field = field_of(config)
    assert found_cells.segment(config, field, field.loader(1.0), shown=False) == ""
    return found_cells.finished(field_of(config), config)


def once(monkeypatch, module, name, change):
    """`change` happens when `name` is called for the first time, after what it does."""
    original, calls = getattr(module, name), []

    def changed(*arguments, **options):
        made = original(*arguments, **options)
        if not calls:
            change()
        calls.append(name)
        return made

    monkeypatch.setattr(module, name, changed)


def test_pictures_that_change_while_cells_are_found_are_segmented_again(config, monkeypatch):
    once(monkeypatch, found_cells, "_find", lambda: save(config.fields, 1))
    assert not segmented(config)
    assert segmented(config)


def test_masks_that_are_corrected_while_they_are_measured_are_measured_again(config, monkeypatch):
    smaller = np.where(np.arange(16) < 9, CELLS, 0).astype(np.uint16)

    def correct():
        image = np.zeros((16, 16, 4), np.uint8)
        mask_files.write(config.workdir / "masks", "a", smaller, smaller, image=image, um_per_pixel=1.0)

    once(monkeypatch, found_cells, "_measured", correct)
    assert not segmented(config)
    assert segmented(config)
    assert found_cells.read_record(config.workdir, "a")["corrected"]


def test_pictures_that_change_while_given_masks_are_checked_keep_no_older_name(config, monkeypatch):
    image = np.zeros((16, 16, 4), np.uint8)
    mask_files.write(config.workdir, "a", CELLS, CELLS, image=image, um_per_pixel=1.0)
    once(monkeypatch, mask_folders.mask_files, "check_placed", lambda: save(config.fields, 1))
    before = field_of(config).digest()
    cells = mask_folders.Given(config.workdir, 1.0)(field_of(config), field_of(config).loader(1.0), shown=False)
    assert cells.pixels == before != field_of(config).digest()
