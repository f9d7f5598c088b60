// What a layer is coloured by. A step is a class k0 .. k6 whose colour the style sheet holds for light, dark and print.

const ERROR_STEPS = [40, 30, 20, 15, 10, 5];
const SHARE_STEPS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2];

function errorStep(value) {
  if (!given(value)) return "none";
  const step = ERROR_STEPS.findIndex((limit) => value >= limit);
  return `k${step < 0 ? ERROR_STEPS.length : step}`;
}

function shareStep(share) {
  if (!given(share)) return "none";
  const step = SHARE_STEPS.findIndex((limit) => share < limit);
  return `k${step < 0 ? SHARE_STEPS.length : step}`;
}

function kinds(key) {
  const seen = new Map();
  for (const layer of layers) if (given(layer[key])) seen.set(layer[key], (seen.get(layer[key]) || 0) + 1);
  return [...seen.keys()].sort((a, b) => seen.get(b) - seen.get(a));
}

function byKind(key) {
  const names = kinds(key);
  return {
    step: (layer) => (given(layer[key]) ? `c${names.indexOf(layer[key]) % 8}` : "none"),
    value: (layer) => layer[key] || "",
    legend: names.map((name, index) => [`c${index % 8}`, String(name)]),
  };
}

const errorLegend = [
  ["k0", "≥ 40 dB"], ["k1", "≥ 30"], ["k2", "≥ 20"], ["k3", "≥ 15"], ["k4", "≥ 10"], ["k5", "≥ 5"], ["k6", "< 5 dB"],
];
const shareLegend = [
  ["k0", "< 0.5 % of the time"], ["k1", "< 1 %"], ["k2", "< 2 %"], ["k3", "< 5 %"], ["k4", "< 10 %"], ["k5", "< 20 %"], ["k6", "≥ 20 %"],
];

const COLOURINGS = {
  alone: {
    title: "error alone", help: "SQNR of the layer on float inputs: the error it makes itself",
    step: (layer) => errorStep(layer.alone_sqnr_db), value: (layer) => decibels(layer.alone_sqnr_db), legend: errorLegend,
  },
  entire: {
    title: "error end to end", help: "SQNR with all layers quantized: what has arrived at this layer",
    step: (layer) => errorStep(layer.entire_sqnr_db), value: (layer) => decibels(layer.entire_sqnr_db), legend: errorLegend,
  },
  time: {
    title: "time", help: "share of the estimated time of the run",
    step: (layer) => shareStep(shareOfTime(layer)), value: (layer) => time(layer.time_us), legend: shareLegend,
  },
  engine: Object.assign({ title: "engine", help: "the engine of the chip that runs the layer" }, byKind("engine")),
  format: Object.assign({ title: "number format", help: "number format of the result" }, byKind("format")),
};

const hasColour = (name) => layers.some((layer) => COLOURINGS[name].step(layer) !== "none");

/** Errors if they were measured, else the time. */
const firstColouring = () => Object.keys(COLOURINGS).find(hasColour) || "engine";

/** The step of many layers shown as one: the worst of a scale, the commonest of kinds. */
function commonStep(name, members) {
  const steps = members.map((layer) => COLOURINGS[name].step(layer)).filter((step) => step !== "none");
  if (!steps.length) return "none";
  if (steps[0].startsWith("k")) return steps.sort().at(-1);
  const counts = new Map();
  for (const step of steps) counts.set(step, (counts.get(step) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0][0];
}

function legend(name) {
  const entries = COLOURINGS[name].legend;
  return h("ul", { class: "legend", "aria-label": `colours: ${COLOURINGS[name].help}` },
    entries.map(([step, text]) => h("li", {}, h("span", { class: `swatch ${step}` }), text)),
    layers.some((layer) => COLOURINGS[name].step(layer) === "none")
      && h("li", {}, h("span", { class: "swatch none" }), "not measured"));
}
