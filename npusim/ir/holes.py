"""What is left of a model that has layers without a counterpart: the graph around the holes."""

from dataclasses import dataclass

from npusim.ir.graph import Graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A layer without a counterpart: its name, operator, and why there is none."""

    layer: str
    op: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What could be converted.

    Attributes
    ----------
    graph : Graph
        Float, or as the model came. It begins at the model's inputs and at results of holes whose
        shapes are known, and ends at everything that nothing in it reads.
    holes : tuple of Hole
    unknown : tuple of str
        Layers behind the holes that could not be looked at: what they read has no known shape.
    """

    graph: Graph
    holes: tuple[Hole, ...]
    unknown: tuple[str, ...] = ()
