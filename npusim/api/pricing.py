"""What a network costs on the chip; needs no kernels."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npusim import words
from npusim.api.stages import is_complete, is_quantized
from npusim.errors import ConfigError
from npusim.explain import see
from npusim.importers.formats import load
from npusim.importers.mxnet.symbol import holds_symbol
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower, optimize
from npusim.perfmodel.estimate import Estimate
from npusim.perfmodel.estimate import estimate as estimated
from npusim.perfmodel.layer_list import LayerList, read_layer_list
from npusim.perfmodel.layer_writer import layer_list_of
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.network import Network, from_graph, weights_of, zero_share
from npusim.plain import name_of
from npusim.quantization.assumed import assume_quantized
from npusim.quantization.float16 import to_float16
from npusim.quantization.schemes import Scheme, scheme_of

if TYPE_CHECKING:
    from npusim.runtime.program import Program

LAYER_LIST = ".json"
MOST_IMAGES = 1 << 20
"""In one run."""
_messages = logging.getLogger("npusim")


def is_layer_list(path: Path) -> bool:
    """Tell whether a file is a layer list: named so, and no MXNet symbol, which is JSON as well."""
    return path.suffix.lower() == LAYER_LIST and not holds_symbol(path)


def estimate(
    model: "Graph | Program | Network | str | Path",
    *,
    target: Machine | str | Path | None = None,
    scheme: Scheme | str | None = None,
    profile: str = "board",
    clock_mhz: float | None = None,
    ddr_gbps: float | None = None,
    batch: int | None = None,
    sram: bool | None = None,
    optimization_level: int = 3,
) -> Estimate:
    """Predict the time of a network on the chip, layer by layer.

    Parameters
    ----------
    model : Graph, Program, Network or path
        A graph at any stage, a compiled program, a layer list (a Network, or its .json file), or a
        model file. A float graph is quantized with ranges that are usual for its operators.
    target : Machine, str or path, optional
        Chip name or .toml file; default: the model's own.
    scheme : Scheme or str, optional
        Number format that a float model or a layer list is priced in; default u8. A quantized model
        has its own, and is priced as if its tensors had another one when that is given.
    profile : {"board", "vendor"}
        Silicon, or the vendor's own estimator.
    clock_mhz : float, optional
        NPU clock, MHz.
    ddr_gbps : float, optional
        Sustained DDR rate, 1e9 bytes a second.
    batch : int, optional
        Images in one run.
    sram : bool, optional
        Keep maps in all of the chip's AXI SRAM where they fit, or all in DDR; default: as much as
        the profile says.
    optimization_level : int
        0..3.

    Returns
    -------
    Estimate
        Microseconds, cycles and bytes of every layer and in total.

    Raises
    ------
    MachineError
        When the target, the profile or a rate cannot be used; it names the known ones.
    ModelImportError, ConfigError
        When the model cannot be read, or the batch is below 1 or above ``MOST_IMAGES``.
    """
    network = _network(model, None if scheme is None else scheme_of(scheme), optimization_level)
    if batch is not None:
        network = replace(network, batch=checked_batch(batch))
    result = estimated(
        network, target, profile=profile, clock_mhz=clock_mhz, ddr_gbps=ddr_gbps, sram=sram
    )
    if result.note:
        _messages.warning(f"{result.note} {see('no-float-cores')}")
    return result


def checked_batch(batch: int) -> int:
    """Return a number of images that may be priced.

    Raises
    ------
    ConfigError
        When it is below 1 or above ``MOST_IMAGES``.
    """
    if not 1 <= batch <= MOST_IMAGES:
        raise ConfigError(
            f"batch {batch}", where=words.say("batch"), rule=f"from 1 to {MOST_IMAGES}"
        )
    return batch


def _network(
    model: "Graph | Program | Network | str | Path", scheme: Scheme | None, level: int
) -> Network:
    if isinstance(model, Network):
        return model
    if isinstance(model, str | Path):
        path = Path(model)
        if is_layer_list(path):
            return listed_network(read_layer_list(path), scheme or Scheme.U8, level)
        # exporters call all their graphs the same
        return replace(_network(load(path), scheme, level), name=name_of(path))
    if not isinstance(model, Graph):
        model = model.graph  # a program's engines are chosen
    ready = in_chip_types(model, scheme or Scheme.U8, level)
    if scheme is not None and is_quantized(model) and scheme not in _schemes(ready):
        # Engines were chosen for the stored type: what another type would get is chosen again.
        return from_graph(ready, scheme.dtype)
    return from_graph(lower(ready, level=level))


def listed_network(layers: LayerList, scheme: Scheme, level: int) -> Network:
    """Return the network of a layer list, quantized as it says."""
    if not layers.usual_ranges:
        return from_graph(layers.graph, scheme.dtype, layers.zeros(scheme.dtype))
    ready = assume_quantized(layers.graph, scheme)
    said, names = layers.zeros(scheme.dtype), weights_of(ready)
    zeros = {names[layer]: said[name] for layer, name in weights_of(layers.graph).items()}
    return from_graph(lower(ready, level=level, warns=False), zero_fractions=zeros)


def layer_list(
    graph: Graph, *, scheme: Scheme | str = Scheme.U8, optimization_level: int = 3
) -> dict[str, Any]:
    """Return a float model as a layer list, which costs what the model costs.

    Parameters
    ----------
    graph : Graph
        Float, of any importer.
    scheme : Scheme or str
        Number format in which zero weights are counted.
    optimization_level : int
        0..3.

    Returns
    -------
    dict
        What ``json`` writes: docs/performance.md, layer lists.

    Raises
    ------
    ConfigError
        When the model came quantized: its own formats have no place in a list. When nothing
        computes its outputs.
    """
    if is_quantized(graph):
        raise ConfigError(
            "a model that came quantized cannot be written as a layer list",
            where=graph.name,
            rule="a layer list is quantized when it is priced",
            remedy="write the list from the float model",
        )
    ready = optimize(graph, level=optimization_level)
    stored = assume_quantized(ready, scheme_of(scheme))
    names = weights_of(stored)
    zeros = {
        name: zero_share(stored.constants[names[layer]], stored.spec(names[layer]))
        for layer, name in weights_of(ready).items()
    }
    if set(ready.outputs) <= set(ready.constants):
        raise ConfigError(
            "all outputs are constants", where=graph.name, rule="a layer list ends in layers"
        )
    return layer_list_of(ready, zeros)


def in_chip_types(graph: Graph, scheme: Scheme, level: int) -> Graph:
    """Return the graph with a type for every feature map that the chip stores."""
    if is_complete(graph):
        return graph
    ready = optimize(graph, level=level)
    # the real parts of a model that came quantized become float16; a float one has no ranges
    return to_float16(ready) if is_quantized(graph) else assume_quantized(ready, scheme)


def _schemes(graph: Graph) -> tuple[Scheme, ...]:
    """Return the number formats of the inputs."""
    types = {graph.spec(name).dtype for name in graph.inputs}
    return tuple(scheme for scheme in Scheme if scheme.dtype in types)
