"""`import hpax`: the names and namespaces that users type, imported when they are asked for."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

import hpax
from hpax.data.hpa_fields import dummy

ROOT = pathlib.Path(hpax.__file__).parents[1]
NAMES = (
    "CellClassifier",
    "Data",
    "Encoder",
    "Ensemble",
    "Field",
    "FieldClassifier",
    "Masks",
    "Segmenter",
    "load",
    "open_fields",
    "open_folder",
    "read_folder",
)
NAMESPACES = (
    "analysis",
    "atlas",
    "data",
    "explore",
    "features",
    "fields",
    "files",
    "formats",
    "images",
    "launch",
    "metrics",
    "models",
    "nn",
    "ops",
    "predict",
    "recipes",
    "report",
    "segment",
    "simulate",
    "task",
    "tasks",
    "train",
    "types",
)
BLOCKED = ("tensorflow_datasets", "grain", "array_record")


def run(lines):
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_dir_lists_the_names_and_namespaces_that_users_type():
    assert hpax.__all__ == list(NAMES)
    assert dir(hpax) == sorted([*NAMES, *NAMESPACES, "__version__"])


@pytest.mark.parametrize("name", [*NAMES, *NAMESPACES])
def test_every_name_is_there(name):
    value = getattr(hpax, name)
    assert getattr(value, "__name__", None) in (name, f"hpax.{name}")


def test_an_unknown_name_is_said_with_those_that_there_are():
    with pytest.raises(AttributeError, match="has no attribute 'Fields'; it has CellClassifier, Data"):
        _ = hpax.Fields


def test_models_and_prediction_do_without_data_sets_on_disk():
    done = run(
        [
            "import sys",
            f"for name in {BLOCKED!r}: sys.modules[name] = None",
            "import hpax, hpax.models, hpax.predict",
            "from hpax.predict import cams, cells, combine, refine, strategies, submission, tta",
            "hpax.load, hpax.Ensemble, hpax.FieldClassifier, hpax.CellClassifier, hpax.Encoder, hpax.read_folder",
            "assert hpax.Segmenter().tile",
        ]
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_folder_is_read_field_by_field(tmp_path):
    dummy.write(tmp_path, kaggle=2, proteinatlas=2, size=64)
    folder = hpax.read_folder(tmp_path, um_per_pixel=dummy.UM_PER_PIXEL)
    fields = list(folder)
    assert folder.ids == [field.id for field in fields] == sorted(field.id for field in fields)
    assert len(folder) == 4
    assert all(field.um_per_pixel == dummy.UM_PER_PIXEL and field.image.shape == (64, 64, 4) for field in fields)
    last = folder[-1]
    assert (last.origin["group_id"], last.origin["protein"]) == ("10_A1", "GENE0")
    assert np.flatnonzero(last.labels).tolist() != []


def test_a_folder_without_a_table_has_fields_without_labels(tmp_path):
    dummy.write(tmp_path, kaggle=1, proteinatlas=0, size=64)
    (tmp_path / "fields.csv").unlink()
    assert hpax.read_folder(tmp_path)[0].labels is None
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        hpax.read_folder(tmp_path / "nowhere")
