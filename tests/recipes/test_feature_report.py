"""The page of an encoder tells what neighbours know of fields of several classes."""

import anndata
import numpy as np
import pandas as pd

from hpax.features import tables
from hpax.nn.inpainter import LAYERS
from hpax.recipes import feature_report, inpaint
from hpax.recipes.cells import Cells


def _table(name, layers, strength, field, labels):
    rng = np.random.default_rng(0)
    features = [strength * labels @ rng.normal(size=(19, 4)) + rng.normal(size=(len(labels), 4)) for _ in layers]
    names = np.repeat(layers, 4)
    var = pd.DataFrame({"layer": pd.Categorical(names)}, index=[f"{name} {place}" for place in range(len(names))])
    obs = pd.DataFrame({"field": field.astype(str)}, index=np.arange(len(field)).astype(str))
    return anndata.AnnData(np.concatenate(features, 1).astype(np.float32), obs=obs, var=var, obsm={"labels": labels})


def _report(k=5):
    field = np.arange(120) % 20
    labels = np.zeros((120, 19), np.uint8)
    labels[:, 3], labels[:, 7] = field % 2, field % 4 < 2
    made = {
        "trained": _table("trained", LAYERS, 2.0, field, labels),
        "untrained": _table("untrained", LAYERS, 0.0, field, labels),
        "classic": _table("classic", ["classic"], 1.0, field, labels),
    }
    cells = object.__new__(Cells)  # no shards are needed
    cells.__dict__.update(everything=_Learnt(), training=_Learnt(), held=_Learnt(), origin="real")
    return feature_report.Report(
        cells=cells,
        config=inpaint.Config(),
        layer="conv3",
        k=k,
        shown=made["classic"],
        scores={},
        fields=tables.benchmark_fields(made, k=k),
        quality={"correlation": 0.5, "loss": 0.1},
        history=[],
        pictures={},
    )


class _Learnt:
    """A source of 120 cells."""

    table = pd.DataFrame({"protein": ["a"] * 120})

    def __len__(self):
        return 120


def test_fields_of_several_classes_are_told_by_layer():
    report = _report()
    metrics = feature_report.metrics(report)
    assert metrics["fields, trained conv3"] == report.fields["trained conv3"].interval[5].value > 0.9
    assert metrics["fields, trained conv3"] > metrics["fields, classic"] > metrics["fields, untrained conv3"]
    assert abs(metrics["fields, untrained conv3"] - metrics["fields, chance"]) < 0.2
    counts = feature_report.counts(report)
    assert (counts["ranked fields"], counts["their cells"], counts["their classes"]) == (20, 120, 2)
    text, table = feature_report.neighbour_tables(report)
    assert text.text == feature_report.UNKNOWN
    assert "2 classes of 20 fields; 120 real cells" in table.caption
    assert [row[0] for row in table.rows] == [*LAYERS, "classic features", "neighbours at random"]
    assert table.rows[2][1:] == [metrics["fields, trained conv3"], metrics["fields, untrained conv3"]]
    assert table.rows[-1][1] == metrics["fields, chance"]
