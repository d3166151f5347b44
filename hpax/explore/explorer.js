"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  await unpack(ATLAS);
  const count = ATLAS.ids.length;
  const SHOWN = 120; // cells of a gallery
  const few = ATLAS.total > count; // the others are in the picture only
  let current = -1;
  const raster = new Raster($("cells"));
  const chosen = new Uint8Array(count);
  let plot, points, source, shades, colours;

  const valueOf = (name, row) => {
    const column = ATLAS.columns[name], value = column.values[row];
    if (column.kind === "name") return column.names[value];
    return Number.isNaN(value) ? null : Math.round(value * 1e4) / 1e4;
  };

  function paint(element, row, side) {
    const place = ATLAS.thumb[row];
    if (place < 0) { element.style.backgroundImage = "none"; return; }
    const x = place % ATLAS.sheetColumns, y = Math.floor(place / ATLAS.sheetColumns);
    element.style.backgroundImage = `url(${sheet})`;
    element.style.backgroundSize = `${ATLAS.sheetColumns * side}px auto`;
    element.style.backgroundPosition = `-${x * side}px -${y * side}px`;
  }

  // one address for the sheet, so that its bytes are not copied into each style
  let sheet = "";
  if (ATLAS.sheet) {
    sheet = URL.createObjectURL(new Blob([unpack.bytes(ATLAS.sheet.split(",")[1])], { type: "image/jpeg" }));
  }

  function tell(row) {
    $("who").textContent = `${valueOf("protein", row)}, cell ${ATLAS.ids[row]}`;
    const lines = ATLAS.details[row] ? [ATLAS.details[row]] : [];
    for (const name of Object.keys(ATLAS.columns)) {
      const value = valueOf(name, row);
      if (value !== "" && value !== null) lines.push(`${name}: ${value}`);
    }
    $("what").textContent = lines.join(" · ");
    $("crop").hidden = ATLAS.thumb[row] < 0;
    paint($("crop"), row, 144);
  }

  const composite = ATLAS.channels.length ? new Composite(ATLAS.channels) : null;
  const switches = [...document.querySelectorAll("#channels input[type=checkbox]")];
  const pictured = Object.keys(ATLAS.fields).length > 0;
  function drawField(row) {
    if (!pictured) return;
    const canvas = $("field"), pen = canvas.getContext("2d");
    canvas.hidden = false;
    const uri = ATLAS.fields[valueOf("field", row)];
    pen.clearRect(0, 0, canvas.width, canvas.height);
    canvas.dataset.cell = "";
    $("mapped").hidden = true;
    if (composite) $("channels").hidden = true;
    if (!uri) {
      [canvas.width, canvas.height] = [420, 40];
      pen.fillStyle = "#bbb"; pen.font = "14px sans-serif";
      pen.fillText("this field is not in the page", 12, 24);
      canvas.dataset.cell = "none";
      return;
    }
    if (composite?.uri === uri) { show(null); return; } // its planes are there
    const image = new Image();
    image.onload = () => { if (current === row) show(image); };
    image.src = uri;
    function show(image) {
      if (composite) {
        if (image) { composite.take(image); composite.uri = uri; }
        [canvas.width, canvas.height] = [composite.width, composite.height];
        $("channels").hidden = false;
        composite.draw(pen, switches.map((box) => box.checked), ATLAS.light * $("gain").value);
      } else {
        canvas.width = image.width; canvas.height = image.height;
        pen.drawImage(image, 0, 0);
      }
      drawMap(row, pen);
      const outline = ATLAS.outlines.of[row], length = ATLAS.outlines.length;
      if (outline >= 0) {
        const corners = ATLAS.outlines.corners.subarray(outline * length, (outline + 1) * length);
        pen.beginPath();
        for (let k = 0; k < corners.length; k += 2) pen.lineTo(corners[k], corners[k + 1]);
        pen.closePath();
        pen.lineWidth = 4; pen.strokeStyle = "#000"; pen.stroke();
        pen.lineWidth = 2; pen.strokeStyle = "#fff"; pen.stroke();
      }
      canvas.dataset.cell = ATLAS.ids[row];
    }
  }

  // a class's map over the field: opaque where the probability is the map's highest, nothing below half of that
  function drawMap(row, pen) {
    const map = ATLAS.maps[valueOf("field", row)];
    $("mapped").hidden = !map;
    if (!map || $("map").value === "nothing") { $("mapped").lastElementChild.textContent = ""; return; }
    const label = $("map").value === "its label" ? valueOf("label", row) : $("map").value;
    const size = map.height * map.width, start = ATLAS.classes.indexOf(label) * size;
    const plane = map.planes.subarray(start, start + size);
    const most = Math.max(...plane, 1);
    const small = new ImageData(map.width, map.height);
    plane.forEach((value, k) => small.data.set([255, 120, 0, 190 * Math.max(0, (2 * value) / most - 1)], 4 * k));
    const draft = document.createElement("canvas");
    draft.width = map.width; draft.height = map.height;
    draft.getContext("2d").putImageData(small, 0, 0);
    pen.drawImage(draft, 0, 0, pen.canvas.width, pen.canvas.height);
    $("mapped").lastElementChild.textContent = `(${label}, up to ${(most / 255).toFixed(2)}, in orange)`;
  }

  function choose(row) {
    current = row;
    tell(row);
    drawField(row);
    for (const button of $("gallery").children) button.setAttribute("aria-current", String(+button.dataset.row === row));
  }

  const bare = (row) => ATLAS.thumb[row] < 0;
  const first = (rows) => rows.find((row) => !bare(row)) ?? rows[0];
  function gallery(rows) {
    const by = ATLAS.columns[$("order").value]?.values;
    const place = by ? (row) => (Number.isNaN(by[row]) ? Infinity : -by[row]) : (row) => ATLAS.order[row];
    const sorted = [...rows].sort((a, b) => bare(a) - bare(b) || place(a) - place(b) || a - b);
    const seen = sorted.filter((row) => !bare(row)), best = seen.length ? seen : sorted; // those with a picture, if any
    // both ends of the order, where a protein's cells differ most, or a class is surest and least sure
    const half = SHOWN / 2;
    const shown = best.length > SHOWN ? [...best.slice(0, half), ...best.slice(-half)] : sorted.slice(0, SHOWN);
    const of = few ? ` of the ${count} that are shown one by one` : "";
    $("count").textContent = rows.length
      ? `${rows.length} cells chosen${of}` + (shown.length < rows.length ? `, ${shown.length} of them shown, of both ends of their order, those with a picture first` : "")
      : "Choose cells by lasso, search, legend or a table's row.";
    $("gallery").replaceChildren(...shown.map((row) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.row = row;
      button.title = [valueOf("protein", row), ATLAS.details[row] || ATLAS.ids[row]].join(": ");
      button.setAttribute("aria-label", button.title);
      paint(button, row, 68);
      button.onclick = () => choose(row);
      return button;
    }));
  }

  let quiet = false;
  function select(rows) {
    quiet = true;
    source.selected.indices = rows;
    quiet = false;
    mark(rows);
    gallery(rows);
    if (rows.length) choose(first(rows));
  }

  function rowsWhere(name, value) {
    const column = ATLAS.columns[name], rows = [];
    if (!column) return rows;
    const wanted = column.kind === "name" ? column.names.indexOf(value) : -1;
    const fits = wanted >= 0 ? (row) => column.values[row] === wanted : (row) => String(valueOf(name, row)) === value;
    for (let row = 0; row < count; row++) if (fits(row)) rows.push(row);
    return rows;
  }

  function search(text) {
    if (!text) { select([]); return; }
    const wanted = text.toLowerCase();
    let rows = [];
    for (const name of ["protein", "field"]) {
      const column = ATLAS.columns[name];
      if (!column) continue;
      const exact = column.names.findIndex((each) => each.toLowerCase() === wanted);
      const hits = new Set(exact >= 0 ? [exact] : column.names.flatMap((each, k) => (each.toLowerCase().includes(wanted) ? [k] : [])));
      if (hits.size) { column.values.forEach((value, row) => { if (hits.has(value)) rows.push(row); }); break; }
    }
    if (!rows.length) rows = ATLAS.ids.flatMap((id, row) => (id.toLowerCase() === wanted ? [row] : []));
    select(rows);
    if (!rows.length) {
      const [which, more] = few ? [" that is shown one by one", `; ${ATLAS.total - count} cells are in the picture only`] : ["", ""];
      $("count").textContent = `No cell${which} has ${text} as its protein, field or id${more}.`;
    }
  }

  function colourBy(name) {
    const column = ATLAS.columns[name];
    const names = column.kind === "name";
    const scale = 254 / Math.max(column.high - column.low, 1e-9);
    const shade = column.kind === "name"
      ? (value) => Math.min(value, ATLAS.many)
      : (value) => (Number.isNaN(value) ? 255 : Math.max(0, Math.min(254, Math.round((value - column.low) * scale))));
    shades = Uint8Array.from(column.values, shade);
    colours = column.palette;
    redraw();
    legend(name, column);
  }

  function legend(name, column) {
    const box = $("legend");
    if (column.kind !== "name") {
      const ramp = `linear-gradient(90deg, ${column.palette.filter((_, k) => k % 32 === 0).join(",")})`;
      box.innerHTML = `<span></span><span class="ramp"></span><span></span>`;
      box.children[0].textContent = `${name} ${column.low.toPrecision(3)}`;
      box.children[1].style.background = ramp;
      box.children[2].textContent = column.high.toPrecision(3);
      return;
    }
    const shown = column.names.slice(0, 20).map((each, k) => {
      const button = document.createElement("button"), dot = document.createElement("i");
      button.type = "button";
      dot.style.background = column.palette[k];
      button.append(dot, `${each || "unknown"} (${column.counts[k]})`);
      button.onclick = () => select(rowsWhere(name, each));
      return button;
    });
    const rest = column.names.length - shown.length;
    box.replaceChildren(...shown, rest > 0 ? `and ${rest} more in grey: search, or choose in a table` : "");
  }

  function axes(pair) {
    const [first, second] = pair.split("-").map((each) => +each - 1);
    source.data = { x: ATLAS.places[first], y: ATLAS.places[second] };
    const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const plane = ATLAS.planes[pair]; // has all cells, also those that are not shown one by one
    const sides = plane ? [0, 1].map((axis) => [plane.low[axis], plane.high[axis]]) : [ends(source.data.x), ends(source.data.y)];
    [plot.x_range, plot.y_range].forEach((range, axis) => {
      const [low, high] = sides[axis], spare = 0.05 * (high - low) || 1;
      range.setv({ start: low - spare, end: high + spare, reset_start: low - spare, reset_end: high + spare });
    });
    plot.below[0].axis_label = `UMAP ${first + 1}`;
    plot.left[0].axis_label = `UMAP ${second + 1}`;
    redraw();
  }

  function mark(rows) {
    chosen.fill(0);
    for (const row of rows) chosen[row] = 1;
    redraw();
  }

  // one picture for each of the screen's, whatever asked for it
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  // Bokeh looks for all points again in each picture; while the plane moves it need not
  let still = 0;
  function moved() {
    redraw();
    if (points.visible) points.visible = false;
    clearTimeout(still);
    still = setTimeout(() => { points.visible = true; }, 200);
  }

  function draw() {
    const view = Bokeh.index.find_one(plot), box = view?.frame?.bbox;
    if (!box || !(box.width > 0)) return;
    const stage = $("stage").getBoundingClientRect(), inner = view.canvas_view.el.getBoundingClientRect();
    const { x_range: x, y_range: y } = plot;
    const place = { left: inner.left - stage.left + box.left, top: inner.top - stage.top + box.top, width: box.width, height: box.height };
    raster.place(place, [x.start, x.end, y.start, y.end]);
    raster.clear();
    const [first, second] = [source.data.x, source.data.y], any = source.selected.indices.length > 0;
    // cells that are far apart are larger, so that they can be seen and pointed at
    const seen = raster.seen(first, second), size = seen > 40000 ? 2 : seen > 8000 ? 3 : seen > 1000 ? 5 : 7;
    const look = { shades, colours, size };
    const plane = ATLAS.planes[$("axes").value], close = !plane || seen <= 8000;
    if (plane) raster.squares(plane, ATLAS.side, { shades: plane.shades[$("colour").value], colours, faint: any, close });
    if (any && close) raster.cells(first, second, { ...look, chosen, wanted: 0, faint: true });
    if (any) raster.cells(first, second, { ...look, size: size + 1, chosen, wanted: 1 });
    else if (close) raster.cells(first, second, look);
    raster.show();
  }

  function download() {
    const rows = source.selected.indices.length ? source.selected.indices : ATLAS.ids.map((_, row) => row);
    const quote = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
    const names = Object.keys(ATLAS.columns);
    const lines = [["id", ...names].map(quote).join(",")];
    for (const row of rows) lines.push([ATLAS.ids[row], ...names.map((name) => valueOf(name, row))].map(quote).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "cells.csv";
    link.click();
    window.hpax.exported = lines.length - 1;
    if (few && rows.length === count) $("count").textContent = `${count} cells are in the file, those that are shown one by one of ${ATLAS.total}.`;
  }

  function theme(dark) {
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    const ink = dark ? "#e6e6ea" : "#1b1b1f";
    plot.outline_line_color = ink;
    for (const axis of [...plot.below, ...plot.left]) {
      axis.axis_label_text_color = axis.major_label_text_color = axis.axis_line_color = ink;
      axis.major_tick_line_color = axis.minor_tick_line_color = ink;
    }
    $("theme").setAttribute("aria-pressed", String(dark));
  }

  // the mouse moves more often than a reader can look: one cell for each picture of the screen
  let pointed = -1;
  window.hpaxHover = (indices) => {
    if (!indices.length) return;
    if (pointed < 0) requestAnimationFrame(() => { tell(pointed); pointed = -1; });
    pointed = indices[0];
  };

  await Bokeh.embed.embed_item(FIGURE);
  const doc = Bokeh.documents[0];
  plot = doc.get_model_by_name("plot");
  source = doc.get_model_by_name("cells");
  points = doc.get_model_by_name("points");
  source.selected.properties.indices.change.connect(() => {
    if (quiet) return;
    const rows = [...source.selected.indices];
    mark(rows);
    gallery(rows);
    if (rows.length) choose(first(rows));
  });
  for (const range of [plot.x_range, plot.y_range]) range.change.connect(moved);
  for (const name of ["inner_width", "inner_height"]) plot.properties[name].change.connect(redraw);
  new ResizeObserver(redraw).observe($("stage"));
  const offered = ATLAS.columns.protein.names.slice(0, 15000);
  $("search").addEventListener("focus", () => $("names").replaceChildren(...offered.map((name) => new Option(name))), { once: true });
  $("colour").onchange = () => colourBy($("colour").value);
  $("axes").onchange = () => axes($("axes").value);
  const choices = ["nothing", ...(ATLAS.columns.label ? ["its label"] : []), ...ATLAS.classes];
  $("map").replaceChildren(...choices.map((name) => new Option(name)));
  $("map").value = choices[1] ?? "nothing";
  for (const input of document.querySelectorAll("#channels input")) input.oninput = () => { if (current >= 0) drawField(current); };
  $("map").onchange = () => { if (current >= 0) drawField(current); };
  $("order").onchange = () => gallery([...source.selected.indices]);
  $("search").onchange = () => search($("search").value.trim());
  $("clear").onclick = () => { $("search").value = ""; select([]); };
  $("export").onclick = download;
  let dark = matchMedia("(prefers-color-scheme: dark)").matches;
  $("theme").onclick = () => { dark = !dark; theme(dark); };
  document.querySelectorAll("tr[data-pick]").forEach((line) => {
    const pick = () => select(rowsWhere(line.dataset.pick, line.dataset.value));
    line.onclick = pick;
    line.onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } };
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const rows = [...$("gallery").children].map((button) => +button.dataset.row);
    if (!rows.length) return;
    const place = rows.indexOf(current) + (event.key === "ArrowRight" ? 1 : -1);
    choose(rows[(place + rows.length) % rows.length]);
    event.preventDefault();
  });
  theme(dark);
  axes($("axes").value);
  colourBy($("colour").value);
  gallery([]);
  // the page is there when its cells are
  const shown = () => {
    if (!raster.frames) { redraw(); requestAnimationFrame(shown); return; }
    window.hpax = { ready: performance.now(), plot, source, search, select, raster, exported: 0 };
  };
  shown();
})();
