"""The encoder that ships is made by one command, and its card says what it was made of and how well it does."""

import json

import numpy as np
import pytest

from experiments import pretrain_encoder
from hpax import models


@pytest.mark.slow
def test_the_command_leaves_a_network_with_scores_in_its_card(tmp_path):
    command = [
        "--fast",
        "--recipe.optimizer.batch-size",
        "8",
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
    for name in ("trained conv3", "untrained conv3", "classic", "chance"):
        assert f"| {name} | {record['metrics'][name]:.4g} |" in card
    assert "python -m experiments.pretrain_encoder" in card
    crops = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    full = models.load(folder / "training" / "encoder.safetensors")
    np.testing.assert_allclose(encoder.features(crops, "conv3"), full.features(crops, "conv3"), rtol=0.02, atol=1e-3)
