"""A folder of fields in, cells out: whatever is broken is named, and an interrupted run ends like an unbroken one."""

import csv
import json
import os
import shutil
import types

import numpy as np
import pytest
import tifffile
from PIL import Image

from experiments import build_cells
from hpax import atlas, data, files
from hpax.commands import found_cells, segment, segmenting
from hpax.data import building
from hpax.data.hpa_fields import dummy
from hpax.formats import fields, masks
from hpax.segment import classical

SIZE = 192  # pixels; nine cells to a field


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fields")
    dummy.write(folder, size=SIZE, seed=3)
    return folder


@pytest.fixture
def own(source, tmp_path):
    """A copy of the fields that a test may break."""
    shutil.copytree(source, tmp_path / "fields")
    return tmp_path / "fields"


def main(source, workdir, *options):
    options = [*options, "--um-per-pixel", str(dummy.UM_PER_PIXEL), "--crop-size", "16"]
    return build_cells.main(["--fields", str(source), "--workdir", str(workdir), "--segmenter", "classical", *options])


def table(workdir, name="cells"):
    with (workdir / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    assert main(source, workdir) == 0
    return workdir


def shards(source, workdir, **options):
    options = {"crop_size": 16, "min_cells": 1, "um_per_pixel": dummy.UM_PER_PIXEL, "bits": 8, **options}
    return data.build("hpa_cells", workdir / "shards", source=source, masks=str(workdir / "masks"), **options)


def test_masks_table_and_shards_agree(source, whole):
    rows, cells = table(whole), shards(source, whole)
    assert len(list((whole / "shards" / "hpa_cells").glob("*"))) == 1  # opened, not built again
    assert sorted(row["id"] for row in rows) == sorted(cells.table.index)
    pixels = {}
    for field in fields.find_fields(source):
        found, image = masks.read(whole / "masks", field.id), fields.read_field(field)
        expected = classical.segment(image, dummy.UM_PER_PIXEL)
        for mask, right in zip(found, (expected.cells, expected.nuclei), strict=True):
            np.testing.assert_array_equal(mask, right)
        pixels |= {f"{field.id}_{i}": np.count_nonzero(found[0] == i) for i in np.unique(found[0]) if i}
    assert {row["id"]: float(row["area_um2"]) for row in rows} == pytest.approx(
        {id: count * dummy.UM_PER_PIXEL**2 for id, count in pixels.items()}
    )
    for row in rows:
        told = cells.table.loc[row["id"]]
        assert float(row["x"]) == pytest.approx(told["x"], abs=0.01)
        assert row["labels"] == "|".join(map(str, np.flatnonzero(cells.labels[cells.table.index.get_loc(row["id"])])))
        assert row["protein"] == told["protein"]


def test_every_field_has_its_row_and_picture(source, whole):
    told = {row["id"]: row for row in table(whole, "fields")}
    assert list(told) == [field.id for field in fields.find_fields(source)]
    assert all(int(row["cells"]) == 9 for row in told.values())
    assert all((row["width"], row["bits"]) == (str(SIZE), "8") for row in told.values())
    assert "the brightest plane was taken of" in told["10_A1_1"]["notes"]
    assert told["00000000-bb9b-11e8"]["notes"] == ""
    for id in told:
        with Image.open(whole / "overlays" / f"{id}.jpg") as picture:
            assert picture.size == (SIZE, SIZE)
    record = json.loads((whole / "result.json").read_text())
    assert record["counts"] == {
        "fields": 4,
        "failed fields": 0,
        "fields without a cell": 0,
        "cells": 36,
        "cells in shards": 36,
        "fields of 0.32 µm, as asked for": 4,
    }
    assert record["metrics"][f"seconds per {SIZE}x{SIZE} field"] > 0
    assert table(whole, "failures") == []
    assert "None." in (whole / "index.html").read_text()


def test_every_flavour_of_masks_at_once(source, whole, tmp_path):
    assert main(source, tmp_path, "--masks", "ome-tiff", "ome-zarr", "--no-overlays") == 0
    id = table(whole)[0]["field"]
    assert masks.flavours(tmp_path / "masks", id) == ["ome-tiff", "ome-zarr"]
    for mask, right in zip(masks.read(tmp_path / "masks", id), masks.read(whole / "masks", id), strict=True):
        np.testing.assert_array_equal(mask, right)
    assert not list((tmp_path / "overlays").iterdir())


def picture(folder, colour):
    return next(folder.rglob(f"00000000*_{colour}.png"))


def truncated(folder):
    path = picture(folder, "red")
    path.write_bytes(path.read_bytes()[:-300])


def several_colours(folder):
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8)
    Image.fromarray(noise).save(picture(folder, "green"))


def other_size(folder):
    Image.fromarray(np.zeros((SIZE, SIZE + 1), np.uint8)).save(picture(folder, "yellow"))


def not_a_number(folder):
    pixels = np.full((SIZE, SIZE), np.nan, np.float32)
    tifffile.imwrite(picture(folder, "green").with_suffix(".tif"), pixels)
    picture(folder, "green").unlink()


def filled(level):
    return lambda folder: Image.fromarray(np.full((SIZE, SIZE), level, np.uint8)).save(picture(folder, "blue"))


BROKEN = {
    "truncated": (truncated, "_red.png cannot be read"),
    "several colours": (several_colours, "_green.png shows several colours"),
    "another size": (other_size, "must have one size"),
    "a missing channel": (lambda folder: picture(folder, "blue").unlink(), "lacks its nucleus (blue)"),
    "zero bytes": (lambda folder: picture(folder, "blue").write_bytes(b""), "_blue.png is empty"),
    "blank": (filled(0), "_blue.png is blank, every pixel is 0"),
    "saturated": (filled(255), "_blue.png is blank, every pixel is 255"),
    "not a number": (not_a_number, "NaN"),
    "a page of text": (lambda folder: picture(folder, "red").write_text("<html>"), "not an image"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_field_is_named_and_the_rest_is_built(own, whole, tmp_path, capsys, kind):
    hurt, told = BROKEN[kind]
    hurt(own)
    assert main(own, tmp_path / "work") == 1
    (failure,) = table(tmp_path / "work", "failures")
    assert failure["id"] == "00000000-bb9b-11e8"
    assert told in failure["reason"]
    assert told in capsys.readouterr().err
    expected = [row for row in table(whole) if row["field"] != failure["id"]]
    assert table(tmp_path / "work") == expected
    assert sorted(shards(own, tmp_path / "work").table.index) == sorted(row["id"] for row in expected)
    assert failure["id"] in (tmp_path / "work" / "index.html").read_text()


def test_what_fails_for_reasons_unforeseen_fails_alone(own, tmp_path, monkeypatch, capsys):
    def moody(image, um_per_pixel):
        if image[0, 0, 0] == first[0, 0, 0] and (image == first).all():
            raise RuntimeError("a moody segmenter")
        return classical.segment(image, um_per_pixel)

    first = fields.read_field(fields.find_fields(own)[0])
    monkeypatch.setattr(found_cells, "by_name", lambda *_: moody)
    assert main(own, tmp_path / "work") == 1
    assert "RuntimeError: a moody segmenter" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(own, tmp_path / "work") == 0  # tried again
    assert len(table(tmp_path / "work", "fields")) == 4


def test_sixteen_bits_and_grey_in_colour_are_built_and_noted(own, whole, tmp_path):
    grey = np.asarray(Image.open(picture(own, "red")))
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(picture(own, "red"))
    nucleus = np.asarray(Image.open(picture(own, "blue")))
    Image.fromarray(nucleus.astype(np.uint16) * 257).save(picture(own, "blue"))
    assert main(own, tmp_path / "work") == 0
    told = {row["id"]: row for row in table(tmp_path / "work", "fields")}["00000000-bb9b-11e8"]
    assert told["bits"] == "16"
    assert told["notes"].startswith("stored with 16 bits; the brightest plane was taken of 00000000-bb9b-11e8_red.png")
    assert table(tmp_path / "work") == table(whole)
    cells = shards(own, tmp_path / "work", bits=16)
    assert cells[0]["image"].dtype == np.uint16


class Clock:
    """Segments, counts its calls, and is interrupted after some of them."""

    def __init__(self, patience=99):
        self.calls, self.patience = 0, patience

    def __call__(self, image, um_per_pixel):
        if self.calls == self.patience:
            raise KeyboardInterrupt
        self.calls += 1
        return classical.segment(image, um_per_pixel)


def contents(workdir):
    """What a run leaves, but for what tells of time."""
    paths = [workdir / "cells.csv", workdir / "overlays.jpg"]
    paths += sorted(path for name in ("masks", "overlays") for path in (workdir / name).iterdir())
    return {path.relative_to(workdir).as_posix(): path.read_bytes() for path in paths}


def test_an_interrupted_run_ends_like_an_unbroken_one(source, whole, tmp_path, monkeypatch, capsys):
    first, second, third = Clock(patience=2), Clock(), Clock()
    for clock, status in ((first, 130), (second, 0), (third, 0)):
        monkeypatch.setattr(found_cells, "by_name", lambda *_, clock=clock: clock)
        assert main(source, tmp_path) == status
    assert "goes on from here" in capsys.readouterr().err
    assert (first.calls, second.calls, third.calls) == (2, 2, 0)
    assert contents(tmp_path) == contents(whole)
    assert json.loads((tmp_path / "result.json").read_text())["resumed"]


def test_a_field_that_lost_its_masks_or_changed_its_files_is_segmented_again(own, tmp_path, monkeypatch):
    assert main(own, tmp_path / "work") == 0
    (tmp_path / "work" / "masks" / "00000000-bb9b-11e8_nuclei.png").unlink()
    again = Clock()
    monkeypatch.setattr(found_cells, "by_name", lambda *_: again)
    assert main(own, tmp_path / "work") == 0
    assert again.calls == 1
    picture(own, "red").write_bytes(picture(own, "red").read_bytes() + b" ")
    assert main(own, tmp_path / "work") == 0
    assert again.calls == 2
    picture(own, "red").write_bytes(b"")
    assert main(own, tmp_path / "work") == 1
    assert masks.flavours(tmp_path / "work" / "masks", "00000000-bb9b-11e8") == []


def images(cells):
    return np.stack([cells[place]["image"] for place in range(len(cells))])


def test_shards_follow_pictures_of_equal_size(own, tmp_path):
    pixels = fields.read_channel(picture(own, "green"))
    for colour in ("green", "red", "blue", "yellow"):
        channel = fields.read_channel(picture(own, colour))
        picture(own, colour).unlink()
        tifffile.imwrite(own / f"00000000-bb9b-11e8_{colour}.tif", channel)
    assert main(own, tmp_path / "work") == 0
    before = images(shards(own, tmp_path / "work"))
    tifffile.imwrite(own / "00000000-bb9b-11e8_green.tif", 255 - pixels)
    assert main(own, tmp_path / "work") == 0
    after = images(shards(own, tmp_path / "work"))
    channel = atlas.CHANNELS.index("protein")
    assert not np.array_equal(after[..., channel], before[..., channel])
    np.testing.assert_array_equal(np.delete(after, channel, -1), np.delete(before, channel, -1))


def test_another_option_wants_another_folder(source, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "work")
    assert main(source, tmp_path / "work", "--centre", "cell") == 2
    assert "centre is 'nucleus' there, 'cell' now" in capsys.readouterr().err
    assert main(source, tmp_path / "work", "--shown", "2") == 0


def test_networks_that_are_not_there_are_missed_before_anything_is_written(source, tmp_path, capsys):
    networks = [str(tmp_path / f"{name}.safetensors") for name in ("nuclei", "cells")]
    assert main(source, tmp_path / "work", "--segmenter", "networks", "--networks", *networks) == 2
    assert "nuclei.safetensors is not there" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_results_do_not_lie_among_the_fields(own, capsys):
    assert main(own, own / "work") == 2
    assert "work must not lie in" in capsys.readouterr().err
    assert not (own / "work").exists()


def test_no_field_and_no_cell_are_errors(own, tmp_path, capsys):
    assert main(tmp_path / "nowhere", tmp_path / "work") == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    for path in own.rglob("*_blue.*"):
        path.write_bytes(b"")
    assert main(own, tmp_path / "work") == 2
    assert "no cell in any of 4 fields, 4 of which failed" in capsys.readouterr().err
    assert len(table(tmp_path / "work", "failures")) == 4


def test_processes_share_the_work_and_change_nothing(source, whole, tmp_path):
    assert main(source, tmp_path, "--workers", "2") == 0
    assert contents(tmp_path) == contents(whole)


@pytest.mark.slow
@pytest.mark.real
def test_real_fields_have_cells_in_every_one(real_data, tmp_path):
    some = fields.find_fields(real_data / "hpa_fields")
    chosen = [*some[1:60:12], *(each for each in some if each.paths[0].suffix == ".jpg")]
    (tmp_path / "fields").mkdir()
    for path in (path for each in chosen for path in each.paths):
        shutil.copy(path, tmp_path / "fields")
    start = sum(os.times()[:4])  # of the processor, children included: what else the machine does is not counted
    command = ["--fields", str(tmp_path / "fields"), "--workdir", str(tmp_path / "work"), "--segmenter", "classical"]
    assert build_cells.main(command) == 0
    assert all(int(row["cells"]) for row in table(tmp_path / "work", "fields"))
    assert sum(os.times()[:4]) - start < 60


def test_a_broken_link_fails_its_field_alone(own, tmp_path):
    first = fields.find_fields(own)[0]
    blue = next(path for path in first.paths if "_blue" in path.name)
    blue.unlink()
    blue.symlink_to("nowhere.png")
    assert main(own, tmp_path / "work", "--no-overlays") == 1
    assert [row["id"] for row in table(tmp_path / "work", "failures")] == [first.id]
    assert len(table(tmp_path / "work", "fields")) == 3


ID = "00000000-bb9b-11e8"
QUICK = ("--no-shards", "--no-overlays")


def correct(workdir, flavour="png", index=1):
    """Removes a cell by hand; returns the masks that are left."""
    found, nuclei = masks.read(workdir / "masks", ID, flavour=flavour)
    found, nuclei = (np.where(plane == index, 0, plane) for plane in (found, nuclei))
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    told = {"image": image, "um_per_pixel": dummy.UM_PER_PIXEL, "flavour": flavour}
    masks.write(workdir / "masks", ID, found, nuclei, **told)
    return found, nuclei


def assert_masks(workdir, right, *flavours):
    assert masks.flavours(workdir / "masks", ID) == list(flavours)
    for flavour in flavours:
        np.testing.assert_array_equal(masks.read(workdir / "masks", ID, flavour=flavour), right)
    assert len([row for row in table(workdir) if row["field"] == ID]) == len(np.unique(right[0])) - 1


def test_corrected_masks_outlive_another_version(own, tmp_path, monkeypatch):
    work = tmp_path / "work"
    assert main(own, work, *QUICK) == 0
    right = correct(work)
    assert main(own, work, *QUICK) == 0
    monkeypatch.setattr(found_cells, "hpax", types.SimpleNamespace(__version__="99"))
    again = Clock()
    monkeypatch.setattr(found_cells, "by_name", lambda *_: again)
    assert main(own, work, *QUICK) == 0
    assert again.calls == 3  # the other fields
    assert_masks(work, right, "png")
    assert "its masks were changed" in next(row for row in table(work, "fields") if row["id"] == ID)["notes"]
    assert "corrected" not in table(work, "fields")[0]


def test_corrected_masks_are_never_replaced_though_pictures_are_others(own, tmp_path):
    work = tmp_path / "work"
    assert main(own, work, *QUICK) == 0
    right = correct(work)
    before = found_cells.read_record(work, ID)["digest"]
    for path in list(own.rglob(f"{ID}_*.png")):  # a field of 12 bits: another full scale, the same pictures
        deep = np.asarray(Image.open(path)).astype(np.uint16) * 16
        Image.fromarray(deep).save(path.with_name(path.name.replace(ID, "deep")))
    assert main(own, work, *QUICK) == 0
    assert found_cells.read_record(work, ID)["digest"] != before
    assert_masks(work, right, "png")
    (path,) = own.rglob(f"{ID}_green.png")
    Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)
    assert main(own, work, *QUICK) == 1
    (failure,) = table(work, "failures")
    assert "corrected by hand; remove its masks" in failure["reason"]
    masks.remove(work / "masks", ID)
    assert main(own, work, *QUICK) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_corrected_masks_outlive_a_run_that_broke_off(own, tmp_path, monkeypatch, error):
    def broken(*_):
        raise error

    work = tmp_path / "work"
    assert main(own, work, *QUICK) == 0
    right = correct(work)
    with monkeypatch.context() as patch:
        patch.setattr(found_cells, "measurements", broken)
        assert main(own, work, *QUICK) in (1, 2, 130)
    assert not found_cells.is_measured(work, ID)
    assert main(own, work, *QUICK) == 0
    assert_masks(work, right, "png")


def test_what_is_found_anew_does_not_look_corrected(own, tmp_path, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    work = tmp_path / "work"
    assert main(own, work, *QUICK) == 0
    monkeypatch.setattr(found_cells, "hpax", types.SimpleNamespace(__version__="99"))
    with monkeypatch.context() as patch:
        patch.setattr(found_cells, "by_name", lambda *_: lambda image, size: classical.segment(image, size / 1.5))
        patch.setattr(found_cells, "measurements", broken)
        assert main(own, work, *QUICK) == 130
    assert main(own, work, *QUICK) == 0
    assert not any("changed" in row["notes"] for row in table(work, "fields"))


@pytest.mark.parametrize("flavour", ["png", "ome-tiff"])
def test_a_correction_of_either_flavour_wins_and_both_end_alike(own, tmp_path, flavour):
    work, both = tmp_path / "work", ("--masks", "png", "ome-tiff")
    assert main(own, work, *QUICK, *both) == 0
    right = correct(work, flavour)
    assert main(own, work, *QUICK, *both) == 0
    assert_masks(work, right, "png", "ome-tiff")
    masks.remove(work / "masks", ID, flavour="ome-tiff" if flavour == "png" else "png")
    assert main(own, work, *QUICK, *both) == 0  # a lost flavour is written again
    assert_masks(work, right, "png", "ome-tiff")


def test_flavours_corrected_differently_fail_their_field_alone(own, tmp_path):
    work, both = tmp_path / "work", ("--masks", "png", "ome-tiff")
    assert main(own, work, *QUICK, *both) == 0
    correct(work, "png", 1)
    right = correct(work, "ome-tiff", 2)
    assert main(own, work, *QUICK, *both) == 1
    (failure,) = table(work, "failures")
    assert failure["id"] == ID
    assert "differ as png and ome-tiff; keep one" in failure["reason"]
    masks.remove(work / "masks", ID, flavour="png")
    assert main(own, work, *QUICK, *both) == 0
    assert_masks(work, right, "png", "ome-tiff")


def damaged(folder):
    (folder / f"{ID}_cells.png").write_bytes(b"no picture")


def doubled(folder):
    tifffile.imwrite(folder / f"{ID}_cells.tif", np.zeros((SIZE, SIZE), np.uint16))


@pytest.mark.parametrize("harm", [damaged, doubled])
def test_bad_masks_fail_their_field_alone(own, tmp_path, harm):
    work = tmp_path / "work"
    assert main(own, work) == 0
    harm(work / "masks")
    assert main(own, work) == 1
    (failure,) = table(work, "failures")
    assert failure["id"] == ID
    assert f"{ID}_cells" in failure["reason"]
    assert len(table(work, "fields")) == 3
    assert len(list((work / "masks").glob(f"{ID}*"))) >= 2  # nothing of them is deleted
    assert dict(shards(own, work).failures) == {ID: failure["reason"]}


def test_pixels_that_are_not_square_any_more_fail_their_field_alone(own, tmp_path, monkeypatch):
    def crooked(field, shape, asked):
        if field.id == ID:
            raise ValueError("states pixels that are not square")
        return size(field, shape, asked)

    command = ["--fields", str(own), "--workdir", str(tmp_path / "work"), "--segmenter", "classical", "--no-shards"]
    command += ["--um-per-pixel", "auto"]
    assert build_cells.main(command) == 0
    size = found_cells.FolderField.pixel_size
    monkeypatch.setattr(found_cells.FolderField, "pixel_size", crooked)
    assert build_cells.main(command) == 1
    assert table(tmp_path / "work", "failures") == [{"id": ID, "reason": "states pixels that are not square"}]


def test_what_is_known_of_files_outlives_the_shards(own, tmp_path, monkeypatch):
    work = tmp_path / "work"
    monkeypatch.setattr(files, "WORTH_KEEPING", 0)
    monkeypatch.setattr(files, "SETTLED", -1)
    assert main(own, work, "--no-overlays") == 0
    kept = work / "shards" / building.DIGESTS
    known = kept.read_bytes()
    config = segment.Config(own, work)
    known_fields, _ = segmenting.survey(own)
    record = found_cells.read_record(work, ID)
    files.write_json(found_cells.record_path(work, ID), {**record, "masks_digest": "other"})
    segmenting.clear_shards(config, known_fields)
    assert kept.read_bytes() == known
    assert sorted(path.name for path in (work / "shards").iterdir()) == sorted([building.DIGESTS, "made_of.json"])
