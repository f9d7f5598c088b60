"use strict";
// Shared by all parts of the page. The files of this folder are joined in the order of their names.
// Text enters the document through textContent only: names of a model are hostile input.

const data = JSON.parse(document.getElementById("data").textContent);
const layers = data.layers || [];
const layerOf = new Map(layers.map((layer, index) => [layer.id, Object.assign(layer, { index })]));
const causes = data.causes || [];
const causeOf = new Map(causes.map((cause) => [cause.layer, cause]));
const totalUs = (data.time && data.time.total_us) || (data.head && data.head.total_time_us) || 0;
const SEVERITIES = ["bad", "warn", "ok"];
const SEVERITY_WORDS = { bad: "to repair", warn: "to watch", ok: "fine" };

// successors and predecessors by layer
const before = new Map(layers.map((layer) => [layer.id, []]));
const after = new Map(layers.map((layer) => [layer.id, []]));
for (const [from, to] of data.edges || []) {
  if (after.has(from) && before.has(to)) {
    after.get(from).push(to);
    before.get(to).push(from);
  }
}

// Signs that turn or hide the text around them: a name must not make the page read differently from what it holds.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

function plain(text) {
  return String(text).replace(INVISIBLE, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const SHOWN = new Set(["title", "aria-label", "alt"]);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : SHOWN.has(name) ? plain(value) : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : plain(child));
  }
  return element;
}

/** An HTML element; children that are no nodes become text. */
function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function s(tag, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

const given = (value) => value !== null && value !== undefined;
const measured = layers.some((layer) => given(layer.alone_sqnr_db) || given(layer.entire_sqnr_db))
  || (data.outputs || []).some((output) => (output.parts || []).length > 0);
const MISSING = "–";

function fixed(value, digits) {
  return given(value) ? value.toFixed(digits) : MISSING;
}

/** A number with about four significant digits. */
function short(value) {
  if (!given(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(3);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

const EXACT_DB = 200; // what stands for no error at all

function decibels(value, unit = " dB") {
  if (!given(value)) return MISSING;
  return value >= EXACT_DB ? "exact" : `${value.toFixed(1)}${unit}`;
}

function scaled(value, units, step) {
  if (!given(value)) return MISSING;
  let index = 0;
  while (Math.abs(value) >= step && index < units.length - 1) {
    value /= step;
    index += 1;
  }
  const digits = Number.isInteger(value) || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[index]}`;
}

const time = (us) => scaled(us, ["µs", "ms", "s"], 1000);
const bytes = (value) => scaled(value, ["B", "KiB", "MiB", "GiB"], 1024);
const count = (value) => scaled(value, ["", "k", "M", "G", "T"], 1000).trim();
const percent = (share) => (given(share) ? `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %` : MISSING);
const shareOfTime = (layer) => (given(layer.time_us) && totalUs > 0 ? layer.time_us / totalUs : null);

/** The end of a long name, cut at a separator where there is one. */
function tail(name, length) {
  const text = plain(name);
  if (text.length <= length) return text;
  const cut = text.slice(-(length - 1));
  const slash = cut.indexOf("/");
  return "…" + (slash >= 0 && slash < cut.length / 2 ? cut.slice(slash) : cut);
}

/** The beginning of a long title. */
function start(title, length) {
  const text = plain(title);
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** Name of a section that has no data, and the option that brings it. */
function absent(section, what) {
  const how = (data.missing || {})[section];
  return h("p", { class: "absent" }, how ? [what, " To get it: ", how.replace(/[^.]$/, "$&.")] : what);
}

function layerLink(id, label) {
  if (!layerOf.has(id)) return h("span", { class: "mono" }, label || id);
  return h("a", { class: "mono layer-link", href: `#layer=${encodeURIComponent(id)}`, title: id }, label || id);
}

/** A sentence in which every name of a layer is a link. */
function linked(text) {
  return String(text).split(/([\s,;()'"\[\]]+)/).map((word) => {
    const id = layerOf.has(word) ? word : word.replace(/[:.]$/, "");
    return layerOf.has(id) ? [layerLink(id), word.slice(id.length)] : word;
  });
}

const words = (kind) => String(kind || "").replaceAll("_", " ");

/** Weight of the whole; a network of which only the time is known is not called fine. */
const headSeverity = (head) => (head.severity === "ok" && !measured ? null : head.severity);

function severityMark(severity) {
  return h("span", { class: `mark ${SEVERITIES.includes(severity) ? severity : "none"}` },
    SEVERITY_WORDS[severity] || "not measured");
}

/** What the analysis found at a layer: its word in the colour of its weight; an inherited error is not this layer's to repair. */
function layerMark(layer) {
  if (layer.verdict === "ok") return h("span", { class: "fine" }, "ok");
  const kind = layer.verdict === "inherited" || !SEVERITIES.includes(layer.severity) ? "none" : layer.severity;
  return h("span", { class: `mark ${kind}` }, words(layer.verdict) || "not measured");
}

/** Rows of a definition list; pairs without a value are left out. */
function facts(pairs, attributes) {
  const list = h("dl", Object.assign({ class: "facts" }, attributes));
  for (const [name, value] of pairs) {
    if (given(value) && value !== MISSING && value !== "") list.append(h("dt", {}, name), h("dd", {}, value));
  }
  return list;
}

function plainTable(heads, rows, attributes) {
  const isNumber = (text) => typeof text === "string" && /^[-+−]?[\d.,]+( |$|e)/.test(text);
  return h("div", { class: "scroll-x" }, h("table", Object.assign({ class: "plain" }, attributes),
    h("thead", {}, h("tr", {}, heads.map((name, index) => h(name ? "th" : "td", { scope: name ? "col" : null, class: rows.length && rows.every((cells) => isNumber(cells[index]) || cells[index] === MISSING) ? "number" : null }, name)))),
    h("tbody", {}, rows.map((cells) => h("tr", {},
      cells.map((cell) => h("td", { class: isNumber(cell) ? "number" : null }, given(cell) && cell !== "" ? cell : MISSING)))))));
}

const spoken = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
function say(text) {
  spoken.textContent = text;
}

/** A table that begins with the first rows and gets the rest when asked or printed. */
function longTable(heads, rows, attributes) {
  const first = 300;
  if (rows.length <= first) return plainTable(heads, rows, attributes);
  const frame = h("div", {});
  const more = h("button", { type: "button", class: "more", onclick: () => frame.replaceChildren(plainTable(heads, rows, attributes)) }, `${rows.length - first} more rows`);
  window.addEventListener("beforeprint", () => more.click());
  frame.append(plainTable(heads, rows.slice(0, first), attributes), more);
  return frame;
}

function copyButton(text, label) {
  const button = h("button", { type: "button", class: "copy" }, label || "Copy");
  button.addEventListener("click", async () => {
    const content = typeof text === "function" ? text() : text;
    let done = false;
    try {
      await navigator.clipboard.writeText(content);
      done = true;
    } catch (error) {
      // an attachment opened in a viewer has no clipboard rights: the old way works there
      const box = h("textarea", { class: "unseen" });
      box.value = content;
      document.body.append(box);
      box.select();
      done = document.execCommand("copy");
      box.remove();
      button.focus();
    }
    button.textContent = done ? "Copied" : "Select and copy by hand";
    say(button.textContent);
    setTimeout(() => { button.textContent = label || "Copy"; }, 1500);
  });
  return button;
}

function pasteBox(what, text) {
  return h("figure", { class: "paste" },
    h("figcaption", {}, h("span", {}, what), copyButton(text)),
    h("pre", { tabindex: "0" }, text));
}

function saveFile(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
