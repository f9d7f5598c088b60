"""``npusim perf``."""

from typing import Annotated, Any

import typer

from npusim.cli import common
from npusim.passes.pipeline import lower, optimize
from npusim.perfmodel.estimate import estimate
from npusim.perfmodel.layer_list import load_layer_list
from npusim.quantization.schemes import scheme_named
from npusim.report.perf_table import layer_table

NAME = "perf"


def command(
    model: common.ModelArgument,
    dtype: Annotated[
        str, typer.Option(metavar="u8|i8|i16|f16", help="Number format of an unquantized model.")
    ] = "u8",
    target: common.TargetOption = "rk1808",
    profile: Annotated[
        str, typer.Option(metavar="board|vendor", help="Silicon, or the vendor's own estimator.")
    ] = "board",
    clock_mhz: Annotated[float | None, typer.Option(help="NPU clock.")] = None,
    ddr_gbps: Annotated[float | None, typer.Option(help="Sustained DDR rate, 1e9 B/s.")] = None,
    shape: common.ShapeOption = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Estimate the time of a model or of a layer list (json) on the chip, layer by layer."""
    shown = common.console(as_json)
    scheme = scheme_named(dtype)
    rates: Any = {"profile": profile, "clock_mhz": clock_mhz, "ddr_gbps": ddr_gbps}
    if model.endswith(".json"):
        result = estimate(load_layer_list(model, scheme.dtype), target, **rates)
    else:
        graph = common.load(model, shape=shape, target=target)
        if common.is_quantized(graph):
            result = estimate(lower(graph, level=level), target, **rates)
        else:
            result = estimate(optimize(graph, level=level), target, dtype=scheme.dtype, **rates)
    if as_json:
        common.print_json(common.finite(result.to_dict()))
    else:
        shown.print(layer_table(result))
