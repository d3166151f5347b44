"""How fast an atlas of simulated feature vectors is explored: the vectors, their page, and a browser that opens it."""

import dataclasses
import math
import os
import statistics
import time
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, Integer, UInt8

from hpax import atlas, simulate
from hpax.explore import browser, colour, explorer, overlays

FIELDS, THUMBS, THUMB = 240, 8_000, 48
"""Pictures of fields and of cells in the page, and pixels of a cell's side: as `hpax label` has them, at most."""

CELLS_OF_A_FIELD, LINES = 12, 20
PART = 100_000  # rows that are drawn at once, so that memory holds little beside the features


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """Simulated features, and what was planted."""

    features: Float32[np.ndarray, "n d"]
    proteins: Int[np.ndarray, " n"]
    classes: Int[np.ndarray, " n"]


def vectors(*, cells: int, features: int, proteins: int, seed: int) -> Vectors:
    """A mixture: each of the 19 classes has a centre, each protein one near its class's, each cell noise around it.

    Standard deviations in each feature: 0.5 of classes, 0.35 of proteins, 1 of cells. A cell's protein is drawn evenly.
    """
    random = np.random.default_rng(seed)
    of_protein = np.arange(proteins) % len(atlas.LOCATIONS)
    centres = 0.5 * random.standard_normal((len(atlas.LOCATIONS), features), np.float32)
    centres = centres[of_protein] + 0.35 * random.standard_normal((proteins, features), np.float32)
    protein = random.integers(0, proteins, cells)
    drawn = np.empty((cells, features), np.float32)
    for start in range(0, cells, PART):
        own = protein[start : start + PART]
        drawn[start : start + PART] = centres[own] + random.standard_normal((len(own), features), np.float32)
    return Vectors(drawn, protein, of_protein[protein])


def agreement(
    places: Float[np.ndarray, "n k"],
    classes: Int[np.ndarray, " n"],
    reference: Integer[np.ndarray, " r"],
    *,
    seed: int,
    k: int = 15,
    asked: int = 2_000,
    voters: int = 20_000,
) -> float:
    """How often the k nearest cells of the reference say a cell's class, for cells outside of it, by the Euclidean.

    So many are asked, and vote, as are drawn at most. Where all cells are in the reference, one half asks the other.
    """
    from sklearn.neighbors import KNeighborsClassifier

    random = np.random.default_rng(seed)
    reference = random.permutation(reference)
    others = random.permutation(np.setdiff1d(np.arange(len(places)), reference))
    if not len(others):
        reference, others = np.split(reference, [len(reference) // 2])
    voting, asking = reference[:voters], others[:asked]
    model = KNeighborsClassifier(min(k, len(voting))).fit(places[voting], classes[voting])
    return float(model.score(places[asking], classes[asking]))


def view(made: Vectors, places: Float32[np.ndarray, "n k"], *, seed: int) -> explorer.View:
    """A page of the size of a real one: names and numbers as `hpax label` gives them, drawn; simulated pictures."""
    random = np.random.default_rng(seed)
    count = len(places)
    fields = made.proteins * 8 + random.integers(0, 8, count)
    field_names = np.array([f"field{number}" for number in range(int(fields.max()) + 1)])
    prob = random.uniform(0.3, 1, count)
    locations = np.array(atlas.LOCATIONS)
    second = random.integers(0, len(locations), count)
    pictures, thumbs = _pictures(min(THUMBS, count), seed)
    shown = np.flatnonzero(np.isin(fields, np.unique(fields)[:FIELDS]))
    corners = np.full((count, 24, 2), 0, np.uint16)
    corners[shown] = random.integers(0, 400, (len(shown), 24, 2))
    texts = zip(locations[made.classes], prob.tolist(), locations[second], strict=True)
    return explorer.View(
        title=f"{count:,} simulated feature vectors",
        places=places,
        ids=np.array([f"{field}_{number}" for number, field in enumerate(field_names[fields].tolist())]),
        columns={
            "label": locations[made.classes],
            "protein": np.array([f"protein{number}" for number in range(int(made.proteins.max()) + 1)])[made.proteins],
            "cell_line": np.array([f"line{number}" for number in range(LINES)])[random.integers(0, LINES, count)],
            "field": field_names[fields],
            "probability": prob,
            "variability": random.uniform(0, 2, count),
            "area_um2": random.uniform(50, 500, count),
        },
        details=np.array([f"{first} {p:.2f}, {other} {1 - p:.2f}" for first, p, other in texts]),
        order=random.uniform(size=count),
        thumbs=thumbs,
        thumb_of=np.where(np.arange(count) < len(thumbs), np.arange(count), -1),
        fields={str(field_names[number]): pictures[number % len(pictures)] for number in np.unique(fields)[:FIELDS]},
        channels=atlas.CHANNELS,
        outlines=corners,
        warnings=["simulated feature vectors: nothing here is biology, and pictures are not those of the cells"],
    )


def _pictures(thumbs: int, seed: int) -> tuple[list[bytes], UInt8[np.ndarray, "m s s 3"]]:
    """A few simulated fields as JPEG, and windows of them in place of cells."""
    random = np.random.default_rng(seed)
    jpegs, windows = [], []
    for number, protein in enumerate(simulate.proteome(proteins=4, seed=seed)):
        image = simulate.field(protein, "U-2 OS", number, seed=seed).image
        rgb = colour.picture(overlays.LIGHT * overlays.light(image, 420))
        jpegs.append(overlays.planes(image, 420))
        for row, column in random.integers(0, 420 - THUMB, (-(-thumbs // 4), 2)):
            windows.append(rgb[row : row + THUMB, column : column + THUMB])
    return jpegs, np.stack(windows)[:thumbs]


def page_speed(path: Path, *, turns: int, seconds: float) -> dict[str, float]:
    """Seconds until a page stands, pictures per second while it is panned for so many seconds, the best of the turns.

    The best, as other programs of the machine slow the others; medians stand beside, and how many programs wanted its
    processors in the minute before ("load"). The browser is a headless Chromium without a graphics card; where there is
    none, all is NaN.
    """
    names = ("opening (s)", "frames/s", "opening, median (s)", "frames/s, median", "load")
    if browser.executable() is None:
        return dict.fromkeys(names, math.nan)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    opened, frames = zip(*(_turn(path, seconds) for _ in range(turns)), strict=True)
    told = (min(opened), max(frames), statistics.median(opened), statistics.median(frames), load)
    return dict(zip(names, told, strict=True))


def _turn(path: Path, seconds: float) -> tuple[float, float]:
    """Opens a page in a fresh browser and pans it to and fro."""
    with browser.Browser() as chromium:
        start = time.perf_counter()
        tab = chromium.open(path)
        tab.wait("window.hpax && window.hpax.ready")
        opened = time.perf_counter() - start
        left, top = tab.value(
            "(() => { const b = document.getElementById('cells').getBoundingClientRect(); return [b.left, b.top]; })()"
        )
        tab.mouse("mouseMoved", left + 200, top + 100)
        tab.mouse("mousePressed", left + 200, top + 100, button="left", buttons=1, clickCount=1)
        tab.mouse("mouseMoved", left + 260, top + 130, button="left", buttons=1)
        before, start, moves = tab.value("window.hpax.raster.frames"), time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds:
            moves += 1
            shift = 10 * abs(moves % 40 - 20)
            tab.mouse("mouseMoved", left + 200 + shift, top + 100 + shift / 2, button="left", buttons=1)
        drawn = tab.value("window.hpax.raster.frames") - before
        if tab.errors:
            raise RuntimeError(f"the page {path} is wrong: {tab.errors[:3]}")
    return opened, drawn / passed
