"""Names that files of custom operators import beside RKNN; they describe an operator's ports."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class IoMap(NamedTuple):
    """A port of a custom operator: its name, ``"in"`` or ``"out"``, and a comment."""

    name: str
    type: str
    description: str = ""


class Shape:
    """A shape that knows its layout, ``"nhwc"`` or ``"nchw"``."""

    def __init__(self, shape: Sequence[int] = (), fmt: str = "nhwc") -> None:
        self.set_shape(shape, fmt)

    def set_shape(self, shape: Sequence[int], fmt: str = "nhwc") -> None:
        """Set the sizes, in the order that ``fmt`` names."""
        self._shape, self._fmt = [int(size) for size in shape], fmt.lower()

    def format(self, fmt: str = "nhwc") -> list[int]:
        """Return the sizes in another order; shapes without four axes have one order only."""
        if fmt.lower() == self._fmt or len(self._shape) != len(fmt):
            return list(self._shape)
        return [self._shape[self._fmt.index(axis)] for axis in fmt.lower()]


class RKNNCustomOP:
    """Base of custom operators: what a subclass does not define is nothing."""

    op = ""
    def_input: Sequence[IoMap] = ()
    def_output: Sequence[IoMap] = ()

    def load_params_from_tf(self, node_def: Any, tensor_data_map: Any) -> dict[str, Any]:
        """Return the parameters of a node."""
        return {}

    def compute_output_shape(self, inputs_shape: Any, params: Any) -> list[Shape]:
        """Return the shapes of all outputs."""
        return []

    def compute_output_tensor(
        self, const_tensor: Any, inputs_tensor: Any, params: Any
    ) -> list[Any]:
        """Return all outputs."""
        return []
