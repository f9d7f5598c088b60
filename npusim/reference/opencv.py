"""What OpenCV's dnn module computes for Caffe and Darknet models, in the graph's terms."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError
from npusim.extras import require
from npusim.ir.attrs import Conv2dAttrs, LrnAttrs
from npusim.ir.graph import Graph, Node

Array = NDArray[Any]
_ACTIVATIONS = ("ReLU", "ReLU6", "ELU", "Sigmoid", "TanH", "Swish", "Mish", "HardSwish")


def opencv_version() -> str:
    """Return the runtime's name and version.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    found = require("cv2", extra="opencv", purpose="running Caffe and Darknet models")
    return f"OpenCV {found.__version__} dnn"


def run_opencv(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return what the layers of a Caffe or Darknet file give, as OpenCV computes them unfused.

    Parameters
    ----------
    graph : Graph
        From ``npusim.load_model``; the weights lie beside the file that it names.
    feeds : mapping of str to array
        One array per input, N, C, H, W, after preprocessing.

    Returns
    -------
    dict of str to array
        Graph tensor -> values; of several steps that a layer takes only the last has one.

    Raises
    ------
    MissingExtraError
        When OpenCV is not installed.
    ModelImportError
        When OpenCV cannot read or run the model, or is known to compute one of its layers
        otherwise.
    """
    cv2 = require("cv2", extra="opencv", purpose="running Caffe and Darknet models")
    where = graph.source.path
    otherwise = sorted({n.name for n in graph.nodes if _differs(n, graph)})
    if otherwise:
        raise ModelImportError(
            f"OpenCV computes {', '.join(otherwise)} in its own way", where=where
        )
    weights = Path(where).parent / graph.source.detail.rpartition(", ")[2]
    if not weights.is_file():
        raise ModelImportError(
            "the model's weights do not lie beside it", where=where, rule="OpenCV reads both files"
        )
    darknet = graph.source.framework == "darknet"
    try:
        read = cv2.dnn.readNetFromDarknet if darknet else cv2.dnn.readNetFromCaffe
        net = read(where, str(weights))
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.enableFusion(False)
        for name, value in feeds.items():
            net.setInput(np.ascontiguousarray(value, np.float32), "" if darknet else name)
        wanted = dict(_counterparts(graph, net, darknet=darknet))
        found = net.forwardAndRetrieve(list(wanted.values())) if wanted else []
    except (cv2.error, AttributeError) as error:  # OpenCV 5 has no reader of these formats
        text = " ".join(str(error).split())
        raise ModelImportError(
            f"OpenCV {cv2.__version__}: {text}",
            where=where,
            rule="the model must run in OpenCV's dnn module to be compared with it",
            remedy="python -m pip install 'npusim[opencv]', or compare with npusim's evaluator",
        ) from error
    return dict(_matched(graph, dict(zip(wanted, found, strict=True))))


def _differs(node: Node, graph: Graph) -> bool:
    """Tell whether OpenCV computes a layer in its own way.

    Source: run on Caffe and OpenCV 4.10, 4.14: LRN ignores k, MVN adds epsilon inside of the root.
    """
    ignored = isinstance(node.attrs, LrnAttrs) and node.attrs.bias != 1.0
    return ignored or node.name.startswith("MVN_") or reads_beside(node, graph)


def reads_beside(node: Node, graph: Graph) -> bool:
    """Tell whether OpenCV's program for a depthwise 3x3 convolution reads beside the map.

    Source: OpenCV 4.14 and torch on 960 sizes, strides, pads and dilations (1 and 2): wrong with
    pad 1 where the map has one row or column, and with pad 1, dilation 2 and stride 1 across.
    """
    attrs = node.attrs
    if not isinstance(attrs, Conv2dAttrs) or attrs.pad != (1, 1, 1, 1):
        return False
    _, channels, *size = graph.spec(node.inputs[0]).shape
    kernel = graph.spec(node.inputs[1]).shape[2:]
    if kernel != (3, 3) or not 1 < attrs.group == channels:
        return False
    return min(size) == 1 or (max(attrs.dilation) > 1 and attrs.stride[1] == 1)


def _counterparts(graph: Graph, net: Any, *, darknet: bool) -> Iterator[tuple[str, str]]:
    """Yield (source layer, OpenCV's layer that gives its result)."""
    names = net.getLayerNames()
    results = _sections(net) if darknet else {name: name for name in names}
    for origin in dict.fromkeys(node.origin[-1] for node in graph.nodes if node.origin):
        key = origin.partition("_")[0] if darknet else origin
        if key in results:
            yield origin, results[key]


def _sections(net: Any) -> dict[str, str]:
    """Return section of a cfg -> OpenCV's last layer for it.

    Section 7 becomes ``conv_7``, ``bn_7`` and, counted one further, ``leaky_8``.
    """
    found: dict[str, str] = {}
    section = ""
    for name in net.getLayerNames():
        if net.getLayer(name).type not in _ACTIVATIONS:
            section = name.rpartition("_")[2]
        found[section] = name
    return found


def _matched(graph: Graph, found: Mapping[str, tuple[Array, ...]]) -> Iterator[tuple[str, Array]]:
    last: dict[str, Node] = {node.origin[-1]: node for node in graph.nodes if node.origin}
    for origin, values in found.items():
        node = last[origin]
        for name, value in zip(node.outputs, values, strict=False):
            shape = graph.spec(name).shape
            # OpenCV keeps axes of size one that Darknet's softmax drops
            if _sizes(value.shape) == _sizes(shape):
                yield name, np.ascontiguousarray(value, np.float32).reshape(shape)


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
