"""What configs restate, so that help imports nothing, is what it is where the work is done."""

import dataclasses
import inspect
from typing import get_args

import numpy as np
import pytest

from experiments import segment_fields, simulate_atlas, zero_shot
from hpax import launch, simulate
from hpax.data import pairs, simulated_fields
from hpax.models import ensemble, imagenet, segmenter, store
from hpax.nn import backbones, heads, inpainter
from hpax.ops import losses, mil, mix
from hpax.recipes import configs, data_configs, learning
from hpax.segment import nuclei


def choices(config, name):
    """What a field of a config may be, by its annotation; names at the top of unions are those of a Literal."""
    (field,) = (field for field in dataclasses.fields(config) if field.name == name)
    return set(get_args(field.type))


def test_names_are_those_of_what_they_name():
    assert set(configs.BACKBONES) == set(backbones.BACKBONES)
    assert configs.LAYERS == inpainter.LAYERS
    assert get_args(configs.Mixture) == get_args(mix.Mixture)
    assert get_args(configs.Pair) == get_args(pairs.Pair)
    assert get_args(configs.Pooling) == get_args(mil.Pooling)
    assert choices(configs.Localize, "pooling") == choices(heads.CamNet, "pooling")
    assert choices(simulate_atlas.Config, "realism") == set(get_args(simulate.Realism))
    assert choices(data_configs.Atlas, "realism") == choices(simulated_fields.Config, "realism")
    assert choices(data_configs.Atlas, "realism") == set(get_args(simulate.Realism)) | {"mixed"}
    assert choices(configs.ProbeStart, "stem") == set(imagenet.RENDERINGS) - {"rgb"}
    assert {f"{name}-unet" for name in choices(configs.SegmentNetwork, "model")} < set(store.ARCHITECTURES)
    finders = inspect.signature(segmenter.by_name).parameters["kind"].annotation
    assert get_args(data_configs.Finder) == get_args(finders)


def test_every_loss_and_augmentation_is_known():
    labels = np.eye(19, dtype=np.uint8)
    for name in get_args(configs.LossName):
        assert callable(configs.Loss(name).make(labels))
    assert configs.Loss().make(labels) is losses.bce
    for strength in get_args(configs.Strength):
        assert learning.augmentation(strength)


@pytest.mark.parametrize("atlas", [data_configs.Atlas, data_configs.CellAtlas, data_configs.SegmentAtlas])
def test_simulated_atlases_set_what_the_data_set_has(atlas):
    default = simulated_fields.Config()
    known = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    for field in dataclasses.fields(atlas):
        assert field.name in known
        if field.name in ("size", "multilocalised", "varying", "realism"):
            assert field.default == known[field.name]


def test_networks_that_ship_are_called_alike():
    assert tuple(map(str, zero_shot.Config.models)) == ensemble.SHIPPED
    assert segment_fields.Config.nuclei == segmenter.SHIPPED[0]


@pytest.mark.parametrize(
    ("config", "presets"), [(configs.Weak(), {"le2022": configs.LE2022}), (configs.Inpaint(), configs.INPAINT_PRESETS)]
)
def test_presets_name_settings_that_there_are(config, presets):
    for difference in presets.values():
        known = launch.config.paths(config)
        assert set(difference) <= set(known)
        assert launch.replaced(config, difference) != config


def test_crops_are_as_wide_as_the_published_ones():
    assert data_configs.CROP == nuclei.CROP
