"""Inputs that are pictures in N, H, W, C order, as tf2onnx and Keras write them.

In the graph such an input is N, C, H, W, as every picture is, with a step behind it that gives the
file's order back. It cancels with the file's own Transpose.
"""

from collections.abc import Iterable, Mapping

from onnx import NodeProto

from npusim.importers.onnx.context import Context
from npusim.ir.attrs import TransposeAttrs
from npusim.ir.tensor import Shape

TO_NCHW = [0, 3, 1, 2]
_ELEMENTWISE = (
    *("Cast", "Identity", "Add", "Sub", "Mul", "Div", "Neg", "Clip"),
    *("QuantizeLinear", "DequantizeLinear"),
)
"""What stands between an input and its Transpose in exported models: scaling to the range."""


def channels_last_pictures(nodes: Iterable[NodeProto], shapes: Mapping[str, Shape]) -> set[str]:
    """Return inputs (N, H, W, 1 or 3) of which every reader turns to N, C, H, W first."""
    readers: dict[str, list[NodeProto]] = {}
    for proto in nodes:
        for name in proto.input:
            readers.setdefault(str(name), []).append(proto)
    return {
        name
        for name, shape in shapes.items()
        if len(shape) == 4
        and shape[3] in (1, 3)
        and min(shape[1], shape[2]) > 3
        and _is_turned(name, readers)
    }


def _is_turned(start: str, readers: Mapping[str, list[NodeProto]]) -> bool:
    """Tell whether all paths from a tensor reach a Transpose to N, C, H, W, element by element."""
    pending, found = [start], False
    while pending:
        name = pending.pop()
        for proto in readers.get(name, []):
            if proto.op_type == "Transpose":
                perm = next((list(a.ints) for a in proto.attribute if a.name == "perm"), [])
                if perm != TO_NCHW:
                    return False
                found = True
            elif proto.op_type in _ELEMENTWISE:
                pending += [str(out) for out in proto.output if out]
            else:
                return False
    return found


def turn_to_file_order(name: str, context: Context) -> None:
    """Let the file's readers of an input N, C, H, W see it as N, H, W, C."""
    turned = context.unused(f"{name}/nhwc")
    attrs = TransposeAttrs(perm=(0, 2, 3, 1))
    context.builder.add_node(
        f"Transpose_{turned}", "transpose", (name,), (turned,), attrs, origin=(name,)
    )
    context.aliases[name] = turned
    context.notes.append(
        f"input {name!r} is a picture in N, H, W, C order in the file: the graph takes it as "
        "N, C, H, W, pictures and mean, std, reorder as for every other picture"
    )
