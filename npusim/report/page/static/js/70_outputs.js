// What comes out: pictures, classes or boxes, float beside quantized, each part of an output by itself.

function outputsView() {
  const outputs = data.outputs || [];
  const pictures = data.pictures || [];
  return [
    outputs.length ? outputs.map(outputSection) : absent("outputs", "Outputs were not compared."),
    data.metrics && data.metrics.length ? part("On the labelled set", plainTable(["metric", "float", "quantized", "change"], data.metrics.map((row) =>
      [row.name, short(row.float), short(row.quantized), given(row.float) && given(row.quantized) ? short(row.quantized - row.float) : MISSING])))
      : part("On the labelled set", absent("metrics", "No labelled samples were given.")),
    part("Inputs", pictures.length ? h("div", { class: "pictures" }, pictures.map((picture) => pictureFigure(picture, outputs)))
      : absent("pictures", "No pictures were stored.")),
  ];
}

function outputSection(output) {
  const parts = output.parts || [];
  return part(output.name,
    parts.length > 0 && plainTable(["part", "channels", "SQNR", "cosine", "largest error"], parts.map((row) =>
      [row.name, row.channels, [stepCell(errorStep(row.sqnr_db), decibels(row.sqnr_db))], fixed(row.cosine, 6), short(row.max_error)])),
    output.classes && plainTable(["class", "float", "quantized", "change"], output.classes.map((row) =>
      [row.name, fixed(row.float, 4), fixed(row.quantized, 4), given(row.float) && given(row.quantized) ? fixed(row.quantized - row.float, 4) : MISSING])),
    output.boxes && plainTable(["from", "label", "score", "box"], output.boxes.map((row) =>
      [row.from, String(row.label), fixed(row.score, 3), row.box.map((value) => short(value)).join(", ")])));
}

/** Only pictures that the page itself holds are shown; anything else would ask the network. */
function pictureFigure(picture, outputs) {
  if (!/^data:image\/(png|jpeg|webp|gif);base64,/.test(picture.data || "")) return null;
  const image = h("img", { src: picture.data, alt: picture.name, width: picture.width, height: picture.height });
  const boxes = outputs.flatMap((output) => output.boxes || []).filter((row) => !given(row.picture) || row.picture === picture.name);
  const drawn = boxes.length > 0 && picture.width > 0 && s("svg", { class: "boxes", viewBox: `0 0 ${picture.width} ${picture.height}`, role: "img", "aria-label": "boxes, float dashed, quantized solid" },
    boxes.map((row) => s("rect", { class: row.from === "float" ? "box-float" : "box-quantized", x: row.box[0], y: row.box[1], width: Math.max(0, row.box[2] - row.box[0]), height: Math.max(0, row.box[3] - row.box[1]) },
      s("title", {}, `${row.from}: ${row.label} ${fixed(row.score, 3)}`))));
  return h("figure", {}, h("div", { class: "picture" }, image, drawn), h("figcaption", {}, picture.name));
}
