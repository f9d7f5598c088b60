"""Weights so far from the others that they spoil the scale of their layer."""

from dataclasses import dataclass

import numpy as np

from npusim.ir.graph import Graph
from npusim.ops import op_def

DEVIATIONS = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """The most extreme weight of one layer.

    Attributes
    ----------
    const : str
        Name of the weight tensor.
    layer_id : str
    abs_mean, abs_std : float
        Of the absolute values of the tensor.
    value : float
        The weight.
    """

    const: str
    layer_id: str
    abs_mean: float
    abs_std: float
    value: float

    @property
    def deviations(self) -> float:
        """Return by how many standard deviations the weight exceeds the mean."""
        return (abs(self.value) - self.abs_mean) / self.abs_std if self.abs_std else 0.0


def weight_outliers(graph: Graph, *, deviations: float = DEVIATIONS) -> tuple[Outlier, ...]:
    """Return layers with ``|w| > mean(|w|) + deviations * std(|w|)``, most extreme first.

    Only weights of convolutions and fully connected layers are looked at.
    """
    found = []
    for node in graph.nodes:
        if not op_def(node.op).weighted or not graph.is_constant(node.inputs[1]):
            continue
        weights = graph.constants[node.inputs[1]].reshape(-1).astype(np.float64)
        if not weights.size:
            continue
        reach = np.abs(weights)
        worst = int(reach.argmax())
        outlier = Outlier(
            const=node.inputs[1],
            layer_id=node.layer_id,
            abs_mean=float(reach.mean()),
            abs_std=float(reach.std()),
            value=float(weights[worst]),
        )
        if outlier.deviations > deviations:
            found.append(outlier)
    return tuple(sorted(found, key=lambda o: (-o.deviations, o.const)))


def outlier_table(outliers: tuple[Outlier, ...]) -> str:
    """Return the table of release 1.7.5: constant, mean, deviation, outlier."""
    width = max(len("const name"), *(len(o.const) for o in outliers))
    rows = [f"{'const name':<{width}}  {'abs_mean':>12}  {'abs_std':>12}  {'outlier value':>14}"]
    rows += [
        f"{o.const:<{width}}  {o.abs_mean:>12.6f}  {o.abs_std:>12.6f}  {o.value:>14.6f}"
        for o in outliers
    ]
    return "\n".join(rows)
