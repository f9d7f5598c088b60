"""Runs passes in order and checks the graph after each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from npusim.errors import GraphError
from npusim.ir.graph import Graph, prune
from npusim.ir.verify import Stage, refuse_empty, verify, verify_stage
from npusim.ops import infer_shapes, require_parameters

Pass = Callable[[Graph], Graph]


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a pipeline: the pass, the lowest optimization level it runs at, and why."""

    run: Pass
    level: int
    why: str

    @property
    def name(self) -> str:
        """Return the pass's own name."""
        return getattr(self.run, "__name__", str(self.run))


def run_pipeline(
    graph: Graph,
    steps: Sequence[Step],
    *,
    level: int = 3,
    stage: Stage | None = None,
    trace: Callable[[str, Graph], None] | None = None,
) -> Graph:
    """Apply every step whose level is reached; verify the graph after each that changed it.

    Parameters
    ----------
    graph : Graph
    steps : sequence of Step
    level : int
        Optimization level 0..3, as in RKNN-Toolkit: 3 all rewrites, 0 none but necessary ones.
    stage : {"float", "quantized"}, optional
        What every step keeps true (``npusim.ir.verify``); by default what the graph is.
    trace : callable, optional
        Called with each pass's name and result.

    Raises
    ------
    GraphError
        When a pass broke an invariant; it names the pass and the layer.
    """
    real = not graph.is_quantized and all(node.engine is None for node in graph.nodes)
    stage = stage or ("float" if real else "quantized")
    checked = False
    for step in steps:
        if step.level > level:
            continue
        result = step.run(graph)
        if result is not graph or not checked:
            graph = prune(result)
            try:
                check(graph, stage)
            except GraphError as error:
                raise GraphError(f"after pass {step.name}: {error}") from error
            checked = True
        if trace:
            trace(step.name, graph)
    return graph


def check_parameters(graph: Graph) -> None:
    """Raise a GraphError when weights, a bias or a normalisation's parameter are computed.

    A float graph may be like that; the chip's layers are not.
    """
    for node in graph.nodes:
        require_parameters(node, graph.constants)


def check(graph: Graph, stage: Stage | None = None) -> None:
    """Check all invariants of a graph and of its stage, shapes included."""
    verify(graph)
    refuse_empty(graph)
    for node in graph.nodes:
        shapes = infer_shapes(node, [graph.spec(name) for name in node.inputs])
        if len(shapes) != len(node.outputs):
            raise GraphError(
                f"{len(node.outputs)} outputs",
                where=f"layer {node.name!r} ({node.op})",
                rule=f"its operator gives {len(shapes)}",
            )
        for name, shape in zip(node.outputs, shapes, strict=True):
            if graph.spec(name).shape != shape:
                raise GraphError(
                    f"output {name!r} has shape {graph.spec(name).shape}, its operator gives "
                    f"{shape}",
                    where=f"layer {node.name!r} ({node.op})",
                )
    if stage is not None:  # it may look at operands, whose number the shape rules have checked
        verify_stage(graph, stage)
