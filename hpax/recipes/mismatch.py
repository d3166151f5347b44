"""Mismatched pairs of simulated cells, and what the source's protein would look like in the target.

pairs = mismatched(config, cells, seed=0)
painted = paint(encoder, cells, pairs)
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from hpax import atlas
from hpax.data import builder
from hpax.data.simulated_cells.simulated_cells import Config, SimulatedCells
from hpax.models.encoder import Encoder
from hpax.recipes.cells import BATCH, Cells
from hpax.recipes.data_configs import CellAtlas
from hpax.simulate.proteome import Protein

SPINDLE = atlas.LOCATIONS.index("Mitotic spindle")


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Source and target of proteins in different places, as they are seen, and two truths without bleed-through."""

    source: UInt8[np.ndarray, "n s s 4"]
    target: UInt8[np.ndarray, "n s s 4"]
    source_in_target: UInt8[np.ndarray, "n s s"]  # the protein, had the target's been where the source's is
    own: UInt8[np.ndarray, "n s s"]  # the target's protein
    proteins: Shaped[np.ndarray, " n"]  # str, of the target


def mismatched(config: CellAtlas, cells: Cells, *, donors: int = 3, seed: int) -> Pairs:
    """Pairs of cells of proteins that training held out: each target protein with `donors` others, elsewhere.

    A target's cells are simulated anew with the donor's locations: shape, markers and noise are the same, as they are
    drawn by the target's name. Mitotic spindles, which change what cells there are, and Negative, which shows nothing,
    are left out.

    Raises:
        ValueError: fewer than two locations are held out, or the atlas is randomised, whose stains are not repeated.
    """
    if config.realism != "plain":
        raise ValueError("mismatched pairs need plain fields, whose cells can be simulated again; got randomised")
    seen, clean = _options(config, seed), _options(dataclasses.replace(config, bleed_through=0.0), seed)
    held = set(cells.held.table["protein"].astype(str))
    groups = [each for each in SimulatedCells.pictures(seen, None) if each.protein in held]
    groups = [each for each in groups if not {SPINDLE, atlas.NEGATIVE} & set(each.content[0].locations)]
    if len({each.content[0].locations for each in groups}) < 2:
        raise ValueError("two locations at least must be held out, there are fewer; simulate more proteins")
    rng = np.random.default_rng((seed, 5))
    shown = [_crops(seen, each) for each in groups]  # a protein has a group in each cell line
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in ("source", "target", "source_in_target", "own", "proteins")
    }
    for group, target in zip(groups, shown, strict=True):
        own = _crops(clean, group)
        places = range(len(groups))
        others = [place for place in places if groups[place].content[0].locations != group.content[0].locations]
        for donor in rng.choice(len(others), min(donors, len(others)), replace=False):
            would = _crops(clean, _with_locations(group, groups[others[donor]].content[0]))
            shared = sorted(target.keys() & own.keys() & would.keys())
            sources = list(shown[others[donor]].values())
            for name in shared:
                parts["source"].append(sources[rng.integers(len(sources))])
                parts["target"].append(target[name])
                parts["source_in_target"].append(would[name][..., 0])
                parts["own"].append(own[name][..., 0])
                parts["proteins"].append(np.array(group.protein))
    stacked = {name: np.stack(values) for name, values in parts.items()}
    return Pairs(**stacked)


def paint(encoder: Encoder, cells: Cells, pairs: Pairs) -> Float32[np.ndarray, "n s s"]:
    """What the network paints for each pair."""
    painted = []
    for part in _parts(len(pairs.source)):
        source, target = cells.prepare(pairs.source[part]), cells.prepare(pairs.target[part])
        painted.append(np.asarray(encoder.paint(source, target[..., atlas.STRUCTURE]))[..., 0])
    return np.concatenate(painted)


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, BATCH):
        yield slice(start, start + BATCH)


def _options(config: CellAtlas, seed: int) -> Config:
    return Config(balanced=True, multilocalised=0.0, varying=0.0, seed=seed, **dataclasses.asdict(config))


def _with_locations(group: builder.FieldGroup, donor: Protein) -> builder.FieldGroup:
    protein, *drawn = group.content
    return builder.FieldGroup(protein.name, (dataclasses.replace(protein, locations=donor.locations), *drawn))


def _crops(config: Config, group: builder.FieldGroup) -> dict[str, np.ndarray]:
    """Cell → its crop."""
    return {str(name): example["image"] for name, example in SimulatedCells.examples(config, group)}
