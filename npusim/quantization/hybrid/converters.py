"""Layers that convert between number formats, put where two formats meet."""

from collections.abc import Callable, Collection
from dataclasses import replace

from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.names import fresh
from npusim.quantization.schemes import Scheme


def insert_converters(
    graph: Graph,
    default: Scheme,
    scheme_of: Callable[[Node], Scheme],
    float_tensors: Collection[str],
) -> tuple[Graph, dict[str, Scheme], dict[str, str]]:
    """Put a ``convert`` layer wherever a layer reads a tensor of another format.

    A layer writes its results in its own format, so do the graph inputs in the default one. A
    tensor is converted once for all its readers of one format. The converter before a layer of
    another format than the rest is called ``<layer>_pre_<from>_to_<to>``, the one behind it
    ``<layer>_next_<from>_to_<to>``; both carry the layer's origin.

    Parameters
    ----------
    graph : Graph
        Float graph.
    default : Scheme
        Of the graph inputs.
    scheme_of : callable
        Layer -> its format.
    float_tensors : collection of str
        Tensors that are float16 whatever their layer says, and so are their readers.

    Returns
    -------
    graph : Graph
    schemes : dict
        Tensor -> format.
    sources : dict
        Converted tensor -> the tensor it was converted from.
    """
    graph = graph.copy()
    schemes = dict.fromkeys(graph.inputs, default)
    producers = graph.producers()
    sources: dict[str, str] = {}
    made: dict[tuple[str, Scheme], str] = {}
    taken = {node.name for node in graph.nodes}
    uid = max((node.uid for node in graph.nodes), default=0)
    nodes: list[Node] = []
    for node in graph.nodes:
        scheme = scheme_of(node)
        inputs = list(node.inputs)
        moves_float = all(name in float_tensors for name in graph.activations(node))
        for position, name in enumerate(node.inputs):
            known = schemes.get(name)
            if known in (None, scheme) or moves_float or graph.spec(name).dtype is not DType.F32:
                continue
            assert known is not None
            if (name, scheme) not in made:
                uid += 1
                behind = producers.get(name) if known is not default else None
                converter = _converter(graph, name, known, scheme, node, behind, uid)
                if converter.name in taken:  # a layer with several inputs
                    converter = replace(converter, name=f"{converter.name}.{uid}")
                taken.add(converter.name)
                made[name, scheme] = converter.outputs[0]
                schemes[converter.outputs[0]] = scheme
                sources[converter.outputs[0]] = name
                nodes.append(converter)
            inputs[position] = made[name, scheme]
        nodes.append(replace(node, inputs=tuple(inputs)))
        schemes.update(dict.fromkeys(node.outputs, scheme))
    return graph.copy(nodes=tuple(nodes)), schemes, sources


def _converter(
    graph: Graph,
    name: str,
    known: Scheme,
    wanted: Scheme,
    reader: Node,
    behind: Node | None,
    uid: int,
) -> Node:
    old, new = known.dtype.value, wanted.dtype.value
    layer, place = (behind, "next") if behind is not None else (reader, "pre")
    output = fresh(graph, f"{name}.{new}")
    graph.tensors[output] = replace(graph.spec(name), name=output)
    return Node(
        name=f"{layer.name}_{place}_{old}_to_{new}",
        op="convert",
        inputs=(name,),
        outputs=(output,),
        uid=uid,
        origin=layer.origin,
    )
