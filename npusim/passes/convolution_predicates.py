"""Engine rules of convolutions: kernels, strides, dilations and pads that the NN engine takes.

Source: measured, docs/arithmetic/placement.md section 2.
"""

from npusim.ir.attrs import Conv2dAttrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Node
from npusim.ir.quant import AffinePerChannel
from npusim.ir.tensor import Shape, TensorSpec
from npusim.passes.engine_predicates import LARGEST_NN_KERNEL
from npusim.passes.graph_view import GraphView

FURTHEST_PAD = 7  # rows above or columns to the left that the NN engine adds by itself
FURTHEST_PAD_OF_PHASES = 8  # the same of a depthwise convolution that is cut into phases
FEWEST_PADS_OF_PROGRAM = 16  # in front of one that is a single shader program


def per_channel_weights(node: Node, view: GraphView) -> bool:
    """Match weights with one scale per channel."""
    return isinstance(view.ifm(node, 1).quant, AffinePerChannel)


def is_depthwise(attrs: Conv2dAttrs, ifm: Shape) -> bool:
    """Tell whether every group of a convolution reads one channel of several."""
    return 1 < attrs.group == ifm[1]


def large_kernel(node: Node, view: GraphView) -> bool:
    """Match kernels of 12 rows or columns and more; in a stride that is not depthwise, its phases'.

    A phase of a stride has every n-th row and column of the kernel: 22x22 of stride 2 is 11x11.
    """
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    kernel = view.ifm(node, 1).shape[2:]
    if max(attrs.stride) == 1 or is_depthwise(attrs, view.ifm(node).shape):
        return max(kernel) > LARGEST_NN_KERNEL
    spans = zip(reach(attrs, kernel), attrs.stride, strict=True)
    return max(-(-span // stride) for span, stride in spans) > LARGEST_NN_KERNEL


def wide_dilated_kernel(node: Node, view: GraphView) -> bool:
    """Match a dilated kernel that spans 12 pixels or more and that the driver leaves to the shader.

    Depthwise: i8 and i16, and every type with several results per channel, with a stride, with more
    than 8 pads in front, or with a kernel that is neither square nor one column. Otherwise: such
    kernels without a stride. (The rest is cut into convolutions without dilation.)
    """
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    ifm, (rows, columns) = view.ifm(node), view.ifm(node, 1).shape[2:]
    if not spans_too_far(attrs, (rows, columns)):
        return False
    oblong = columns not in (rows, 1)
    if is_depthwise(attrs, ifm.shape):
        several = view.ofm(node).shape[1] > attrs.group
        strided, far = max(attrs.stride) > 1, front_pad(attrs) > FURTHEST_PAD_OF_PHASES
        return several or strided or far or oblong or ifm.dtype in (DType.I8, DType.I16)
    return oblong and max(attrs.stride) == 1


def far_padded_depthwise(node: Node, view: GraphView) -> bool:
    """Match depthwise kernels without a stride and with more than 7 rows or columns in front."""
    attrs = node.attrs
    assert isinstance(attrs, Conv2dAttrs)  # by the operator's definition
    return (
        is_depthwise(attrs, view.ifm(node).shape)
        and is_padded_apart(attrs)
        and not spans_too_far(attrs, view.ifm(node, 1).shape[2:])
    )


def front_pad(attrs: Conv2dAttrs) -> int:
    """Return the larger of the pads above and to the left."""
    return max(attrs.pad[0], attrs.pad[2])


def is_padded_apart(attrs: Conv2dAttrs) -> bool:
    """Tell whether TP pads the map: without a stride, with more than the engine adds in front."""
    return max(attrs.stride) == 1 and front_pad(attrs) > FURTHEST_PAD


def reach(attrs: Conv2dAttrs, kernel: tuple[int, ...]) -> list[int]:
    """Return the rows and columns between which a kernel's taps lie."""
    return [(n - 1) * step + 1 for n, step in zip(kernel, attrs.dilation, strict=True)]


def spans_too_far(attrs: Conv2dAttrs, kernel: tuple[int, ...]) -> bool:
    """Tell whether a kernel covers more than 11 rows or columns because of its dilation."""
    return max(kernel) <= LARGEST_NN_KERNEL < max(reach(attrs, kernel))


def is_cut_into_phases(attrs: Conv2dAttrs, kernel: tuple[int, ...]) -> bool:
    """Tell whether the phases of a dilation are convolutions of their own: without a stride."""
    return max(attrs.stride) == 1 and spans_too_far(attrs, kernel)


def loses_values(attrs: Conv2dAttrs, ifm: TensorSpec, kernel: tuple[int, ...], out_c: int) -> bool:
    """Tell whether a depthwise convolution is one of those that the driver gets wrong.

    u8 and float16, one result per channel, cut into phases on NN or into patches on the shader;
    with 16 pads in front and more, a program that is right.
    """
    return (
        is_depthwise(attrs, ifm.shape)
        and is_cut_into_phases(attrs, kernel)
        and out_c == attrs.group
        and ifm.dtype in (DType.U8, DType.F16)
        and front_pad(attrs) < FEWEST_PADS_OF_PROGRAM
    )
