"""Fields to cells by networks: pixel sizes, tiles, depths and shapes, with networks that are told the truth."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from hpax.models import Network, Segmenter
from hpax.nn.unet import LightUNet
from hpax.ops import overlap


class Told(nn.Module):
    """Two channels of the image are the maps; tells which shapes it is compiled for."""

    tell: Callable[[tuple[int, ...]], None]
    stride = 16

    @nn.compact
    def __call__(self, images):
        self.tell(images.shape)
        return 20 * (images - 0.5)


class Truthful(Network):
    """A network without weights, known as it is and not by a name."""

    def __init__(self, model, channels):
        super().__init__("", {}, channels, 0.32, {}, {}, "")
        self.__dict__["model"] = model


def _told(**changes):
    """A segmenter whose networks read border and object off protein and nucleus, and off microtubules and er.

    Beside it the shapes that they were compiled for.
    """
    traces = []
    told = Told(traces.append)
    networks = (Truthful(told, channels) for channels in (("protein", "nucleus"), ("microtubules", "er")))
    return Segmenter(*networks, **changes), traces


def _untrained(channels, seed):
    options = {"widths": (4, 6)}
    variables = LightUNet(**options).init(jax.random.key(seed), jnp.zeros((1, 16, 16, len(channels))))
    weights = variables["params"], {"batch_stats": variables["batch_stats"]}
    return Network("light-unet", options, channels, 0.32, *weights, "")


UNTRAINED = _untrained(("nucleus",), 0), _untrained(("microtubules", "er", "nucleus"), 1)

CENTRES = np.array([(20, 20), (20, 56), (60, 30), (64, 92)])  # µm; the first two cells touch
RADIUS, NUCLEUS = 18.0, 7.0  # µm
EXTENT = 86.4, 115.2  # µm


def _truth(um_per_pixel):
    """Index masks of discs."""
    shape = tuple(round(side / um_per_pixel) for side in EXTENT)
    y, x = ((np.indices(shape) + 0.5) * um_per_pixel)[:, None]
    away = np.hypot(y - CENTRES[:, :1, None], x - CENTRES[:, 1:, None])
    index = away.argmin(0) + 1
    return (np.where(away.min(0) < radius, index, 0) for radius in (RADIUS, NUCLEUS))


def _field(um_per_pixel, dtype=np.uint8):
    """A field whose channels are the true maps: borders and objects of nuclei, borders and objects of cells."""
    cells, nuclei = _truth(um_per_pixel)
    edge = np.zeros(cells.shape, bool)
    for axis in (0, 1):
        edge |= (np.roll(cells, 1, axis) != cells) & (np.roll(cells, 1, axis) > 0) & (cells > 0)
    spot = np.zeros(cells.shape, bool)
    spot[:2, -60:] = True  # so that the channel is not flat; far from all cells
    maps = np.stack([spot, nuclei > 0, edge | spot, cells > 0], axis=-1)
    return (maps * np.iinfo(dtype).max).astype(dtype)


def _best_iou(found, truth):
    shared, in_a, in_b = overlap.of_labels(found, truth)
    iou = overlap.iou(shared, shared.sum(1), shared.sum(0))
    return iou[in_a > 0][:, in_b > 0].max(0, initial=0)


@pytest.mark.parametrize(("um_per_pixel", "dtype"), [(0.16, np.uint8), (0.32, np.uint16), (0.45, np.uint8)])
def test_true_maps_give_the_true_cells_at_any_pixel_size(um_per_pixel, dtype):
    image = _field(um_per_pixel, dtype)
    masks = _told()[0](image, um_per_pixel)
    assert masks.cells.shape == masks.nuclei.shape == image.shape[:2]
    cells, nuclei = _truth(um_per_pixel)
    assert masks.cells.max() == len(CENTRES)
    assert _best_iou(masks.cells, cells).min() > 0.9
    assert _best_iou(masks.nuclei, nuclei).min() > 0.85
    assert ((masks.nuclei == 0) | (masks.nuclei == masks.cells)).all()


def test_tiles_have_no_seams():
    """Untrained networks whose maps vary from pixel to pixel: the same in one piece and in overlapping tiles."""
    image = np.random.default_rng(0).integers(0, 255, (300, 520, 4)).astype(np.uint8)
    whole = Segmenter(*UNTRAINED).maps(image, 0.32)
    tiled = Segmenter(*UNTRAINED, tile=256, margin=32).maps(image, 0.32)
    assert np.std(whole[1]) > 1e-3
    for a, b in zip(whole, tiled, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


@pytest.mark.parametrize("side", [128, 256, 384, 640, 1280])
@pytest.mark.parametrize("margin", [16, 96])
def test_tiles_cover_a_side_and_keep_their_margins(side, margin):
    segmenter, _ = _told(tile=256, margin=margin)
    owner, tiles = np.full(side, -1), list(segmenter._tiles(side))
    for number, (start, stop, shared) in enumerate(tiles):
        assert (start % 16, stop - start) == (0, min(256, side))
        owner[start + shared : stop] = number
    for number, (start, stop, _) in enumerate(tiles):
        own = np.flatnonzero(owner == number)
        assert start == 0 or own[0] - start >= margin
        assert stop == side or stop - own[-1] > margin
    assert owner.min() == 0


def test_large_fields_never_show_a_network_more_than_a_tile():
    segmenter, traces = _told(tile=256)
    segmenter(np.zeros((300, 700, 4), np.uint8), 0.32)
    assert set(traces) == {(1, 256, 256, 2)}


def test_fields_of_similar_size_share_a_compiled_network():
    segmenter, traces = _told()
    for shape in ((250, 190), (256, 200), (129, 256)):
        segmenter(np.zeros((*shape, 4), np.uint8), 0.32)
    assert traces == [(1, 256, 256, 2)] * 2  # once for each of the two networks


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (130, 7)])
def test_small_and_flat_fields_have_no_cells(shape):
    for level in (0, 65535):
        masks = _told()[0](np.full((*shape, 4), level, np.uint16), 0.32)
        assert masks.cells.shape == shape
        assert masks.cells.max() == masks.nuclei.max() == 0


@pytest.mark.usefixtures("untyped")
def test_says_what_it_cannot_use():
    segmenter, _ = _told()
    for image in (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((0, 9, 4), np.uint8)):
        with pytest.raises(ValueError, match="a field must be"):
            segmenter(image, 0.32)
    with pytest.raises(ValueError, match="um_per_pixel must be positive"):
        segmenter(np.zeros((9, 9, 4), np.uint8), 0)
    with pytest.raises(ValueError, match="a tile must be a multiple of 128"):
        _told(tile=200)
    with pytest.raises(ValueError, match="margin 8"):
        _told(margin=8)
    nuclei, cells = UNTRAINED
    with pytest.raises(ValueError, match="one pixel size"):
        Segmenter(nuclei, dataclasses.replace(cells, um_per_pixel=0.16))


def test_the_light_network_sees_no_further_than_the_margin():
    """What lies beyond the margin of the middle changes nothing there; what lies within a quarter of it does."""
    network = LightUNet(widths=(2, 2, 2, 2))
    image = np.random.default_rng(0).random((1, 256, 256, 1), dtype=np.float32)
    variables = network.init(jax.random.key(3), image[:, :16, :16])
    apply, margin = jax.jit(network.apply), Segmenter.margin
    whole = apply(variables, image)[:, 120:136, 120:136]
    for kept, same in ((margin, True), (margin // 4, False)):
        inner = np.zeros_like(image)
        window = slice(None), slice(120 - kept, 136 + kept), slice(120 - kept, 136 + kept)
        inner[window] = image[window]
        assert np.array_equal(apply(variables, inner)[:, 120:136, 120:136], whole) == same
