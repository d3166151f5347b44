"""Variable proteins are found as they were planted, and left out of what is learnt from, and of nothing else."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hpax.data.cell_crops import dummy
from hpax.data.source import Source
from hpax.formats import protein_lists
from hpax.recipes import inpaint, variable_proteins
from hpax.recipes.cells import Atlas, Data, open_cells
from hpax.recipes.data_configs import VariableProteins
from hpax.recipes.optimizers import Adam

FEW = Atlas(proteins=95, size=256)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(atlas=FEW, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def every(data):
    return open_cells(data)


def without(data, **options):
    return open_cells(dataclasses.replace(data, variable=VariableProteins(**options)))


class Told(Source):
    """Cells of which nothing is known but a table and labels."""

    table = labels = info = None

    def __init__(self, table, labels):
        self.table, self.labels, self.info = table, labels, SimpleNamespace(features={"labels": None})


def proteins(source):
    return set(source.table["protein"].to_numpy(str))


def test_only_what_is_learnt_from_loses_the_variable_proteins(data, every, caplog):
    cells = without(data, left_out=0.3, by="labels")
    known = variable_proteins.by_labels(every.training)
    lost = set(known.index[: round(0.3 * len(proteins(every.training)))])
    assert proteins(cells.training) == proteins(every.training) - lost
    assert set(cells.left_out) == lost
    assert known[sorted(lost)].min() >= known.drop(sorted(lost)).max()
    assert len(cells.everything) == len(every.everything)
    assert cells.held.table.equals(every.held.table)
    assert cells.held_out
    assert cells.name != every.name
    assert f"{len(lost)} of {len(proteins(every.training))} proteins" in caplog.text
    with pytest.raises(ValueError, match="must be left to learn from"):
        without(data, left_out=0.999, by="random")


def test_labels_tell_the_share_of_cells_that_differ_from_most(every):
    table, labels = every.training.table, every.training.labels
    shares = variable_proteins.by_labels(every.training)
    for protein in shares.index[:3]:
        own = labels[(table["protein"] == protein).to_numpy()]
        _, counts = np.unique(own, axis=0, return_counts=True)
        assert shares[protein] == pytest.approx(1 - counts.max() / len(own))
    assert shares.is_monotonic_decreasing


def test_what_differs_between_fields_is_no_variation():
    table = pd.DataFrame({"protein": ["P"] * 6 + ["Q"] * 4, "field": list("aaabbb") + ["c"] * 4})
    labels = np.zeros((10, 19), np.uint8)
    labels[np.arange(10), [0, 0, 1, 2, 2, 2, 5, 5, 6, 7]] = 1
    shares = variable_proteins.by_labels(Told(table, labels))
    assert shares.to_dict() == {"Q": 0.5, "P": pytest.approx(1 / 6)}
    same = np.repeat(labels[[0, 3, 6]], (3, 3, 4), 0)  # as of real fields, whose cells have the field's labels
    with pytest.raises(ValueError, match="told by labels of single cells"):
        variable_proteins.by_labels(Told(table, same))


def test_features_find_the_proteins_whose_cells_differ(data, every):
    from sklearn.metrics import roc_auc_score

    cells = without(data, left_out=0.3)
    (kept,) = (data.data_dir / "variable_proteins").iterdir()
    measured = pd.read_csv(kept, index_col="protein")["variability"]
    planted = variable_proteins.by_labels(every.training).reindex(measured.index) > 0.15
    assert roc_auc_score(planted, measured) > 0.65
    assert set(cells.left_out) == set(measured.index[: round(0.3 * len(proteins(every.training)))])
    kept.write_text("protein,variability\n" + "".join(f"{name},1\n" for name in sorted(proteins(every.training))))
    again = without(data, left_out=0.3)  # measured once: what was kept counts
    assert again.left_out == tuple(sorted(proteins(every.training)))[: len(again.left_out)]


def test_proteins_left_out_at_random_follow_the_seed(data):
    one, same = (without(data, left_out=0.3, by="random") for _ in range(2))
    assert one.left_out == same.left_out
    chosen = [
        variable_proteins.chosen(VariableProteins(left_out=0.3, by="random"), one.held, pd.DataFrame, seed=seed)
        for seed in (0, 1)
    ]
    assert chosen[0] != chosen[1]


def test_training_goes_on_without_them(data, tmp_path):
    cells = without(data, left_out=0.5, by="labels")
    config = inpaint.Config(
        network=inpaint.Network(width=0.03), contrast=0.1, optimizer=Adam(batch_size=16, steps=2), pair="sibling"
    )
    batch = inpaint.build(config, cells).batches[0]
    examples = cells.training.__getitems__(batch["index"].tolist())
    assert not {example["protein"] for example in examples} & set(cells.left_out)
    stored = cells.prepare(np.stack([example["image"] for example in examples]))
    np.testing.assert_allclose(batch["source"].sum((1, 2)), stored.sum((1, 2)), rtol=1e-4)  # but for flips
    encoder = inpaint.train_model(config, cells, tmp_path)
    assert f"{len(cells.training)} simulated cells" in encoder.network.card


def test_tables_name_them(data, every, tmp_path):
    names = sorted(proteins(every.training))
    table = tmp_path / "subcellular_location.tsv"
    header = "Gene\tGene name\tSingle-cell variation intensity\tSingle-cell variation spatial\n"
    table.write_text(
        header + f"E1\t{names[0]}\tCytosol\t\nE2\t{names[1]}\t\t\nE3\t{names[2]}\t\tNucleoli\nE4\tQ\tX\t\n"
    )
    assert protein_lists.variable(table) == {"E1", names[0], "E3", names[2], "E4", "Q"}
    assert without(data, table=table).left_out == (names[0], names[2])
    assert protein_lists.aliases("CCNB1 (ENSG00000134057)") >= {"CCNB1", "ENSG00000134057"}
    assert protein_lists.aliases("one two (three)") == {"one two (three)"}
    listed = tmp_path / "listed.csv"
    listed.write_text(f"protein\n{names[3]}\n")
    assert without(data, table=listed).left_out == (names[3],)


def test_what_tells_of_no_protein_is_refused(data, tmp_path):
    table = tmp_path / "table.csv"
    for text, told in (
        ("name,other\nA,B\n", "must name proteins in one of the columns protein, gene, gene_name"),
        (
            "gene,size\nA,3\n",
            "must say in single-cell_variation_intensity or .* it has size; give a table",
        ),
        ("gene,Single-cell variation spatial\nA,\n", "names no protein whose cells differ"),
        ("gene\nA\n", "names none of the .* proteins that are learnt from: such as 'A'"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=told):
            without(data, table=table)
    with pytest.raises(ValueError, match="must be a share of proteins"):
        VariableProteins(left_out=1.0)
    with pytest.raises(ValueError, match="left_out must be above 0 to leave proteins out by labels"):
        VariableProteins(by="labels")
    with pytest.raises(ValueError, match="a table says by itself"):
        VariableProteins(left_out=0.1, table=table)


def test_cells_without_labels_of_their_own_cannot_tell(tmp_path):
    dummy.write(tmp_path / "crops", "human")
    crops = Data(cells="human", folder=tmp_path / "crops", data_dir=tmp_path / "data")
    with pytest.raises(ValueError, match="told by labels of single cells"):
        without(crops, left_out=0.4, by="labels")
    cells = without(crops, left_out=0.4)
    assert not cells.held_out  # the others are asked about, though they were learnt from
    assert len(cells.held) > len(cells.training)
