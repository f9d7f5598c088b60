"""Which rule makes the stored numbers of two quantized models differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from npusim.ir.codes import dequantize
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, AffinePerChannel, DynamicFixedPoint, Float, scale_of
from npusim.ir.tensor import TensorSpec
from npusim.ops import keeps_codes
from npusim.quantization.constrain import SIGMOID_REACH
from npusim.quantization.groups import groups

SAME_SCALE = 2e-5  # the text of the files rounds scales of some releases to six digits
# rms of the logarithm of two scales -> what makes such differences. Source: published with
# static_det.rknn, of one network and one picture; not measured again here.
SPREADS = (
    (0.0012, "resized pictures rounded to whole numbers, or not (rms 0.0008)"),
    (0.0110, "another JPEG decoder (accurate instead of fast inverse transform: rms 0.009)"),
    (0.0190, "another bilinear resize (OpenCV's: rms 0.014)"),
    (0.0300, "pictures resized with corners not aligned (rms 0.025)"),
    (0.0600, "pictures resized with a filter (Pillow's bilinear: rms 0.036)"),
    (0.2000, "pictures cut instead of stretched (centre crop: rms 0.12)"),
)


@dataclass(frozen=True)
class Model:
    """A graph and what is asked of it again and again."""

    graph: Graph

    @cached_property
    def makers(self) -> dict[str, Node]:
        """Return tensor -> the layer that writes it."""
        return self.graph.producers()

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """Return tensor -> the layers that read it."""
        return self.graph.consumers()

    @cached_property
    def joined(self) -> dict[str, str]:
        """Return tensor -> id of the concat that gave it its parameters."""
        found: dict[str, str] = {}
        for group in groups(self.graph):
            for name in group.concats:
                concat = self.graph.node(name)
                given = self.graph.spec(concat.outputs[0])
                for tensor in group.members:
                    if equal_formats(self.graph.spec(tensor), given):
                        found.setdefault(tensor, concat.layer_id)
        return found


@dataclass(frozen=True)
class Side:
    """A tensor in its model, and the layer that it is shown as."""

    model: Model
    tensor: str
    label: str

    @property
    def spec(self) -> TensorSpec:
        """Return the tensor's spec."""
        return self.model.graph.spec(self.tensor)

    @property
    def value(self) -> NDArray[np.generic] | None:
        """Return the stored numbers of a constant."""
        return self.model.graph.constants.get(self.tensor)

    @property
    def cut(self) -> bool:
        """Tell whether the range ends where the clip in front of a sigmoid is."""
        step = scale_of(self.spec.quant)
        ends = (abs(abs(end) - SIGMOID_REACH) for end in ends_of(self.spec))
        return min(ends) <= step and self._before_sigmoid()

    def _before_sigmoid(self) -> bool:
        waiting, seen = [self.tensor], set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for node in self.model.readers.get(name, ()):
                if node.op == "sigmoid":
                    return True
                if keeps_codes(node):
                    waiting += node.outputs
        return False


def equal_formats(one: TensorSpec, other: TensorSpec) -> bool:
    """Tell whether codes of both stand for the same numbers, within the digits of old files."""
    if one.dtype is not other.dtype:
        return False
    match one.quant, other.quant:
        case Affine(zero_point=first), Affine(zero_point=second):
            return first == second and _close(scale_of(one.quant), scale_of(other.quant))
        case first, second:
            return first == second


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= SAME_SCALE * max(one, other)


def reason_of(first: Side, second: Side, role: str) -> str:
    """Return why two tensors differ: a rule, a colon, and figures."""
    one, other = first.spec, second.spec
    if one.dtype is not other.dtype or type(one.quant) is not type(other.quant):
        return f"other number format: {_kind(one)} against {_kind(other)}"
    if role in ("weights", "bias", "constant"):
        return _constant_reason(first, second, role)
    if isinstance(one.quant, DynamicFixedPoint) and isinstance(other.quant, DynamicFixedPoint):
        return (
            f"fraction bits: {one.quant.fl} against {other.quant.fl}, the largest value lies on "
            "another side of a power of two"
        )
    if not (isinstance(one.quant, Affine) and isinstance(other.quant, Affine)):
        return "other parameters per channel"
    return _range_reason(first, second)


def _kind(spec: TensorSpec) -> str:
    words = {Affine: "asymmetric", DynamicFixedPoint: "fixed point", Float: ""}
    return f"{spec.dtype.value} {words.get(type(spec.quant), 'per channel')}".strip()


def ends_of(spec: TensorSpec) -> tuple[float, float]:
    """Return the real values of the lowest and the highest code of an affine tensor."""
    assert isinstance(spec.quant, Affine)
    low, high = spec.dtype.min, spec.dtype.max
    scale, zero = spec.quant.scale, spec.quant.zero_point
    return scale * (low - zero), scale * (high - zero)


def _range_reason(first: Side, second: Side) -> str:
    one, other = first.spec.quant, second.spec.quant
    assert isinstance(one, Affine)
    assert isinstance(other, Affine)
    figures = " against ".join(
        "{:.5g} .. {:.5g}".format(*ends_of(side.spec)) for side in (first, second)
    )
    if _close(one.scale, other.scale):
        return f"zero point rounded otherwise: {one.zero_point} against {other.zero_point}"
    if first.cut != second.cut:
        word = "first" if first.cut else "second"
        return f"cut to {SIGMOID_REACH} in front of a sigmoid, only in the {word}: {figures}"
    joined = [side.model.joined.get(side.tensor, "") for side in (first, second)]
    if bool(joined[0]) != bool(joined[1]):
        word = "first" if joined[0] else "second"
        return f"joined by a concat, only in the {word}: {joined[0] or joined[1]}; {figures}"
    makers = [side.model.makers.get(side.tensor) for side in (first, second)]
    if all(maker is not None and keeps_codes(maker) for maker in makers):
        return f"follows its input, which differs: {figures}"
    if (one.zero_point == first.spec.dtype.min) != (other.zero_point == second.spec.dtype.min):
        return f"one begins at 0, the other below: {figures}"
    if joined[0]:
        return f"measured otherwise in a group of a concat: {figures}"
    return f"measured otherwise: {figures}"


def _constant_reason(first: Side, second: Side, role: str) -> str:
    one, other = first.value, second.value
    if one is None or other is None or one.size != other.size:
        sizes = " against ".join(str(side.spec.shape) for side in (first, second))
        return f"other shape: {sizes}"
    quants = (first.spec.quant, second.spec.quant)
    if any(isinstance(quant, AffinePerChannel) for quant in quants):
        return "other parameters per channel"
    real = dequantize(one, quants[0]).reshape(len(one) if one.ndim else 1, -1).astype(np.float64)
    wanted = dequantize(other, quants[1]).reshape(real.shape).astype(np.float64)
    far = float(np.abs(real - wanted).max(initial=0))
    steps = [0.0 if isinstance(quant, Float) else scale_of(quant) for quant in quants]
    same = equal_formats(first.spec, second.spec)
    largest = float(np.abs(wanted).max(initial=0))
    if far <= 1.01 * max(steps) and same:
        share = float(np.mean(real != wanted))
        return f"codes rounded otherwise: by {far / max(steps):.0f} step in {share:.2%}"
    if far <= 1.02 * sum(steps) / 2 + 1e-6 * largest:
        what = "the scale of its input or weights" if role == "bias" else "the range"
        return f"same numbers, other scale: {what} differs ({steps[0]:.6g} against {steps[1]:.6g})"
    factors = _channel_factors(real, wanted, sum(steps) / 2)
    if factors is not None:
        return (
            "each channel times a factor: equalized, or a batch normalisation folded otherwise "
            f"({factors[0]:.3g} .. {factors[1]:.3g})"
        )
    return f"other numbers: they differ by up to {far:.4g}, the largest is {largest:.4g}"


def _channel_factors(
    one: NDArray[np.float64], other: NDArray[np.float64], rounding: float
) -> tuple[float, float] | None:
    """Return the smallest and largest factor when every channel is one times the other's."""
    if one.shape[1] < 2:
        return None
    squares = (one * one).sum(1)
    factors = (one * other).sum(1) / np.where(squares > 0, squares, 1)
    if np.any(factors <= 0):
        return None
    far = np.abs(factors[:, None] * one - other).max()
    fits = far <= 1.02 * rounding * (1 + float(factors.max()))
    return (float(factors.min()), float(factors.max())) if fits else None


def spread_of(scales: Sequence[tuple[float | None, float | None]]) -> str:
    """Return what differences of measured ranges look like as a whole; empty for fewer than 3."""
    pairs = [(one, other) for one, other in scales if one and other]
    if len(pairs) < 3:
        return ""
    logs = np.log([one / other for one, other in pairs])
    rms, most = float(np.sqrt(np.mean(logs**2))), float(np.abs(logs).max())
    text = f"{len(pairs)} measured ranges differ by rms {rms:.4f}, at most {most:.3f} (logarithm)"
    narrower = float(np.mean(logs < 0))
    if rms > SPREADS[3][0] and max(narrower, 1 - narrower) >= 0.9:
        which = "first" if narrower >= 0.9 else "second"
        return (
            f"{text}; the {which} has the narrower range in {max(narrower, 1 - narrower):.0%}: it "
            "was calibrated with kl_divergence or mmse, or with other or fewer pictures"
        )
    likely = next((what for limit, what in SPREADS if rms <= limit), "")
    return (
        f"{text}: as much as {likely} makes"
        if likely
        else (
            f"{text}: more than decoding and resizing make; other pictures, mean, std or algorithm"
        )
    )
