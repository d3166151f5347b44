"""`hpax label` on several fields at once leaves what it leaves field by field."""

import time

import anndata
import saved

from hpax.analysis.atlas import joined
from hpax.commands import label, labelling
from hpax.data.hpa_fields import dummy
from hpax.formats import fields


def test_fields_worked_on_at_once_change_nothing(tmp_path, monkeypatch):
    """Though the first ones take longest: cells come in the order of their fields, in the explorer's table, too."""
    folder = tmp_path / "eight"
    network = saved.labeller(tmp_path / "cells.safetensors", "cell-net", 0)
    dummy.write(folder, kaggle=8, proteinatlas=0, size=192, seed=8)
    found, order = labelling.Labeller.__call__, []

    def slow_at_first(self, field, **options):
        number = [each.id for each in fields.find_fields(folder)].index(field.id)
        time.sleep(max(0, 0.3 - 0.1 * number) if number else 0)
        result = found(self, field, **options)
        order.append(number)
        return result

    def leave(config, loaded, kept, remarks, failures):
        tables.append(joined(kept.parts).obs["field"].astype(str).tolist())

    monkeypatch.setattr(labelling.Labeller, "__call__", slow_at_first)
    monkeypatch.setattr(labelling.label_explorer, "leave", leave)
    tables: list[list[str]] = []
    for workers in ("1", "3"):
        command = ["--fields", str(folder), "--models", str(network), "--workdir", str(tmp_path / workers)]
        command += ["--um-per-pixel", str(dummy.UM_PER_PIXEL), "--shown", "1", "--tta", "1"]
        command += ["--segmenter", "classical", "--workers", workers]
        assert label.COMMAND.main(command) == 0
    one, three = tmp_path / "1", tmp_path / "3"
    assert (one / "submission.csv").read_bytes() == (three / "submission.csv").read_bytes()
    assert order[8:] != sorted(order[8:]) == order[:8]
    assert tables[0] == tables[1] == anndata.read_h5ad(three / "cells.h5ad").obs["field"].astype(str).tolist()
