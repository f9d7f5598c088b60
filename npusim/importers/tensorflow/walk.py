"""Through the nodes in order: known values are computed, conditionals decided, calls entered.

What cannot be taken spoils only what depends on it. A branch that a constant switches off, such as
the training half of a dropout, may hold any operator.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from npusim.errors import GraphError, ModelImportError, QuantizationError
from npusim.importers.common.builder import MISFITS, UnsupportedForm, misfit
from npusim.importers.common.unroll import ADVICE, ON_DATA
from npusim.importers.tensorflow.advice import advise
from npusim.importers.tensorflow.context import TfContext, TfNode, converter_of
from npusim.importers.tensorflow.file import GraphFile
from npusim.importers.tensorflow.fold import folded
from npusim.importers.tensorflow.scope import Scope

_DEEPEST = 64
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
LOOPS = ("While", "StatelessWhile")
SWITCHES = ("Switch", "RefSwitch", "_SwitchN")
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
    unknown : list of str
        Nodes behind findings, which were not converted.
    """

    context: TfContext
    file: GraphFile
    findings: list[Finding] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    lost: dict[str, frozenset[int]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    unknown: list[str] = field(default_factory=list)

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
        found = len(self.findings)
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
            if len(self.findings) == found:
                self.unknown.append(node.name)

    def _reasons(self, node: TfNode) -> set[int]:
        found: set[int] = set()
        for name in node.inputs:
            found |= self.lost.get(name, frozenset())
            if not (name in self.lost or self.context.exists(name)):
                self._find(node, "it is part of a loop", "")  # a loop's end comes behind its begin
                found.add(len(self.findings) - 1)
        return found

    def _unknown(self, node: TfNode) -> bool:
        known = node.type in (*_CALLS, *_BRANCHES, *LOOPS, *SWITCHES)
        return not (known or converter_of(node.type) or node.type in self.file.functions)

    def _find(
        self, node: TfNode, reason: str, advice: str, error: ModelImportError | None = None
    ) -> None:
        self.findings.append(Finding(node, reason, advice or advise(node), error))

    def _convert(self, scope: Scope, node: TfNode, depth: int) -> None:
        context = self.context
        if node.type in SWITCHES:
            self._switch(node)
            return
        if node.type in _CALLS or node.type in self.file.functions:
            name = node.function("f") if node.type in _CALLS else node.type
            self._call(node, name, node.inputs, depth)
            return
        if node.type in _BRANCHES:
            self._call(node, self._branch(node), node.inputs[1:], depth)
            return
        if node.type in LOOPS:
            self._loop(node, depth)
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
        alive, last = int(taken.reshape(-1)[0]), len(node.outputs) - 1
        alive = alive if 0 <= alive <= last else last
        self.context.alias(node.outputs[alive], data)
        self.dead.update(name for name in node.outputs if name != node.outputs[alive])

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

    def _branch(self, node: TfNode) -> str:
        """Return the function that a known condition or index chooses."""
        taken = self.context.known(node.inputs[0])
        if taken is None or taken.size != 1:
            raise UnsupportedForm("its condition depends on the input data")
        if node.type in ("If", "StatelessIf"):
            return node.function("then_branch" if taken.reshape(-1)[0] else "else_branch")
        branches, index = node.functions("branches"), int(taken.reshape(-1)[0])
        if not branches:
            raise ModelImportError("it has no branches", where=node.where)
        return branches[index if 0 <= index < len(branches) else -1]

    # ---- functions
    def _call(self, node: TfNode, name: str, arguments: Sequence[str], depth: int) -> None:
        results = self._entered(node, name, arguments, depth, f"{node.name}/")
        for outside, inside in zip(node.outputs, results, strict=False):
            self._give(outside, inside)

    def _give(self, outside: str, inside: str) -> None:
        """Make a tensor of a function the result of what calls it."""
        if inside in self.lost:
            self.lost[outside] = self.lost[inside]
        elif inside in self.dead:
            self.dead.add(outside)
        else:
            self.context.alias(outside, inside)

    def _entered(
        self,
        node: TfNode,
        name: str,
        arguments: Sequence[str],
        depth: int,
        prefix: str,
        turn: int | None = None,
    ) -> list[str]:
        """Convert the nodes of a function and return its results.

        Parameters
        ----------
        prefix : str
            In front of their names.
        turn : int, optional
            Of a loop.
        """
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
        if turn is None:
            self.context.budget.call(len(function.nodes), self.context.builder)
        else:
            self.context.budget.turn(turn, len(function.nodes), self.context.builder)
        inner = Scope(
            function.nodes,
            self.file.functions,
            f"{self.file.path}: {node.where}",
            prefix=prefix,
            arguments=dict(zip(function.arguments, arguments, strict=True)),
            caller="" if turn is None else node.own,
        )
        results = [inner.tensor(function.returns.get(word, word)) for word in function.results]
        self.context.names.update(out for n in inner.nodes.values() for out in n.outputs)
        self.run(inner, results, arguments, depth + 1)
        return results

    def _loop(self, node: TfNode, depth: int) -> None:
        """Write a loop out: a turn as long as the condition, which must be known, is true."""
        base = f"{node.name}/turn"
        while any(name.startswith(base) for name in self.context.names):
            base += "_"
        variables, turn = list(node.inputs), 0
        while goes_on := self._goes_on(node, variables, depth, f"{base}{turn}/condition/", turn):
            body, prefix = node.function("body"), f"{base}{turn}/"
            found = self._entered(node, body, variables, depth, prefix, turn)
            if len(found) != len(variables):
                raise ModelImportError(
                    f"its body gives {len(found)} results",
                    where=node.where,
                    rule=f"one for each of the {len(variables)} variables",
                )
            spoiled = [name for name in found if name in self.lost]
            if spoiled:  # every further turn would say the same
                self._lose(node, spoiled)
                return
            variables, turn = found, turn + 1
        for outside, inside in zip(node.outputs, variables, strict=False):
            if goes_on is not None:
                self._give(outside, inside)

    def _goes_on(
        self, node: TfNode, variables: Sequence[str], depth: int, prefix: str, turn: int
    ) -> bool | None:
        """Return what the condition of a loop says in front of a turn; None when it is lost."""
        results = self._entered(node, node.function("cond"), variables, depth, prefix, turn)
        if len(results) != 1:
            raise ModelImportError(
                f"its condition gives {len(results)} results", where=node.where, rule="one"
            )
        if results[0] in self.lost:
            self._lose(node, results)
            return None
        value = self.context.known(results[0])
        if value is None or value.size != 1:
            raise UnsupportedForm(ON_DATA, ADVICE)
        return bool(value.reshape(-1)[0])

    def _lose(self, node: TfNode, spoiled: Sequence[str]) -> None:
        reasons = frozenset().union(*(self.lost[name] for name in spoiled))
        self.lost.update(dict.fromkeys(node.outputs, reasons))


def _located(
    error: GraphError | ModelImportError | QuantizationError, node: TfNode, file: GraphFile
) -> ModelImportError:
    own = error.where.removeprefix(str(file.path)).lstrip(": ")
    where = own if repr(node.name) in own or "node '" in own else node.where
    kind = type(error) if isinstance(error, ModelImportError) else ModelImportError
    return kind(error.what, where=f"{file.path}: {where}", rule=error.rule, remedy=error.remedy)
