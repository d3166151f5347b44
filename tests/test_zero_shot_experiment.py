"""Zero-shot labels from the command line: untrained networks label fields drawn by code, and the answers are kept."""

import csv
import json
import types

import jax.numpy as jnp
import numpy as np
import properties
import pytest

from experiments import classify_cells, localize_cells, zero_shot
from hpax import atlas, models
from hpax.commands import zero_shot_study
from hpax.data.hpa_fields import dummy
from hpax.nn.backbones import BACKBONES


def save(path, kind, seed):
    net = models.ARCHITECTURES[kind](BACKBONES["plain-tiny"]())
    variables = properties.drawn(net.init, jnp.zeros((1, 32, 32, 4)), seed=seed)
    state = types.SimpleNamespace(params=variables.pop("params"), model_state=variables)
    told = {"channels": atlas.CHANNELS, "um_per_pixel": 0.64, "size": 32, "masked": kind == "cell-net"}
    models.save(path, architecture=kind, options={"backbone": "plain-tiny"}, state=state, card="", **told)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a run over four fields with networks of both kinds."""
    folder = tmp_path_factory.mktemp("zero_shot")
    dummy.write(folder / "fields", size=128)
    save(folder / "field.safetensors", "cam-net", 0)
    save(folder / "cell.safetensors", "cell-net", 1)
    command = ["--fields", str(folder / "fields"), "--segmenter", "classical", "--um-per-pixel", "0.32", "--turns", "1"]
    command += ["--least", "2", "--shown", "2", "--workdir", str(folder / "out"), "--models"]
    command += [str(folder / "field.safetensors"), str(folder / "cell.safetensors")]
    assert zero_shot.main(command) == 0
    assert zero_shot.main([*command, "--adapt", "1", "--workdir", str(folder / "adapted")]) == 0
    return folder / "out" / "default" / "seed0"


def test_every_head_is_scored_with_its_interval_and_chance(done):
    record = json.loads((done / "result.json").read_text())
    metrics, counts = record["metrics"], record["counts"]
    assert record["headline"] == [f"field mAP, {head}" for head in zero_shot_study.HEADS]
    assert (counts["fields"], counts["groups"], counts["classes in the means"]) == (4, 3, 2)
    assert counts["cells"] > 4
    assert metrics["chance"] == pytest.approx(0.625)  # nucleoplasm in three of four fields, droplets in two
    for head in zero_shot_study.HEADS:
        low, value, high = (metrics[f"field mAP, {head}{end}"] for end in (", low", "", ", high"))
        assert 0 <= low <= value <= high <= 1


def test_the_probabilities_are_those_of_the_cells(done):
    kept = np.load(done / "probabilities.npz")
    heads = dict(zip(kept["heads"].tolist(), kept["probabilities"], strict=True))
    assert heads["cells"].shape == heads["cells alone"].shape == heads["field"].shape == (4, 19)
    assert not np.allclose(heads["cells"], heads["field"])
    assert np.flatnonzero(kept["labels"][-1]).tolist() == [0, 17]


def test_networks_may_take_their_averages_from_the_fields(done):
    own, adapted = (
        np.load(done.parents[2] / name / "default" / "seed0" / "probabilities.npz") for name in ("out", "adapted")
    )
    assert own["ids"].tolist() == adapted["ids"].tolist()
    assert np.abs(own["probabilities"] - adapted["probabilities"]).max(axis=(1, 2)).min() > 1e-3  # both networks moved
    with pytest.raises(ValueError, match="adapt must be a share from 0 to 1, got 2"):
        zero_shot.Config(adapt=2.0)


def test_the_table_and_the_page_name_classes_and_mistakes(done):
    with (done / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["class"] == "Nucleoplasm"
    assert len(rows) == 19
    text = (done / "index.html").read_text()
    assert text.count("<img") == 2
    assert "The most confident mistakes" in text


def test_masks_are_kept_for_the_next_time(done):
    masks = done.parents[1] / "masks" / "classical"
    assert len({path.name.split("_")[0] for path in masks.rglob("*.png")}) >= 3


def test_it_needs_labels(tmp_path):
    dummy.write(tmp_path, size=128)
    (tmp_path / "fields.csv").write_text("id,labels\n")
    with pytest.raises(ValueError, match="has labels; add a table"):
        zero_shot_study.labelled_fields(tmp_path, tmp_path)


def test_a_network_that_has_just_learnt_is_asked_as_the_study_asks(done, tmp_path):
    network = models.load_network(done.parents[2] / "cell.safetensors")
    options = {"um_per_pixel": 0.32, "segmenter": "classical"}
    folder = zero_shot_study.LabelledFolder.of(done.parents[2] / "fields", tmp_path / "runs" / "arm" / "0", **options)
    metrics, counts = folder.ask(network)
    assert (counts["real fields"], counts["real fields without a label"]) == (4, 0)
    assert 0 <= metrics["mAP of all classes, real fields"] <= 1
    assert np.isnan(metrics["mAP, real fields"])  # no class has four fields
    assert len(list((tmp_path / "runs" / "masks").rglob("*.png"))) >= 4
    known = json.loads((done / "result.json").read_text())["counts"]
    assert (counts["real fields"], counts["real cells"]) == (known["fields"], known["cells"])


@pytest.mark.parametrize("study", [classify_cells, localize_cells])
def test_a_folder_to_be_asked_about_is_refused_before_anything_is_learnt(study, tmp_path, capsys):
    dummy.write(tmp_path / "fields", size=128)
    for options, told in (
        (["--real", str(tmp_path / "none")], "none"),
        (["--real", str(tmp_path / "fields"), "--fields", str(tmp_path / "fields")], "real must be the only folder"),
    ):
        command = [*options, "--data-dir", str(tmp_path / "data"), "--workdir", str(tmp_path / "out")]
        assert study.main(command) != 0
        assert told in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
