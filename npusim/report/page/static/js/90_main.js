// Views, links, keys, theme, print.

const VIEWS = {
  summary: ["Summary", summaryView], network: ["Network", networkView], layers: ["Layers", layersView],
  time: ["Time", timeView], outputs: ["Outputs", outputsView], whatif: ["What if", whatIfView],
};
const state = { view: "summary", layer: null };
const page = { sections: {}, tabs: {}, drawn: new Set(), hash: null };

function readHash() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const layer = wanted.get("layer");
  const view = wanted.get("view");
  return { layer: layerOf.has(layer) ? layer : null, view: view in VIEWS ? view : null, unknown: layer !== null && !layerOf.has(layer) ? layer : null };
}

/** Changes the address, and the page follows: every state is a link, and Back works. */
function go(change) {
  const next = Object.assign({}, state, change);
  const parts = [`view=${next.view}`];
  if (next.layer) parts.push(`layer=${encodeURIComponent(next.layer)}`);
  location.hash = `#${parts.join("&")}`;
  show();
}

function draw(view) {
  if (page.drawn.has(view)) return;
  page.drawn.add(view);
  page.sections[view].append(...VIEWS[view][1]().flat(Infinity).filter((child) => given(child) && child !== false));
}

function show() {
  // the browser tells of a change later that has been followed already
  if (page.hash === location.hash) return;
  page.hash = location.hash;
  const wanted = readHash();
  const previous = state.layer;
  state.view = wanted.view || (wanted.layer && !page.shown ? "network" : state.view);
  state.layer = wanted.layer;
  page.shown = true;
  if (wanted.unknown) say(`There is no layer ${wanted.unknown} in this report.`);
  for (const [name, section] of Object.entries(page.sections)) {
    section.hidden = name !== state.view;
    page.tabs[name].setAttribute("aria-selected", name === state.view ? "true" : "false");
    page.tabs[name].tabIndex = name === state.view ? 0 : -1;
  }
  document.body.dataset.view = state.view;
  page.panel.hidden = !state.layer;
  if (state.layer && state.layer !== previous) {
    page.panel.replaceChildren(...layerPanel(layerOf.get(state.layer)).flat(Infinity).filter((child) => given(child) && child !== false));
    page.panel.scrollTop = 0;
    say(`layer ${state.layer}`);
  }
  draw(state.view);
  if (state.view === "network" && network.svg) { firstPlace(); drawOverview(); }
  networkSelect(previous);
  tableSelect();
}

function tabBar() {
  const names = Object.keys(VIEWS);
  return h("nav", { "aria-label": "Views" }, h("div", { role: "tablist" }, names.map((name, index) => {
    const tab = h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}`, title: `key ${index + 1}`, onclick: () => go({ view: name }) }, VIEWS[name][0]);
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(index + step + names.length) % names.length];
      go({ view: next });
      page.tabs[next].focus();
      event.preventDefault();
    });
    page.tabs[name] = tab;
    return tab;
  })));
}

function themeButton() {
  const themes = ["auto", "light", "dark"];
  let current = 0;
  const button = h("button", { type: "button", id: "theme", title: "Colours: as the system, light, dark" }, "Auto");
  button.addEventListener("click", () => {
    current = (current + 1) % themes.length;
    document.documentElement.dataset.theme = themes[current];
    button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[themes[current]];
    if (network.svg) drawOverview();
  });
  return button;
}

const KEYS = [
  ["1 … 6", "views"], ["/", "find a layer"], ["[  ]", "layer before, after"], ["Esc", "close the layer"],
  ["arrows", "in the network: along the edges and sideways; in the table: rows"], ["Shift + arrows", "move the network"],
  ["+  −  0", "zoom in, out, show all"], ["f", "fold the group of the layer"],
  ["Enter", "in the network and the table: read the chosen layer"], ["Enter", "in the search: next layer found"], ["?", "this list"],
];

function keysDialog() {
  return h("dialog", { id: "keys", "aria-label": "Keys" }, h("h2", {}, "Keys"),
    h("dl", { class: "facts" }, KEYS.map(([name, text]) => [h("dt", {}, h("kbd", {}, name)), h("dd", {}, text)])),
    h("form", { method: "dialog" }, h("button", {}, "Close")));
}

function pageKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (page.keys.open) return;
    if (typing) { event.target.blur(); return; }
    const from = state.layer;
    if (from) {
      go({ layer: null });
      if (state.view === "network" && network.svg) network.svg.focus();
      if (state.view === "layers") focusRow(from);
    }
    return;
  }
  if (typing) return;
  const digit = Number(event.key);
  const here = state.layer ? layerOf.get(state.layer).index : -1;
  if (event.key >= "1" && digit <= Object.keys(VIEWS).length) go({ view: Object.keys(VIEWS)[digit - 1] });
  else if (event.key === "/") focusSearch();
  else if (event.key === "]" && layers[here + 1]) go({ layer: layers[here + 1].id });
  else if (event.key === "[" && layers[here - 1]) go({ layer: layers[here - 1].id });
  else if (event.key === "?") page.keys.showModal();
  else return;
  event.preventDefault();
}

function readLayer() {
  document.getElementById("layer-title").focus();
}

function focusSearch() {
  if (state.view === "layers") { table.text.focus(); return; }
  go({ view: "network" });
  if (network.search) network.search.focus();
}

function masthead() {
  const head = data.head || {};
  return h("header", { class: "masthead" },
    h("a", { class: "skip", href: "#content", onclick: (event) => { event.preventDefault(); page.main.focus(); } }, "Skip to the content"),
    h("div", { class: "title" }, h("h1", { title: head.title }, head.title || "npusim report"),
      h("p", {}, [head.target, (head.formats || []).map((row) => row.format).join(" + "), given(head.total_time_us) && time(head.total_time_us)].filter(Boolean).join(" · "))),
    severityMark(headSeverity(head)),
    h("span", { class: "buttons" }, themeButton(),
      h("button", { type: "button", title: "Print: key Ctrl P", onclick: () => window.print() }, "Print"),
      h("button", { type: "button", "aria-label": "Keys", title: "Keys: ?", onclick: () => page.keys.showModal() }, "?")));
}

function startPage() {
  page.main = h("main", { id: "content", tabindex: "-1" });
  page.panel = h("aside", { id: "panel", "aria-label": "Layer", hidden: true });
  page.keys = keysDialog();
  const bar = tabBar();
  for (const name of Object.keys(VIEWS)) {
    page.sections[name] = h("section", { id: `view-${name}`, class: "view", role: "tabpanel", "aria-labelledby": `tab-${name}`, hidden: true },
      h("h2", { class: "print-only view-title" }, VIEWS[name][0]));
    page.main.append(page.sections[name]);
  }
  document.getElementById("app").append(masthead(), bar, h("div", { class: "body" }, page.main, page.panel), page.keys, spoken);
  window.addEventListener("hashchange", show);
  window.addEventListener("resize", () => { if (network.svg && state.view === "network") { firstPlace(); drawOverview(); } });
  window.addEventListener("beforeprint", () => {
    Object.keys(VIEWS).forEach(draw);
    if (network.svg) firstPlace();
    while (table.shown < table.rows.length) moreRows();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (network.svg) drawOverview(); });
  document.addEventListener("keydown", pageKey);
  show();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

startPage();
