"""Visits the nodes of an ONNX graph in order: folds, converts, and collects what is unsupported."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx import NodeProto, checker

from npusim import words
from npusim.errors import GraphError, ModelImportError, UnsupportedOpError
from npusim.importers.common.builder import MISFITS, misfit
from npusim.importers.common.holes import leaving
from npusim.importers.common.unroll import Budget
from npusim.importers.onnx.advice import advice_for
from npusim.importers.onnx.context import (
    SEVERAL_OUTPUTS,
    Context,
    OnnxNode,
    UnsupportedForm,
    converter_of,
)
from npusim.importers.onnx.cut import names_read, node_name
from npusim.importers.onnx.fold import fold_constant, fold_shape
from npusim.importers.onnx.functions import body_of, is_function
from npusim.importers.onnx.loops import Turns
from npusim.importers.onnx.quantized import (
    DOMAIN,
    DYNAMIC,
    EXPANSIONS,
    QUANTIZED_OPS,
    spelled_out,
)
from npusim.importers.onnx.standin import stand_in
from npusim.importers.onnx.tensor import tensor_value
from npusim.ir.graph import Graph
from npusim.ir.holes import Hole

_FLAGS = """
align_corners allowzero antialias ceil_mode center_point_box count_include_pad detect_negative
detect_positive exclude_outside exclusive fmod input_forget interleaved inverse is_causal keepdims
largest layout linear_before_reset noop_with_empty_axes onesided periodic reverse saturate
select_last_index sorted storage_order training_mode transA transB upper
"""
FLAGS = frozenset(_FLAGS.split())
"""Attributes that ONNX defines for 0 and 1 only; what runtimes make of others differs."""

DEPRECATED_FORMS = ("GroupNormalization",)
"""Of opsets 18 to 20 the onnx package refuses it; its form is known."""


@dataclass(slots=True)
class Walk:
    """A walk over nodes in execution order.

    Attributes
    ----------
    opsets : dict
        Domain -> opset version, the standard domain as ''.
    findings : list of str
        One line per unsupported node.
    dynamic : list of str
        Those of them that quantize by the data.
    invalid : list of str
        One line per node that is invalid, found behind unsupported ones.
    lost : set of str
        Outputs of unsupported nodes whose shape nobody knows, and all that depends on them; such
        nodes are only looked at.
    tainted : set of str
        Everything that depends on unsupported nodes, of known shape or not.
    refused, behind : list of OnnxNode
        The unsupported nodes; they and all nodes that depend on them.
    unknown : list of str
        Names of nodes behind unsupported ones that could not be converted.
    rewrite : callable
        What the importer does to a finished graph.
    cuts : dict
        Tensors in front of all that, in order: what the graph can end at.
    """

    context: Context
    path: Path
    opsets: dict[str, int]
    ir_version: int
    findings: list[str] = field(default_factory=list)
    dynamic: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    tainted: set[str] = field(default_factory=set)
    refused: list[OnnxNode] = field(default_factory=list)
    behind: list[OnnxNode] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    rewrite: Callable[[Graph], Graph] = lambda graph: graph
    cuts: dict[str, None] = field(default_factory=dict)
    layers: set[str] = field(default_factory=set)
    budget: Budget = field(default_factory=Budget)

    def run(self, protos: Iterable[NodeProto], *, part_of: OnnxNode | None = None) -> None:
        """Visit nodes; raises ModelImportError for the first that is invalid.

        Parameters
        ----------
        part_of : OnnxNode, optional
            The QOperator node that the nodes stand for.
        """
        rules = type(checker.DEFAULT_CONTEXT)()
        rules.ir_version = self.ir_version
        rules.opset_imports = self.opsets
        for proto in protos:
            node = self._node(proto, part_of)
            behind = waits = any(name in self.lost for name in node.inputs)
            outputs = {name for name in node.outputs if name}
            try:
                self._check_supported(node, waits)
                if part_of is None:
                    _check_valid(node, rules)
                if not waits:
                    self._convert(node)
            except UnsupportedForm as form:
                self._note(node, form)
                self.refused.append(node)
                self.holes.append(Hole(layer=node.name, op=node.op_type, why=form.reason))
                behind = False
                self.tainted |= outputs
                if not waits and node.op_type not in (*QUANTIZED_OPS, *DYNAMIC):
                    outputs -= stand_in(node, self.context)
                waits = True
            except GraphError as error:
                self._fail(
                    ModelImportError(
                        error.what,
                        where=f"{self.path}: {node.where}",
                        rule=error.rule,
                        remedy=error.remedy,
                    )
                )
                waits = True
            except ModelImportError as error:
                self._fail(self._located(error, node))
                waits = True
            except MISFITS as error:
                self._fail(ModelImportError(misfit(error), where=f"{self.path}: {node.where}"))
                waits = True
            if waits:
                self.lost |= outputs
            if behind and part_of is None:
                self.unknown.append(node.name)
            self._follow(node, waits, part=part_of is not None)

    def _follow(self, node: OnnxNode, waits: bool, *, part: bool) -> None:
        """Remember what depends on unsupported nodes, and where the graph can end before them."""
        touched = {*node.inputs, *node.outputs}
        if not waits and self.tainted.isdisjoint(touched):
            return
        self.tainted.update(filter(None, node.outputs))
        if not part:
            self.behind.append(node)
        for name in node.inputs:
            if name and name not in self.tainted and name not in self.context.values:
                self.cuts[name] = None

    def _fail(self, error: ModelImportError) -> None:
        """Raise for an invalid node, unless unsupported ones were found before it."""
        if not self.findings:
            raise error from None
        self.invalid.append(f"{error.where}: {error.what}")

    def refuse_findings(
        self, inputs: Collection[str] = (), outputs: Collection[str] = (), *, why: str = ""
    ) -> None:
        """Raise UnsupportedOpError with all findings, if there are any.

        Parameters
        ----------
        inputs, outputs : collection of str
            Of the part that is imported; the error says where to end before the findings.
        why : str
            What keeps the CPU from running the end of the model.
        """
        if not self.findings:
            return
        if self.dynamic:
            raise self._dynamic_error()
        count = f"{len(self.findings)} unsupported node" + ("s" if len(self.findings) > 1 else "")
        good = [name for name in outputs if name not in self.tainted]
        names = [name for name in dict.fromkeys((*good, *self.cuts)) if name not in inputs]
        ends = words.cut_at(outputs=names) if names else words.say("cut_both")
        because = f"; it does not by itself, because {why}" if why else ""
        error = UnsupportedOpError(
            f"{count}:"
            + "".join(f"\n    {line}" for line in self.findings)
            + ("\n  also invalid:" if self.invalid else "")
            + "".join(f"\n    {line}" for line in self.invalid),
            where=str(self.path),
            rule="every operator needs a counterpart on the chip; npusim ops lists them",
            remedy=f"rewrite the nodes as advised, or end the network in front of them ({ends}) "
            f"and run the rest on the CPU{because}",
        )
        builder = self.context.builder
        raise leaving(error, builder, self.holes, self.unknown, self.rewrite)

    def _dynamic_error(self) -> UnsupportedOpError:
        others = [line for line in self.findings if line not in self.dynamic]
        return UnsupportedOpError(
            f"the model is quantized dynamically; {len(self.dynamic)} nodes need scales that are "
            "computed from the data at run time:"
            + "".join(f"\n    {line}" for line in self.dynamic)
            + ("\n  also unsupported:" if others else "")
            + "".join(f"\n    {line}" for line in others),
            where=str(self.path),
            rule="the chip's scales and zero points are fixed when the model is built",
            remedy=f"load the float model and quantize it here ({words.say('quantize_here')}), or "
            "quantize it statically (onnxruntime.quantization.quantize_static) and load that",
        )

    def _node(self, proto: NodeProto, part_of: OnnxNode | None) -> OnnxNode:
        domain = "" if proto.domain == "ai.onnx" else str(proto.domain)
        name = node_name(proto)
        layer = f"{proto.op_type}_{name}"
        if part_of is not None and proto.op_type not in QUANTIZED_OPS:
            name, layer = part_of.name, part_of.layer
            self.layers.discard(layer)
        if layer in self.layers:  # the format asks for unique names, files do not always comply
            layer += "@" + next((str(o) for o in proto.output if o), "")
        self.layers.add(layer)
        return OnnxNode(
            name=name,
            layer=layer,
            op_type=str(proto.op_type),
            domain=domain,
            version=self.opsets.get(domain, 0),
            inputs=tuple(map(str, proto.input)),
            outputs=tuple(map(str, proto.output)),
            attrs={a.name: a for a in proto.attribute},
            proto=proto,
        )

    def _note(self, node: OnnxNode, form: UnsupportedForm) -> None:
        advice = form.advice or advice_for(node.op_type, node.domain, node.inputs)
        kind = f"{node.op_type} ({node.domain or 'ai.onnx'} version {node.version})"
        if node.op_type in DYNAMIC:
            line = f"{node.name!r}: {kind}"
            self.dynamic.append(line)
        else:
            line = f"{node.name!r}: {kind}, {form.reason}; {advice}"
        self.findings.append(line)

    def _located(self, error: ModelImportError, node: OnnxNode) -> ModelImportError:
        """Return the error with the file, and the node unless it names a place itself."""
        if error.where.startswith(str(self.path)):
            return error
        where = f"{self.path}: {error.where or node.where}"
        return type(error)(error.what, where=where, rule=error.rule, remedy=error.remedy)

    def _check_supported(self, node: OnnxNode, waits: bool) -> None:
        """Raise UnsupportedForm when nothing can be done with a node whatever its inputs are."""
        if node.op_type in DYNAMIC:
            raise UnsupportedForm("its parameters depend on the data")
        foldable = not waits and all(n in self.context.values for n in node.inputs if n)
        if any(a.HasField("g") or a.graphs for a in node.attrs.values()):
            if node.op_type in ("Loop", "Scan") or (node.op_type == "If" and foldable):
                return
            if node.op_type == "If" and not waits:
                raise UnsupportedForm("it has sub-graphs, its condition depends on the data")
            raise UnsupportedForm("it has sub-graphs")
        if node.op_type in EXPANSIONS:
            return
        if node.domain and not (node.domain == DOMAIN and node.op_type in QUANTIZED_OPS):
            raise UnsupportedForm("an operator of another domain")
        shape_only = node.op_type in ("Shape", "Size", "Constant", "ConstantOfShape")
        defined = is_function(node.op_type, node.version)
        if not foldable and not shape_only and converter_of(node.op_type) is None and not defined:
            raise UnsupportedForm("no counterpart")
        if defined and converter_of(node.op_type) is None:
            return
        extra = [n for n in node.outputs[1:] if n and n in self.context.used]
        if extra and not foldable and node.op_type not in SEVERAL_OUTPUTS:
            raise UnsupportedForm(f"its further outputs {extra} are used")

    def _convert(self, node: OnnxNode) -> None:
        if node.op_type == "If":
            self._take_branch(node)
            return
        if node.op_type in ("Loop", "Scan"):
            turns = Turns(self.context, self.budget, self._inside, self.path)
            (turns.loop if node.op_type == "Loop" else turns.scan)(node)
            return
        if node.op_type in EXPANSIONS:
            self.run(spelled_out(node, self.context), part_of=node)
            return
        if fold_shape(node, self.context) or fold_constant(node, self.context, self.path):
            return
        convert = converter_of(node.op_type)
        if convert is None and is_function(node.op_type, node.version):
            self._expand(node)
            return
        if convert is None:  # ConstantOfShape of a shape that depends on the data
            raise UnsupportedForm("its input depends on the input data")
        convert(node, self.context)

    def _expand(self, node: OnnxNode) -> None:
        """Visit the nodes by which ONNX defines an operator, in the opset of the definition."""
        nodes, version = body_of(node, self.context)
        outside = self.opsets
        self.opsets = {**outside, "": version}
        try:
            self.run(nodes, part_of=node)
        finally:
            self.opsets = outside

    def _inside(self, protos: Sequence[NodeProto]) -> None:
        """Visit nodes of a loop, which is refused as a whole when one of them is."""
        findings, refused, behind = len(self.findings), len(self.refused), len(self.behind)
        holes, unknown = len(self.holes), len(self.unknown)
        self.run(protos)
        if len(self.findings) > findings:
            first = self.findings[findings]
            del self.findings[findings:], self.refused[refused:], self.behind[behind:]
            del self.holes[holes:], self.unknown[unknown:]
            raise UnsupportedForm(f"inside of it {first}")
        if any(name in self.lost for proto in protos for name in proto.output):
            raise UnsupportedForm("what is inside of it cannot be computed")

    def _take_branch(self, node: OnnxNode) -> None:
        """Put the nodes of the branch that a known condition chooses in place of an If."""
        condition = self.context.values[node.inputs[0]]
        branch = node.graph("then_branch" if condition.reshape(-1)[0] else "else_branch")
        if len(branch.output) != len(node.outputs):
            raise ModelImportError("the branch has another number of outputs", where=node.where)
        for proto in branch.initializer:
            self.context.values.store(proto.name, tensor_value(proto, proto.name, self.path))
        self.context.used.update(n for proto in branch.node for n in names_read(proto))
        self.context.used.update(output.name for output in branch.output)
        self.run(branch.node)
        for output, inner in zip(node.outputs, branch.output, strict=True):
            if inner.name in self.lost:
                self.lost.add(output)
            else:
                self.context.alias(output, inner.name)


def _check_valid(node: OnnxNode, rules: Any) -> None:
    """Refuse wrong numbers of inputs and outputs and wrong attributes, by the onnx package."""
    for word, attribute in node.attrs.items():
        if not node.domain and word in FLAGS and attribute.i not in (0, 1):
            raise ModelImportError(
                f"attribute {word!r} is {attribute.i}", where=node.where, rule="it is 0 or 1"
            )
    if node.op_type in ("Constant", "If", "Loop", "Scan", "QuantizeLinear", "DequantizeLinear"):
        # read with checks of their own; branches and bodies refer to names outside, and ONNX
        # Runtime writes the last two with the attribute axis into models of older opsets
        return
    if node.op_type in DEPRECATED_FORMS:
        return
    try:
        checker.check_node(node.proto, rules)
    except checker.ValidationError as error:
        raise ModelImportError(
            f"invalid node: {str(error).splitlines()[0]}",
            where=node.where,
            rule=f"{node.op_type} of opset {node.version} as ONNX defines it",
            remedy="export the model again with a current exporter",
        ) from None
