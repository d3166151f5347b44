"""Numbers written by machines: result.json files → results/<experiment>.csv → BENCHMARKS.md.

`python -m hpax.report runs` collects and renders; without folders it renders the tables that are there, and with
`--check` it fails if BENCHMARKS.md is not what they render to. A row is one run (arm and seed) with its provenance.
"""

import argparse
import csv
import io
import itertools
import json
import math
import os
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpax import files

Row = dict[str, str]
"""One run as its table holds it. Metrics and counts have columns of their own: `metric:…`, `count:…`."""

KEY = ("experiment", "settings", "arm", "seed")
"""What a run is known by: a newer run with the same key replaces the older."""

FRONT = ("experiment", "data", "settings", "sweep", "arm", "seed", "headline")
BACK = ("wall_s", "resumed", "cores", "device", "versions", "commit", "command", "about")
MAX_BYTES = 1 << 20  # of one result.json
MAX_FILES = 10_000  # of one folder
MAX_NAMES = 500  # metrics, counts, versions of one run
MAX_TEXT = 2000  # characters of one cell
MAX_COLUMNS = 12  # metrics side by side; more run down the page where there are fewer arms

INTRODUCTION = """# Benchmarks

Written by `python -m hpax.report` from `results/*.csv`; an edit by hand fails `python -m hpax.report --check`.
A number is the mean over seeds ± their standard deviation, with the 95% interval of resamples in brackets where there
is one (of seeds: the means of its ends); a dash is a value that is undefined or was not measured.
**simulated** is the simulated atlas of `hpax.simulate`, **real** is microscopy."""


class ReportError(ValueError):
    """Something that no table can be made of; the message names the file and what is wrong."""


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hpax.report") -> int:
    """The command line; the exit status is 0 if all went well, 1 if a file is wrong or BENCHMARKS.md out of date."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="folders to search for result.json files")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    parser.add_argument("--benchmarks", type=Path, default=Path("BENCHMARKS.md"), help="the page to render")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    options = parser.parse_args(argv)
    try:
        if options.check and options.runs:
            raise ReportError(f"--check writes nothing, so it takes no folders, got {list(map(str, options.runs))}")
        for path, rows in merge(collect(options.runs), options.results).items():
            files.write_text(path, table(rows))
            print(f"{path}: {len(rows)} runs")
        page = render(read(options.results))
        if options.check:
            return check(page, options.benchmarks)
        files.write_text(options.benchmarks, page)
        return 0
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def check(page: str, path: Path) -> int:
    """0 if `path` holds `page`; else 1, and the first line that differs is printed."""
    held = path.read_text(encoding="utf-8") if path.exists() else ""
    if held == page:
        return 0
    lines = itertools.zip_longest(held.splitlines(), page.splitlines(), fillvalue="(nothing)")
    number, (there, made) = next(((n, pair) for n, pair in enumerate(lines, 1) if len(set(pair)) > 1), (0, ("", "")))
    print(f"{path}:{number} is not what results/*.csv render to; run `python -m hpax.report`", file=sys.stderr)
    print(f"  there:    {there[:200]}\n  rendered: {made[:200]}", file=sys.stderr)
    return 1


def collect(folders: Iterable[Path]) -> list[Row]:
    """The runs of every result.json below `folders`, links not followed; those of other programs are left out, and what
    a run had made on the way, in its own folder, is part of it.

    Raises:
        ReportError: a folder is missing, or a result is too large, damaged or lacks a field.
    """
    rows = []
    for folder in folders:
        if not folder.is_dir():
            raise ReportError(f"{folder} is not a folder; name one that holds result.json files")
        paths = sorted(itertools.islice(_results(folder), MAX_FILES + 1))
        if len(paths) > MAX_FILES:
            raise ReportError(f"{folder} holds more than {MAX_FILES} result.json files; collect its parts one by one")
        records = {path: _record(path) for path in paths}
        runs = {path.parent: path for path, record in records.items() if "experiment" in record and "arm" in record}
        rows += [_row(path, records[path]) for own, path in runs.items() if runs.keys().isdisjoint(own.parents)]
    return rows


def merge(rows: Iterable[Row], folder: Path) -> dict[Path, list[Row]]:
    """Rows by the table they belong to, with those that the tables of `folder` hold already; a same key is replaced."""
    tables: dict[Path, list[Row]] = {}
    for row in rows:
        path = folder / f"{row['experiment']}.csv"
        tables.setdefault(path, _load(path) if path.exists() else []).append(row)
    return {path: sorted({_key(row): row for row in held}.values(), key=_key) for path, held in tables.items()}


def table(rows: Sequence[Row]) -> str:
    """The runs of one experiment as CSV, columns in a fixed order, for a spreadsheet to open without harm."""
    names = {name for row in rows for name in row}
    columns = [*FRONT, *sorted(name for name in names if ":" in name), *BACK]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read(folder: Path) -> list[Row]:
    """The runs of every table in `folder`, in the order of their keys."""
    return sorted((row for path in sorted(folder.glob("*.csv")) for row in _load(path)), key=_key)


def render(rows: Iterable[Row]) -> str:
    """The page: a section for each experiment, in it a table for each kind of data and settings."""
    blocks = [INTRODUCTION]
    for experiment, group in itertools.groupby(rows, lambda row: row["experiment"]):
        runs = list(group)
        blocks += [f"## {_escaped(experiment)}", _escaped(runs[0]["about"])]
        for (data, settings), part in itertools.groupby(sorted(runs, key=_part), _part):
            blocks += _section(data, settings, list(part))
    return "\n\n".join(filter(None, blocks)) + "\n"


def _section(data: str, settings: str, runs: Sequence[Row]) -> Iterator[str]:
    """One table with its title and what its numbers rest on."""
    yield f"### **{data}** data" + (f": {_escaped(settings)}" if settings else "")
    headline = list(dict.fromkeys(name for row in runs for name in row["headline"].split(";") if name))
    ends = _ends(headline)
    metrics = [name for name in headline if not any(name in pair for pair in ends.values())]
    by_arm = {arm: list(group) for arm, group in itertools.groupby(runs, lambda row: row["arm"])}
    lines = [["arm", *metrics, "seeds", "wall time"]]
    for arm, rows in by_arm.items():
        numbers = [_with_interval(rows, name, ends.get(name, ())) for name in metrics]
        seconds = _numbers([row for row in rows if row["resumed"] != "true"], "wall_s")
        lines.append([arm, *numbers, str(len(rows)), duration(statistics.mean(seconds)) if seconds else "–"])
    down = len(metrics) > max(MAX_COLUMNS, len(by_arm))
    yield _table(lines, down=down)
    compared = _differences(metrics, by_arm)
    if len(compared) > 1:
        yield "An arm minus the default, of the same seeds:"
        yield _table(compared, down=down)
    yield "\n".join(f"- {name}: {text}" for name, text in _basis(runs).items() if text)


def _ends(headline: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Metrics whose interval is in the headline, too → the names of its ends."""
    ends = {}
    for low in headline:
        metric, end, level = low.partition(", low ")
        high = f"{metric}, high {level}"
        if end and metric in headline and high in headline:
            ends[metric] = (low, high)
    return ends


def _with_interval(rows: Sequence[Row], metric: str, ends: Sequence[str]) -> str:
    """A metric over seeds and, of means over seeds, the ends of its interval, if it has one."""
    values = _numbers(rows, f"metric:{metric}")
    interval = [_numbers(rows, f"metric:{end}") for end in ends]
    if not (values and interval and all(interval)):
        return spread(values, len(rows))
    low, high = (f"{statistics.mean(end):,.{_decimals(values)}f}" for end in interval)
    return f"{spread(values, len(rows))} [{low}, {high}]"


def _table(lines: Sequence[Sequence[str]], *, down: bool) -> str:
    """Lines of which the first names the columns; if they shall run `down` the page, the other way round."""
    lines = list(zip(*lines, strict=True)) if down else lines
    escaped = [[_escaped(cell) for cell in line] for line in lines]
    escaped.insert(1, ["---", *["---:"] * (len(escaped[0]) - 1)])
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def _differences(metrics: Sequence[str], by_arm: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    """What arms are worth: their metrics minus those of the default with the same seed, as what seeds share cancels.

    Only of arms that have two seeds or more with the default, and metrics that differ somewhere; a dash is no change.
    """
    known = {row["seed"]: row for row in by_arm.get("default", ())}
    runs: dict[str, int] = {}  # arm → seeds that it shares with the default
    apart: dict[str, dict[str, list[float]]] = {}  # arm → metric → differences
    for arm, rows in by_arm.items():
        pairs = [(row, known[row["seed"]]) for row in rows if row["seed"] in known]
        if arm != "default" and len(pairs) > 1:
            runs[arm] = len(pairs)
            apart[arm] = {name: _apart(pairs, f"metric:{name}") for name in metrics}
    changed = [name for name in metrics if any(any(of_arm[name]) for of_arm in apart.values())]
    lines = [["arm", *changed, "seeds"]]
    for arm, of_arm in apart.items():
        lines.append([arm, *(_signed(of_arm[name], runs[arm]) for name in changed), str(runs[arm])])
    return lines


def _apart(pairs: Iterable[tuple[Row, Row]], name: str) -> list[float]:
    return [float(own[name]) - float(other[name]) for own, other in pairs if own.get(name) and other.get(name)]


def _signed(values: Sequence[float], runs: int) -> str:
    """Mean ± sample standard deviation of differences, two digits of the latter; `–` if there is none. See `spread`."""
    if len(values) < 2 or not any(values):
        return "–"
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    decimals = min(max(1 - math.floor(math.log10(deviation or abs(mean))), 0), 4)
    return f"{mean:+,.{decimals}f} ± {deviation:,.{decimals}f}{_fewer(values, runs)}"


def _basis(runs: Sequence[Row]) -> dict[str, str]:
    """What the numbers of a table rest on, each said once."""
    counts = sorted({name for row in runs for name in row if name.startswith("count:")})
    ranges = [(name.removeprefix("count:"), _numbers(runs, name)) for name in counts]
    machines = (f"{row['device']}, {row['cores']} cores" for row in runs)
    return {
        "counts": _escaped(", ".join(f"{name} {span(values)}" for name, values in ranges if values)),
        "command": ", ".join(f"`{command}`" for command in dict.fromkeys(_unquoted(row["command"]) for row in runs)),
        "device": _escaped("; ".join(dict.fromkeys(machines))),
        "versions": _escaped("; ".join(dict.fromkeys(row["versions"] for row in runs))),
        "commit": _escaped(", ".join(dict.fromkeys(row["commit"] for row in runs if row["commit"]))),
    }


def spread(values: Sequence[float], runs: int) -> str:
    """Mean ± sample standard deviation to the same decimals, four digits of the mean; `–` of nothing.

    How many values there are is said where not each of the `runs` has one.
    """
    if not values:
        return "–"
    mean, decimals = statistics.mean(values), _decimals(values)
    parts = [mean, statistics.stdev(values)] if len(values) > 1 else [mean]
    return " ± ".join(f"{part:,.{decimals}f}" for part in parts) + _fewer(values, runs)


def _decimals(values: Sequence[float]) -> int:
    """As many as four digits of the mean take."""
    mean = statistics.mean(values)
    return 4 if mean == 0 else min(max(3 - math.floor(math.log10(abs(mean))), 0), 8)


def _fewer(values: Sequence[float], runs: int) -> str:
    return f" (of {len(values)})" if len(values) < runs else ""


def span(values: Sequence[float]) -> str:
    """The one count, or the smallest–largest."""
    return "–".join(f"{value:,.0f}" for value in sorted({min(values), max(values)}))


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.41 s, 42 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 59.5:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _results(folder: Path) -> Iterator[Path]:
    """Every result.json below a folder."""
    for parent, _, names in os.walk(folder):
        path = Path(parent) / "result.json"
        if "result.json" in names and not path.is_symlink():
            yield path


def _record(path: Path) -> dict[str, Any]:
    """The JSON object of a result.json; empty if it holds something else."""
    if path.stat().st_size > MAX_BYTES:
        raise ReportError(f"{path} must be at most {MAX_BYTES} bytes, got {path.stat().st_size}; delete it")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is damaged ({error}); delete it and run its arm again") from error
    return record if isinstance(record, dict) else {}


def _row(path: Path, record: Mapping[str, Any]) -> Row:
    """A record as a row; every field is checked, for the file may come from a stranger."""
    try:
        if record["data"] not in ("simulated", "real") or not re.fullmatch(r"[A-Za-z]\w{0,63}", record["experiment"]):
            raise ValueError(f"data {record['data']!r} or experiment {record['experiment']!r} is no such name")
        row = {name: _text(record[name]) for name in ("experiment", "data", "arm", "command", "about")}
        row |= {"sweep": _text(record["sweep"] or ""), "settings": _pairs(record["settings"])}
        row |= {"seed": f"{record['seed']:d}", "headline": ";".join(map(files.column, record["headline"]))}
        row |= {f"metric:{files.column(name)}": _number(value) for name, value in _bounded(record["metrics"])}
        row |= {f"count:{files.column(name)}": _number(value) for name, value in _bounded(record["counts"])}
        row |= {"wall_s": _number(record["wall_s"]), "resumed": "true" if record["resumed"] else "false"}
        row |= {"cores": _number(record["cores"]), "versions": _pairs(record["versions"])}
        row["device"] = _text("{count} × {platform} ({kind})".format(**record["devices"]))
        row["commit"] = _text(record["commit"] or "")[:12] + ("+changes" if record["dirty"] else "")
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ReportError(f"{path} is no result of hpax.launch ({type(error).__name__}: {error}); delete it") from error
    return row


def _load(path: Path) -> list[Row]:
    """The rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = list(csv.DictReader(file, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ReportError(f"{path} is damaged ({error}); restore it, as only hpax.report writes there") from error
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or not {*FRONT, *BACK} <= set(row):
            raise ReportError(f"{path}:{number} lacks columns; restore it, as only hpax.report writes there")
        numbers = [row[name] for name in row if re.match("(metric|count):|wall_s$", name)]
        if not re.fullmatch(r"-?\d{1,18}", row["seed"]) or not all(map(_is_number, numbers)):
            raise ReportError(f"{path}:{number} holds text where a number belongs; restore it")
    return rows


def _key(row: Row) -> tuple[Any, ...]:
    """What a run is known by, in an order that reads well."""
    texts = tuple(row[name] for name in KEY)
    return (*map(_natural, texts), texts)


def _natural(text: str) -> tuple[tuple[float, str], ...]:
    """Sorts as a person does: steps=20 before steps=100."""
    parts = re.findall(r"[0-9]+(?:\.[0-9]+)?|[^0-9]+", text)
    return tuple((float(part), "") if "0" <= part[0] <= "9" else (math.inf, part) for part in parts)


def _part(row: Row) -> tuple[str, str]:
    return row["data"], row["settings"]


def _numbers(rows: Iterable[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name)]


def _number(value: Any) -> str:
    """A finite number as CSV holds it; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return repr(value)


def _is_number(text: str) -> bool:
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False


def _text(value: str) -> str:
    """One line of bounded length that no spreadsheet takes for a formula."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in value[:MAX_TEXT]).split())
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def _pairs(values: Mapping[str, Any]) -> str:
    return _text(", ".join(f"{name}={value}" for name, value in _bounded(values)))


def _bounded(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    if len(values) > MAX_NAMES:
        raise ValueError(f"{len(values)} names where {MAX_NAMES} are allowed")
    return list(values.items())


def _escaped(text: str) -> str:
    """`text` without a meaning in Markdown or HTML."""
    entities = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!$])", r"\\\1", entities)


def _unquoted(command: str) -> str:
    """A command for a code span, which ends at a backtick."""
    return command.replace("`", "'")


if __name__ == "__main__":
    raise SystemExit(main())
