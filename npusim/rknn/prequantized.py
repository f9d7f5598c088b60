"""``build(do_quantization=False)`` of a model that came quantized: its parameters are kept."""

from npusim.api.quantizing import float16
from npusim.explain import see
from npusim.importers.common.quantized_types import keep_output_codes, quantize_inputs
from npusim.ir.graph import Graph
from npusim.passes.pipeline import lower
from npusim.report.number_formats import number_formats
from npusim.rknn.log import Log
from npusim.rknn.options import Options


def keep_parameters(graph: Graph, options: Options, log: Log) -> Graph:
    """Return the lowered graph with the model's own scales and zero points.

    ``quantize_input_node`` makes real inputs integers at once, without a conversion on the chip;
    ``merge_dequant_layer_and_output_node`` leaves out the conversion of results.

    Source: user guide 1.7.3, config.
    """
    if options.quantize_input_node:
        graph, names = quantize_inputs(graph)
        log.info(f"quantize_input_node: inputs {', '.join(names) or 'none'} are integers")
    if options.merge_dequant_layer_and_output_node:
        graph, names = keep_output_codes(graph)
        log.info(
            f"merge_dequant_layer_and_output_node: outputs {', '.join(names) or 'none'} stay "
            "integers on the chip"
        )
    level = options.optimization_level
    built = lower(float16(graph, optimization_level=level), level=level)
    found = number_formats(built)
    log.info(
        "do_quantization=False: the model came quantized, its own parameters are kept; "
        + found.scheme
    )
    if found.elsewhere:
        log.warning(
            "the chip does not run all of this quantized model as it asks, npusim computes what "
            f"the chip does; quantize it per tensor to uint8 {see('quantized-as-it-asks')}:\n"
            + found.text()
        )
    return built
