"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const count = ATLAS.ids.length;
  const SHOWN = 120; // cells of a gallery
  let current = -1;
  let plot, source, mapper;

  const valueOf = (name, row) => {
    const column = ATLAS.columns[name];
    return column.kind === "name" ? column.names[column.values[row]] : column.values[row];
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
    const bytes = Uint8Array.from(atob(ATLAS.sheet.split(",")[1]), (letter) => letter.charCodeAt(0));
    sheet = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
  }

  function tell(row) {
    $("who").textContent = `${valueOf("protein", row)}, cell ${ATLAS.ids[row]}`;
    const lines = [ATLAS.details[row]];
    for (const name of Object.keys(ATLAS.columns)) {
      const value = valueOf(name, row);
      if (value !== "" && value !== null) lines.push(`${name}: ${value}`);
    }
    $("what").textContent = lines.join(" · ");
    $("crop").hidden = false;
    paint($("crop"), row, 144);
  }

  function drawField(row) {
    const canvas = $("field"), pen = canvas.getContext("2d");
    canvas.hidden = false;
    const uri = ATLAS.fields[valueOf("field", row)];
    pen.clearRect(0, 0, canvas.width, canvas.height);
    canvas.dataset.cell = "";
    $("mapped").hidden = true;
    if (!uri) {
      pen.fillStyle = "#bbb"; pen.font = "14px sans-serif";
      pen.fillText("this field is not in the page", 12, 24);
      canvas.dataset.cell = "none";
      return;
    }
    const image = new Image();
    image.onload = () => {
      if (current !== row) return;
      canvas.width = image.width; canvas.height = image.height;
      pen.drawImage(image, 0, 0);
      drawMap(row, pen);
      const corners = ATLAS.outlines[row];
      if (corners) {
        pen.beginPath();
        for (let k = 0; k < corners.length; k += 2) pen.lineTo(corners[k], corners[k + 1]);
        pen.closePath();
        pen.lineWidth = 4; pen.strokeStyle = "#000"; pen.stroke();
        pen.lineWidth = 2; pen.strokeStyle = "#fff"; pen.stroke();
      }
      canvas.dataset.cell = ATLAS.ids[row];
    };
    image.src = uri;
  }

  // a class's map over the field: opaque where the probability is the map's highest, nothing below half of that
  function drawMap(row, pen) {
    const map = ATLAS.maps[valueOf("field", row)];
    $("mapped").hidden = !map;
    if (!map || $("map").value === "nothing") { $("mapped").lastElementChild.textContent = ""; return; }
    const label = $("map").value === "its label" ? valueOf("label", row) : $("map").value;
    const size = map.height * map.width, start = ATLAS.classes.indexOf(label) * size;
    const plane = Uint8Array.from(atob(map.planes), (letter) => letter.charCodeAt(0)).subarray(start, start + size);
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

  function gallery(rows) {
    const sorted = [...rows].sort((a, b) => ATLAS.order[a] - ATLAS.order[b]);
    // both ends of the order, where a protein's cells differ most
    const half = SHOWN / 2;
    const shown = sorted.length > SHOWN ? [...sorted.slice(0, half), ...sorted.slice(-half)] : sorted;
    $("count").textContent = rows.length
      ? `${rows.length} cells chosen` + (shown.length < rows.length ? `, the ${half} at either end of their order shown` : "")
      : "Choose cells by lasso, search, legend or a table's row.";
    $("gallery").replaceChildren(...shown.map((row) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.row = row;
      button.title = `${valueOf("protein", row)}: ${ATLAS.details[row]}`;
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
    gallery(rows);
    if (rows.length) choose(rows[0]);
  }

  function rowsWhere(name, value) {
    const column = ATLAS.columns[name], rows = [];
    if (!column) return rows;
    for (let row = 0; row < count; row++) if (String(valueOf(name, row)) === value) rows.push(row);
    return rows;
  }

  function search(text) {
    if (!text) { select([]); return; }
    const wanted = text.toLowerCase();
    let rows = [];
    for (const name of ["protein", "field"]) {
      const column = ATLAS.columns[name];
      const exact = column.names.findIndex((each) => each.toLowerCase() === wanted);
      const hits = new Set(exact >= 0 ? [exact] : column.names.flatMap((each, k) => (each.toLowerCase().includes(wanted) ? [k] : [])));
      if (hits.size) { column.values.forEach((value, row) => { if (hits.has(value)) rows.push(row); }); break; }
    }
    if (!rows.length) rows = ATLAS.ids.flatMap((id, row) => (id.toLowerCase() === wanted ? [row] : []));
    select(rows);
  }

  function colourBy(name) {
    const column = ATLAS.columns[name];
    const names = column.kind === "name";
    mapper.setv({
      palette: column.palette,
      low: names ? -0.5 : column.low,
      high: names ? column.names.length - 0.5 : Math.max(column.high, column.low + 1e-9),
    });
    source.data.code = Float32Array.from(column.values, (value) => (value === null ? NaN : value));
    source.change.emit();
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
    source.data.x = source.data[`u${first}`];
    source.data.y = source.data[`u${second}`];
    source.change.emit();
    plot.below[0].axis_label = `UMAP ${first + 1}`;
    plot.left[0].axis_label = `UMAP ${second + 1}`;
    plot.reset.emit();
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
  }

  function theme(dark) {
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    const [ink, paper] = dark ? ["#e6e6ea", "#17171b"] : ["#1b1b1f", "#ffffff"];
    plot.background_fill_color = plot.border_fill_color = paper;
    plot.outline_line_color = ink;
    for (const axis of [...plot.below, ...plot.left]) {
      axis.axis_label_text_color = axis.major_label_text_color = axis.axis_line_color = ink;
      axis.major_tick_line_color = axis.minor_tick_line_color = ink;
    }
    $("theme").setAttribute("aria-pressed", String(dark));
  }

  window.hpaxHover = (indices) => { if (indices.length) tell(indices[0]); };

  await Bokeh.embed.embed_item(FIGURE);
  const doc = Bokeh.documents[0];
  plot = doc.get_model_by_name("plot");
  source = doc.get_model_by_name("cells");
  mapper = doc.get_model_by_name("colours");
  source.selected.properties.indices.change.connect(() => {
    if (quiet) return;
    const rows = [...source.selected.indices];
    gallery(rows);
    if (rows.length) choose(rows[0]);
  });
  $("names").replaceChildren(...ATLAS.columns.protein.names.slice(0, 15000).map((name) => new Option(name)));
  $("colour").onchange = () => colourBy($("colour").value);
  $("axes").onchange = () => axes($("axes").value);
  const choices = ["nothing", ...(ATLAS.columns.label ? ["its label"] : []), ...ATLAS.classes];
  $("map").replaceChildren(...choices.map((name) => new Option(name)));
  $("map").value = choices[1] ?? "nothing";
  $("map").onchange = () => { if (current >= 0) drawField(current); };
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
  colourBy($("colour").value);
  gallery([]);
  window.hpax = { ready: performance.now(), plot, source, search, select, exported: 0 };
})();
