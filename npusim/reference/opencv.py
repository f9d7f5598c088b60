"""What OpenCV's dnn module computes for Caffe and Darknet models, in the graph's terms."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.errors import ModelImportError
from npusim.foreign.child import running, version_of
from npusim.foreign.runtimes import OPENCV
from npusim.foreign.side import Refused
from npusim.ir.attrs import Conv2dAttrs, LrnAttrs
from npusim.ir.graph import Graph, Node

Array = NDArray[Any]


def opencv_version() -> str:
    """Return the runtime's name and version.

    Raises
    ------
    MissingExtraError
        When it is not installed.
    """
    return f"OpenCV {version_of(OPENCV)} dnn"


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
    NpusimError
        When OpenCV's process dies.
    ModelImportError
        When OpenCV cannot read or run the model, or is known to compute one of its layers
        otherwise.
    """
    child = running(OPENCV)
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
    # Darknet's layers are called by the numbers of their sections
    keys = {o: o.partition("_")[0] if darknet else o for o in _origins(graph)}
    given = {name: np.ascontiguousarray(value, np.float32) for name, value in feeds.items()}
    files = [str(path.absolute()) for path in (Path(where), weights)]
    wanted = list(dict.fromkeys(keys.values()))
    try:
        found = child.ask(
            "ran", *files, given, wanted, darknet, where=where, remedy=words.say("own_reference")
        )
    except Refused as error:
        raise ModelImportError(
            f"{opencv_version()}: {error}",
            where=where,
            rule="the model must run in OpenCV's dnn module to be compared with it",
            remedy="python -m pip install 'npusim[opencv]', or compare with npusim's evaluator",
        ) from error
    return dict(_matched(graph, {o: found[key] for o, key in keys.items() if key in found}))


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


def _origins(graph: Graph) -> list[str]:
    """Return the source layers whose results the graph has."""
    return list(dict.fromkeys(node.origin[-1] for node in graph.nodes if node.origin))


def _matched(graph: Graph, found: Mapping[str, list[Array]]) -> Iterator[tuple[str, Array]]:
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
