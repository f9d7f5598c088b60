"""``npusim quantize``."""

from pathlib import Path
from typing import Annotated

import typer

from npusim.cli import common
from npusim.ir import archive

NAME = "quantize"


def command(
    model: common.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    scheme: common.SchemeOption = None,
    dataset: common.DatasetOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    target: common.TargetOption = "rk1808",
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Quantize a model with a calibration list (default u8) and store it in npusim's container.

    A model that came quantized is stored with its own parameters.
    """
    shown = common.console(as_json)
    graph = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder, target=target)
    scheme = scheme or (None if common.is_quantized(graph) else "u8")
    ready = common.quantized(
        graph, scheme, common.dataset_of(model, dataset), level=level, shown=shown
    )
    archive.save(ready, output)
    size_bytes = output.stat().st_size
    kept = scheme or "its own parameters"
    if as_json:
        common.print_json(
            {"file": str(output), "bytes": size_bytes, "layers": len(ready.nodes), "scheme": kept}
        )
    else:
        shown.print(f"{output}: {len(ready.nodes)} layers, {size_bytes} bytes, {kept}")
