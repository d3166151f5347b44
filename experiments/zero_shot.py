"""Labels real fields by networks that never saw one, and says what that is worth.

Finds the cells of every field of a folder with a table of labels, asks trained networks about them, and compares: the
mean over a field's cells, of the cell-level network alone or together with the image-level one, and what the latter
says of whole fields. Leaves classes.csv with the average precision of every class, probabilities.npz, and index.html
with the most confident mistakes and their pictures. Masks are kept in WORKDIR/masks for the next time.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from hpax import launch
from hpax.atlas import UmPerPixel


@dataclasses.dataclass(frozen=True)
class Config:
    """Which fields, by which networks."""

    fields: Path = Path("fields")  # in the layouts of Kaggle or proteinatlas.org, with a table of labels
    models: tuple[Path, ...] = (
        Path("label-fields"),
        Path("label-cells"),
    )  # names, or .safetensors, of both kinds or of one
    annotations: str = ""  # the labels' table in the folder; "": the only one there
    segmenter: Literal["networks", "classical"] = "networks"
    um_per_pixel: UmPerPixel = 0.0  # µm; 0: as the files state, or by the width; auto: by the nuclei
    camera_bits: int = 0  # of channels with more than 8 bits, such as 12; 0: the fewest that hold all pixels
    tta: Annotated[int, tyro.conf.arg(aliases=("--turns",))] = 8  # views of each field: 1, 2, 4 or 8 flips and turns
    cell_tta: int | None = None  # views of each cell; None: as many, at most 4 where a network looks at the field, too
    adapt: float = 0.0  # share of the networks' batch averages taken from these fields, without their labels: 0 to 1
    least: int = 4  # classes with fewer fields are left out of the means
    shown: int = 12  # mistakes with pictures
    seed: int = 0  # of the resamples

    def __post_init__(self) -> None:
        if not 0 <= self.adapt <= 1:
            raise ValueError(f"adapt must be a share from 0 to 1, got {self.adapt}")


ADAPTED_TO = 256
"""Fields that averages are taken from, at most, evenly spread: they are held in memory together."""

SWEEPS: dict[str, tuple[dict, ...]] = {
    "tta": launch.grid(tta=[1, 2, 4, 8]),
    "cell_tta": launch.grid(cell_tta=[1, 2, 4, 8]),
    "adapt": launch.grid(adapt=[0.0, 0.5, 1.0]),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Labels and scores; leaves tables and a page."""
    import numpy as np

    from hpax import models
    from hpax.commands import zero_shot_study as study
    from hpax.explore import page
    from hpax.formats.fields import spread
    from hpax.metrics import zero_shot

    with launch.opening():
        folder = study.LabelledFolder.of(
            config.fields,
            workdir,
            annotations=config.annotations,
            um_per_pixel=config.um_per_pixel,
            camera_bits=config.camera_bits,
            segmenter=config.segmenter,
        )
        labeller = models.Ensemble.load(config.models, tta=config.tta, cell_tta=config.cell_tta)
        if config.adapt:
            fields = [folder.read(field) for field in spread(folder.known, ADAPTED_TO)]
            labeller = models.adapted(labeller, fields, share=config.adapt)
    told = study.predict(labeller, folder.known, folder.read)
    score = functools.partial(
        zero_shot.score, told.labels, ids=told.ids, groups=told.groups, least=config.least, seed=config.seed
    )
    reports = {head: score(prob) for head, prob in told.heads.items()}
    np.savez_compressed(
        workdir / "probabilities.npz",
        ids=np.array(told.ids),
        labels=told.labels,
        heads=np.array(list(told.heads)),
        probabilities=np.stack(list(told.heads.values())),
    )
    study.write_classes(workdir / "classes.csv", reports)
    pictures = study.mistakes(folder.known, reports, folder.read, most=config.shown)
    told_of = study.overview(reports, pictures, models=config.models, least=config.least, kind=folder.kind)
    page.write(workdir / "index.html", told_of)
    return launch.Result(
        metrics=zero_shot.named(reports),
        counts={**study.counts(told, reports), **folder.left_out},
        data=folder.kind,
        headline=[f"field mAP, {head}" for head in reports],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
