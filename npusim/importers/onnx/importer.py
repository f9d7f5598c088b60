"""ONNX file -> float Graph with concrete shapes."""

from collections.abc import Callable, Sequence
from pathlib import Path

from onnx import GraphProto

from npusim.errors import ModelImportError
from npusim.importers.common.builder import GraphBuilder
from npusim.importers.common.quantized import absorb
from npusim.importers.common.quantized_types import through_u8
from npusim.importers.onnx import (
    ops_conv,
    ops_einsum,
    ops_eltwise,
    ops_grid,
    ops_index,
    ops_matmul,
    ops_norm,
    ops_pool,
    ops_quantized,
    ops_recurrent,
    ops_reduce,
    ops_resize,
    ops_scatter,
    ops_select,
    ops_shape,
    ops_sum,
    ops_unary,
    ops_volume,
)
from npusim.importers.onnx.context import Context
from npusim.importers.onnx.cut import Cut, cut_graph, names_of, names_read
from npusim.importers.onnx.file import opsets_of, read_model, refuse_sparse
from npusim.importers.onnx.inputs import ShapesLike, input_specs
from npusim.importers.onnx.numbering import numbered
from npusim.importers.onnx.pictures import channels_last_pictures, turn_to_file_order
from npusim.importers.onnx.quantized import Triple, input_parameters
from npusim.importers.onnx.tail import put_on_host, reason_against
from npusim.importers.onnx.tensor import tensor_value
from npusim.importers.onnx.walk import Walk
from npusim.ir.attrs import NO_ATTRS
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph
from npusim.ir.quant import Affine
from npusim.plain import name_of

FAMILIES = (
    ops_conv,
    ops_einsum,
    ops_eltwise,
    ops_grid,
    ops_index,
    ops_matmul,
    ops_norm,
    ops_pool,
    ops_quantized,
    ops_recurrent,
    ops_reduce,
    ops_resize,
    ops_scatter,
    ops_select,
    ops_shape,
    ops_sum,
    ops_unary,
    ops_volume,
)
"""Importing them registers the converters."""


def load_onnx(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read an ONNX model as a float graph, or as a quantized one when the model is.

    All tensors are float32 except index tensors and, in quantized models, what the model gives
    scales for (``npusim.importers.common.quantized``). All shapes are concrete, axes are in the
    model's order. Tensor names are those of the file. Everything that depends on constants and
    shapes only is evaluated; nodes that do nothing (Identity, Dropout, casts between real types)
    vanish.

    Parameters
    ----------
    path : str or Path
    inputs : sequence of str, optional
        Tensors to begin at; they must cut every path to the outputs. Default: the model's inputs.
    input_shapes : mapping or sequence, optional
        Shapes by input name, or in the order of the inputs; with or without the batch. None or -1
        in a shape keeps the model's own size.
    outputs : sequence of str, optional
        Tensors (or nodes) to end at. Default: the model's outputs.

    Returns
    -------
    Graph

    Raises
    ------
    UnsupportedOpError
        Listing every node without a counterpart, with advice.
    ModelImportError
        For files that cannot be read and graphs that are not valid.
    """
    path = Path(path)
    try:
        return _load(path, inputs, input_shapes, outputs)
    except UnicodeDecodeError:
        raise ModelImportError(
            "a name in the file is no text",
            where=str(path),
            rule="names are UTF-8",
            remedy="the file is damaged; copy or export the model again",
        ) from None


def _load(
    path: Path,
    inputs: Sequence[str] | None,
    input_shapes: ShapesLike,
    outputs: Sequence[str] | None,
) -> Graph:
    where = str(path)
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(names, str):
            raise ModelImportError(
                f"{what} is a single string", where=where, rule="a list of names"
            )
    model, source = read_model(path)
    refuse_sparse(model, where)
    graph = model.graph
    constants = _initializer_names(graph, where)
    cut = cut_graph(graph, constants, inputs, outputs, where)
    context = _begun(graph, cut, input_shapes, path)
    opsets = opsets_of(model)
    walk = Walk(context, path, opsets, model.ir_version)
    walk.rewrite = _absorbing(context)
    walk.run(cut.nodes)
    if walk.findings:
        against = reason_against(walk.refused, walk.behind)
        if against or walk.dynamic or walk.invalid:
            walk.refuse_findings(cut.inputs, cut.outputs, why=against)
        behind = {id(node.proto) for node in walk.behind}
        context = _begun(graph, cut, input_shapes, path)
        walk_again = Walk(context, path, opsets, model.ir_version)
        walk_again.run(proto for proto in cut.nodes if id(proto) not in behind)
        if not context.builder.nodes:
            walk.refuse_findings(cut.inputs, cut.outputs, why="nothing is left for the NPU")
        put_on_host(walk.behind, context, opsets[""])
    renames = _finish_outputs(cut, context)
    return numbered(
        context.builder.finish(
            graph.name or name_of(path),
            cut.inputs,
            cut.outputs,
            renames=renames,
            source=source,
            notes=context.notes,
            rewrite=_absorbing(context),
        )
    )


def _absorbing(context: Context) -> Callable[[Graph], Graph]:
    """Return the rewrite that takes quantizing nodes into the formats of tensors."""
    return lambda found: through_u8(absorb(found, context.builder.stored))


def _begun(graph: GraphProto, cut: Cut, input_shapes: ShapesLike, path: Path) -> Context:
    """Return an import that knows the inputs and the initializers."""
    where, notes = str(path), list[str]()
    specs = input_specs(graph, cut.inputs, input_shapes, where, notes)
    used = {name for proto in cut.nodes for name in names_read(proto)} | set(cut.outputs)
    written = {name for proto in cut.nodes for name in names_of(proto)} | set(cut.inputs)
    context = Context(builder=GraphBuilder(where=where), used=used, names=written, notes=notes)
    for proto in graph.initializer:
        if proto.name in used:
            context.values.store(proto.name, tensor_value(proto, proto.name, path))
    casted = _only_cast(cut, {name for name, (_, dtype) in specs.items() if not dtype.is_float})
    coded = input_parameters(cut.nodes, [n for n, (_, dtype) in specs.items() if dtype.bits == 8])
    pictures = channels_last_pictures(cut.nodes, {n: shape for n, (shape, _) in specs.items()})
    for name, (shape, dtype) in specs.items():
        turned = name in pictures and name not in cut.outputs
        taken = (shape[0], shape[3], shape[1], shape[2]) if turned else shape
        context.builder.add_input(name, taken, DType.F32 if name in casted else dtype)
        triple = coded.get(name)
        if triple is not None and dtype in (DType.U8, DType.I8):
            context.builder.set_quant(name, _quant_of(triple, context, where))
        if name in casted:
            context.notes.append(
                f"input {name!r} is {dtype.value} in the file and only cast to float: "
                "taken as a float input of the same values"
            )
        if turned:
            turn_to_file_order(name, context)
    return context


def _quant_of(triple: Triple, context: Context, where: str) -> Affine:
    """Return the parameters of an integer input, from the node that reads it."""
    scale, zero = context.known(triple.scale), context.known(triple.zero_point)
    if scale is None or scale.size != 1 or not 0 < scale.reshape(-1)[0] < float("inf"):
        raise ModelImportError(
            f"the scale of input {triple.codes!r} is not one known positive number",
            where=where,
            rule="the codes of an input stand for real numbers",
        )
    if zero is not None and (zero.size != 1 or zero.dtype.kind not in "iu"):
        raise ModelImportError(
            f"the zero point of input {triple.codes!r} is {zero.size} values of {zero.dtype}",
            where=where,
            rule="one integer",
        )
    zero_point = 0 if zero is None else int(zero.reshape(-1)[0])
    return Affine(scale=float(scale.reshape(-1)[0]), zero_point=zero_point)


def _initializer_names(graph: GraphProto, where: str) -> set[str]:
    names: set[str] = set()
    for proto in graph.initializer:
        if not proto.name or proto.name in names:
            raise ModelImportError(
                f"two initializers are called {proto.name!r}"
                if proto.name
                else "an initializer has no name",
                where=where,
                rule="every constant has a name of its own",
            )
        names.add(proto.name)
    return names


def _only_cast(cut: Cut, names: set[str]) -> set[str]:
    """Return integer inputs that are read by casts to real types only."""
    result = names - set(cut.outputs)
    for proto in cut.nodes:
        to_float = proto.op_type == "Cast" and any(
            a.name == "to" and a.i in (1, 10, 11, 16) for a in proto.attribute
        )
        if not to_float:
            result -= set(names_read(proto))
    return result


def _finish_outputs(cut: Cut, context: Context) -> dict[str, str]:
    """Make every output a tensor of its own name and return the renames that takes."""
    builder = context.builder
    renames: dict[str, str] = {}
    fixed = set(cut.inputs) | set(cut.outputs)
    for name in cut.outputs:
        if builder.host_layer_of(name):
            continue
        if name in context.values:
            context.operand(name)
            continue
        source = context.resolve(name)
        if source == name:
            continue
        if source in fixed or source in renames:
            builder.add_node(
                f"Identity_{name}", "identity", (source,), (name,), NO_ATTRS, origin=(name,)
            )
        else:
            renames[source] = name
    return renames
