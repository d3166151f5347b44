import numpy as np

from hpax.data import splits

NAMES = [f"PROTEIN{number}" for number in range(5000)]


def test_a_protein_s_split_never_changes():
    """These splits are part of every published number: a change here must bump the version of every data set."""
    assert {name: splits.split_of(name) for name in ("TP53", "ACTB", "AAC1", "AAH1", "AAR2", "A1CF", "AAAS")} == {
        "TP53": "test",
        "ACTB": "train",
        "AAC1": "train",
        "AAH1": "validation",
        "AAR2": "validation",
        "A1CF": "train",
        "AAAS": "train",
    }


def test_splits_have_their_fractions():
    drawn = list(splits.by_protein(NAMES).values())
    for split, fraction in splits.FRACTIONS.items():
        assert abs(drawn.count(split) / len(drawn) - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / len(drawn))


def test_other_proteins_do_not_matter():
    assert splits.by_protein(NAMES[:10]).items() <= splits.by_protein(NAMES).items()


def test_every_class_of_three_proteins_lands_in_every_split():
    classes = {name: number % 7 for number, name in enumerate(NAMES[:30])} | {"LONE1": 9, "LONE2": 9}
    drawn = splits.by_class(classes)
    assert drawn.keys() == classes.keys()
    for index in range(7):
        assert {drawn[name] for name, c in classes.items() if c == index} == set(splits.FRACTIONS)
    assert splits.by_class(dict(reversed(classes.items()))) == drawn


def test_the_splits_of_a_class_hold_their_fractions():
    drawn = list(splits.by_class({f"P{index}": index % 2 for index in range(40)}).values())
    assert {split: drawn.count(split) for split in splits.FRACTIONS} == {"train": 32, "validation": 4, "test": 4}
    few = list(splits.by_class({f"P{index}": 0 for index in range(4)}).values())
    assert {split: few.count(split) for split in splits.FRACTIONS} == {"train": 2, "validation": 1, "test": 1}
