"""Functions of one tensor: TP activations and table lookups, shader functions."""

from dataclasses import asdict

from npusim.ir.attrs import AlphaAttrs
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.tensor import TensorSpec
from npusim.kernels.engines.shader import UNARY, activation, unary
from npusim.kernels.engines.tp_activation import activate
from npusim.ops import TpTable, ops_where
from npusim.runtime.binding import Step, binding
from npusim.runtime.tables import ENGINE_TYPES, Array, require_types, scaling_of, table_step


@binding(*ops_where(lambda d: d.tp_table is not None), engine=Engine.TP)
def bind_tp_activation(node: Node, graph: Graph) -> Step:
    """Tabulate an activation of the TP engine; any pair of element types."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    parameters = asdict(node.attrs)

    def function(codes: Array) -> Array:
        return activate(
            node.op, parameters, codes, scaling_of(ifm), ofm.dtype.numpy, scaling_of(ofm)
        )

    return table_step(_key(node, ifm, ofm), function, ifm.dtype.numpy, ofm.dtype.numpy)


@binding(*UNARY, engine=Engine.SHADER)
def bind_shader_function(node: Node, graph: Graph) -> Step:
    """Tabulate a function of the shader; any pair of element types."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)

    def function(codes: Array) -> Array:
        return unary(node.op, codes, scaling_of(ifm), ofm.dtype.numpy, scaling_of(ofm))

    return table_step(_key(node, ifm, ofm), function, ifm.dtype.numpy, ofm.dtype.numpy)


@binding(*ops_where(lambda d: d.tp_table is TpTable.ACTIVATION), engine=Engine.SHADER)
def bind_shader_activation(node: Node, graph: Graph) -> Step:
    """Tabulate an activation of the shader, for inputs beyond the reach of TP's tables."""
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    require_types(node, (ifm, ofm), ENGINE_TYPES)
    alpha = node.attrs.alpha if isinstance(node.attrs, AlphaAttrs) else 0.0

    def function(codes: Array) -> Array:
        return activation(node.op, alpha, codes, scaling_of(ifm), ofm.dtype.numpy, scaling_of(ofm))

    return table_step(_key(node, ifm, ofm), function, ifm.dtype.numpy, ofm.dtype.numpy)


def _key(node: Node, ifm: TensorSpec, ofm: TensorSpec) -> tuple[object, ...]:
    return node.op, node.engine, node.attrs, ifm.quant, ofm.dtype, ofm.quant
