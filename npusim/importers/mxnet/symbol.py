"""The symbol of an MXNet network: json of every era -> nodes with named tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npusim.errors import ModelImportError
from npusim.importers.common.builder import read_bytes
from npusim.importers.common.layers import SourceLayer
from npusim.importers.mxnet.attributes import Attributes
from npusim.importers.mxnet.signatures import arguments_of, is_made_for_mxnet, output_names
from npusim.reading.records import parse_json

MOST_BYTES = 1 << 28
VARIABLE = "null"
_FIRST_WITH_ARGMAX_AXIS = 905


@dataclass(frozen=True, slots=True, kw_only=True)
class MxNode(SourceLayer):
    """An operator of the file.

    Attributes
    ----------
    arguments : tuple of str
        What the inputs are called in the framework, as far as it names them.
    """

    attributes: Attributes
    arguments: tuple[str, ...]

    @property
    def where(self) -> str:
        """Return how messages name the node."""
        return _where(self.name, self.type)

    @property
    def place(self) -> str:
        """Return where it stands in the file."""
        return f"node {self.line}"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A network.

    Attributes
    ----------
    variables : dict
        Inputs and parameters, in the order of the file, with their attributes.
    heads : tuple of str
        Tensors that are results.
    notes : tuple of str
        What is left out.
    """

    where: str
    nodes: tuple[MxNode, ...]
    variables: dict[str, Attributes]
    heads: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _where(name: str, kind: str) -> str:
    return f"node {name!r} ({kind})" if kind != VARIABLE else f"node {name!r}"


def holds_symbol(path: Path) -> bool:
    """Tell whether a JSON file that can be read is a symbol, by its list of nodes."""
    try:
        content = parse_json(read_bytes(path, MOST_BYTES), str(path), ModelImportError)
    except ModelImportError:
        return False  # whoever reads it says why
    return isinstance(content, dict) and "nodes" in content


def read_symbol(path: Path) -> Symbol:
    """Read the json of a symbol.

    Raises
    ------
    ModelImportError
        When the file cannot be read, is no symbol, or nodes do not fit together.
    """
    where = str(path)
    text = read_bytes(path, MOST_BYTES)
    content = parse_json(
        text,
        where,
        ModelImportError,
        what="this is no JSON text",
        rule="a symbol is written by Symbol.save or HybridBlock.export",
        remedy="the file is cut off or was edited; save it again",
    )
    if isinstance(content, dict) and "layers" in content and "nodes" not in content:
        raise ModelImportError(
            "this is a layer list of npusim, no MXNet symbol",
            where=where,
            remedy="give it to npusim.estimate or 'npusim perf', with a name that ends in .json",
        )
    nodes = content.get("nodes") if isinstance(content, dict) else None
    if not isinstance(nodes, list) or not nodes:
        raise ModelImportError(
            "this JSON text is no MXNet symbol",
            where=where,
            rule="an object with the lists nodes, arg_nodes and heads",
            remedy="give the file that ends in -symbol.json",
        )
    return _Reading(where, content).symbol()


class _Reading:
    """Turns numbers of nodes into names of tensors."""

    def __init__(self, where: str, content: Mapping[str, Any]) -> None:
        self.where, self.content = where, content
        self.records: list[Any] = content["nodes"]
        self.version = _version(content)
        self.tensors: list[tuple[str, ...]] = []
        self.taken: set[str] = set()
        self.variables: dict[str, Attributes] = {}
        self.nodes: list[MxNode] = []

    def symbol(self) -> Symbol:
        for index, record in enumerate(self.records):
            self._add(index, record)
        heads = self.content.get("heads")
        if not isinstance(heads, list) or not heads:
            raise self._wrong("it has no heads", "the list of the network's results")
        names = dict.fromkeys(self._tensor(head, "the heads", hidden=True) for head in heads)
        notes = []
        if "" in names:
            del names[""]
            notes.append("results that only training has (statistics, masks) are left out")
        if not names:
            raise self._wrong("its heads have no result at inference", "at least one")
        return Symbol(self.where, tuple(self.nodes), self.variables, tuple(names), tuple(notes))

    def _wrong(self, what: str, rule: str, where: str = "") -> ModelImportError:
        return ModelImportError(
            what,
            where=f"{self.where}: {where}" if where else self.where,
            rule=rule,
            remedy="the file was edited or damaged; save the symbol again",
        )

    def _add(self, index: int, record: Any) -> None:
        place = f"node {index}"
        if not (
            isinstance(record, dict)
            and isinstance(record.get("op"), str)
            and isinstance(record.get("name"), str)
            and isinstance(record.get("inputs", []), list)
        ):
            raise self._wrong(f"{place} is malformed", "op, name and inputs", place)
        kind, name = record["op"].removeprefix("_sparse_"), record["name"]
        own = _where(name, kind)
        if is_made_for_mxnet(kind):
            _refuse_made_for_the_framework(self.where, own, kind)
        attributes = Attributes(self._texts(record, own), f"{self.where}: {own}")
        if kind == VARIABLE:
            self.variables.setdefault(name, attributes)
            self.taken.add(name)
            self.tensors.append((name,))
            return
        inputs = [self._tensor(ref, own, index) for ref in record.get("inputs", [])]
        arguments, kept = arguments_of(kind, attributes)
        for argument in arguments[len(inputs) :]:  # old files leave out what is learned
            added = f"{name}_{argument}"
            self.variables.setdefault(added, Attributes({}, attributes.where))
            inputs.append(added)
        if kept:
            inputs = inputs[:kept]
        outputs = self._outputs(name, output_names(kind, attributes))
        self.tensors.append(outputs)
        self.nodes.append(
            MxNode(
                name=name,
                type=kind,
                layer=f"{kind}_{name}",
                inputs=tuple(inputs),
                outputs=outputs,
                line=index,
                attributes=attributes,
                arguments=arguments,
            )
        )

    def _texts(self, record: Mapping[str, Any], own: str) -> dict[str, str]:
        """Return the attributes: ``attrs``, before 1.0 ``attr``, before 0.9 ``param`` as well."""
        texts: dict[str, str] = {}
        for key in ("attr", "param", "attrs"):
            found = record.get(key) or {}
            if not isinstance(found, dict):
                raise self._wrong(f"{key} is malformed", "an object of texts", own)
            texts.update({str(name): str(value) for name, value in found.items()})
        old = self.version < _FIRST_WITH_ARGMAX_AXIS and record["op"] in ("argmax", "argmin")
        if old and texts.get("axis") == "-1":  # it meant all elements
            del texts["axis"]
        return texts

    def _outputs(self, name: str, ends: Sequence[str]) -> tuple[str, ...]:
        outputs = []
        for end in ends:
            wanted, tries = f"{name}_{end}", 1
            free = wanted
            while free in self.taken:
                tries += 1
                free = f"{wanted}_{tries}"
            self.taken.add(free)
            outputs.append(free)
        return tuple(outputs)

    def _tensor(
        self, ref: Any, own: str, before: int | None = None, *, hidden: bool = False
    ) -> str:
        """Return the tensor that a pair (node, output) means; '' for a ``hidden`` one."""
        if not (
            isinstance(ref, list)
            and len(ref) >= 1
            and all(isinstance(n, int) and not isinstance(n, bool) for n in ref[:2])
        ):
            raise self._wrong(f"{ref!r} names no tensor", "[node, output, version]", own)
        node, output = ref[0], ref[1] if len(ref) > 1 else 0
        if not 0 <= node < len(self.records):
            raise self._wrong(f"node {node} is named", f"there are {len(self.records)} nodes", own)
        if before is not None and node >= before:
            raise self._wrong(
                f"it reads node {node}, which stands behind it",
                "a node reads nodes in front of it; a network has no cycles",
                own,
            )
        outputs = self.tensors[node]
        if hidden and output >= len(outputs):
            return ""
        if not 0 <= output < len(outputs):
            other = self.records[node]
            raise ModelImportError(
                f"output {output} of node {other['name']!r} ({other['op']}) is read",
                where=f"{self.where}: {own}",
                rule=f"at inference that node has {len(outputs)}",
                remedy="use the first output only",
            )
        return outputs[output]


def _refuse_made_for_the_framework(where: str, own: str, kind: str) -> None:
    raise ModelImportError(
        f"operator {kind} belongs to a network that MXNet quantized or fused for its own programs",
        where=f"{where}: {own}",
        rule="its numbers fit MXNet's integer arithmetic only",
        remedy="give the float network it was made from, and quantize that with npusim",
    )


def _version(content: Mapping[str, Any]) -> int:
    """Return the version that wrote the file, as a number like 10901; old files have none."""
    found = content.get("attrs")
    entry = found.get("mxnet_version") if isinstance(found, dict) else None
    number = entry[-1] if isinstance(entry, Sequence) and entry else 0
    return number if isinstance(number, int) else 0
