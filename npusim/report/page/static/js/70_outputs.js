// What comes out: pictures, classes or boxes, float beside quantized, each part of an output by itself.

function outputsView() {
  const outputs = data.outputs || [];
  const pictures = data.pictures || [];
  const inputs = part("Inputs", pictures.length ? h("div", { class: "pictures" }, pictures.map((picture) => pictureFigure(picture, outputs)))
    : absent("pictures", "No pictures were stored."));
  const detects = outputs.some((output) => output.boxes);
  return [
    detects && inputs,
    outputs.length ? outputs.map(outputSection) : absent("outputs", "Outputs were not compared."),
    data.metrics && data.metrics.length ? part("On the labelled set", plainTable(["metric", "float", "quantized", "change"], data.metrics.map((row) =>
      [row.name, short(row.float), short(row.quantized), given(row.float) && given(row.quantized) ? short(row.quantized - row.float) : MISSING])))
      : part("On the labelled set", absent("metrics", "No labelled samples were given.")),
    !detects && inputs,
  ];
}

function outputSection(output) {
  const parts = output.parts || [];
  return part(output.name,
    parts.length > 0 && plainTable(["part", "channels", "SQNR", "cosine", "largest error"], parts.map((row) =>
      [row.name, row.channels, [stepCell(errorStep(row.sqnr_db), decibels(row.sqnr_db))], fixed(row.cosine, 6), short(row.max_error)])),
    output.classes && plainTable(["class", "float", "quantized", "change"], output.classes.map((row) =>
      [row.name, fixed(row.float, 4), fixed(row.quantized, 4), given(row.float) && given(row.quantized) ? fixed(row.quantized - row.float, 4) : MISSING])),
    output.boxes && h("p", { class: "found" }, foundText(output)),
    output.boxes && output.boxes.length > 0 && plainTable(["class", "float", "quantized", "overlap", "left, top, right, bottom"],
      output.boxes.filter((row) => row.from === "float" || !given(row.match)).map((row) => {
        const [float, quantized] = row.from === "float" ? [row.score, row.there] : [null, row.score];
        return [String(row.label), fixed(float, 3), fixed(quantized, 3), fixed(row.match, 3), row.box.map((value) => short(value)).join(", ")];
      })));
}

/** How many boxes the two runs found, and how many are the same. */
function foundText(output) {
  const found = output.found;
  if (!found) return "";
  const least = `with a score of at least ${found.least_score}`;
  if (!found.float && !found.quantized) return `No boxes ${least}, in float or quantized.`;
  const overlap = given(found.mean_overlap) ? `, with a mean overlap of ${fixed(found.mean_overlap, 3)}` : "";
  return `Boxes ${least}: float ${found.float}, quantized ${found.quantized}; ${found.both} are in both (same class, overlapping by half)${overlap}.`;
}

/** Only pictures that the page itself holds are shown; anything else would ask the network. */
function pictureFigure(picture, outputs) {
  if (!/^data:image\/(png|jpeg|webp|gif);base64,/.test(picture.data || "")) return null;
  const image = h("img", { src: picture.data, alt: picture.name, width: picture.width, height: picture.height });
  const [width, height] = picture.pixels || [picture.width, picture.height];
  const size = Math.max(width, height) / 24;
  const boxes = outputs.flatMap((output) => output.boxes || []).filter((row) => !given(row.picture) || row.picture === picture.name);
  // float's dashes lie over quantized's line, so that both are seen where they are the same
  boxes.sort((one, other) => (one.from === "float") - (other.from === "float"));
  const drawn = boxes.length > 0 && width > 0 && s("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "boxes, float dashed, quantized solid" },
    boxes.map((row) => [s("rect", { class: row.from === "float" ? "box-float" : "box-quantized", x: row.box[0], y: row.box[1], width: Math.max(0, row.box[2] - row.box[0]), height: Math.max(0, row.box[3] - row.box[1]) },
      s("title", {}, `${row.from}: ${row.label} ${fixed(row.score, 3)}`)), boxName(row, size, width, height)]));
  const key = drawn && h("span", { class: "box-key" }, h("i", { class: "key-float" }), "float ", h("i", { class: "key-quantized" }), "quantized");
  return h("figure", {}, h("div", { class: drawn ? "picture with-boxes" : "picture" }, image, drawn), h("figcaption", {}, picture.name, key));
}

/** The class of a box and its score, above what float found, below what only quantized did, within the picture. */
function boxName(row, size, width, height) {
  const above = row.from === "float";
  const both = given(row.match);
  if (both && !above) return null;
  const name = String(row.label);
  const text = `${name.length > 18 ? `${name.slice(0, 17)}…` : name} ${fixed(row.score, 2)}${both ? ` → ${fixed(row.there, 2)}` : ""}`;
  const x = Math.max(0, Math.min(row.box[0], width - text.length * size * 0.66));
  const y = above ? Math.max(size, row.box[1] - size * 0.2) : Math.min(height - size * 0.2, row.box[3] + size);
  return s("text", { class: both ? "name-both" : above ? "name-float" : "name-quantized", x, y, "font-size": size, "stroke-width": size / 5 }, text);
}
