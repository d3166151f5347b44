"""Every cell of a folder is labelled, by what its pictures, masks and networks are now."""

import dataclasses
import json
import re
import shutil
import sys

import anndata
import jax
import numpy as np
import pandas as pd
import pytest
import saved
import tifffile

from experiments import label_cells
from hpax import atlas, files, models
from hpax.commands import cells_of_fields, found_cells, label, labelling, main, segment
from hpax.data.hpa_fields import dummy
from hpax.formats import fields, kaggle, masks

SIZE = 192  # pixels; nine cells to a field


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return saved.labeller(tmp_path_factory.mktemp("networks") / "cells.safetensors", "cell-net", 0)


@pytest.fixture
def folder(tmp_path):
    """Two fields as uncompressed TIFF: other pixels, the same size."""
    dummy.write(tmp_path / "png", kaggle=2, proteinatlas=0, size=SIZE, seed=3)
    (tmp_path / "fields").mkdir()
    for path in (tmp_path / "png").rglob("*.png"):
        tifffile.imwrite(tmp_path / "fields" / f"{path.stem}.tif", fields.read_channel(path))
    table(tmp_path / "fields", "16")
    return tmp_path / "fields"


def table(folder, label):
    ids = [field.id for field in fields.find_fields(folder)]
    (folder / "labels.csv").write_text("id,label\n" + "".join(f"{id},{label}\n" for id in ids))
    return ids


def options(source, workdir, network, *more):
    pixels = ["--um-per-pixel", str(dummy.UM_PER_PIXEL), "--shown", "1", "--tta", "1"]
    return ["--fields", str(source), "--models", str(network), "--workdir", str(workdir), *pixels, *more]


def run(source, workdir, network, *more):
    finding = [] if "--masks" in more else ["--segmenter", "classical"]
    return label.COMMAND.main(options(source, workdir, network, "--no-explorer", *finding, *more))


def answers(workdir):
    """Field → what is said of its cells."""
    cells = anndata.read_h5ad(workdir / "cells.h5ad")
    return {str(id): cells.obsm["prob"][(cells.obs["field"] == id).to_numpy()] for id in cells.obs["field"].unique()}


def segmented(source, workdir, *more):
    pixels = ["--um-per-pixel", str(dummy.UM_PER_PIXEL), "--crop-size", "16", "--no-shards"]
    command = ["--fields", str(source), "--workdir", str(workdir), "--segmenter", "classical", *pixels, *more]
    return segment.COMMAND.main(command)


@pytest.fixture
def quick(monkeypatch):
    """Answers that depend on all that they should, without a network's arithmetic."""

    def predict(self, field):
        weight = sum(float(np.sum(leaf)) for network in self.networks for leaf in jax.tree.leaves(network.params))
        prob = np.zeros((len(field.found), len(atlas.LOCATIONS)), np.float32)
        for row, index in zip(prob, field.found.indices, strict=True):
            inside = field.image[field.found.cells == index].astype(np.float64)
            row[:] = 0.5 + 0.4 * np.sin(inside.std() * np.arange(1, 20) + weight + field.um_per_pixel)
        return models.LabelPrediction(prob, prob, None, None)

    monkeypatch.setattr(models.Ensemble, "predict", predict)


@pytest.fixture
def reads(monkeypatch):
    """The ids of the fields that were decoded."""
    tape = []
    read = fields.read_field
    monkeypatch.setattr(fields, "read_field", lambda files, **more: tape.append(files.id) or read(files, **more))
    return tape


@pytest.mark.usefixtures("quick")
def test_each_field_is_read_once_and_then_never_again(folder, network, tmp_path, reads, capsys):
    ids = [field.id for field in fields.find_fields(folder)]
    assert run(folder, tmp_path / "work", network) == 0
    assert sorted(reads) == ids
    assert f"the page: {tmp_path / 'work' / 'index.html'}" in capsys.readouterr().out
    before = answers(tmp_path / "work")
    assert {id: len(prob) for id, prob in before.items()} == dict.fromkeys(ids, 9)
    reads.clear()
    assert run(folder, tmp_path / "work", network) == 0
    assert reads == []
    for id, prob in answers(tmp_path / "work").items():
        np.testing.assert_array_equal(prob, before[id])


@pytest.mark.usefixtures("quick")
def test_masks_that_segment_left_are_taken(folder, network, tmp_path, monkeypatch, capsys):
    assert segmented(folder, tmp_path / "cells") == 0
    assert run(folder, tmp_path / "own", network) == 0
    monkeypatch.setattr(found_cells, "by_name", lambda *_: pytest.fail("segmented again"))
    for number, given in enumerate((tmp_path / "cells", tmp_path / "cells" / "masks")):
        workdir = tmp_path / f"given{number}"
        assert run(folder, workdir, network, "--masks", str(given)) == 0
        assert not (workdir / "cells").exists()
        for id, prob in answers(workdir).items():
            np.testing.assert_array_equal(prob, answers(tmp_path / "own")[id])
    (tmp_path / "cells" / "masks" / "00000000-bb9b-11e8_cells.png").unlink()
    assert run(folder, tmp_path / "given0", network, "--masks", str(tmp_path / "cells")) == 1
    assert "holds no masks of field 00000000-bb9b-11e8" in capsys.readouterr().err
    assert run(folder, tmp_path / "given0", network, "--masks", str(tmp_path / "nowhere")) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    both = ["--masks", str(tmp_path / "cells"), "--segmenter", "classical"]
    assert run(folder, tmp_path / "both", network, *both) == 2
    assert "leave --segmenter or --masks out" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_pixels_have_the_size_that_segment_took(folder, network, tmp_path):
    assert segmented(folder, tmp_path / "cells") == 0
    given = ["--masks", str(tmp_path / "cells")]
    assert run(folder, tmp_path / "told", network, *given) == 0
    assert run(folder, tmp_path / "taken", network, *given, "--um-per-pixel", "0") == 0
    for id, prob in answers(tmp_path / "taken").items():
        np.testing.assert_array_equal(prob, answers(tmp_path / "told")[id])


@pytest.mark.usefixtures("quick")
def test_channels_mean_what_segment_took_them_for(folder, network, tmp_path):
    for path in folder.glob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path).astype(np.uint16) * 8)  # 11 bits are filled, the camera had 12
    assert segmented(folder, tmp_path / "cells", "--camera-bits", "12") == 0
    given = ["--masks", str(tmp_path / "cells")]
    assert run(folder, tmp_path / "taken", network, *given) == 0
    assert run(folder, tmp_path / "told", network, *given, "--camera-bits", "12") == 0
    for id, prob in answers(tmp_path / "taken").items():
        np.testing.assert_array_equal(prob, answers(tmp_path / "told")[id])
    assert run(folder, tmp_path / "other", network, *given, "--camera-bits", "16") == 2
    (tmp_path / "cells" / "config.json").write_text("[]")
    assert run(folder, tmp_path / "unknown", network, *given) == 2


def other_picture(folder, id):
    """The protein of a field is replaced by another of the same size in bytes."""
    path = folder / f"{id}_green.tif"
    size = path.stat().st_size
    tifffile.imwrite(path, np.ascontiguousarray(fields.read_channel(path)[::-1]))
    assert path.stat().st_size == size


@pytest.mark.usefixtures("quick")
def test_another_picture_of_equal_size_changes_the_answer(folder, network, tmp_path):
    assert run(folder, tmp_path / "work", network) == 0
    before = answers(tmp_path / "work")
    picture = next((tmp_path / "work" / "pictures").iterdir()).read_bytes()
    other_picture(folder, "00000000-bb9b-11e8")
    assert run(folder, tmp_path / "work", network) == 0
    assert run(folder, tmp_path / "fresh", network) == 0
    after, fresh = answers(tmp_path / "work"), answers(tmp_path / "fresh")
    assert not np.array_equal(after["00000000-bb9b-11e8"], before["00000000-bb9b-11e8"])
    np.testing.assert_array_equal(after["00000001-bb9b-11e8"], before["00000001-bb9b-11e8"])
    for id, prob in fresh.items():
        np.testing.assert_array_equal(after[id], prob)
    assert next((tmp_path / "work" / "pictures").iterdir()).read_bytes() != picture


@pytest.mark.usefixtures("quick")
def test_pictures_that_changed_since_they_were_segmented_are_refused(folder, network, tmp_path, capsys):
    assert segmented(folder, tmp_path / "cells") == 0
    other_picture(folder, "00000000-bb9b-11e8")
    assert run(folder, tmp_path / "work", network, "--masks", str(tmp_path / "cells")) == 1
    assert "changed since" in capsys.readouterr().err
    assert list(answers(tmp_path / "work")) == ["00000001-bb9b-11e8"]


@pytest.mark.usefixtures("quick")
def test_a_mask_corrected_by_hand_changes_the_answer_and_the_tables(folder, network, tmp_path):
    assert run(folder, tmp_path / "work", network) == 0
    id, cells = "00000000-bb9b-11e8", tmp_path / "work" / "cells"
    found, nuclei = masks.read(cells / "masks", id)
    found, nuclei = (np.where(plane == found.max(), 0, plane) for plane in (found, nuclei))
    told = {"image": np.zeros((SIZE, SIZE, 4), np.uint8), "um_per_pixel": dummy.UM_PER_PIXEL}
    masks.write(cells / "masks", id, found, nuclei, **told)
    assert run(folder, tmp_path / "work", network) == 0
    assert {id: len(prob) for id, prob in answers(tmp_path / "work").items()} == {id: 8, "00000001-bb9b-11e8": 9}
    assert pd.read_csv(cells / "cells.csv").groupby("field").size()[id] == 8
    notes = pd.read_csv(cells / "fields.csv", keep_default_na=False).set_index("id")["notes"]
    assert "its masks were changed" in notes[id]
    assert not notes["00000001-bb9b-11e8"]


@pytest.mark.usefixtures("quick")
def test_another_network_in_the_same_file_changes_the_answer(folder, network, tmp_path):
    own = tmp_path / "net.safetensors"
    shutil.copy(network, own)
    assert run(folder, tmp_path / "work", own) == 0
    before = answers(tmp_path / "work")
    saved.labeller(own, "cell-net", 1)
    assert run(folder, tmp_path / "work", own) == 0
    for id, prob in answers(tmp_path / "work").items():
        assert not np.array_equal(prob, before[id])


@pytest.mark.usefixtures("quick")
def test_a_corrected_table_changes_every_table(folder, network, tmp_path):
    assert run(folder, tmp_path / "work", network) == 0
    table(folder, "3|5")
    assert run(folder, tmp_path / "work", network) == 0
    told = pd.read_csv(tmp_path / "work" / "cells" / "cells.csv", dtype=str)
    assert set(told["labels"]) == {"3|5"}
    shown = {name for row in pd.read_csv(tmp_path / "work" / "refined.csv")["locations"] for name in row.split(";")}
    assert shown <= {atlas.LOCATIONS[3], atlas.LOCATIONS[5], "Negative"}
    (folder / "labels.csv").unlink()
    assert run(folder, tmp_path / "work", network) == 0
    assert not (tmp_path / "work" / "refined.csv").exists()


def test_an_ensemble_is_its_folder(folder, network, tmp_path):
    fields_net = saved.labeller(tmp_path / "fields.safetensors", "cam-net", 2)
    models.Ensemble.load([fields_net, network]).save(tmp_path / "ensemble")
    assert run(folder, tmp_path / "files", network, "--models", str(fields_net), str(network)) == 0
    assert run(folder, tmp_path / "folder", tmp_path / "ensemble") == 0
    for id, prob in answers(tmp_path / "folder").items():
        np.testing.assert_allclose(prob, answers(tmp_path / "files")[id], atol=1e-3)


def test_cells_are_seen_as_often_as_a_saved_ensemble_saw_them(folder, network, tmp_path):
    nets = [saved.labeller(tmp_path / "fields.safetensors", "cam-net", 2), network]
    models.Ensemble.load(nets, cell_tta=8).save(tmp_path / "ensemble")
    given = label.Config(folder, models=(tmp_path / "ensemble",))
    for options, views in (({}, 8), ({"tta": 2}, 2), ({"cell_tta": 1}, 1), ({"models": tuple(nets)}, None)):
        assert labelling.cell_views(dataclasses.replace(given, **options)) == views


def test_a_workdir_belongs_to_one_process(folder, network, tmp_path, capsys):
    for held in (tmp_path / "work", tmp_path / "work" / "cells"):
        held.mkdir()
        with files.exclusive(held):
            assert run(folder, tmp_path / "work", network) == 2
        assert f"another process works in {held}" in capsys.readouterr().err
    with files.exclusive(tmp_path / "work"):
        assert segmented(folder, tmp_path / "work") == 2


def test_networks_that_are_not_there_are_missed_before_anything_is_written(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "work", tmp_path / "none.safetensors") == 2
    assert "none.safetensors is not there" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_the_first_name_still_works(folder, network, tmp_path):
    command = [*options(folder, tmp_path / "work", network), "--segmenter", "classical"]
    assert label_cells.main([*command, "--turns", "1"]) == 0
    asked = label_cells.Config(folder, (network,))
    assert cells_of_fields.of_segment(asked, folder, shown=1).workdir.parts[-2:] == ("label_cells", "cells")


def test_a_broken_field_is_named_and_pictures_show_cells_and_maps(folder, network, tmp_path, capsys):
    whole = saved.labeller(tmp_path / "fields.safetensors", "cam-net", 2)
    (folder / "00000000-bb9b-11e8_green.tif").write_bytes(b"")
    workdir = tmp_path / "work"
    assert run(folder, workdir, network, "--models", str(whole), str(network), "--shown", "2") == 1
    assert "failed: 00000000-bb9b-11e8" in capsys.readouterr().err
    submission = kaggle.Table(workdir / "submission.csv")
    assert not submission.defects
    (listing,) = submission.read("00000001-bb9b-11e8")[:1]
    assert listing.masks == 9
    assert len(listing.label) == 19 * 9
    shown = {path.name for path in (workdir / "pictures").iterdir()}
    assert shown == {"00000001-bb9b-11e8_labels.png", "00000001-bb9b-11e8_maps.png"}
    assert "00000000-bb9b-11e8" in (workdir / "index.html").read_text()
    assert [row["id"] for row in pd.read_csv(workdir / "cells" / "failures.csv").to_dict("records")] == [
        "00000000-bb9b-11e8"
    ]
    before = {path: path.stat().st_mtime_ns for path in (workdir / "fields").iterdir()}
    assert run(folder, workdir, network, "--models", str(whole), str(network), "--shown", "2") == 1
    assert {path: path.stat().st_mtime_ns for path in (workdir / "fields").iterdir()} == before


def test_nothing_labelled_is_an_error_that_leaves_no_submission(folder, network, tmp_path, capsys):
    for path in folder.glob("*_blue.tif"):
        path.write_bytes(b"")
    assert run(folder, tmp_path / "work", network) == 2
    assert "no cell in any of 2 fields, 2 of which failed" in capsys.readouterr().err
    assert not (tmp_path / "work" / "submission.csv").exists()


def test_shares_of_several_processes_come_together(folder, network, tmp_path, capsys):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert run(folder, alone, network) == 0
    for share in ("2/2", "1/2"):
        assert run(folder, together, network, "--share", share) == 0
        assert not (together / "cells.h5ad").exists()
    reads = {path: path.stat().st_mtime_ns for path in (together / "fields").iterdir()}
    assert len(reads) == 2
    assert run(folder, together, network) == 0
    assert {path: path.stat().st_mtime_ns for path in reads} == reads
    assert (together / "submission.csv").read_text() == (alone / "submission.csv").read_text()
    capsys.readouterr()
    assert run(folder, together, network, "--share", "3/2") == 2
    assert "share must be such as 2/4" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_fields_without_er_are_labelled_and_every_page_says_so_first(folder, network, tmp_path):
    for path in folder.glob("*_yellow.*"):
        path.unlink()
    workdir = tmp_path / "work"
    assert run(folder, workdir, network) == 0
    assert "no field has ER (yellow), so black stands for it" in (workdir / "index.html").read_text()
    assert "no field has ER (yellow), so black stands for it" in (workdir / "cells" / "index.html").read_text()


def test_workers_of_a_beam_pipeline_share_the_fields_and_one_that_is_bad_stops_nobody(
    folder, network, tmp_path, capsys
):
    pytest.importorskip("apache_beam")
    (folder / "00000000-bb9b-11e8_blue.tif").write_bytes(b"no picture")
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert run(folder, alone, network) == 1
    assert run(folder, together, network, "--beam=--runner=DirectRunner", "--beam-shares", "2") == 1
    assert (together / "submission.csv").read_text() == (alone / "submission.csv").read_text()
    assert json.loads((together / "result.json").read_text())["resumed"]  # the last run found what the shares had made
    assert sorted(path.name for path in (together / "shares").iterdir()) == ["1-of-2", "2-of-2"]
    assert run(folder, together, network, "--beam=--runner=DirectRunner", "--beam-shares", "0") == 2
    assert "beam_shares must be at least 1, got 0" in capsys.readouterr().err
    assert run(folder, together, network, "--beam=--runner=DirectRunner", "--share", "1/2") == 2
    assert "beam shares the fields by itself, got share 1/2 beside it" in capsys.readouterr().err


def test_without_beam_its_flag_says_how_to_get_it(folder, network, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert run(folder, tmp_path / "work", network, "--beam=--runner=DirectRunner") == 2
    assert "pip install 'hpax[beam]'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["label", "segment"])
def test_a_folder_whose_every_field_lacks_a_channel_is_an_error_of_one_line(folder, network, tmp_path, capsys, command):
    for path in folder.glob("*_blue.*"):
        path.unlink()
    more = ["--models", str(network)] if command == "label" else ["--segmenter", "classical"]
    asked = [command, "--fields", str(folder), "--workdir", str(tmp_path / "work"), *more]
    assert main.main(asked) == 2
    told = capsys.readouterr().err
    assert "error: no cell" in told or "no field" in told
    assert "Traceback" not in told


def test_networks_that_ship_are_taken_where_none_is_named_and_the_page_says_how_far_to_trust_them(folder, tmp_path):
    pixels = ["--um-per-pixel", str(dummy.UM_PER_PIXEL), "--shown", "1", "--tta", "1", "--segmenter", "classical"]
    asked = ["--fields", str(folder), "--workdir", str(tmp_path / "work"), "--no-explorer", *pixels]
    assert label.COMMAND.main(asked) == 0
    text = (tmp_path / "work" / "index.html").read_text()
    assert "How far to trust each class" in text
    assert "label-fields: average precision (AP) on fields" in text
    assert "labelled by label-fields, label-cells." in text


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("more", [(), ("--share", "1/1")])
def test_an_error_that_nobody_foresaw_fails_its_field_alone(folder, network, tmp_path, monkeypatch, capsys, more):
    predict = models.Ensemble.predict

    def full(self, field):
        if field.id == "00000000-bb9b-11e8":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return predict(self, field)

    monkeypatch.setattr(models.Ensemble, "predict", full)
    assert run(folder, tmp_path / "work", network, *more) == 1
    assert "failed: 00000000-bb9b-11e8: RuntimeError: RESOURCE_EXHAUSTED" in capsys.readouterr().err
    assert [path.stem for path in (tmp_path / "work" / "fields").iterdir()] == ["00000001-bb9b-11e8"]
    if not more:
        assert list(answers(tmp_path / "work")) == ["00000001-bb9b-11e8"]


@pytest.mark.parametrize("more", [[], ["--share", "1/1"]])
def test_an_id_that_no_submission_may_have_fails_before_any_work(folder, network, tmp_path, monkeypatch, capsys, more):
    for path in folder.glob("*_*.tif"):
        path.rename(path.with_name(f"my,{path.name}"))
    monkeypatch.setattr(labelling.Labeller, "__call__", None)
    assert run(folder, tmp_path / "work", network, *more) > 0
    assert "without commas and quotes to stand in a submission, got 'my,0000000" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_networks_are_read_once(folder, network, tmp_path, monkeypatch):
    tape, load = [], labelling.load_network
    monkeypatch.setattr(labelling, "load_network", lambda name: tape.append(name) or load(name))
    assert run(folder, tmp_path / "work", network) == 0
    assert tape == [network]


@pytest.mark.usefixtures("quick")
def test_no_cell_is_refined_to_negative_against_its_most_probable_class(folder, network, tmp_path, monkeypatch):
    def unsure(self, field):
        prob = np.full((len(field.found), len(atlas.LOCATIONS)), 0.01, np.float32)
        prob[:, 16] = 0.2
        return models.LabelPrediction(prob, prob, None, None)

    monkeypatch.setattr(models.Ensemble, "predict", unsure)
    shown = {}
    for rule in ("relative", "paper"):
        assert run(folder, tmp_path / rule, network, "--refinement", rule) == 0
        shown[rule] = set(pd.read_csv(tmp_path / rule / "refined.csv")["locations"])
    assert shown == {"relative": {atlas.LOCATIONS[16]}, "paper": {"Negative"}}


def fixed(monkeypatch, **probabilities):
    """Every cell has these probabilities of classes, c16=0.6 and so on, and 0.01 of the others."""

    def predict(self, field):
        prob = np.full((len(field.found), len(atlas.LOCATIONS)), 0.01, np.float32)
        for name, value in probabilities.items():
            prob[:, int(name[1:])] = value
        return models.LabelPrediction(prob, prob, None, None)

    monkeypatch.setattr(models.Ensemble, "predict", predict)


def rows_of(page):
    """The rows of all tables of a page, as text."""
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", page):
        found.append(re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row))
    return found


def test_the_page_sets_labels_beside_those_of_the_table(folder, network, tmp_path, monkeypatch):
    fixed(monkeypatch, c16=0.6, c0=0.45, c2=0.1)
    ids = table(folder, "16|7")
    (folder / "labels.csv").write_text(f"id,label\n{ids[0]},16|7\n{ids[1]},0\n")
    assert run(folder, tmp_path / "work", network, "--shown", "2") == 0
    rows = rows_of((tmp_path / "work" / "index.html").read_text())
    assert [atlas.LOCATIONS[16], "1", "1"] in rows
    assert [atlas.LOCATIONS[7], "1", "0"] in rows
    assert [atlas.LOCATIONS[0], "1", "0"] in rows
    assert [atlas.LOCATIONS[16], "0.600", "✓ right"] in rows
    assert [atlas.LOCATIONS[16], "0.600", "✗ wrong"] in rows
    assert [atlas.LOCATIONS[7], "0.010", "✗ missed: the table names it"] in rows
    assert "surest label is one that the table names in 1 of 2" in (tmp_path / "work" / "index.html").read_text()


def test_without_a_table_the_page_says_that_nothing_was_checked(folder, network, tmp_path, monkeypatch):
    fixed(monkeypatch, c16=0.6)
    (folder / "labels.csv").unlink()
    assert run(folder, tmp_path / "work", network) == 0
    assert "The folder has no table of labels" in (tmp_path / "work" / "index.html").read_text()


def test_a_cell_may_have_several_labels_from_a_threshold_on(folder, network, tmp_path, monkeypatch):
    fixed(monkeypatch, c16=0.6, c0=0.45)
    assert run(folder, tmp_path / "work", network) == 0
    assert run(folder, tmp_path / "high", network, "--threshold", "0.5") == 0
    rows = rows_of((tmp_path / "work" / "index.html").read_text())
    assert [atlas.LOCATIONS[16], "18", "18"] in rows
    assert [atlas.LOCATIONS[0], "0", "18"] in rows
    assert [atlas.LOCATIONS[0], "0", "0"] in rows_of((tmp_path / "high" / "index.html").read_text())
    obs = anndata.read_h5ad(tmp_path / "work" / "cells.h5ad").obs
    assert set(obs["labels"]) == {f"{atlas.LOCATIONS[0]};{atlas.LOCATIONS[16]}"}
    assert set(obs["label"]) == {atlas.LOCATIONS[16]}


@pytest.mark.usefixtures("quick")
def test_a_result_is_left_that_names_networks_by_content(folder, network, tmp_path):
    (folder / "simulated.json").write_text("{}")
    assert run(folder, tmp_path / "work", network) == 0
    record = json.loads((tmp_path / "work" / "result.json").read_text())
    assert record["counts"] == {"fields": 2, "cells": 18, "failed fields": 0}
    assert (record["data"], record["experiment"], record["resumed"]) == ("simulated", "label", False)
    assert record["metrics"]["cells per second"] > 0
    assert record["networks"] == {str(network): labelling.content([network])}
    assert "Cells of simulated fields" in (tmp_path / "work" / "index.html").read_text()
    assert run(folder, tmp_path / "work", network) == 0
    assert json.loads((tmp_path / "work" / "result.json").read_text())["resumed"]
