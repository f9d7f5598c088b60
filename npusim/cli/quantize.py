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
    scheme: common.SchemeOption = "u8",
    dataset: common.DatasetOption = None,
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    target: common.TargetOption = "rk1808",
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Quantize a model with a calibration list and store it in npusim's container."""
    shown = common.console(as_json)
    graph = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder, target=target)
    ready = common.quantized(
        graph, scheme, common.dataset_of(model, dataset), level=level, shown=shown
    )
    archive.save(ready, output)
    size_bytes = output.stat().st_size
    if as_json:
        common.print_json(
            {"file": str(output), "bytes": size_bytes, "layers": len(ready.nodes), "scheme": scheme}
        )
    else:
        shown.print(f"{output}: {len(ready.nodes)} layers, {size_bytes} bytes, {scheme}")
