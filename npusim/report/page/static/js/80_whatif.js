// Two runs side by side.

function whatIfView() {
  const { vs } = data;
  if (!vs) return [absent("vs", "There is no second run to compare with."), tuningPart()];
  const change = (here, there, format) => {
    if (!given(here) || !given(there)) return MISSING;
    const difference = there - here;
    return (difference > 0 ? "+" : "") + format(difference);
  };
  const rows = [...(vs.rows || [])].sort((a, b) => moved(b) - moved(a));
  const number = (value) => (given(value) ? (Number.isInteger(value) ? value.toLocaleString("en-US") : typeof value === "number" ? short(value) : String(value)) : MISSING);
  return [
    h("p", { class: "lead" }, "This run beside ", h("b", {}, vs.model), "."),
    (vs.summary || []).length > 0 && part("In short", plainTable(["", "this run", vs.model], vs.summary.map((row) => [row.what, number(row.here), number(row.there)]))),
    part("Layer by layer, largest change of time first", rows.length ? longTable(
      ["layer", "format", "format there", "time", "time there", "change", "SQNR", "SQNR there", "change"],
      rows.map((row) => [layerLink(row.id), row.here_format, row.there_format, time(row.here_us), time(row.there_us), change(row.here_us, row.there_us, time),
        decibels(row.here_sqnr_db), decibels(row.there_sqnr_db), change(row.here_sqnr_db, row.there_sqnr_db, (value) => `${value.toFixed(1)} dB`)]), { id: "whatif" })
      : h("p", { class: "absent" }, "The two runs share no layer.")),
    tuningPart(),
  ];
}

function moved(row) {
  return given(row.here_us) && given(row.there_us) ? Math.abs(row.there_us - row.here_us) : -1;
}

/** What raising layers would buy: the choices that tuning found, the cheapest first. */
function tuningPart() {
  const { tuning } = data;
  if (!tuning) return part("Tuning", absent("tuning", "No layers were tried in other formats."));
  const rows = [["as it is", tuning.base], ...(tuning.front || []).map((row) => ["", row])];
  const { best } = tuning;
  const raised = (row) => (Array.isArray(row.layers) ? row.layers.length : row.layers || 0);
  const change = (us) => (tuning.base && tuning.base.time_us ? `${us >= tuning.base.time_us ? "+" : ""}${((100 * (us - tuning.base.time_us)) / tuning.base.time_us).toFixed(1)} %` : MISSING);
  return part("Tuning",
    given(tuning.budget_us) && h("p", {}, `Budget: ${time(tuning.budget_us)} a run.`),
    plainTable(["", tuning.metric || "metric", "time", "change", "layers raised"], rows.filter(([, row]) => row).map(([name, row]) =>
      [name || (best && row.time_us === best.time_us && row.metric === best.metric ? "chosen" : ""), short(row.metric), time(row.time_us), change(row.time_us), String(raised(row))]), { id: "tuning" }),
    best && (best.layers || []).length > 0 && [h("h3", {}, `Layers raised by the choice (${best.layers.length})`),
      h("ul", { class: "columns" }, best.layers.map((id) => h("li", {}, layerLink(typeof id === "string" ? id : id.id || String(id)))))]);
}
