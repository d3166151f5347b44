"""The page holds all that it shows, asks nobody for anything, and does in a browser what it says."""

import base64
import dataclasses
import io
import json
import re
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpax import atlas
from hpax.explore import aggregate, browser, explorer, overlays, packing

pytest.importorskip("bokeh")


BROWSER = pytest.mark.skipif(
    browser.executable() is None, reason=f"no browser: install one of {', '.join(browser.NAMES)}"
)

MAP = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
PARTLY = np.where(np.arange(60) % 3, np.nan, 0.1)  # known of every third cell
VARIABLE = pd.DataFrame({"protein": ["PROT3"], "variability": [np.nan]})


def jpeg(seed, side=60):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def view(cells=60, **changes):
    random = np.random.default_rng(0)
    proteins = np.array([f"PROT{number % 6}" for number in range(cells)])
    fields = np.array([f"F{number % 12}" for number in range(cells)])
    made = explorer.View(
        title="An atlas of <tests>",
        places=(10 * random.normal(size=(cells, 3))).astype(np.float32),
        ids=np.array([f"cell{number}" for number in range(cells)]),
        columns={
            "label": np.where(np.arange(cells) % 2, "Nucleoli", "Cytosol"),
            "protein": proteins,
            "field": fields,
            "probability": random.uniform(size=cells),
        },
        details=np.array(["Nucleoli 0.9, Cytosol 0.1, Negative 0.0"] * cells),
        order=random.normal(size=cells),
        thumbs=random.integers(0, 255, (cells - 10, 48, 48, 3), np.uint8),
        thumb_of=np.r_[np.arange(cells - 10), np.full(10, -1)],
        fields={f"F{number}": jpeg(number) for number in range(6)},
        outlines=random.integers(0, 60, (cells, 24, 2)).astype(np.uint16),
        classes=("Cytosol", "Nucleoli"),
        maps={"F3": MAP},
        listings=[
            explorer.Listing("Variable", pd.DataFrame({"protein": ["PROT3"], "v": [np.nan]}), "protein", "a < b")
        ],
        warnings=["simulated & untrue"],
        provenance={"made of": "noise"},
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def page():
    return explorer.page(view())


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_holds_everything_and_links_to_nothing_outside(page):
    own = without_scripts(page)
    for name in explorer.SCRIPTS:
        script = resources.files("hpax.explore").joinpath(f"{name}.js").read_text("utf-8")
        assert script in page
        assert "http" not in own.replace("http-equiv", "") + script
    assert not re.search(r'(src|href)="(?!#|data:)', own)
    assert "default-src 'none'" in page
    assert page.index("simulated &amp; untrue") < page.index('id="plot"')
    assert "An atlas of &lt;tests&gt;" in page
    assert '<td class="number">–</td>' in page


def test_what_the_script_knows_is_what_was_given(page):
    data = packing.unpacked(json.loads(re.search(r"const ATLAS = (.*?);</script>", page).group(1)))
    names = data["columns"]["protein"]["names"]
    assert [names[value] for value in data["columns"]["protein"]["values"][:3]] == ["PROT0", "PROT1", "PROT2"]
    assert data["columns"]["probability"]["kind"] == "number"
    np.testing.assert_array_equal(data["columns"]["probability"]["values"], view().columns["probability"].astype("f4"))
    np.testing.assert_array_equal(data["places"], view().places.T)
    assert data["ids"] == view().ids.tolist()
    assert data["details"] == view().details.tolist()
    outlines = data["outlines"]
    corners = outlines["corners"].reshape(-1, outlines["length"])
    for row in (0, 14):
        np.testing.assert_array_equal(corners[outlines["of"][row]], view().outlines[row].ravel())
    assert outlines["of"][7] == -1  # its field is not in the page
    planes = data["maps"]["F3"]["planes"]
    np.testing.assert_array_equal(planes.reshape(2, 2, 3)[1], MAP[..., 1])
    with pytest.raises(ValueError, match=r"a plane for each of 2 classes, got \{'F3': 3\}"):
        view(maps={"F3": np.zeros((2, 2, 3), np.uint8)})
    sheet = Image.open(io.BytesIO(base64.b64decode(data["sheet"].split(",")[1])))
    assert sheet.size == (64 * 48, 48)


def test_no_text_of_a_file_ends_a_script_or_begins_one():
    told = explorer._as_script({"id": "</script><!--<script>"})
    assert "<" not in told
    assert json.loads(told) == {"id": "</script><!--<script>"}


def test_beyond_the_most_cells_are_drawn_evenly_over_labels(monkeypatch):
    monkeypatch.setattr(explorer, "MOST", 20)
    rare = np.where(np.arange(60) < 4, "rare", "frequent")
    rows, remark = explorer._drawn(view(columns={**view().columns, "label": rare}))
    assert set(range(4)) <= set(rows.tolist())
    assert len(rows) == 14
    assert "14 of 60 cells are shown" in remark


def without_fields():
    columns = {name: values for name, values in view().columns.items() if name != "field"}
    return view(columns=columns, fields={}, outlines=None, maps={}, classes=(), details=np.full(60, ""))


def test_pictures_of_fields_need_outlines_and_a_page_without_them_does_not_speak_of_fields(untyped):
    with pytest.raises(ValueError, match="pictures of 6 fields need the outlines of cells"):
        view(outlines=None)
    own = without_scripts(explorer.page(without_fields()))
    assert "in its field" not in own.replace('aria-label="The chosen cell in its field"', "")
    assert 'placeholder="protein, cell"' in own


@pytest.mark.slow
@BROWSER
def test_in_a_browser_a_page_without_fields_shows_crops_and_no_panel_of_fields(tmp_path):
    path = tmp_path / "explorer.html"
    path.write_text(explorer.page(without_fields()), encoding="utf-8")
    with browser.Browser() as chromium:
        tab = chromium.open(path)
        tab.wait("window.hpax && window.hpax.ready")
        tab.value("window.hpax.search('cell7')")
        assert tab.value("document.getElementById('who').textContent") == "PROT1, cell cell7"
        assert not tab.value("document.getElementById('crop').hidden")
        assert tab.value("document.getElementById('field').hidden && document.getElementById('mapped').hidden")
        assert tab.value("document.querySelector('#gallery button').title") == "PROT1: cell7"
        tab.value("document.getElementById('clear').click(); document.getElementById('export').click()")
        assert tab.value("window.hpax.exported") == 60
        assert tab.errors == []


def planes(levels=(100, 200, 50, 30), side=64):
    """Four channels as grey planes in one JPEG, each of one level."""
    file = io.BytesIO()
    grey = np.repeat(np.array(levels, np.uint8), side)[:, None].repeat(side, 1)
    Image.fromarray(grey).save(file, "JPEG", quality=95)
    return file.getvalue()


def test_channels_that_have_no_colour_are_refused(untyped):
    with pytest.raises(ValueError, match=r"channels must be of protein, .*got actin"):
        view(channels=("protein", "actin"))


@pytest.mark.slow
@BROWSER
def test_in_a_browser_channels_can_be_switched_and_brightened(tmp_path):
    path = tmp_path / "index.html"
    shown = view(fields={"F3": planes()}, maps={}, channels=atlas.CHANNELS)
    path.write_text(explorer.page(shown), encoding="utf-8")
    with browser.Browser() as chromium:
        tab = chromium.open(path)
        tab.wait("window.hpax && window.hpax.ready")
        assert tab.value("document.getElementById('channels').hidden")
        tab.value("window.hpax.search('cell3')")
        light = overlays.LIGHT
        red, green, blue = 50 + 30, 100 + 30, 200  # microtubules and ER, protein and ER, nucleus
        assert pixel_of_field(tab) == pytest.approx([light * red, light * green, light * blue], abs=3)
        switch(tab, "document.querySelectorAll('#channels input')[3].checked = false")  # ER
        assert pixel_of_field(tab) == pytest.approx([light * 50, light * 100, light * blue], abs=3)
        switch(tab, "document.getElementById('gain').value = 2")
        assert pixel_of_field(tab) == pytest.approx([2 * light * 50, 2 * light * 100, 255], abs=4)
        tab.value("window.hpax.search('cell4')")
        tab.wait("document.getElementById('field').dataset.cell == 'none'")
        assert tab.value("document.getElementById('channels').hidden")
        assert tab.errors == []


def switch(tab, change):
    tab.value(f"document.getElementById('field').dataset.cell = ''; {change};")
    tab.value("document.getElementById('gain').oninput()")


def pixel_of_field(tab):
    """A pixel in a corner of the chosen cell's field, away from its outline."""
    tab.wait("document.getElementById('field').dataset.cell == 'cell3'")
    pen = "document.getElementById('field').getContext('2d')"
    return tab.value(f"[...{pen}.getImageData(62, 2, 1, 1).data].slice(0, 3)")


@pytest.fixture
def large(monkeypatch):
    """A page of 60 cells that shows 14 one by one: four of a rare label, ten of the other."""
    monkeypatch.setattr(explorer, "MOST", 20)
    columns = {**view().columns, "label": np.where(np.arange(60) < 4, "rare", "frequent"), "partly": PARTLY}
    return explorer.page(view(columns=columns))


def told(page):
    return packing.unpacked(json.loads(re.search(r"const ATLAS = (.*?);</script>", page).group(1)))


def test_of_a_large_page_all_cells_are_in_the_picture_and_counted(large):
    data, places = told(large), view().places
    label = data["columns"]["label"]
    assert (label["names"], label["counts"]) == (["frequent", "rare"], [56, 4])
    assert sum(data["columns"]["protein"]["counts"]) == data["total"] == 60
    assert len(data["ids"]) == len(label["values"]) == 14
    assert set(data["planes"]) == {"1-2", "1-3", "2-3"}
    for pair, axes in (("1-2", [0, 1]), ("1-3", [0, 2]), ("2-3", [1, 2])):
        of, plane = aggregate.squares(places[:, axes]).of, data["planes"][pair]
        np.testing.assert_array_equal(np.flatnonzero(plane["density"]), np.unique(of))
        np.testing.assert_array_equal(plane["shades"]["label"][of[4:]], 0)
        assert set(plane["shades"]) == {*view().columns, "partly"}
        alone = np.bincount(of)[of] == 1
        np.testing.assert_array_equal(
            plane["shades"]["partly"][of[alone]], np.where(np.isnan(PARTLY[alone]), explorer.UNKNOWN, 0)
        )
    highest = view().columns["probability"].argmax()
    assert plane["shades"]["probability"][of[highest]] == explorer.UNKNOWN - 1


def test_a_small_page_has_no_squares(page):
    assert told(page)["planes"] == {}


@pytest.mark.slow
@BROWSER
def test_in_a_browser_a_cell_that_was_not_drawn_for_the_page_is_in_its_picture(large, tmp_path, monkeypatch):
    path = tmp_path / "index.html"
    path.write_text(large, encoding="utf-8")
    data = told(large)
    missing = [row for row, id in enumerate(view().ids) if id not in data["ids"]]
    with browser.Browser() as chromium:
        tab = chromium.open(path)
        tab.wait("window.hpax && window.hpax.ready")
        for row in missing:
            x, y = view().places[row, :2].tolist()
            assert max(pixels_at(tab, f"[{x}, {y}]")[3::4]) > 0  # squares end between pixels
        tab.value("window.hpax.search('PROT5')")
        chosen = tab.value("document.getElementById('count').textContent")
        assert re.fullmatch(r"\d cells? chosen of the 14 that are shown one by one", chosen)
        tab.value("window.hpax.select([]); document.getElementById('export').click()")
        assert "14 cells are in the file" in tab.value("document.getElementById('count').textContent")
        tab.value("window.hpax.search('nobody')")
        assert "46 cells are in the picture only" in tab.value("document.getElementById('count').textContent")
        assert tab.errors == []


def test_columns_must_fit_and_be_there(untyped):
    with pytest.raises(ValueError, match="field"):
        view(columns={"protein": view().columns["protein"]})
    with pytest.raises(ValueError, match="'label': 3"):
        view(columns={**view().columns, "label": np.array(["a", "b", "c"])})


def test_the_first_colours_are_all_different():
    colours = [explorer.colour_of(place) for place in range(explorer.MANY)]
    assert len(set(colours)) == explorer.MANY
    assert explorer.colour_of(explorer.MANY) == explorer.GREY


@pytest.mark.slow
@BROWSER
def test_in_a_browser_hover_search_click_and_export_work_and_no_request_leaves(page, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(page, encoding="utf-8")
    with browser.Browser() as chromium:
        tab = chromium.open(path)
        tab.wait("window.hpax && window.hpax.ready")
        tab.value("window.hpax.search('PROT3')")
        assert tab.value("document.getElementById('count').textContent") == "10 cells chosen"
        chosen = tab.value("window.hpax.source.selected.indices")
        assert chosen == list(range(3, 60, 6))
        tab.wait("document.getElementById('field').dataset.cell == 'cell3'")
        assert "PROT3" in tab.value("document.getElementById('who').textContent")
        assert not tab.value("document.getElementById('mapped').hidden")
        assert "(Nucleoli, up to 0.04" in tab.value("document.getElementById('mapped').textContent")
        plain, mapped = "nothing", "Cytosol"
        drawn = []
        for choice in (plain, mapped):
            tab.value("window.was = document.getElementById('field').dataset.cell = ''")
            tab.value(f"(() => {{ const m = document.getElementById('map'); m.value = '{choice}'; m.onchange(); }})()")
            tab.wait("document.getElementById('field').dataset.cell == 'cell3'")
            drawn.append(tab.value("document.getElementById('field').toDataURL()"))
        assert drawn[0] != drawn[1]
        tab("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
        assert tab.value("document.getElementById('field').dataset.cell") != "cell3"
        tab.value("window.hpax.select([8]); document.querySelector('#gallery button').click()")
        tab.wait("document.getElementById('field').dataset.cell == 'none'")  # F8 is not in the page
        assert not tab.value("document.getElementById('crop').hidden")
        tab.value("window.hpax.select([58])")
        assert tab.value("document.getElementById('crop').hidden")  # it has no picture
        tab.value("document.querySelector('tr[data-pick]').click()")
        assert tab.value("window.hpax.source.selected.indices.length") == 10
        tab.value("(() => { const o = document.getElementById('order'); o.value = 'probability'; o.onchange(); })()")
        rows = tab.value("[...document.querySelectorAll('#gallery button')].map((button) => +button.dataset.row)")
        bare = view().thumb_of < 0
        assert rows == sorted(range(3, 60, 6), key=lambda row: (bare[row], -view().columns["probability"][row]))
        tab.value("document.getElementById('export').click()")
        assert tab.value("window.hpax.exported") == 10
        shown = pixels_at(tab, point(8))[16:20]
        assert shown == [*bytes.fromhex(explorer.colour_of(0)[1:]), 255]  # its label is the first of equals
        assert tab.value("window.hpax.raster.seen(window.hpax.source.data.x, window.hpax.source.data.y)") == 60
        hover_over(tab, 5)
        tab.wait("document.getElementById('who').textContent.includes('cell5')")
        for name, value in (("colour", "probability"), ("colour", "protein"), ("axes", "2-3")):
            change = f"const c = document.getElementById('{name}'); c.value = '{value}'; c.onchange();"
            tab.value(f"(() => {{ {change} }})()")
        tab.value("document.getElementById('theme').click()")
        tab.picture(tmp_path / "page.png")
        tab.value("1")
        assert tab.errors == []
        assert [url for url in tab.requests if not url.startswith(("data:", "blob:", path.as_uri()))] == []


def place_of(tab, place):
    """Where Bokeh has a place of the plane, in the window; in JavaScript, as is `place`."""
    return tab.value(f"""(([x, y]) => {{
      const view = Bokeh.index.find_one(window.hpax.plot);
      const frame = view.frame, box = view.canvas_view.el.getBoundingClientRect();
      return [box.left + frame.x_scale.compute(x), box.top + frame.y_scale.compute(y)];
    }})({place})""")


def point(row):
    return f"[window.hpax.source.data.x[{row}], window.hpax.source.data.y[{row}]]"


def pixels_at(tab, place):
    """Three by three pixels around a place of the plane, in the next picture, with nothing chosen."""
    tab.value("window.hpax.select([])")
    tab.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    x, y = place_of(tab, place)
    return tab.value(
        "(() => { const c = document.getElementById('cells'), box = c.getBoundingClientRect();"
        f"const [x, y] = [{x} - box.left, {y} - box.top].map((v) => Math.floor(v * c.width / box.width));"
        "return [...c.getContext('2d').getImageData(x - 1, y - 1, 3, 3).data]; })()"
    )


def hover_over(tab, row):
    """Moves the mouse over a point of the plot."""
    x, y = place_of(tab, point(row))
    for step in (-3, -2, -1, 0):
        tab.mouse("mouseMoved", x + step, y)
