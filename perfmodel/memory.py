"""Memory an inference needs: weights as stored, and activations in planned buffers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from npusim.ir.graph import Engine, Form
from npusim.perfmodel.lowering import LoweredLayer
from npusim.perfmodel.network import Network, images_of
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
    buffers: tuple[Buffer, ...] = field(default=(), repr=False)

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
    wanted = live_ranges(network, lowered)
    buffers = place(wanted, max(1, len(lowered)))
    alive = [0] * max(1, len(lowered))
    for buffer in wanted:
        for position in range(buffer.first, buffer.last + 1):
            alive[position] += buffer.size_bytes
    peak = max(range(len(alive)), key=alive.__getitem__)
    others = sum(
        low.layer.constant_bytes
        for low in lowered
        if not any(work.engine is Engine.NN for work in low.works)
    )
    return MemoryUse(
        weight_bytes=sum(layer.constant_bytes for layer in network.layers),
        stored_weight_bytes=coefficient_bytes + others,
        activation_bytes=sum(buffer.size_bytes for buffer in wanted),
        activation_live_bytes=alive[peak],
        activation_peak_bytes=max((b.offset_bytes + b.size_bytes for b in buffers), default=0),
        peak_layer=lowered[peak].layer.name if lowered else "",
        input_bytes=sum(network.tensor_bytes(n) for n in network.inputs) * network.batch,
        output_bytes=sum(network.tensor_bytes(n) for n in network.outputs) * network.batch,
        buffers=tuple(sorted(buffers, key=lambda b: (b.first, b.offset_bytes))),
    )


def live_ranges(network: Network, lowered: Sequence[LoweredLayer]) -> list[Buffer]:
    """Return what has to be placed, all at offset 0, the batch included.

    A convolution's result before its fused pool never exists.
    """
    owner = owners(network)
    first: dict[str, int] = {owner[name]: 0 for name in network.inputs}
    last: dict[str, int] = dict(first)
    scratch = []
    for position, low in enumerate(lowered):
        if low.layer.form is Form.FUSED:
            continue
        outputs = low.fused[-1].outputs if low.fused else low.layer.outputs
        for name in (*low.layer.inputs, *outputs):
            first.setdefault(owner[name], position)
            last[owner[name]] = position
        if between := _between_bytes(low) * images_of(network.shapes[low.layer.outputs[0]]):
            scratch.append((f"{low.layer.name}:scratch", between, position, position))
    for name in network.outputs:
        last[owner[name]] = max(0, len(lowered) - 1)
    tensors = [(name, network.tensor_bytes(name), first[name], last[name]) for name in first]
    return [
        Buffer(name=name, size_bytes=size * network.batch, offset_bytes=0, first=begin, last=end)
        for name, size, begin, end in (*tensors, *scratch)
        if size
    ]


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


def place(wanted: Sequence[Buffer], positions: int) -> list[Buffer]:
    """Place the largest buffers first, each in the lowest gap that is free while it lives.

    Source: the greedy-by-size rule for shared activation memory of published inference engines.
    """
    alive: list[list[Buffer]] = [[] for _ in range(positions)]
    placed = []
    for buffer in sorted(wanted, key=lambda b: (-b.size_bytes, b.first, b.name)):
        span = range(buffer.first, buffer.last + 1)
        offset = lowest_gap(buffer.size_bytes, (b for spot in span for b in alive[spot]))
        placed.append(replace(buffer, offset_bytes=offset))
        for spot in span:
            alive[spot].append(placed[-1])
    return placed


def lowest_gap(size_bytes: int, rivals: Iterable[Buffer]) -> int:
    """Return the lowest aligned offset at which a buffer overlaps none of the others."""
    offset = 0
    for rival in sorted({id(b): b for b in rivals}.values(), key=lambda b: b.offset_bytes):
        if rival.offset_bytes >= offset + size_bytes:
            break
        end = rival.offset_bytes + rival.size_bytes
        offset = max(offset, -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
    return offset


def owners(network: Network) -> dict[str, str]:
    """Return tensor -> tensor that owns its memory: views and parts written in place have none."""
    root = {name: name for name in network.shapes}
    for layer in network.layers:
        if layer.form is Form.VIEW and layer.inputs:
            root |= dict.fromkeys(layer.outputs, layer.inputs[0])
        elif layer.form is Form.IN_PLACE:
            own = set(layer.inputs) - set(network.copied_parts(layer))
            root |= dict.fromkeys(own, layer.outputs[0])
    return {name: _follow(root, name) for name in root}


def _follow(root: dict[str, str], name: str) -> str:
    while root[name] != name:
        name = root[name]
    return name
