"""From placed layers to engine operations: one entry per engine and form.

Nothing is chosen here: ``npusim.passes`` has said where a layer runs and in what form; what remains
is the driver's inner plan of it (reshuffles, full resolution, phases).

Source: the driver's own operation list for single layers and whole networks (measured); rules
without such evidence say so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from npusim.errors import GraphError
from npusim.ir.attrs import Pool2dAttrs
from npusim.ir.graph import Engine, Form
from npusim.perfmodel import lower_convolution as products
from npusim.perfmodel import lower_other as others
from npusim.perfmodel.network import Layer, Network, attrs_of
from npusim.perfmodel.workload import NnWork, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredLayer:
    """A layer, the layers fused into it, and its operations in execution order."""

    layer: Layer
    works: tuple[Work, ...]
    fused: tuple[Layer, ...] = ()
    note: str = ""


def lower(network: Network) -> tuple[LoweredLayer, ...]:
    """Return the engine operations of every layer, in execution order.

    A max pool that is fused into the layer before it has no operations; it is listed in that
    layer's ``fused``.

    Raises
    ------
    GraphError
        When there is no such form on an engine.
    """
    carriers = {
        network.producers[layer.inputs[0]].name: layer
        for layer in network.layers
        if layer.form is Form.FUSED
    }
    return tuple(_lowered(layer, carriers.get(layer.name), network) for layer in network.layers)


def _lowered(layer: Layer, pool: Layer | None, network: Network) -> LoweredLayer:
    if not layer.inputs:
        return LoweredLayer(layer=layer, works=(), note="constant")
    works = _plan(layer)(layer, network)
    if pool is not None:
        return LoweredLayer(
            layer=layer, works=(*works[:-1], _pooled(works[-1], pool, network)), fused=(pool,)
        )
    return LoweredLayer(layer=layer, works=tuple(works), note=_note(layer, network))


def _pooled(work: Work, pool: Layer, network: Network) -> NnWork:
    """Return a convolution that stores the largest results of windows."""
    assert isinstance(work, NnWork)  # pools are fused into what the NN cores store
    _, _, height, width = network.maps(pool.outputs[0])
    size = attrs_of(pool, Pool2dAttrs).kernel[0]
    return replace(work, final_w=width, final_h=height, pool=size)


def _note(layer: Layer, network: Network) -> str:
    if layer.form is Form.FUSED:
        return f"fused into {network.producers[layer.inputs[0]].name}"
    if layer.form is Form.VIEW:
        return "a view of its input"
    return "runs on the CPU on a board; priced as a shader operation" * (layer.engine is Engine.CPU)


Plan = Callable[[Layer, Network], Sequence[Work]]


def _plan(layer: Layer) -> Plan:
    try:
        return PLANS[layer.engine, layer.form]
    except KeyError:
        raise GraphError(
            f"{layer.form.value} on {layer.engine.value} has no price",
            where=f"layer {layer.name!r} ({layer.op})",
            rule="; ".join(f"{form.value} on {engine.value}" for engine, form in PLANS),
        ) from None


def _program(layer: Layer, network: Network) -> Sequence[Work]:
    plan = products.shader_convolution if layer.op == "conv2d" else others.program
    return plan(layer, network)


PLANS: dict[tuple[Engine, Form], Plan] = {
    (Engine.NN, Form.CONVOLUTION): products.convolution,
    (Engine.NN, Form.TRANSPOSED_CONVOLUTION): products.deconvolution,
    (Engine.NN, Form.FULLY_CONNECTED): products.vector_as_image,
    (Engine.NN, Form.SUM): products.sum_of_two,
    (Engine.NN, Form.AVERAGE): products.average,
    (Engine.NN, Form.AVERAGE_BY_CHANNEL): products.average_by_channel,
    (Engine.NN, Form.ENLARGEMENT): products.enlargement,
    (Engine.NN, Form.FUSED): others.nothing,
    (Engine.TP, Form.FULLY_CONNECTED): products.fully_connected,
    (Engine.TP, Form.SUM): products.sum_of_one_pixel,
    (Engine.TP, Form.AVERAGE): products.average_fully_connected,
    (Engine.TP, Form.POOLING): others.pooling,
    (Engine.TP, Form.ACTIVATION): others.one_pass("ACTIVATION"),
    (Engine.TP, Form.TABLE): others.one_pass("TENSOR_TABLE_LOOKUP"),
    (Engine.TP, Form.NORMALIZATION): others.one_pass("NORMALIZATION"),
    (Engine.TP, Form.TRANSPOSITION): others.one_pass("TENSOR_TRANS"),
    (Engine.TP, Form.REORDERING): others.one_pass("REORG2"),
    (Engine.TP, Form.COPY): others.copies,
    (Engine.TP, Form.SUBSAMPLING): others.subsampling,
    (Engine.TP, Form.CONCATENATION): others.concatenation,
    (Engine.TP, Form.IN_PLACE): others.in_place,
    (Engine.TP, Form.VIEW): others.nothing,
    (Engine.SHADER, Form.VIEW): others.nothing,
    (Engine.SHADER, Form.PROGRAM): _program,
    (Engine.CPU, Form.PROGRAM): others.program,
}
