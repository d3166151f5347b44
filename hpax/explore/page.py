"""One HTML page that holds everything: text, tables and pictures, readable offline, by day and by night."""

import base64
import dataclasses
import html
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hpax import files
from hpax.explore import colour

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: light-dark(#f4f4f6, #24242a); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
       color: light-dark(#1b1b1f, #e6e6ea); background: light-dark(#fff, #17171b); }
h1, h2 { line-height: 1.2; text-wrap: balance; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption, figcaption { text-align: left; color: light-dark(#555, #aaa); font-size: 0.9rem; padding: 0.4rem 0; }
th, td { padding: 0.3rem 0.8rem; border-bottom: 1px solid var(--line); text-align: left; }
.number { text-align: right; }
thead th, tbody tr:nth-child(even) { background: var(--soft); }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; border-radius: 4px; }
pre { background: var(--soft); padding: 0.8rem; overflow-x: auto; border-radius: 4px; }
""".strip()

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Nothing is fetched and nothing runs, whatever the content says."""


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph, or lines in a fixed pitch such as a command."""

    text: str
    fixed: bool = False

    def html(self) -> str:
        """The paragraph's markup."""
        return f"<pre>{html.escape(self.text)}</pre>" if self.fixed else f"<p>{prose(self.text)}</p>"


@dataclasses.dataclass(frozen=True)
class Table:
    """Named columns; floats are shown with three decimals, NaN and None as a dash. A row's first cell names it.

    Raises:
        ValueError: a row of another length than the columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    caption: str = ""

    def __post_init__(self) -> None:
        if ragged := [tuple(row) for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(f"each row needs {len(self.columns)} cells, one of {list(self.columns)}; got {ragged[0]}")

    def html(self) -> str:
        """The table's markup, in a box that scrolls."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.columns)
        body = "\n".join(f"<tr>{_first(row[0])}{''.join(map(_cell, row[1:]))}</tr>" for row in self.rows)
        caption = f"<caption>{prose(self.caption)}</caption>" if self.caption else ""
        table = f"<table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
        return f'<div class="wide">{table}</div>'


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture with its caption, and what it shows in words for those who cannot see it.

    Raises:
        ValueError: no words.
    """

    image: UInt8[np.ndarray, "h w 3"]
    alt: str
    caption: str = ""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("a picture needs an alt text, got none; say in a sentence what it shows")

    def html(self) -> str:
        """The figure's markup, the picture inside as PNG."""
        height, width = self.image.shape[:2]
        data = base64.b64encode(colour.png(self.image)).decode("ascii")
        source = f'src="data:image/png;base64,{data}" width="{width}" height="{height}"'
        caption = f"<figcaption>{prose(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure><img {source} alt="{html.escape(self.alt)}">{caption}</figure>'


@dataclasses.dataclass(frozen=True)
class Link:
    """A way to another page in the same folder.

    Raises:
        ValueError: it is elsewhere.
    """

    file: str
    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-][\w.-]*", self.file):
            raise ValueError(f"a link must name a file in the page's folder, got {self.file!r}")

    def html(self) -> str:
        """The link's markup."""
        return f'<p><a href="{self.file}">{html.escape(self.text)}</a></p>'


Block = Text | Table | Picture | Link


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """The section's markup."""
        blocks = "\n".join(block.html() for block in self.blocks)
        return f"<section>\n<h2>{html.escape(self.heading)}</h2>\n{blocks}\n</section>"


def head(title: str, policy: str) -> str:
    """How a page begins, up to its title: it may load what `policy` allows, which is nothing from elsewhere."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(title)}</title>"""


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """The whole page as HTML: a function of its content, with no link to anything outside and no script."""
    body = "\n".join(section.html() for section in sections)
    return f"""{head(title, POLICY)}
<style>
{STYLE}
</style>
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<p>{prose(about)}</p>
{body}
</main>
</body>
</html>
"""


def write(path: Path, text: str) -> None:
    """A page, all of it or nothing."""
    files.write_text(path, text)


def prose(text: str) -> str:
    """Text as markup: what stands between backticks is code, and nothing else is markup."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))


def _first(value: str | float | None) -> str:
    """The cell that names its row."""
    return f'<th scope="row">{prose(_shown(value))}</th>'


def _cell(value: str | float | None) -> str:
    """One cell, numbers to the right."""
    kind = "" if isinstance(value, str) else ' class="number"'
    return f"<td{kind}>{prose(_shown(value))}</td>"


def _shown(value: str | float | None) -> str:
    """A cell's text."""
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return "–"
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)
