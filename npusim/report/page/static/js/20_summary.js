// Head and verdict: what somebody who has two minutes reads.

function tile(name, value, note) {
  return given(value) && value !== MISSING
    && h("div", { class: "tile" }, h("span", {}, name), h("b", {}, value), note && h("small", {}, note));
}

function headTiles(head) {
  const formats = (head.formats || []).map((row) => `${row.format} ${row.layers}`).join(" · ");
  const worst = layers.filter((layer) => given(layer.alone_sqnr_db))
    .reduce((low, layer) => (!low || layer.alone_sqnr_db < low.alone_sqnr_db ? layer : low), null);
  return h("div", { class: "tiles" },
    tile("Time a run", time(head.total_time_us), given(head.frames_per_s) && `${head.frames_per_s.toFixed(1)} frames/s`),
    tile("Peak memory", bytes(head.peak_memory_bytes)),
    tile("DDR traffic", bytes(head.ddr_bytes), "a run"),
    tile("Work", given(head.macs) ? `${count(head.macs)} MAC` : null),
    tile("Layers", String(layers.length), formats),
    worst && tile("Lowest SQNR alone", decibels(worst.alone_sqnr_db), layerLink(worst.id, tail(worst.id, 26))));
}

function causeCard(cause, rank) {
  const layer = layerOf.get(cause.layer);
  const cost = given(cause.cost_us)
    ? (cause.cost_us > 0 ? `+${time(cause.cost_us)}` : time(cause.cost_us))
      + (totalUs ? ` (${cause.cost_us > 0 ? "+" : ""}${((100 * cause.cost_us) / totalUs).toFixed(1)} %)` : "")
    : null;
  const inherited = cause.inherited || [];
  return h("article", { class: `cause ${cause.severity}`, "data-layer": cause.layer },
    h("header", {},
      h("span", { class: "rank" }, String(rank)),
      h("h3", {}, layerLink(cause.layer), h("span", { class: "kind" }, words(cause.kind))),
      severityMark(cause.severity)),
    h("p", { class: "cause-title" }, cause.title),
    h("div", { class: "cause-body" },
      h("div", {}, h("h4", {}, "Evidence"),
        h("ul", {}, (cause.evidence || []).map((text) => h("li", {}, linked(text))))),
      h("div", {}, h("h4", {}, "What to do"), h("p", {}, linked(cause.advice)),
        facts([["Costs", cost], ["Gains", given(cause.gain_db) ? `${cause.gain_db.toFixed(1)} dB` : null],
          ["Error alone", layer && decibels(layer.alone_sqnr_db)],
          ["End to end", layer && decibels(layer.entire_sqnr_db)]]))),
    (cause.paste || []).map((paste) => pasteBox(paste.what, paste.text)),
    inherited.length > 0 && h("details", { class: "inherited" },
      h("summary", {}, `${inherited.length} ${inherited.length === 1 ? "layer inherits" : "layers inherit"} this error`),
      h("ul", { class: "columns" }, inherited.map((id) => h("li", {}, layerLink(id))))));
}

function verdictSection() {
  const section = h("section", { id: "verdict", "aria-label": "Verdict" });
  section.append(h("h2", {}, causes.length ? `Causes, worst first (${causes.length})` : "Causes"));
  if (causes.length) causes.forEach((cause, index) => section.append(causeCard(cause, index + 1)));
  else if ((data.missing || {}).causes) section.append(absent("causes", "Causes were not looked for."));
  else if (measured) section.append(h("p", { class: "absent" }, "No layer loses accuracy of its own."));
  else section.append(absent("causes", "Accuracy was not measured."));
  return section;
}

function provenance(head) {
  const inputs = head.inputs || [];
  const triple = (values) => (Array.isArray(values) && values.length ? values.map((value) => short(value)).join(", ") : given(values) && String(values) ? String(values) : MISSING);
  return h("section", { id: "about", "aria-label": "About this run" },
    h("h2", {}, "About this run"),
    facts([
      ["Model", head.model], ["Read as", head.source_format],
      ["SHA-256", head.sha256 && h("span", { class: "mono break" }, head.sha256)],
      ["Chip", head.target],
      ["Samples", head.dataset && `${head.dataset.samples} of ${head.dataset.path}`],
      ["Versions", Object.entries(head.versions || {}).map(([name, version]) => `${name} ${version}`).join(", ")],
      ["Made", head.created && `${head.created}${given(head.duration_s) ? `, in ${head.duration_s.toFixed(1)} s` : ""}`],
    ]),
    inputs.length > 0 && [h("h3", {}, "What goes in"),
      plainTable(["input", "shape", "layout", "mean", "std", "channels", "what the samples are"],
        inputs.map((input) => [input.name, (input.shape || []).join(" × "), input.layout, triple(input.mean), triple(input.std),
          triple(input.reorder), input.what_goes_in]))],
    (head.outputs || []).length > 0 && [h("h3", {}, "What comes out"),
      plainTable(["output", "shape"], head.outputs.map((output) => [output.name, (output.shape || []).join(" × ")]))],
    head.command && pasteBox("The command that makes this page again", head.command));
}

function summaryView() {
  const head = data.head || {};
  const warnings = head.warnings || [];
  return [
    h("div", { class: `verdict ${headSeverity(head) || "none"}`, id: "headline" },
      h("p", {}, linked(head.verdict || "No verdict."))),
    headTiles(head),
    warnings.length > 0 && h("section", { id: "warnings", "aria-label": "Warnings" }, h("h2", {}, `Warnings (${warnings.length})`),
      h("ul", {}, warnings.map((warning) => h("li", {}, linked(warning.text),
        warning.code && h("span", { class: "hint" }, " npusim explain ", h("code", {}, warning.code)))))),
    verdictSection(),
    provenance(head),
  ];
}
