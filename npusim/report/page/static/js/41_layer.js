// All that is known of one layer.

function block(title, ...children) {
  const inside = children.flat(Infinity).filter((child) => given(child) && child !== false);
  return inside.length > 0 && h("section", {}, h("h3", {}, title), inside);
}

function layerVerdict(layer) {
  const cause = causeOf.get(layer.id);
  if (cause) {
    return h("div", { class: `panel-verdict ${cause.severity}` },
      h("p", {}, h("b", {}, cause.title)), (cause.evidence || []).map((text) => h("p", {}, linked(text))),
      h("p", {}, h("b", {}, "Do: "), linked(cause.advice)), (cause.paste || []).map((paste) => pasteBox(paste.what, paste.text)));
  }
  if (layer.cause && layer.cause !== layer.id) {
    return h("div", { class: "panel-verdict" }, h("p", {}, "The error comes from ", layerLink(layer.cause), "."));
  }
  return null;
}

function layerNumbers(layer) {
  return facts([
    ["Operator", layer.op], ["Engine", layer.engine], ["Runs as", layer.form], ["Why there", layer.reason],
    ["Format", layer.format], ["Shape", layer.shape && layer.shape.join(" × ")],
    ["SQNR alone", decibels(layer.alone_sqnr_db)], ["cosine alone", fixed(layer.alone_cosine, 6)],
    ["SQNR end to end", decibels(layer.entire_sqnr_db)], ["cosine end to end", fixed(layer.entire_cosine, 6)],
    ["Verdict", layer.verdict],
  ]);
}

function layerRange(range) {
  if (!range) return null;
  const span = given(range.low) && given(range.high) ? range.high - range.low : 0;
  const seen = given(range.seen_low) && given(range.seen_high) ? range.seen_high - range.seen_low : null;
  return [
    rangeChart(range),
    facts([
      ["Range used", given(range.low) ? `${short(range.low)} to ${short(range.high)}` : null],
      ["Range seen", given(range.seen_low) ? `${short(range.seen_low)} to ${short(range.seen_high)}` : null],
      ["Seen / used", span > 0 && given(seen) ? percent(seen / span) : null],
      ["Scale", given(range.scale) ? short(range.scale) : null], ["Zero point", given(range.zero_point) ? String(range.zero_point) : null],
      ["Fraction bits", given(range.fl) ? String(range.fl) : null],
    ]),
  ];
}

function layerDetail(layer) {
  const { detail } = layer;
  if (!detail) return [block("Values", absent("detail", "Distributions of this layer were not stored."))];
  const channels = detail.channels || [];
  return [
    detail.histogram && block("Values, float against quantized", histogramChart(detail.histogram)),
    (detail.scatter || []).length > 0 && block("Same elements", scatterChart(detail.scatter)),
    channels.length > 0 && block("Worst channels", plainTable(["channel", "SQNR", "share of the error", ""],
      channels.map((row) => [String(row.channel), decibels(row.sqnr_db), percent(row.share), cellBar(row.share || 0)]))),
    (detail.operands || []).length > 0 && block("Operands, each by itself", plainTable(["operand", "SQNR", "range"],
      detail.operands.map((row) => [layerLink(row.name), decibels(row.sqnr_db), row.range ? `${short(row.range[0])} to ${short(row.range[1])}` : MISSING]))),
  ];
}

function layerCost(layer) {
  if (!given(layer.time_us)) return [block("Cost", absent("time", "Time was not estimated."))];
  const share = shareOfTime(layer);
  return [block("Cost",
    facts([
      ["Time", `${time(layer.time_us)}${given(share) ? ` (${percent(share)} of the run)` : ""}`], ["Bound by", layer.bound],
      ["Starts at", given(layer.start_us) ? time(layer.start_us) : null], ["Work", given(layer.macs) && layer.macs > 0 ? `${count(layer.macs)} MAC` : null],
    ]),
    layer.cycles && [h("h4", {}, "Cycles"), splitBar(layer.cycles, (value) => count(value), "Cycles by what they are spent on")],
    layer.bytes && [h("h4", {}, "Bytes"), splitBar(layer.bytes, bytes, "Bytes moved")])];
}

function layerPanel(layer) {
  const step = (by, text, label) => {
    const next = layers[layer.index + by];
    return h("button", { type: "button", disabled: !next, title: label, "aria-label": label, onclick: () => next && go({ layer: next.id }) }, text);
  };
  const followers = after.get(layer.id);
  return [
    h("header", {},
      h("h2", { tabindex: "-1", id: "layer-title" }, layer.id),
      h("div", { class: "buttons" },
        layerMark(layer),
        step(-1, "‹", "Layer before, key ["), h("span", { class: "hint" }, `${layer.index + 1} of ${layers.length}`), step(1, "›", "Layer after, key ]"),
        data.layout && h("button", { type: "button", onclick: () => go({ view: "network" }) }, "In the network"),
        h("button", { type: "button", class: "close", "aria-label": "Close, Escape", title: "Close, Escape", onclick: () => go({ layer: null }) }, "×"))),
    layerVerdict(layer),
    layerNumbers(layer),
    block("Range", layerRange(layer.range)),
    layer.requant && block("Requantization", h("p", { class: "mono break" }, layer.requant)),
    layerDetail(layer),
    layerCost(layer),
    (layer.inputs || []).length > 0 && block("Reads", h("ul", { class: "names" }, layer.inputs.map((name) => h("li", {}, layerLink(name))))),
    followers.length > 0 && block("Is read by", h("ul", { class: "names" }, followers.map((id) => h("li", {}, layerLink(id))))),
    (layer.outputs || []).length > 0 && block("Writes", h("ul", { class: "names mono" }, layer.outputs.map((name) => h("li", {}, name)))),
    (layer.origin || []).length > 0 && block("Made from these nodes of the model", h("ul", { class: "names mono" }, layer.origin.map((name) => h("li", {}, name)))),
    given(layer.uid) && block("Names", facts([["In cfg files", h("span", { class: "mono break" }, layer.id)], ["uid", String(layer.uid)]])),
  ];
}
