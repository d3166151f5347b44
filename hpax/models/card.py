"""Model cards, written from records of runs."""

from collections.abc import Mapping, Sequence
from typing import Any


def card(title: str, *, use: str, limits: str, record: Mapping[str, Any]) -> str:
    """A model card in Markdown: what for, what not, and everything that the record of a run says.

    Args:
        title: the network's name.
        use: what it finds in what images.
        limits: where it must not be trusted.
        record: as a result.json; each of its mappings becomes a table, everything else a line. Numbers are rounded to
            four digits.
    """
    lines = [f"# {title}", "", use, "", "## Limits", "", limits, "", "## Record", ""]
    plain = {name: value for name, value in record.items() if not isinstance(value, Mapping)}
    lines += [f"- {name}: {_written(value)}" for name, value in plain.items() if value is not None]
    for name, table in record.items():
        if isinstance(table, Mapping):
            lines += ["", f"### {name}", "", "| name | value |", "|---|---|"]
            lines += [f"| {key} | {_written(value)} |" for key, value in table.items()]
    return "\n".join([*lines, ""])


def with_table(card: str, heading: str, rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A card with one more table, before its record or at its end; the first of `rows` is the table's head."""
    lines = [f"## {heading}", "", *([caption, ""] if caption else [])]
    lines += [f"| {' | '.join(map(_written, rows[0]))} |", "|" + "---|" * len(rows[0])]
    lines += [f"| {' | '.join(map(_written, row))} |" for row in rows[1:]]
    before, record, after = card.partition("## Record")
    return "\n".join([before.rstrip("\n"), "", *lines, ""]) + ("\n" + record + after if record else "")


def card_table(card: str, heading: str) -> list[list[str]]:
    """The first table under a heading of a card, its head as the first row; empty if there is none."""
    lines = [line.strip() for line in card.splitlines()]
    places = [place for place, line in enumerate(lines) if line.startswith("#") and line.lstrip("# ") == heading]
    rows: list[list[str]] = []
    for line in lines[places[0] + 1 :] if places else []:
        if line.startswith("#") or (rows and not line.startswith("|")):
            break
        if line.startswith("|") and not line.startswith("|--"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def summary(card: str) -> str:
    """What a card says the network is for, and what it learnt from and must not be used for; "" of an empty card."""
    parts = [part.strip() for part in card.split("\n\n")]
    texts = [" ".join(part.split()) for part in parts if part and not part.startswith(("#", "|", "-"))]
    return " ".join(texts[:2])


def _written(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
