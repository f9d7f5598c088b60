"""Evaluates nodes whose inputs are all known, such as the arithmetic on shapes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from npusim.errors import ModelImportError
from npusim.host.onnx_operators import CORRECTED
from npusim.importers.common.builder import Array, check_elements
from npusim.importers.common.made import MOST_MADE, check_made, held
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm
from npusim.importers.onnx.fold_cost import MOST_COST, cost_of, too_large
from npusim.importers.onnx.fold_old import NEWEST_OLD, renewed, same_form
from npusim.importers.onnx.inferred import inferred
from npusim.importers.onnx.ops_shape import squeezed_shape
from npusim.importers.onnx.tensor import tensor_value

SMALL_ELEMENTS = 4096
"""Known inputs up to this size take part in the size check (shapes, repeats, pads)."""

RANDOM_OPS = frozenset(
    [
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
    ]
)

_UNCHANGED = """
Abs Add And ArgMax ArgMin BatchNormalization Cast Ceil Concat Div Equal Erf Exp Expand Flatten Floor
Gather Gemm Greater Less Log MatMul Max Mean Min Mod Mul Neg NonZero Not OneHot Or Pow Range
Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape
ScatterND Sigmoid Sign Slice Split Sqrt Sub Sum Tanh Tile Transpose Upsample Where Xor
"""
EVALUATED_FROM: dict[str, int] = {
    **dict.fromkeys(_UNCHANGED.split(), 7),
    "Clip": 11,
    "Pad": 11,
    "TopK": 11,
}
"""Operators of which older forms are right as well; the tests compare them with ONNX Runtime.

For others the evaluator ignores the opset: it computes the softmax of opset 13 for any model.
"""


def fold_shape(node: OnnxNode, context: Context) -> bool:
    """Set the outputs of Shape and Size, which need no values; True when done."""
    if node.op_type not in ("Shape", "Size"):
        return False
    shape = np.array(context.shape(node.inputs[0]), np.int64)
    if node.op_type == "Size":
        context.values[node.outputs[0]] = np.array(int(np.prod(shape)), np.int64)
    else:
        end = node.integer("end", len(shape))
        context.values[node.outputs[0]] = shape[node.integer("start", 0) : end]
    return True


def fold_constant(node: OnnxNode, context: Context, model_path: Path) -> bool:
    """Set the outputs of a node whose inputs are all known; True when done."""
    if node.op_type in RANDOM_OPS:
        return False
    if any(name and name not in context.values for name in node.inputs):
        return False
    if node.op_type == "Constant":
        context.values.store(node.outputs[0], _constant(node, model_path))
        return True
    if node.op_type == "ConstantOfShape":
        context.values[node.outputs[0]] = _constant_of_shape(node, context, model_path)
        return True
    if node.op_type in ("Squeeze", "Unsqueeze"):
        # the evaluator of the onnx package fails for the forms before opset 13
        value = context.values[node.inputs[0]]
        context.values[node.outputs[0]] = value.reshape(squeezed_shape(node, context))
        return True
    if node.op_type in ("Identity", "Dropout", "QuantizeLinear", "DequantizeLinear"):
        return False  # their converters know what to do
    feeds = {name: context.values[name] for name in node.inputs if name}
    shape: tuple[int, ...] | None = None
    known_from = EVALUATED_FROM.get(node.op_type, NEWEST_OLD)
    if node.version < known_from and not same_form(node.op_type, node.version):
        new = renewed(node, feeds)
        if new is None:
            raise UnsupportedForm(
                f"it depends on constants only, and the form of opset {node.version} is not "
                "evaluated",
                "upgrade the model with onnx.version_converter.convert_version(model, 13)",
            )
        node, feeds, shape = new.node, new.feeds, new.shape
    context.cost += _check_size(node, feeds, str(model_path))
    if context.cost > MOST_COST:
        raise too_large()
    results = _evaluate(node, feeds, str(model_path))
    if shape is not None:
        results = [np.asarray(results[0]).reshape(shape)]
    for name, value in zip(node.outputs, results, strict=False):
        if not name:
            continue
        if isinstance(value, list | tuple | dict) or value is None:
            raise UnsupportedForm("its result is no tensor", "export without sequences and maps")
        context.values[name] = np.asarray(value)
    return True


def _constant(node: OnnxNode, model_path: Path) -> Array:
    if len(node.attrs) > 1:
        raise ModelImportError(
            f"it holds {', '.join(sorted(node.attrs))}",
            where=node.where,
            rule="a Constant has one value",
        )
    if "value" in node.attrs:
        return tensor_value(node.tensor("value"), node.outputs[0], model_path)
    if "value_float" in node.attrs:
        return np.array(node.real("value_float"), np.float32)
    if "value_floats" in node.attrs:
        return np.array(node.reals("value_floats"), np.float32)
    if "value_int" in node.attrs:
        return np.array(node.integer("value_int"), np.int64)
    if "value_ints" in node.attrs:
        return np.array(node.integers("value_ints"), np.int64)
    raise UnsupportedForm(
        f"constant of kind {', '.join(node.attrs) or 'nothing'}",
        "only dense numbers are supported; strings and sparse tensors are not",
    )


def _constant_of_shape(node: OnnxNode, context: Context, model_path: Path) -> Array:
    shape = tuple(int(n) for n in context.values[node.inputs[0]].reshape(-1))
    check_elements(shape, f"{node.where}: output", str(model_path))
    value = np.zeros(1, np.float32)
    if "value" in node.attrs:
        value = tensor_value(node.tensor("value"), node.outputs[0], model_path)
    # one stored element: the graphs of the onnx package hold half a gigabyte of equal weights
    return np.broadcast_to(value.reshape(()), shape)


def _check_size(node: OnnxNode, feeds: dict[str, Array], where: str) -> float:
    """Refuse a result that is too large before it is computed; return the microseconds it takes."""
    for name, value in feeds.items():
        check_made(value.shape, f"{node.where}: input {name!r}", where, held(value))
    types = {
        name: helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    }
    small = {
        name: numpy_helper.from_array(np.asarray(value, order="C").reshape(value.shape))
        for name, value in feeds.items()
        if value.size <= SMALL_ELEMENTS
    }
    try:
        outputs = inferred(node, types, small)
    except Exception as error:
        # the checker of the onnx package raises several types; all mean an invalid node
        raise ModelImportError(f"invalid node: {error}", where=f"{where}: {node.where}") from error
    largest = max((held(value) for value in feeds.values()), default=0)
    for name, kind in outputs.items():
        shape = kind.tensor_type.shape
        if kind.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in shape.dim):
            sizes = [d.dim_value for d in shape.dim]
            check_made(sizes, f"{node.where}: output {name!r}", where, largest)
        elif node.op_type in ("Range", "Expand", "Tile", "Pad", "Resize", "Upsample", "OneHot"):
            _check_growth(node, feeds, where)
        elif largest > MOST_MADE:
            raise UnsupportedForm("the size of the folded result is not known in advance")
    return cost_of(node, feeds, outputs)


def _check_growth(node: OnnxNode, feeds: dict[str, Array], where: str) -> None:
    """Bound the result of operators that may grow without limit from small inputs."""
    if node.op_type == "Range":
        start, limit, delta = (float(feeds[name].reshape(-1)[0]) for name in node.inputs[:3])
        count = (limit - start) / delta if delta else 0.0
        if not count <= MOST_MADE:
            check_made([MOST_MADE + 1], f"{node.where}: output", where)
        return
    raise UnsupportedForm(f"the size of the folded {node.op_type} is not known in advance")


def evaluated(node: OnnxNode, values: Sequence[Array]) -> Array:
    """Return a node's first output for values of all its inputs; errors name the node."""
    given = [name for name in node.inputs if name]
    names = [f"i{position}" for position in range(len(given))]
    proto = NodeProto()
    proto.CopyFrom(node.proto)
    del proto.input[:]
    proto.input.extend(names)
    alone = replace(node, proto=proto)
    return np.asarray(_evaluate(alone, dict(zip(names, values, strict=True)), "")[0])


def _evaluate(node: OnnxNode, feeds: dict[str, Array], where: str) -> list[Any]:
    opsets = {"": node.version}
    try:
        with np.errstate(all="ignore"):  # infinities are values here, not accidents
            session = ReferenceEvaluator(node.proto, opsets=opsets, new_ops=list(CORRECTED))
            return session.run(None, feeds)  # type: ignore[return-value]
    except Exception as error:
        # numpy, protobuf and the evaluator's own types; the node and the cause are named
        raise ModelImportError(
            f"cannot be evaluated at import: {error}",
            where=f"{where}: {node.where}" if where else node.where,
            rule="nodes that depend on constants only are evaluated while importing",
            remedy="simplify the model with its exporter's constant folding",
        ) from error
