"""What a converter of a TensorFlow operator works with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, UnsupportedForm
from npusim.importers.common.converters import ConverterTable
from npusim.importers.common.ordered import Held, OrderedContext, SourceNode
from npusim.importers.common.orders import NCHW, NHWC, Order
from npusim.importers.common.unroll import Budget
from npusim.importers.common.whole import whole_numbers
from npusim.importers.tensorflow.file import TYPE_NAMES, TYPES, StoredTensor, shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TfNode(SourceNode):
    """A node in its scope.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Tensors, ``node:0``; nodes inside of functions have the call's name in front.
    waits : tuple of str
        Nodes that must run before.
    own : str
        Its name in the file.
    """

    waits: tuple[str, ...] = ()
    own: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    tensor: StoredTensor | None = None

    def integer(self, name: str, default: int = 0) -> int:
        """Return a whole number."""
        return int(self.attrs[name].i) if name in self.attrs else default

    def mask(self, word: str) -> int:
        """Return the bits of one of StridedSlice's masks."""
        return self.integer(f"{word}_mask")

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers, empty when it is missing."""
        return tuple(map(int, self.attrs[name].list.i)) if name in self.attrs else ()

    def real(self, name: str, default: float) -> float:
        """Return a real number."""
        return float(self.attrs[name].f) if name in self.attrs else default

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value."""
        return bool(self.attrs[name].b) if name in self.attrs else default

    def text(self, name: str, default: str = "") -> str:
        """Return a word."""
        return self.attrs[name].s.decode("utf-8") if name in self.attrs else default

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of words."""
        if name not in self.attrs:
            return ()
        return tuple(word.decode("utf-8") for word in self.attrs[name].list.s)

    def type_number(self, name: str, default: int = 1) -> int:
        """Return the number of an element type."""
        return int(self.attrs[name].type) if name in self.attrs else default

    def numpy_type(self, name: str) -> Any:
        """Return an element type as numpy's."""
        number = self.type_number(name)
        if number not in TYPES:
            raise UnsupportedForm(f"its type is {TYPE_NAMES.get(number, number)}")
        return np.dtype(TYPES[number])

    def sizes(self, name: str) -> tuple[int, ...] | None:
        """Return a shape, None when it is missing or of unknown rank."""
        return shape_of(self.attrs[name].shape) if name in self.attrs else None

    def function(self, name: str) -> str:
        """Return the name of a function."""
        return self.attrs[name].func.name.decode("utf-8") if name in self.attrs else ""

    def functions(self, name: str) -> tuple[str, ...]:
        """Return the names of a list of functions."""
        if name not in self.attrs:
            return ()
        return tuple(entry.name.decode("utf-8") for entry in self.attrs[name].list.func)


@dataclass(frozen=True, slots=True)
class TensorList:
    """A list of tensors while the graph is read.

    Attributes
    ----------
    items : tuple of (str or None)
        Tensors; None for one that nothing has written yet.
    shape : tuple of int, or None
        Of an item, -1 where open; None when nothing is known.
    kind : int
        Number of the element type.
    """

    items: tuple[str | None, ...]
    shape: tuple[int, ...] | None = None
    kind: int = 1


@dataclass(slots=True)
class TfContext(OrderedContext):
    """The import in progress.

    Attributes
    ----------
    made_by : dict
        Tensor -> the node that makes it.
    codes : bool
        FakeQuant gives tensors codes; else its arithmetic is written out.
    lists : dict
        Handle of a list, or flow of an array -> what is in it at that point.
    stacked : dict
        Where a tensor is -> the tensors that it joins along its first axis.
    budget : Budget
        Of all loops.
    """

    made_by: dict[str, TfNode] = field(default_factory=dict)
    codes: bool = True
    lists: dict[str, TensorList] = field(default_factory=dict)
    stacked: dict[Held, tuple[str, ...]] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)

    def alias(self, output: str, source: str, order: Sequence[int] | None = None) -> None:
        """Make an output another name of a tensor or a list."""
        if source in self.lists:
            self.lists[output] = self.lists[source]
            return
        OrderedContext.alias(self, output, source, order)

    def exists(self, name: str) -> bool:
        """Tell whether a tensor or a list has been made."""
        return name in self.values or name in self.held or name in self.lists

    def fixed(self, node: TfNode, position: int, what: str) -> Array:
        """Return an input that must be known.

        Raises
        ------
        UnsupportedForm
            When it depends on the data.
        """
        value = self.known(node.inputs[position])
        if value is None:
            raise UnsupportedForm(
                f"{what} depends on the input data", "make it a constant before freezing"
            )
        return value

    def ints(self, node: TfNode, position: int, what: str) -> tuple[int, ...]:
        """Return an input that must be known, as integers."""
        return whole_numbers(self.fixed(node, position, what), what)

    def map_order(self, node: TfNode, source: str) -> Order:
        """Return which axes of a feature map are N, C, H, W, by the node's data format."""
        if self.rank(source) != 4:
            raise ModelImportError(
                f"input {self.shape(source)}", where=node.where, rule="four axes"
            )
        layout = node.text("data_format", "NHWC")
        if layout not in ("NHWC", "NCHW"):
            raise UnsupportedForm(f"data format {layout!r}", "use NHWC")
        return NHWC if layout == "NHWC" else NCHW

    def spatial(self, node: TfNode, name: str, order: Order) -> tuple[int, int]:
        """Return the height's and the width's number of a list with one per axis."""
        numbers = node.integers(name) or (1, 1, 1, 1)
        if len(numbers) != 4 or numbers[order[0]] != 1 or numbers[order[1]] != 1:
            raise UnsupportedForm(f"{name} {list(numbers)}", "1 for batch and channels")
        return numbers[order[2]], numbers[order[3]]


converter: ConverterTable[TfNode, TfContext] = ConverterTable()
converter_of, convertible_ops = converter.find, converter.types


def needs(node: TfNode, least: int, most: int = 0) -> None:
    """Refuse another number of inputs."""
    if not least <= len(node.inputs) <= (most or least):
        wanted = f"{least}" if least >= most else f"{least} to {most}"
        raise ModelImportError(f"it has {len(node.inputs)} inputs", where=node.where, rule=wanted)
