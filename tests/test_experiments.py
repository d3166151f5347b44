"""Every experiment runs from its real command line, at the smallest size that means something."""

import base64
import importlib
import io
import json
import pathlib
import re
import sys

import anndata
import numpy as np
import pytest
from PIL import Image

import experiments
from hpax import launch, models
from hpax.data.cell_crops import dummy
from hpax.explore import colour, packing, scatter
from hpax.formats import label_images
from hpax.metrics import neighbours
from hpax.recipes import cells as cells_recipe
from hpax.recipes import data_configs

NAMES = sorted(path.stem for path in pathlib.Path(experiments.__path__[0]).glob("[!_]*.py"))
TINY = ["--recipe.network.width", "0.05", "--recipe.optimizer.steps", "3", "--recipe.optimizer.batch-size", "16"]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_explains_itself(name, capsys):
    module = importlib.import_module(f"experiments.{name}")
    with pytest.raises(SystemExit) as end:
        module.main(["--help"])
    assert end.value.code == 0
    assert "--workdir" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_and_preset_makes_a_config(name):
    module = importlib.import_module(f"experiments.{name}")
    sweeps = [difference for sweep in getattr(module, "SWEEPS", {}).values() for difference in sweep]
    for difference in [*sweeps, *getattr(module, "PRESETS", {}).values()]:
        config = launch.replaced(module.Config(), difference)
        assert len(launch.settings(config)) <= len(difference)


def result(folder: pathlib.Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.slow
def test_inpaint_pairs_on_crops_in_the_published_layout(tmp_path):
    from experiments import inpaint_pairs

    dummy.write(tmp_path / "crops", "yeast")
    command = ["--cells", "yeast", "--folder", str(tmp_path / "crops"), "--data-dir", str(tmp_path / "data"), *TINY]
    assert inpaint_pairs.main([*command, "--workdir", str(tmp_path / "run")]) == 0
    record = result(tmp_path / "run" / "default" / "seed0")
    assert record["data"] == "real"
    table = anndata.read_h5ad(tmp_path / "run" / "default" / "seed0" / "features.h5ad")
    assert set(table.var["layer"]) == set(inpaint_pairs.LAYERS)
    assert {"field", "group_id", "protein", "label"} <= set(table.obs)
    blind = np.arange(table.n_obs, dtype=np.float32)[:, None]
    labels, fields = (table.obs[name].to_numpy(str) for name in ("label", "field"))
    expected = neighbours.benchmark(blind, labels, fields, k=11, drop_single_group_classes=True)
    assert record["metrics"]["chance"] == expected.chance[11]
    page = (tmp_path / "run" / "default" / "seed0" / "index.html").read_text()
    assert "All cells are real." in page
    assert "simulated" not in page


def test_cells_without_labels_end_with_features_umap_and_page(tmp_path, monkeypatch):
    from experiments import inpaint_pairs
    from hpax.data.hpa_fields import dummy as fields

    monkeypatch.setattr(scatter, "embed", lambda features, *, seed: features[:, :2])  # UMAP takes long to compile
    fields.write(tmp_path / "fields", kaggle=4, proteinatlas=0, size=512)
    for table in (tmp_path / "fields").glob("*.csv"):
        table.unlink()
    command = ["--fields", str(tmp_path / "fields"), "--data-dir", str(tmp_path / "data"), *TINY]
    assert inpaint_pairs.main([*command, "--workdir", str(tmp_path / "run")]) == 0
    folder = tmp_path / "run" / "default" / "seed0"
    record, table = result(folder), anndata.read_h5ad(folder / "umap.h5ad")
    assert (record["data"], record["counts"]["classes"]) == ("real", 0)
    assert set(record["metrics"]) == {"correlation", "loss"}
    assert table.obsm["X_umap"].shape == (record["counts"]["cells"], 2)
    assert (folder / "features.h5ad").exists()
    assert "Neighbours were not asked" in (folder / "index.html").read_text()
    (encoder,) = (tmp_path / "run" / "encoders").glob("*/encoder.safetensors")
    assert isinstance(models.load(encoder), models.Encoder)


def test_arms_that_train_alike_share_an_encoder_and_others_do_not(tmp_path):
    from experiments.inpaint_pairs import Config, encoder_folder
    from hpax.recipes import inpaint

    one, other = (tmp_path / arm / "seed0" for arm in ("one", "other"))
    assert encoder_folder(Config(layer="conv1"), "a", one) == encoder_folder(Config(layer="conv5"), "a", other)
    recipes = (inpaint.Config(pair="self"), inpaint.Config(network=inpaint.Network(width=0.3)))
    changed = [Config(seed=1), *(Config(recipe=recipe) for recipe in recipes)]
    for config in changed:
        assert encoder_folder(config, "a", one) != encoder_folder(Config(), "a", one)
    assert encoder_folder(Config(), "b", one) != encoder_folder(Config(), "a", one)  # other cells


def test_quickstart_ends_with_a_page_and_a_feature_table(atlases, tmp_path, capsys):
    from experiments import quickstart

    atlas = ["--atlas.proteins", "57", "--atlas.size", "256", "--data-dir", str(atlases)]
    assert quickstart.main([*atlas, *TINY, "--workdir", str(tmp_path / "run")]) == 0
    folder = tmp_path / "run" / "default" / "seed0"
    page = (folder / "index.html").read_text()
    assert page.count("<img") == 4
    assert "conv3" in page
    assert "All cells are simulated." in page
    assert "from another cell of the same image" in page
    assert "to tell cells of its protein from others" in page
    unseen = anndata.read_h5ad(folder / "unseen.h5ad")
    assert unseen.obsm["X_umap"].shape == (unseen.n_obs, 2)
    pages = [folder / "explorer.html", folder / "index.html"]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"to explore the cells: {pages[0]}",
        f"the page: {pages[1]}",
    ]
    assert page.index('href="explorer.html"') < page.index("<table")
    cells_can_be_explored(pages[0], unseen, atlases)
    table = anndata.read_h5ad(folder / "features.h5ad")
    record = result(folder)
    assert record["data"] == "simulated"
    assert record["counts"]["classes"] >= 15
    # the encoder never saw the proteins that it is asked about
    asked, others = (set(table.obs["protein"][table.obs["query"] == value]) for value in (True, False))
    assert asked
    assert not asked & others


def cells_can_be_explored(path, unseen, data_dir):
    """The page has each cell at its place, with its crop, class and protein, and no field."""
    text = path.read_text()
    assert len(text) < 5e6
    assert "click it to choose it" in text
    told = packing.unpacked(json.loads(re.search(r"const ATLAS = (.*?);</script>", text).group(1)))
    assert told["ids"] == unseen.obs_names.tolist()
    np.testing.assert_array_equal(told["places"], unseen.obsm["X_umap"].T)
    assert told["thumb"].tolist() == list(range(unseen.n_obs))
    assert told["fields"] == {}
    for name in ("label", "protein"):
        column = told["columns"][name]
        assert [column["names"][value] for value in column["values"]] == unseen.obs[name].tolist()
    config = data_configs.CellData(atlas=data_configs.CellAtlas(proteins=57, size=256), data_dir=data_dir)
    cells = cells_recipe.open_cells(config)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["sheet"].split(",")[1]))), float)
    side = sheet.shape[1] // told["sheetColumns"]
    tiles = sheet.reshape(-1, side, told["sheetColumns"], side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    stored = cells.everything[int(cells.everything.table.index.get_loc(unseen.obs_names[70]))]["image"]
    differs = np.abs(tiles - colour.picture(np.asarray(cells.prepare(stored[None])))).mean((1, 2, 3))
    assert differs.argmin() == 70


TIMED = [pytest.param(part, marks=pytest.mark.slow) for part in ("training", "pipeline")]


@pytest.mark.parametrize("part", ["neighbours", *TIMED])
def test_the_speed_of_a_part_is_a_ratio_beside_what_else_one_would_use(part, tmp_path):
    from experiments import benchmark_speed

    sizes = ["--width", "0.02", "--batch-size", "8", "--cells", "300", "--features", "8", "--turns", "1"]
    atlas = ["--proteins", "38", "--data-dir", str(tmp_path / "data")]
    assert benchmark_speed.main(["--part", part, *sizes, *atlas, "--workdir", str(tmp_path / "run")]) == 0
    assert result(tmp_path / "run" / "default" / "seed0")["metrics"]["times faster"] > 0


def test_the_plain_network_is_the_one_that_it_stands_beside():
    import jax

    from hpax.nn.inpainter import Inpainter
    from hpax.nn.reference import PlainInpainter

    source, markers = np.ones((1, 8, 8, 3), np.float32), np.ones((1, 8, 8, 2), np.float32)
    counts = []
    for model in (PlainInpainter(0.25), Inpainter(0.25)):
        shapes = jax.eval_shape(model.init, jax.random.key(0), source, markers)
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(shapes)))
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_the_features_of_torchvision_are_ours(tmp_path):
    pytest.importorskip("torchvision", reason="PyTorch is no dependency")
    from experiments import benchmark_speed

    small = ["--side", "75", "--field-count", "1", "--turns", "1", "--data-dir", str(tmp_path / "data")]
    assert benchmark_speed.main(["--part", "pytorch", *small, "--workdir", str(tmp_path / "run")]) == 0
    assert result(tmp_path / "run" / "default" / "seed0")["metrics"]["pytorch (cells/s)"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "metric"),
    [("pytorch training", "pytorch (pairs/s)"), ("pytorch efficientnet", "told: pytorch (fields/s)")],
)
def test_updates_beside_pytorch(tmp_path, part, metric):
    pytest.importorskip("torchvision", reason="PyTorch is no dependency")
    from experiments import benchmark_speed

    small = ["--width", "0.03", "--batch-size", "2", "--side", "64", "--turns", "1"]
    assert benchmark_speed.main(["--part", part, *small, "--workdir", str(tmp_path)]) == 0
    assert result(tmp_path / "default" / "seed0")["metrics"][metric] > 0


def test_without_pytorch_its_part_says_how_to_get_it(monkeypatch):
    from hpax.nn.rivals import torchvision_inception

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch torchvision"):
        torchvision_inception({})


def test_networks_that_differ_are_not_timed():
    from hpax.nn.reference import hold_alike

    ours = [np.zeros((0, 19)), np.array([[0.0, 10.0]])]
    hold_alike(ours, [ours[0], ours[1] + 9e-3])
    for wrong in (ours[1] + 0.011, ours[1] * np.nan):
        with pytest.raises(ValueError, match="must agree"):
            hold_alike(ours, [ours[0], wrong])


@pytest.mark.slow
def test_segment_fields_learns_nuclei_and_then_cells(tmp_path):
    from experiments import segment_fields
    from hpax.data.dsb2018_nuclei import dummy as images
    from hpax.data.hpa_fields import dummy as fields

    images.write(tmp_path / "images")
    fields.write(tmp_path / "fields", kaggle=2, proteinatlas=0, size=128)
    (tmp_path / "fields" / "cell_masks").mkdir()
    label_images.write(tmp_path / "fields" / "cell_masks" / "00000001-bb9b-11e8.png", np.tri(128, dtype=np.uint8))
    atlas = ["--atlas.proteins", "57", "--atlas.cell-lines", "1", "--atlas.size", "96"]
    small = [*atlas, "--recipe.network.widths", "4", "--recipe.patch", "32"]
    small += [
        "--recipe.optimizer.steps",
        "3",
        "--recipe.optimizer.batch-size",
        "8",
        "--data-dir",
        str(tmp_path / "data"),
    ]

    nuclei = ["--target", "nuclei", "--folder", str(tmp_path / "images"), "--workdir", str(tmp_path / "nuclei")]
    assert segment_fields.main([*small, *nuclei]) == 0
    folder = tmp_path / "nuclei" / "default" / "seed0"
    record, trained = result(folder), models.load_network(folder / "segment-nuclei.safetensors")
    assert record["data"] == "real"
    assert record["counts"]["held-out real objects"] == 4 * 9
    assert record["metrics"]["otsu real f1"] == 1  # discs, far from each other
    assert 0 <= record["metrics"]["network real mean ap"] < 1
    assert trained.channels == ("nucleus",)
    assert "otsu real f1" in trained.card

    cells = ["--target", "cells", "--nuclei", str(folder / "segment-nuclei.safetensors")]
    cells += ["--fields", str(tmp_path / "fields"), "--workdir", str(tmp_path / "cells")]
    cells += ["--recipe.network.dtype", "bfloat16"]
    assert segment_fields.main([*small, *cells]) == 0
    record = result(tmp_path / "cells" / "default" / "seed0")
    assert record["data"] == "simulated"
    assert record["counts"]["held-out real agreement fields"] == 1
    assert record["metrics"]["grown simulated f1"] > 0.3
    trained = models.load_network(tmp_path / "cells" / "default" / "seed0" / "segment-cells.safetensors")
    assert trained.channels == ("microtubules", "er", "nucleus")


HEAVY = [
    pytest.param(part, marks=pytest.mark.slow) for part in ("inpainting", "fields", "fields --copy-paste", "inception")
]


@pytest.mark.parametrize("part", ["efficientnet", "scoring", "neighbours", *HEAVY])
def test_benchmark_accelerator_times_every_part_in_seconds(tmp_path, part):
    from experiments import benchmark_accelerator

    options = ["--width", "0.05", "--dtype", "float32", "--no-beside", "--minutes", "1e6"]
    command = ["--part", *part.split(), "--fast", *options, "--workdir", str(tmp_path)]
    assert benchmark_accelerator.main(command) == 0
    metrics = result(tmp_path / "default" / "seed0")["metrics"]
    assert all(value > 0 for value in metrics.values())
    assert ("busy, resident" in metrics) == (part in ("inpainting", "fields", "fields --copy-paste"))
