"""From layers to engine operations: what the driver makes of each operator.

Source: the driver's own operation list for single layers and whole networks (measured); rules
without such evidence say so. A layer's engine, where a pass has set it, decides between the forms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npusim.ir.attrs import Conv2dAttrs, Pool2dAttrs, PoolKind
from npusim.ir.graph import Engine
from npusim.perfmodel.context import Context
from npusim.perfmodel.lower_convolution import (
    convolution,
    deconvolution,
    first_pixel,
    fully_connected,
)
from npusim.perfmodel.lower_other import (
    activation,
    add,
    concat,
    copies,
    pooling,
    reorganise,
    resize,
    shader,
    transpose,
)
from npusim.perfmodel.network import VIEW_OPS, Layer, Network
from npusim.perfmodel.workload import Work

ACTIVATIONS = (
    *("relu", "relu1", "relu6", "leaky_relu", "prelu", "sigmoid", "tanh", "hard_sigmoid"),
    *("hard_swish", "swish", "mish", "elu", "clip", "softplus", "gelu"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredLayer:
    """A layer, the layers fused into it, and its operations in execution order."""

    layer: Layer
    works: tuple[Work, ...]
    fused: tuple[Layer, ...] = ()
    note: str = ""


def lower(network: Network) -> tuple[LoweredLayer, ...]:
    """Return the engine operations of every layer, in execution order.

    A max pool that the driver fuses into the convolution before it has no entry of its own; it is
    listed in that convolution's ``fused``.
    """
    context = Context(network, network.producers(), network.consumers())
    absorbed: set[str] = set()
    lowered = []
    for layer in network.layers:
        if layer.name in absorbed:
            continue
        pool = fused_pool(layer, context)
        result = _lower_layer(layer, pool, context)
        if pool is not None:
            absorbed.add(pool.name)
        lowered.append(result)
    return tuple(lowered)


def fused_pool(layer: Layer, context: Context) -> Layer | None:
    """Return the max pool that runs inside a convolution, if there is one."""
    if layer.op != "conv2d" or (layer.engine not in (None, Engine.NN)):
        return None
    users = context.consumers[layer.outputs[0]]
    if len(users) != 1 or layer.outputs[0] in context.network.outputs:
        return None
    pool = users[0]
    attrs = pool.attrs
    if not isinstance(attrs, Pool2dAttrs) or attrs.kind is not PoolKind.MAX:
        return None
    _, _, height, width = context.shape(layer.outputs[0])
    even = height % 2 == 0 and width % 2 == 0
    if attrs.kernel != (2, 2) or attrs.stride != (2, 2) or any(attrs.pad) or not even:
        return None
    if isinstance(layer.attrs, Conv2dAttrs) and first_pixel(layer, layer.attrs, context):
        return None
    return pool


def _lower_layer(layer: Layer, pool: Layer | None, context: Context) -> LoweredLayer:
    if not layer.inputs:
        return LoweredLayer(layer=layer, works=(), note="constant")
    rule = _RULES.get(layer.op)
    note = ""
    if rule is None:
        if layer.op in VIEW_OPS:
            return LoweredLayer(layer=layer, works=(), note="a view of its input")
        rule = activation if layer.op in ACTIVATIONS else shader
    if layer.engine is Engine.SHADER and layer.op not in ("concat",):
        rule = shader
    elif layer.engine is Engine.CPU:
        rule, note = shader, "runs on the CPU on a board; priced as a shader operation"
    works = tuple(rule(layer, pool, context))
    return LoweredLayer(layer=layer, works=works, fused=(pool,) if pool else (), note=note)


Rule = Callable[[Layer, Layer | None, Context], Sequence[Work]]
_RULES: dict[str, Rule] = {
    "conv2d": convolution,
    "deconv2d": deconvolution,
    "fc": fully_connected,
    "pool2d": pooling,
    "add": add,
    "sub": add,
    "resize": resize,
    "concat": concat,
    "split": copies,
    "slice": copies,
    "transpose": transpose,
    "space2depth": reorganise,
    "depth2space": reorganise,
}
