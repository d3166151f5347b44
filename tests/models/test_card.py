"""Model cards say all that a record says."""

from hpax.models import card, card_summary, card_table, with_table


def test_a_card_says_everything_that_the_record_does():
    record = {"command": "python -m x --a | b", "seed": 3, "commit": None, "metrics": {"f1": 0.912345, "n": 12}}
    lines = card("segment-nuclei", use="Finds nuclei.", limits="No tissue.", record=record).splitlines()
    assert lines[0] == "# segment-nuclei"
    expected = ["Finds nuclei.", "No tissue.", "- command: python -m x --a \\| b", "- seed: 3", "### metrics"]
    expected += ["| f1 | 0.9123 |", "| n | 12 |"]
    assert [line for line in expected if line not in lines] == []
    assert not any("None" in line for line in lines)


def test_a_table_is_read_off_a_card_by_its_heading():
    record = {"metrics": {"f1": 0.5}, "counts": {"fields": 77, "cells": 3}}
    text = card("a", use="", limits="", record=record)
    assert card_table(text, "counts") == [["name", "value"], ["fields", "77"], ["cells", "3"]]
    assert card_table(text, "metrics") == [["name", "value"], ["f1", "0.5"]]
    assert card_table(text, "Limits") == card_table(text, "Classes") == []


def test_a_table_is_added_before_the_record_and_read_off_again():
    text = card("a", use="Finds.", limits="No tissue.", record={"counts": {"fields": 77}})
    rows = [["class", "AP"], ["Golgi | apparatus", "0.50"]]
    told = with_table(text, "Classes", rows, "Of 77 fields.")
    assert card_table(told, "Classes") == [["class", "AP"], ["Golgi \\", "apparatus", "0.50"]]
    assert card_table(told, "counts") == card_table(text, "counts")
    assert card_summary(told) == card_summary(text)
    assert told.index("## Classes") < told.index("## Record")
    assert card_table(with_table("", "Classes", [["class"], ["a"]]), "Classes") == [["class"], ["a"]]
