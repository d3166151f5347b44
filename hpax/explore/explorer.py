"""One page to ask an atlas with: cells on a plane, their pictures, fields, tables. One file, offline.

    view = explorer.View(title=..., places=umap, columns={"label": labels, "probability": p}, ...)
    files.write_text(path, explorer.page(view))

Everything is inside, BokehJS included, and the page's policy forbids any request. Bokeh has the axes and the tools;
cells are drawn pixel by pixel (raster.js), as that needs no graphics card. Beyond `MOST` cells all are in the
picture as squares of the plane (hpax.explore.aggregate); `MOST` of them, drawn evenly over labels, can be pointed at
and chosen, and the page says so; counts are always of all.
"""

import base64
import dataclasses
import html
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer, Shaped, UInt8, UInt16
from PIL import Image

from hpax import atlas
from hpax.explore import aggregate, colour, overlays, packing, scatter
from hpax.explore.page import head, prose

MOST = 200_000
"""Points of one page; Le et al. (2022) show 160,000, at most 10,000 of each class."""

SCRIPTS = ("unpack", "raster", "composite", "explorer")
"""The page's own, in the order in which they need each other."""

SHEET_COLUMNS = 64
MANY = 20  # names that have a colour each; the others are grey
UNKNOWN = 255  # the shade of numbers that are not known; the last but one is the highest's
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
    columns: Mapping[str, Column]  # names or numbers; "protein", which must be there, and "field" are searched
    details: Column  # a line of text for each cell, such as its three most probable labels; "": nothing
    order: Float[np.ndarray, " n"]  # of the cells in a gallery
    thumbs: UInt8[np.ndarray, "m s s 3"]
    thumb_of: Integer[np.ndarray, " n"]  # the row of a cell in `thumbs`; -1: it has none
    fields: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # id → JPEG; none: the page has no such panel
    channels: Sequence[str] = ()  # whose grey planes a field's JPEG has, one below the other; none: it is in colour
    outlines: UInt16[np.ndarray, "n p 2"] | None = None  # of cells in their fields; (x, y) in pixels of the picture
    classes: Sequence[str] = ()  # of the maps, which the column "label" names
    maps: Mapping[str, UInt8[np.ndarray, "y x c"]] = dataclasses.field(default_factory=dict)  # of fields, as bytes
    listings: Sequence[Listing] = ()
    warnings: Sequence[str] = ()
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()} | {"ids": len(self.ids)}
        if wrong := {name: length for name, length in lengths.items() if length != len(self.places)}:
            raise ValueError(f"each of {len(self.places)} cells needs a value in every column, got {wrong}")
        needed = ("protein", "field") if self.fields else ("protein",)
        if missing := [name for name in needed if name not in self.columns]:
            raise ValueError(f"a view needs the columns {' and '.join(needed)}, {missing} are missing")
        if self.fields and self.outlines is None:
            raise ValueError(f"the pictures of {len(self.fields)} fields need the outlines of cells, got none")
        if unknown := [name for name in self.channels if name not in atlas.COLOURS]:
            raise ValueError(f"channels must be of {', '.join(atlas.COLOURS)}, got {', '.join(unknown)}")
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
    data, figure = _as_script(_data(view, kept)), _as_script(_figure())
    scripts = "\n".join(f"<script>{_own(f'{name}.js')}</script>" for name in SCRIPTS)
    return f"""{head(view.title, POLICY)}
<link rel="icon" href="data:,">
<style>{_own("explorer.css")}</style>
{style}
</head>
<body>
<header><h1>{html.escape(view.title)}</h1>{_links(view)}</header>
<main>
{_notes(warnings, view.provenance)}
{_controls(view)}
<section id="explore" aria-label="Cells">
<div><div id="stage"><canvas id="cells"></canvas><div id="plot"></div></div>
<p id="legend" aria-label="Legend"></p></div>
<aside aria-live="polite"><h2 id="who">No cell chosen</h2><div id="crop" hidden></div>
<p id="what">Point at a cell to see it, click it to {"see it in its field" if view.fields else "choose it"}.</p>
<canvas id="field" width="420" height="420" role="img" aria-label="The chosen cell in its field" hidden>
</canvas>{_channels(view)}
<p id="mapped" hidden><label>where the network saw <select id="map"></select></label> <span></span></p></aside>
</section>
<section><h2>Gallery</h2>{_order(view)}<p id="count"></p><div id="gallery"></div></section>
{"".join(_listing(number, each) for number, each in enumerate(view.listings))}
</main>
<script>const ATLAS = {data};</script>
{script}
<script>const FIGURE = {figure};</script>
{scripts}
</body>
</html>
"""


def _own(name: str) -> str:
    """A file of this package."""
    return resources.files("hpax.explore").joinpath(name).read_text("utf-8")


def _as_script(value: Any) -> str:
    """A value as JSON that stands in a script: no text in it can end the script, or begin another."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _bokeh() -> tuple[str, str]:
    """The markup of BokehJS, all of it inline."""
    try:
        from bokeh.resources import INLINE
    except ImportError as error:
        raise ImportError("the page needs bokeh; pip install 'hpax[explore]', or make the environment anew") from error
    bundle = INLINE.clone(components=["bokeh"])
    return bundle.render_js(), bundle.render_css()


def _drawn(view: View) -> tuple[Integer[np.ndarray, " m"], str]:
    """The cells that are shown, and what to say if these are not all."""
    count = len(view.places)
    if count <= MOST:
        return np.arange(count), ""
    names = np.asarray(view.columns.get("label", np.zeros(count))).astype(str)
    random = np.random.default_rng(0)
    share, kept = max(1, MOST // len(np.unique(names))), []
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        kept.append(random.choice(own, min(share, len(own)), replace=False))
    rows = np.sort(np.concatenate(kept))
    return rows, (
        f"all {count:,} cells are in the picture, as squares in the colour of what most of their cells are, or of "
        f"their mean; {len(rows):,} of {count:,} cells are shown one by one in a close view, can be pointed at, "
        f"found and chosen, at most {share:,} of each label; counts are of all cells"
    )


def _figure() -> Any:
    """The plot as BokehJS reads it; the script gives it the places of cells, which it finds but does not draw."""
    from bokeh.core.types import ID
    from bokeh.embed import json_item
    from bokeh.models import (
        BoxSelectTool,
        ColumnDataSource,
        CustomJS,
        HoverTool,
        LassoSelectTool,
        PanTool,
        Range1d,
        ResetTool,
        TapTool,
        WheelZoomTool,
    )
    from bokeh.plotting import figure

    source = ColumnDataSource(data={"x": [], "y": []}, name="cells")
    hover = HoverTool(tooltips=None, callback=CustomJS(code="window.hpaxHover(cb_data.index.indices)"))
    wheel = WheelZoomTool()
    plot = figure(
        height=560,
        sizing_mode="stretch_width",
        tools=[PanTool(), wheel, LassoSelectTool(continuous=False), BoxSelectTool(), TapTool(), ResetTool(), hover],
        active_scroll=wheel,
        x_axis_label="UMAP 1",
        y_axis_label="UMAP 2",
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1),
        name="plot",
        background_fill_color=None,
        border_fill_color=None,
    )
    # Bokeh passes over what has no angle where it draws, yet not where it looks for what the mouse points at
    plot.scatter("x", "y", source=source, size=6, angle=math.nan, name="points")
    plot.toolbar.logo = None
    plot.grid.grid_line_color = None
    return json_item(plot, ID("plot"))


def _data(view: View, kept: Integer[np.ndarray, " m"]) -> dict[str, Any]:
    """All that the page's script knows."""
    places = np.asarray(view.places, np.float32)
    planes = _planes(places) if len(kept) < len(places) else {}
    columns = {}
    for name, values in view.columns.items():
        columns[name], shades = _column(np.asarray(values), kept)
        for plane, squares in planes.values():
            plane["shades"][name] = packing.numbers(shades(squares.of))
    return {
        "places": [packing.numbers(places[kept, axis]) for axis in range(places.shape[1])],
        "total": len(places),
        "side": aggregate.SIDE,
        "planes": {pair: plane for pair, (plane, _) in planes.items()},
        "ids": packing.texts(view.ids[kept].astype(str).tolist()),
        "columns": columns,
        "details": packing.texts(view.details[kept].astype(str).tolist()),
        "order": packing.numbers(view.order[kept].astype(np.float32)),
        "thumb": packing.numbers(view.thumb_of[kept].astype(np.int32)),
        "sheetColumns": SHEET_COLUMNS,
        "sheet": _sheet(view.thumbs),
        "fields": {id: _uri(jpeg) for id, jpeg in view.fields.items()},
        "channels": [{"name": name, "colour": colour.RGB[atlas.COLOURS[name]]} for name in view.channels],
        "light": overlays.LIGHT,
        "outlines": _outlines(view, kept),
        "classes": list(view.classes),
        "maps": {id: _map(own) for id, own in view.maps.items()},
        "many": MANY,
    }


def _pairs(axes: int) -> list[str]:
    """The planes that a reader can choose, by their axes."""
    return ["1-2", "1-3", "2-3"] if axes > 2 else ["1-2"]


def _planes(places: Float[np.ndarray, "n k"]) -> dict[str, tuple[dict[str, Any], aggregate.Squares]]:
    """Each plane's squares, with how many cells they hold, yet without what these are."""
    planes = {}
    for pair in _pairs(places.shape[1]):
        squares = aggregate.squares(places[:, [int(axis) - 1 for axis in pair.split("-")]])
        density = packing.numbers(aggregate.densities(squares.of))
        planes[pair] = {"low": squares.low, "high": squares.high, "density": density, "shades": {}}, squares
    return planes


Shades = Callable[[Integer[np.ndarray, " n"]], UInt8[np.ndarray, " s"]]
"""The square of each cell → the shade of each square."""


def _column(values: np.ndarray, kept: Integer[np.ndarray, " m"]) -> tuple[dict[str, Any], Shades]:
    """What is known of the `kept` of all cells; the names, their counts, and the range of numbers are those of all.

    Names are numbers of a list, the commonest first, of which `MANY` have a colour each; numbers are on a ramp.
    """
    if np.issubdtype(values.dtype, np.number):
        return _numbers(values, kept)
    names, codes, counts = ranked(values)
    column = {
        "kind": "name",
        "names": packing.texts(names),
        "counts": counts.tolist(),
        "values": packing.indices(codes[kept]),
        "palette": [colour_of(place) for place in range(MANY + 1)],
    }
    return column, lambda of: np.minimum(aggregate.commonest(of, codes), MANY).astype(np.uint8)


def _numbers(values: np.ndarray, kept: Integer[np.ndarray, " m"]) -> tuple[dict[str, Any], Shades]:
    from bokeh import palettes

    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    column = {
        "kind": "number",
        "values": packing.measures(values[kept].astype(np.float64)),
        "low": low,
        "high": high,
        "palette": [*palettes.Cividis256[:UNKNOWN], GREY],
    }

    def shades(of: Integer[np.ndarray, " n"]) -> UInt8[np.ndarray, " s"]:
        places = (UNKNOWN - 1) * (aggregate.means(of, values) - low) / max(high - low, 1e-9)
        return np.where(np.isnan(places), UNKNOWN, np.rint(places.clip(0, UNKNOWN - 1))).astype(np.uint8)

    return column, shades


def ranked(values: Column) -> tuple[list[str], Integer[np.ndarray, " n"], Integer[np.ndarray, " k"]]:
    """A column's names, the commonest first and equals by the alphabet; each cell's place in them; their counts."""
    index, found = pd.factorize(values.astype(str).astype(object))
    counts = np.bincount(index, minlength=len(found))
    order = np.lexsort((found.astype(str), -counts))
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found))
    return found[order].tolist(), rank[index], counts[order]


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


def _outlines(view: View, kept: Integer[np.ndarray, " m"]) -> dict[str, Any]:
    """The corners of the cells whose field is shown, x and y in turns, and which of these is each cell's; -1: none."""
    if view.outlines is None:
        return {}
    fields = np.asarray(view.columns["field"])[kept].astype(str)
    shown = np.flatnonzero(np.isin(fields, list(view.fields)))
    which = np.full(len(kept), -1, np.int32)
    which[shown] = np.arange(len(shown))
    corners = view.outlines[kept[shown]]
    return {"of": packing.numbers(which), "corners": packing.numbers(corners), "length": 2 * corners.shape[1]}


def _map(planes: UInt8[np.ndarray, "y x c"]) -> dict[str, Any]:
    """The planes one after the other, row by row."""
    return {"height": planes.shape[0], "width": planes.shape[1], "planes": packing.numbers(np.moveaxis(planes, -1, 0))}


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
    axes = "".join(f"<option>{pair}</option>" for pair in _pairs(view.places.shape[1]))
    searched = ", ".join(name for name in ("protein", "field", "cell") if name == "cell" or name in view.columns)
    return f"""<form id="controls" onsubmit="return false">
<label>colour by <select id="colour">{options}</select></label>
<label{"" if view.places.shape[1] > 2 else " hidden"}>axes <select id="axes">{axes}</select></label>
<label>find <input id="search" type="search" list="names" placeholder="{searched}" autocomplete="off"></label>
<datalist id="names"></datalist>
<button type="button" id="clear">clear</button>
<button type="button" id="export">download chosen ids</button>
<button type="button" id="theme" aria-pressed="false">dark or light</button>
</form>"""


def _order(view: View) -> str:
    """What chooses the order of the gallery: as given, or by a column of numbers, the highest first."""
    numbers = [name for name, column in view.columns.items() if np.issubdtype(np.asarray(column).dtype, np.number)]
    options = "".join(f'<option value="{html.escape(name)}">{html.escape(name)}</option>' for name in numbers)
    given = '<option value="">their place within their protein</option>'
    return f'<p><label>in the order of <select id="order">{given}{options}</select></label></p>'


def _channels(view: View) -> str:
    """What chooses the channels of a field's picture, and how bright they are."""
    if not view.channels:
        return ""
    boxes = [
        f'<label><input type="checkbox" checked> {html.escape(name)} ({atlas.COLOURS[name]})</label>'
        for name in view.channels
    ]
    gain = '<label>brightness <input id="gain" type="range" min="0.5" max="5" step="0.1" value="1"></label>'
    return f'<p id="channels" hidden>{" ".join(boxes)} {gain}</p>'


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
