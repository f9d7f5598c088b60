// The graph of layers. Python has laid it out; this draws, colours, folds and moves over it.

const network = {
  colouring: firstColouring(), folded: new Set(), nodes: new Map(), groups: new Map(), hits: new Set(), hit: -1,
  x: 0, y: 0, zoom: 1, placed: false,
};
const ZOOM_RANGE = [0.004, 4];
const LABELS_FROM = 0.42; // zoom below which labels could not be read

const groupOf = new Map((data.layout && data.layout.groups || []).map((group) => [group.id, group]));
const foldedGroup = (id) => {
  const layer = layerOf.get(id);
  return layer && network.folded.has(layer.group) ? layer.group : null;
};

function networkView() {
  if (!data.layout || !layers.length) return [absent("network", "The network was not laid out.")];
  network.canvas = s("g", {});
  network.edges = s("path", { class: "edges" });
  network.into = s("path", { class: "edges into" });
  network.outOf = s("path", { class: "edges out-of" });
  network.canvas.append(network.edges, network.into, network.outOf);
  network.svg = s("svg", { class: "network", tabindex: "0", role: "application", "data-keys": "graph",
    "aria-label": "Network. Arrow keys go along the edges, plus and minus zoom, 0 shows all, f folds a group." }, network.canvas);
  for (const group of groupOf.values()) drawGroup(group);
  network.map = h("canvas", { class: "overview", title: "The whole network; click to go there", "aria-hidden": "true" });
  network.legend = h("div", {});
  network.frame = h("div", { class: "graph-frame" }, network.svg, network.map);
  listenToGraph();
  drawEdges();
  colourNodes();
  new ResizeObserver(() => { if (network.placed) place(); else firstPlace(); }).observe(network.svg);
  return [networkTools(), network.legend, network.frame, h("p", { class: "print-only hint" }, "The part of the network that was in sight; the page itself has all of it.")];
}

function networkTools() {
  const choice = h("select", { id: "colour", onchange: (event) => { network.colouring = event.target.value; colourNodes(); } },
    Object.entries(COLOURINGS).map(([name, colouring]) => h("option", { value: name, disabled: !hasColour(name), selected: name === network.colouring }, colouring.title)));
  network.found = h("output", { class: "hint", for: "search" });
  network.search = h("input", { id: "search", type: "search", placeholder: "name, operator, source node", title: "key /",
    autocomplete: "off", spellcheck: "false", oninput: searchNetwork });
  network.search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { nextHit(event.shiftKey ? -1 : 1); event.preventDefault(); }
  });
  const tool = (text, label, action) => h("button", { type: "button", title: label, "aria-label": label, onclick: action }, text);
  return h("div", { class: "tools" },
    h("label", {}, "Colour by ", choice),
    h("label", {}, "Find ", network.search), network.found,
    h("span", { class: "buttons" },
      tool("−", "Zoom out", () => zoomBy(1 / 1.3)), tool("+", "Zoom in", () => zoomBy(1.3)),
      tool("Fit", "Fit the whole network", fitAll),
      groupOf.size > 0 && tool("Fold", "Fold all groups", () => foldAll(true)),
      groupOf.size > 0 && tool("Unfold", "Unfold all groups", () => foldAll(false))));
}

function box(x, y, width, height, first, second) {
  const room = Math.max(4, Math.floor((width - 12) / 6.1));
  const two = height >= 30 && second;
  return [
    s("rect", { width, height, rx: 3 }),
    s("text", { x: 8, y: two ? height / 2 - 3 : height / 2 + 4, class: "op" }, tail(first, room)),
    two && s("text", { x: 8, y: height / 2 + 10 }, tail(second, room)),
  ];
}

/** Makes the nodes that have come into sight: of thousands only those that somebody looks at. */
function drawInSight() {
  const size = network.svg.getBoundingClientRect();
  if (!size.width) return;
  const { zoom } = network;
  const margin = 200;
  const [left, top] = [(-network.x - margin) / zoom, (-network.y - margin) / zoom];
  const [right, bottom] = [(size.width - network.x + margin) / zoom, (size.height - network.y + margin) / zoom];
  const fresh = document.createDocumentFragment();
  for (const layer of layers) {
    const spot = !network.nodes.has(layer.id) && data.layout.nodes[layer.id];
    if (!spot || spot[0] > right || spot[1] > bottom || spot[0] + spot[2] < left || spot[1] + spot[3] < top) continue;
    fresh.append(drawNode(layer, spot));
  }
  network.canvas.append(fresh);
}

function drawNode(layer, [x, y, width, height]) {
  const node = s("g", { class: "node", "data-id": layer.id, transform: `translate(${x} ${y})` },
    box(x, y, width, height, height >= 30 ? layer.op : `${layer.op} ${layer.name || layer.id}`, layer.name || layer.id),
    (layer.severity === "bad" || layer.severity === "warn")
      && s("rect", { class: `stripe ${layer.severity}${causeOf.has(layer.id) ? " root" : ""}`, width: 5, height }));
  node.append(s("title", {}));
  if (foldedGroup(layer.id) !== null) node.setAttribute("display", "none");
  network.nodes.set(layer.id, node);
  colourNode(layer, node);
  return node;
}

function foldedBox(group) {
  const [x, y, width, height] = group.box;
  const wide = Math.min(width, 190);
  const high = Math.min(height, 38);
  return [x + (width - wide) / 2, y + (height - high) / 2, wide, high];
}

function drawGroup(group) {
  const [x, y, width, height] = group.box;
  const open = s("g", { class: "group", "data-group": group.id },
    s("rect", { x, y, width, height, rx: 6 }),
    s("text", { x: x + 2, y: y - 3 }, `▾ ${start(group.title, Math.max(6, Math.floor(width / 6) - 3))}`));
  const [fx, fy, wide, high] = foldedBox(group);
  const shut = s("g", { class: "node folded", "data-group": group.id, transform: `translate(${fx} ${fy})`, display: "none" },
    box(fx, fy, wide, high, start(`▸ ${group.title}`, Math.floor((wide - 12) / 6.1)), `${group.members.length} layers`), s("title", {}, group.title));
  network.groups.set(group.id, { open, shut });
  network.canvas.append(open, shut);
}

const center = ([x, y, width, height]) => [x + width / 2, y + height / 2];

/** Path of the edges that `keep` wants; ends in a folded group are moved to its box. */
function edgePath(keep) {
  const parts = [];
  data.edges.forEach(([from, to], index) => {
    if (!keep(from, to)) return;
    const points = data.layout.edges[index];
    if (!points || !points.length) return;
    const start = foldedGroup(from);
    const end = foldedGroup(to);
    if (start !== null && start === end) return;
    const line = start === null && end === null ? points : points.slice();
    if (start !== null) line[0] = center(foldedBox(groupOf.get(start)));
    if (end !== null) line[line.length - 1] = center(foldedBox(groupOf.get(end)));
    parts.push(`M${line.map(([x, y]) => `${x} ${y}`).join("L")}`);
  });
  return parts.join("");
}

function drawEdges() {
  network.edges.setAttribute("d", edgePath(() => true));
  const id = state.layer;
  network.into.setAttribute("d", id ? edgePath((from, to) => to === id) : "");
  network.outOf.setAttribute("d", id ? edgePath((from) => from === id) : "");
}

function colourNodes() {
  for (const [id, node] of network.nodes) colourNode(layerOf.get(id), node);
  for (const [id, { shut }] of network.groups) {
    const members = groupOf.get(id).members.map((member) => layerOf.get(member)).filter(Boolean);
    const bad = members.some((member) => causeOf.has(member.id));
    shut.setAttribute("class", `node folded ${commonStep(network.colouring, members)}${bad ? " holds-cause" : ""}`);
  }
  network.legend.replaceChildren(legend(network.colouring));
  drawOverview();
}

function colourNode(layer, node) {
  const colouring = COLOURINGS[network.colouring];
  nodeClass(layer, node);
  node.querySelector("title").textContent = plain(`${layer.id}\n${layer.op}, ${colouring.title}: ${colouring.value(layer) || MISSING}`);
}

function nodeClass(layer, node) {
  const classes = ["node", COLOURINGS[network.colouring].step(layer)];
  if (layer.id === state.layer) classes.push("selected");
  if (network.hits.has(layer.id)) classes.push("hit");
  node.setAttribute("class", classes.join(" "));
}

function fold(id, shut) {
  if (shut) network.folded.add(id); else network.folded.delete(id);
  const { open, shut: closed } = network.groups.get(id);
  open.setAttribute("display", shut ? "none" : "inline");
  closed.setAttribute("display", shut ? "inline" : "none");
  for (const member of groupOf.get(id).members) {
    const node = network.nodes.get(member);
    if (node) node.setAttribute("display", shut ? "none" : "inline");
  }
}

function foldAll(shut) {
  for (const id of groupOf.keys()) fold(id, shut);
  drawEdges();
}

// moving ------------------------------------------------------------------------------------------------------

function place() {
  const { x, y, zoom } = network;
  network.canvas.setAttribute("transform", `translate(${x} ${y}) scale(${zoom})`);
  network.svg.classList.toggle("far", zoom < LABELS_FROM);
  drawInSight();
  drawOverview();
}

function zoomBy(factor, at) {
  const size = network.svg.getBoundingClientRect();
  const [px, py] = at || [size.width / 2, size.height / 2];
  const zoom = Math.min(ZOOM_RANGE[1], Math.max(ZOOM_RANGE[0], network.zoom * factor));
  network.x = px - ((px - network.x) * zoom) / network.zoom;
  network.y = py - ((py - network.y) * zoom) / network.zoom;
  network.zoom = zoom;
  place();
}

function fitAll() {
  const size = network.svg.getBoundingClientRect();
  const { width, height } = data.layout;
  network.zoom = Math.min(1.2, Math.max(ZOOM_RANGE[0], Math.min(size.width / (width + 20), size.height / (height + 20))));
  network.x = (size.width - width * network.zoom) / 2;
  network.y = Math.max(6, (size.height - height * network.zoom) / 2);
  place();
}

/** No more empty space at the edges than is needed. */
function within(room, length, offset) {
  return length < room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset));
}

function showAt(point, zoom) {
  const size = sight();
  network.zoom = zoom || network.zoom;
  network.x = within(size.width, data.layout.width * network.zoom, size.width / 2 - point[0] * network.zoom);
  network.y = within(size.height, data.layout.height * network.zoom, size.height / 2 - point[1] * network.zoom);
  place();
}

/** Room of the network that the open layer does not cover, as it does on a narrow screen. */
function sight() {
  const { width, height, top } = network.svg.getBoundingClientRect();
  const covered = getComputedStyle(page.panel).position === "fixed" && !page.panel.hidden;
  return { width, height: covered ? Math.max(80, Math.min(height, page.panel.getBoundingClientRect().top - top)) : height };
}

/** Moves over the network only when the layer is not in sight. */
function reveal(id) {
  const spot = data.layout.nodes[id];
  if (!spot) return;
  const size = sight();
  const [x, y] = center(spot);
  const [sx, sy] = [network.x + x * network.zoom, network.y + y * network.zoom];
  const margin = 40;
  const inside = sx > margin && sx < size.width - margin && sy > margin && sy < size.height - margin;
  if (!inside || network.zoom < LABELS_FROM) showAt([x, y], Math.max(network.zoom, 0.8));
}

/** First look: all of a small network, else the worst layer or the first. */
function firstPlace() {
  const size = network.svg.getBoundingClientRect();
  if (network.placed || !size.width) return;
  network.placed = true;
  const { width, height } = data.layout;
  if (Math.min(size.width / width, size.height / height) > 0.6) return fitAll();
  const first = state.layer || (causes[0] && causes[0].layer) || layers[0].id;
  const spot = data.layout.nodes[first] || [0, 0, width, 0];
  return showAt(center(spot), 1);
}

function networkSelect(previous) {
  if (!network.svg) return;
  const group = foldedGroup(state.layer);
  if (group !== null) fold(group, false);
  for (const id of [previous, state.layer]) {
    if (network.nodes.has(id)) nodeClass(layerOf.get(id), network.nodes.get(id));
  }
  drawEdges();
  drawOverview();
  if (state.view === "network" && state.layer) reveal(state.layer);
}

// pointer and keys --------------------------------------------------------------------------------------------

function listenToGraph() {
  const { svg } = network;
  const pointers = new Map();
  let moved = false;
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const size = svg.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) {
      zoomBy(Math.exp(-event.deltaY / 200), [event.clientX - size.left, event.clientY - size.top]);
    } else {
      network.x -= event.shiftKey ? event.deltaY : event.deltaX;
      network.y -= event.shiftKey ? 0 : event.deltaY;
      place();
    }
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => {
    if (!pointers.size) moved = false;
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  svg.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const now = [event.clientX, event.clientY];
    if (!moved && Math.hypot(now[0] - last[0], now[1] - last[1]) < 5) return;
    if (!moved) svg.setPointerCapture(event.pointerId);
    moved = true;
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const size = svg.getBoundingClientRect();
      const spread = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      zoomBy(spread(now) / spread(last), [(now[0] + other[0]) / 2 - size.left, (now[1] + other[1]) / 2 - size.top]);
    } else {
      network.x += now[0] - last[0];
      network.y += now[1] - last[1];
      place();
    }
    pointers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    svg.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  svg.addEventListener("click", (event) => {
    if (moved) return;
    const node = event.target.closest("[data-id]");
    const group = event.target.closest("[data-group]");
    if (node) go({ layer: node.getAttribute("data-id") });
    else if (group) toggleGroup(group.getAttribute("data-group"));
  });
  svg.addEventListener("keydown", graphKey);
  const jump = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const size = network.map.getBoundingClientRect();
    showAt([((event.clientX - size.left) / size.width) * data.layout.width,
      ((event.clientY - size.top) / size.height) * data.layout.height]);
  };
  network.map.addEventListener("pointerdown", jump);
  network.map.addEventListener("pointermove", jump);
}

function toggleGroup(id) {
  // ids of groups may be numbers in the data
  for (const known of groupOf.keys()) {
    if (String(known) === String(id)) fold(known, !network.folded.has(known));
  }
  drawEdges();
}

function graphKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
  if (step && event.shiftKey) {
    network.x -= 80 * step[0];
    network.y -= 80 * step[1];
    place();
  } else if (step) walk(step);
  else if (event.key === "+" || event.key === "=") zoomBy(1.3);
  else if (event.key === "-") zoomBy(1 / 1.3);
  else if (event.key === "0") fitAll();
  else if (event.key === "Enter" && state.layer) readLayer();
  else if (event.key === "Home") go({ layer: layers[0].id });
  else if (event.key === "End") go({ layer: layers.at(-1).id });
  else if (event.key === "f" && state.layer && groupOf.has(layerOf.get(state.layer).group)) toggleGroup(layerOf.get(state.layer).group);
  else return;
  event.preventDefault();
}

/** Up and down follow edges, left and right go to the neighbour in the picture. */
function walk([right, down]) {
  const here = state.layer && data.layout.nodes[state.layer];
  if (!here) {
    go({ layer: (causes[0] && layerOf.has(causes[0].layer) ? causes[0].layer : layers[0].id) });
    return;
  }
  const [x, y] = center(here);
  const offset = (id) => center(data.layout.nodes[id]);
  const pool = down ? (down > 0 ? after : before).get(state.layer) : layers.map((layer) => layer.id);
  let best = null;
  for (const id of pool) {
    if (!data.layout.nodes[id] || id === state.layer) continue;
    const [ox, oy] = offset(id);
    if (right && (ox - x) * right <= 1) continue;
    const distance = right ? Math.abs(ox - x) + 4 * Math.abs(oy - y) : Math.abs(ox - x) + Math.abs(oy - y) / 1000;
    if (right && Math.abs(oy - y) > 200) continue;
    if (!best || distance < best[1]) best = [id, distance];
  }
  if (best) go({ layer: best[0] });
}

// search ------------------------------------------------------------------------------------------------------

const haystack = (layer) => [layer.id, layer.name, layer.op, ...(layer.origin || []), ...(layer.outputs || [])]
  .filter(Boolean).join("\n").toLowerCase();

function searchNetwork() {
  const wanted = network.search.value.trim().toLowerCase();
  network.hits = new Set(wanted ? layers.filter((layer) => haystack(layer).includes(wanted)).map((layer) => layer.id) : []);
  network.hit = -1;
  network.svg.classList.toggle("searching", network.hits.size > 0);
  network.found.textContent = wanted ? `${network.hits.size} found${network.hits.size ? ", Enter goes there" : ""}` : "";
  colourNodes();
}

function nextHit(step) {
  if (!network.hits.size) return;
  network.hit = (network.hit + step + network.hits.size) % network.hits.size;
  network.found.textContent = `${network.hit + 1} of ${network.hits.size}`;
  go({ layer: [...network.hits][network.hit] });
}
