"""What ships with hpax: names, what each network sees, and what it is for.

for entry in catalogue():
    print(entry.name, entry.kind, entry.use)
"""

import dataclasses
import json

import safetensors

from hpax.models.store import NAMES, WEIGHTS

KINDS = {
    "light-unet": "segments",
    "dpn-unet": "segments",
    "cam-net": "labels fields",
    "cell-net": "labels cells, features of cells",
    "inpainter": "features of cells",
    "vector-inpainter": "features of cells",
}
"""Architecture → what such networks do."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network that ships; `hpax.load(name)` reads it."""

    name: str
    kind: str  # of KINDS
    channels: tuple[str, ...]  # in the order in which it sees them
    um_per_pixel: float | None  # at which it learnt
    size: int | None  # pixels of the side of its images, where it is to be shown no other
    megabytes: float
    use: str  # the first paragraph of its card
    card: str = dataclasses.field(repr=False)  # Markdown: training data, licence, scores, limits


def catalogue() -> list[Entry]:
    """The networks that ship, by name; no weight is read."""
    return [_entry(name) for name in NAMES]


def _entry(name: str) -> Entry:
    path = WEIGHTS / f"{name}.safetensors"
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    card = metadata["card"]
    paragraphs = [part.strip() for part in card.split("\n\n") if part.strip() and not part.startswith("#")]
    return Entry(
        name=name,
        kind=KINDS[metadata["architecture"]],
        channels=tuple(json.loads(metadata["channels"])),
        um_per_pixel=json.loads(metadata["um_per_pixel"]),
        size=json.loads(metadata.get("size", "null")),
        megabytes=round(path.stat().st_size / 1e6, 2),
        use=" ".join(paragraphs[0].split()) if paragraphs else "",
        card=card,
    )
