"""What all functions of a TensorFlow Lite file have in common while it is read."""

from dataclasses import dataclass, field

from npusim.importers.common.unroll import Budget
from npusim.importers.tflite.file import Subgraph
from npusim.ir.holes import Hole


@dataclass(frozen=True, slots=True)
class Joined:
    """What a tensor of the graph joins.

    Attributes
    ----------
    axis : int
        As the graph counts it.
    parts : tuple of str
    """

    axis: int
    parts: tuple[str, ...]


@dataclass(slots=True)
class Whole:
    """A file being read.

    Attributes
    ----------
    graphs : tuple of Subgraph
        The functions; the first is the network.
    findings : dict
        What is unsupported and why -> the operators, by their first outputs.
    joined : dict
        Tensor of the graph -> what it joins; kept inside of loops.
    bases : dict
        What names of functions' tensors begin with, in front of the number of a turn -> how often
        it was asked for; empty until a function is entered.
    depth : int
        How many functions are open; 0 in the network itself.
    holes, unknown : list
        The unsupported operators; layers behind them that could not be converted.
    """

    graphs: tuple[Subgraph, ...] = ()
    findings: dict[str, list[str]] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    joined: dict[str, Joined] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=dict)
    depth: int = 0
    holes: list[Hole] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
