"""Write small files in the vendor's container, as its readers describe it."""

import json
import struct

import numpy as np

TYPES = {
    "u1": "UINT8",
    "i1": "INT8",
    "i2": "INT16",
    "i4": "INT32",
    "i8": "INT64",
    "f2": "FLOAT16",
    "f4": "FLOAT32",
}


def fmt(kind="u1", scale=None, zero_point=0, fl=None):
    """Return the record of a number format."""
    record = {"vx_type": f"VSI_NN_TYPE_{TYPES[kind]}"}
    if scale is not None:
        how = {"qnt_type": "VSI_NN_QNT_TYPE_AFFINE_ASYMMETRIC"}
        return record | how | {"scale": scale, "zero_point": zero_point}
    if fl is not None:
        return record | {"qnt_type": "VSI_NN_QNT_TYPE_DFP", "fl": fl}
    return record | {"qnt_type": "VSI_NN_QNT_TYPE_NONE"}


class File:
    """A network that grows layer by layer; sizes are given in numpy's order."""

    def __init__(self, **config):
        self.config = {"name": "net", "version": "1.7.1", "target_platform": ["RK1808"], **config}
        self.data = b""
        self.nodes, self.norm, self.const, self.virtual = [], [], [], []
        self.links, self.ends, self.inner = [], [], {}

    def _norm(self, side, shape, form, url):
        number = len(self.norm)
        record = {"tensor_id": number, "size": list(shape[::-1]), "dim_num": len(shape)}
        self.norm.append(record | {"dtype": form} | ({"url": url} if url else {}))
        place = sum(end["left"] == side for end in self.ends)
        self.ends.append(
            {
                "left": side,
                "left_tensor_id": place,
                "right": "norm_tensor",
                "right_tensor_id": number,
            }
        )
        return {"type": "norm_tensor", "tensor_id": number}

    def input(self, shape, form, url=""):
        """Add an input."""
        return {"right_tensor": self._norm("input", shape, form, url)}

    def constant(self, value, form):
        """Add a constant."""
        value = np.ascontiguousarray(value)
        number, raw = len(self.const), value.tobytes()
        self.const.append(
            {
                "tensor_id": number,
                "size": list(value.shape[::-1]),
                "dim_num": value.ndim,
                "dtype": form,
                "offset": len(self.data),
                "len": len(raw),
            }
        )
        self.data += raw
        return {"right_tensor": {"type": "const_tensor", "tensor_id": number}}

    def layer(self, op, lid, uid, inputs, *formats, nn=None, vx=None):
        """Add a layer; returns its outputs. None leaves an input out."""
        number = len(self.nodes)
        node = {"lid": f"{lid}_{uid}", "name": lid, "op": f"VSI_NN_OP_{op}", "uid": uid}
        self.nodes.append(node | ({"nn": nn} if nn else {}) | ({"vx": vx} if vx else {}))
        for port, source in enumerate(inputs):
            if source is not None:
                self.links.append(
                    {"node_id": number, "left": "input", "left_tensor_id": port, **source}
                )
        for port, form in enumerate(formats):
            self.virtual.append({"node_id": number, "output_port": port, "dtype": form})
        return [{"right_node": {"node_id": number, "tensor_id": p}} for p in range(len(formats))]

    def output(self, source, shape, form, url=""):
        """Make a layer's result an output."""
        place = source["right_node"]
        self.virtual = [
            v
            for v in self.virtual
            if (v["node_id"], v["output_port"]) != (place["node_id"], place["tensor_id"])
        ]
        self.links.append(
            {
                "node_id": place["node_id"],
                "left": "output",
                "left_tensor_id": place["tensor_id"],
                "right_tensor": self._norm("output", shape, form, url),
            }
        )

    def bytes(self, version=1):
        """Return the file."""
        text = json.dumps(
            self.config
            | {
                "nodes": self.nodes,
                "norm_tensor": self.norm,
                "const_tensor": self.const,
                "virtual_tensor": self.virtual,
                "connection": self.links,
                "graph": self.ends,
            }
        ).encode()
        extra = bytes(40) if version >= 2 and self.data else b""
        head = b"RKNN" + bytes(4) + struct.pack("<QQ", version, len(self.data))
        return head + extra + self.data + struct.pack("<Q", len(text)) + text

    def save(self, path, version=1):
        """Write the file."""
        path.write_bytes(self.bytes(version))
        return path
