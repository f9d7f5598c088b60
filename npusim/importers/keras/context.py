"""What a converter of a Keras layer works with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array
from npusim.importers.common.converters import ConverterTable
from npusim.importers.common.ordered import OrderedContext, SourceNode
from npusim.importers.keras.config import Layer
from npusim.importers.keras.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class KerasNode(SourceNode):
    """One call of a layer.

    Attributes
    ----------
    args, kwargs
        As in the file, with names of tensors (``Tensor``) in them.
    """

    source: Layer
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Return how messages name the layer."""
        return f"layer {self.name!r} ({self.type})"

    @property
    def config(self) -> dict[str, Any]:
        """Return the layer's settings."""
        return self.source.config

    def whole(self, name: str, default: int = 0) -> int:
        """Return a whole number."""
        return int(self.number(name, default))

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a real number, however it is written."""
        value = self.config.get(name)
        while isinstance(value, Mapping):
            value = value.get("value", value.get("config"))
        if value is None:
            return default
        try:
            (result,) = np.asarray(value, np.float64).reshape(-1)
        except (TypeError, ValueError):
            raise self.wrong(name, "a number") from None
        return float(result)

    def flag(self, name: str, default: bool) -> bool:
        """Return a truth value."""
        value = self.config.get(name)
        return default if value is None else bool(value)

    def text(self, name: str, default: str) -> str:
        """Return a word."""
        value = self.config.get(name)
        return default if value is None else str(value)

    def pair(self, name: str, default: Sequence[int] = (1, 1)) -> tuple[int, int]:
        """Return two whole numbers; one stands for both."""
        value = self.config.get(name)
        if value is None:
            value = list(default)
        if isinstance(value, int | float):
            value = [value, value]
        if not isinstance(value, list | tuple) or len(value) not in (1, 2):
            raise self.wrong(name, "one or two whole numbers")
        try:
            first, second = int(value[0]), int(value[-1])
        except (TypeError, ValueError):
            raise self.wrong(name, "whole numbers") from None
        return first, second

    def wrong(self, name: str, rule: str) -> ModelImportError:
        """Return the error for a setting."""
        return ModelImportError(
            f"{name} is {str(self.config.get(name))[:80]}", where=self.where, rule=rule
        )


class Tensor(str):
    """The name of a tensor among the arguments of a call."""


@dataclass(slots=True)
class KerasContext(OrderedContext):
    """The import in progress.

    Attributes
    ----------
    era : int
        1, 2 or 3: the Keras that wrote the file.
    """

    weights: Weights | None = None
    era: int = 3

    def learned(
        self, node: KerasNode, shapes: Mapping[str, Sequence[int]], inner: Sequence[str] = ()
    ) -> list[Array]:
        """Return a layer's weights.

        Parameters
        ----------
        shapes : mapping
            Name -> shape, in the order of the file.
        inner : sequence of str
            The part of the layer that has them.

        Raises
        ------
        ModelImportError
            When there are others.
        """
        assert self.weights is not None
        found = self.weights.of(node.source.place, inner)
        if not found and inner and self.weights.of(node.source.place):
            found = self.weights.of(node.source.place)
        wanted = [tuple(int(n) for n in shape) for shape in shapes.values()]
        have = [tuple(value.shape) for value in found]
        if have != wanted:
            same = len(have) == len(wanted) and all(
                prod(a) == prod(b) for a, b in zip(have, wanted, strict=True)
            )
            if same and self.era == 1:
                return [v.reshape(s) for v, s in zip(found, wanted, strict=True)]
            raise ModelImportError(
                f"its stored weights have the shapes {have}" if have else "it has no weights",
                where=node.where,
                rule=", ".join(f"{k} {tuple(v)}" for k, v in shapes.items()) or "none",
                remedy="the weights belong to another model; save the whole model again",
            )
        return [np.asarray(value, np.float32) for value in found]

    def channels_last(self, node: KerasNode, source: str) -> bool:
        """Tell whether channels are the last axis."""
        return node.text("data_format", "channels_last") != "channels_first"


converter: ConverterTable[KerasNode, KerasContext] = ConverterTable()
converter_of, convertible_layers = converter.find, converter.types


def one_input(node: KerasNode) -> str:
    """Return the only input of a layer."""
    if len(node.inputs) != 1:
        raise ModelImportError(f"it reads {len(node.inputs)} tensors", where=node.where, rule="one")
    return node.inputs[0]


def needs_rank(node: KerasNode, context: KerasContext, source: str, rank: int) -> None:
    """Refuse another number of axes."""
    if context.rank(source) != rank:
        raise ModelImportError(
            f"input {context.shape(source)}", where=node.where, rule=f"{rank} axes"
        )
