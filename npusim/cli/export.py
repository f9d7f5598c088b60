"""``npusim export``."""

from pathlib import Path
from typing import Annotated

import typer

import npusim
from npusim.cli import common
from npusim.cli.uses import WRITTEN
from npusim.errors import ConfigError

NAME = "export"


def command(
    model: common.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write."), WRITTEN],
    weights: common.WeightsOption = None,
    cut_inputs: common.CutInputsOption = None,
    cut_outputs: common.CutOutputsOption = None,
    shape: common.ShapeOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Write a model as ONNX, opset 12: float as it is, quantized as QDQ pairs.

    A quantized model (.rknn of npusim or of the vendor's toolkit, .npusim, quantized TFLite or
    ONNX) keeps its scales, zero points and codes; its float16 parts become float32.
    """
    if output.suffix.lower() != ".onnx":
        raise ConfigError(
            f"the file {output}", where="--output", rule="what is written is ONNX: *.onnx"
        )
    shown = common.console(as_json)
    graph = common.load(
        model,
        weights=weights,
        part=common.cuts(cut_inputs, cut_outputs),
        shape=shape,
        as_source=True,
    )
    npusim.export_onnx(graph, output)
    facts = {
        "file": str(output),
        "bytes": output.stat().st_size,
        "layers": len(graph.nodes),
        "pairs": common.is_quantized(graph),
        "preprocess": {
            name: {"mean": how.mean, "std": how.std, "reorder": how.reorder}
            for name, how in graph.preprocess.items()
        },
    }
    if as_json:
        common.print_json(facts)
        return
    how = "QuantizeLinear and DequantizeLinear pairs" if facts["pairs"] else "float"
    text = f"{output}: {len(graph.nodes)} layers, {facts['bytes']} bytes, {how}"
    shown.print(text, highlight=False)
    for name, prepared in graph.preprocess.items():
        words = [
            f"{word} {' '.join(f'{number:g}' for number in numbers)}"
            for word in ("mean", "std", "reorder")
            if (numbers := getattr(prepared, word))
        ]
        if words:
            text = f"input {name!r} takes values after {', '.join(words)}"
            shown.print(text, highlight=False)
