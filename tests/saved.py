"""Networks of a few weights, fresh, in files."""

import dataclasses

import jax
import jax.numpy as jnp

from hpax import atlas, models
from hpax.nn.backbones import BACKBONES
from hpax.nn.heads import CamNet, CellNet


@dataclasses.dataclass
class State:
    params: dict
    model_state: dict


def labeller(path, kind, seed):
    net = (CellNet if kind == "cell-net" else CamNet)(BACKBONES["plain-tiny"]())
    variables = dict(jax.device_get(net.init(jax.random.key(seed), jnp.zeros((1, 96, 96, 4)))))
    state = State(variables.pop("params"), variables)
    models.save(
        path,
        architecture=kind,
        options={"backbone": "plain-tiny"},
        channels=atlas.CHANNELS,
        um_per_pixel=0.64,
        state=state,
        card="",
        size=64,
    )
    return path
