"""What a converter of an MXNet operator works with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from zlib import crc32

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm, check_elements
from npusim.importers.common.layers import Converters, LayerContext, Step
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import SliceAttrs, TransposeAttrs
from npusim.ir.tensor import Shape


@dataclass(slots=True)
class MxContext(LayerContext):
    """The import in progress.

    Attributes
    ----------
    free : set of str
        Parameters without numbers: seeded pseudo-random ones stand in for them.
    mkldnn : bool
        Follow the program with MKL-DNN, the default, where the two forms of MXNet differ.
    """

    free: set[str] = field(default_factory=set)
    mkldnn: bool = True

    def parameter(
        self, node: MxNode, index: int, shape: Sequence[int], fill: float | None = None
    ) -> Array:
        """Return the numbers of a learned input, of a shape; ``fill`` is the value without a file.

        Raises
        ------
        UnsupportedForm
            When the input is computed.
        ModelImportError
            When it has another shape.
        """
        name, wanted = node.inputs[index], tuple(shape)
        words = node.arguments
        what = f"the {words[index]} {name!r}" if index < len(words) else f"input {name!r}"
        if name not in self.values:
            if name not in self.free:
                raise UnsupportedForm(
                    f"{what} is computed or an input", "it must stand in the params file"
                )
            check_elements(wanted, what, node.where)
            if fill is not None:
                self.values.store(name, np.full(wanted, fill, np.float32))
            else:
                rng = np.random.default_rng(crc32(name.encode()))
                limit = np.sqrt(3.0 / max(prod(wanted[1:]), 1))
                self.values.store(name, rng.uniform(-limit, limit, wanted).astype(np.float32))
        found = self.values[name]
        if found.shape != wanted:
            raise ModelImportError(
                f"{what} has the shape {found.shape}",
                where=node.where,
                rule=f"{wanted} fits the node and its input",
                remedy="give the params file that belongs to this symbol",
            )
        return found

    def known(self, node: MxNode, name: str) -> Array:
        """Return a value that must be known before a run."""
        if name not in self.values:
            raise UnsupportedForm(f"{name!r} is computed", "it must be a constant")
        return self.values[name]

    def axis(self, node: MxNode, axis: int, rank: int, *, extra: int = 0) -> int:
        """Return an axis as a non-negative number; ``extra`` allows one past the last."""
        count = rank + extra
        if not -count <= axis < count:
            raise ModelImportError(
                f"axis {axis} does not exist", where=node.where, rule=f"the input has {rank} axes"
            )
        return axis % count

    def transposed(self, node: MxNode, source: str, perm: Sequence[int], *, part: str = "") -> str:
        """Permute axes; nothing happens where they stay."""
        if tuple(perm) == tuple(range(len(perm))):
            if not part:
                self.alias(node.outputs[0], source)
            return source if part else node.outputs[0]
        return self.emit(node, "transpose", (source,), TransposeAttrs(perm=tuple(perm)), part=part)

    def cut(
        self,
        node: MxNode,
        source: str,
        begin: Sequence[int],
        end: Sequence[int],
        *,
        part: str = "",
        output: str = "",
    ) -> str:
        """Take a part; all of it gives an alias."""
        shape = self.shape(source)
        if not any(begin) and tuple(end) == shape:
            if part:
                return source
            self.alias(output or node.outputs[0], source)
            return output or node.outputs[0]
        attrs = SliceAttrs(begin=tuple(begin), end=tuple(end), step=(1,) * len(shape))
        return self.emit(node, "slice", (source,), attrs, part=part, output=output)

    def part(self, node: MxNode, source: str, steps: Sequence[Step], part: str) -> str:
        """Append steps whose result is not yet the node's."""
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            operands = [source]
            if step.operand is not None:
                other = step.operand
                if not isinstance(other, str):
                    other = self.constant(f"{node.outputs[0]}/{part}_{step.part}_by", other)
                operands.insert(0 if step.first else 1, other)
            word = part if last else f"{part}_{step.part}"
            source = self.emit(node, step.op, operands, step.attrs, part=word)
        return source


converter: Converters[MxNode, MxContext] = Converters()
"""Registers converters of operators."""


def needs(node: MxNode, inputs: int | tuple[int, int]) -> None:
    """Refuse another number of inputs."""
    low, high = (inputs, inputs) if isinstance(inputs, int) else inputs
    if not low <= len(node.inputs) <= high:
        text = f"{low}" if low == high else f"{low} to {high}"
        raise ModelImportError(f"it has {len(node.inputs)} inputs", where=node.where, rule=text)


def refuse_layout(node: MxNode, allowed: tuple[str, ...] = ("NCW", "NCHW", "NCDHW")) -> None:
    """Refuse channels that are not axis 1."""
    layout = node.attributes.text("layout")
    if layout and layout not in allowed:
        raise UnsupportedForm(
            f"layout {layout}", "channels are axis 1; write the network in NCHW with transposes"
        )


def channels_first(shape: Shape, rank: int) -> tuple[int, ...]:
    """Return the shape of one number per channel that fits a tensor of so many axes."""
    return (-1, *(1,) * (rank - 2)) if rank > 1 else shape
