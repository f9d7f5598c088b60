"""prelu: a TP activation for one slope, programs of the shader for several."""

from dataclasses import replace

import numpy as np

from npusim.ir.attrs import AlphaAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.prelu import prelu
from npusim.kernels.engines.shader import dequantize
from npusim.ops.unary import slope_per_channel
from npusim.runtime.binding import Step, binding
from npusim.runtime.bindings.activation import bind_tp_activation
from npusim.runtime.calls import KernelStep
from npusim.runtime.eltwise_rows import Rows, on_rows
from npusim.runtime.kernel_table import Work, choose
from npusim.runtime.tables import (
    ENGINE_TYPES,
    Array,
    all_codes,
    code_table,
    require_types,
    scaling_of,
)

_MOVED = 128  # i8 with a zero point is u8 moved by this


def _slopes(node: Node, graph: Graph) -> Array:
    spec = graph.spec(node.inputs[1])
    return dequantize(graph.constants[spec.name], scaling_of(spec))


@binding("prelu", engine=Engine.TP)
def bind_one_slope(node: Node, graph: Graph) -> Step:
    """Bind prelu with one slope: a leaky_relu. Source: measured, docs/arithmetic/tp.md rule 3.7."""
    slope = float(_slopes(node, graph).reshape(-1)[0])
    leaky = replace(node, op="leaky_relu", inputs=node.inputs[:1], attrs=AlphaAttrs(alpha=slope))
    return bind_tp_activation(leaky, graph)


@binding("prelu", engine=Engine.SHADER)
def bind_several_slopes(node: Node, graph: Graph) -> Step:
    """Bind constant slopes that broadcast; 8-bit inputs through one table per different slope."""
    ifm, slope, ofm = (graph.spec(name) for name in (*node.inputs, *node.outputs))
    require_types(node, (ifm, slope, ofm), ENGINE_TYPES)
    by_channel = slope.dtype is DType.F16 and slope_per_channel(ifm.shape, slope.shape)
    values = _slopes(node, graph)

    def function(codes: Array, slopes: Array) -> Array:
        return _on_unsigned(codes, slopes, ifm, ofm, by_channel)

    different, numbers = np.unique(values, return_inverse=True)
    if ifm.dtype.bits != 8 or different.size > 256:
        return lambda codes: (function(codes, values),)
    table = code_table(
        (node.op, by_channel, ifm.quant, ofm.dtype, ofm.quant, different.tobytes()),
        all_codes(ifm.dtype.numpy)[:, None],
        lambda codes: function(codes, np.resize(different, 256)[None, :]),
    )
    kernel = choose(Work.FUNCTION_OF_TWO, ifm.dtype, ofm.dtype)
    indices = numbers.reshape(values.shape).astype(np.uint8)
    lay = on_rows(Rows(kernel, table=table), ofm).lay
    return KernelStep(lambda calls, codes: (lay(calls, codes, indices),))


def _on_unsigned(
    codes: Array, slopes: Array, ifm: TensorSpec, ofm: TensorSpec, by_channel: bool
) -> Array:
    """Apply the shader's program; i8 with a zero point on either side is done as u8."""
    (scale, zero), (out_scale, out_zero) = scaling_of(ifm), scaling_of(ofm)
    dtype, moved_back = ofm.dtype.numpy, 0
    if ifm.dtype is DType.I8 and isinstance(ifm.quant, Affine):
        codes, zero = (codes.astype(np.int16) + _MOVED).astype(np.uint8), zero + _MOVED
    if ofm.dtype is DType.I8 and isinstance(ofm.quant, Affine):
        dtype, out_zero, moved_back = np.dtype(np.uint8), out_zero + _MOVED, _MOVED
    stored = prelu(
        codes, slopes, (scale, zero), dtype, (out_scale, out_zero), by_channel=by_channel
    )
    return (stored.astype(np.int16) - moved_back).astype(np.int8) if moved_back else stored
