"""What importers of layer lists share: layers with named inputs and outputs, and how to emit.

Caffe and Darknet describe a network as a list of layers on N, C, H, W blobs. Their converters get a
``SourceLayer`` and a ``LayerContext``; everything that is known before a run is folded here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np

from npusim import words
from npusim.errors import GraphError, ModelImportError, UnsupportedOpError
from npusim.host.tail import HostNode
from npusim.importers.common.builder import (
    MISFITS,
    Array,
    GraphBuilder,
    UnsupportedForm,
    misfit,
)
from npusim.importers.common.converters import ConverterTable
from npusim.importers.common.holes import leaving
from npusim.importers.common.known import folded
from npusim.importers.common.made import Values, check_made
from npusim.importers.common.names import claim
from npusim.ir.attrs import (
    NO_ATTRS,
    AlphaAttrs,
    Attrs,
    AxisAttrs,
    ClipAttrs,
    Conv2dAttrs,
    EltwiseAttrs,
    NormAttrs,
    ReshapeAttrs,
)
from npusim.ir.dtypes import DType
from npusim.ir.holes import Hole
from npusim.ir.tensor import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayer:
    """A layer of the file.

    Attributes
    ----------
    name, type : str
        As in the file.
    layer : str
        Name in the graph, ``<type>_<name>``.
    inputs, outputs : tuple of str
        Tensors, every one written once.
    line : int
        Where the layer begins in the file.
    """

    name: str
    type: str
    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    line: int

    @property
    def where(self) -> str:
        """Return how messages name the layer."""
        return f"line {self.line}: layer {self.name!r} ({self.type})"

    @property
    def place(self) -> str:
        """Return where the layer begins in the file."""
        return f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of a chain, on the chain's value and perhaps a second operand.

    Attributes
    ----------
    part : str
        What the result is called unless it is the chain's last.
    operand : array or str, optional
        A new constant, or a tensor.
    first : bool
        The operand is the first one: ``operand - x``.
    """

    part: str
    op: str
    attrs: Attrs = NO_ATTRS
    operand: Array | float | str | None = None
    first: bool = False


def times(factor: Array | float, part: str = "scaled") -> list[Step]:
    """Return the step of a product with constants; none for a product with one."""
    if isinstance(factor, float | int) and factor == 1:
        return []
    return [Step(part, "mul", EltwiseAttrs(), factor)]


def plus(term: Array | float, part: str = "shifted") -> list[Step]:
    """Return the step of a sum with constants; none for a sum with zero."""
    if isinstance(term, float | int) and term == 0:
        return []
    return [Step(part, "add", EltwiseAttrs(), term)]


def clipped(low: float, high: float, part: str = "clipped") -> Step:
    """Return the step of two limits."""
    if (low, high) == (0.0, 6.0):
        return Step(part, "relu6")
    return Step(part, "clip", ClipAttrs(minimum=low, maximum=high))


def leaky(alpha: float, part: str = "leaky") -> Step:
    """Return the step of a rectifier with a slope below zero."""
    return Step(part, "leaky_relu", AlphaAttrs(alpha=alpha)) if alpha else Step(part, "relu")


@dataclass(slots=True)
class LayerContext:
    """The import in progress.

    Attributes
    ----------
    values : dict
        Known values of tensors: everything that depends on shapes and constants only.
    aliases : dict
        Tensor -> the tensor that holds it, for layers that do nothing.
    names : set
        All tensor names of the file, which invented tensors avoid, and theirs.
    """

    builder: GraphBuilder
    names: set[str] = field(default_factory=set)
    values: Values[str] = field(default_factory=Values)
    aliases: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    # ---- what is known of a tensor
    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor."""
        value = self.values.get(name)
        if value is not None:
            return tuple(value.shape)
        return self.builder.tensors[self.aliases.get(name, name)].shape

    def operand(self, name: str) -> str:
        """Return the graph tensor; a known value becomes a constant."""
        value = self.values.get(name)
        if value is None:
            return self.aliases.get(name, name)
        if name not in self.builder.tensors:
            self.builder.add_constant(name, value)
        return name

    def unused(self, base: str) -> str:
        """Return a tensor name that neither the file nor the graph has, and take it."""
        return claim(base, self.names, self.builder.tensors, self.values)

    # ---- emitting
    def constant(self, base: str, value: Array | float) -> str:
        """Keep a real constant and return its name."""
        name = self.unused(base)
        self.values[name] = np.asarray(value, np.float32)
        return name

    def alias(self, output: str, source: str) -> None:
        """Make an output another name of a tensor, for a layer that does nothing."""
        value = self.values.get(source)
        if value is not None:
            self.values[output] = value
        else:
            self.aliases[output] = self.aliases.get(source, source)

    def emit(
        self,
        layer: SourceLayer,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs = NO_ATTRS,
        *,
        part: str = "",
        output: str = "",
        outputs: Sequence[str] = (),
        dtype: DType | None = None,
    ) -> str:
        """Append an operator and return its first output; what is known is computed at once.

        Parameters
        ----------
        part : str
            Set for all but the last operator that stands for a layer: the word is added to the
            layer's name and to its output's.
        output, outputs : optional
            Default: the layer's first output, or a new tensor when ``part`` is given.
        """
        self.refuse_behind_host(inputs)
        first = output or (layer.outputs[0] if layer.outputs else layer.name)
        outs = tuple(outputs or ([self.unused(f"{first}/{part}")] if part else [first]))
        known = [self.values[name] for name in inputs if name in self.values]
        if known and len(known) == len(inputs):
            results = folded(op, known, attrs)
            if results is None:
                raise UnsupportedForm(
                    f"it computes {op} of constants only", "give the layer's result as an input"
                )
            self.values.update(zip(outs, results, strict=True))
            return outs[0]
        self.builder.add_node(
            f"{layer.layer}/{part}" if part else layer.layer,
            op,
            [self.operand(n) for n in inputs],
            outs,
            attrs,
            origin=(layer.name,),
            dtype=dtype,
        )
        return outs[0]

    def host(
        self,
        layer: SourceLayer,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: Mapping[str, Any],
    ) -> None:
        """Append an operator of the CPU (``npusim.host.operators``); only such may read it."""
        self.refuse_behind_host(inputs)
        self.builder.host.append(
            HostNode(
                name=layer.layer,
                op=op,
                inputs=tuple(self.operand(name) for name in inputs),
                outputs=tuple(outputs),
                attrs=attrs,
            )
        )

    def refuse_behind_host(self, names: Iterable[str]) -> None:
        """Refuse a layer that reads what the CPU makes: nothing comes back to the NPU."""
        for name in names:
            if before := self.builder.host_layer_of(name):
                raise UnsupportedForm(
                    f"it reads {name!r}, which {before!r} makes on the CPU",
                    f"end the network there ({words.cut_at(outputs=[name])}) and go on with "
                    "another",
                )

    def chain(
        self, layer: SourceLayer, source: str, steps: Iterable[Step], *, output: str = ""
    ) -> str:
        """Append steps one behind the other; the last gives the output. Without steps: an alias."""
        steps = list(steps)
        target = output or layer.outputs[0]
        if not steps:
            self.alias(target, source)
            return target
        value = source
        for index, step in enumerate(steps):
            part = "" if index == len(steps) - 1 else step.part
            operands = [value]
            if step.operand is not None:
                other = step.operand
                if not isinstance(other, str):
                    other = self.constant(f"{target}/{step.part}_by", other)
                operands.insert(0 if step.first else 1, other)
            value = self.emit(layer, step.op, operands, step.attrs, part=part, output=output)
        return value

    def binary(
        self, layer: SourceLayer, op: str, first: str, second: str, *, part: str = ""
    ) -> str:
        """Append an element-wise operator of two tensors."""
        return self.emit(layer, op, (first, second), EltwiseAttrs(), part=part)

    def reshape(
        self,
        layer: SourceLayer,
        source: str,
        shape: Sequence[int],
        *,
        part: str = "",
        output: str = "",
    ) -> str:
        """Give a tensor's elements another shape; the same shape gives an alias."""
        target = tuple(int(n) for n in shape)
        if self.shape(source) == target:
            if part:
                return source
            name = output or layer.outputs[0]
            self.alias(name, source)
            return name
        if prod(target) != prod(self.shape(source)):
            raise ModelImportError(
                f"{prod(self.shape(source))} elements {self.shape(source)} do not fill {target}",
                where=layer.where,
                rule="the number of elements stays",
            )
        return self.emit(
            layer, "reshape", (source,), ReshapeAttrs(shape=target), part=part, output=output
        )

    def windows(
        self,
        layer: SourceLayer,
        source: str,
        attrs: Conv2dAttrs,
        kernel: tuple[int, int],
        *,
        part: str = "",
    ) -> str:
        """Give every window of (N, C, H, W) as C * kh * kw channels: a convolution with ones."""
        size = kernel[0] * kernel[1]
        check_made((attrs.group * size, size), "the windows", layer.where)
        ones = np.tile(np.eye(size, dtype=np.float32), (attrs.group, 1))
        operands = (
            source,
            self.constant(f"{layer.name}/ones", ones.reshape(-1, 1, *kernel)),
            self.constant(f"{layer.name}/zeros", np.zeros(len(ones), np.float32)),
        )
        return self.emit(layer, "conv2d", operands, attrs, part=part)

    def joined(
        self, layer: SourceLayer, names: Sequence[str], *, axis: int = 1, part: str = ""
    ) -> str:
        """Join tensors along an axis."""
        return self.emit(layer, "concat", names, AxisAttrs(axis=axis), part=part)

    def batch_norm(
        self,
        layer: SourceLayer,
        source: str,
        parameters: Sequence[Array],
        epsilon: float,
        *,
        part: str = "",
    ) -> str:
        """Normalise channels by gamma, beta, mean and variance, one value per channel each."""
        words = ("gamma", "beta", "mean", "variance")
        names = [
            self.constant(f"{layer.outputs[0]}/{word}", np.asarray(value, np.float32))
            for word, value in zip(words, parameters, strict=True)
        ]
        attrs = NormAttrs(epsilon=epsilon)
        return self.emit(layer, "batch_norm", (source, *names), attrs, part=part)

    def finish_outputs(self, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, str]:
        """Make every output a tensor of its own name and return the renames that takes."""
        renames: dict[str, str] = {}
        fixed = set(inputs) | set(outputs)
        for name in outputs:
            if self.builder.host_layer_of(name):
                continue
            source = self.operand(name)
            if source == name:
                continue
            if source in fixed or source in renames:
                self.builder.add_node(
                    f"Identity_{name}", "identity", (source,), (name,), origin=(name,)
                )
            else:
                renames[source] = name
        return renames


Layer = TypeVar("Layer", bound=SourceLayer)
Context = TypeVar("Context", bound=LayerContext)


class Converters(ConverterTable[Layer, Context]):
    """The converters of a framework whose networks are lists of layers."""

    def of(self, word: str) -> Callable[[Layer, Context], None]:
        """Return the converter of a layer type that has one."""
        return self._table[word]

    def run(
        self,
        layers: Iterable[Layer],
        context: Context,
        advise: Callable[[Layer], str],
        path: Any,
    ) -> None:
        """Convert layers in order.

        Raises
        ------
        UnsupportedOpError
            After the last layer, with a line for each that has no counterpart.
        ModelImportError
            For the first layer that is wrong in itself.
        """
        findings: list[str] = []
        holes: list[Hole] = []
        unknown: list[str] = []
        lost: set[str] = set()
        for layer in layers:
            waits = any(name in lost for name in layer.inputs)
            convert = self._table.get(layer.type)
            try:
                if convert is None:
                    raise UnsupportedForm("no counterpart")
                if not waits:
                    convert(layer, context)
            except UnsupportedForm as form:
                advice = form.advice or advise(layer)
                findings.append(
                    f"{layer.name!r} ({layer.place}): {layer.type}, {form.reason}; {advice}"
                )
                holes.append(Hole(layer=layer.name, op=layer.type, why=form.reason))
                lost.update(layer.outputs)
                continue
            except (ModelImportError, GraphError) as error:
                if not findings:
                    raise located(error, layer, path) from None
                findings.append(f"{layer.where} is wrong in itself: {error.what}")
                break
            except MISFITS as error:
                wrong = ModelImportError(misfit(error))
                if not findings:
                    raise located(wrong, layer, path) from error
                findings.append(f"{layer.where} is wrong in itself: {wrong.what}")
                break
            if waits:
                lost.update(layer.outputs)
                unknown.append(layer.name)
        if findings:
            raise leaving(unsupported(findings, path), context.builder, holes, unknown)


def located(
    error: ModelImportError | GraphError, layer: SourceLayer, path: Any
) -> ModelImportError:
    """Return an error with the file and the layer."""
    own = error.where if isinstance(error, ModelImportError) else ""
    own = own.removeprefix(str(path)).lstrip(": ")
    where = f"{path}: {own if repr(layer.name) in own else layer.where}"
    kind = type(error) if isinstance(error, ModelImportError) else ModelImportError
    return kind(error.what, where=where, rule=error.rule, remedy=error.remedy)


def unsupported(findings: Sequence[str], path: Any) -> UnsupportedOpError:
    """Return the error that lists layers without a counterpart."""
    count = f"{len(findings)} unsupported layer" + ("s" if len(findings) > 1 else "")
    return UnsupportedOpError(
        f"{count}:" + "".join(f"\n    {line}" for line in findings),
        where=str(path),
        rule="every layer needs a counterpart on the chip; npusim ops lists them",
        remedy=f"rewrite the layers as advised, or cut the network ({words.say('cut_both')}) and "
        "run the rest on the CPU",
    )
