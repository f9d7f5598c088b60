"""Layers that the CPU runs behind the network: boxes of detectors."""

import ast
import re
from collections.abc import Mapping
from math import prod
from typing import Any

from npusim.errors import ModelImportError
from npusim.importers.caffe.context import CaffeContext, converter, needs
from npusim.importers.caffe.net import CaffeLayer
from npusim.importers.caffe.schema import Record
from npusim.importers.common.builder import UnsupportedForm
from npusim.ir.tensor import MAX_TENSOR_ELEMENTS

_LONGEST = 2000  # letters of a list, or a number, in the settings of a Python layer
CODES = ("", "CORNER", "CENTER_SIZE", "CORNER_SIZE")  # in the order of their numbers
RPN = "the proposal layer of py-faster-rcnn"


@converter("DetectionOutput")
def detection_output(layer: CaffeLayer, context: CaffeContext) -> None:
    """Decode, suppress and sort the boxes of an SSD."""
    needs(layer, (3, 5))
    if len(layer.inputs) != 3:
        raise UnsupportedForm(
            f"it has {len(layer.inputs)} bottoms: the form with two stages",
            f"end the network with outputs={list(layer.inputs)}",
        )
    record = layer.parameters("detection_output_param")
    classes, shared = record.whole("num_classes"), record.flag("share_location", True)
    loc, conf, priors = (context.shape(name) for name in layer.inputs)
    count = priors[-1] // 4 if len(priors) >= 3 else 0
    wanted = (count * (1 if shared else classes) * 4, count * classes)
    if not classes or len(priors) != 3 or priors[:2] != (1, 2) or priors[-1] % 4:
        raise ModelImportError(
            f"{classes} classes, priors of shape {priors}",
            where=layer.where,
            rule="num_classes, and priors (1, 2, 4 * boxes)",
        )
    sizes = tuple(prod(shape[1:]) for shape in (loc, conf))
    if sizes != wanted:
        raise ModelImportError(
            f"{sizes[0]} numbers of places and {sizes[1]} scores an image",
            where=layer.where,
            rule=f"{wanted[0]} and {wanted[1]} for {count} priors and {classes} classes",
        )
    nms = record.record("nms_param")
    attrs: dict[str, Any] = {
        "num_classes": classes,
        "share_location": int(shared),
        "background_label_id": record.whole("background_label_id"),
        "code_type": _code(record, layer),
        "variance_encoded_in_target": int(record.flag("variance_encoded_in_target")),
        "nms_threshold": nms.real("nms_threshold", 0.3),
        "eta": nms.real("eta", 1.0),
        "top_k": nms.whole("top_k", -1),
        "keep_top_k": record.whole("keep_top_k", -1),
    }
    if record.has("confidence_threshold"):
        attrs["confidence_threshold"] = record.real("confidence_threshold")
    context.host(layer, "DetectionOutput", layer.inputs, layer.outputs, attrs)


def _code(record: Record, layer: CaffeLayer) -> str:
    word = record.text("code_type", "CORNER")
    found = CODES[int(word)] if word in ("1", "2", "3") else word
    if found not in CODES[1:]:
        raise ModelImportError(
            f"code_type is {word}", where=layer.where, rule=f"one of {', '.join(CODES[1:])}"
        )
    return found


@converter("Proposal")
def proposal(layer: CaffeLayer, context: CaffeContext) -> None:
    """Give the regions of a region proposal network, with or without ``im_info``."""
    record = layer.parameters("proposal_param")
    attrs: dict[str, Any] = {
        "feat_stride": record.whole("feat_stride", 16),
        "base_size": record.whole("base_size", 16),
        "min_size": record.whole("min_size", 16),
        "ratio": record.reals("ratio") or (0.5, 1.0, 2.0),
        "scale": record.reals("scale") or (8.0, 16.0, 32.0),
        "pre_nms_topn": record.whole("pre_nms_topn", 6000),
        "post_nms_topn": record.whole("post_nms_topn", 300),
        "nms_thresh": record.real("nms_thresh", 0.7),
    }
    _proposal(layer, context, attrs)


@converter("Python")
def python(layer: CaffeLayer, context: CaffeContext) -> None:
    """Take py-faster-rcnn's proposal layer, whose settings are in ``param_str``; run no code."""
    record = layer.parameters("python_param")
    module, kind = record.text("module"), record.text("layer")
    if module.rpartition(".")[2] != "proposal_layer" and kind != "ProposalLayer":
        raise UnsupportedForm(
            f"it runs code of {module or 'a module'!r}, which is no network",
            f"end the network before it with outputs={list(layer.inputs)} and run it on the CPU",
        )
    text = record.text("param_str")
    stride = _written(layer, text, "feat_stride", r"\d+", "a whole number")
    scales = _written(layer, text, "scales", r"[\[(][^\])]*[\])]", "a list of numbers")
    attrs: dict[str, Any] = {"feat_stride": 16 if stride is None else stride}
    if scales is not None:
        attrs["scale"] = scales
    context.notes.append(
        f"layer {layer.name!r}: {RPN} as it is at test: 6000 boxes before and 300 after "
        "suppression at 0.7, smallest side 16"
    )
    _proposal(layer, context, attrs)


def _written(layer: CaffeLayer, text: str, key: str, form: str, rule: str) -> Any:
    """Return a number or a list of real numbers that stands in a Python layer's settings, or None.

    Raises
    ------
    ModelImportError
        When it is anything else, or longer than such a layer needs.
    """
    found = re.search(rf"{key}['\"]?\s*:\s*({form})", text)
    if found is None:
        return None
    written = found[1]
    try:
        value = ast.literal_eval(written) if len(written) <= _LONGEST else None
        if isinstance(value, list | tuple):
            return [float(number) for number in value]
        if isinstance(value, int) and value <= MAX_TENSOR_ELEMENTS:
            return value
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        value = None  # said below
    raise ModelImportError(f"{key} in param_str is {written[:80]!r}", where=layer.where, rule=rule)


def _proposal(layer: CaffeLayer, context: CaffeContext, attrs: Mapping[str, Any]) -> None:
    needs(layer, (2, 3), (1, 2))
    scores, deltas = (context.shape(name) for name in layer.inputs[:2])
    ratios, scales = attrs.get("ratio", (0.5, 1, 2)), attrs.get("scale", (8, 16, 32))
    count = len(ratios) * len(scales)
    if len(scores) != 4 or scores[1] != 2 * count or deltas != (scores[0], 4 * count, *scores[2:]):
        raise ModelImportError(
            f"scores {scores} and deltas {deltas}",
            where=layer.where,
            rule=f"(1, {2 * count}, H, W) and (1, {4 * count}, H, W) for {count} anchors",
        )
    if scores[0] != 1:
        raise UnsupportedForm(f"it has {scores[0]} images", "give one image")
    context.host(layer, "Proposal", layer.inputs, layer.outputs, attrs)
