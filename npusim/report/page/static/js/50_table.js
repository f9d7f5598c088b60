// Table of all layers: sorted, filtered, saved as csv. Rows come in portions, so 2,000 layers open at once.

const PORTION = 150;
const table = { sort: "index", descending: false, rows: [], shown: 0, filters: { text: "", op: "", engine: "", format: "", severity: "" } };

const rank = (layer) => ({ bad: 0, warn: 1, ok: 2 }[layer.severity] ?? 3);
const COLUMNS = [
  { key: "index", title: "#", value: (layer) => layer.index, cell: (layer) => String(layer.index + 1), kind: "number" },
  { key: "id", title: "Layer", value: (layer) => layer.id, cell: rowLink, kind: "name" },
  { key: "verdict", title: "Verdict", value: (layer) => rank(layer), cell: layerMark, text: (layer) => layer.verdict || "" },
  { key: "alone_sqnr_db", title: "Alone dB", value: (layer) => layer.alone_sqnr_db, cell: (layer) => stepCell(errorStep(layer.alone_sqnr_db), decibels(layer.alone_sqnr_db, "")), kind: "number" },
  { key: "entire_sqnr_db", title: "End to end dB", value: (layer) => layer.entire_sqnr_db, cell: (layer) => stepCell(errorStep(layer.entire_sqnr_db), decibels(layer.entire_sqnr_db, "")), kind: "number" },
  { key: "time_us", title: "Time µs", value: (layer) => layer.time_us, cell: (layer) => fixed(layer.time_us, 1), kind: "number" },
  { key: "share", title: "Share", value: shareOfTime, cell: (layer) => percent(shareOfTime(layer)), text: (layer) => (given(shareOfTime(layer)) ? shareOfTime(layer).toFixed(6) : ""), kind: "number" },
  { key: "op", title: "Operator", value: (layer) => layer.op, kind: "wide" },
  { key: "engine", title: "Engine", value: (layer) => layer.engine },
  { key: "format", title: "Format", value: (layer) => layer.format },
  { key: "bound", title: "Bound by", value: (layer) => layer.bound, kind: "wide" },
  { key: "shape", title: "Shape", value: (layer) => (layer.shape || []).reduce((product, size) => product * size, 1),
    cell: (layer) => (layer.shape || []).join("×"), text: (layer) => (layer.shape || []).join("x"), kind: "wide" },
  { key: "alone_cosine", title: "Cosine alone", value: (layer) => layer.alone_cosine, cell: (layer) => fixed(layer.alone_cosine, 6), kind: "number wide" },
  { key: "entire_cosine", title: "Cosine e. to e.", value: (layer) => layer.entire_cosine, cell: (layer) => fixed(layer.entire_cosine, 6), kind: "number wide" },
];

/** Rows are reached by arrow keys; a stop at each link would be hundreds of them. */
function rowLink(layer) {
  const link = layerLink(layer.id);
  link.tabIndex = -1;
  return link;
}

function stepCell(step, text) {
  return [h("span", { class: `swatch ${step}` }), text];
}

function layersView() {
  table.body = h("tbody", {});
  table.count = h("output", { class: "hint", id: "row-count" });
  table.heads = COLUMNS.map((column) => h("th", { scope: "col", class: column.kind, "data-key": column.key },
    h("button", { type: "button", onclick: () => sortBy(column.key) }, column.title, h("span", { class: "arrow", "aria-hidden": "true" }))));
  table.more = h("button", { type: "button", class: "more", onclick: moreRows });
  const grid = h("table", { id: "layers", "data-keys": "rows" }, h("thead", {}, h("tr", {}, table.heads)), table.body);
  grid.addEventListener("keydown", rowKey);
  table.body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-id]");
    if (row && !event.target.closest("a")) go({ layer: row.getAttribute("data-id") });
  });
  const scroll = h("div", { class: "table-frame" }, grid, table.more);
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) moreRows(); }, { rootMargin: "600px" }).observe(table.more);
  fillRows();
  return [tableTools(), scroll];
}

function tableTools() {
  const filter = (key, title, values) => h("label", {}, `${title} `, h("select", { "data-filter": key, onchange: (event) => { table.filters[key] = event.target.value; fillRows(); } },
    h("option", { value: "" }, "all"), values.map((value) => h("option", { value }, SEVERITY_WORDS[value] || value))));
  table.text = h("input", { type: "search", id: "filter", placeholder: "name, operator, source node", title: "key /", autocomplete: "off", spellcheck: "false",
    oninput: (event) => { table.filters.text = event.target.value; fillRows(); } });
  return h("div", { class: "tools" },
    h("label", {}, "Filter ", table.text),
    filter("op", "Operator", kinds("op")), filter("engine", "Engine", kinds("engine")),
    filter("format", "Format", kinds("format")), filter("severity", "Verdict", SEVERITIES),
    table.count,
    h("span", { class: "buttons" },
      h("button", { type: "button", id: "csv", onclick: () => saveFile("layers.csv", csv(), "text/csv") }, "Save csv"), copyButton(csv, "Copy csv")));
}

function matches(layer) {
  const { text, ...kindFilters } = table.filters;
  return Object.entries(kindFilters).every(([key, value]) => !value || layer[key] === value)
    && (!text || haystack(layer).includes(text.trim().toLowerCase()));
}

/** Sorted by the column; what was not measured stays last in both directions. */
function fillRows() {
  const { value } = COLUMNS.find((column) => column.key === table.sort);
  const sign = table.descending ? -1 : 1;
  table.rows = layers.filter(matches).sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (given(left) !== given(right)) return given(left) ? -1 : 1;
    if (!given(left) || left === right) return a.index - b.index;
    return sign * (typeof left === "string" ? left.localeCompare(right) : left - right);
  });
  table.body.replaceChildren();
  table.shown = 0;
  for (const head of table.heads) {
    const active = head.dataset.key === table.sort;
    if (active) head.setAttribute("aria-sort", table.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  table.count.textContent = table.rows.length === layers.length ? `${layers.length} layers` : `${table.rows.length} of ${layers.length} layers`;
  moreRows();
}

function moreRows() {
  const end = Math.min(table.rows.length, table.shown + PORTION);
  const rows = table.rows.slice(table.shown, end).map((layer) => h("tr", { "data-id": layer.id, tabindex: "-1", class: layer.id === state.layer ? "selected" : null },
    COLUMNS.map((column) => h("td", { class: column.kind }, column.cell ? column.cell(layer) : layer[column.key] || MISSING))));
  table.body.append(...rows);
  if (table.shown === 0 && rows[0]) rows[0].tabIndex = 0;
  table.shown = end;
  table.more.hidden = end >= table.rows.length;
  table.more.textContent = `${table.rows.length - end} more rows`;
}

function sortBy(key) {
  // numbers of time start with the most, errors and names with the least
  const most = ["time_us", "share"].includes(key);
  if (table.sort === key) table.descending = !table.descending;
  else table.descending = most;
  table.sort = key;
  fillRows();
  say(`sorted by ${COLUMNS.find((column) => column.key === key).title}, ${table.descending ? "descending" : "ascending"}`);
}

function rowKey(event) {
  const row = event.target.closest("tr[data-id]");
  if (!row) return;
  const move = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (move) {
    if (!row[move]) moreRows();
    const next = row[move];
    if (next) {
      row.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  } else if (event.key === "Enter" && row.getAttribute("data-id") === state.layer) readLayer();
  else if (event.key === "Enter" || event.key === " ") go({ layer: row.getAttribute("data-id") });
  else return;
  event.preventDefault();
}

function tableSelect() {
  if (!table.body) return;
  for (const row of table.body.children) row.classList.toggle("selected", row.getAttribute("data-id") === state.layer);
}

/** The rows in sight; a cell that a spreadsheet would run as a formula is led by an apostrophe. */
function csv() {
  const quote = (value) => {
    let text = given(value) ? String(value) : "";
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const cell = (column, layer) => (column.key === "index" ? layer.index + 1 : column.text ? column.text(layer) : column.value(layer));
  const lines = [COLUMNS.map((column) => column.key).join(",")];
  for (const layer of table.rows) lines.push(COLUMNS.map((column) => quote(cell(column, layer))).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

function focusRow(id) {
  const row = [...table.body.children].find((one) => one.getAttribute("data-id") === id);
  if (row) row.focus();
}
