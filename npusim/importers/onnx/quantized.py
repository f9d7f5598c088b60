"""Parameters of quantized ONNX operators, and QOperator nodes spelled out with Q and DQ.

``QLinearConv(x, w, b)`` means ``QuantizeLinear(Conv(DequantizeLinear(x), ..))``: every QOperator
node is put in these terms, so that ``npusim.importers.common.quantized`` finds one form only.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from npusim import words
from npusim.errors import ModelImportError
from npusim.importers.common.builder import FLOAT, Array
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm
from npusim.ir.dtypes import DType
from npusim.ir.quant import Affine, AffinePerChannel

DOMAIN = "com.microsoft"
DYNAMIC = frozenset(
    [
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
    ]
)
"""Operators of dynamically quantized models: scales are computed from the data at run time."""

Parameters = Affine | AffinePerChannel
_FOLLOWED = (
    *("Identity", "MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice"),
    *("Split", "Concat", "Pad", "Gather", "Resize", "DepthToSpace", "SpaceToDepth", "Expand"),
)


def _advice() -> str:
    return f"quantize the float model here instead: {words.say('quantize_here')}"


@dataclass(frozen=True, slots=True)
class Triple:
    """The names of a quantized operand: codes, scale, zero point (empty when left out)."""

    codes: str
    scale: str
    zero_point: str


def parameters(
    node: OnnxNode, context: Context, scale: int, zero_point: int, *, axis: int = 0, ndim: int = 0
) -> tuple[DType, Parameters]:
    """Return element type and parameters that two inputs of a node give.

    Parameters
    ----------
    scale, zero_point : int
        Positions of the inputs.
    axis, ndim : int
        The axis that several scales belong to, and the number of axes.

    Raises
    ------
    UnsupportedForm
        For parameters that depend on the data, blocks, and types of more than 8 bits.
    ModelImportError
        For scales that are not positive, and sizes that do not fit.
    """
    scales = context.fixed(node, scale, "the scale")
    zeros = context.fixed(node, zero_point, "the zero point")
    if scales is None:
        raise ModelImportError("the scale is missing", where=node.where)
    if zeros is None:
        zeros = np.zeros(scales.shape, _default_type(node))
    if scales.ndim > 1:
        raise UnsupportedForm(f"scales of shape {scales.shape} (blocks)", _advice())
    try:
        dtype = DType.of(zeros.dtype)
    except KeyError:
        raise UnsupportedForm(f"codes of type {zeros.dtype}", _advice()) from None
    real = scales.astype(np.float64).reshape(-1)
    if not np.isfinite(real).all() or (real <= 0).any() or zeros.size not in (1, real.size):
        raise ModelImportError(
            f"scale {_short(scales)} and zero point {_short(zeros)} are no parameters",
            where=node.where,
            rule="positive finite scales, and as many zero points",
            remedy="the quantizer saw a channel of zeros or NaN: quantize the model again",
        )
    whole = [int(z) for z in np.broadcast_to(zeros.reshape(-1), real.shape)]
    if real.size == 1:
        return dtype, Affine(scale=float(real[0]), zero_point=whole[0])
    if not -ndim <= axis < ndim:
        raise ModelImportError(f"axis {axis} of {ndim} axes does not exist", where=node.where)
    return dtype, AffinePerChannel(
        scales=tuple(float(np.float32(s)) for s in real),
        zero_points=tuple(whole),
        axis=axis % ndim,
    )


def _default_type(node: OnnxNode) -> np.dtype[np.generic]:
    wanted = node.integer("output_dtype", 0)
    return np.dtype(helper.tensor_dtype_to_np_dtype(wanted)) if wanted else np.dtype(np.uint8)


def _short(values: Array) -> str:
    shown = ", ".join(f"{v:g}" for v in values.reshape(-1)[:4].astype(np.float64))
    return f"[{shown}{', ..' if values.size > 4 else ''}]"


def columns(quant: Parameters, ndim: int) -> tuple[Array, Array]:
    """Return scales (float32) and zero points that broadcast over codes of ``ndim`` axes."""
    if isinstance(quant, Affine):
        return np.float32(quant.scale), np.array(quant.zero_point)  # type: ignore[return-value]
    shape = [-1 if axis == quant.axis else 1 for axis in range(ndim)]
    scales = np.array(quant.scales, np.float32).reshape(shape)
    return scales, np.array(quant.zero_points, np.int64).reshape(shape)


def claim(context: Context, name: str, quant: Affine) -> None:
    """Say what the codes of a tensor stand for; refuse two meanings of the same codes."""
    spec = context.builder.tensors[context.resolve(name)]
    if spec.quant == FLOAT:
        context.builder.set_quant(spec.name, quant)
    elif spec.quant != quant:
        raise UnsupportedForm(
            f"it reads {name!r} with scale {quant.scale:g} and zero point {quant.zero_point}, "
            f"which was written with {spec.quant}",
            "use the same scale and zero point on both sides",
        )


def operand_at(node: NodeProto, name: str) -> Triple | None:
    """Return the operand that a node reads as the codes of ``name``; None when it does not."""
    names = list(map(str, node.input))
    if node.op_type != "DequantizeLinear" and not node.op_type.startswith(("QLinear", "QGemm")):
        return None
    index = names.index(name) if name in names else -1
    padded = [*names, "", ""]
    return Triple(name, padded[index + 1], padded[index + 2]) if index >= 0 else None


def input_parameters(nodes: Iterable[NodeProto], names: Iterable[str]) -> dict[str, Triple]:
    """Return for integer inputs the parameters with which the graph reads them.

    Movement and maxima in between keep the codes and are followed.
    """
    readers: dict[str, list[NodeProto]] = {}
    for proto in nodes:
        for name in proto.input:
            readers.setdefault(str(name), []).append(proto)
    found: dict[str, Triple] = {}
    for start in names:
        pending, seen = [start], {start}
        while pending and start not in found:
            name = pending.pop(0)
            for proto in readers.get(name, ()):
                triple = operand_at(proto, name)
                if triple is not None:
                    found[start] = triple
                    break
                if proto.op_type in _FOLLOWED and proto.input[0] == name:
                    fresh = [str(out) for out in proto.output if out not in seen]
                    seen.update(fresh)
                    pending += fresh
    return found


# ---- QOperator nodes spelled out ---------------------------------------------------------------
class _Writer:
    """Builds the nodes that stand for one QOperator node."""

    def __init__(self, node: OnnxNode, context: Context) -> None:
        self.node, self.context = node, context
        self.protos: list[NodeProto] = []

    def name(self, part: str) -> str:
        name = self.context.unused(f"{self.node.outputs[0]}/{part}")
        self.context.names.add(name)
        return name

    def real(self, index: int, part: str, *, axis: int = 0) -> str:
        """Return the dequantized operand at ``index``, whose scale and zero point follow it."""
        out = self.name(part)
        names = [self.node.input(i) for i in (index, index + 1, index + 2)]
        self.protos.append(helper.make_node("DequantizeLinear", names, [out], axis=axis))
        return out

    def bias(self, index: int, scales: tuple[int, int]) -> str:
        """Return the dequantized int32 bias: its scale is the product of the operands' scales."""
        if not self.node.input(index):
            return ""
        first, second = (self.context.fixed(self.node, i, "the scale") for i in scales)
        if first is None or second is None:
            raise ModelImportError("a scale is missing", where=self.node.where)
        scale, out = self.name("bias_scale"), self.name("bias")
        product = first.astype(np.float32) * second.astype(np.float32)
        self.context.values[scale] = (
            product.reshape(-1) if product.size > 1 else product.reshape(())
        )
        # a zero point of the bias's type tells the codes from uint8
        zero = self.name("bias_zero")
        self.context.values[zero] = np.zeros(product.shape, np.int32)
        names = [self.node.input(index), scale, zero]
        self.protos.append(helper.make_node("DequantizeLinear", names, [out], axis=0))
        return out

    def core(self, op_type: str, inputs: list[str], drop: tuple[str, ...] = ()) -> str:
        """Append the real operator, with the node's attributes, and return its output."""
        out = self.name("real")
        proto = helper.make_node(op_type, inputs, [out], name=self.node.name)
        proto.attribute.extend(a for key, a in self.node.attrs.items() if key not in drop)
        self.protos.append(proto)
        return out

    def store(self, real: str, index: int) -> list[NodeProto]:
        """Append the quantization with the scale at ``index`` and return all nodes."""
        names = [real, self.node.input(index), self.node.input(index + 1)]
        self.protos.append(helper.make_node("QuantizeLinear", names, [self.node.outputs[0]]))
        return self.protos


def _conv(w: _Writer) -> list[NodeProto]:
    if w.node.integer("channels_last", 0):
        raise UnsupportedForm("channels_last is set", "do not save an optimised model")
    bias = w.bias(8, (1, 4))
    operands = [w.real(0, "ifm"), w.real(3, "weights", axis=0), *([bias] if bias else [])]
    return w.store(w.core("Conv", operands, ("channels_last",)), 6)


def _matmul(w: _Writer) -> list[NodeProto]:
    return w.store(w.core("MatMul", [w.real(0, "a"), w.real(3, "b", axis=-1)]), 6)


def _gemm(w: _Writer) -> list[NodeProto]:
    axis = 0 if w.node.integer("transB", 0) else 1
    if w.node.real("alpha", 1.0) != 1.0:
        raise UnsupportedForm("alpha is not 1", "fold it into the scale of the weights")
    bias = w.bias(6, (1, 4))
    operands = [w.real(0, "a"), w.real(3, "b", axis=axis), *([bias] if bias else [])]
    if w.node.input(7):
        return w.store(w.core("Gemm", operands), 7)
    w.core("Gemm", operands)
    w.protos[-1].output[0] = w.node.outputs[0]
    return w.protos


def _binary(op_type: str) -> Callable[[_Writer], list[NodeProto]]:
    return lambda w: w.store(w.core(op_type, [w.real(0, "a"), w.real(3, "b")]), 6)


def _unary(op_type: str) -> Callable[[_Writer], list[NodeProto]]:
    def write(w: _Writer) -> list[NodeProto]:
        if w.node.integer("channels_last", 0):
            raise UnsupportedForm("channels_last is set", "do not save an optimised model")
        return w.store(w.core(op_type, [w.real(0, "ifm")], ("channels_last",)), 3)

    return write


def _softmax(w: _Writer) -> list[NodeProto]:
    rank = len(w.context.shape(w.node.inputs[0]))
    axis = w.node.integer("axis", -1)
    last = axis in (-1, rank - 1)
    if not last and (w.node.integer("opset") < 13) != (w.node.version < 13):
        raise UnsupportedForm(
            f"opset {w.node.integer('opset')} in a model of opset {w.node.version}, axis {axis}",
            "export and quantize with opset 13",
        )
    return w.store(w.core("Softmax", [w.real(0, "ifm")], ("opset",)), 3)


def _mean(w: _Writer) -> list[NodeProto]:
    operands = [w.real(0, "ifm")]
    axes = w.node.integers("axes")
    if axes is not None and w.node.version >= 18:
        name = w.name("axes")
        w.context.values[name] = np.array(axes, np.int64)
        return w.store(w.core("ReduceMean", [*operands, name], ("axes",)), 3)
    return w.store(w.core("ReduceMean", operands), 3)


def _concat(w: _Writer) -> list[NodeProto]:
    count = (len(w.node.inputs) - 2) // 3
    parts = [w.real(2 + 3 * i, f"part{i}") for i in range(count)]
    return w.store(w.core("Concat", parts), 0)


EXPANSIONS: Mapping[str, Callable[[_Writer], list[NodeProto]]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearLeakyRelu": _unary("LeakyRelu"),
    "QLinearAveragePool": _unary("AveragePool"),
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearConcat": _concat,
    "QLinearSoftmax": _softmax,
    "QLinearReduceMean": _mean,
}
QUANTIZED_OPS = frozenset([*EXPANSIONS, "QuantizeLinear", "DequantizeLinear"])
"""Operators of quantized models that are understood, in the standard domain and ONNX Runtime's."""


def spelled_out(node: OnnxNode, context: Context) -> list[NodeProto]:
    """Return Q, DQ and real operators that stand for a QOperator node.

    The real operator has the node's name; the last node writes the node's output.
    """
    return EXPANSIONS[node.op_type](_Writer(node, context))
