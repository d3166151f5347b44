"""Nuclei and cells in whole fields: trains a segmentation network, and holds it against methods that learn nothing.

The nuclei learn from real images of many microscopes with hand-drawn truth (Data Science Bowl 2018) and from simulated
fields, and are asked about real images that they never saw. The cells learn from simulated fields, and are asked about
those of other proteins, and how far they agree with the masks that come with real fields, if there are any.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hpax import launch
from hpax.recipes import configs, data_configs


@dataclasses.dataclass(frozen=True)
class Config:
    """What to find, what to learn it from, and how."""

    data: Annotated[data_configs.SegmentData, tyro.conf.arg(name="")] = data_configs.SegmentData()
    fields: Path | None = None  # cells: real fields, with cell_masks/{id}.png for some of them, to agree with
    nuclei: str = "segment-nuclei"  # cells: the network of the nuclei, by its name or file
    recipe: configs.Segment = configs.Segment()
    seed: int = 0  # of the simulated atlas, the first parameters, and the patches


SWEEPS = {
    "simulated": launch.grid(simulated=[0.05, 0.3, 0.6]),
    "model": launch.grid({"recipe.network.model": ["light", "dpn"]}),
}


def run(config: Config, workdir: Path) -> launch.Result:
    """Trains, keeps the network with its card, and scores it; leaves segment-<target>.safetensors and pictures."""
    from hpax.explore import colour
    from hpax.recipes import segment, segment_study

    with launch.opening():
        fields = segment.open_fields(config.data, config.seed)
    trained = segment.train_model(config.recipe, fields, workdir, seed=config.seed)
    done = segment_study.study(fields, trained, real=config.fields, nuclei=config.nuclei)
    numbers = segment_study.metrics(done)
    result = launch.Result(
        metrics=numbers,
        counts=segment_study.counts(fields, done),
        data="real" if fields.target == "nuclei" else "simulated",
        headline=[name for name in numbers if name.endswith(("f1", "iou", "ap"))],
    )
    record = {"steps": config.recipe.optimizer.steps, "seed": config.seed, "metrics": numbers, "counts": result.counts}
    segment.save(config.recipe, fields.target, trained, workdir, record)
    (workdir / "outlines.png").write_bytes(colour.png(segment_study.picture(done)))
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    return launch.main(Config, run, sweeps=SWEEPS, argv=argv)


if __name__ == "__main__":
    raise SystemExit(main())
