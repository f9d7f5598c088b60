"""Pools, moves, activations and shader programs as engine operations.

Source: the driver's operation lists (measured) where nothing else is said.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

from npusim.ir.attrs import Pool2dAttrs, SliceAttrs
from npusim.perfmodel.network import Layer, Network, attrs_of
from npusim.perfmodel.workload import ShaderWork, TpWork, Work

STRIDED_SLICE = "TENSOR_STRIDED_SLICE"
LEAKY_OPS = ("leaky_relu", "prelu")


def nothing(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan no operation: views, and what the layer before does while it stores."""
    return []


def one_pass(operation: str) -> Callable[[Layer, Network], Sequence[Work]]:
    """Return the plan of one pass over the input."""

    def plan(layer: Layer, network: Network) -> Sequence[Work]:
        _, channels, height, width = network.maps(layer.inputs[0])
        return [
            TpWork(
                operation=operation,
                in_bytes=network.image_bytes(layer.inputs[0]),
                out_bytes=network.image_bytes(layer.outputs[0]),
                channels=channels,
                pixels=height * width,
                leaky=layer.op in LEAKY_OPS,
            )
        ]

    return plan


def _copy(operation: str, name: str, network: Network) -> TpWork:
    _, channels, height, width = network.maps(name)
    size = network.image_bytes(name)
    return TpWork(
        operation=operation,
        in_bytes=size,
        out_bytes=size,
        channels=channels,
        pixels=height * width,
    )


def copies(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one copy per output; a slice with steps reads all of its input."""
    if isinstance(layer.attrs, SliceAttrs) and set(layer.attrs.step) != {1}:
        return one_pass(STRIDED_SLICE)(layer, network)
    return [_copy("TENSOR_COPY", name, network) for name in layer.outputs]


def pooling(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one pass up to 3x3; larger windows are a chain of 2x2 passes, the last ones halving.

    Source: measured on nine windows, all passes of each as predicted.
    """
    attrs = attrs_of(layer, Pool2dAttrs)
    _, channels, height, width = network.maps(layer.inputs[0])
    _, _, out_h, out_w = network.maps(layer.outputs[0])
    sizes = [(height, width)]
    if attrs.kernel[0] > 3:
        grown = (height + sum(attrs.pad[:2]), width + sum(attrs.pad[2:]))
        singles = attrs.kernel[0] - attrs.stride[0]
        sizes += [(grown[0] - n, grown[1] - n) for n in range(1, singles + 1)]
        halvings = attrs.stride[0].bit_length() - 1
        sizes += [(out_h << n, out_w << n) for n in reversed(range(halvings))]
        sizes[-1] = (out_h, out_w)
    else:
        sizes.append((out_h, out_w))
    itemsize = network.dtypes[layer.inputs[0]].itemsize
    return [
        TpWork(
            operation="POOLING",
            in_bytes=before[0] * before[1] * channels * itemsize,
            out_bytes=after[0] * after[1] * channels * itemsize,
            channels=channels,
            pixels=before[0] * before[1],
        )
        for before, after in pairwise(sizes)
    ]


def subsampling(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan two copies, of every n-th row and of every n-th pixel of these."""
    return [_copy("TENSOR_COPY", layer.outputs[0], network) for _ in range(2)]


def concatenation(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one copy per input."""
    return [_copy("CONCAT_INDEFINITE", name, network) for name in layer.inputs]


def in_place(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan copies of the parts that lie elsewhere."""
    return [_copy("TENSOR_COPY", name, network) for name in network.copied_parts(layer)]


def program(layer: Layer, network: Network) -> Sequence[Work]:
    """Plan one shader operation over all inputs and outputs."""
    taps = 0
    out_values = sum(prod(network.maps(name)[1:]) for name in layer.outputs)
    if isinstance(layer.attrs, Pool2dAttrs):
        taps = out_values * prod(layer.attrs.kernel)
    return [
        ShaderWork(
            operation=layer.op.upper(),
            in_bytes=network.image_bytes(layer.inputs[0]),
            out_bytes=network.image_bytes(*layer.outputs),
            in_values=sum(prod(network.maps(name)[1:]) for name in layer.inputs),
            out_values=out_values,
            taps=taps,
            macs=layer.macs,
        )
    ]
