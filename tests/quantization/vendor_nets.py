"""Layers and parameters of real toolkit files, as networks without values.

``vendor_nets.json`` holds what was derived from the files: of every layer its operator, its inputs
and the parameters of its outputs. ``rows_of_file`` derives the same again from a file.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npusim.ir.attrs import NO_ATTRS, AxisAttrs, Pool2dAttrs, PoolKind, ResizeAttrs, ResizeMode
from npusim.ir.graph import Graph, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import TensorSpec
from npusim.ir.vendor_file import read_vendor_file

ROWS = Path(__file__).with_name("vendor_nets.json")
FILES = Path(__file__).resolve().parents[3] / "shared" / "vendor_files"
OPS = {
    "CONV2D": "conv2d",
    "CONV_RELU": "conv2d",
    "DECONVOLUTION": "deconv2d",
    "FCL": "fc",
    "PERMUTE": "transpose",
    "POOL": "pool2d",
    "SHUFFLECHANNEL": "channel_shuffle",
    "LSTM": "tanh",  # not in npusim: any layer with a range of its own
}
WEIGHTED = ("conv2d", "deconv2d", "fc")


def rows_of_file(path):
    """Return (layer, operator, inputs, parameters of the outputs) of every layer of a file.

    Parameters are [scale, zero point], [fl] or [] for float16; constant inputs are left out.
    """
    config = read_vendor_file(path).config
    norm = {tensor["tensor_id"]: tensor["dtype"] for tensor in config["norm_tensor"]}
    names = [node["lid"] for node in config["nodes"]]
    dtypes = {(t["node_id"], t["output_port"]): t["dtype"] for t in config["virtual_tensor"]}
    inputs = [{} for _ in names]
    for link in config["connection"]:
        node, port = link["node_id"], link["left_tensor_id"]
        tensor = link.get("right_tensor", {})
        if link["left"] == "output":
            dtypes[node, port] = norm[tensor["tensor_id"]]
        elif "right_node" in link:
            source = link["right_node"]
            inputs[node][port] = _tensor(names[source["node_id"]], source["tensor_id"])
        elif tensor["type"] == "norm_tensor":
            inputs[node][port] = "input"
    graph_inputs = [norm[e["right_tensor_id"]] for e in config["graph"] if e["left"] == "input"]
    rows = [["input", "INPUT", [], [_parameters(dtype) for dtype in graph_inputs]]]
    for number, node in enumerate(config["nodes"]):
        op = node["op"].removeprefix("VSI_NN_OP_")
        if op == "POOL" and "MAX" in node["nn"]["pool"]["type"]:
            op = "POOL_MAX"
        if op == "RESIZE":
            op = f"RESIZE_{node['nn']['resize']['type'].rsplit('_', 1)[-1]}"
        ports = sorted(port for owner, port in dtypes if owner == number)
        found = [_parameters(dtypes[number, port]) for port in ports]
        rows.append(
            [node["lid"], op, [inputs[number][port] for port in sorted(inputs[number])], found]
        )
    return rows


def constants_of_file(path):
    """Return layer -> its constants in order: (array of codes or values, parameters)."""
    config, data = read_vendor_file(path).config, Path(path).read_bytes()
    start = 24
    types = {"UINT8": "u1", "INT8": "i1", "INT32": "<i4", "FLOAT16": "<f2", "FLOAT32": "<f4"}
    known = {}
    for tensor in config["const_tensor"]:
        dtype = types[tensor["dtype"]["vx_type"].rsplit("_", 1)[-1]]
        begin = start + tensor["offset"]
        array = np.frombuffer(data[begin : begin + tensor["len"]], dtype)
        known[tensor["tensor_id"]] = (
            array.reshape(tensor["size"][::-1]),
            _parameters(tensor["dtype"]),
        )
    found = {}
    for link in sorted(config["connection"], key=lambda link: link["left_tensor_id"]):
        tensor = link.get("right_tensor", {})
        if tensor.get("type") == "const_tensor":
            layer = config["nodes"][link["node_id"]]["lid"]
            found.setdefault(layer, []).append(known[tensor["tensor_id"]])
    return found


def _tensor(layer, port):
    return f"{layer}:{port}" if port else layer


def _parameters(dtype):
    if "fl" in dtype:
        return [dtype["fl"]]
    return [dtype["scale"], dtype["zero_point"]] if "scale" in dtype else []


@dataclass(frozen=True)
class Net:
    """A network without values: its graph, and the file's parameters of every tensor."""

    graph: Graph
    quants: dict[str, Quant]

    def ranges(self):
        """Return the range that each tensor's parameters stand for."""
        return {name: stored_range(quant) for name, quant in self.quants.items()}


def stored_range(quant):
    """Return the real values of the lowest and highest code."""
    if isinstance(quant, Affine):
        return (-quant.zero_point * quant.scale, (255 - quant.zero_point) * quant.scale)
    reach = 127.0 * 2.0**-quant.fl
    return (-reach, reach)


def net(name):
    """Return a network of ``vendor_nets.json``."""
    return net_of(json.loads(ROWS.read_text())[name])


def net_of(rows):
    """Return the network of rows of ``rows_of_file``."""
    tensors, quants, nodes = {}, {}, []
    for number, (layer, kind, inputs, parameters) in enumerate(rows):
        outputs = [_tensor(layer, port) for port in range(len(parameters))]
        for name, numbers in zip(outputs, parameters, strict=True):
            tensors[name] = TensorSpec(name=name, shape=(1,))
            quants[name] = _quant(numbers)
        if kind in ("INPUT", "VARIABLE"):
            continue
        op, attrs = _op(kind)
        nodes.append(
            Node(
                name=layer,
                op=op,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                attrs=attrs,
                uid=number,
            )
        )
    read = {name for node in nodes for name in node.inputs}
    graph = Graph(
        name="vendor",
        nodes=tuple(nodes),
        inputs=("input",),
        outputs=tuple(name for name in tensors if name not in read),
        tensors=tensors,
    )
    return Net(graph=graph, quants={k: q for k, q in quants.items() if not isinstance(q, Float)})


def _quant(numbers):
    if len(numbers) == 2:
        return Affine(scale=numbers[0], zero_point=numbers[1])
    return DynamicFixedPoint(fl=numbers[0]) if numbers else Float()


def _op(kind):
    if kind.startswith("POOL"):
        which = PoolKind.MAX if kind == "POOL_MAX" else PoolKind.AVG
        return "pool2d", Pool2dAttrs(kernel=(2, 2), kind=which)
    if kind.startswith("RESIZE"):
        mode = ResizeMode.NEAREST if kind == "RESIZE_NEIGHBOR" else ResizeMode.BILINEAR
        return "resize", ResizeAttrs(size=(1, 1), mode=mode)
    if kind == "CONCAT":
        return "concat", AxisAttrs(axis=0)
    return OPS.get(kind, kind.lower()), NO_ATTRS
