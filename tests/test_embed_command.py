"""`hpax embed`: every cell of a folder has the features that the encoder in the file gives it."""

import csv
import dataclasses
import json
import re
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest

from hpax import atlas, data, models
from hpax.commands import embedding, embedding_page, main
from hpax.commands.embed import Config
from hpax.data import reading
from hpax.data.cell_crops import dummy as crops
from hpax.data.hpa_fields import dummy as fields
from hpax.fields import Masks
from hpax.formats import masks as mask_files
from hpax.recipes import inpaint
from hpax.recipes.cells import Data, open_cells

TINY = inpaint.Config(network=inpaint.Network(width=0.03))
UM = str(fields.UM_PER_PIXEL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    fields.write(folder / "fields", kaggle=2, proteinatlas=2, size=256)
    crops.write(folder / "yeast", "yeast", {"AAA1": 31, "BBB2": 32})
    cells = open_cells(Data(cells="yeast", folder=folder / "yeast", data_dir=folder / "data"))
    inpaint.untrained(TINY, cells).save(folder / "yeast.safetensors")
    crops.write(folder / "human", "human")
    cells = open_cells(Data(cells="human", folder=folder / "human", data_dir=folder / "data"))
    inpaint.untrained(TINY, cells).save(folder / "human.safetensors")
    inpaint.untrained(TINY, cells, seed=1).save(folder / "other.safetensors")
    return folder


@pytest.fixture(autouse=True)
def quick_plane(monkeypatch):
    """Two features instead of UMAP, whose first call takes tens of seconds."""
    monkeypatch.setattr(embedding_page.scatter, "embed", lambda features, *, seed: features[:, :2])


def call(folder, name, *arguments):
    encoder = ["--encoder", str(folder / f"{name}.safetensors")]
    return main.main(["embed", *encoder, *map(str, arguments)])


def test_fields_to_features_and_a_broken_one_is_told_by_the_exit_status(folder, tmp_path, capsys):
    own = shutil.copytree(folder / "fields", tmp_path / "fields")
    fields.write(tmp_path / "more", kaggle=1, proteinatlas=0, size=64)
    for path in sorted((tmp_path / "more" / "kaggle").iterdir()):
        (own / f"broken_{path.name.rpartition('_')[2]}").write_bytes(path.read_bytes()[:100])
    options = ["--fields", own, "--um-per-pixel", UM, "--segmenter", "classical", "--workdir", tmp_path / "work"]
    assert call(folder, "human", *options) == 1
    assert "failed: broken: " in capsys.readouterr().err
    table = anndata.read_h5ad(tmp_path / "work" / "features.h5ad")
    encoder = models.Encoder.load(folder / "human.safetensors")
    masks, size = str(tmp_path / "work" / "cells" / "masks"), encoder.size
    options = {"um_per_pixel": fields.UM_PER_PIXEL, "crop_um": size * encoder.network.um_per_pixel, "crop_size": size}
    source = data.build("hpa_cells", tmp_path / "data", source=own, masks=masks, min_cells=1, **options)
    assert sorted(table.obs_names) == sorted(source.table.index)
    table = table[source.table.index]  # a data set has the order of its splits
    for column in ("field", "group_id", "protein", "antibody", "cell_line"):
        assert table.obs[column].tolist() == source.table[column].tolist()
    for column in ("um_per_pixel", "area_um2", "nucleus_area_um2", "touches_border", "missing", "relative_size"):
        np.testing.assert_allclose(table.obs[column], source.table[column], rtol=1e-6)
    np.testing.assert_array_equal(table.obsm["labels"], source.labels)
    for name, row in zip(embedding_page.named(embedding.StoredCells(source, encoder))[0], source.labels, strict=True):
        assert name == " + ".join(atlas.LOCATIONS[label] for label in np.flatnonzero(row))
    assert embedding_page.joined(np.zeros(19, np.uint8)) == "not known"
    images = np.stack([source[place]["image"] for place in range(len(source))])
    expected = encoder.features(images[..., :3], "conv3")
    np.testing.assert_allclose(table[:, table.var["layer"] == "conv3"].X, expected, rtol=1e-5)


def features(workdir):
    return anndata.read_h5ad(workdir / "features.h5ad")


def same(workdir, other):
    """Whether two runs left the same cells with the same features."""
    one, two = features(workdir), features(other)
    np.testing.assert_array_equal(one.X, two.X)
    pd.testing.assert_frame_equal(one.obs, two.obs)
    np.testing.assert_array_equal(one.obsm["labels"], two.obsm["labels"])
    return True


def kept(workdir):
    return {path.stem: path.stat().st_mtime_ns for path in (workdir / "fields").iterdir()}


def classical(folder, workdir, *more):
    return ["--fields", folder, "--um-per-pixel", UM, "--segmenter", "classical", "--workdir", workdir, *more]


def test_shares_of_several_processes_come_together(folder, tmp_path, capsys):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert call(folder, "human", *classical(folder / "fields", alone)) == 0
    for share in ("2/3", "1/3"):
        assert call(folder, "human", *classical(folder / "fields", together, "--share", share)) == 0
        assert not (together / "features.h5ad").exists()
    assert "share 1/3: 2 of 4 fields; once all are done, the same without --share" in capsys.readouterr().out
    by_shares = kept(together)
    assert len(by_shares) == 3
    assert call(folder, "human", *classical(folder / "fields", together)) == 0
    assert {field: kept(together)[field] for field in by_shares} == by_shares
    assert len(kept(together)) == 4
    assert same(together, alone)
    assert call(folder, "human", *classical(folder / "fields", together, "--share", "4/3")) == 2
    assert "share must be such as 2/4" in capsys.readouterr().err
    with pytest.raises(ValueError, match="share is of fields, got 1/2 with crops"):
        Config(crops=folder / "human", share="1/2")


def test_workers_of_a_beam_pipeline_share_the_fields_and_one_that_is_bad_stops_nobody(folder, tmp_path):
    pytest.importorskip("apache_beam")
    own = shutil.copytree(folder / "fields", tmp_path / "fields")
    bad = next(own.rglob("*_blue.png"))
    bad.write_bytes(b"no picture")
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert call(folder, "human", *classical(own, alone)) == 1
    assert call(folder, "human", *classical(own, together, "--beam=--runner=DirectRunner", "--beam-shares", "2")) == 1
    assert json.loads((together / "result.json").read_text())["resumed"]  # the last run found what the shares had made
    assert same(together, alone)


def test_features_are_made_again_where_what_they_are_made_of_has_changed(folder, tmp_path):
    own, workdir = shutil.copytree(folder / "fields", tmp_path / "fields"), tmp_path / "work"
    assert call(folder, "human", *classical(own, workdir)) == 0
    first, before = kept(workdir), features(workdir)
    assert call(folder, "human", *classical(own, workdir, "--layers", "conv2")) == 0
    assert kept(workdir) == first
    conv2 = before[:, before.var["layer"] == "conv2"]
    np.testing.assert_array_equal(features(workdir).X, conv2.X)
    changed = min(first)
    (workdir / "fields" / f"{changed}.npz").write_bytes(b"cut short")
    masks = mask_files.paths(workdir / "cells" / "masks", max(first))
    assert masks
    cells, nuclei = mask_files.read(workdir / "cells" / "masks", max(first))
    lost = int(cells.max())
    cells, nuclei = (np.where(mask == lost, 0, mask) for mask in (cells, nuclei))  # corrected by hand
    image = np.zeros((*cells.shape, 4), np.uint8)
    mask_files.write(workdir / "cells" / "masks", max(first), cells, nuclei, image=image, um_per_pixel=1.0)
    assert call(folder, "human", *classical(own, workdir)) == 0
    assert {field for field, time in kept(workdir).items() if time != first[field]} == {changed, max(first)}
    assert set(before.obs_names) - set(features(workdir).obs_names) == {f"{max(first)}_{lost}"}
    assert call(folder, "other", *classical(own, workdir)) == 0
    assert not any(kept(workdir)[field] == time for field, time in first.items())


def test_a_run_that_was_stopped_keeps_the_fields_that_it_had_done(folder, tmp_path, monkeypatch):
    encode, calls = models.Encoder.encode, []

    def stopped(self, images):
        calls.append(len(images))
        if len(calls) > 2:
            raise KeyboardInterrupt
        return encode(self, images)

    load = models.Encoder.load
    monkeypatch.setattr(models.Encoder, "load", lambda path: dataclasses.replace(load(path), batch=8))
    monkeypatch.setattr(models.Encoder, "encode", stopped)
    call(folder, "human", *classical(folder / "fields", tmp_path / "work"))
    done = kept(tmp_path / "work")
    assert 1 <= len(done) < 4
    monkeypatch.setattr(models.Encoder, "encode", encode)
    assert call(folder, "human", *classical(folder / "fields", tmp_path / "work")) == 0
    assert {field: kept(tmp_path / "work")[field] for field in done} == done
    monkeypatch.setattr(models.Encoder, "load", load)
    assert call(folder, "human", *classical(folder / "fields", tmp_path / "whole")) == 0
    np.testing.assert_allclose(features(tmp_path / "work").X, features(tmp_path / "whole").X, rtol=1e-4, atol=1e-6)


def test_a_cell_whose_features_are_not_finite_fails_its_field(folder, tmp_path, monkeypatch, capsys):
    encode, calls = models.Encoder.encode, []

    def one_bad(self, images):
        found = {layer: np.array(rows) for layer, rows in encode(self, images).items()}
        if not calls:
            found["conv4"][2] = np.nan
        calls.append(len(images))
        return found

    monkeypatch.setattr(models.Encoder, "encode", one_bad)
    assert call(folder, "human", *classical(folder / "fields", tmp_path, "--workers", "1")) == 1
    (told,) = {line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")}
    assert re.search(r"features must be finite, those of cell \d+ by conv4 are not", told)
    assert features(tmp_path).obs["field"].nunique() == 3


def test_cells_that_segment_found_come_with_the_labels_of_their_field(folder, tmp_path, capsys):
    found = ["--fields", str(folder / "fields"), "--um-per-pixel", UM, "--workdir", str(tmp_path / "found")]
    assert main.main(["segment", *found, "--segmenter", "classical", "--no-shards", "--no-overlays"]) == 0
    options = ["--fields", folder / "fields", "--masks", tmp_path / "found", "--workdir", tmp_path / "embed"]
    capsys.readouterr()
    assert call(folder, "human", *options) == 0  # takes the pixel size from what segment left
    assert capsys.readouterr().out.splitlines()[-1] == f"the page: {tmp_path / 'embed' / 'index.html'}"
    table = anndata.read_h5ad(tmp_path / "embed" / "features.h5ad")
    with (tmp_path / "found" / "cells.csv").open(newline="") as file:
        cells = {row["id"]: row for row in csv.DictReader(file)}
    assert table.n_obs > 3
    assert set(table.obs_names) == set(cells)
    assert table.obs["um_per_pixel"].to_numpy() == pytest.approx(fields.UM_PER_PIXEL)
    assert {"cell", "x_um", "y_um"} <= set(table.obs)
    assert not {"index", "x", "y"} & set(table.obs)
    np.testing.assert_allclose(table.obs[["x_um", "y_um"]].to_numpy(), table.obsm["spatial"])
    assert "" not in table.obs["label"].cat.categories
    labels = {cell: atlas.multi_hot(map(int, row["labels"].split("|"))) for cell, row in cells.items()}
    assert table.obsm["labels"].any()
    for cell, row in zip(table.obs_names, table.obsm["labels"], strict=True):
        np.testing.assert_array_equal(row, labels[cell])
    record = json.loads((tmp_path / "embed" / "result.json").read_text())
    assert record["counts"]["cells"] == table.n_obs
    told = (tmp_path / "embed" / "index.html").read_text()
    for expected in ("human.safetensors", f"{fields.UM_PER_PIXEL:.4g} µm per pixel", "Nearest neighbours", "Gallery"):
        assert expected in told
    assert told.count("<img ") == 3


def test_fields_without_er_are_embedded_and_page_and_table_say_so(folder, tmp_path):
    own = shutil.copytree(folder / "fields", tmp_path / "fields")
    for path in own.rglob("*_yellow.*"):
        path.unlink()
    assert call(folder, "human", *classical(own, tmp_path / "work")) == 0
    told = "no field has ER (yellow), so black stands for it"
    assert told in (tmp_path / "work" / "index.html").read_text()
    assert told in features(tmp_path / "work").uns["made_of"]["remarks"]


def test_crops_to_features_of_a_layer(folder, tmp_path):
    options = ["--crops", folder / "yeast", "--organism", "yeast", "--layers", "conv2", "--workdir", tmp_path]
    assert call(folder, "yeast", *options) == 0
    table = anndata.read_h5ad(tmp_path / "features.h5ad")
    assert table.n_obs == 63
    assert set(table.var["layer"]) == {"conv2"}


def test_a_labeller_of_cells_is_an_encoder_and_the_one_for_fields_where_none_is_named(folder, tmp_path):
    network = models.load_network("label-cells")
    fields.write(tmp_path / "fields", kaggle=2, proteinatlas=0, size=256)
    own = ["--fields", str(tmp_path / "fields"), "--um-per-pixel", str(network.um_per_pixel)]
    found = ["--segmenter", "classical", "--no-shards", "--no-overlays", "--workdir", str(tmp_path / "found")]
    assert main.main(["segment", *own, *found]) == 0
    given = ["--masks", str(tmp_path / "found"), "--workdir", str(tmp_path / "given")]
    assert main.main(["embed", *own, *given]) == 0
    table = anndata.read_h5ad(tmp_path / "given" / "features.h5ad")
    assert set(table.var["layer"]) == {"penultimate"}
    classifier, expected = models.CellClassifier(network), {}
    for field in reading.read_folder(tmp_path / "fields", um_per_pixel=network.um_per_pixel):
        masks = Masks(*mask_files.read(tmp_path / "found" / "masks", field.id))
        field = dataclasses.replace(field, masks=masks)
        rows = classifier.features(classifier.crops(field))
        expected |= {f"{field.id}_{index}": row for index, row in zip(masks.indices, rows, strict=True)}
    assert set(expected) == set(table.obs_names)
    assert len(expected) > 3
    np.testing.assert_allclose(table.X, np.stack([expected[cell] for cell in table.obs_names]), rtol=1e-4, atol=1e-5)
    alone = ["--segmenter", "classical", "--workdir", str(tmp_path / "alone")]
    assert main.main(["embed", *own, *alone]) == 0  # finds the same first
    found = anndata.read_h5ad(tmp_path / "alone" / "features.h5ad")
    assert found.obs_names.tolist() == table.obs_names.tolist()
    np.testing.assert_array_equal(found.X, table.X)
    assert str(tmp_path / "alone" / "cells") in (tmp_path / "alone" / "index.html").read_text()


def test_what_cannot_be_embedded_is_said(folder, tmp_path, capsys):
    workdir = ["--workdir", tmp_path]
    wrong = {
        "give --crops instead": ["yeast", "--fields", folder / "fields", *workdir],
        "learnt from human cells": ["human", "--crops", folder / "yeast", "--organism", "yeast", *workdir],
        "layers must be of conv1": ["yeast", "--crops", folder / "yeast", "--layers", "conv9", *workdir],
        "finds cells of fields without masks": ["yeast", "--crops", folder / "yeast", "--segmenter", "classical"],
        "is not a folder": ["human", "--fields", folder / "fields", "--masks", tmp_path / "none", *workdir],
    }
    for told, arguments in wrong.items():
        assert call(folder, *arguments) == 2
        assert told in capsys.readouterr().err
    assert main.main(["embed", "--encoder", "label-cells", "--crops", str(folder / "human"), *map(str, workdir)]) == 2
    assert "must see its cell alone" in capsys.readouterr().err
    with pytest.raises(ValueError, match="to paint, a network must inpaint, got a cell-net"):
        models.Encoder.load("label-cells").paint(np.zeros((1, 128, 128, 4)), np.zeros((1, 128, 128, 3)))
    with pytest.raises(ValueError, match="give one of them"):
        Config(folder / "human.safetensors")
