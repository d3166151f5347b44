"""Grafting: what fits is planted whole, what does not is listed, and nothing else moves."""

import functools

import numpy as np
import pytest

from hpax.models import Network, graft


def _pretrained(params):
    return Network("light-unet", {}, ("nucleus",), 0.32, params, {"batch_stats": _statistics(1.0)}, "")


def _statistics(value):
    return {"encoder": {"norm": {"mean": np.full(2, value)}}, "head": {"mean": np.full(1, value)}}


def _tree(value):
    encoder = {"stem": {"kernel": np.full((3, 2), value)}, "norm": {"scale": np.full(2, value)}}
    return {"encoder": encoder, "head": {"kernel": np.full((2, 2), value)}}


@pytest.mark.parametrize(
    ("at", "ones"), [("", "encoder/stem encoder/norm head"), ("encoder", "encoder/stem encoder/norm")]
)
def test_plants_a_subtree_and_leaves_the_rest(at, ones):
    params, state = _tree(0.0), {"batch_stats": _statistics(0.0), "ramp": {"updates": np.zeros(())}}
    grown, state = functools.partial(graft, pretrained=_pretrained(_tree(1.0)), at=at)(params, state)
    found = {
        "encoder/stem": grown["encoder"]["stem"]["kernel"],
        "encoder/norm": grown["encoder"]["norm"]["scale"],
        "head": grown["head"]["kernel"],
    }
    assert {name: set(leaf.ravel()) for name, leaf in found.items()} == {
        name: {1.0 if name in ones.split() else 0.0} for name in found
    }
    assert params["encoder"]["stem"]["kernel"].max() == 0, "what is grafted into is left as it was"
    assert state["batch_stats"]["encoder"]["norm"]["mean"].tolist() == [1.0, 1.0]
    assert state["batch_stats"]["head"]["mean"].tolist() == [float("head" in ones)]
    assert state["ramp"]["updates"] == 0


def test_lists_all_that_does_not_fit():
    donor = _tree(1.0)
    donor["encoder"] = {"stem": {"kernel": np.ones((3, 5))}, "extra": {"bias": np.ones(1)}}
    with pytest.raises(ValueError, match="at 'encoder' must fit") as error:
        graft(_tree(0.0), {}, _pretrained(donor), at="encoder")
    told = ["norm/scale is missing", "extra/bias is unexpected", "stem/kernel must have shape (3, 2), got (3, 5)"]
    assert [part for part in told if part not in str(error.value)] == []


def test_statistics_that_do_not_fit_are_refused():
    state = {"batch_stats": {"encoder": {"norm": {"mean": np.zeros(3)}}, "head": {"mean": np.zeros(1)}}}
    with pytest.raises(ValueError, match=r"norm/mean must have shape \(3,\), got \(2,\)"):
        graft(_tree(0.0), state, _pretrained(_tree(1.0)), at="encoder")


@pytest.mark.parametrize("owner", ["the network", "the weights"])
def test_a_place_that_is_not_there_is_named(owner):
    trees = {"the network": _tree(0.0), "the weights": _tree(1.0)}
    del trees[owner]["encoder"]
    with pytest.raises(ValueError, match=f"{owner} must have 'encoder' to be grafted; there are head"):
        graft(trees["the network"], {}, _pretrained(trees["the weights"]), at="encoder/stem")
