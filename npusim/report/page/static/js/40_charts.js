// Small charts in SVG. Axes are labelled with the numbers themselves; colours come from the style sheet.

const CHART = { width: 360, height: 120, left: 6, right: 6, top: 8, bottom: 18 };

function frame(label, size) {
  const { width, height } = Object.assign({}, CHART, size);
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

const linear = (low, high, from, to) => (value) => (high === low ? (from + to) / 2 : from + ((value - low) / (high - low)) * (to - from));

function note(chart, x, y, text, anchor, kind) {
  chart.append(s("text", { x, y, "text-anchor": anchor || "start", class: kind || "axis" }, text));
}

/** Counts of float values as a filled step, of quantized ones as a line. */
function histogramChart(histogram) {
  const { width, height, left, right, top, bottom } = CHART;
  const chart = frame("Histogram of the result, float filled, quantized as a line");
  const bins = histogram.float.length;
  // roots of counts: the tails that decide a range are seen beside the peak
  const high = Math.max(1, ...histogram.float, ...histogram.quantized);
  const x = linear(0, bins, left, width - right);
  const y = (value) => height - bottom - Math.sqrt(value / high) * (height - top - bottom);
  const steps = (counts) => counts.map((value, bin) => `L${x(bin)} ${y(value)}L${x(bin + 1)} ${y(value)}`).join("");
  const floor = height - bottom;
  chart.append(
    s("path", { class: "float-area", d: `M${x(0)} ${floor}${steps(histogram.float)}L${x(bins)} ${floor}Z` }),
    s("path", { class: "quantized-line", d: `M${x(0)} ${floor}${steps(histogram.quantized)}L${x(bins)} ${floor}` }),
    s("line", { class: "axis-line", x1: left, x2: width - right, y1: floor, y2: floor }));
  note(chart, left, height - 5, short(histogram.low));
  note(chart, width - right, height - 5, short(histogram.high), "end");
  if (histogram.low < 0 && histogram.high > 0) {
    const zero = linear(histogram.low, histogram.high, left, width - right)(0);
    chart.append(s("line", { class: "axis-line faint", x1: zero, x2: zero, y1: top, y2: floor }));
    if (zero > 60 && zero < width - 60) note(chart, zero, height - 5, "0", "middle");
  }
  return h("figure", {}, chart, h("figcaption", {}, key("float-area", "float"), key("quantized-line", "quantized"), "square roots of counts"));
}

function key(kind, text) {
  return h("span", { class: "key" }, h("i", { class: kind }), text);
}

/** Quantized over float values of the same elements; on the diagonal nothing is lost. */
function scatterChart(points) {
  const side = 220;
  const chart = frame("Quantized over float values of the same elements", { width: side + 60, height: side + 22 });
  const values = points.flat();
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = linear(low, high, 8, side);
  const y = linear(low, high, side, 8);
  chart.append(
    s("rect", { class: "plot", x: 8, y: 8, width: side - 8, height: side - 8 }),
    s("line", { class: "axis-line", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }),
    ...points.map(([from, to]) => s("circle", { cx: x(from), cy: y(to), r: 1.8, class: "dot" })));
  note(chart, 8, side + 14, short(low));
  note(chart, side, side + 14, short(high), "end");
  note(chart, (side + 8) / 2, side + 14, "float", "middle");
  note(chart, side + 5, side / 2, "quantized");
  return h("figure", { class: "square" }, chart);
}

/** The range that the numbers of a layer can hold against the range of the values seen. */
function rangeChart(range) {
  const chart = frame("Range used against range seen", { height: 62 });
  const ends = [range.low, range.high, range.seen_low, range.seen_high].filter(given);
  if (ends.length < 2) return null;
  const [low, high] = [Math.min(...ends, 0), Math.max(...ends, 0)];
  const x = linear(low, high, 60, CHART.width - 6);
  const bar = (y, from, to, kind, text) => {
    if (!given(from) || !given(to)) return;
    chart.append(s("rect", { class: kind, x: x(from), y, width: Math.max(1.5, x(to) - x(from)), height: 12 },
      s("title", {}, `${text}: ${short(from)} to ${short(to)}`)));
    note(chart, 2, y + 10, text);
  };
  bar(6, range.low, range.high, "range-used", "used");
  bar(24, range.seen_low, range.seen_high, "range-seen", "seen");
  chart.append(s("line", { class: "axis-line", x1: x(0), x2: x(0), y1: 2, y2: 42 }));
  note(chart, x(low), 56, short(low));
  note(chart, x(high), 56, short(high), "end");
  return h("figure", {}, chart);
}

/** One bar cut into parts, with its numbers below. */
function splitBar(parts, format, label, order) {
  const colour = (name, index) => `c${(order ? Math.max(0, order.indexOf(name)) : index) % 8}`;
  const known = Object.entries(parts || {}).filter(([, value]) => given(value) && value > 0);
  const total = known.reduce((sum, [, value]) => sum + value, 0);
  if (!total) return null;
  const chart = s("svg", { class: "chart bar", viewBox: "0 0 360 12", preserveAspectRatio: "none", role: "img", "aria-label": label });
  let x = 0;
  known.forEach(([name, value], index) => {
    const width = (360 * value) / total;
    chart.append(s("rect", { class: colour(name, index), x, y: 0, width, height: 12 }, s("title", {}, `${name}: ${format(value)}`)));
    x += width;
  });
  return h("figure", {}, chart, h("figcaption", { class: "split" }, known.map(([name, value], index) =>
    h("span", { class: "key" }, h("i", { class: `swatch ${colour(name, index)}` }), `${name.replaceAll("_", " ")} ${format(value)} (${percent(value / total)})`))));
}

/** A bar of a table cell, 0 to 1 of its width. */
function cellBar(share, kind) {
  return s("svg", { class: "cell-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: kind || "bar-fill", width: Math.max(0.5, 100 * Math.min(1, Math.max(0, share))), height: 10 }));
}
