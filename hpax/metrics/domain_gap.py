"""How far two collections of fields are apart, such as simulated and real ones.

    from hpax.metrics import domain_gap
    gap = domain_gap.compare(simulated, real)
    print(gap.auc, gap.telling[:3])

Distances are of grey levels, of power spectra and of correlations between channels, per channel; the area under the
curve is of a forest that tells patches of the two apart by handcrafted features, cross-validated with every field's
patches on one side: 0.5 if it cannot, 1 if it always can. All fields must have one pixel size.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int, UInt8
from scipy import ndimage, stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

SIDE = 128  # pixels of a patch
BANDS = 6  # of the spectrum, from two cycles per patch to one per two pixels, evenly in the logarithm
QUANTILES = (10, 50, 90, 99)

Field = UInt8[np.ndarray, "h w c"]
Patches = UInt8[np.ndarray, "n s s c"]


@dataclasses.dataclass(frozen=True)
class Gap:
    """What `compare` finds; c channels."""

    levels: Float64[np.ndarray, " c"]  # earth mover's distance of grey levels, as a share of full scale
    spectra: Float64[np.ndarray, " c"]  # mean absolute difference of the mean log share of power, over bands
    correlations: float  # mean absolute difference of the mean correlation, over pairs of channels
    auc: float
    telling: tuple[tuple[str, float], ...]  # features by how well each alone tells, best first: (name, AUC over 0.5)
    patches: tuple[int, int]  # of each side
    fields: tuple[int, int]


def compare(
    first: Sequence[Field],
    second: Sequence[Field],
    *,
    channels: Sequence[str],
    side: int = SIDE,
    folds: int = 5,
    seed: int = 0,
) -> Gap:
    """The distances between two collections of fields, each cut into whole patches of `side` pixels.

    Raises:
        ValueError: a collection has fewer fields than folds, or fields are smaller than a patch.
    """
    if min(len(first), len(second)) < folds:
        raise ValueError(f"each side needs {folds} fields or more, got {len(first)} and {len(second)}; lower folds")
    cut = [[patches(field, side) for field in fields] for fields in (first, second)]
    images = [np.concatenate(lots) for lots in cut]
    described = [features(lot) for lot in images]
    group = np.repeat(np.arange(len(first) + len(second)), [len(lot) for lot in itertools.chain(*cut)])
    label = np.repeat([0, 1], [len(lot) for lot in images])
    names = feature_names(channels)
    everything = np.concatenate(described)
    power = [_of(found, names, "power") for found in described]
    shared = [_of(found, names, "with") for found in described]
    return Gap(
        levels=_levels(*images),
        spectra=np.abs(power[0] - power[1]).reshape(-1, BANDS).mean(1),
        correlations=float(np.abs(shared[0] - shared[1]).mean()),
        auc=separability(everything, label, group, folds=folds, seed=seed),
        telling=_telling(everything, label, names),
        patches=(len(images[0]), len(images[1])),
        fields=(len(first), len(second)),
    )


def patches(field: Field, side: int = SIDE) -> Patches:
    """A field cut into whole squares of `side` pixels from its top left corner."""
    rows, columns = (extent // side for extent in field.shape[:2])
    if not rows * columns:
        raise ValueError(f"a field must be {side} pixels wide and high or more, got {field.shape[:2]}")
    whole = field[: rows * side, : columns * side]
    return whole.reshape(rows, side, columns, side, -1).swapaxes(1, 2).reshape(-1, side, side, field.shape[2])


def feature_names(channels: Sequence[str]) -> tuple[str, ...]:
    """The name of each of `features`."""
    own = ["mean", "deviation", *(f"{q}% quantile" for q in QUANTILES), "black", "clipped"]
    own += ["noise", "peakedness", *(f"power {band}" for band in range(BANDS))]
    single = [f"{channel}: {name}" for channel in channels for name in own]
    return (*single, *(f"{a} with {b}" for a, b in itertools.combinations(channels, 2)))


def features(images: Patches) -> Float64[np.ndarray, "n k"]:
    """Handcrafted features of patches: levels, noise and spectrum of each channel, correlations of channels."""
    return np.stack([_features(image) for image in images])


def separability(
    x: Float64[np.ndarray, "n k"],
    label: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    *,
    folds: int = 5,
    seed: int = 0,
) -> float:
    """The area under the curve of a forest that tells label 1 from 0, asked about groups that it did not learn from."""
    said = np.zeros(len(label))
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for learnt, asked in split.split(x, label, group):
        forest = RandomForestClassifier(200, min_samples_leaf=2, class_weight="balanced", random_state=seed)
        said[asked] = forest.fit(x[learnt], label[learnt]).predict_proba(x[asked])[:, 1]
    return float(roc_auc_score(label, said))


def _features(image: UInt8[np.ndarray, "s s c"]) -> Float64[np.ndarray, " k"]:
    found: list[float] = []
    for plane in np.moveaxis(image, -1, 0):
        found += _of_plane(plane)
    flat = image.reshape(-1, image.shape[2]).astype(float)
    flat = flat - flat.mean(0)
    shared = flat.T @ flat
    for a, b in itertools.combinations(range(len(shared)), 2):
        both = np.sqrt(shared[a, a] * shared[b, b])
        found.append(float(shared[a, b] / both) if both > 0 else 0.0)
    return np.array(found)


def _of_plane(plane: UInt8[np.ndarray, "s s"]) -> list[float]:
    values = plane.astype(float)
    deviation = values.std()
    fine = values - ndimage.uniform_filter(values, 3)
    levels = [values.mean(), deviation, *np.percentile(values, QUANTILES), (plane == 0).mean(), (plane == 255).mean()]
    noise = fine.std() / max(deviation, 1e-6)
    square = np.square(values - values.mean())
    peaked = np.square(square).mean() / max(deviation, 1e-6) ** 4
    return [*(float(level) for level in levels), float(noise), float(np.log1p(peaked)), *_power(values)]


def _power(values: Float[np.ndarray, "s s"]) -> list[float]:
    """The logarithm of each band's share of the power of what is not the mean; 0 of a flat plane."""
    taper = np.outer(np.hanning(len(values)), np.hanning(len(values)))
    power = np.abs(np.fft.rfft2((values - values.mean()) * taper)) ** 2
    bands = np.bincount(_band(len(values)).ravel(), power.ravel(), BANDS + 1)[:BANDS]
    return [0.0] * BANDS if bands.sum() <= 0 else np.log(bands / bands.sum() + 1e-6).tolist()


@functools.cache
def _band(side: int) -> Int[np.ndarray, "s k"]:
    """The band of every frequency; `BANDS` for those under the first or over the last."""
    cycles = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    edges = np.geomspace(2, side / 2, BANDS + 1)
    band = np.searchsorted(edges, cycles, side="right") - 1
    return np.where((band < 0) | (band >= BANDS), BANDS, band)


def _levels(first: Patches, second: Patches) -> Float64[np.ndarray, " c"]:
    found = []
    for a, b in zip(np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0), strict=True):
        counts = [np.bincount(plane.ravel(), minlength=256) for plane in (a, b)]
        found.append(stats.wasserstein_distance(np.arange(256), np.arange(256), *counts) / 255)
    return np.array(found)


def _of(described: Float64[np.ndarray, "n k"], names: Sequence[str], kind: str) -> Float64[np.ndarray, " j"]:
    """The mean of the features whose name holds `kind`."""
    return described[:, [number for number, name in enumerate(names) if f" {kind} " in name]].mean(0)


def _telling(
    x: Float64[np.ndarray, "n k"], label: Int[np.ndarray, " n"], names: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    alone = []
    for name, column in zip(names, x.T, strict=True):
        area = float(roc_auc_score(label, column))
        alone.append((name, max(area, 1 - area)))
    return tuple(sorted(alone, key=lambda pair: -pair[1]))
