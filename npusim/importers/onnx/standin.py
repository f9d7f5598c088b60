"""Stand-ins for the results of unsupported nodes: of the right shape, so that what follows is seen.

The import fails anyway; without them the forms of all later nodes would go unchecked.
"""

from onnx import helper, numpy_helper

from npusim.errors import NpusimError
from npusim.importers.onnx.context import Context, OnnxNode
from npusim.importers.onnx.inferred import inferred
from npusim.ir.dtypes import DType


def stand_in(node: OnnxNode, context: Context) -> set[str]:
    """Add tensors for a node's outputs as far as ONNX can tell their shapes; return their names."""
    types, data = {}, {}
    for name in filter(None, node.inputs):
        value = context.known(name)
        if value is None and context.resolve(name) not in context.builder.tensors:
            return set()
        dtype = value.dtype if value is not None else context.dtype(name).numpy
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        types[name] = helper.make_tensor_type_proto(kind, context.shape(name))
        if value is not None:
            data[name] = numpy_helper.from_array(value.copy())
    try:
        outputs = inferred(node, types, data)
    except Exception:
        return set()
    made = set()
    for name, kind in outputs.items():
        shape = kind.tensor_type.shape
        if not kind.tensor_type.HasField("shape"):
            continue
        sizes = [d.dim_value for d in shape.dim if d.HasField("dim_value")]
        if len(sizes) != len(shape.dim) or min(sizes, default=1) < 1:
            continue
        try:
            own = DType.of(helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))
            context.builder.add_input(name, tuple(sizes), DType.F32 if own.is_float else own)
        except (KeyError, NpusimError):
            continue
        made.add(name)
    return made
