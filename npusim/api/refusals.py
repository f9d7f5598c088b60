"""What of a model is refused later, per number format, told before anything is calibrated."""

from collections.abc import Callable

from npusim.api.stages import is_complete, is_quantized
from npusim.errors import NpusimError
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower, optimize
from npusim.quantization.assumed import assume_quantized
from npusim.quantization.float16 import to_float16
from npusim.quantization.schemes import Scheme

OWN_FORMAT = "own"


def refusals(graph: Graph, *, optimization_level: int = 3) -> dict[str, str]:
    """Return what ``quantize``, ``float16`` or ``compile`` will say against a graph.

    Parameters
    ----------
    graph : Graph
        At any stage. A float graph is asked in every number format, with ranges that are usual for
        its operators; a model that came quantized, or is, in its own.
    optimization_level : int
        0..3.

    Returns
    -------
    dict
        Number format (u8, i8, i16, f16, or ``"own"`` where the model has its own) -> the error.
        Formats that are taken are not in it.
    """

    def in_scheme(scheme: Scheme) -> Graph:
        return assume_quantized(optimize(graph, level=optimization_level), scheme)

    makers: dict[str, Callable[[], Graph]]
    if is_complete(graph):
        makers = {OWN_FORMAT: lambda: graph}
    elif is_quantized(graph):
        makers = {OWN_FORMAT: lambda: to_float16(optimize(graph, level=optimization_level))}
    else:
        makers = {s.dtype.value: lambda s=s: in_scheme(s) for s in Scheme}  # type: ignore[misc]
    found = {}
    for name, make in makers.items():
        try:
            lower(make(), level=optimization_level, warns=False)
        except NpusimError as error:
            found[name] = str(error)
    return found
