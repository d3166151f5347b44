"""Genes of the HPA's locations have the terms that mean the same."""

import pytest

from hpax.analysis import enrich, known_locations


def test_genes_are_sorted_by_their_main_locations(tmp_path):
    path = tmp_path / "locations.tsv"
    path.write_text(
        "Gene name\tMain location\nA\tNucleoli;Cytosol\nB\tNucleoli rim\nC\tRods & Rings\n", encoding="utf-8"
    )
    of, every = known_locations.genes_of_locations(path)
    assert {name: genes for name, genes in of.items() if genes} == {"Nucleoli": {"A", "B"}, "Cytosol": {"A"}}
    assert every == {"A", "B", "C"}
    path.write_text("Gene\tMain location\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Gene name"):
        known_locations.genes_of_locations(path)


def test_a_location_whose_genes_have_its_term_is_found_and_another_is_not():
    every = {f"g{number}" for number in range(100)}
    nucleoli, golgi = ({f"g{number}" for number in range(*ends)} for ends in ((0, 20), (20, 40)))
    sets = {"nucleolus": frozenset(nucleoli), "Golgi apparatus": frozenset(f"g{5 * n}" for n in range(20))}
    table = known_locations.expected_terms({"Nucleoli": nucleoli, "Golgi apparatus": golgi}, every, sets)
    assert table["found"].to_dict() == {"Nucleoli": True, "Golgi apparatus": False}
    assert table.loc["Nucleoli", ["overlap", "fold", "rank"]].tolist() == [20, 5, 1]


@pytest.mark.real
def test_real_genes_have_the_expected_terms(real_data):
    genes, every = known_locations.genes_of_locations(real_data / "tables" / "hpa_subcellular_location.tsv")
    sets = enrich.read_gmt(real_data / "tables" / "go_cellular_component.gmt")
    table = known_locations.expected_terms(genes, every, sets)
    assert len(table) == len(known_locations.EXPECTED)
    assert table.index[~table["found"]].tolist() == ["Aggresome"]  # four genes, none of which has the term
    assert (table.loc[table["found"], "rank"] <= 2).all()
