"""Small MXNet networks: the symbol as text, the params as bytes."""

import json
import struct

import numpy as np

TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}


class Net:
    """A symbol that grows node by node; ``var`` and ``op`` return what other nodes read."""

    def __init__(self):
        self.nodes = []

    def var(self, name, **attrs):
        return self._add("null", name, (), attrs)

    def op(self, kind, name, *inputs, **attrs):
        return self._add(kind, name, inputs, attrs)

    def _add(self, kind, name, inputs, attrs):
        node = {"op": kind, "name": name, "inputs": [list(ref) for ref in inputs]}
        if attrs:
            node["attrs"] = {key: str(value) for key, value in attrs.items()}
        self.nodes.append(node)
        return (len(self.nodes) - 1, 0, 0)

    def text(self, *heads, key="attrs", version=10901):
        heads = heads or [(len(self.nodes) - 1, 0, 0)]
        nodes = [{key if k == "attrs" else k: v for k, v in node.items()} for node in self.nodes]
        content = {
            "nodes": nodes,
            "arg_nodes": [i for i, node in enumerate(nodes) if node["op"] == "null"],
            "heads": [list(ref) for ref in heads],
        }
        if version:
            content["attrs"] = {"mxnet_version": ["int", version]}
        return json.dumps(content)


def array(value, version=2):
    """Return one array as the file holds it, in one of the forms 0 to 3."""
    value = np.asarray(value)
    shape = value.shape
    if version == 0:
        head = struct.pack(f"<{1 + len(shape)}I", len(shape), *shape)
    elif version == 1:
        head = struct.pack(f"<II{len(shape)}q", 0xF993FAC8, len(shape), *shape)
    else:
        magic = 0xF993FAC7 + version
        head = struct.pack(f"<Iii{len(shape)}q", magic, 0, len(shape), *shape)
    kind = TYPES[value.dtype.name]
    return head + struct.pack("<iii", 1, 0, kind) + np.ascontiguousarray(value).tobytes()


def params(arrays, version=2, prefix="arg:", blobs=None):
    """Return a parameter file; ``blobs`` replaces the arrays' bytes."""
    names = list(arrays)
    blobs = [array(value, version) for value in arrays.values()] if blobs is None else blobs
    texts = [(name if ":" in name else prefix + name).encode() for name in names]
    return (
        struct.pack("<QQQ", 0x112, 0, len(blobs))
        + b"".join(blobs)
        + struct.pack("<Q", len(texts))
        + b"".join(struct.pack("<Q", len(text)) + text for text in texts)
    )
