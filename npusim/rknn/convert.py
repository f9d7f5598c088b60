"""The conversion half: source model -> lowered graph -> model file."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from npusim.api.quantizing import float16
from npusim.errors import ConfigError, NpusimError
from npusim.explain import see
from npusim.importers.formats import load_as
from npusim.ir.graph import Graph
from npusim.ir.text import quant_text
from npusim.passes.pipeline import lower
from npusim.quantization.input_text import array_text, input_text
from npusim.quantization.job import Quantization
from npusim.quantization.plan import Plan, unused_without_calibration
from npusim.quantization.schemes import Range, Scheme
from npusim.reading.files import is_path
from npusim.rknn.log import Log
from npusim.rknn.options import Options
from npusim.rknn.platforms import simulated_chip
from npusim.rknn.prequantized import keep_parameters
from npusim.rknn.state import as_path
from npusim.rknn.weight_report import draw_distributions, warn_of_outliers

ADVISED_BATCH = 32
_messages = logging.getLogger("npusim")


def import_onnx(model: Path, inputs: Any, input_size_list: Any, outputs: Any) -> Graph:
    """Return the float graph of an ONNX file, with the toolkit's parameters.

    Raises
    ------
    ConfigError
        When a parameter is malformed.
    ModelImportError
        From the importer.
    """
    names, sizes = _names("inputs", inputs), _sizes(input_size_list)
    if names is not None and sizes is None:
        raise ConfigError(
            "inputs is given without input_size_list",
            rule="one size without batch per input, for example [[3, 224, 224]]",
        )
    if names is not None and sizes is not None and len(names) != len(sizes):
        raise ConfigError(f"{len(names)} inputs and {len(sizes)} sizes", rule="one size per input")
    return import_part("ONNX", model, inputs, input_size_list, outputs)


def import_part(
    framework: str,
    model: Path,
    inputs: Any,
    input_size_list: Any,
    outputs: Any,
    *,
    weights: Path | bool | None = None,
) -> Graph:
    """Return the graph of a file of any framework between inputs and outputs; errors as above."""
    names, ends = _names("inputs", inputs), _names("outputs", outputs)
    return _with_shapes(
        lambda shapes: load_as(
            framework, model, weights=weights, inputs=names, input_shapes=shapes, outputs=ends
        ),
        _sizes(input_size_list),
    )


def import_pytorch(model: Path, input_size_list: Any, inputs: Any, outputs: Any) -> Graph:
    """Return the graph of a TorchScript file, with the toolkit's parameters."""
    if _sizes(input_size_list) is None:
        raise ConfigError(
            "input_size_list is not given",
            rule="one size without batch per input, for example [[3, 224, 224]]",
        )
    return import_part("PyTorch", model, inputs, input_size_list, outputs)


def import_tensorflow(
    model: Path,
    inputs: Any,
    input_size_list: Any,
    outputs: Any,
    predef_file: Any,
    *,
    with_batch: bool,
) -> Graph:
    """Return the graph of a frozen TensorFlow graph, with the toolkit's parameters.

    Parameters
    ----------
    with_batch : bool
        Sizes hold the batch; else it is 1.
    """
    names, ends = _names("inputs", inputs), _names("outputs", outputs)
    sizes = _sizes(input_size_list)
    if names is not None and sizes is not None and len(names) != len(sizes):
        raise ConfigError(f"{len(names)} inputs and {len(sizes)} sizes", rule="one size per input")
    predefined = None if predef_file is None else as_path(predef_file, "predef_file")

    def load(shapes: list[Sequence[int]] | None) -> Graph:
        return load_as(
            "TensorFlow",
            model,
            inputs=names,
            input_shapes=shapes,
            outputs=ends,
            predefined=predefined,
        )

    return load(sizes) if with_batch else _with_shapes(load, sizes)


def import_mxnet(symbol: Path, params: Path | None, input_size_list: Any) -> Graph:
    """Return the graph of an MXNet symbol, with the toolkit's parameters."""
    return _with_shapes(
        lambda shapes: load_as("MXNet", symbol, weights=params, input_shapes=shapes),
        _sizes(input_size_list),
    )


def build(
    graph: Graph,
    options: Options,
    log: Log,
    *,
    do_quantization: bool,
    dataset: Any,
    batch: Any,
) -> Graph:
    """Return the lowered graph of a float graph, under a configuration."""
    graph = prepared(graph, options, log, batch=batch)
    level = options.optimization_level
    if not do_quantization or options.scheme is Scheme.F16:
        choices = (options.algorithm.name, options.toolkit, options.no_join)
        if unused := unused_without_calibration(*choices):
            log.warning(f"config: {unused} {see('unused-choices')}")
    if graph.is_quantized and not do_quantization:
        return keep_parameters(graph, options, log)
    if not do_quantization or options.scheme is Scheme.F16:
        if options.quantize_input_node or options.merge_dequant_layer_and_output_node:
            log.warning(
                "config: quantize_input_node and merge_dequant_layer_and_output_node have no "
                "effect on a float16 model: its inputs and outputs stay float16; quantize it"
            )
        if options.avoid_driver_faults:
            log.warning(
                "config: avoid_driver_faults has no effect on a float16 model, which has no "
                "parameters; quantize it"
            )
        why = "quantized_dtype is float16" if do_quantization else "do_quantization=False"
        log.info(f"{why}: weights and activations become float16")
        return lower(float16(graph, optimization_level=level), level=level)
    job, ranges = measured(graph, options, log, dataset=dataset)
    quantized = job.quantized(ranges, job.formats)
    assert job.calibration is not None
    for name, (low, high) in job.calibration.ranges.items():
        spec = quantized.tensors.get(name)
        log.debug(f"tensor {name!r}: {low:g} .. {high:g} {quant_text(spec.quant) if spec else ''}")
    return lower(quantized, level=level)


def prepared(graph: Graph, options: Options, log: Log, *, batch: Any) -> Graph:
    """Return the float graph with preprocessing, target and batch of a configuration."""
    graph = graph.copy(
        preprocess=options.channels.preprocess(graph),
        target=simulated_chip(options.targets),
        batch=_batch(batch, log),
    )
    for name in graph.inputs:
        spec = graph.spec(name)
        taken_as = array_text("arrays", spec, layout="nhwc")
        log.info(input_text(name, spec, graph.preprocess.get(name), taken_as))
    return graph


def measured(
    graph: Graph, options: Options, log: Log, *, dataset: Any
) -> tuple[Quantization, dict[str, Range]]:
    """Return the quantization of a configuration and the ranges it measured; say what was used."""
    if not is_path(dataset):
        raise ConfigError(
            f"dataset {dataset!r}",
            rule="quantization needs the path of a dataset file, one sample a line",
            remedy="give dataset='dataset.txt', or build with do_quantization=False",
        )
    job = Quantization(
        graph,
        Plan(
            scheme=options.scheme,
            dataset=Path(dataset),
            sample_limit=options.sample_limit,
            algorithm=options.algorithm,
            level=options.optimization_level,
            toolkit=options.toolkit,
            no_join=options.no_join,
            avoid_driver_faults=options.avoid_driver_faults,
        ),
    )
    begin = time.monotonic()

    def progress(count: int, total: int, label: str) -> None:
        left_s = (time.monotonic() - begin) / count * (total - count)
        log.debug(f"sample {count} of {total}: {label} ({left_s:.0f} s left)")

    samples = job.samples
    warn_of_outliers(job.graph, log)
    ranges, found = job.measure(progress), job.calibration
    assert found is not None
    draw_distributions(job.graph, samples, log)
    log.info(
        f"{options.scheme.value}: ranges from {found.samples} samples of {dataset}, "
        f"{-(-found.samples // options.batch_size)} steps of up to {options.batch_size}; "
        f"{options.algorithm.text()}, float engine {found.engine}"
    )
    return job, ranges


def _batch(value: Any, log: Log) -> int:
    if value is None or value == -1:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"rknn_batch_size {value!r}", rule="-1, or an integer of at least 1")
    if value >= ADVISED_BATCH:
        log.warning(
            f"rknn_batch_size {value}: the vendor advises less than {ADVISED_BATCH} "
            "for a board's memory; npusim computes the samples one by one, with the same bits"
        )
    from npusim.api.pricing import checked_batch

    return checked_batch(value)


def _names(what: str, value: Any) -> list[str] | None:
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"{what} {value!r}", rule="a list of names")
    return list(names) or None


def _with_shapes(
    load: Callable[[list[Sequence[int]] | None], Graph], sizes: list[Sequence[int]] | None
) -> Graph:
    """Load with sizes that leave out the batch, or hold it where nothing else fits.

    Source: the toolkit's example of custom operators gives [[1, 512]] for an input of two axes.
    """
    if sizes is None:
        return load(None)
    try:
        return load([(1, *size) for size in sizes])
    except NpusimError as error:
        if any(len(size) < 2 or size[0] != 1 for size in sizes):
            raise
        try:
            graph = load(sizes)
        except NpusimError:
            raise error from None
    _messages.warning(
        f"input_size_list {[list(size) for size in sizes]} holds the batch, which sizes leave out: "
        "it is taken as it is meant"
    )
    return graph


def _sizes(value: Any) -> list[Sequence[int]] | None:
    if value is None:
        return None
    sizes = list(value) if isinstance(value, list | tuple) else None
    if sizes and all(isinstance(n, int) for n in sizes):
        sizes = [sizes]  # one input
    if not sizes or not all(
        isinstance(size, list | tuple) and all(isinstance(n, int) and n > 0 for n in size)
        for size in sizes
    ):
        raise ConfigError(
            f"input_size_list {value!r}",
            rule="one size without batch per input, for example [[3, 224, 224]]",
        )
    return sizes
