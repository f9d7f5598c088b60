"""What a build says of weights and distributions besides the model it makes."""

import os
from collections.abc import Iterable
from pathlib import Path

from npusim.explain import see
from npusim.ir.graph import Graph
from npusim.quantization.calibrate import Sample
from npusim.quantization.outliers import outlier_table, weight_outliers
from npusim.rknn.log import Log

FOLDER = "dump_data_distribute"
VARIABLE = "RKNN_DRAW_DATA_DISTRIBUTE"


def warn_of_outliers(graph: Graph, log: Log) -> None:
    """List weights that are far from all others of their layer, as release 1.7.5 does."""
    outliers = weight_outliers(graph)
    if outliers:
        log.warning(
            f"outlier values in {len(outliers)} weight tensors; they widen the range of their "
            f"layers and may cost accuracy; they are quantized as they are "
            f"{see('weight-outliers')}:\n{outlier_table(outliers)}"
        )


def draw_distributions(graph: Graph, samples: Iterable[Sample], log: Log) -> None:
    """Write histograms into the working directory when RKNN_DRAW_DATA_DISTRIBUTE is 1.

    Parameters
    ----------
    graph : Graph
        Float graph after the float passes.
    samples : iterable of (label, feeds)
        Can be read twice.
    log : Log
    """
    if os.environ.get(VARIABLE, "").strip() in ("", "0"):
        return
    from npusim.quantization.distributions import distributions
    from npusim.report.distribution_plots import write_distributions

    count, kind = write_distributions(distributions(graph, samples), Path(FOLDER))
    log.info(f"{VARIABLE}: {count} histograms ({kind}) in {Path(FOLDER).absolute()}")
    if kind != "png":
        log.warning(
            f"{VARIABLE}: matplotlib is not installed, the histograms are {kind} files with "
            "counts, low and high; python -m pip install 'npusim[plots]'"
        )
