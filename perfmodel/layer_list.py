"""Networks without weights: a JSON list of layers, so that a design can be priced before training.

The file is an object with ``name``, ``input`` (N, C, H, W), ``outputs`` and ``layers``; each layer
has ``name``, ``op``, ``inputs`` (layer names, or ``data``), ``out`` (N, C, H, W) and, where the
operator has them, ``kernel`` and ``stride`` (a number or a pair), ``pad`` (top, bottom, left,
right), ``act``, ``kind`` and ``mode``. Optional: ``zero_fraction`` of a layer's weights.
"""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import ModelImportError, NpusimError
from npusim.ir.attrs import (
    NO_ATTRS,
    Activation,
    Attrs,
    AxisAttrs,
    Conv2dAttrs,
    EltwiseAttrs,
    FcAttrs,
    GlobalPoolAttrs,
    Pool2dAttrs,
    PoolKind,
    ReshapeAttrs,
    ResizeAttrs,
    ResizeMode,
)
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.tensor import MAX_TENSOR_ELEMENTS, Shape, TensorSpec
from npusim.ops import op_def, ops_where
from npusim.perfmodel.network import UNKNOWN_ZERO_FRACTION, Network, from_graph
from npusim.reading.files import read_bytes
from npusim.reading.records import parse_json

MISFITS = (TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
INPUT = "data"
MOST_AXES = 16
_FIELDS = frozenset(
    ("name", "op", "inputs", "out", "kernel", "stride", "pad", "act", "kind", "mode", "ceil")
) | {"zero_fraction", "group", "dilation"}
_FUSABLE = {"relu": Activation.RELU, "relu6": Activation.RELU6}


def load_layer_list(path: str | Path, dtype: DType = DType.U8) -> Network:
    """Read a layer list.

    Parameters
    ----------
    path : str or Path
    dtype : DType
        Type of feature maps and weights.

    Raises
    ------
    ModelImportError
        When the file cannot be read or a layer does not make sense; file and layer are named.
    """
    text = read_bytes(path, ModelImportError, remedy="check the path")
    data = parse_json(text, str(path), ModelImportError, rule="a JSON layer list")
    return parse_layer_list(data, dtype, where=str(path))


def parse_layer_list(data: object, dtype: DType = DType.U8, where: str = "layer list") -> Network:
    """Build a network from the parsed content of a layer list.

    The list becomes a graph whose constants have types and shapes only; the passes place it like
    any other.
    """
    if not isinstance(data, dict) or not {"name", "input", "outputs", "layers"} <= set(data):
        raise ModelImportError(
            "is no layer list", where=where, rule="an object with name, input, outputs and layers"
        )
    parts = _Parts(dtype)
    parts.tensor(INPUT, _shape(data["input"], f"{where}, input"))
    for index, entry in enumerate(_list(data["layers"], f"{where}, layers")):
        spot = f"{where}, layer {index}"
        if not isinstance(entry, dict):
            raise ModelImportError(f"{entry!r} is no layer", where=spot, rule="an object")
        named = f"{spot} ({entry.get('name')})"
        try:
            _add_layers(entry, index, parts, spot)
        except KeyError as error:
            raise ModelImportError(
                f"lacks {error}", where=f"{spot} ({entry.get('name')})"
            ) from None
        except MISFITS as error:
            raise ModelImportError(
                f"cannot be understood: {error}",
                where=named,
                rule="docs/performance.md, layer lists, has the type of every key",
            ) from error
    shapes = parts.shapes
    outputs = _list(data["outputs"], f"{where}, outputs")
    unknown = [name for name in outputs if not isinstance(name, str) or name not in shapes]
    if unknown or not outputs:
        raise ModelImportError(
            f"outputs {unknown} are no layers" if unknown else "has no outputs",
            where=where,
            rule="names of layers",
        )
    graph = Graph(
        name=str(data["name"]),
        nodes=tuple(parts.nodes),
        inputs=(INPUT,),
        outputs=tuple(outputs),
        tensors=parts.tensors,
        constants=parts.constants,
    )
    return from_graph(graph, dtype, parts.zero_fractions)


class _Parts:
    """The graph of a layer list under construction."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.shapes: dict[str, Shape] = {}
        self.tensors: dict[str, TensorSpec] = {}
        self.constants: dict[str, NDArray[np.generic]] = {}
        self.nodes: list[Node] = []
        self.zero_fractions: dict[str, float] = {}

    def tensor(self, name: str, shape: Shape) -> None:
        """Add an activation."""
        self.shapes[name] = shape
        self.tensors[name] = TensorSpec(name=name, shape=shape)

    def weights(self, layer: str, shape: Shape, zero_fraction: float) -> tuple[str, str]:
        """Add weights and bias of a layer, as placeholders; return their names."""
        names = (f"{layer}:weights", f"{layer}:bias")
        for name, size in zip(names, (shape, shape[:1]), strict=True):
            self.constants[name] = np.broadcast_to(np.float32(0), size)
            self.tensors[name] = TensorSpec(name=name, shape=size)
        self.zero_fractions[names[0]] = zero_fraction
        return names

    def node(
        self, name: str, uid: int, op: str, inputs: tuple[str, ...], attrs: Attrs, out: Shape
    ) -> None:
        """Add a layer and its result, which has its name."""
        self.tensor(name, out)
        self.nodes.append(
            Node(name=name, uid=uid, op=op, inputs=inputs, outputs=(name,), attrs=attrs)
        )


def _list(value: object, spot: str) -> list[Any]:
    if not isinstance(value, list):
        raise ModelImportError(f"{value!r} is no list", where=spot, rule="a list")
    return value


def _shape(value: object, spot: str) -> Shape:
    if isinstance(value, list) and value and all(type(n) is int and n > 0 for n in value):
        if prod(value) > MAX_TENSOR_ELEMENTS or len(value) > MOST_AXES:
            raise ModelImportError(
                f"the absurd shape {str(value)[:80]}",
                where=spot,
                rule=f"at most {MOST_AXES} axes and {MAX_TENSOR_ELEMENTS} elements",
            )
        return tuple(value)
    raise ModelImportError(f"{value!r} is no shape", where=spot, rule="positive whole numbers")


def _zero_fraction(entry: Mapping[str, Any], dtype: DType, spot: str) -> float:
    value = entry.get("zero_fraction", UNKNOWN_ZERO_FRACTION[dtype.bits])
    if not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ModelImportError(f"zero_fraction {value!r}", where=spot, rule="from 0 to 1")
    return float(value)


def _add_layers(entry: Mapping[str, Any], index: int, parts: _Parts, spot: str) -> None:
    if unknown := sorted(set(entry) - _FIELDS):
        raise ModelImportError(f"unknown fields {unknown}", where=spot)
    name, kind = str(entry["name"]), str(entry["op"])
    spot = f"{spot} ({name})"
    shapes = parts.shapes
    inputs = tuple(str(n) for n in _list(entry["inputs"], f"{spot}, inputs"))
    missing = [n for n in inputs if n not in shapes]
    if missing or name in shapes or not inputs:
        raise ModelImportError(
            f"inputs {missing} come from no layer before it"
            if missing
            else "has no inputs, or a name that is taken",
            where=spot,
        )
    if kind not in _OPS:
        raise ModelImportError(
            f"op {kind!r} does not exist", where=spot, rule=f"one of {', '.join(sorted(_OPS))}"
        )
    out = _shape(entry["out"], f"{spot}, out")
    ifm = shapes[inputs[0]]
    op, attrs, weight_shape = _OPS[kind](entry, ifm, out)
    _check(op, attrs, [shapes[n] for n in inputs], weight_shape, out, spot)
    zeros = _zero_fraction(entry, parts.dtype, spot)
    activation = entry.get("act")
    separate = activation is not None and activation not in _FUSABLE
    if op == "fc" and len(ifm) > 2:
        flat, shape = f"{name}.flat", (ifm[0], prod(ifm[1:]))
        parts.node(flat, index, "reshape", inputs, ReshapeAttrs(shape=shape), shape)
        inputs = (flat,)
    written = f"{name}.linear" if separate else name
    constants = parts.weights(name, weight_shape, zeros) if weight_shape else ()
    parts.node(written, index, op, (*inputs, *constants), attrs, out)
    if separate:
        parts.node(name, index, _activation_op(str(activation), spot), (written,), NO_ATTRS, out)


def _check(op: str, attrs: Attrs, ins: list[Shape], weights: Shape, out: Shape, spot: str) -> None:
    """Compare the stated output with the operator's own shape rule."""
    shapes = [*ins, weights, (weights[0],)] if weights else ins
    if op == "fc":
        shapes[0] = (ins[0][0], prod(ins[0][1:]))
    try:
        (expected,) = op_def(op).infer(attrs, shapes)
    except NpusimError as error:
        raise ModelImportError(error.what, where=spot, rule=error.rule) from error
    if expected != out:
        raise ModelImportError(f"out is {list(out)}, its inputs give {list(expected)}", where=spot)


def _pair(value: int | list[int]) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (int(height), int(width))


def _pads(entry: Mapping[str, Any]) -> tuple[int, int, int, int]:
    top, bottom, left, right = entry.get("pad", (0, 0, 0, 0))
    return (int(top), int(bottom), int(left), int(right))


Made = tuple[str, Attrs, Shape]


def _conv(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    group = ifm[1] if entry["op"] in ("dwconv", "scale") else int(entry.get("group", 1))
    kernel = _pair(entry.get("kernel", 1))
    attrs = Conv2dAttrs(
        stride=_pair(entry.get("stride", 1)),
        pad=_pads(entry),
        dilation=_pair(entry.get("dilation", 1)),
        group=group,
        activation=_FUSABLE.get(entry.get("act", ""), Activation.NONE),
    )
    return "conv2d", attrs, (out[1], ifm[1] // group, *kernel)


def _fc(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return "fc", FcAttrs(), (out[1], prod(ifm[1:]))


def _window(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    attrs = Pool2dAttrs(
        kind=PoolKind.MAX if entry["op"] == "maxpool" else PoolKind.AVG,
        kernel=_pair(entry["kernel"]),
        stride=_pair(entry["stride"]),
        pad=_pads(entry),
        ceil_mode=bool(entry.get("ceil", False)),
        count_include_pad=True,
    )
    return "pool2d", attrs, ()


def _global(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return "global_pool", GlobalPoolAttrs(kind=PoolKind.AVG), ()


def _binary(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return str(entry["op"]), EltwiseAttrs(), ()


def _concat(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return "concat", AxisAttrs(axis=1), ()


def _softmax(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return "softmax", AxisAttrs(axis=1), ()


def _reshape(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return "reshape", ReshapeAttrs(shape=out), ()


def _resize(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    mode = ResizeMode(entry.get("mode", "nearest"))
    return "resize", ResizeAttrs(size=(out[2], out[3]), mode=mode), ()


def _activation(entry: Mapping[str, Any], ifm: Shape, out: Shape) -> Made:
    return _activation_op(str(entry["kind"]), str(entry["name"])), NO_ATTRS, ()


def _activation_op(kind: str, spot: str) -> str:
    op = {"silu": "swish", "leaky": "leaky_relu"}.get(kind, kind)
    if op not in _ACTIVATION_OPS:
        raise ModelImportError(
            f"activation {kind!r} does not exist",
            where=spot,
            rule=f"one of {', '.join(_ACTIVATION_OPS)}",
        )
    return op


_ACTIVATION_OPS = ops_where(lambda d: d.activation and d.inputs == (1, 1))
_OPS = {
    "conv": _conv,
    "dwconv": _conv,
    "scale": _conv,
    "fc": _fc,
    "maxpool": _window,
    "avgpool": _window,
    "gap": _global,
    "add": _binary,
    "mul": _binary,
    "concat": _concat,
    "softmax": _softmax,
    "reshape": _reshape,
    "resize": _resize,
    "act": _activation,
}
