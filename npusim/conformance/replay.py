"""Run golden vectors through the bindings that inference uses, and count what differs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npusim.conformance.allowances import allowance
from npusim.conformance.compare import step_distance
from npusim.conformance.golden import Array, GoldenCase, read_golden
from npusim.conformance.mapping import case_graph
from npusim.errors import InputError
from npusim.ir.attrs import Activation, MatmulAttrs
from npusim.ir.graph import Graph
from npusim.passes.fuse_activation import fuse_relu
from npusim.passes.fuse_patterns import fuse_activation_patterns
from npusim.passes.pipeline import lower
from npusim.runtime.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One operator and type of one file.

    Attributes
    ----------
    file, op, dtype : str
        ``op`` joins the operators of fused cases with ``+``; ``dtype`` is the first input's, with
        the output's behind it when they differ.
    cases, elements, mismatches : int
    max_diff : int
        Largest difference in steps; float16 in units in the last place.
    granted : int
        How many elements the documents allow to differ (``npusim.conformance.allowances``).
    errors : tuple of str
        Cases that could not run, one message each.
    """

    file: str
    op: str
    dtype: str
    cases: int
    elements: int
    mismatches: int
    max_diff: int
    granted: int
    errors: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether every case ran and differs no more than granted."""
        allowed = allowance(self.op, self.dtype).max_diff
        return (
            not self.errors
            and self.mismatches <= self.granted
            and (allowed is None or self.max_diff <= allowed)
        )


@dataclass(slots=True)
class _Tally:
    cases: int = 0
    elements: int = 0
    mismatches: int = 0
    max_diff: int = 0
    errors: list[str] = field(default_factory=list)


def prepared(case: GoldenCase) -> Graph:
    """Return the graph of a case after the rewrites that the driver makes on stored graphs.

    Raises
    ------
    GraphError, InputError
        When the case is not known or runs on no engine.
    """
    return lower(fuse_relu(fuse_activation_patterns(case_graph(case))))


def replay(path: str | Path) -> list[Result]:
    """Replay one golden file.

    Returns
    -------
    list of Result
        One per operator and type, in the order of the file.

    Raises
    ------
    InputError
        When the file cannot be read as golden vectors.
    """
    tallies: dict[tuple[str, str], _Tally] = {}
    for case in read_golden(path):
        try:
            graph = prepared(case)
            label = _label(graph), _types(graph)
        except Exception as error:
            label = "+".join(op.kind for op in case.ops), ""
            tally = tallies.setdefault(label, _Tally())
            tally.cases += 1
            tally.errors.append(_message(case, error))
            continue
        tally = tallies.setdefault(label, _Tally())
        tally.cases += 1
        try:
            feeds = {name: case.arrays[name] for name in graph.inputs}
            outputs = Program(graph).run_stored(feeds)
            for name in graph.outputs:
                _count(tally, outputs[name], case.arrays[name])
        except Exception as error:  # whatever stops a case is a finding about that case
            tally.errors.append(_message(case, error))
    return [
        Result(
            file=Path(path).name,
            op=op,
            dtype=dtype,
            cases=tally.cases,
            elements=tally.elements,
            mismatches=tally.mismatches,
            max_diff=tally.max_diff,
            granted=allowance(op, dtype).granted(tally.elements),
            errors=tuple(tally.errors),
        )
        for (op, dtype), tally in tallies.items()
    ]


def _count(tally: _Tally, actual: Array, expected: Array) -> None:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise InputError(
            f"result is {actual.dtype}{actual.shape}, recorded is {expected.dtype}{expected.shape}"
        )
    distance = step_distance(actual, expected)
    tally.elements += distance.size
    tally.mismatches += int((distance != 0).sum())
    tally.max_diff = max(tally.max_diff, int(distance.max(initial=0)))


def _message(case: GoldenCase, error: Exception) -> str:
    return f"case {case.index} ({case.name}): {type(error).__name__}: {error}"


def _label(graph: Graph) -> str:
    words = []
    for node in graph.nodes:
        word = node.op
        if isinstance(node.attrs, MatmulAttrs) and node.attrs.transpose_b:
            word += " transposed"
        words.append(word)
        activation = getattr(node.attrs, "activation", Activation.NONE)
        if activation is not Activation.NONE:
            words.append(activation.value)
    return "+".join(words)


def _types(graph: Graph) -> str:
    first, last = (
        graph.spec(name).dtype.value for name in (graph.nodes[0].inputs[0], graph.outputs[0])
    )
    return first if first == last else f"{first} to {last}"


def summary(results: Sequence[Result]) -> str:
    """Return one line of totals."""
    return (
        f"{sum(r.cases for r in results)} cases, {sum(r.elements for r in results)} elements, "
        f"{sum(r.mismatches for r in results)} differ "
        f"({sum(min(r.mismatches, r.granted) for r in results)} granted), "
        f"{sum(len(r.errors) for r in results)} cases did not run, "
        f"{sum(not r.ok for r in results)} of {len(results)} rows fail"
    )
