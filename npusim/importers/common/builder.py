"""What every importer shares: size limits, file identity and the growing graph."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import prod
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.errors import UNREADABLE, ModelImportError
from npusim.host.tail import OPSET, HostNode, tail_of
from npusim.importers.common.names import claim
from npusim.importers.common.parameters import check_graph
from npusim.ir.attrs import NO_ATTRS, Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node, Source, Tail, prune, rename_inputs
from npusim.ir.quant import Affine, AffinePerChannel, Float, Quant
from npusim.ir.tensor import LIMITS, Shape, TensorSpec, within_limits
from npusim.ops import infer_shapes, op_def
from npusim.plain import LONGEST_COMPARED
from npusim.reading.files import mode_of
from npusim.reading.files import read_bytes as read_file

Array = NDArray[Any]
FLOAT = Float()

MAX_LAYERS, _SPARE_LAYERS = 1 << 16, 1 << 12  # a turn or call may end beyond, and says so itself
MAX_CONSTANT_ELEMENTS = 1 << 29
MAX_TOTAL_ELEMENTS = 1 << 34
"""Limits that hold before anything is allocated, beside that of one tensor."""


def takes_any_type(op: str) -> bool:
    """Tell whether an operator takes elements of any type; all others compute on real numbers."""
    definition = op_def(op)
    return definition.moves or definition.of_truth or op == "convert"


def works_on_codes(op: str, attrs: Attrs) -> bool:
    """Tell whether an operator works on quantized codes as they are.

    Movement, selection and maxima, whose results are such codes; interpolation, which stays in
    their range; argmax.
    """
    definition = op_def(op)
    return definition.on_codes or definition.keeps_codes(attrs)


def check_elements(shape: Sequence[int], what: str, where: str) -> int:
    """Return the number of elements of a shape.

    Raises
    ------
    ModelImportError
        When a size is negative or there are too many axes or elements.
    """
    sizes = tuple(int(n) for n in shape)
    if not within_limits(sizes):
        raise ModelImportError(
            f"{what} has the absurd shape {sizes}",
            where=where,
            rule=LIMITS,
            remedy="check the input shapes and the file",
        )
    return prod(sizes)


def sha256_of(data: bytes) -> str:
    """Return the SHA-256 of bytes as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a model file, or say why there is none."""
    refuse_absent(path)
    return read_file(path, ModelImportError, most=limit)


def refuse_absent(path: Path, what: str = "model", known: Sequence[str] = ()) -> None:
    """Refuse a path where there is no file.

    Parameters
    ----------
    what : str
        What the file should be.
    known : sequence of str
        Words that stand for a file, by the door that asks.

    Raises
    ------
    ModelImportError
        With the names near it, or saying that it is a folder.
    """
    try:
        mode = mode_of(path)
        if S_ISDIR(mode):
            raise ModelImportError(
                "this is a folder", where=str(path), rule=f"the {what} is a file"
            )
        if mode:
            if not S_ISREG(mode):  # opening a pipe may wait for ever
                raise ModelImportError(
                    "this is a pipe or a device", where=str(path), rule=f"the {what} is a file"
                )
            return
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        names = [entry.name for entry in beside if entry.is_file()]
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise ModelImportError(
            f"cannot be read: {reason}", where=str(path), remedy=UNREADABLE
        ) from error
    raise ModelImportError(
        f"the {what} file does not exist",
        where=str(path),
        rule=" or ".join(["the path of a file", *map(repr, known)]) if known else "",
        remedy=suggestion(path.name, [*known, *names]),
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the names closest to a misspelt one."""
    by_case: dict[str, list[str]] = {}
    if len(name) > LONGEST_COMPARED:
        return "check the spelling"
    for entry in known:
        if len(entry) <= LONGEST_COMPARED:
            by_case.setdefault(entry.lower(), []).append(entry)
    matches = get_close_matches(name.lower(), list(by_case), n=3, cutoff=0.5)
    close = [entry for match in matches for entry in by_case[match]]
    if close:
        return f"did you mean {', '.join(map(repr, close))}?"
    names = sorted(name for group in by_case.values() for name in group)
    if 0 < len(names) <= 8:
        return f"known: {', '.join(map(repr, names))}"
    return "check the spelling"


MISFITS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What converters end in when sizes or settings of a file's layer contradict each other."""


class UnsupportedForm(Exception):
    """A node, or this use of it, has no counterpart; collected and reported together.

    Parameters
    ----------
    reason : str
        What about the node is unsupported.
    advice : str
        The nearest rewrite.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


def misfit(error: Exception) -> str:
    """Return what is wrong with a layer whose converter ended in one of ``MISFITS``."""
    return f"its operands and settings do not fit ({type(error).__name__}: {error})"


@dataclass(frozen=True, slots=True)
class Stored:
    """The integers a float constant was dequantized from; ``quant.axis`` counts in ``codes``."""

    codes: Array
    quant: Affine | AffinePerChannel


@dataclass(slots=True)
class GraphBuilder:
    """A graph being built in execution order; shapes come from ``npusim.ops.infer_shapes``.

    Attributes
    ----------
    stored : dict
        Float constants -> the integers they stand for; also for constants made from such ones.
    host : list of HostNode
        What the CPU runs behind the NPU part (``npusim.host``).
    host_opset : int
        ONNX operator set of host nodes without a domain.
    """

    where: str
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, TensorSpec] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    layer_names: set[str] = field(default_factory=set)
    elements: int = 0
    constant_elements: int = 0
    host: list[HostNode] = field(default_factory=list)
    host_opset: int = OPSET
    _shared: dict[tuple[object, ...], Array] | None = None

    def share_constants(self) -> None:
        """From here on keep equal constants once; ``finish`` makes them one tensor."""
        if self._shared is None:
            self._shared = {}

    def host_layer_of(self, name: str) -> str:
        """Return the host layer that gives a tensor; empty when none does."""
        return next((node.name for node in self.host if name in node.outputs), "")

    def _add_spec(self, spec: TensorSpec, what: str) -> None:
        if spec.name in self.tensors:
            raise ModelImportError(f"two tensors are called {spec.name!r}", where=self.where)
        self.elements += check_elements(spec.shape, what, self.where)
        if self.elements > MAX_TOTAL_ELEMENTS:
            raise ModelImportError(
                f"the tensors up to {spec.name!r} have {self.elements} elements together",
                where=self.where,
                rule=f"at most {MAX_TOTAL_ELEMENTS} elements in one network",
                remedy="check the input shapes",
            )
        self.tensors[spec.name] = spec

    def add_input(
        self, name: str, shape: Shape, dtype: DType = DType.F32, quant: Quant = FLOAT
    ) -> None:
        """Declare a graph input."""
        spec = TensorSpec(name=name, shape=shape, dtype=dtype, quant=quant)
        self._add_spec(spec, f"input {name!r}")

    def set_quant(self, name: str, quant: Quant) -> None:
        """Say what the integers of a tensor stand for."""
        self.tensors[name] = replace(self.tensors[name], quant=quant)

    def set_format(self, name: str, dtype: DType, quant: Quant) -> None:
        """Give a tensor another type as well."""
        self.tensors[name] = replace(self.tensors[name], dtype=dtype, quant=quant)

    def rename(self, old: str, new: str) -> None:
        """Give a tensor another name wherever it stands."""
        names = {old: new}
        self.tensors[new] = replace(self.tensors.pop(old), name=new)
        if old in self.constants:
            self.constants[new] = self.constants.pop(old)
        self.nodes = [
            replace(
                rename_inputs(node, names),
                outputs=tuple(names.get(out, out) for out in node.outputs),
            )
            for node in self.nodes
        ]

    def add_constant(self, name: str, value: Array, quant: Quant = FLOAT) -> str:
        """Keep a constant under a name; floating point values become float32.

        Raises
        ------
        ModelImportError
            When finite values overflow float32, or all constants together are too many.
        """
        kept = self.as_constant(name, value)
        if self._shared is not None:
            content = hashlib.sha256(np.ascontiguousarray(kept).data).digest()
            first = self._shared.setdefault((kept.dtype.str, kept.shape, content), kept)
            self.constant_elements -= first.size if first is not kept else 0
            kept = first
        self.constant_elements += kept.size
        if self.constant_elements > MAX_CONSTANT_ELEMENTS:
            raise ModelImportError(
                f"the constants up to {name!r} have {self.constant_elements} elements together",
                where=self.where,
                rule=f"at most {MAX_CONSTANT_ELEMENTS} elements of constants",
            )
        self._add_spec(
            TensorSpec(name=name, shape=kept.shape, dtype=DType.of(kept.dtype), quant=quant),
            f"constant {name!r}",
        )
        self.constants[name] = kept
        return name

    def as_constant(self, name: str, value: Array) -> Array:
        """Return a value in the type it has in a float graph."""
        if value.dtype.kind == "f" or value.dtype.name == "bfloat16":
            if value.dtype == np.float64 and np.any(np.abs(value) > np.finfo(np.float32).max):
                finite = value[np.isfinite(value)]
                if np.any(np.abs(finite) > np.finfo(np.float32).max):
                    raise ModelImportError(
                        f"constant {name!r} has values beyond float32",
                        where=self.where,
                        rule="double weights become float32",
                    )
            return value.astype(np.float32, copy=False)
        try:
            DType.of(value.dtype)
        except KeyError:
            raise ModelImportError(
                f"constant {name!r} has element type {value.dtype}",
                where=self.where,
                rule=f"element types: {', '.join(d.value for d in DType)}, float64, bfloat16",
                remedy="export the model in float32",
            ) from None
        return value

    def add_node(
        self,
        name: str,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        origin: Sequence[str] = (),
        dtype: DType | None = None,
        quant: Quant | None = None,
    ) -> None:
        """Append a node; its output shapes and types are derived.

        Parameters
        ----------
        name : str
            Layer name; the first output's is appended when another layer has it.
        dtype : DType, optional
            Output type where it is not the first input's (argmax, convert).
        quant : Quant, optional
            What the outputs' integers stand for; by default as the first input's, or plain when
            ``dtype`` is given.

        Raises
        ------
        GraphError, ModelImportError
            When the shapes do not fit or are absurd.
        """
        if len(self.nodes) > MAX_LAYERS + _SPARE_LAYERS:
            raise ModelImportError(
                f"written out the network has more than {MAX_LAYERS} layers at {name!r}",
                where=self.where,
                rule=f"at most {MAX_LAYERS} layers",
                remedy="check the sizes that layers are written out for: steps, taps, parts",
            )
        if name in self.layer_names:
            name = claim(f"{name}@{outputs[0]}", self.layer_names)
        node = Node(
            name=name,
            op=op,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            attrs=attrs,
            origin=tuple(origin),
        )
        specs = [self.tensors[i] for i in inputs]
        shapes = infer_shapes(node, specs)
        if quant is None:
            quant = specs[0].quant if dtype is None else FLOAT
        for output, shape in zip(outputs, shapes, strict=True):
            self._add_spec(
                TensorSpec(name=output, shape=shape, dtype=dtype or specs[0].dtype, quant=quant),
                f"output {output!r} of layer {name!r}",
            )
        self.layer_names.add(name)
        self.nodes.append(node)

    def finish(
        self,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        renames: Mapping[str, str],
        source: Source,
        notes: Sequence[str] = (),
        rewrite: Callable[[Graph], Graph] = lambda graph: graph,
    ) -> Graph:
        """Return the finished, pruned and verified graph.

        Parameters
        ----------
        renames : mapping
            Tensors that take another name (a removed identity in front of an output).
        rewrite : callable
            Applied before layers are numbered.
        """
        same = self._equal_constants(outputs)
        nodes = [
            replace(
                rename_inputs(node, {**renames, **same} if same else renames),
                outputs=tuple(renames.get(out, out) for out in node.outputs),
            )
            for node in self.nodes
        ]
        tensors = {
            renames.get(key, key): replace(spec, name=renames.get(key, key))
            for key, spec in self.tensors.items()
        }
        tail = self._tail(name, outputs, tensors, renames)
        ends = list(outputs)
        if tail is not None:
            ends = [end for end in outputs if end in tensors]
            ends += [end for end in tail.inputs if end not in (*ends, *inputs)]
        graph = prune(
            Graph(
                name=name,
                nodes=tuple(nodes),
                inputs=tuple(inputs),
                outputs=tuple(ends),
                tensors=tensors,
                constants=dict(self.constants),
                source=source,
                notes=tuple(notes),
                tail=tail,
            )
        )
        graph = prune(rewrite(graph))
        last = len(graph.nodes) - 1  # counted from the outputs back, as the vendor's importer does
        graph = graph.copy(nodes=tuple(replace(n, uid=last - i) for i, n in enumerate(graph.nodes)))
        check_graph(graph, self.where)
        return graph

    def _equal_constants(self, outputs: Sequence[str]) -> dict[str, str]:
        """Return constant -> the first one with the same numbers, among those that are shared."""
        if self._shared is None:
            return {}
        firsts: dict[tuple[object, ...], str] = {}
        same = {}
        for name, value in self.constants.items():
            if name in outputs:
                continue
            stored = self.stored.get(name)
            codes = None if stored is None else (id(stored.codes), stored.quant)
            first = firsts.setdefault((id(value), self.tensors[name].quant, codes), name)
            if first != name:
                same[name] = first
        return same

    def _tail(
        self,
        name: str,
        outputs: Sequence[str],
        tensors: Mapping[str, TensorSpec],
        renames: Mapping[str, str],
    ) -> Tail | None:
        """Return what the CPU runs for these outputs; None when the NPU gives them all."""
        made = {out for node in self.host for out in node.outputs}
        if not made.intersection(outputs):
            return None
        nodes = [
            replace(node, inputs=tuple(renames.get(n, n) for n in node.inputs))
            for node in self.host
        ]
        try:
            return tail_of(
                nodes, tensors, self.constants, outputs, name=name, opset=self.host_opset
            )
        except ModelImportError as error:
            where = f"{self.where}: {error.where}"
            raise ModelImportError(error.what, where=where, rule=error.rule) from error
