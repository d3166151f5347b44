"""Fields that vary as real ones do: `ranges` drawn for every antibody, culture, staining and exposure."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from scipy import fft, ndimage

from hpax import atlas
from hpax.simulate import ranges, stains, variants
from hpax.simulate.cell import Cell, Plane, spots
from hpax.simulate.morphology import Morphology
from hpax.simulate.optics import bled
from hpax.simulate.patterns import DILUTED, MITOTIC
from hpax.simulate.proteome import Protein, Style
from hpax.simulate.streams import stream
from hpax.simulate.texture import enlarge

BRIGHT = 170.0  # grey levels of a well stained structure at level 1, as `Optics.exposure`
READ_NOISE = 0.8  # photons
CYTOSOL = atlas.LOCATIONS.index("Cytosol")
FADED = 0.4  # share of the unspecific staining that an antibody without a target shows: annotators saw none
AROUND = 6.0  # µm from the nucleus, of the cytoplasm that lies above and below it
COLOUR = (1.0, 0.9, 1.1, 1.2)  # of each channel's point spread: by its wavelength

PROTEIN, NUCLEUS, TUBULIN, ER = range(len(atlas.CHANNELS))


@dataclasses.dataclass(frozen=True)
class Look:
    """Everything that a randomised field draws once."""

    staining: ranges.Staining
    culture: ranges.Culture
    markers: ranges.Markers
    microscope: ranges.Microscope
    shown: dict[int, tuple[variants.Pattern, Style]]  # how the antibody shows a location


def look(protein: Protein, antibody: str, *keys: int | str) -> Look:
    """The look of one field: the antibody's part is the same in all of its fields, the rest belongs to `keys`."""
    binding = (protein.seed, protein.index, antibody)
    places = {*protein.locations, atlas.NEGATIVE}
    places |= {MITOTIC.get(location, location) for location in places}
    return Look(
        ranges.drawn(ranges.Staining, *binding),
        ranges.drawn(ranges.Culture, *keys),
        ranges.drawn(ranges.Markers, *keys),
        ranges.drawn(ranges.Microscope, *keys),
        {location: _shown(location, *binding) for location in sorted(places)},
    )


def _shown(location: int, *binding: int | str) -> tuple[variants.Pattern, Style]:
    kinds = variants.KINDS[location]
    kind = kinds[stream(*binding, "kind", location).integers(len(kinds))]
    shape = ranges.drawn(ranges.Shape, *binding, location)
    return kind, Style(**dataclasses.asdict(shape))


def cultured(line: Morphology, culture: ranges.Culture) -> Morphology:
    """A line's morphology in one culture."""
    return dataclasses.replace(
        line,
        density=line.density * culture.density,
        nucleus_area=line.nucleus_area * culture.nucleus,
        cell_area=line.cell_area * culture.size,
        elongation=1 + (line.elongation - 1) * culture.elongation,
        protrusions=line.protrusions * culture.protrusions,
        ruffling=line.ruffling * culture.ruffling,
        nucleoli=line.nucleoli * culture.nucleoli,
        fewest_nucleoli=1,
        nucleolus=culture.nucleolus,
        microtubules=round(line.microtubules * culture.filaments),
        bundling=min(line.bundling + culture.bundling, 1.0),
        wander=line.wander * culture.wander,
        scattered=culture.scattered,
        er_reach=line.er_reach * culture.er_reach,
    )


def stained(cell: Cell, protein: Protein, lit: Sequence[int], look: Look) -> list[Plane]:
    """The four stains of one cell that shows the locations `lit` of its protein."""
    deviations = (look.staining.expression, 0.2, look.markers.expression, 0.15)
    levels = np.exp(cell.draw("levels").normal(0, deviations))
    levels[ER] *= levels[TUBULIN]  # a thick cell is bright in both
    specific = np.zeros(cell.inside.shape)
    for location in lit:
        weight = 1.0 if location == protein.locations[0] else look.staining.second
        specific += weight * _pattern(cell, location, look)
    specific = _overlaid(cell, specific, look.microscope.section)
    unspecific = (1.0 if lit else FADED) * _unspecific(cell, look.staining)
    planes = [
        levels[PROTEIN] * specific + unspecific,
        levels[NUCLEUS] * dna(cell, look.markers),
        levels[TUBULIN] * tubulin(cell, look.markers),
        levels[ER] * reticulum(cell, look.markers),
    ]
    debris = _debris(cell, look.culture.debris)
    for channel, brightness in zip((PROTEIN, TUBULIN, ER), cell.draw("debris of").uniform(0, 1, 3), strict=True):
        planes[channel] = planes[channel] + brightness * debris
    return [np.maximum(plane, 0) for plane in planes]


def _pattern(cell: Cell, location: int, look: Look) -> Plane:
    drawn = MITOTIC.get(location, location) if cell.mitotic else location
    kind, style = look.shown[drawn]
    return style.brightness * (DILUTED if drawn == CYTOSOL != location else 1) * np.maximum(kind(cell, style), 0)


def _overlaid(cell: Cell, plane: Plane, section: float) -> Plane:
    """With the nucleus under and over cytoplasm, whose mean light it shows in part."""
    around = cell.cytoplasm & (cell.envelope < AROUND)
    return plane + section * (plane[around].mean() if around.any() else 0) * variants.nuclear(cell)


def _unspecific(cell: Cell, staining: ranges.Staining) -> Plane:
    """What an antibody stains besides its target: all of the cytosol, of the nucleus, and dots anywhere."""
    draw = cell.draw("unspecific")
    haze = staining.cytosol * variants.cytosolic(cell)
    haze = haze + staining.nucleus * variants.nuclear(cell) * (1 - 0.5 * cell.nucleolar)
    if staining.puncta:
        area = cell.inside.sum() * cell.um_per_pixel**2
        points = cell.sample(draw, cell.inside, int(min(draw.poisson(staining.puncta_density * area), 600)))
        haze = haze + staining.puncta * spots(cell, points, 0.2, draw.uniform(0.2, 1, len(points)))
    return np.exp(draw.normal(0, 0.25)) * haze * cell.inside


def _debris(cell: Cell, mean: float) -> Plane:
    """Blebs and fragments around the cell, some hollow."""
    draw = cell.draw("debris")
    count = draw.poisson(mean)
    if not count:
        return np.zeros(cell.inside.shape)
    middle = cell.sample(draw, ~cell.inside, count)
    turn = np.exp(2j * np.pi * draw.uniform(size=(12, count)))
    rings = middle + turn * draw.uniform(0.1, 1.6, count)
    return np.minimum(spots(cell, rings, 0.35, draw.uniform(0.1, 0.6, count)), 1.5)


def dna(cell: Cell, markers: ranges.Markers) -> Plane:
    """The stain of the nucleus."""
    if cell.mitotic:
        return stains.nucleus(cell)
    grain = 0.8 + markers.dna_grain * (cell.noise("chromatin", 0.35) + cell.noise("chromatin", 1.0))
    return variants.nuclear(cell) * grain * (1 - (1 - markers.dna_in_nucleoli) * cell.nucleolar)


def tubulin(cell: Cell, markers: ranges.Markers) -> Plane:
    """The stain of microtubules: the filaments, what is not in any, and the cell's cortex."""
    if cell.mitotic:
        return stains.microtubules(cell)
    network = variants.microtubule_network(cell, markers.tubulin_width)
    network = (network + markers.tubulin_pool) * cell.thickness**markers.tubulin_depth
    network = network + markers.tubulin_edge * np.exp(-cell.membrane / 0.8)
    return network * np.where(cell.envelope > 0, 1, markers.tubulin_in_nucleus) * cell.inside


def reticulum(cell: Cell, markers: ranges.Markers) -> Plane:
    """The stain of the endoplasmic reticulum: its net, resolved or not, above and below the nucleus too."""
    fade = np.exp(-np.maximum(cell.envelope, 0) / cell.morphology.er_reach) * np.minimum(cell.membrane / 0.7, 1)
    net = (1 - markers.er_contrast) * 0.6 + markers.er_contrast * stains.reticulum(cell, "er")
    net = net * cell.thickness**markers.er_depth
    edge = markers.er_edge * np.exp(-cell.membrane / 0.8)
    return (1.2 * fade * net * np.where(cell.envelope > 0, 1, markers.er_in_nucleus) + edge) * cell.inside


def exposed(
    signal: Float[np.ndarray, "h w 4"], look: Look, draw: np.random.Generator, *, um_per_pixel: float
) -> UInt8[np.ndarray, "h w 4"]:
    """Images of `signal` (0 = nothing, 1 = bright) by this field's microscope, as exported."""
    microscope = look.microscope
    planes = np.moveaxis(signal, -1, 0).copy()
    grains = {PROTEIN: look.staining.grain, TUBULIN: look.markers.tubulin_grain, ER: look.markers.er_grain}
    for channel, grain in grains.items():
        planes[channel] *= _grains(draw, signal.shape[:2], grain * np.sqrt(0.1) / um_per_pixel)
    for channel, colour in enumerate(COLOUR):
        planes[channel] = _focused(planes[channel], microscope, um_per_pixel, colour)
    strength = np.array([look.staining.strength, 1, 1, 1])
    levels = [microscope.level, microscope.dna_level, microscope.tubulin_level, microscope.er_level]
    ceilings = [microscope.ceiling, microscope.marker_ceiling, microscope.tubulin_ceiling, microscope.marker_ceiling]
    photons = [microscope.photons, microscope.dna_photons, microscope.marker_photons, microscope.marker_photons]
    seen = _mixed(planes * strength[:, None, None], microscope) * _vignette(signal.shape[:2], microscope.vignette)
    images = np.empty(signal.shape, np.uint8)
    for channel, plane in enumerate(seen):
        brightest = max(np.quantile(plane[::4, ::4], 0.998), 1e-3)
        gain = min(BRIGHT * levels[channel] / np.sqrt(strength[channel]), ceilings[channel] / brightest)
        images[..., channel] = _digitised(draw, plane, microscope, photons[channel], gain)
    return images


def _grains(draw: np.random.Generator, shape: tuple[int, int], deviation: float) -> Plane:
    """Independent factors of every pixel around 1, log-normal: few antibodies, unevenly bound."""
    spread = np.sqrt(np.log1p(deviation**2))
    return np.exp(spread * draw.standard_normal(shape) - spread**2 / 2)


def _focused(plane: Plane, microscope: ranges.Microscope, um_per_pixel: float, colour: float) -> Plane:
    sharp = ndimage.gaussian_filter(plane, microscope.psf * colour / um_per_pixel, mode="nearest", truncate=3.0)
    if not microscope.haze:
        return sharp
    return (1 - microscope.haze) * sharp + microscope.haze * spread_widely(plane, microscope.haze_reach / um_per_pixel)


def spread_widely(plane: Plane, sigma: float) -> Plane:
    """A Gaussian blur of `sigma` pixels, computed on a grid of half of that."""
    step = max(1, int(sigma / 2))
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % step), (0, -width % step)), mode="edge")
    coarse = padded.reshape(len(padded) // step, step, -1, step).mean((1, 3))
    coarse = ndimage.gaussian_filter(np.pad(coarse, 1, mode="edge"), sigma / step, mode="nearest", truncate=3.0)
    fine = enlarge(enlarge(coarse, step).T, step).T
    middle = step // 2  # of a coarse pixel
    start = step - middle
    return fine[start : start + height, start : start + width]


def _mixed(planes: Float[np.ndarray, "4 h w"], microscope: ranges.Microscope) -> Float[np.ndarray, "4 h w"]:
    """Each channel with what others leave in it."""
    mixed = np.moveaxis(bled(np.moveaxis(planes, 0, -1), microscope.bleed), -1, 0)
    mixed[PROTEIN] += microscope.leak * planes[TUBULIN]
    return mixed


def _vignette(shape: tuple[int, int], lost: float) -> Plane:
    rows, columns = (np.linspace(-1, 1, side) for side in shape)
    return 1 - lost * (rows[:, None] ** 2 + columns[None] ** 2) / 2


def _digitised(
    draw: np.random.Generator, plane: Plane, microscope: ranges.Microscope, photons: float, gain: float
) -> UInt8[np.ndarray, "h w"]:
    """Counted, read, offset, amplified and exported: noise of counting and reading, black, clipping, compression."""
    noise = draw.standard_normal(plane.shape)
    if microscope.correlated:
        noise = ndimage.gaussian_filter(noise, microscope.correlated, mode="wrap", truncate=3.0)
        noise /= noise.std()
    counted = photons * plane
    black = microscope.clipped * READ_NOISE + microscope.black * photons
    counted = counted + noise * np.sqrt(counted + READ_NOISE**2) - black
    grey = np.clip(gain / photons * counted + 255 * microscope.pedestal, 0, 255)
    grey = 255 * (grey / 255) ** microscope.gamma
    grey = compressed(grey, microscope.quality) if microscope.quality else grey
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def compressed(plane: Float[np.ndarray, "h w"], coarsest: float) -> Float[np.ndarray, "h w"]:
    """What a JPEG leaves: cosines of blocks of 8×8 pixels in steps that grow with frequency to `coarsest` grey levels.

    A side that is no multiple of 8 keeps its last pixels as they are.
    """
    height, width = (side - side % 8 for side in plane.shape)
    blocks = plane[:height, :width].reshape(height // 8, 8, width // 8, 8)
    frequency = np.hypot(np.arange(8)[:, None], np.arange(8)[None])
    steps = (1 + (coarsest - 1) * frequency / frequency.max())[:, None, :]
    waves = fft.dctn(blocks, axes=(1, 3), norm="ortho")
    waves = np.rint(waves / steps) * steps
    out = plane.copy()
    out[:height, :width] = fft.idctn(waves, axes=(1, 3), norm="ortho").reshape(height, width)
    return out
