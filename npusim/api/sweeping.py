"""Many variants of one design, priced in one process: width and input size against time."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from npusim.api.pricing import checked_batch, is_layer_list, layer_list, listed_network
from npusim.errors import ConfigError, NpusimError
from npusim.importers.formats import load
from npusim.ir.graph import Graph
from npusim.perfmodel.estimate import estimate as estimated
from npusim.perfmodel.layer_list import LayerList, layer_graph, read_layer_list
from npusim.perfmodel.machine import Machine
from npusim.perfmodel.scaling import Scaling, Size
from npusim.perfmodel.sweep import Point, Refused, Sweep, with_front
from npusim.plain import name_of
from npusim.quantization.schemes import Scheme, scheme_of

MOST_POINTS = 10_000


def sweep(
    model: Graph | str | Path,
    *,
    widths: Sequence[float] = (1.0,),
    sizes: Sequence[Size | None] = (None,),
    target: Machine | str | Path | None = None,
    scheme: Scheme | str | None = None,
    batch: int | None = None,
    optimization_level: int = 3,
    budget_us: float | None = None,
    **settings: Any,
) -> Sweep:
    """Price every width with every input size and find the Pareto front.

    Parameters
    ----------
    model : Graph or path
        A layer list, or a float model, which becomes one.
    widths : sequence of float
        Multipliers of the channels (``npusim.perfmodel.scaling``).
    sizes : sequence of (height, width) or None
        Of all inputs with four axes; None is the list's own.
    target, scheme, batch, optimization_level
        As for ``npusim.estimate``.
    budget_us : float, optional
        Points that take longer are not on the front.
    **settings
        profile, clock_mhz, ddr_gbps and sram, as for ``npusim.estimate``.

    Returns
    -------
    Sweep
        With an ``Estimate`` for every point.

    Raises
    ------
    ConfigError
        When there are too many points, a value cannot be, or no point fits.
    """
    if len(widths) * len(sizes) > MOST_POINTS:
        raise ConfigError(
            f"{len(widths) * len(sizes)} points", where="sweep", rule=f"at most {MOST_POINTS}"
        )
    if bad := [width for width in widths if not 0 < width <= 16]:
        raise ConfigError(f"width {bad[0]:g}", where="sweep", rule="above 0, at most 16")
    if batch is not None:
        checked_batch(batch)
    kind = scheme_of(scheme) if scheme is not None else Scheme.U8
    scaling = Scaling(_layers(model, kind, optimization_level))
    points: list[Point] = []
    refused: list[Refused] = []
    for width, size in product(widths, sizes):
        try:
            layers = scaling.variant(width, size)
            network = listed_network(layers, kind, optimization_level)
            if batch is not None:
                network = replace(network, batch=batch)
            priced = estimated(network, target, **settings)
        except NpusimError as error:
            refused.append(Refused(width=width, size=size, error=error))
            continue
        points.append(Point(width=width, size=size, layers=layers, estimate=priced))
    if not points:
        raise refused[0].error
    return Sweep(points=with_front(points, budget_us), refused=tuple(refused))


def _layers(model: Graph | str | Path, scheme: Scheme, level: int) -> LayerList:
    if not isinstance(model, Graph):
        path = Path(model)
        if is_layer_list(path):
            return read_layer_list(path)
        model = load(path).copy(name=name_of(path))
    listed = layer_list(model, scheme=scheme, optimization_level=level)
    return layer_graph(listed, where=model.name)
