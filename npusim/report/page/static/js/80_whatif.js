// Two runs side by side.

function whatIfView() {
  const { vs } = data;
  if (!vs) return [absent("vs", "There is no second run to compare with.")];
  const change = (here, there, format) => {
    if (!given(here) || !given(there)) return MISSING;
    const difference = there - here;
    return (difference > 0 ? "+" : "") + format(difference);
  };
  const rows = [...(vs.rows || [])].sort((a, b) => moved(b) - moved(a));
  const number = (value) => (given(value) ? (typeof value === "number" ? short(value) : String(value)) : MISSING);
  return [
    h("p", { class: "lead" }, "This run beside ", h("b", {}, vs.model), "."),
    (vs.summary || []).length > 0 && part("In short", plainTable(["", "this run", vs.model], vs.summary.map((row) => [row.what, number(row.here), number(row.there)]))),
    part("Layer by layer, largest change of time first", rows.length ? plainTable(
      ["layer", "format", "format there", "time", "time there", "change", "SQNR", "SQNR there", "change"],
      rows.map((row) => [layerLink(row.id), row.here_format, row.there_format, time(row.here_us), time(row.there_us), change(row.here_us, row.there_us, time),
        decibels(row.here_sqnr_db), decibels(row.there_sqnr_db), change(row.here_sqnr_db, row.there_sqnr_db, decibels)]), { id: "whatif" })
      : h("p", { class: "absent" }, "The two runs share no layer.")),
  ];
}

function moved(row) {
  return given(row.here_us) && given(row.there_us) ? Math.abs(row.there_us - row.here_us) : -1;
}
