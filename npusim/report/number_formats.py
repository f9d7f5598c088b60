"""In which number formats a lowered graph computes, and what that moves to other engines."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, Quant
from npusim.ops import op_def

PER_CHANNEL = "one weight scale per channel: a shader program instead of the NN engine"
IN_FLOAT16 = "no scale and zero point: float16"
SIGNED = "int8 with a zero point: the shader copies it to uint8 or back"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFormats:
    """What ``number_formats`` finds.

    Attributes
    ----------
    feature_maps, weights : mapping of str to int
        Number format -> how many layers store their result, or their weights, in it.
    elsewhere : mapping of str to tuple of str
        Reason -> the layers for which a model that came quantized gets another engine or type.
    """

    feature_maps: Mapping[str, int]
    weights: Mapping[str, int]
    elsewhere: Mapping[str, tuple[str, ...]]

    @property
    def scheme(self) -> str:
        """Return one line: formats with counts."""
        maps = ", ".join(f"{name} x {count}" for name, count in self.feature_maps.items())
        weights = ", ".join(f"{name} x {count}" for name, count in self.weights.items())
        return f"feature maps {maps or 'none'}; weights {weights or 'none'}"

    def text(self) -> str:
        """Return the layers that run elsewhere, one reason a line; empty when there are none."""
        return "\n".join(
            f"{len(layers)} layer{'s' if len(layers) > 1 else ''}: {reason}: {', '.join(layers)}"
            for reason, layers in self.elsewhere.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "feature_maps": dict(self.feature_maps),
            "weights": dict(self.weights),
            "elsewhere": {reason: list(layers) for reason, layers in self.elsewhere.items()},
        }


def number_formats(graph: Graph) -> NumberFormats:
    """Return the number formats of a lowered graph."""
    maps: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    elsewhere: dict[str, list[str]] = {}
    for node in graph.nodes:
        spec = graph.spec(node.outputs[0])
        maps[_name(spec.dtype, spec.quant)] += 1
        if op_def(node.op).weighted:
            stored = graph.spec(node.inputs[1])
            weights[_name(stored.dtype, stored.quant)] += 1
        reason = _reason(node, graph)
        if reason:
            elsewhere.setdefault(reason, []).append(node.name)
    return NumberFormats(
        feature_maps=dict(maps.most_common()),
        weights=dict(weights.most_common()),
        elsewhere={reason: tuple(layers) for reason, layers in elsewhere.items()},
    )


def _name(dtype: DType, quant: Quant) -> str:
    match quant:
        case Affine(zero_point=0) if dtype is DType.I8:
            kind = " symmetric"
        case Affine():
            kind = " asymmetric"
        case AffinePerChannel():
            kind = " per channel"
        case DynamicFixedPoint():
            kind = " dynamic fixed point"
        case Float():
            kind = ""
    return f"{dtype.value}{kind}"


def _reason(node: Node, graph: Graph) -> str:
    ifm, ofm = graph.spec(node.inputs[0]), graph.spec(node.outputs[0])
    if op_def(node.op).weighted and isinstance(graph.spec(node.inputs[1]).quant, AffinePerChannel):
        return PER_CHANNEL
    if node.op == "convert":
        signed = any(s.dtype is DType.I8 and isinstance(s.quant, Affine) for s in (ifm, ofm))
        return SIGNED if signed and node.engine is Engine.SHADER else ""
    return IN_FLOAT16 if ofm.dtype is DType.F16 and graph.is_quantized else ""
