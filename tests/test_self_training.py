"""Students learn what their teacher says, and nothing of the labels of their fields."""

import json

import jax
import numpy as np
import pytest
import saved

from experiments import self_train
from hpax import models, report
from hpax.data.hpa_fields import dummy
from hpax.predict import strategies
from hpax.recipes import classify, configs, datasets, self_training

STUDENT = configs.Classify(
    resolution=32, oversampling=0.0, tta=1, optimizer=configs.Optimizer(learning_rate=3e-3, batch_size=8, steps=40)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six fields with labels."""
    folder = tmp_path_factory.mktemp("fields")
    dummy.write(folder, kaggle=6, proteinatlas=0, size=96, seed=5)
    return folder


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """An image-level and a cell-level network, fresh."""
    folder = tmp_path_factory.mktemp("teachers")
    return [saved.labeller(folder / f"{kind}.safetensors", kind, 1) for kind in ("cam-net", "cell-net")]


@pytest.fixture(scope="module")
def fields(folder, tmp_path_factory):
    given = datasets.Data(fields=folder, masks="classical", data_dir=tmp_path_factory.mktemp("data"))
    return datasets.open_folder(given, labelled=False)


@pytest.fixture(scope="module")
def teacher(teachers):
    return models.Ensemble.load(teachers, tta=1)


@pytest.fixture(scope="module")
def lesson(teacher, fields):
    return self_training.teach(teacher, fields)


def student_of(fields, lesson, workdir, config=STUDENT):
    return self_training.train_student(config, fields, lesson, workdir, kind="real", teacher="two networks")


def test_a_student_says_what_its_teacher_said(fields, lesson, tmp_path):
    sure = np.where(np.arange(19) == 3, 0.9, 0.05).astype(np.float32)
    lesson = lesson._replace(targets={id: np.tile(sure, (len(cells), 1)) for id, cells in lesson.targets.items()})
    student = student_of(fields, lesson, tmp_path / "learnt")
    for field in fields:
        np.testing.assert_allclose(student.predict(field).mean(0), sure, atol=0.2)
    assert "what two networks says" in student.network.card
    assert "no label" in student.network.card


def test_what_a_teacher_says_of_fields_is_the_mean_of_its_cells(fields, lesson, teacher, teachers):
    assert not strategies.pooled(np.zeros((0, 19))).any()
    for row, alone, field in zip(lesson.fields, lesson.alone, fields, strict=True):
        said = teacher.predict(field)
        np.testing.assert_allclose(row, said.cells.mean(0), rtol=1e-5)
        np.testing.assert_allclose(alone, said.cell_only.mean(0), rtol=1e-5)
    other = self_training.teach(models.Ensemble.load(teachers[1:], tta=1), fields)
    assert lesson.name != other.name
    assert lesson.name == self_training.teach(teacher, fields).name


def test_no_label_takes_part(fields, lesson, tmp_path):
    blind = fields.blind()
    assert fields.labelled.all()
    for hidden in (blind, blind.part([1, 2]), blind.with_masks(fields.masks)):
        assert not hidden.labels.any()
        assert hidden[0].labels is None
    np.testing.assert_array_equal(blind[0].image, fields[0].image)
    short = configs.Classify(**{**vars(STUDENT), "optimizer": configs.Optimizer(batch_size=8, steps=2)})
    own = student_of(fields, lesson, tmp_path / "own", short).network.params
    other = student_of(blind, lesson, tmp_path / "other", short).network.params
    jax.tree.map(np.testing.assert_array_equal, own, other)
    with pytest.raises(ValueError, match="no training field has a label"):
        classify.build(short, blind, blind.part([]))
    for needs in ({"bag": "max"}, {"oversampling": 0.5}, {"loss": configs.Loss("weighted")}):
        with pytest.raises(ValueError, match="must be"):
            self_training.check(configs.Classify(**{**vars(STUDENT), **needs}))
    with pytest.raises(ValueError, match="needs fields to learn from"):
        student_of(fields.part([]), lesson, tmp_path / "none")


def test_every_field_is_answered_by_a_student_of_others(fields):
    learnt_from = {}

    class Student:
        def __init__(self, ids):
            self.ids = ids

        def predict(self, field):
            learnt_from[field.id] = self.ids
            return np.full((2, 19), float(fields.ids.index(field.id)))

    answers = self_training.cross_fitted(fields, 3, lambda part: Student(part.ids))
    np.testing.assert_array_equal(answers[:, 0], np.arange(6))
    assert all(id not in ids and len(ids) == 4 for id, ids in learnt_from.items())


def test_the_experiment_scores_students_beside_their_teacher(folder, teachers, tmp_path, capsys):
    command = ["--fields", str(folder), "--masks", "classical", "--data-dir", str(tmp_path / "data"), "--views", "1"]
    command += ["--teacher", *map(str, teachers), "--recipe.init-from", "None", "--recipe.backbone.name", "plain-tiny"]
    command += ["--recipe.resolution", "32", "--recipe.optimizer.steps", "2", "--recipe.tta", "1", "--least", "1"]
    assert self_train.main([*command, "--workdir", str(tmp_path / "run")]) == 0
    arm = tmp_path / "run" / "default" / "seed0"
    result = json.loads((arm / "result.json").read_text())
    assert {"field mAP, teacher", "field mAP, student, other fields", "student minus teacher"} <= set(result["metrics"])
    assert result["counts"]["labelled fields"] == 6
    places = ["--results", str(tmp_path / "results"), "--benchmarks", str(tmp_path / "BENCHMARKS.md")]
    assert report.main([str(tmp_path / "run"), *places]) == 0
    assert models.load(arm / "classify.safetensors").network.size == 32
    assert self_train.main(["--workdir", str(tmp_path / "nothing")]) == 2
    assert "give --fields" in capsys.readouterr().err
    assert self_train.main([*command, "--recipe.bag", "max", "--workdir", str(tmp_path / "bag")]) == 2
    assert 'bag must be "none"' in capsys.readouterr().err
    assert self_train.main([*command, "--least", "7", "--workdir", str(tmp_path / "few")]) == 2
    assert "must have 7 fields" in capsys.readouterr().err
    assert self_train.main([*command, "--folds", "7", "--workdir", str(tmp_path / "folds")]) == 2
    assert "have a protein each, got 7 for" in capsys.readouterr().err
    assert self_train.main([*command, "--folds", "0", "--workdir", str(tmp_path / "unscored")]) == 0
    assert not json.loads((tmp_path / "unscored" / "default" / "seed0" / "result.json").read_text())["metrics"]
    with pytest.raises(ValueError, match="folds must be 2 or more"):
        self_train.Config(folds=1)
