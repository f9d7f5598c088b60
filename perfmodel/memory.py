"""Memory an inference needs: weights, and activations by their live ranges."""

from dataclasses import dataclass, fields

from npusim.perfmodel.network import VIEW_OPS, Network


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """Bytes of an inference.

    Attributes
    ----------
    weight_bytes : int
        All constants of the model, uncompressed.
    activation_bytes : int
        Every activation, each with its own buffer.
    activation_peak_bytes : int
        Most bytes alive at one time; views and concatenated parts share their buffer.
    peak_layer : str
        Layer during which the peak occurs.
    input_bytes, output_bytes : int
        Buffers the host reads and writes.
    """

    weight_bytes: int
    activation_bytes: int
    activation_peak_bytes: int
    peak_layer: str
    input_bytes: int
    output_bytes: int

    def to_dict(self) -> dict[str, int | str]:
        """Return plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def memory_use(network: Network) -> MemoryUse:
    """Return the memory of one run; every tensor counts with its batch."""
    size = {name: network.tensor_bytes(name) * network.batch for name in network.shapes}
    root = _buffers(network)
    last: dict[str, int] = {}
    for position, layer in enumerate(network.layers):
        for name in (*layer.inputs, *layer.outputs):
            last[root[name]] = position
    end = len(network.layers)
    for name in network.outputs:
        last[root[name]] = end
    live: dict[str, int] = {root[n]: size[root[n]] for n in network.inputs}
    now = peak = sum(live.values())
    where = ""
    ending: dict[int, list[str]] = {}
    for name, position in last.items():
        ending.setdefault(position, []).append(name)
    for position, layer in enumerate(network.layers):
        for name in layer.outputs:
            buffer = root[name]
            if buffer not in live:
                live[buffer] = size[buffer]
                now += size[buffer]
        if now > peak:
            peak, where = now, layer.name
        for buffer in ending.get(position, ()):
            now -= live.get(buffer, 0)
            live[buffer] = 0
    return MemoryUse(
        weight_bytes=sum(layer.constant_bytes for layer in network.layers),
        activation_bytes=sum(size.values()),
        activation_peak_bytes=peak,
        peak_layer=where,
        input_bytes=sum(size[n] for n in network.inputs),
        output_bytes=sum(size[n] for n in network.outputs),
    )


def _buffers(network: Network) -> dict[str, str]:
    """Return tensor -> tensor that owns its memory: views and concatenated parts have none."""
    root = {name: name for name in network.shapes}
    for layer in network.layers:
        if layer.op in VIEW_OPS and len(layer.inputs) == 1:
            root[layer.outputs[0]] = root[layer.inputs[0]]
    written = {name for layer in network.layers for name in layer.outputs}
    for layer in reversed(network.layers):
        if layer.op == "concat":
            for name in layer.inputs:
                if name in written and root[name] == name:
                    root[name] = root[layer.outputs[0]]
    return {name: _follow(root, name) for name in root}


def _follow(root: dict[str, str], name: str) -> str:
    while root[name] != name:
        name = root[name]
    return name
