"""The encoder that ships is made by one command, and its card says what it was made of and how well it does."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import pretrain_encoder
from hpax import launch, models


def test_a_card_tells_what_was_asked_for():
    usual = pretrain_encoder.Config()
    assert pretrain_encoder.arguments(usual) == ""
    data = dataclasses.replace(usual.data, atlas=dataclasses.replace(usual.data.atlas, cell_lines=2))
    recipe = dataclasses.replace(usual.recipe, pair="protein", contrast=0.03)
    other = dataclasses.replace(usual, data=data, recipe=recipe, seed=3)
    told = " --data.atlas.cell-lines 2 --recipe.pair protein --recipe.contrast 0.03 --seeds 3"
    assert pretrain_encoder.arguments(other) == told
    fine = launch.replaced(usual, pretrain_encoder.PRESETS["fine"])
    assert fine.made.name == "encode-cells-fine"
    assert pretrain_encoder.arguments(fine) == " --preset fine"
    assert pretrain_encoder.arguments(dataclasses.replace(fine, seed=3)) == " --preset fine --seeds 3"
    yeast = launch.replaced(usual, pretrain_encoder.PRESETS["yeast"])
    yeast = dataclasses.replace(yeast, data=dataclasses.replace(yeast.data, folder=Path("mine")))
    assert yeast.made.name == "encode-yeast"
    assert pretrain_encoder.arguments(yeast) == " --preset yeast --data.folder CROPS/yeast"
    assert pretrain_encoder.arguments(dataclasses.replace(yeast, layer="conv3")).endswith(" --layer conv3")


@pytest.mark.slow
def test_the_command_leaves_a_network_with_scores_in_its_card(tmp_path):
    command = [
        "--fast",
        "--recipe.optimizer.batch-size",
        "8",
        "--ceiling",
        "--data.data-dir",
        str(tmp_path / "data"),
        "--workdir",
        str(tmp_path / "run"),
    ]
    assert pretrain_encoder.main(command) == 0
    folder = tmp_path / "run" / "default" / "seed11"
    record = json.loads((folder / "result.json").read_text())
    encoder = models.load(folder / "encode-cells.safetensors")
    assert isinstance(encoder, models.Encoder)
    card = (folder / "encode-cells.md").read_text()
    assert card == encoder.network.card
    assert card.startswith("# encode-cells")
    for name in ("trained conv3", "untrained conv3", "supervised conv3", "classic", "chance"):
        assert f"| {name} | {record['metrics'][name]:.4g} |" in card
    assert "python -m experiments.pretrain_encoder" in card
    crops = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    full = models.load(folder / "training" / "encoder.safetensors")
    np.testing.assert_allclose(encoder.features(crops, "conv3"), full.features(crops, "conv3"), rtol=0.02, atol=1e-3)
