"""Nuclei and cells in whole fields: trains a segmentation network, and holds it against methods that learn nothing.

The nuclei learn from real images of many microscopes with hand-drawn truth (Data Science Bowl 2018) and from simulated
fields, and are asked about real images that they never saw. The cells learn from simulated fields, and are asked about
those of other proteins, and how far they agree with the masks that come with real fields, if there are any.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optax
from jaxtyping import Integer, UInt, UInt8
from PIL import Image
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.segmentation import watershed as flood

from hpax import atlas, data, launch, models, train
from hpax.data import augment
from hpax.data.patches import CELL, NUCLEUS, UM_PER_PIXEL, PatchBatches, View
from hpax.explore import colour, grids, overlays
from hpax.formats import fields, label_images
from hpax.images import nearest, percentile_normalise
from hpax.metrics import segmentation
from hpax.models.segmenter import Segmenter
from hpax.segment import classical, watershed
from hpax.segment.masks import remove_small
from hpax.tasks.segment import Segmentation
from hpax.types import Batch

VALIDATION_BATCH = 8  # patches
VALIDATION_PATCHES = 32
SHOWN = 6  # fields in a picture
SIDE = 384  # pixels of such a field
TUNING = 16  # training images on which the thresholds are tuned

USE = {
    "nuclei": "Nuclei in a nuclear stain of human cells (0.32 µm per pixel, scaled to that if the size is known).",
    "cells": "Cells in microtubules, ER and nuclei of human cells, together with segment-nuclei (0.32 µm per pixel).",
}
LIMITS = (
    "The size of a pixel must be known within a factor of about 1.5. The real nuclei learned from come from other "
    "microscopes than the HPA's, with pixel sizes derived from their drawn truth; cells were learned from simulated "
    "fields alone."
)


@dataclasses.dataclass(frozen=True)
class Config:
    """What to find, what to learn it from, and how."""

    target: Literal["nuclei", "cells"] = "nuclei"
    folder: Path | None = None  # nuclei: the real images, as hpax.data.dsb2018_nuclei reads them
    fields: Path | None = None  # cells: real fields, with cell_masks/{id}.png for some of them, to agree with
    nuclei: str = "segment-nuclei"  # cells: the network of the nuclei, by its name or file
    data_dir: Path = Path("runs/data")  # where shards are built, once
    proteins: int = 96  # simulated
    cell_lines: int = 2  # simulated: of each protein, with a field in each
    size: int = 512  # simulated: pixels of a field's side
    simulated: float = 0.3  # nuclei: share of the patches

    model: Literal["light", "dpn"] = "light"
    widths: tuple[int, ...] = ()  # channels of each level; none: the model's own
    patch: int = 192  # pixels of a side, at 0.32 µm
    batch_size: int = 8  # patches, on all devices together
    steps: int = 700
    learning_rate: float = 3e-3  # at its highest, after a twentieth of the steps; it ends at 0
    momentum: float = 0.95  # of BatchNorm's averages
    seed: int = 0  # of the simulated atlas, the first parameters, and the patches

    def __post_init__(self):
        if not 0 < self.simulated < 1:
            raise ValueError(f"simulated must be a share between 0 and 1, got {self.simulated}")


SWEEPS = {"simulated": launch.grid(simulated=[0.05, 0.3, 0.6]), "model": launch.grid(model=["light", "dpn"])}


def simulated(config: Config, split: str) -> data.Source:
    """Simulated fields, split by protein; built if they are not there."""
    names = ("proteins", "cell_lines", "size", "seed")
    atlas_of = {"fields": 1, "balanced": True, **{name: getattr(config, name) for name in names}}
    return data.build("simulated_fields", config.data_dir, split=split, progress=True, **atlas_of)


def drawn(config: Config, split: str) -> data.Source:
    """Real images with hand-drawn nuclei, split by image."""
    return data.build("dsb2018_nuclei", config.data_dir, split=split, source=config.folder, progress=True)


def views(config: Config, split: str) -> list[View]:
    """What the network learns from, or is validated on."""
    fields_of = simulated(config, split)
    if config.target == "cells":
        return [View(fields_of, "cells", CELL)]
    real = View(drawn(config, split), "nuclei", (0,), 1 - config.simulated)
    return [real, View(fields_of, "nuclei", NUCLEUS, config.simulated)]


def network(config: Config) -> tuple[str, dict[str, Any]]:
    """The architecture by its name in `hpax.models`, and its options."""
    widths = {"widths": config.widths} if config.widths else {}
    return f"{config.model}-unet", {"momentum": config.momentum, **widths}


def build(config: Config) -> train.Run:
    """The training run: what, on what, for how long."""
    batches = functools.partial(PatchBatches, size=config.patch, seed=config.seed)
    held = batches(views(config, "validation"), VALIDATION_BATCH, augmentation=augment.NONE, patches=VALIDATION_PATCHES)
    architecture, options = network(config)
    task = Segmentation(models.ARCHITECTURES[architecture](axis_name=train.AXIS, **options))
    rise = max(1, config.steps // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, rise, max(config.steps, rise + 1))
    return train.Run(
        task=task,
        batches=batches(views(config, "train"), config.batch_size, cached=256),
        optimizer=optax.adamw(rate, weight_decay=1e-4),
        steps=config.steps,
        seed=config.seed,
        validation=held.epoch,
        pictures=lambda state: {"maps": patches(task, state, held[0])},
    )


def patches(task: Segmentation, state: train.State, batch: Batch) -> UInt8[np.ndarray, "h w 3"]:
    """Patches of a batch: what the network sees, its maps, and the true ones; objects blue, borders red."""
    predicted = np.asarray(task.predict(state.params, state.model_state, batch["image"]))
    stains = ("grey",) if batch["image"].shape[-1] == 1 else ("red", "yellow", "blue")
    rows = {
        "image": colour.picture(batch["image"][:SHOWN], colours=stains),
        "predicted": colour.picture(predicted[:SHOWN], colours=("red", "blue")),
        "true": colour.picture(batch["maps"][:SHOWN], colours=("red", "blue")),
    }
    return grids.grid([list(row) for row in rows.values()], names=list(rows))


@dataclasses.dataclass(frozen=True)
class Truth:
    """A field that methods are asked about, and its true masks."""

    id: str
    image: UInt[np.ndarray, "h w 4"]
    mask: Integer[np.ndarray, "h w"]
    um_per_pixel: float


Method = Callable[[Truth], Integer[np.ndarray, "h w"]]


def truths(source: data.Source, target: str) -> list[Truth]:
    """The fields of a source in order; what shows nuclei alone becomes a field whose other channels are blank."""
    found = []
    for example in source.__getitems__(range(len(source))):
        image = example["image"]
        if image.shape[-1] == 1:
            image = np.where(np.arange(len(atlas.CHANNELS)) == NUCLEUS, image, 0).astype(image.dtype)
        found.append(Truth(example["id"], image, example[target], float(example["um_per_pixel"])))
    return found


def scores(method: Method, asked: Iterable[Truth]) -> segmentation.Scores:
    """How well a method finds the true masks of all fields together."""
    return segmentation.score(segmentation.merge(segmentation.count(method(one), one.mask) for one in asked))


@dataclasses.dataclass(frozen=True)
class Otsu:
    """Nuclei by Otsu's threshold, parted by a watershed on the distance from the background; nothing is learnt."""

    blur: float = 0.6  # µm, standard deviation, before the threshold
    smooth: float = 0.6  # µm, standard deviation, of the distances
    apart: float = 3.0  # µm, the least distance between two centres
    area: float = 16.0  # µm²; smaller objects are left out

    def __call__(self, field: Truth) -> Integer[np.ndarray, "h w"]:
        """The index mask of the nuclei."""
        pixel, stain = field.um_per_pixel, field.image[..., NUCLEUS[0]].astype(np.float32)
        if stain.min() == stain.max():
            return np.zeros(stain.shape, int)
        stain = ndimage.gaussian_filter(stain, self.blur / pixel)
        mask = ndimage.binary_fill_holes(stain > threshold_otsu(stain))
        distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), self.smooth / pixel)
        centres = peak_local_max(distance, min_distance=max(1, round(self.apart / pixel)), labels=label(mask))
        seeds = np.zeros(mask.shape, int)
        seeds[tuple(centres.T)] = np.arange(1, len(centres) + 1)
        return remove_small(flood(-distance, seeds, mask=mask), self.area / pixel**2)


def tuned(asked: Sequence[Truth]) -> Otsu:
    """The thresholds that find most of the true nuclei in images that networks learn from."""
    grid = launch.grid(blur=[0.3, 0.6, 1.2], smooth=[0.3, 0.6, 1.0], apart=[2.5, 3.5, 5.0], area=[4.0, 16.0])
    return max((Otsu(**arm) for arm in grid), key=lambda method: scores(method, asked).f1)


def nuclei_by(trained: models.Network) -> Method:
    """The nuclei that a network finds, without cells around them."""
    segmenter = Segmenter(trained, trained)

    def find(field: Truth) -> Integer[np.ndarray, "h w"]:
        maps, _ = segmenter.maps(field.image, field.um_per_pixel)
        return nearest(watershed.nuclei_from_maps(maps, trained.um_per_pixel), field.mask.shape)

    return find


def cells_by(nuclei: models.Network, cells: models.Network) -> Method:
    """The cells that two networks find."""
    segmenter = Segmenter(nuclei, cells)
    return lambda field: segmenter(field.image, field.um_per_pixel).cells


def grown(field: Truth) -> Integer[np.ndarray, "h w"]:
    """The cells that are found without a network."""
    return classical.segment(field.image, field.um_per_pixel).cells


def real_fields(folder: Path) -> Iterator[Truth]:
    """The fields of a folder that have a mask of their cells in cell_masks/{id}.png."""
    for files in fields.find_fields(folder):
        path = folder / "cell_masks" / f"{files.id}.png"
        if path.exists():
            image, mask = fields.read_field(files), label_images.read(path)
            yield Truth(files.id, image, nearest(mask, image.shape[:2]), atlas.um_per_pixel(image.shape[1]))


@dataclasses.dataclass(frozen=True)
class Study:
    """Methods, and what each was asked about: (method, fields) by names that say what is real."""

    asked: Mapping[str, Sequence[Truth]]
    methods: Mapping[str, Method]
    scores: Mapping[tuple[str, str], segmentation.Scores]  # by method and fields


def compare(asked: Mapping[str, Sequence[Truth]], methods: Mapping[str, Method]) -> Study:
    """Every method on all fields."""
    found = {(m, f): scores(method, asked[f]) for (m, method), f in itertools.product(methods.items(), asked)}
    return Study(asked, methods, found)


def study(config: Config, trained: models.Network) -> Study:
    """The trained network and its rivals, on fields that it never saw."""
    held = "validation+test"
    if config.target == "nuclei":
        asked = {"real": truths(drawn(config, held), "nuclei")}
        thresholds = tuned(truths(drawn(config, "train"), "nuclei")[:TUNING])
        return compare(asked, {"network": nuclei_by(trained), "otsu": thresholds})
    asked = {"simulated": truths(simulated(config, held), "cells")}
    asked |= {"real agreement": list(real_fields(config.fields))} if config.fields else {}
    return compare(asked, {"network": cells_by(models.load(config.nuclei), trained), "grown": grown})


def picture(done: Study) -> UInt8[np.ndarray, "h w 3"]:
    """The first fields, the true outlines, and those of each method."""
    shown = [one for asked in done.asked.values() for one in asked[:SHOWN]]
    rows = {"truth": [outlined(one, one.mask) for one in shown]}
    rows |= {name: [outlined(one, method(one)) for one in shown] for name, method in done.methods.items()}
    return grids.grid(list(rows.values()), names=list(rows), titles=[one.id for one in shown])


def outlined(field: Truth, mask: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The markers of a field with the outlines of a mask in white, in a square of SIDE pixels."""
    light = np.stack(
        [0.75 * percentile_normalise(channel) for channel in np.moveaxis(field.image[..., CELL], -1, 0)], axis=-1
    )
    painted = colour.picture(light, colours=("red", "yellow", "blue"))
    height, width = (round(SIDE * side / max(mask.shape)) for side in mask.shape)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[:height, :width] = Image.fromarray(painted).resize((width, height), Image.Resampling.BILINEAR)
    square[:height, :width][overlays.outlines(nearest(mask, (height, width)))] = 255
    return square


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, keeps the network with its card, and scores it; leaves segment-<target>.safetensors and pictures."""
    plan = build(config)
    state = train.fit(plan, workdir, evaluate_every=max(1, config.steps // 4), save_every=100)
    path = workdir / f"segment-{config.target}.safetensors"
    trained = keep(config, state, path, "")
    done = study(config, trained)
    result = launch.Result(
        metrics=metrics(done),
        counts=counts(config, done),
        data="real" if config.target == "nuclei" else "simulated",
        headline=[name for name in metrics(done) if name.endswith(("f1", "iou", "ap"))],
    )
    keep(config, state, path, describe(config, result))
    (workdir / "outlines.png").write_bytes(colour.png(picture(done)))
    return result


def metrics(done: Study) -> dict[str, float]:
    """ "network real f1" and the like: method, fields, number; objects match at an IoU above 0.5."""
    return {
        f"{method} {asked} {name}": value
        for (method, asked), found in done.scores.items()
        for name, value in {
            "f1": found.f1,
            "matched iou": found.matched_iou,
            "mean ap": found.mean_ap,
            "mean image ap": found.mean_image_ap,
        }.items()
    }


def counts(config: Config, done: Study) -> dict[str, int]:
    """What the numbers rest on."""
    learnt = {"cells": ["simulated"], "nuclei": ["real", "simulated"]}[config.target]
    fields_of = zip(learnt, views(config, "train"), strict=True)
    held = {asked: found for (_, asked), found in done.scores.items()}
    return {
        **{f"training {kind} fields": len(view.source) for kind, view in fields_of},
        **{f"held-out {asked} fields": found.images for asked, found in held.items()},
        **{f"held-out {asked} objects": found.true for asked, found in held.items()},
    }


def keep(config: Config, state: train.State, path: Path, card: str) -> models.Network:
    """Saves a network and its card, and opens the file as its users will."""
    architecture, options = network(config)
    seen = [atlas.CHANNELS[channel] for channel in (CELL if config.target == "cells" else NUCLEUS)]
    told = {"channels": seen, "um_per_pixel": UM_PER_PIXEL, "card": card}
    return models.load(models.save(path, architecture=architecture, options=options, state=state, **told))


def describe(config: Config, result: launch.Result) -> str:
    """The model card."""
    record = {"steps": config.steps, "seed": config.seed, "metrics": result.metrics, "counts": result.counts}
    return models.card(f"segment-{config.target}", use=USE[config.target], limits=LIMITS, record=record)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
