// The strip beside the network: all of it, coloured the same way, with the part in sight.

function stepColours() {
  const probe = h("span", { class: "swatch" });
  network.frame.append(probe);
  const colours = new Map();
  const colour = (step) => {
    if (!colours.has(step)) {
      probe.setAttribute("class", `swatch ${step}`);
      colours.set(step, getComputedStyle(probe).backgroundColor);
    }
    return colours.get(step);
  };
  for (const layer of layers) colour(COLOURINGS[network.colouring].step(layer));
  colour("accent");
  probe.remove();
  return colours;
}

/** Draws the strip before the next picture, however many changes ask for it. */
function drawOverview() {
  if (network.waiting) return;
  network.waiting = true;
  requestAnimationFrame(() => { network.waiting = false; paintOverview(); });
}

function paintOverview() {
  const { map } = network;
  const size = map.getBoundingClientRect();
  if (!size.width || !size.height) return;
  const ratio = window.devicePixelRatio || 1;
  map.width = Math.round(size.width * ratio);
  map.height = Math.round(size.height * ratio);
  const brush = map.getContext("2d");
  brush.scale(ratio, ratio);
  const colours = stepColours();
  const [sx, sy] = [size.width / data.layout.width, size.height / data.layout.height];
  for (const layer of layers) {
    const spot = data.layout.nodes[layer.id];
    if (!spot) continue;
    brush.fillStyle = colours.get(COLOURINGS[network.colouring].step(layer));
    brush.fillRect(spot[0] * sx, spot[1] * sy, Math.max(2, spot[2] * sx), Math.max(1.5, spot[3] * sy));
  }
  brush.strokeStyle = colours.get("accent");
  brush.fillStyle = colours.get("accent");
  const chosen = state.layer && data.layout.nodes[state.layer];
  if (chosen) brush.fillRect(0, chosen[1] * sy, size.width, 2);
  const view = network.svg.getBoundingClientRect();
  brush.lineWidth = 1.5;
  const clip = (value, high) => Math.min(high, Math.max(0, value));
  const [left, top] = [clip((-network.x / network.zoom) * sx, size.width), clip((-network.y / network.zoom) * sy, size.height)];
  const right = clip(((view.width - network.x) / network.zoom) * sx, size.width);
  const bottom = clip(((view.height - network.y) / network.zoom) * sy, size.height);
  brush.strokeRect(left + 1, top + 1, Math.max(2, right - left - 2), Math.max(3, bottom - top - 2));
  brush.globalAlpha = 0.12;
  brush.fillRect(left, top, right - left, Math.max(3, bottom - top));
}
