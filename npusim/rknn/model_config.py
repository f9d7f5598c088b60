"""A stored model described with the vendor's JSON keys, for ``fetch_rknn_model_config``."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from npusim import __version__
from npusim.importers.stored import load_with_meta
from npusim.ir.graph import Graph, Preprocess
from npusim.ir.quant import Affine, DynamicFixedPoint
from npusim.ir.vendor_file import (
    ELEMENTS,
    OPERATOR,
    QUANTIZATION,
    is_vendor_file,
    read_vendor_file,
)
from npusim.ops import op_def
from npusim.reading.files import open_file

_VX_TYPES = {dtype: f"{ELEMENTS.prefix}{word}" for word, dtype in ELEMENTS.types.items()}


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
        with open_file(path) as file:
            return is_vendor_file(file.read(8))
    except OSError:
        return False  # load_with_meta says what is wrong


def _config(graph: Graph, targets: tuple[str, ...]) -> OrderedDict[str, Any]:
    how = _prepared(graph)
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
        mean_value=[number for mean, _, _ in how for number in mean],
        mean_value_chns=[len(mean) for mean, _, _ in how],
        std_value=[number for _, std, _ in how for number in std],
        reorder=[number for _, _, order in how for number in order],
        input_num=len(graph.inputs),
        output_num=len(graph.outputs),
        pre_compile=0,
        nodes=[
            {
                "lid": node.layer_id,
                "name": node.name,
                "op": f"{OPERATOR}{op_def(node.op).toolkit}",
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


def _prepared(graph: Graph) -> list[tuple[list[float], list[float], list[int]]]:
    """Return mean, std and channel order of every input, as the toolkit's files list them."""
    found = []
    for name in graph.inputs:
        how, shape = graph.preprocess.get(name) or Preprocess(), graph.spec(name).shape
        channels = shape[1] if len(shape) > 1 else 1
        mean, std = list(how.mean) or [0.0], list(how.std) or [1.0]
        mean, std = (n * channels if len(n) == 1 else n for n in (mean, std))
        found.append((mean, std, list(how.reorder) or [0, 1, 2]))
    return found


def _tensor(graph: Graph, number: int, name: str) -> dict[str, Any]:
    spec = graph.spec(name)
    kind, numbers = "NONE", dict[str, Any]()
    match spec.quant:
        case Affine(scale=scale, zero_point=zero_point):
            kind, numbers = "AFFINE_ASYMMETRIC", {"scale": scale, "zero_point": zero_point}
        case DynamicFixedPoint(fl=fl):
            kind, numbers = "DFP", {"fl": fl}
    words = {"qnt_type": f"{QUANTIZATION}{kind}", "vx_type": _VX_TYPES[spec.dtype]}
    return {
        "tensor_id": number,
        "size": list(reversed(spec.shape)),
        "dim_num": len(spec.shape),
        "dtype": numbers | words,
        "url": name,
    }
