"""Genes by where the Human Protein Atlas sees their protein, and the terms of the Gene Ontology to be expected of them.

A check of enrichment and of local gene sets on real genes: those of each location must be enriched in its own term.
"""

import csv
import os
from collections.abc import Mapping

import pandas as pd

from hpax import atlas
from hpax.analysis import enrich

EXPECTED: Mapping[str, str] = {
    "Nuclear membrane": "nuclear membrane",
    "Nucleoli": "nucleolus",
    "Nucleoli fibrillar center": "fibrillar center",
    "Nuclear speckles": "nuclear speck",
    "Nuclear bodies": "nuclear body",
    "Endoplasmic reticulum": "endoplasmic reticulum",
    "Golgi apparatus": "Golgi apparatus",
    "Intermediate filaments": "intermediate filament",
    "Actin filaments": "actin cytoskeleton",
    "Microtubules": "microtubule",
    "Mitotic spindle": "mitotic spindle",
    "Centrosome": "centrosome",
    "Mitochondria": "mitochondrion",
    "Aggresome": "aggresome",
    "Vesicles and punctate cytosolic patterns": "cytoplasmic vesicle",
}
"""Class → the term of GO's cellular component that means the same; the classes that have one."""

MAX_ROWS = 200_000


def genes_of_locations(path: str | os.PathLike[str]) -> tuple[dict[str, set[str]], set[str]]:
    """Class → genes whose main location it is, and all genes, of the table that proteinatlas.org offers (a .tsv).

    Terms without a class among the 19 are left out, as `hpax.atlas.TERMS` says.

    Raises:
        ValueError: a column is missing.
        KeyError: a term is not known.
    """
    of: dict[str, set[str]] = {name: set() for name in atlas.LOCATIONS}
    every: set[str] = set()
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if missing := {"Gene name", "Main location"} - set(reader.fieldnames or ()):
            raise ValueError(f"{path} must have the columns Gene name and Main location, {sorted(missing)} are missing")
        for number, row in enumerate(reader):
            if number >= MAX_ROWS:
                raise ValueError(f"{path} must have at most {MAX_ROWS} rows; cut it")
            every.add(row["Gene name"])
            for term in filter(None, (row["Main location"] or "").split(";")):
                place = atlas.location_of(term)
                if place is not None:
                    of[atlas.LOCATIONS[place]].add(row["Gene name"])
    return of, every


def expected_terms(
    genes: Mapping[str, set[str]], background: set[str], sets: enrich.GeneSets, *, fdr: float = 0.05
) -> pd.DataFrame:
    """For each location that has a term: genes, overlap, fold, fdr, the term's rank among all, and found or not."""
    rows = []
    for location, term in EXPECTED.items():
        table = enrich.enrichment(genes.get(location, set()), background, sets)
        place = table.index[table["term"] == term]
        if len(place):
            row = table.loc[place[0]]
            found = bool(row["fdr"] <= fdr and row["fold"] > 1)
            numbers = [row[name] for name in ("cluster_genes", "overlap", "fold", "fdr")]
            rows.append([location, term, *numbers, int(place[0]) + 1, found])
    columns = ["location", "term", "genes", "overlap", "fold", "fdr", "rank", "found"]
    return pd.DataFrame(rows, columns=columns).astype({"found": bool}).set_index("location")
