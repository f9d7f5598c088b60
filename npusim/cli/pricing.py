"""From what ``npusim perf`` was given to an estimate."""

from dataclasses import dataclass, replace
from pathlib import Path

from npusim import assets
from npusim.cli import common
from npusim.errors import ConfigError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower, optimize
from npusim.perfmodel.estimate import Estimate, estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.perfmodel.network import Network, from_graph
from npusim.quantization.assumed import assume_quantized
from npusim.quantization.schemes import scheme_named

BUNDLED_LIST = "demo-layers"
DEFAULT_DTYPE = "u8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One configuration to price; None leaves the choice to the model or the chip."""

    model: str
    target: str | None = None
    profile: str = "board"
    dtype: str | None = None
    clock_mhz: float | None = None
    ddr_gbps: float | None = None
    batch: int | None = None
    sram: str = "off"
    shape: tuple[str, ...] = ()
    level: int = 3


def price(request: Request) -> Estimate:
    """Return the estimate of a configuration.

    Raises
    ------
    NpusimError
        When the model cannot be read or an option does not fit it.
    """
    network = _network(request)
    if not _is_list(request.model):  # exporters call all their graphs the same
        network = replace(network, name=Path(request.model).stem)
    if request.batch is not None:
        if request.batch < 1:
            raise ConfigError(f"batch {request.batch}", where="--batch", rule="at least 1")
        network = replace(network, batch=request.batch)
    return estimate(
        network,
        request.target,
        profile=request.profile,
        clock_mhz=request.clock_mhz,
        ddr_gbps=request.ddr_gbps,
        sram=_switch(request.sram),
    )


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ConfigError(f"value {text!r}", where="--sram", rule="on or off")
    return text == "on"


def _network(request: Request) -> Network:
    scheme = scheme_named(request.dtype or DEFAULT_DTYPE)
    if _is_list(request.model):
        bundled = request.model == BUNDLED_LIST
        path = assets.layer_list_path() if bundled else request.model
        return load_layer_list(path, scheme.dtype)
    graph = common.load(request.model, shape=list(request.shape) or None)
    if not common.is_quantized(graph):
        graph = assume_quantized(optimize(graph, level=request.level), scheme)
    elif request.dtype is not None and scheme.dtype not in _input_types(graph):
        # Engines were chosen for the stored type: what another type would get is chosen again.
        return from_graph(graph, scheme.dtype)
    placed = all(node.form is not None for node in graph.nodes)
    return from_graph(graph if placed else lower(graph, level=request.level))


def _is_list(model: str) -> bool:
    return model == BUNDLED_LIST or Path(model).suffix.lower() == ".json"


def _input_types(graph: Graph) -> set[DType]:
    return {graph.spec(name).dtype for name in graph.inputs}
