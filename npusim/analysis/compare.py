"""Compare two runs of a network, layer by layer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim import words
from npusim.analysis.hidden import cut, end_of
from npusim.analysis.metrics import Difference, difference
from npusim.analysis.parts import (
    CONVERSIONS,
    OutputParts,
    PartDifference,
    part_differences,
    worst_part,
)
from npusim.analysis.recording import (
    LayerOutput,
    Pair,
    Recording,
    align,
    layers_named,
    only_outputs,
    record_program,
    same_inputs,
)
from npusim.faces import Face, Faced
from npusim.ir.dtypes import DType
from npusim.ir.limits import SMALLEST_NORMAL_F16
from npusim.ir.quant import Float
from npusim.ops import op_def
from npusim.runtime.program import Program

WRONG_BELOW = 0.98  # cosine; the vendor's trouble-shooting guides draw the line here


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedLayer:
    """One row: a layer output against its counterpart in the other run.

    Attributes
    ----------
    counterpart : str
        The other run's layer.
    saturated_low, saturated_high : float
        Share of elements at the ends of the integer type.
    below_float16 : bool
        A float16 layer no element of which differs by more than the smallest normal number, 2^-14:
        the chip makes 0 of what is smaller, and no other format is meant.
    parts : tuple of PartDifference
        The parts of an output that holds values of several units; see ``npusim.analysis.parts``.
    reads : tuple of str
        Activations that the layer reads; empty where nobody knows.
    """

    layer: str
    op: str
    engine: str
    dtype: str
    origin: tuple[str, ...]
    tensor: str
    counterpart: str
    difference: Difference
    saturated_low: float
    saturated_high: float
    below_float16: bool = False
    parts: tuple[PartDifference, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def worst(self) -> Difference:
        """Return the distances that count: those of the worst part, else of the whole tensor."""
        part = worst_part(self.parts)
        return self.difference if part is None else part.difference

    @property
    def worst_name(self) -> str:
        """Return the name of the worst part; empty where there are no parts."""
        part = worst_part(self.parts)
        return "" if part is None else part.name

    @property
    def moves(self) -> bool:
        """Tell whether the layer only moves data, or changes its number format."""
        return bool(self.op) and (self.op in CONVERSIONS or op_def(self.op).moves)

    def is_wrong(self, threshold: float) -> bool:
        """Tell whether the cosine is below a threshold and float16 could have done better."""
        return not (self.worst.cosine >= threshold or self.below_float16)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Comparison(Faced):
    """All compared layers in execution order, with a verdict.

    Attributes
    ----------
    unmatched : tuple of str
        Layers of ``actual`` without a counterpart.
    first_wrong : str or None
        First layer with a cosine below ``threshold``, unless float16 can do no better.
    hint : str
        What to look at when the very first layer is wrong.
    actual, reference : str
        Which runs these are.
    notes : tuple of str
        What had to be assumed.
    """

    layers: tuple[ComparedLayer, ...]
    unmatched: tuple[str, ...]
    threshold: float
    first_wrong: str | None
    hint: str
    actual: str = ""
    reference: str = ""
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> ComparedLayer | None:
        """Return the layer with the lowest cosine, of those that could be better."""
        return min(
            (row for row in self.layers if not row.below_float16),
            key=lambda row: row.worst.cosine,
            default=None,
        )

    @property
    def costliest(self) -> ComparedLayer | None:
        """Return the layer that lowers the cosine most against the worst of those it reads.

        Layers that only move data lose nothing of their own. Where nobody knows what a layer reads
        (folders of dumps), the layer before it counts.
        """
        best, drop, before = None, 0.0, 1.0
        given: dict[str, float] = {}
        for row in self.layers:
            if row.reads:
                before = min(given.get(name, before) for name in row.reads)
            cosine = before if row.below_float16 else row.worst.cosine
            if not row.moves and before - cosine > drop:
                best, drop = row, before - cosine
            given[row.tensor] = before = cosine
        return best

    @property
    def losses(self) -> tuple[float, ...]:
        """Return by how much each layer lowers the cosine below that of all layers before it."""
        lowest, found = 1.0, []
        for row in self.layers:
            cosine = lowest if row.below_float16 else row.worst.cosine
            cosine = -1.0 if isnan(cosine) else cosine
            found.append(max(0.0, lowest - cosine))
            lowest = min(lowest, cosine)
        return tuple(found)

    def _face(self) -> Face:
        return Face(
            f"{self.actual} against {self.reference}",
            {
                "layers": len(self.layers),
                "first wrong": self.first_wrong or "none",
                "below": self.threshold,
                "unmatched": len(self.unmatched),
                "hint": self.hint or "-",
            },
            (asdict(row) for row in self.layers),
            shown=(
                *("layer", "op", "engine", "dtype", "difference_cosine"),
                *("difference_sqnr_db", "difference_max_steps", "difference_max_abs"),
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "actual": self.actual,
            "reference": self.reference,
            "layers": [asdict(row) for row in self.layers],
            "unmatched": list(self.unmatched),
            "threshold": self.threshold,
            "first_wrong": self.first_wrong,
            "hint": self.hint,
            "notes": list(self.notes),
        }


def compare(
    actual: Recording, reference: Recording, *, threshold: float = WRONG_BELOW
) -> Comparison:
    """Compare two recorded runs layer by layer.

    Parameters
    ----------
    actual, reference : Recording
        From ``record_program``, ``record_float``, ``record_source`` or ``read_dump``. Steps are
        those of ``actual``, or of ``reference`` when only that is quantized.
    threshold : float
        Cosine below which a layer counts as wrong.

    Raises
    ------
    InputError
        When a tensor has another shape in the other run.
    """
    pairs, alone = align(actual, reference)
    if why := only_outputs(actual, reference):
        known = actual.outputs | reference.outputs
        pairs = [pair for pair in pairs if {pair.actual.tensor, pair.reference.tensor} & known]
        alone = []
    found = (actual.parts, reference.parts)
    rows = tuple(_row(pair, found) for pair in pairs)
    wrong = next((row.layer for row in rows if row.is_wrong(threshold)), None)
    first_is_wrong = bool(rows) and wrong == rows[0].layer and not why
    return Comparison(
        layers=rows,
        unmatched=layers_named(alone),
        threshold=threshold,
        first_wrong=wrong,
        hint=first_layer_hint(actual, reference) if first_is_wrong else "",
        actual=actual.label,
        reference=reference.label,
        notes=(*actual.notes, *reference.notes, *((why,) if why else ())),
    )


def first_layer_hint(
    actual: Recording, reference: Recording, *, clipped: bool | None = None
) -> str:
    """Return what to look at when the very first layer is wrong.

    Preprocessing is the first suspect where the runs were fed differently or nobody knows. Where
    both were fed the same it is one only if the values leave the calibrated range.

    Parameters
    ----------
    actual, reference : Recording
    clipped : bool, optional
        Whether they do, where the causes of errors were measured.
    """
    same = same_inputs(actual, reference)
    if not same or clipped:
        known = " and the two runs were fed different values" if same is False else ""
        return (
            f"the first layer already differs{known}: look at preprocessing before quantization. "
            f"Check {words.say('channel_order')} (RGB or BGR), {words.say('mean_and_std')} (0..255 "
            "scale) and the input's layout"
        )
    if clipped is not None:
        return ""  # its cause was measured
    return (
        "the first layer already differs although both runs were fed the same: it is the layer's "
        "own constants or ranges in this number format; npusim analyze measures which"
    )


def compare_with_source(
    program: Program,
    feeds: Mapping[str, NDArray[Any]],
    source: Mapping[str, NDArray[Any]],
    *,
    preprocessed: bool = False,
    threshold: float = WRONG_BELOW,
) -> Comparison:
    """Run a program and compare every layer output with the source's tensor of the same name.

    Parameters
    ----------
    program : Program
    feeds : mapping
        Raw inputs, as for ``Program.run``.
    source : mapping
        Float tensors of the source model for the same (preprocessed) inputs, by tensor name; see
        ``npusim.analysis.float_runner``.
    preprocessed : bool
        Feeds are already reordered and normalised.
    threshold : float
        Cosine below which a layer counts as wrong.

    Raises
    ------
    InputError
        When a source tensor has another shape than the layer's output.
    """
    rows = tuple(
        LayerOutput(layer=name, tensor=name, stored=value) for name, value in source.items()
    )
    return compare(
        record_program(program, feeds, preprocessed=preprocessed),
        Recording(label="source", layers=rows),
        threshold=threshold,
    )


def _row(pair: Pair, found: tuple[OutputParts, OutputParts]) -> ComparedLayer:
    actual, reference = pair.actual, pair.reference
    low = high = 0.0
    if not isinstance(actual.quant, Float) and actual.dtype in (DType.U8, DType.I8, DType.I16):
        low = float(np.mean(actual.stored == actual.dtype.min))
        high = float(np.mean(actual.stored == actual.dtype.max))
    known = actual if actual.op else reference  # a dump of a board knows little of the network
    real, other = _cut_masks(actual, reference)
    distance = difference(real, other, step=actual.step or reference.step)
    halves = DType.F16 in (actual.dtype, reference.dtype)
    parts = found[0].of(actual.tensor, reference.real)
    if parts is None:
        parts = found[1].of(reference.tensor, reference.real)
    return ComparedLayer(
        layer=known.layer,
        op=known.op,
        engine=known.engine,
        dtype=known.dtype.value,
        origin=known.origin,
        tensor=known.tensor,
        counterpart=reference.layer if known is actual else actual.layer,
        difference=distance,
        saturated_low=low,
        saturated_high=high,
        below_float16=halves and distance.max_abs <= SMALLEST_NORMAL_F16,
        parts=part_differences(parts, real, other, step=actual.step or reference.step),
        reads=known.reads,
    )


def _cut_masks(actual: LayerOutput, reference: LayerOutput) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the real values of both, masked ones no further off than the narrower type reaches."""
    side = actual.hides or reference.hides
    if not side:
        return actual.real, reference.real
    end = max(end_of(row.spec, side) for row in (actual, reference))
    return cut(actual.real, side, end), cut(reference.real, side, end)
