"""The end of a model that no engine runs becomes host layers (``npusim.host``)."""

from collections.abc import Sequence

from npusim.host.custom import is_registered
from npusim.host.tail import DOMAIN, HostNode
from npusim.importers.onnx import ops_conv, ops_matmul
from npusim.importers.onnx.context import Context, OnnxNode, converter_of
from npusim.importers.onnx.quantized import DYNAMIC, EXPANSIONS, QUANTIZED_OPS

CHIPS_WORK = {ops_conv.__name__, ops_matmul.__name__}
"""Converters of what the chip is bought for: a network that has such nodes behind does not end."""


POSTPROCESSING = frozenset(
    (
        "TopK",
        "NonMaxSuppression",
        "NonZero",
        "Unique",
        "GatherElements",
        "GatherND",
        "ScatterElements",
        "ScatterND",
        "CumSum",
        "OneHot",
        "Compress",
        "ArgMax",
        "ArgMin",
    )
)
"""Sorting, choosing and counting: what an application does with results, in ONNX's words."""


def reason_against(refused: Sequence[OnnxNode], behind: Sequence[OnnxNode]) -> str:
    """Return why nodes cannot run on the CPU behind the NPU part; empty when they can.

    Parameters
    ----------
    refused, behind : sequence of OnnxNode
        The unsupported nodes; they and all that depends on them.
    """
    for node in refused:
        if node.op_type not in POSTPROCESSING and not is_registered(node.op_type):
            return f"{node.where} is no sorting, choosing or counting of results"
    for node in behind:
        convert = converter_of(node.op_type)
        if convert is not None and convert.__module__ in CHIPS_WORK:
            return f"{node.where} comes behind, which belongs on the NPU"
        if node.op_type in DYNAMIC or node.op_type in QUANTIZED_OPS or node.op_type in EXPANSIONS:
            return f"{node.where} works on codes"
        if node.domain and not is_registered(node.op_type):
            return f"{node.where} is of the domain {node.domain}"
        if any(a.HasField("g") or a.graphs for a in node.attrs.values()):
            return f"{node.where} has sub-graphs"
    return ""


def _is_custom(node: OnnxNode) -> bool:
    return is_registered(node.op_type) and node.op_type not in POSTPROCESSING


def put_on_host(behind: Sequence[OnnxNode], context: Context, opset: int) -> None:
    """Add nodes to the graph's host layers, in their order."""
    builder = context.builder
    builder.host_opset = opset
    made = {name for node in behind for name in node.outputs if name}
    for node in behind:
        inputs = [n if not n or n in made else context.operand(n) for n in node.inputs]
        builder.host.append(
            HostNode(
                name=node.layer,
                op=node.op_type,
                inputs=tuple(inputs),
                outputs=node.outputs,
                attrs=node.attrs,
                domain=DOMAIN if _is_custom(node) else "",
            )
        )
    names = ", ".join(f"{node.name} ({node.op_type})" for node in behind)
    context.notes.append(f"run on the CPU in float, behind the NPU: {names}")
