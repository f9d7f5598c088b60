"""Compare a compiled network with its float source, layer by layer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.metrics import Difference, difference
from npusim.errors import InputError
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.quant import Float, scale_of
from npusim.quantization.schemes import dequantize
from npusim.runtime.program import Program

WRONG_BELOW = 0.98  # cosine; the vendor's trouble-shooting guides draw the line here
PREPROCESSING_HINT = (
    "the first layer already differs: look at preprocessing before quantization. "
    "Check reorder_channel (RGB or BGR), mean and std (0..255 scale) and the input's layout"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedLayer:
    """One row: a layer of the compiled network against the float source.

    Attributes
    ----------
    saturated_low, saturated_high : float
        Share of elements at the ends of the integer type.
    """

    layer: str
    op: str
    engine: str
    dtype: str
    origin: tuple[str, ...]
    tensor: str
    difference: Difference
    saturated_low: float
    saturated_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All compared layers in execution order, with a verdict.

    Attributes
    ----------
    unmatched : tuple of str
        Layers whose output the source does not have under the same name.
    first_wrong : str or None
        First layer with a cosine below ``threshold``.
    """

    layers: tuple[ComparedLayer, ...]
    unmatched: tuple[str, ...]
    threshold: float
    first_wrong: str | None
    hint: str

    @property
    def worst(self) -> ComparedLayer | None:
        """Return the layer with the lowest cosine."""
        return min(self.layers, key=lambda row: row.difference.cosine, default=None)

    @property
    def costliest(self) -> ComparedLayer | None:
        """Return the layer that lowers the cosine most against the layer before it."""
        best, drop, before = None, 0.0, 1.0
        for row in self.layers:
            if before - row.difference.cosine > drop:
                best, drop = row, before - row.difference.cosine
            before = row.difference.cosine
        return best

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "layers": [asdict(row) for row in self.layers],
            "unmatched": list(self.unmatched),
            "threshold": self.threshold,
            "first_wrong": self.first_wrong,
            "hint": self.hint,
        }


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
    rows: list[ComparedLayer] = []
    unmatched: list[str] = []

    def observe(node: Node, tensor: str, value: NDArray[Any]) -> None:
        reference = source.get(tensor)
        if reference is None:
            unmatched.append(node.layer_id)
            return
        rows.append(_row(program, node, tensor, value, reference))

    program.run(feeds, preprocessed=preprocessed, observe=observe)
    wrong = next((r.layer for r in rows if not r.difference.cosine >= threshold), None)
    first_is_wrong = bool(rows) and wrong == rows[0].layer
    return Comparison(
        layers=tuple(rows),
        unmatched=tuple(unmatched),
        threshold=threshold,
        first_wrong=wrong,
        hint=PREPROCESSING_HINT if first_is_wrong else "",
    )


def _row(
    program: Program, node: Node, tensor: str, value: NDArray[Any], reference: NDArray[Any]
) -> ComparedLayer:
    spec = program.graph.spec(tensor)
    if reference.shape != value.shape:
        raise InputError(
            f"the source's tensor has shape {reference.shape}, the layer gives {value.shape}",
            where=f"tensor {tensor!r} of layer {node.name!r}",
            rule="source and compiled network see the same input shapes",
        )
    quantized = not isinstance(spec.quant, Float)
    low = high = 0.0
    if quantized and spec.dtype in (DType.U8, DType.I8, DType.I16):
        low, high = float(np.mean(value == spec.dtype.min)), float(np.mean(value == spec.dtype.max))
    return ComparedLayer(
        layer=node.layer_id,
        op=node.op,
        engine=node.engine.value if node.engine else "",
        dtype=spec.dtype.value,
        origin=node.origin,
        tensor=tensor,
        difference=difference(
            dequantize(value, spec.quant),
            reference,
            step=scale_of(spec.quant) if quantized else None,
        ),
        saturated_low=low,
        saturated_high=high,
    )
