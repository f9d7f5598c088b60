// Where the time goes: bars, what bounds it, roofline, timeline, memory over time.

function timeView() {
  if (!data.time && !layers.some((layer) => given(layer.time_us))) return [absent("time", "Time was not estimated.")];
  const report = data.time || {};
  return [
    h("p", { class: "lead" }, `${time(totalUs)} a run`, totalUs ? `, ${(1e6 / totalUs).toFixed(1)} frames/s` : "", "; an estimate, see docs/performance-model.md."),
    (report.advice || []).length > 0 && part("What would help", h("ul", { class: "dots" }, report.advice.map((text) => h("li", {}, linked(text))))),
    h("div", { class: "pair" },
      part("By engine", splitBar(report.by_engine, time, "Time by engine", kinds("engine"))),
      part("By what bounds it", splitBar(report.by_bound, time, "Time by what bounds it"))),
    part("Longest layers", timeBars()),
    part("Timeline", timeline()),
    part("Memory over the run", memoryChart(report.memory)),
    part("Roofline", roofline(report.roofline)),
  ];
}

function part(title, ...children) {
  const inside = children.flat(Infinity).filter((child) => given(child) && child !== false);
  return inside.length > 0 && h("section", { "aria-label": title }, h("h2", {}, title), inside);
}

function timeBars() {
  const known = layers.filter((layer) => layer.time_us > 0).sort((a, b) => b.time_us - a.time_us);
  const shown = known.slice(0, 25);
  const rest = known.slice(25).reduce((sum, layer) => sum + layer.time_us, 0);
  if (!shown.length) return null;
  return [
    plainTable(["layer", "operator", "engine", "bound by", "time", "share", ""], shown.map((layer) =>
      [layerLink(layer.id, tail(layer.id, 44)), layer.op, layer.engine, layer.bound, time(layer.time_us), percent(shareOfTime(layer)), cellBar(layer.time_us / shown[0].time_us)]), { class: "plain bars" }),
    rest > 0 && h("p", { class: "hint" }, `${known.length - shown.length} more layers take ${time(rest)} together; the Layers view has them all.`),
  ];
}

/** Engines as rows, layers as blocks where they run. */
function timeline() {
  const known = layers.filter((layer) => given(layer.start_us) && layer.time_us > 0);
  if (!known.length) return null;
  const engines = [...new Set(known.map((layer) => layer.engine))];
  const palette = kinds("engine");
  const end = Math.max(...known.map((layer) => layer.start_us + layer.time_us));
  const [width, row, left] = [1000, 24, 64];
  const chart = s("svg", { class: "chart wide-chart timeline", viewBox: `0 0 ${width} ${engines.length * row + 20}`, role: "img", "aria-label": "Timeline of the layers by engine" });
  const x = linear(0, end, left, width - 6);
  engines.forEach((engine, index) => {
    note(chart, 0, index * row + 15, tail(engine, 10));
    chart.append(s("rect", { class: "lane", x: left, y: index * row + 2, width: width - 6 - left, height: row - 4 }));
  });
  for (const layer of known) {
    chart.append(s("rect", { class: `c${palette.indexOf(layer.engine) % 8} block`, "data-id": layer.id,
      x: x(layer.start_us), y: engines.indexOf(layer.engine) * row + 3, width: Math.max(0.6, x(layer.start_us + layer.time_us) - x(layer.start_us)), height: row - 6 },
      s("title", {}, `${layer.id}\n${layer.op}, ${time(layer.time_us)} from ${time(layer.start_us)}`)));
  }
  timeAxis(chart, x, end, engines.length * row, width);
  pickable(chart);
  return h("div", { class: "scroll-x" }, chart);
}

function timeAxis(chart, x, end, y, width) {
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    note(chart, Math.min(x(end * part), width - 6), y + 14, time(end * part), part === 0 ? "start" : part === 1 ? "end" : "middle");
  }
}

function pickable(chart) {
  chart.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-id]");
    if (mark) go({ layer: mark.getAttribute("data-id") });
  });
}

function memoryChart(memory) {
  if (!memory || !memory.length) return null;
  const high = Math.max(...memory.map((row) => row.bytes));
  if (!(high > 0)) return null;
  const peak = memory.find((row) => row.bytes === high);
  const [width, height, left] = [1000, 130, 64];
  const chart = s("svg", { class: "chart wide-chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Bytes held while each layer runs" });
  const x = linear(0, memory.length, left, width - 6);
  const y = linear(0, high, height - 18, 8);
  chart.append(s("path", { class: "float-area", d: `M${x(0)} ${y(0)}${memory.map((row, index) => `L${x(index)} ${y(row.bytes)}L${x(index + 1)} ${y(row.bytes)}`).join("")}L${x(memory.length)} ${y(0)}Z` }));
  memory.forEach((row, index) => chart.append(s("rect", { class: row === peak ? "peak" : "catch", "data-id": row.layer, x: x(index), y: y(row.bytes), width: Math.max(0.8, x(index + 1) - x(index)), height: y(0) - y(row.bytes) },
    s("title", {}, `${row.layer}: ${bytes(row.bytes)}`))));
  note(chart, 0, 16, bytes(high));
  note(chart, 0, height - 18, "0");
  note(chart, left, height - 4, "first layer");
  note(chart, width - 6, height - 4, "last layer", "end");
  pickable(chart);
  return [h("div", { class: "scroll-x" }, chart), h("p", { class: "hint" }, "Most is held at ", layerLink(peak.layer), `: ${bytes(high)}.`)];
}

/** Work a byte against speed, both logarithmic; says which share of the time it leaves out. */
function roofline(roof) {
  const points = ((roof && roof.points) || []).filter((point) => point.intensity > 0 && point.performance > 0);
  if (!points.length) return null;
  const [width, height, left, bottom] = [620, 300, 52, 34];
  const chart = s("svg", { class: "chart roof", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Roofline" });
  const peak = roof.peak_macs_per_us;
  const slope = roof.ddr_bytes_per_us;
  const xs = points.map((point) => point.intensity).concat(peak && slope ? [peak / slope] : []);
  const ys = points.map((point) => point.performance).concat(peak ? [peak] : []);
  const log = Math.log10;
  const ends = (values) => [Math.floor(log(Math.min(...values))), Math.ceil(log(Math.max(...values)) + 1e-9)];
  const [x0, x1] = ends(xs);
  const [y0, y1] = ends(ys);
  const px = linear(x0, Math.max(x1, x0 + 1), left, width - 10);
  const py = linear(y0, Math.max(y1, y0 + 1), height - bottom, 10);
  for (let power = x0; power <= x1; power += 1) {
    chart.append(s("line", { class: "grid", x1: px(power), x2: px(power), y1: 10, y2: height - bottom }));
    note(chart, px(power), height - bottom + 13, power < 0 ? `1e${power}` : count(10 ** power), "middle");
  }
  for (let power = y0; power <= y1; power += 1) {
    chart.append(s("line", { class: "grid", x1: left, x2: width - 10, y1: py(power), y2: py(power) }));
    note(chart, left - 4, py(power) + 4, `${count(10 ** (power + 6))}`, "end");
  }
  if (peak && slope) {
    const bend = log(peak / slope);
    const start = Math.max(x0, y0 - log(slope));
    const turn = Math.max(start, Math.min(bend, Math.max(x1, x0 + 1)));
    chart.append(s("path", { class: "roof-line", d: `M${px(start)} ${py(start + log(slope))}L${px(turn)} ${py(Math.min(log(peak), turn + log(slope)))}L${px(Math.max(x1, x0 + 1))} ${py(log(peak))}` }));
    note(chart, width - 14, py(log(peak)) - 5, `peak ${count(peak * 1e6)} MAC/s`, "end");
  }
  for (const point of points) {
    const layer = layerOf.get(point.layer);
    chart.append(s("circle", { class: `dot ${layer ? shareStep(shareOfTime(layer)) : "none"}`, "data-id": point.layer, r: 4.2, cx: px(log(point.intensity)), cy: py(log(point.performance)) },
      s("title", {}, `${point.layer}: ${short(point.intensity)} MAC a byte, ${count(point.performance * 1e6)} MAC/s`)));
  }
  note(chart, (left + width) / 2, height - 4, "MAC a byte of DDR traffic", "middle");
  pickable(chart);
  const hidden = roof.share_not_shown;
  return [given(hidden) && h("p", { id: "not-shown" }, `${percent(hidden)} of the time is not in this picture: layers that do no multiply-accumulate work.`),
    h("div", { class: "scroll-x" }, chart), h("p", { class: "hint" }, "Speed in MAC/s upwards. Colour: share of the time of the run."), legend("time")];
}
