"""``npusim equalize``."""

from pathlib import Path
from typing import Annotated

import typer

from npusim.cli import common, quantize_options

NAME = "equalize"


def command(
    model: common.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    relu6: Annotated[
        str,
        typer.Option(
            metavar="keep|restrict|replace",
            help="Layers around relu6: leave alone, scale only channels that stay below 6 on the "
            "dataset, or make it a relu (changes the function).",
        ),
    ] = "restrict",
    dataset: common.DatasetOption = None,
    engine: quantize_options.EngineOption = "auto",
    shape: common.ShapeOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    reorder: common.ReorderOption = None,
    level: common.LevelOption = 3,
    as_json: common.JsonOption = False,
) -> None:
    """Equalize a float model's weights across layers and write it as ONNX, opset 12.

    This changes the float model: batch normalisations are folded, weights are rescaled. Its
    function stays the same up to rounding, except where relu6 is replaced.
    """
    from npusim.errors import ConfigError
    from npusim.exporters.onnx import save_onnx
    from npusim.passes.pipeline import optimize
    from npusim.quantization.channel_stats import channel_stats
    from npusim.quantization.dataset import open_dataset
    from npusim.quantization.equalize import Relu6, equalize, relu6_inputs

    shown = common.console(as_json)
    source = common.load(model, shape=shape, mean=mean, std=std, reorder=reorder)
    if common.is_quantized(source):
        raise ConfigError(
            "this model is quantized", where=model, rule="only float models are equalized"
        )
    graph = optimize(source, level=level)
    mode = Relu6(quantize_options.relu6_word(relu6) or "restrict")
    tensors = relu6_inputs(graph)
    dataset = common.dataset_of(model, dataset)
    stats = None
    if mode is Relu6.RESTRICT and tensors and dataset is not None:
        samples = open_dataset(dataset, graph)
        with common.progress_bar(shown) as bar:
            task = bar.add_task("measuring channels", total=len(samples))
            stats = channel_stats(
                graph, samples, tensors, engine=engine, progress=lambda *_: bar.advance(task)
            )
    done = equalize(graph, relu6=mode, stats=stats)
    save_onnx(done.graph, output)
    left = len(tensors) if mode is Relu6.KEEP or (mode is Relu6.RESTRICT and stats is None) else 0
    facts = {
        "file": str(output),
        "pairs": len(done.pairs),
        "rounds": done.rounds,
        "spread_before": done.spread_before,
        "spread_after": done.spread_after,
        "relu6_replaced": list(done.replaced),
        "channels": done.channels,
        "channels_held_by_relu6": done.restricted_channels,
        "pairs_left_because_of_relu6": left,
    }
    if as_json:
        common.print_json(facts)
        return
    shown.print(f"{output}: {done.note}", markup=False, highlight=False)
    if done.restricted_channels:
        shown.print(
            f"{done.restricted_channels} of {done.channels} channels scaled less than wanted, "
            "so that relu6 changes nothing on the dataset"
        )
    if left:
        shown.print(
            f"{left} pairs of layers around relu6 were left alone; --relu6 restrict with --dataset "
            "or --relu6 replace would include them"
        )
