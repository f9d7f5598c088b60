"""Attributes of the operators: one frozen record per kind of operator.

Spatial pairs are (height, width); ``pad`` is (top, bottom, left, right). Axes are non-negative and
count in the tensor's own axis order. Shape rules are in ``npusim.ops``.
"""

from dataclasses import dataclass
from enum import Enum


class Activation(Enum):
    """A function fused behind an operator."""

    NONE = "none"
    RELU = "relu"
    RELU6 = (
        "relu6"  # only where saturation of the output type is the clamp (passes.fuse_activation)
    )


class PoolKind(Enum):
    """What a pooling window computes."""

    MAX = "max"
    AVG = "avg"


class ResizeMode(Enum):
    """Interpolation of a resize."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"


class Coordinates(Enum):
    """How output positions map to input positions (the chip's driver knows these three)."""

    ASYMMETRIC = "asymmetric"
    HALF_PIXEL = "half_pixel"
    ALIGN_CORNERS = "align_corners"


class PadMode(Enum):
    """What a pad operator fills with."""

    CONSTANT = "constant"
    EDGE = "edge"
    REFLECT = "reflect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attrs:
    """Base of all attribute records; also the record of operators without attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2dAttrs(Attrs):
    """ifm (N,C,H,W), weights (O,C/group,kh,kw), bias (O) -> ofm (N,O,OH,OW)."""

    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    group: int = 1
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Deconv2dAttrs(Attrs):
    """Transposed convolution; weights (O,C/group,kh,kw), no kernel flip (scatter form)."""

    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    output_pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    group: int = 1
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class FcAttrs(Attrs):
    """ifm (.., K), weights (O, K), bias (O) -> ofm (.., O)."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulAttrs(Attrs):
    """Product of two activations, numpy broadcasting over leading axes."""

    transpose_a: bool = False
    transpose_b: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool2dAttrs(Attrs):
    """Window over (H, W). ``count_include_pad`` and ``ceil_mode`` as in ONNX."""

    kind: PoolKind
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    ceil_mode: bool = False
    count_include_pad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalPoolAttrs(Attrs):
    """Pooling over all of (H, W), result (N, C, 1, 1)."""

    kind: PoolKind


@dataclass(frozen=True, slots=True, kw_only=True)
class EltwiseAttrs(Attrs):
    """Binary operators with numpy broadcasting."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaAttrs(Attrs):
    """leaky_relu, elu: slope or scale of the negative side."""

    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSigmoidAttrs(Attrs):
    """clip(alpha * x + beta, 0, 1)."""

    alpha: float = 0.2
    beta: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipAttrs(Attrs):
    """Limits, possibly infinite."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReshapeAttrs(Attrs):
    """Target shape, fully known."""

    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposeAttrs(Attrs):
    """Output axis i is input axis perm[i]."""

    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisAttrs(Attrs):
    """concat, softmax, log_softmax, gather, l2norm: the axis."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAttrs(Attrs):
    """Cut along ``axis`` into parts of the given sizes."""

    axis: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceAttrs(Attrs):
    """begin, end, step per axis, as numpy slices with begin/end already clamped.

    For a negative step ``end`` is -1 to mean "through index 0".
    """

    begin: tuple[int, ...]
    end: tuple[int, ...]
    step: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PadAttrs(Attrs):
    """Elements added before and after each axis."""

    front: tuple[int, ...]
    back: tuple[int, ...]
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockAttrs(Attrs):
    """depth2space (mode "dcr" or "crd") and space2depth."""

    block: int
    mode: str = "dcr"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAttrs(Attrs):
    """channel_shuffle: (group, C/group) transposed."""

    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TileAttrs(Attrs):
    """Repeats per axis (tile); for expand the same is derived from the target shape."""

    repeats: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeAttrs(Attrs):
    """Spatial resize of (H, W) to ``size``."""

    size: tuple[int, int]
    mode: ResizeMode
    coordinates: Coordinates = Coordinates.ASYMMETRIC


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceAttrs(Attrs):
    """reduce_mean, reduce_sum, reduce_max, reduce_min, reduce_prod."""

    axes: tuple[int, ...]
    keepdims: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgAttrs(Attrs):
    """argmax, argmin; first extreme wins."""

    axis: int
    keepdims: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NormAttrs(Attrs):
    """batch_norm, instance_norm (axis unused) and layer_norm (over axis and all after it)."""

    epsilon: float = 1e-5
    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LrnAttrs(Attrs):
    """x / (bias + alpha / size * sum of squares over ``size`` channels) ** beta, as in ONNX."""

    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0


NO_ATTRS = Attrs()
