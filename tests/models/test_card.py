"""Model cards say all that a record says."""

from hpax.models import card


def test_a_card_says_everything_that_the_record_does():
    record = {"command": "python -m x --a | b", "seed": 3, "commit": None, "metrics": {"f1": 0.912345, "n": 12}}
    lines = card("segment-nuclei", use="Finds nuclei.", limits="No tissue.", record=record).splitlines()
    assert lines[0] == "# segment-nuclei"
    expected = ["Finds nuclei.", "No tissue.", "- command: python -m x --a \\| b", "- seed: 3", "### metrics"]
    expected += ["| f1 | 0.9123 |", "| n | 12 |"]
    assert [line for line in expected if line not in lines] == []
    assert not any("None" in line for line in lines)
