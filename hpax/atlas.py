"""The biology: channels and their roles, the 19 classes, the terms of the Human Protein Atlas, pixel sizes.

Sources: the class list and the 2018 ids are those of the two Kaggle competitions (Ouyang et al. 2019; Le et al.
2022); the location terms are those of the HPA subcellular section.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

CHANNELS = ("protein", "nucleus", "microtubules", "er")
"""The order of channels everywhere in hpax: the protein first, then the structural markers."""

COLOURS = {"protein": "green", "nucleus": "blue", "microtubules": "red", "er": "yellow"}
"""The colour in which the HPA shows (and names the files of) each channel."""

PROTEIN = slice(0, 1)
"""Selects the protein of (..., c) arrays and keeps the axis. Holds for two-channel yeast crops too."""

STRUCTURE = slice(1, None)
"""Selects every structural marker of (..., c) arrays."""

LOCATIONS = (
    "Nucleoplasm",
    "Nuclear membrane",
    "Nucleoli",
    "Nucleoli fibrillar center",
    "Nuclear speckles",
    "Nuclear bodies",
    "Endoplasmic reticulum",
    "Golgi apparatus",
    "Intermediate filaments",
    "Actin filaments",
    "Microtubules",
    "Mitotic spindle",
    "Centrosome",
    "Plasma membrane",
    "Mitochondria",
    "Aggresome",
    "Cytosol",
    "Vesicles and punctate cytosolic patterns",
    "Negative",
)
"""The 19 classes in competition order. Negative excludes every other class."""

NEGATIVE = LOCATIONS.index("Negative")

TERMS: dict[str, int | None] = {
    **{name.lower(): index for index, name in enumerate(LOCATIONS)},
    "no staining": 18,
    "nucleoli rim": 2,
    "nucleolus": 2,
    "nucleoli fibrillar centre": 3,
    "focal adhesion sites": 9,
    "microtubule ends": 10,
    "centriolar satellite": 12,
    "microtubule organizing center": 12,
    "cell junctions": 13,
    "aggresomes": 15,
    "vesicles": 17,
    "peroxisomes": 17,
    "endosomes": 17,
    "lysosomes": 17,
    "lipid droplets": 17,
    "cytoplasmic bodies": 17,
    "rods & rings": None,
    "cleavage furrow": None,
    "cytokinetic bridge": None,
    "midbody": None,
    "midbody ring": None,
    "mitotic chromosome": None,
    "kinetochore": None,
    "primary cilium": None,
    "primary cilium tip": None,
    "primary cilium transition zone": None,
    "predicted to be secreted": None,
}
"""HPA term in lower case → class, or None where the 19 classes have no counterpart."""

KAGGLE_2018: dict[int, int | None] = {
    **{index: index for index in range(8)},
    **dict.fromkeys((8, 9, 10, 20, 26), 17),
    11: 8,
    **dict.fromkeys((12, 13), 9),
    **dict.fromkeys((14, 15), 10),
    16: None,  # cytokinetic bridge
    17: 11,
    **dict.fromkeys((18, 19), 12),
    **dict.fromkeys((21, 22), 13),
    23: 14,
    24: 15,
    25: 16,
    27: None,  # rods & rings
}
"""Class id of the 2018 competition → class, or None where the 19 classes have no counterpart."""

NATIVE_UM_PER_PIXEL = 0.08  # µm; 63x objective, fields of 1728, 2048 and 3072 pixels
NATIVE_WIDTHS = (1728, 2048, 3072)

UmPerPixel = float | Literal["auto"]
"""µm per pixel of fields; 0: as their files state, else by the width; auto: as the files state, else by the nuclei."""


def location_of(term: str) -> int | None:
    """The class of an HPA location term in any capitalisation; None if it is known but has no counterpart.

    Raises:
        KeyError: the term is unknown; the message names it.
    """
    key = " ".join(term.lower().split())
    if key not in TERMS:
        raise KeyError(f"location term {term!r} is not in hpax.atlas.TERMS; add it there with its class, or None")
    return TERMS[key]


def locations_of(terms: Iterable[str]) -> tuple[list[int], list[str]]:
    """The sorted classes of `terms`, and the terms without a class (unknown, or no counterpart), in order."""
    classes, left_out = set(), []
    for term in terms:
        index = TERMS.get(" ".join(term.lower().split()))
        if index is None:
            left_out.append(term)
        else:
            classes.add(index)
    return sorted(classes), left_out


def multi_hot(classes: Iterable[int | np.integer]) -> np.ndarray:
    """Classes → (19,) uint8; a repeated class counts once.

    Raises:
        ValueError: a class out of range, or Negative beside another class.
    """
    chosen = set(classes)
    if bad := sorted(c for c in chosen if not 0 <= c < len(LOCATIONS)):
        raise ValueError(f"classes must be in 0..{len(LOCATIONS) - 1}, got {bad}; see hpax.atlas.LOCATIONS")
    if NEGATIVE in chosen and len(chosen) > 1:
        raise ValueError(f"Negative ({NEGATIVE}) excludes every other class, got {sorted(chosen)}; drop one of them")
    labels = np.zeros(len(LOCATIONS), np.uint8)
    labels[sorted(chosen)] = 1
    return labels


def um_per_pixel(width: int) -> float:
    """The pixel size of an HPA image by its width: 0.08 µm at a native width, else as a resized 2048-pixel field.

    An assumption for images that carry no scale: pass the true value wherever it is known.
    """
    return NATIVE_UM_PER_PIXEL if width in NATIVE_WIDTHS else NATIVE_UM_PER_PIXEL * 2048 / width
