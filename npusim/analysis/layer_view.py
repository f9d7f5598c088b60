"""One layer, run alone, with what is needed to find out why it is off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npusim.analysis.metrics import energy, gap_between
from npusim.analysis.parts import Parts
from npusim.ir.attrs import Activation
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.graph import Graph, Node
from npusim.ir.limits import representable
from npusim.ir.quant import AffinePerChannel, Float, scale_of
from npusim.ir.tensor import TensorSpec
from npusim.reference.evaluate import Evaluator

Array = NDArray[Any]
Real = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """A layer output of the individual run beside its float reference.

    Attributes
    ----------
    reference, real : ndarray of float64
        Float value, and what the layer gave when fed with float results.
    inputs : tuple of ndarray
        Stored activations that it read, in the order of ``feeds``.
    values : mapping
        Float reference of all tensors.
    users : mapping
        Tensor -> layers that read it.
    originals : mapping
        Constants of the float source by their names there.
    parts : Parts or None
        Of an output that holds values of several units.
    """

    graph: Graph
    node: Node
    tensor: str
    reference: Real
    real: Real
    stored: Array
    feeds: tuple[str, ...]
    inputs: tuple[Array, ...]
    values: Mapping[str, Array]
    users: Mapping[str, Sequence[Node]]
    originals: Mapping[str, Array] = field(default_factory=dict)
    parts: Parts | None = None

    @property
    def spec(self) -> TensorSpec:
        """Return the output's type."""
        return self.graph.spec(self.tensor)

    @property
    def step(self) -> float | None:
        """Return the output's quantization step; None for floats."""
        quant = self.spec.quant
        return None if isinstance(quant, Float | AffinePerChannel) else scale_of(quant)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Return the smallest and the largest real value that the output type holds."""
        return representable(self.spec)

    @cached_property
    def reference_energy(self) -> float:
        """Return the energy of the reference."""
        return energy(self.reference)

    @cached_property
    def error_energy(self) -> float:
        """Return the energy of the layer's own error."""
        return energy(gap_between(self.real, self.reference))

    def share(self, energy: float) -> float:
        """Return which part of the layer's own error an error energy is."""
        return min(1.0, energy / self.error_energy) if self.error_energy > 0 else 0.0

    def exact(self, *, activation: bool = True, float_inputs: bool = False) -> Real | None:
        """Return the layer's function of its stored inputs and weights without any rounding.

        Parameters
        ----------
        activation : bool
            False: before the activation that is fused into it.
        float_inputs : bool
            Of the float results of the layers before instead of the stored inputs.

        Returns
        -------
        ndarray or None
            None when a constant has per-channel parameters.
        """
        node, graph = self.node, self.graph
        attrs: Any = node.attrs
        if not activation and hasattr(attrs, "activation"):
            attrs = replace(attrs, activation=Activation.NONE)
        names = dict.fromkeys((*node.inputs, *node.outputs))
        specs = {
            name: TensorSpec(
                name=name,
                shape=graph.spec(name).shape,
                dtype=DType.F32 if _is_real(graph.spec(name)) else graph.spec(name).dtype,
            )
            for name in names
        }
        constants = {}
        for name in node.inputs:
            if not graph.is_constant(name):
                continue
            if isinstance(graph.spec(name).quant, AffinePerChannel):
                return None
            constants[name] = _real(graph.constants[name], graph.spec(name))
        small = Graph(
            name=node.name,
            nodes=(replace(node, attrs=attrs),),
            inputs=self.feeds,
            outputs=(self.tensor,),
            tensors=specs,
            constants=constants,
        )
        feeds = {
            name: np.asarray(self.values[name], specs[name].dtype.numpy, order="C")
            if float_inputs and name in self.values
            else _real(value, graph.spec(name))
            for name, value in zip(self.feeds, self.inputs, strict=True)
        }
        return Evaluator(small).run(feeds)[self.tensor].astype(np.float64)


def _is_real(spec: TensorSpec) -> bool:
    return spec.dtype.is_float or not isinstance(spec.quant, Float)


def _real(value: Array, spec: TensorSpec) -> Array:
    """Return real values of a stored array, whatever its rank; indices stay integers."""
    # np.ascontiguousarray would give an array without axes one
    return np.asarray(dequantize(value, spec.quant) if _is_real(spec) else value, order="C")
