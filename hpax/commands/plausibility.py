"""Whether what was found can be cells: sizes far from any cell's are told before any other number."""

import statistics
from collections.abc import Sequence

LEAST = 5  # cells that a median needs
NUCLEUS = (60.0, 600.0)  # µm², between which the median nucleus of a set lies; in HPA fields it is about 165
CELL = (150.0, 8000.0)  # µm², likewise; in HPA fields it is 600 to 2,000


def doubts(nuclei: Sequence[float], cells: Sequence[float]) -> list[str]:
    """What is doubtful about the areas (µm²) of whole nuclei and cells; nothing where there are too few to tell."""
    told = []
    for name, areas, (low, high) in (("nucleus", nuclei, NUCLEUS), ("cell", cells, CELL)):
        known = [area for area in areas if area > 0]
        if len(known) < LEAST:
            continue
        median = statistics.median(known)
        if not low <= median <= high:
            told.append(
                f"median {name} {median:,.0f} µm² (of {len(known)}), where {low:g} to {high:,.0f} are to be expected: "
                "is --um-per-pixel right?"
            )
    return told
