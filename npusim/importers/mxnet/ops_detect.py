"""Detectors: prior boxes, which are constants, and what the CPU runs behind the network."""

from math import prod

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.made import check_made
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.symbol import MxNode

f32 = np.float32


@converter("_contrib_MultiBoxPrior", "MultiBoxPrior")
def prior_box(node: MxNode, context: MxContext) -> None:
    """Boxes around every cell, (1, cells * boxes, 4): all sizes, then the other ratios."""
    needs(node, 1)
    shape, attributes = context.shape(node.inputs[0]), node.attributes
    sizes, ratios = attributes.reals("sizes", (1.0,)), attributes.reals("ratios", (1.0,))
    steps = attributes.reals("steps", (-1.0, -1.0))
    offsets = attributes.reals("offsets", (0.5, 0.5))
    if len(shape) != 4 or len(steps) != 2 or len(offsets) != 2 or min(ratios, default=0) <= 0:
        raise ModelImportError(
            f"ratios {ratios}, steps {steps}, offsets {offsets} of {shape}",
            where=node.where,
            rule="positive ratios, two steps and offsets, a map (N, C, H, W)",
        )
    high, wide = shape[2:]
    check_made((high, wide, len(sizes) + len(ratios), 4), "the boxes", node.where)
    with np.errstate(all="ignore"):
        step = [
            f32(1) / f32(n) if s <= 0 else f32(s) for s, n in zip(steps, (high, wide), strict=True)
        ]
        y = (np.arange(high, dtype=f32) + f32(offsets[0])) * step[0]
        x = (np.arange(wide, dtype=f32) + f32(offsets[1])) * step[1]
        pairs = [(size, ratios[0]) for size in sizes] + [(sizes[0], r) for r in ratios[1:]]
        half = np.array(
            [
                (
                    f32(s) * f32(high) / f32(wide) * np.sqrt(f32(r)) / f32(2),
                    f32(s) / np.sqrt(f32(r)) / f32(2),
                )
                for s, r in pairs
            ],
            f32,
        )
        boxes = np.empty((high, wide, len(pairs), 4), f32)
        boxes[..., 0] = x[None, :, None] - half[:, 0]
        boxes[..., 1] = y[:, None, None] - half[:, 1]
        boxes[..., 2] = x[None, :, None] + half[:, 0]
        boxes[..., 3] = y[:, None, None] + half[:, 1]
    if attributes.flag("clip"):
        boxes = np.clip(boxes, 0, 1)
    context.values[node.outputs[0]] = boxes.reshape(1, -1, 4)


@converter("_contrib_MultiBoxDetection", "MultiBoxDetection")
def detection(node: MxNode, context: MxContext) -> None:
    """Decode, suppress and sort the boxes of an SSD, on the CPU."""
    needs(node, 3)
    scores, places, anchors = (context.shape(name) for name in node.inputs)
    count = anchors[1] if len(anchors) == 3 else 0
    wanted = (scores[0], scores[1] if len(scores) > 1 else 0, count)
    if scores != wanted or places[0] != scores[0] or prod(places[1:]) != 4 * count:
        raise ModelImportError(
            f"inputs {scores}, {places} and {anchors}",
            where=node.where,
            rule="(N, classes, boxes), (N, 4 * boxes) and (1, boxes, 4)",
        )
    attributes = node.attributes
    variances = attributes.reals("variances", (0.1, 0.1, 0.2, 0.2))
    if len(variances) != 4:
        raise ModelImportError(f"variances {variances}", where=node.where, rule="four")
    attrs = {
        "clip": int(attributes.flag("clip", True)),
        "threshold": attributes.real("threshold", 0.01),
        "nms_threshold": attributes.real("nms_threshold", 0.5),
        "force_suppress": int(attributes.flag("force_suppress")),
        "variances": list(variances),
        "nms_topk": attributes.whole("nms_topk", -1),
        "background_id": attributes.whole("background_id", 0),
    }
    context.host(node, "MultiBoxDetection", node.inputs, node.outputs, attrs)


@converter("_contrib_box_nms", "_contrib_box_non_maximum_suppression")
def box_nms(node: MxNode, context: MxContext) -> None:
    """Suppress rows of boxes, on the CPU."""
    needs(node, 1)
    shape, attributes = context.shape(node.inputs[0]), node.attributes
    formats = [attributes.text(f"{end}_format", "corner") for end in ("in", "out")]
    places = {
        "coord_start": attributes.whole("coord_start", 2),
        "score_index": attributes.whole("score_index", 1),
        "id_index": attributes.whole("id_index", -1),
    }
    wide = shape[-1] if len(shape) > 1 else 0
    if wide < 5 or not (0 <= places["coord_start"] <= wide - 4 and places["score_index"] < wide):
        raise ModelImportError(
            f"{places} of {shape}", where=node.where, rule="rows (.., boxes, numbers)"
        )
    if not set(formats) <= {"corner", "center"}:
        raise ModelImportError(f"formats {formats}", where=node.where, rule="corner or center")
    attrs = {
        **places,
        "overlap_thresh": attributes.real("overlap_thresh", 0.5),
        "valid_thresh": attributes.real("valid_thresh", 0.0),
        "topk": attributes.whole("topk", -1),
        "background_id": attributes.whole("background_id", -1),
        "force_suppress": int(attributes.flag("force_suppress")),
        "in_format": formats[0],
        "out_format": formats[1],
    }
    context.host(node, "BoxNms", node.inputs, node.outputs, attrs)
