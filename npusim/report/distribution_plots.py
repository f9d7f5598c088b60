"""Histograms as PNG files, or as npz files without matplotlib."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from npusim.analysis.names import file_part
from npusim.errors import UNWRITABLE, MissingExtraError, NpusimError
from npusim.extras import require
from npusim.ir.atomic import atomic_write
from npusim.ir.locks import Unfinished
from npusim.quantization.distributions import Distribution


def write_distributions(found: Iterable[Distribution], folder: Path) -> tuple[int, str]:
    """Write one file per histogram; return how many and of what kind (png or npz).

    Raises
    ------
    NpusimError
        When the folder cannot be written.
    """
    found = tuple(found)
    try:
        require("matplotlib", extra="plots", purpose="drawing histograms")
        kind = "png"
    except MissingExtraError:
        kind = "npz"
    try:
        with Unfinished(folder, "set of histograms"):
            for one in found:
                with atomic_write(folder / f"{file_part(one.name)}.{kind}") as file:
                    if kind == "png":
                        _draw(one, file)
                    else:
                        np.savez(file, counts=one.counts, low=one.low, high=one.high)
    except OSError as error:
        raise NpusimError(
            f"histograms cannot be written: {error.strerror}",
            where=str(folder),
            remedy=UNWRITABLE,
        ) from error
    return len(found), kind


def _draw(one: Distribution, file: BinaryIO) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    edges = np.linspace(one.low, one.high, one.counts.size + 1)
    axes.stairs(np.maximum(one.counts, 0), edges, fill=True)
    axes.set_yscale("symlog")
    axes.set_xlabel("value")
    axes.set_ylabel("count")
    axes.set_title(f"{one.name}: {one.low:.6g} .. {one.high:.6g}", parse_math=False, fontsize=9)
    figure.savefig(file, format="png", dpi=80)
