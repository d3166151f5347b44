"""The page is a function of the tables, the tables of the records, and a stranger's record does no harm."""

import csv
import json
import statistics

import pytest

from hpax import report

ARMS = {"pair=self": (0.5, 0.625), "pair=sibling": (0.75, 0.875), "width=100": (1.0,), "width=20": (0.25,)}


def record(**changes):
    return {
        "experiment": "toy",
        "about": "Adds numbers.",
        "command": "python -m experiments.toy --sweep pairing",
        "arm": "default",
        "sweep": None,
        "seed": 0,
        "settings": {},
        "metrics": {"accuracy": 0.5, "odd": None, "hidden": 3.0},
        "counts": {"cells": 1200},
        "headline": ["accuracy", "odd"],
        "data": "simulated",
        "versions": {"python": "3.11.7", "jax": "0.10.2"},
        "devices": {"platform": "cpu", "kind": "cpu", "count": 1},
        "cores": 2,
        "wall_s": 200.0,
        "resumed": False,
        "commit": "0123456789abcdef",
        "dirty": False,
        "config": {"seed": 0},
        **changes,
    }


@pytest.fixture
def write(tmp_path):
    def write(**changes):
        found = record(**changes)
        path = tmp_path / "runs" / found["arm"] / f"seed{found['seed']}" / "result.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
        return path

    return write


@pytest.fixture
def run(tmp_path):
    """`run(*flags)` → exit status of the command with the runs folder of the test, or without folders for --check."""

    def run(*flags):
        folders = [] if "--check" in flags else [str(tmp_path / "runs")]
        places = ["--results", str(tmp_path / "results"), "--benchmarks", str(tmp_path / "BENCHMARKS.md")]
        return report.main([*folders, *places, *flags])

    return run


def table(tmp_path, name="toy"):
    with (tmp_path / "results" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def page(tmp_path):
    return (tmp_path / "BENCHMARKS.md").read_text(encoding="utf-8")


def cells(text, arm):
    return next([cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if f"| {arm} |" in line)


def test_a_row_of_the_page_is_mean_and_sd_over_the_seeds(write, run, tmp_path):
    for arm, values in ARMS.items():
        for seed, value in enumerate(values):
            write(arm=arm, seed=seed, metrics={"accuracy": value, "odd": None, "hidden": 3.0})
    assert run() == 0
    for arm, values in ARMS.items():
        accuracy, odd, seeds, wall = cells(page(tmp_path), arm)
        mean, *sd = map(float, accuracy.split(" ± "))
        assert mean == pytest.approx(statistics.mean(values), abs=1e-3)
        assert sd == ([pytest.approx(statistics.stdev(values), abs=1e-3)] if len(values) > 1 else [])
        assert (odd, int(seeds), wall) == ("–", len(values), "3 min 20 s")
    assert "hidden" not in page(tmp_path)
    assert page(tmp_path).index("width=20") < page(tmp_path).index("width=100")


def test_what_seeds_share_cancels_where_arms_are_compared_with_the_default(write, run, tmp_path):
    hard, worth = {0: 0.25, 1: 0.5, 2: 0.75}, {0: 0.0625, 1: 0.125, 2: 0.1875}
    for seed, base in hard.items():
        write(seed=seed, metrics={"accuracy": base, "odd": None})
        write(arm="pair=self", seed=seed, metrics={"accuracy": base + worth[seed], "odd": None})
        write(arm="width=20", seed=seed, metrics={"accuracy": base, "odd": None})
    write(arm="width=100", metrics={"accuracy": 0.75, "odd": None})
    assert run() == 0
    every, compared = page(tmp_path).split("An arm minus the default")
    assert cells(every, "pair=self")[0] == "0.6250 ± 0.3125"
    assert cells(compared, "pair=self") == ["+0.125 ± 0.062", "3"]
    assert cells(compared, "width=20") == ["–", "3"], "no change"
    assert "| width=100 |" not in compared, "one seed says nothing of spread"
    assert "odd" not in compared, "never measured"


def test_an_interval_stands_behind_its_value(write, run, tmp_path):
    for seed, value in enumerate((0.25, 0.75)):
        ends = {"accuracy, low (95%)": value - 0.25, "accuracy, high (95%)": value + 0.5}
        alone = {"odd, low (95%)": 0.125, "other, high (95%)": 0.25}
        metrics = {"accuracy": value, **ends, "odd": 1.0, **alone}
        write(seed=seed, metrics=metrics, headline=list(metrics))
    assert run() == 0
    assert "accuracy, low" not in page(tmp_path), "it is in the brackets"
    accuracy, *others = cells(page(tmp_path), "default")
    assert accuracy.replace("\\", "") == "0.5000 ± 0.3536 [0.2500, 1.0000]"
    assert others[:3] == ["1.000 ± 0.000", "0.1250 ± 0.0000", "0.2500 ± 0.0000"], "ends without a value or other end"


def test_a_difference_missing_in_some_seeds_is_counted(write, run, tmp_path):
    for seed, odd in enumerate((None, 0.25, 0.5)):
        write(seed=seed, metrics={"accuracy": 0.5, "odd": odd})
        write(arm="pair=self", seed=seed, metrics={"accuracy": 0.5, "odd": 0.75})
    assert run() == 0
    assert cells(page(tmp_path).split("An arm minus the default")[1], "pair=self") == ["+0.38 ± 0.18 (of 2)", "3"]


def test_arms_are_not_compared_across_seeds_or_without_a_default(write, run, tmp_path):
    for seed in (0, 1):
        write(seed=seed)
        write(arm="pair=self", seed=seed + 2, metrics={"accuracy": 0.75, "odd": None})
    assert run() == 0
    assert "minus the default" not in page(tmp_path)


def test_the_page_says_what_its_numbers_rest_on(write, run, tmp_path):
    write()
    write(seed=1, counts={"cells": 1300})
    write(arm="cells=yeast", data="real", settings={"root": "$HPAX_REAL_DATA/a"}, dirty=True)
    run()
    real, simulated = page(tmp_path).split("## toy")[1].split("### ")[1:]
    assert simulated.startswith("**simulated** data\n")
    assert real.startswith(r"**real** data: root=\$HPAX\_REAL\_DATA/a")
    assert "counts: cells 1,200–1,300\n" in simulated
    assert "counts: cells 1,200\n" in real
    assert "commit: 0123456789ab+changes" in real.replace("\\", "")
    assert "commit: 0123456789ab\n" in simulated
    for said in (
        "`python -m experiments.toy --sweep pairing`",
        "1 × cpu (cpu), 2 cores",
        "python=3.11.7",
        "Adds numbers.",
    ):
        assert said in page(tmp_path)


def test_collecting_again_replaces_the_same_run_and_keeps_the_others(write, run, tmp_path):
    old = write()
    write(arm="width=20")
    run()
    first = (tmp_path / "results/toy.csv").read_bytes()
    assert run() == 0
    assert (tmp_path / "results/toy.csv").read_bytes() == first
    old.unlink()
    write(arm="width=20", metrics={"accuracy": 0.9, "new": 1.0}, headline=["accuracy"])
    write(arm="width=20", seed=1)
    run()
    found = {(row["arm"], row["seed"]): row["metric:accuracy"] for row in table(tmp_path)}
    assert found == {("default", "0"): "0.5", ("width=20", "0"): "0.9", ("width=20", "1"): "0.5"}
    assert [row["metric:new"] for row in table(tmp_path)] == ["", "1.0", ""]


def test_runs_that_differ_by_their_settings_do_not_replace_each_other(write, run, tmp_path):
    write(settings={"cells": "yeast"}, data="real")
    run()
    write(settings={"cells": "human"}, data="real")
    run()
    assert [row["settings"] for row in table(tmp_path)] == ["cells=human", "cells=yeast"]


def test_the_order_of_the_folders_does_not_matter(write, tmp_path):
    for arm in ARMS:
        write(arm=arm)
    rows = report.collect([tmp_path / "runs"])
    tables = [report.table(next(iter(report.merge(order, tmp_path).values()))) for order in (rows, rows[::-1])]
    assert tables[0] == tables[1]


def test_check_passes_after_rendering_and_fails_after_any_edit(write, run, tmp_path, capsys):
    write()
    assert run("--check") == 1
    run()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run("--check") == 0
    for edited in (page(tmp_path).replace("0.5000", "0.9000"), page(tmp_path) + "\n", page(tmp_path)[:-40]):
        (tmp_path / "BENCHMARKS.md").write_text(edited, encoding="utf-8")
        capsys.readouterr()
        assert run("--check") == 1
        assert "run `python -m hpax.report`" in capsys.readouterr().err
        assert page(tmp_path) == edited
    del before[tmp_path / "BENCHMARKS.md"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_resumed_run_has_no_wall_time(write, run, tmp_path):
    write(seed=0, wall_s=10.0)
    write(seed=1, wall_s=0.5, resumed=True)
    write(arm="width=20", resumed=True)
    run()
    assert cells(page(tmp_path), "default")[-1] == "10 s"
    assert cells(page(tmp_path), "width=20")[-1] == "–"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "–"),
        ([0.123456], "0.1235"),
        ([12.3456, 12.3456], "12.35 ± 0.00"),
        ([0.0], "0.0000"),
        ([7324529.0], "7,324,529"),
        ([-0.574, -0.568], "-0.5710 ± 0.0042"),
        ([0.00012347], "0.0001235"),
    ],
)
def test_numbers_have_four_digits_and_their_spread_the_same_decimals(values, text):
    assert report.spread(values, len(values)) == text


def test_a_value_missing_in_some_runs_is_counted():
    assert report.spread([1.0, 3.0], 3) == "2.000 ± 1.414 (of 2)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.414, "0.41 s"),
        (42.2, "42 s"),
        (59.99, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_said_as_a_person_does(seconds, text):
    assert report.duration(seconds) == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"experiment": "../../etc/passwd"},
        {"experiment": "a/b"},
        {"data": "reel"},
        {"metrics": {"accuracy": "0.9"}},
        {"metrics": {"accuracy": True}},
        {"metrics": {"accuracy": 10**400}},
        {"metrics": {"=HYPERLINK()": 1.0}},
        {"metrics": {"a|b": 1.0}},
        {"metrics": {f"m{number}": 1.0 for number in range(report.MAX_NAMES + 1)}},
        {"metrics": [1.0]},
        {"seed": 1.5},
        {"seed": "zero"},
        {"arm": {"a": 1}},
        {"devices": {}},
        {"versions": None},
        {"wall_s": None, "cores": "many"},
    ],
    ids=lambda wrong: next(f"{key}={str(value)[:20]}" for key, value in wrong.items()),
)
def test_a_hostile_record_is_refused_and_nothing_is_written(wrong, write, run, tmp_path, capsys):
    write(arm="good")
    path = tmp_path / "runs/bad/result.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**record(), **wrong}))
    assert run() == 1
    assert str(path) in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        json.dumps(record(metrics={"accuracy": float("nan")})),
        "[" * 100_000,
        "9" * 5000,
        json.dumps(record()) + " " * report.MAX_BYTES,
    ],
    ids=["cut", "NaN", "deep", "digits", "large"],
)
def test_a_damaged_record_is_refused(text, write, run, tmp_path, capsys):
    write().write_text(text)
    assert run() == 1
    assert "result.json" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_text_is_shown_and_never_obeyed(write, run, tmp_path):
    evil = "=cmd|'/c calc'!A1 <script>alert(1)</script> ![x](http://evil) | `rm` \n# Title"
    write(about=evil, command=evil, arm="default", settings={"root": evil})
    assert run() == 0
    for row in table(tmp_path):
        assert not any(cell.startswith(("=", "+", "-", "@")) or "\n" in cell for cell in row.values())
    text = page(tmp_path)
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("- command"))
    assert "<script" not in prose
    assert "![x](" not in text.replace("`'=cmd", "")[: text.index("- command")]
    assert "\n# Title" not in text
    command = next(line for line in text.splitlines() if line.startswith("- command"))
    assert command.count("`") == 2
    assert run("--check") == 0


def test_results_of_other_programs_and_links_are_left_out(write, run, tmp_path):
    path = write(arm="elsewhere").rename(tmp_path / "result.json")
    write()
    (tmp_path / "runs/score").mkdir()
    (tmp_path / "runs/score/result.json").write_text('{"map_fixed": 0.5}')
    (tmp_path / "runs/linked").mkdir()
    (tmp_path / "runs/linked/result.json").symlink_to(path)
    assert run() == 0
    assert [row["arm"] for row in table(tmp_path)] == ["default"]


def test_what_a_run_had_made_on_the_way_is_part_of_it(write, run, tmp_path):
    own = write(metrics={"clusters: adjusted Rand": 0.3}, headline=["clusters: adjusted Rand"]).parent
    (own / "labels").mkdir()
    (own / "labels" / "result.json").write_text(json.dumps(record(arm="part")))
    assert run() == 0
    assert [row["arm"] for row in table(tmp_path)] == ["default"]
    assert table(tmp_path)[0]["metric:clusters: adjusted Rand"] == "0.3"


@pytest.mark.parametrize("change", [("0.5", "half"), ("default,0", "default,1.5"), ("wall_s", "wall"), (",1200", "")])
def test_a_table_edited_into_nonsense_is_named(change, write, run, tmp_path, capsys):
    write()
    run()
    path = tmp_path / "results/toy.csv"
    path.write_text(path.read_text().replace(*change))
    assert run("--check") == 1
    assert "toy.csv" in capsys.readouterr().err


def test_a_missing_folder_is_named(tmp_path, capsys):
    assert (
        report.main([str(tmp_path / "nowhere"), "--results", str(tmp_path), "--benchmarks", str(tmp_path / "B.md")])
        == 1
    )
    assert "nowhere is not a folder" in capsys.readouterr().err


def test_many_metrics_of_few_arms_run_down_the_page(write, run, tmp_path):
    metrics = {f"m{number}": number / 8 for number in range(1, report.MAX_COLUMNS + 2)}
    for arm in ("pair=self", "pair=sibling"):
        write(arm=arm, metrics=metrics, headline=list(metrics))
    assert run() == 0
    lines = (tmp_path / "BENCHMARKS.md").read_text().splitlines()
    assert "| arm | pair=self | pair=sibling |" in lines
    assert "| m2 | 0.2500 | 0.2500 |" in lines
    assert "| seeds | 1 | 1 |" in lines
    write(arm="pair=self", metrics=metrics, headline=list(metrics)[:-1])
    write(arm="pair=sibling", metrics=metrics, headline=list(metrics)[:-1])
    assert run() == 0
    assert not [line for line in (tmp_path / "BENCHMARKS.md").read_text().splitlines() if line.startswith("| m2 |")]
