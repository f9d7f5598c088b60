"""Through the nodes in order: known values are computed, conditionals decided, calls entered.

What cannot be taken spoils only what depends on it. A branch that a constant switches off, such as
the training half of a dropout, may hold any operator.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from npusim.errors import GraphError, ModelImportError, QuantizationError
from npusim.importers.common.builder import MISFITS, UnsupportedForm, misfit
from npusim.importers.tensorflow.advice import advise
from npusim.importers.tensorflow.context import TfContext, TfNode, converter_of
from npusim.importers.tensorflow.file import GraphFile
from npusim.importers.tensorflow.fold import folded
from npusim.importers.tensorflow.scope import Scope

_DEEPEST = 64
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf")
VARIABLES = ("VariableV2", "Variable", "VarHandleOp", "ReadVariableOp", "AutoReloadVariable")


@dataclass(slots=True)
class Finding:
    """Why something cannot be taken.

    Attributes
    ----------
    error : ModelImportError or None
        For nodes that are wrong in themselves.
    """

    node: TfNode
    reason: str
    advice: str
    error: ModelImportError | None = None


@dataclass(slots=True)
class Walk:
    """One pass.

    Attributes
    ----------
    dead : set
        Tensors in branches that never run.
    lost : dict
        Tensor -> the findings it depends on.
    """

    context: TfContext
    file: GraphFile
    findings: list[Finding] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    lost: dict[str, frozenset[int]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)

    def run(self, scope: Scope, ends: Iterable[str], known: Iterable[str], depth: int = 0) -> None:
        """Convert what tensors need."""
        ends = list(ends)
        order = scope.ordered(ends, known)
        for node in order:
            for name in node.inputs:
                self.context.readers[name] = self.context.readers.get(name, 0) + 1
            for name in node.outputs:
                self.context.made_by[name] = node
        for name in ends:
            self.context.readers[name] = self.context.readers.get(name, 0) + 1
        given = set(known)
        for node in order:
            if given.isdisjoint(node.outputs):
                self._step(scope, node, depth)

    # ---- one node
    def _step(self, scope: Scope, node: TfNode, depth: int) -> None:
        if node.type in ("Merge", "RefMerge"):
            self._merge(node)
            return
        pivots = [out for pivot in scope.waits_for(node) for out in pivot.outputs[:1]]
        if any(name in self.dead for name in (*node.inputs, *pivots)):
            self.dead.update(node.outputs)
            return
        reasons = self._reasons(node)
        try:
            if not reasons:
                self._convert(scope, node, depth)
            elif self._unknown(node):
                raise UnsupportedForm("no counterpart")
        except UnsupportedForm as form:
            self._find(node, form.reason, form.advice)
            reasons |= {len(self.findings) - 1}
        except (GraphError, ModelImportError, QuantizationError) as error:
            self._find(node, error.what, "", _located(error, node, self.file))
            reasons |= {len(self.findings) - 1}
        except MISFITS as error:  # sizes that contradict
            wrong = ModelImportError(misfit(error), where=f"{self.file.path}: {node.where}")
            self._find(node, wrong.what, "", wrong)
            reasons |= {len(self.findings) - 1}
        if reasons:
            self.lost.update(dict.fromkeys(node.outputs, frozenset(reasons)))

    def _reasons(self, node: TfNode) -> set[int]:
        found: set[int] = set()
        for name in node.inputs:
            found |= self.lost.get(name, frozenset())
            if not (name in self.lost or name in self.context.values or name in self.context.held):
                self._find(node, "it is part of a loop", "")  # a loop's end comes behind its begin
                found.add(len(self.findings) - 1)
        return found

    def _unknown(self, node: TfNode) -> bool:
        known = node.type in (*_CALLS, *_BRANCHES, "Switch", "Merge")
        return not (known or converter_of(node.type) or node.type in self.file.functions)

    def _find(
        self, node: TfNode, reason: str, advice: str, error: ModelImportError | None = None
    ) -> None:
        self.findings.append(Finding(node, reason, advice or advise(node), error))

    def _convert(self, scope: Scope, node: TfNode, depth: int) -> None:
        context = self.context
        if node.type in ("Switch", "RefSwitch"):
            self._switch(node)
            return
        if node.type in _CALLS or node.type in self.file.functions:
            name = node.function("f") if node.type in _CALLS else node.type
            self._call(node, name, node.inputs, depth)
            return
        if node.type in _BRANCHES:
            taken = context.known(node.inputs[0])
            if taken is None or taken.size != 1:
                raise UnsupportedForm("its condition depends on the input data")
            branch = node.function("then_branch" if taken.reshape(-1)[0] else "else_branch")
            self._call(node, branch, node.inputs[1:], depth)
            return
        values = [context.known(name) for name in node.inputs]
        present = [value for value in values if value is not None]
        if node.inputs and len(present) == len(values):
            results = folded(node, present)
            if results is not None:
                context.values.update(zip(node.outputs, results, strict=False))
                return
        convert = converter_of(node.type)
        if convert is None:
            raise UnsupportedForm("no counterpart")
        convert(node, context)

    # ---- conditionals
    def _switch(self, node: TfNode) -> None:
        data, predicate = node.inputs
        taken = self.context.known(predicate)
        if taken is None or taken.size != 1:
            raise UnsupportedForm("its condition depends on the input data")
        alive = int(bool(taken.reshape(-1)[0]))
        self.context.alias(node.outputs[alive], data)
        self.dead.add(node.outputs[1 - alive])

    def _merge(self, node: TfNode) -> None:
        alive = [name for name in node.inputs if name not in self.dead]
        if not alive:
            self.dead.update(node.outputs)
        elif len(alive) > 1:
            self._find(node, "it joins a loop or a condition on the input data", "")
            reasons = {len(self.findings) - 1}
            for name in alive:
                reasons |= self.lost.get(name, frozenset())
            self.lost.update(dict.fromkeys(node.outputs, frozenset(reasons)))
        elif alive[0] in self.lost:
            self.lost.update(dict.fromkeys(node.outputs, self.lost[alive[0]]))
        else:
            self.context.alias(node.outputs[0], alive[0])
            self.context.values[node.outputs[1]] = np.array(node.inputs.index(alive[0]), np.int32)

    # ---- functions
    def _call(self, node: TfNode, name: str, arguments: Sequence[str], depth: int) -> None:
        function = self.file.functions.get(name)
        if function is None:
            raise ModelImportError(
                f"it calls the function {name!r}, which the file does not hold",
                where=node.where,
                remedy="freeze the graph again, with its library",
            )
        if depth >= _DEEPEST:
            raise UnsupportedForm("calls go too deep", "functions that call themselves")
        if len(arguments) != len(function.arguments):
            raise ModelImportError(
                f"{len(arguments)} arguments for {name!r}",
                where=node.where,
                rule=f"{len(function.arguments)}: {', '.join(function.arguments)}",
            )
        bound = dict(zip(function.arguments, arguments, strict=True))
        inner = Scope(
            function.nodes,
            self.file.functions,
            f"{self.file.path}: {node.where}",
            prefix=f"{node.name}/",
            arguments=bound,
        )
        results = [inner.tensor(function.returns.get(word, word)) for word in function.results]
        self.context.names.update(out for n in inner.nodes.values() for out in n.outputs)
        self.run(inner, results, arguments, depth + 1)
        lost: set[int] = set()
        for outside, inside in zip(node.outputs, results, strict=False):
            if inside in self.lost:
                self.lost[outside] = self.lost[inside]
                lost |= self.lost[inside]
            elif inside in self.dead:
                self.dead.add(outside)
            else:
                self.context.alias(outside, inside)


def _located(
    error: GraphError | ModelImportError | QuantizationError, node: TfNode, file: GraphFile
) -> ModelImportError:
    own = error.where.removeprefix(str(file.path)).lstrip(": ")
    where = own if repr(node.name) in own or "node '" in own else node.where
    kind = type(error) if isinstance(error, ModelImportError) else ModelImportError
    return kind(error.what, where=f"{file.path}: {where}", rule=error.rule, remedy=error.remedy)
