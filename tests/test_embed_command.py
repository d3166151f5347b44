"""`hpax embed`: every cell of a folder has the features that the encoder in the file gives it."""

import csv
import dataclasses
import json
import shutil

import anndata
import numpy as np
import pytest

from hpax import atlas, models
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
    config = Config(folder / "human.safetensors", own, um_per_pixel=fields.UM_PER_PIXEL, workdir=tmp_path / "work")
    source = embedding._of_fields(config, encoder, tmp_path / "work" / "cells")
    assert table.obs_names.tolist() == source.table.index.tolist()
    assert {"field", "group_id", "protein"} <= set(table.obs)
    assert table.obsm["labels"].shape == (len(source), 19)
    for name, row in zip(embedding_page.named(source)[0], source.labels, strict=True):
        assert name == " + ".join(atlas.LOCATIONS[label] for label in np.flatnonzero(row))
    assert embedding_page.joined(np.zeros(19, np.uint8)) == "not known"
    images = np.stack([source[place]["image"] for place in range(len(source))])
    expected = encoder.features(images[..., :3], "conv3")
    np.testing.assert_allclose(table[:, table.var["layer"] == "conv3"].X, expected, rtol=1e-5)


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
