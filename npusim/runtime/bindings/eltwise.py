"""Binary element-wise operators: shader arithmetic, and add and sub on the NN engine."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from npusim.errors import GraphError
from npusim.ir.attrs import Activation, EltwiseAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Rounding, zero_point_of
from npusim.ir.tensor import TensorSpec
from npusim.kernels.elementwise import f16_binary
from npusim.kernels.engines.eltwise import (
    FUNCTIONS,
    add_on_nn,
    add_on_nn_f16,
    add_on_tp,
    add_on_tp_f16,
    binary,
)
from npusim.passes.requant import add_weights
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.fc import tp_rounding
from npusim.runtime.calls import KernelFunction, KernelStep
from npusim.runtime.eltwise_rows import Rows, on_rows, shader_rows, sum_rows, sum_rows_i16
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.stored_requant import stored_requant
from npusim.runtime.tables import (
    ENGINE_TYPES,
    Array,
    all_codes,
    code_table,
    require_types,
    scaling_of,
    table_function,
)

Function = Callable[[Array, Array], Array]
_HALF_OPERATIONS = {
    "add": f16_binary.ADD,
    "sub": f16_binary.ADD,
    "mul": f16_binary.MULTIPLY,
    "div": f16_binary.DIVIDE,
}


@binding(*FUNCTIONS, engine=Engine.SHADER, operands=True)
def bind_on_shader(node: Node, graph: Graph) -> Step:
    """Bind float32 arithmetic of any element types."""
    a, b, ofm = _specs(node, graph)

    def function(left: Array, right: Array) -> Array:
        return binary(
            node.op, left, right, scaling_of(a), scaling_of(b), ofm.dtype.numpy, scaling_of(ofm)
        )

    return _bound(
        node,
        graph,
        function,
        _HALF_OPERATIONS.get(node.op),
        shader_rows(node.op, (a, b, ofm), relu=_has_relu(node)),
    )


@binding("add", "sub", engine=Engine.NN, operands=True)
@binding("add", "sub", engine=Engine.TP, operands=True)
def bind_as_layer(node: Node, graph: Graph) -> Step:
    """Bind a sum of two hidden results: a convolution, or for one pixel on TP.

    Source: measured, docs/arithmetic/nn.md section 4 and docs/arithmetic/tp.md rule 5.5.
    """
    a, b, ofm = _specs(node, graph)
    subtract, on_nn = node.op == "sub", node.engine is Engine.NN
    if a.dtype is b.dtype is ofm.dtype is DType.F16:
        stored_requant(node, ofm, Rounding.TRUNCATE_F16 if on_nn else Rounding.NEAREST_F16)
        if on_nn:
            half = f16_binary.ADD_ON_NN
            return _bound(node, graph, lambda x, y: add_on_nn_f16(x, y, subtract), half)
        return _bound(node, graph, lambda x, y: add_on_tp_f16(x, y, subtract))
    if not (a.dtype is b.dtype is ofm.dtype) or a.dtype is DType.F16:
        raise GraphError(
            f"{a.dtype.value}, {b.dtype.value} -> {ofm.dtype.value}",
            where=f"layer {node.name!r} ({node.op} on {'NN' if on_nn else 'TP'})",
            rule="one type throughout; mixed types add on the shader",
        )
    weights = add_weights(a, b, subtract=subtract)
    rounding = Rounding.HALF_EVEN_BEFORE_ZERO_POINT if on_nn else tp_rounding(ofm)
    requant = stored_requant(node, ofm, rounding)
    add = add_on_nn if on_nn else add_on_tp

    def function(left: Array, right: Array) -> Array:
        return add(
            left,
            right,
            zero_point_of(a.quant),
            (weights.first, weights.second),
            weights.bias,
            requant.multiplier,
            requant.shift,
            requant.zero_point,
        )

    zero_point, relu = zero_point_of(a.quant), _has_relu(node)
    rows = None
    if on_nn and a.dtype is DType.U8:
        rows = sum_rows(zero_point, weights, requant, relu=relu)
    elif on_nn and a.dtype is DType.I16:
        rows = sum_rows_i16(weights, requant, relu=relu)
    return _bound(node, graph, function, rows=rows)


def _specs(node: Node, graph: Graph) -> list[TensorSpec]:
    specs = [graph.spec(name) for name in (*node.inputs, *node.outputs)]
    require_types(node, specs, ENGINE_TYPES)
    return specs


def _bound(
    node: Node,
    graph: Graph,
    function: Function,
    half_operation: int | None = None,
    rows: Rows | None = None,
) -> Step:
    """Return the step of a function of two code arrays: ``rows``, or a table, or as it is.

    float16 computes: a table of 128 KiB for every scalar would not stay in the cache.
    """
    a, b, ofm = _specs(node, graph)
    relu = _has_relu(node)
    if relu:
        function = _rectified(function, ofm)
    constants = [graph.constants.get(name) for name in node.inputs]
    if half_operation is not None and a.dtype is b.dtype is ofm.dtype is DType.F16:
        apply = _on_halves(half_operation, node.op == "sub", relu, ofm)
    else:
        if rows is None and a.dtype.bits == b.dtype.bits == 8:
            rows = _pair_table(node, (a, b, ofm), function)
        apply = _with_scalar(node, (a, b, ofm), constants, function) or (
            on_rows(rows, ofm) if rows else function
        )

    def operands(activations: Sequence[Array]) -> Iterator[Array]:
        feed = iter(activations)
        return (next(feed) if value is None else value for value in constants)

    if isinstance(apply, KernelFunction):
        lay = apply.lay
        return KernelStep(lambda calls, *values: (lay(calls, *operands(values)),))
    return lambda *values: (apply(*operands(values)),)


def _has_relu(node: Node) -> bool:
    activation = node.attrs.activation if isinstance(node.attrs, EltwiseAttrs) else Activation.NONE
    if activation not in (Activation.NONE, Activation.RELU):
        raise GraphError(
            f"{activation.value} is fused into {node.op}",
            where=f"layer {node.name!r}",
            rule="only relu fuses into element-wise operators",
        )
    return activation is Activation.RELU


def _rectified(function: Function, ofm: TensorSpec) -> Function:
    zero = ofm.dtype.numpy.type(zero_point_of(ofm.quant))

    def rectified(left: Array, right: Array) -> Array:
        result: Array = np.maximum(function(left, right), zero)
        return result

    return rectified


def _key(node: Node, specs: Sequence[TensorSpec]) -> tuple[object, ...]:
    a, b, ofm = specs
    store = node.requant, ofm.dtype, ofm.quant
    return node.op, node.engine, node.attrs, a.quant, b.quant, *store


def _with_scalar(
    node: Node, specs: Sequence[TensorSpec], constants: list[Array | None], function: Function
) -> Function | None:
    """Return a table of one operand when the other is a single known value."""
    for position in (0, 1):
        known, ifm = constants[position], specs[1 - position]
        if known is not None and known.size == 1 and ifm.shape == specs[2].shape:
            break
    else:
        return None
    scalar = known.reshape(1)
    table = table_function(
        (_key(node, specs), position, scalar.dtype.str, scalar.tobytes()),
        lambda codes: function(scalar, codes) if position == 0 else function(codes, scalar),
        ifm.dtype.numpy,
        specs[2].dtype.numpy,
    )
    return KernelFunction(
        lambda calls, left, right: table.lay(calls, right if position == 0 else left)
    )


def _pair_table(node: Node, specs: Sequence[TensorSpec], function: Function) -> Rows:
    """Return the function as a table of all pairs of 8-bit codes."""
    a, b, _ = specs
    others = all_codes(b.dtype.numpy)[None, :]
    table = code_table(
        (_key(node, specs), b.dtype),
        all_codes(a.dtype.numpy)[:, None],
        lambda codes: function(codes, others),
    )
    map_pairs = choose(Work.FUNCTION_OF_TWO, a.dtype, specs[2].dtype)
    return Rows(map_pairs, table=table)


def _on_halves(operation: int, subtract: bool, relu: bool, ofm: TensorSpec) -> Function:
    """Return the compiled float16 loop."""
    work = Work.NN_SUM if operation == f16_binary.ADD_ON_NN else Work.SHADER_BINARY
    compute = choose(work, DType.F16, DType.F16)
    return on_rows(Rows(compute, (operation, subtract, relu)), ofm)
