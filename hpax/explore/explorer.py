"""One page to ask an atlas with: cells on a plane, their pictures, fields, tables. One file, offline.

    view = explorer.View(title=..., places=umap, columns={"label": labels, "probability": p}, ...)
    files.write_text(path, explorer.page(view))

Everything is inside, BokehJS (WebGL) included, and the page's policy forbids any request. Beyond `MOST` cells so many
are drawn evenly over labels, and the page says so.
"""

import base64
import dataclasses
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer, Shaped, UInt8, UInt16
from PIL import Image

from hpax.explore import scatter
from hpax.explore.page import head, prose

MOST = 200_000
"""Points of one page; Le et al. (2022) show 160,000, at most 10,000 of each class."""

SHEET_COLUMNS = 64
MANY = 20  # names that have a colour each; the others are grey
RAMP = "Cividis256"  # the same to all eyes
GREY = "#9a9a9a"
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"

Column = Shaped[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Listing:
    """A table whose rows select cells: those that have the value of the row's first column in the column `selects`."""

    title: str
    rows: pd.DataFrame
    selects: str = ""  # such as "protein"; "": nothing
    caption: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """What a page shows. Arrays have a row for each cell."""

    title: str
    places: Float[np.ndarray, "n k"]  # 2 or 3 axes
    ids: Column
    columns: Mapping[str, Column]  # names or numbers; "protein" is searched, "field" is shown, both must be there
    details: Column  # a line of text for each cell, such as its three most probable labels
    order: Float[np.ndarray, " n"]  # of the cells in a gallery
    thumbs: UInt8[np.ndarray, "m s s 3"]
    thumb_of: Integer[np.ndarray, " n"]  # the row of a cell in `thumbs`; -1: it has none
    fields: Mapping[str, bytes]  # id → JPEG
    outlines: UInt16[np.ndarray, "n p 2"]  # (x, y) in pixels of the field's picture
    classes: Sequence[str] = ()  # of the maps, which the column "label" names
    maps: Mapping[str, UInt8[np.ndarray, "y x c"]] = dataclasses.field(default_factory=dict)  # of fields, as bytes
    listings: Sequence[Listing] = ()
    warnings: Sequence[str] = ()
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()} | {"ids": len(self.ids)}
        if wrong := {name: length for name, length in lengths.items() if length != len(self.places)}:
            raise ValueError(f"each of {len(self.places)} cells needs a value in every column, got {wrong}")
        if missing := [name for name in ("protein", "field") if name not in self.columns]:
            raise ValueError(f"a view needs the columns protein and field, {missing} are missing")
        if wrong := {id: own.shape[2] for id, own in self.maps.items() if own.shape[2] != len(self.classes)}:
            raise ValueError(f"maps must have a plane for each of {len(self.classes)} classes, got {wrong}")


def page(view: View) -> str:
    """The page as HTML.

    Raises:
        ImportError: bokeh is not installed.
    """
    kept, remark = _drawn(view)
    warnings = [*view.warnings, *([remark] if remark else [])]
    script, style = _bokeh()
    data, figure = _as_script(_data(view, kept)), _as_script(_figure(view, kept))
    own = {
        name: resources.files("hpax.explore").joinpath(f"explorer.{name}").read_text("utf-8") for name in ("css", "js")
    }
    return f"""{head(view.title, POLICY)}
<link rel="icon" href="data:,">
<style>{own["css"]}</style>
{style}
</head>
<body>
<header><h1>{html.escape(view.title)}</h1>{_links(view)}</header>
<main>
{_notes(warnings, view.provenance)}
{_controls(view)}
<section id="explore" aria-label="Cells">
<div><div id="plot"></div><p id="legend" aria-label="Legend"></p></div>
<aside aria-live="polite"><h2 id="who">No cell chosen</h2><div id="crop" hidden></div>
<p id="what">Point at a cell to see it, click it to see it in its field.</p>
<canvas id="field" width="420" height="420" role="img" aria-label="The chosen cell in its field" hidden>
</canvas><p id="mapped" hidden><label>where the network saw <select id="map"></select></label> <span></span></p></aside>
</section>
<section><h2>Gallery</h2><p id="count"></p><div id="gallery"></div></section>
{"".join(_listing(number, each) for number, each in enumerate(view.listings))}
</main>
<script>const ATLAS = {data};</script>
{script}
<script>const FIGURE = {figure};</script>
<script>{own["js"]}</script>
</body>
</html>
"""


def _as_script(value: Any) -> str:
    """A value as JSON that stands in a script: no text in it can end the script, or begin another."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _bokeh() -> tuple[str, str]:
    """The markup of BokehJS, all of it inline."""
    try:
        from bokeh.resources import INLINE
    except ImportError as error:
        raise ImportError("the page needs bokeh; pip install 'hpax[explore]', or make the environment anew") from error
    bundle = INLINE.clone(components=["bokeh", "bokeh-gl"])
    return bundle.render_js(), bundle.render_css()


def _drawn(view: View) -> tuple[Integer[np.ndarray, " m"], str]:
    """The cells that are shown, and what to say if these are not all."""
    count = len(view.places)
    if count <= MOST:
        return np.arange(count), ""
    names = np.asarray(view.columns.get("label", np.zeros(count))).astype(str)
    random = np.random.default_rng(0)
    share, kept = MOST // len(np.unique(names)), []
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        kept.append(random.choice(own, min(share, len(own)), replace=False))
    rows = np.sort(np.concatenate(kept))
    return rows, f"{len(rows):,} of {count:,} cells are shown, at most {share:,} of each label; files hold all of them"


def _figure(view: View, kept: Integer[np.ndarray, " m"]) -> Any:
    """The plot as BokehJS reads it."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.models import (
        BoxSelectTool,
        ColumnDataSource,
        CustomJS,
        HoverTool,
        LassoSelectTool,
        LinearColorMapper,
        PanTool,
        ResetTool,
        TapTool,
        WheelZoomTool,
    )
    from bokeh.plotting import figure

    places = np.asarray(view.places[kept], np.float32)
    axes = {f"u{axis}": places[:, axis] for axis in range(places.shape[1])}
    shown = {"x": places[:, 0], "y": places[:, 1], "code": np.zeros(len(kept), np.float32)}
    source = ColumnDataSource(data={**shown, **axes}, name="cells")
    hover = HoverTool(tooltips=None, callback=CustomJS(code="window.hpaxHover(cb_data.index.indices)"))
    wheel = WheelZoomTool()
    plot = figure(
        height=560,
        sizing_mode="stretch_width",
        output_backend="webgl",
        tools=[PanTool(), wheel, LassoSelectTool(continuous=False), BoxSelectTool(), TapTool(), ResetTool(), hover],
        active_scroll=wheel,
        x_axis_label="UMAP 1",
        y_axis_label="UMAP 2",
        name="plot",
    )
    mapper = LinearColorMapper(palette=[GREY], low=-0.5, high=0.5, nan_color=GREY, name="colours")
    size = 6 if len(kept) < 20_000 else 3
    plot.scatter(
        "x",
        "y",
        source=source,
        size=size,
        line_color=None,
        fill_color={"field": "code", "transform": mapper},
        fill_alpha=0.85,
        nonselection_fill_alpha=0.06,
        selection_fill_alpha=1.0,
        name="points",
    )
    plot.toolbar.logo = None
    plot.grid.grid_line_alpha = 0.25
    return json_item(plot, ID("plot"))


def _data(view: View, kept: Integer[np.ndarray, " m"]) -> dict[str, Any]:
    """All that the page's script knows."""
    columns = {name: _column(np.asarray(column)[kept]) for name, column in view.columns.items()}
    return {
        "ids": view.ids[kept].astype(str).tolist(),
        "columns": columns,
        "details": view.details[kept].astype(str).tolist(),
        "order": [round(float(value), 4) for value in view.order[kept]],
        "thumb": view.thumb_of[kept].tolist(),
        "side": int(view.thumbs.shape[1]) if len(view.thumbs) else 48,
        "sheetColumns": SHEET_COLUMNS,
        "sheet": _sheet(view.thumbs),
        "fields": {id: _uri(jpeg) for id, jpeg in view.fields.items()},
        "outlines": _outlines(view, kept),
        "classes": list(view.classes),
        "maps": {id: _map(own) for id, own in view.maps.items()},
        "axes": int(view.places.shape[1]),
    }


def _column(values: np.ndarray) -> dict[str, Any]:
    """Names as numbers of a list, commonest first with a colour; numbers as they are, on a ramp."""
    if np.issubdtype(values.dtype, np.number):
        from bokeh import palettes

        numbers = values.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        told = [round(value, 4) if math.isfinite(value) else None for value in numbers.tolist()]
        return {"kind": "number", "values": told, "low": low, "high": high, "palette": list(palettes.Cividis256)}
    names, index, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(names), int)
    rank[order] = np.arange(len(names))
    return {
        "kind": "name",
        "names": names[order].tolist(),
        "counts": counts[order].tolist(),
        "values": rank[index].tolist(),
        "palette": [colour_of(place) for place in range(len(names))],
    }


def colour_of(place: int) -> str:
    """Colours that colour-blind readers tell apart, then lighter and darker ones of the same, then grey."""
    if place >= MANY:
        return GREY
    base = scatter.COLOURS[:6][place % 6]
    mixed = (None, (255, 0.5), (0, 0.45), (255, 0.75))[place // 6]
    if mixed is None:
        return base
    towards, share = mixed
    parts = [int(base[start : start + 2], 16) for start in (1, 3, 5)]
    return "#" + "".join(f"{round(part + share * (towards - part)):02x}" for part in parts)


def _sheet(thumbs: UInt8[np.ndarray, "m s s 3"]) -> str:
    """All crops as one JPEG, row by row."""
    if not len(thumbs):
        return ""
    side, rows = thumbs.shape[1], -(-len(thumbs) // SHEET_COLUMNS)
    sheet = np.zeros((rows * SHEET_COLUMNS, side, side, 3), np.uint8)
    sheet[: len(thumbs)] = thumbs
    whole = sheet.reshape(rows, SHEET_COLUMNS, side, side, 3).swapaxes(1, 2)
    file = io.BytesIO()
    Image.fromarray(whole.reshape(rows * side, SHEET_COLUMNS * side, 3)).save(file, format="JPEG", quality=82)
    return _uri(file.getvalue())


def _outlines(view: View, kept: Integer[np.ndarray, " m"]) -> list[list[int] | int]:
    """The corners of each cell whose field is shown, x and y in turns; 0 for the others."""
    fields = np.asarray(view.columns["field"]).astype(str)
    return [view.outlines[row].ravel().tolist() if fields[row] in view.fields else 0 for row in kept.tolist()]


def _map(planes: UInt8[np.ndarray, "y x c"]) -> dict[str, Any]:
    """The planes one after the other, row by row."""
    bytes_ = np.ascontiguousarray(np.moveaxis(planes, -1, 0)).tobytes()
    return {"height": planes.shape[0], "width": planes.shape[1], "planes": base64.b64encode(bytes_).decode("ascii")}


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _notes(warnings: Sequence[str], provenance: Mapping[str, str]) -> str:
    """What to know first."""
    told = "".join(f"<li>{prose(text)}</li>" for text in warnings)
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{prose(text)}</dd>" for name, text in provenance.items())
    first = f'<ul class="warnings" role="note">{told}</ul>' if told else ""
    return f'<section id="about" aria-label="What this is">{first}<dl>{rows}</dl></section>'


def _links(view: View) -> str:
    links = [("explore", "Cells"), *((f"table{number}", each.title) for number, each in enumerate(view.listings))]
    return "<nav>" + " ".join(f'<a href="#{id}">{html.escape(title)}</a>' for id, title in links) + "</nav>"


def _controls(view: View) -> str:
    options = "".join(f"<option>{html.escape(name)}</option>" for name in view.columns if name != "field")
    pairs = ["1-2", "1-3", "2-3"] if view.places.shape[1] > 2 else ["1-2"]
    axes = "".join(f"<option>{pair}</option>" for pair in pairs)
    return f"""<form id="controls" onsubmit="return false">
<label>colour by <select id="colour">{options}</select></label>
<label>axes <select id="axes">{axes}</select></label>
<label>find <input id="search" type="search" list="names" placeholder="protein, field, cell" autocomplete="off"></label>
<datalist id="names"></datalist>
<button type="button" id="clear">clear</button>
<button type="button" id="export">download chosen ids</button>
<button type="button" id="theme" aria-pressed="false">dark or light</button>
</form>"""


def _listing(number: int, listing: Listing) -> str:
    """A table; a row that selects cells can be clicked, or reached by Tab and Enter."""
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in listing.rows.columns)
    body = []
    for row in listing.rows.itertuples(index=False, name=None):
        cells = "".join(f"<td{_align(value)}>{html.escape(_shown(value))}</td>" for value in row)
        pick = f' tabindex="0" data-pick="{html.escape(listing.selects)}" data-value="{html.escape(str(row[0]))}"'
        body.append(f"<tr{pick if listing.selects else ''}>{cells}</tr>")
    caption = f"<caption>{html.escape(listing.caption)}</caption>" if listing.caption else ""
    table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    title = f"<h2>{html.escape(listing.title)}</h2>"
    return f'<section id="table{number}">{title}<div class="wide">{table}</div></section>'


def _align(value: object) -> Literal["", ' class="number"']:
    return ' class="number"' if isinstance(value, int | float | np.number) else ""


def _shown(value: object) -> str:
    """A cell's text."""
    if isinstance(value, float | np.floating):
        number = float(value)
        if not math.isfinite(number):
            return "–"
        return f"{number:.1e}" if 0 < abs(number) < 0.001 else f"{number:.3f}"
    return "–" if value is None else str(value)
