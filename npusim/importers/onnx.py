"""ONNX file -> float Graph with concrete shapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import GraphProto, NodeProto, checker

from npusim.errors import GraphError, ModelImportError, UnsupportedOpError
from npusim.importers import (
    onnx_ops_conv,
    onnx_ops_eltwise,
    onnx_ops_index,
    onnx_ops_matmul,
    onnx_ops_norm,
    onnx_ops_pool,
    onnx_ops_reduce,
    onnx_ops_resize,
    onnx_ops_shape,
    onnx_ops_unary,
)
from npusim.importers.common import GraphBuilder
from npusim.importers.onnx_advice import QUANTIZED_OPS, advice_for
from npusim.importers.onnx_context import (
    SEVERAL_OUTPUTS,
    Context,
    OnnxNode,
    UnsupportedForm,
    converter_of,
)
from npusim.importers.onnx_cut import Cut, cut_graph, node_name
from npusim.importers.onnx_file import opsets_of, read_model, refuse_sparse
from npusim.importers.onnx_fold import fold_constant, fold_shape
from npusim.importers.onnx_inputs import ShapesLike, input_specs
from npusim.importers.onnx_tensor import tensor_value
from npusim.ir.attrs import NO_ATTRS
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph

FAMILIES = (
    onnx_ops_conv,
    onnx_ops_eltwise,
    onnx_ops_index,
    onnx_ops_matmul,
    onnx_ops_norm,
    onnx_ops_pool,
    onnx_ops_reduce,
    onnx_ops_resize,
    onnx_ops_shape,
    onnx_ops_unary,
)
"""Importing them registers the converters."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An unsupported node."""

    node: OnnxNode
    reason: str
    advice: str

    @property
    def text(self) -> str:
        """Return one line for a message."""
        domain = self.node.domain or "ai.onnx"
        advice = f"; {self.advice}" if self.advice else ""
        return (
            f"{self.node.name!r}: {self.node.op_type} ({domain} version {self.node.version}), "
            f"{self.reason}{advice}"
        )


def load_onnx(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: ShapesLike = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read an ONNX model as a float graph.

    All tensors are float32 except index tensors, all shapes are concrete, axes are in the model's
    order. Tensor names are those of the file. Everything that depends on constants and shapes only
    is evaluated; nodes that do nothing (Identity, Dropout, casts between real types) vanish.

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
    specs = input_specs(graph, cut.inputs, input_shapes, where)
    used = {name for proto in cut.nodes for name in proto.input} | set(cut.outputs)
    context = Context(builder=GraphBuilder(where=where), used=used)
    for proto in graph.initializer:
        if proto.name in used:
            context.values[proto.name] = tensor_value(proto, proto.name, path)
    casted = _only_cast(cut, {name for name, (_, dtype) in specs.items() if not dtype.is_float})
    for name, (shape, dtype) in specs.items():
        context.builder.add_input(name, shape, DType.F32 if name in casted else dtype)
        if name in casted:
            context.notes.append(
                f"input {name!r} is {dtype.value} in the file and only cast to float: "
                "taken as a float input of the same values"
            )
    rules = type(checker.DEFAULT_CONTEXT)()
    rules.ir_version = model.ir_version
    rules.opset_imports = opsets_of(model)
    _convert_all(cut, rules, context, path)
    renames = _finish_outputs(cut, context)
    return context.builder.finish(
        graph.name or path.stem,
        cut.inputs,
        cut.outputs,
        renames=renames,
        source=source,
        notes=context.notes,
    )


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
            result -= set(proto.input)
    return result


def _wrap(proto: NodeProto, opsets: dict[str, int], taken: set[str]) -> OnnxNode:
    domain = "" if proto.domain == "ai.onnx" else str(proto.domain)
    name = node_name(proto)
    layer = f"{proto.op_type}_{name}"
    if layer in taken:  # the format asks for unique names, files do not always comply
        layer += "@" + next((str(o) for o in proto.output if o), "")
    taken.add(layer)
    return OnnxNode(
        name=name,
        layer=layer,
        op_type=str(proto.op_type),
        domain=domain,
        version=opsets.get(domain, 0),
        inputs=tuple(map(str, proto.input)),
        outputs=tuple(map(str, proto.output)),
        attrs={a.name: a for a in proto.attribute},
        proto=proto,
    )


def _convert_all(cut: Cut, rules: Any, context: Context, path: Path) -> None:
    findings: list[Finding] = []
    lost: set[str] = set()  # outputs of unsupported nodes and what depends on them
    taken: set[str] = set()
    for proto in cut.nodes:
        node = _wrap(proto, rules.opset_imports, taken)
        waits = any(name in lost for name in node.inputs)
        try:
            _check_supported(node, context, waits)
            _check_valid(node, rules)
            if not waits:
                _convert(node, context, path)
        except UnsupportedForm as form:
            advice = form.advice or advice_for(node.op_type, node.domain)
            findings.append(Finding(node, form.reason, advice))
            waits = True
        except GraphError as error:
            raise ModelImportError(
                error.what, where=f"{path}: {node.where}", rule=error.rule, remedy=error.remedy
            ) from None
        except ModelImportError as error:
            if error.where.startswith(str(path)):
                raise
            raise type(error)(
                error.what,
                where=f"{path}: {error.where or node.where}",
                rule=error.rule,
                remedy=error.remedy,
            ) from None
        if waits:
            lost.update(name for name in node.outputs if name)
    if findings:
        _refuse(findings, str(path))


def _check_supported(node: OnnxNode, context: Context, waits: bool) -> None:
    """Raise UnsupportedForm when nothing can be done with a node whatever its inputs are."""
    if node.op_type in QUANTIZED_OPS:
        raise UnsupportedForm("an operator of quantized models")
    foldable = not waits and all(n in context.values for n in node.inputs if n)
    if any(a.HasField("g") or a.graphs for a in node.attrs.values()):
        raise UnsupportedForm("it has sub-graphs")
    if node.domain:
        raise UnsupportedForm("an operator of another domain")
    shape_only = node.op_type in ("Shape", "Size", "Constant", "ConstantOfShape")
    if not foldable and not shape_only and converter_of(node.op_type) is None:
        raise UnsupportedForm("no counterpart")
    extra = [n for n in node.outputs[1:] if n and n in context.used]
    if extra and not foldable and node.op_type not in SEVERAL_OUTPUTS:
        raise UnsupportedForm(f"its further outputs {extra} are used")


def _check_valid(node: OnnxNode, rules: Any) -> None:
    """Refuse wrong numbers of inputs and outputs and wrong attributes, by the onnx package."""
    if node.op_type == "Constant":
        return  # large and read with checks of its own
    try:
        checker.check_node(node.proto, rules)
    except checker.ValidationError as error:
        raise ModelImportError(
            f"invalid node: {str(error).splitlines()[0]}",
            rule=f"{node.op_type} of opset {node.version} as ONNX defines it",
            remedy="export the model again with a current exporter",
        ) from None


def _convert(node: OnnxNode, context: Context, path: Path) -> None:
    if fold_shape(node, context) or fold_constant(node, context, path):
        return
    convert = converter_of(node.op_type)
    if convert is None:  # ConstantOfShape of a shape that depends on the data
        raise UnsupportedForm("its input depends on the input data")
    convert(node, context)


def _refuse(findings: Sequence[Finding], where: str) -> None:
    count = f"{len(findings)} unsupported node" + ("s" if len(findings) > 1 else "")
    lines = "".join(f"\n    {finding.text}" for finding in findings)
    raise UnsupportedOpError(
        f"{count}:{lines}",
        where=where,
        rule="every operator needs a counterpart on the chip; npusim ops lists them",
        remedy="rewrite the nodes as advised, or cut the graph with inputs= and outputs= and run "
        "the rest on the CPU",
    )


def _finish_outputs(cut: Cut, context: Context) -> dict[str, str]:
    """Make every output a tensor of its own name and return the renames that takes."""
    builder = context.builder
    renames: dict[str, str] = {}
    fixed = set(cut.inputs) | set(cut.outputs)
    for name in cut.outputs:
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
