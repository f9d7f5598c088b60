"""A stored model described with the vendor's JSON keys, for ``fetch_rknn_model_config``."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from npusim import __version__
from npusim.importers.stored import load_with_meta
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.ir.vendor_file import is_vendor_file, read_vendor_file

_VX_TYPES = {
    DType.U8: "UINT8",
    DType.I8: "INT8",
    DType.I16: "INT16",
    DType.I32: "INT32",
    DType.I64: "INT64",
    DType.F16: "FLOAT16",
    DType.F32: "FLOAT32",
    DType.BOOL: "BOOL8",
}


def stored_targets(path: str | Path) -> tuple[str, ...]:
    """Return the target platforms in a model file of npusim or the vendor."""
    if _is_vendors(path):
        return read_vendor_file(path).targets
    return _targets(*load_with_meta(path))


def stored_config(path: str | Path) -> OrderedDict[str, Any]:
    """Return the JSON of a vendor file, or the same keys for an npusim file.

    Keys without a counterpart in npusim are left out.
    """
    if _is_vendors(path):
        return OrderedDict(read_vendor_file(path).config)
    graph, meta = load_with_meta(path)
    return _config(graph, _targets(graph, meta))


def _targets(graph: Graph, meta: dict[str, Any]) -> tuple[str, ...]:
    return tuple(meta.get("target_platform") or (graph.target,))


def _is_vendors(path: str | Path) -> bool:
    try:
        with open(path, "rb") as file:
            return is_vendor_file(file.read(8))
    except OSError:
        return False  # load_with_meta says what is wrong


def _config(graph: Graph, targets: tuple[str, ...]) -> OrderedDict[str, Any]:
    how = [graph.preprocess.get(name) for name in graph.inputs]
    ends = [*graph.inputs, *graph.outputs]

    return OrderedDict(
        target_platform=[name.upper() for name in targets],
        network_platform=graph.source.framework.upper(),
        input_fmt=0,
        output_fmt=0,
        name=graph.name,
        version=f"npusim {__version__}",
        node_num=len(graph.nodes),
        norm_tensor_num=len(ends),
        const_tensor_num=len(graph.constants),
        virtual_tensor_num=len(graph.tensors) - len(graph.constants) - len(set(ends)),
        mean_value=[list(p.mean) if p else [] for p in how],
        std_value=[list(p.std) if p else [] for p in how],
        reorder=[list(p.reorder) if p else [] for p in how],
        input_num=len(graph.inputs),
        output_num=len(graph.outputs),
        pre_compile=0,
        nodes=[
            {
                "lid": node.layer_id,
                "name": node.name,
                "op": node.op,
                "uid": node.uid,
                "input_num": len(node.inputs),
                "output_num": len(node.outputs),
            }
            for node in graph.nodes
        ],
        norm_tensor=[_tensor(graph, i, name) for i, name in enumerate(ends)],
        graph=[
            {
                "left": "input" if i < len(graph.inputs) else "output",
                "left_tensor_id": i if i < len(graph.inputs) else i - len(graph.inputs),
                "right": "norm_tensor",
                "right_tensor_id": i,
            }
            for i in range(len(ends))
        ],
    )


def _tensor(graph: Graph, number: int, name: str) -> dict[str, Any]:
    spec = graph.spec(name)
    dtype: dict[str, Any] = {"vx_type": _VX_TYPES[spec.dtype], "qnt_type": "NONE"}
    match spec.quant:
        case Affine(scale=scale, zero_point=zero_point):
            dtype |= {"qnt_type": "AFFINE_ASYMMETRIC", "scale": scale, "zero_point": zero_point}
        case DynamicFixedPoint(fl=fl):
            dtype |= {"qnt_type": "DFP", "fl": fl}
    return {
        "tensor_id": number,
        "size": list(reversed(spec.shape)),
        "dim_num": len(spec.shape),
        "dtype": dtype,
        "url": name,
    }
