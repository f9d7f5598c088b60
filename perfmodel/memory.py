"""Memory an inference needs: weights as stored, and activations in planned buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from npusim.ir.graph import Engine
from npusim.perfmodel.context import Context, hidden
from npusim.perfmodel.lowering import LoweredLayer
from npusim.perfmodel.network import VIEW_OPS, Network, images_of
from npusim.perfmodel.workload import NnWork, TpWork

ALIGNMENT_BYTES = 64  # a DDR burst; buffers start on one


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A place in the activation memory.

    Attributes
    ----------
    name : str
        Tensor that owns the buffer, or ``<layer>:scratch`` for what passes between two operations
        of one layer.
    size_bytes, offset_bytes : int
    first, last : int
        Layers (positions in execution order) from which to which the buffer is occupied.
    """

    name: str
    size_bytes: int
    offset_bytes: int
    first: int
    last: int

    def to_dict(self) -> dict[str, int | str]:
        """Return plain values."""
        return {
            "name": self.name,
            "size_bytes": self.size_bytes,
            "offset_bytes": self.offset_bytes,
            "first": self.first,
            "last": self.last,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes of an inference, the whole batch included.

    Attributes
    ----------
    weight_bytes : int
        All constants of the model, uncompressed.
    stored_weight_bytes : int
        Constants as the NPU reads them: the compressed coefficient streams of the NN cores, and
        the constants of all other layers as they are.
    activation_bytes : int
        Every activation in a buffer of its own.
    activation_live_bytes : int
        Most bytes alive at one time: no plan can need less.
    activation_peak_bytes : int
        End of the highest planned buffer.
    peak_layer : str
        Layer during which most bytes are alive.
    input_bytes, output_bytes : int
        Buffers the host reads and writes.
    buffers : tuple of Buffer
        The plan, in order of first use.
    """

    weight_bytes: int
    stored_weight_bytes: int
    activation_bytes: int
    activation_live_bytes: int
    activation_peak_bytes: int
    peak_layer: str
    input_bytes: int
    output_bytes: int
    buffers: tuple[Buffer, ...] = ()

    @property
    def npu_bytes(self) -> int:
        """Return what the NPU's side of a run needs: stored weights and planned activations."""
        return self.stored_weight_bytes + self.activation_peak_bytes

    def to_dict(self, *, buffers: bool = False) -> dict[str, Any]:
        """Return plain values, with the plan when ``buffers`` is set."""
        found: dict[str, Any] = {
            "weight_bytes": self.weight_bytes,
            "stored_weight_bytes": self.stored_weight_bytes,
            "activation_bytes": self.activation_bytes,
            "activation_live_bytes": self.activation_live_bytes,
            "activation_peak_bytes": self.activation_peak_bytes,
            "peak_layer": self.peak_layer,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "npu_bytes": self.npu_bytes,
        }
        if buffers:
            found["buffers"] = [buffer.to_dict() for buffer in self.buffers]
        return found


def memory_use(
    network: Network, lowered: Sequence[LoweredLayer], coefficient_bytes: int
) -> MemoryUse:
    """Return the memory of one run; every tensor counts with its batch.

    Parameters
    ----------
    network : Network
    lowered : sequence of LoweredLayer
        The network's layers in execution order.
    coefficient_bytes : int
        Compressed coefficient streams of all NN operations.
    """
    size = {name: network.tensor_bytes(name) * network.batch for name in network.shapes}
    wanted = _live_ranges(network, lowered, size)
    buffers = _place(wanted, max(1, len(lowered)))
    alive = [0] * max(1, len(lowered))
    for _, bytes_, first, last in wanted:
        for position in range(first, last + 1):
            alive[position] += bytes_
    peak = max(range(len(alive)), key=alive.__getitem__)
    others = sum(
        low.layer.constant_bytes
        for low in lowered
        if not any(work.engine is Engine.NN for work in low.works)
    )
    return MemoryUse(
        weight_bytes=sum(layer.constant_bytes for layer in network.layers),
        stored_weight_bytes=coefficient_bytes + others,
        activation_bytes=sum(bytes_ for _, bytes_, _, _ in wanted),
        activation_live_bytes=alive[peak],
        activation_peak_bytes=max((b.offset_bytes + b.size_bytes for b in buffers), default=0),
        peak_layer=lowered[peak].layer.name if lowered else "",
        input_bytes=sum(size[n] for n in network.inputs),
        output_bytes=sum(size[n] for n in network.outputs),
        buffers=tuple(sorted(buffers, key=lambda b: (b.first, b.offset_bytes))),
    )


_Wanted = tuple[str, int, int, int]  # name, bytes, first and last position


def _live_ranges(
    network: Network, lowered: Sequence[LoweredLayer], size: dict[str, int]
) -> list[_Wanted]:
    """Return what has to be placed; a convolution's result before its fused pool never exists."""
    root = _buffers(network)
    first: dict[str, int] = {root[name]: 0 for name in network.inputs}
    last: dict[str, int] = dict(first)
    scratch: list[_Wanted] = []
    for position, low in enumerate(lowered):
        outputs = low.fused[-1].outputs if low.fused else low.layer.outputs
        for name in (*low.layer.inputs, *outputs):
            buffer = root[name]
            first.setdefault(buffer, position)
            last[buffer] = position
        if between := _between_bytes(low) * network.batch:
            images = images_of(network.shapes[low.layer.outputs[0]])
            scratch.append((f"{low.layer.name}:scratch", between * images, position, position))
    for name in network.outputs:
        last[root[name]] = max(0, len(lowered) - 1)
    return [(name, size[name], first[name], last[name]) for name in first if size[name]] + scratch


def _between_bytes(lowered: LoweredLayer) -> int:
    """Return what one operation of a layer leaves for the next, per image.

    Operations that follow one another on different engines form a chain (reshuffle and
    convolution, convolution and reordering); copies on one engine each write a part of the output.
    """
    total = 0
    for work, after in zip(lowered.works, lowered.works[1:], strict=False):
        if work.engine is after.engine:
            continue
        if isinstance(work, NnWork):
            total += work.final_w * work.final_h * work.out_c * work.dtype.itemsize
        elif isinstance(work, TpWork):
            total += work.out_bytes
    return total


def _place(wanted: Sequence[_Wanted], positions: int) -> list[Buffer]:
    """Place the largest buffers first, each in the lowest gap that is free while it lives.

    Source: the greedy-by-size rule for shared activation memory of published inference engines.
    """
    alive: list[list[Buffer]] = [[] for _ in range(positions)]
    placed = []
    for name, bytes_, first, last in sorted(wanted, key=lambda w: (-w[1], w[2], w[0])):
        rivals = {id(b): b for spot in range(first, last + 1) for b in alive[spot]}
        offset = 0
        for rival in sorted(rivals.values(), key=lambda b: b.offset_bytes):
            if rival.offset_bytes >= offset + bytes_:
                break
            end = rival.offset_bytes + rival.size_bytes
            offset = max(offset, -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
        buffer = Buffer(name=name, size_bytes=bytes_, offset_bytes=offset, first=first, last=last)
        placed.append(buffer)
        for spot in range(first, last + 1):
            alive[spot].append(buffer)
    return placed


def _buffers(network: Network) -> dict[str, str]:
    """Return tensor -> tensor that owns its memory: views and parts written in place have none."""
    context = Context(network, network.producers(), network.consumers())
    root = {name: name for name in network.shapes}
    for layer in network.layers:
        if layer.op in VIEW_OPS and len(layer.inputs) == 1:
            root[layer.outputs[0]] = layer.inputs[0]
    for layer in reversed(network.layers):
        if layer.op != "concat" or not layer.in_place:
            continue
        for name in layer.inputs:
            if hidden(context, name) and root[name] == name:
                root[name] = layer.outputs[0]
    return {name: _follow(root, name) for name in root}


def _follow(root: dict[str, str], name: str) -> str:
    while root[name] != name:
        name = root[name]
    return name
