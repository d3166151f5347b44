"""Networks whose batch normalisation takes its averages from fields that nobody labelled.

    labeller = adapt.adapted(hpax.Ensemble.load(["label-fields", "label-cells"]), fields, share=0.5)

Li et al. (2017) take the averages of the fields in place of those of training (share 1), Schneider et al. (2020) weigh
the two. Each batch is normalised by itself while they are found.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import Float, UInt

from hpax import images
from hpax.fields import Field
from hpax.models.ensemble import Ensemble
from hpax.models.store import Network
from hpax.types import Array, ModelState

FIELDS, CELLS = 8, 64  # images that are normalised together


def adapted(ensemble: Ensemble, fields: Sequence[Field], *, share: float) -> Ensemble:
    """The same networks, whose averages are `share` (0 to 1) those of `fields`, of which no label is looked at.

    All fields and cells are held in memory as bytes, at the networks' pixel sizes.

    Raises:
        ValueError: the share is none, there is no field or cell, or a network has no batch normalisation.
    """
    of_fields, of_cells = [], []
    for model in ensemble.fields:
        seen = [images.padded(model.seen(field), model.network.model.stride) for field in fields]
        network = with_averages(model.network, _batches(seen, FIELDS), share=share)
        of_fields.append(dataclasses.replace(model, network=network))
    for classifier in ensemble.cells:
        crops = [crop for field in fields for crop in classifier.crops(field)]
        network = with_averages(classifier.network, _batches(crops, CELLS), share=share)
        of_cells.append(dataclasses.replace(classifier, network=network))
    return Ensemble(tuple(of_fields), tuple(of_cells))


def with_averages(network: Network, batches: Iterable[Float[np.ndarray, "_ _ _ c"]], *, share: float) -> Network:
    """The network with averages that are `share` those of images, as it sees them, and else its own.

    Raises:
        ValueError: the share is none, there is no image, or the network has no batch normalisation.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0, the network's own averages, to 1, got {share}")
    if not (averages := network.model_state.get("batch_stats")):
        raise ValueError("the network must have batch normalisation, this one has none; leave it as it is")
    if not share:
        return network
    model = network.model.clone(backbone=network.model.backbone.clone(momentum=0.0))  # the last batch is all it knows

    @jax.jit
    def statistics(seen: Float[Array, "b h w c"]) -> ModelState:
        dropped = {"dropout": jax.random.key(0)}
        _, state = model.apply(network.variables, seen, train=True, rngs=dropped, mutable=["batch_stats"])
        return state["batch_stats"]

    parts, weights = [], []
    for batch in batches:
        parts.append(jax.device_get(statistics(batch)))
        weights.append(batch.shape[0] * batch.shape[1] * batch.shape[2])
    if not parts:
        raise ValueError("averages need images, got none; are there fields, and cells in them?")
    together = _together(parts, np.array(weights) / sum(weights))
    mixed = jax.tree.map(lambda own, found: (1 - share) * own + share * found, averages, together)
    return dataclasses.replace(network, model_state={**network.model_state, "batch_stats": mixed})


def _together(parts: Sequence[ModelState], weights: Float[np.ndarray, " p"]) -> ModelState:
    """The means and variances of all batches as if they were one."""
    if "mean" not in parts[0]:
        return {name: _together([part[name] for part in parts], weights) for name in parts[0]}
    means = np.stack([part["mean"] for part in parts])
    squares = np.stack([part["var"] for part in parts]) + means**2
    mean = np.average(means, axis=0, weights=weights)
    var = np.average(squares, axis=0, weights=weights) - mean**2
    return {"mean": mean.astype(np.float32), "var": np.maximum(var, 0).astype(np.float32)}


def _batches(seen: Sequence[UInt[np.ndarray, "_ _ c"]], size: int) -> Iterator[Float[np.ndarray, "_ _ _ c"]]:
    """Images of one shape together, at most `size` of them."""
    for shape in sorted({image.shape for image in seen}):
        alike = [image for image in seen if image.shape == shape]
        for start in range(0, len(alike), size):
            yield images.as_float(np.stack(alike[start : start + size]))
