"""The ordered lists of passes, as data.

Levels follow RKNN-Toolkit's ``optimization_level``: 0 only what is needed to run, 1 and 2 rewrites
that keep every float value, 3 everything.
"""

from npusim.ir.graph import Graph
from npusim.ir.verify import verify
from npusim.passes.assign_engine import assign_engine, check_placement
from npusim.passes.driver import Step, check, run_pipeline
from npusim.passes.fold_affine import affine_to_conv, fold_affine, fold_pad
from npusim.passes.fold_max_pad import fold_max_pad
from npusim.passes.fold_sum import fold_sum
from npusim.passes.fuse_activation import fuse_relu, fuse_relu6, fuse_sum_relu
from npusim.passes.fuse_patterns import fuse_activation_patterns
from npusim.passes.joined_parameters import store_as_joined
from npusim.passes.lower_requant import lower_requant
from npusim.passes.merge_average import merge_average
from npusim.passes.simplify_moves import simplify_moves
from npusim.passes.split_deconv import split_deconv
from npusim.passes.swap_pool import swap_pool
from npusim.passes.warn_driver_faults import warn_driver_faults
from npusim.passes.warn_unmodelled import warn_unmodelled

FLOAT_PASSES = (
    Step(fuse_activation_patterns, 1, "swish and hard-swish are one TP table, not four layers"),
    Step(simplify_moves, 1, "reshapes and transposes that cancel cost time and nothing else"),
    Step(fold_pad, 1, "the NN engine pads for free"),
    Step(fold_max_pad, 1, "a max pool pads with less than everything"),
    Step(fold_affine, 2, "batch normalisation, scale and bias vanish into the weights"),
    Step(affine_to_conv, 0, "a batch normalisation left over runs as a depthwise convolution"),
    Step(fuse_relu, 1, "the NN engine applies relu while it stores"),
)

SPLIT_DECONV = Step(split_deconv, 0, "release 1.7.3 makes two layers of a transposed convolution")

PLACING_PASSES = (
    Step(fold_sum, 1, "the driver adds a constant behind a convolution with its bias"),
    Step(fuse_relu, 1, "a relu that feeds a concat, whose range is known now"),
    Step(fuse_relu6, 1, "saturation of the stored type is the clamp"),
    Step(merge_average, 1, "the driver averages 3x3 within a pointwise convolution behind it"),
    Step(swap_pool, 1, "the driver pools before it clamps: fewer values, and the pool is free"),
    Step(store_as_joined, 0, "scales that differ by a trifle are equal to the driver"),
    Step(assign_engine, 0, "the engine decides the rounding, the form what it costs"),
    Step(fuse_sum_relu, 1, "a sum on the NN engine applies relu while it stores"),
)

QUANTIZED_PASSES = (
    *PLACING_PASSES,
    Step(warn_unmodelled, 0, "what the chip computes otherwise is said, not hidden"),
    Step(warn_driver_faults, 0, "a concat that the driver gets wrong is named"),
    Step(lower_requant, 0, "multipliers and shifts become visible"),
)


def optimize(graph: Graph, *, level: int = 3, splits_deconv: bool = False) -> Graph:
    """Return the float graph after the rewrites of an optimization level (0..3).

    ``splits_deconv`` lowers transposed convolutions as release 1.7.3 does.
    """
    first, *others = FLOAT_PASSES
    steps = (first, SPLIT_DECONV, *others) if splits_deconv else FLOAT_PASSES
    return run_pipeline(graph, steps, level=level)


def lower(graph: Graph, *, level: int = 3, warns: bool = True) -> Graph:
    """Return the quantized graph with engines assigned and requantization lowered.

    A lowered graph is finished: it is checked and stays as it is, whatever the level. ``warns``
    says whether layers that the chip computes otherwise are named in warnings.

    Raises
    ------
    GraphError
        When a layer fits no engine, or a lowered graph is not consistent; it names the layer.
    """
    if graph.is_lowered:
        check(graph, "lowered")
        check_placement(graph)
        return graph
    steps = [step for step in QUANTIZED_PASSES if warns or step.run is not warn_unmodelled]
    lowered = run_pipeline(graph, steps, level=level, stage="quantized")
    verify(lowered, "lowered")  # the pipeline has checked the shapes
    return lowered


def place(graph: Graph, *, level: int = 3) -> Graph:
    """Return the quantized graph with engines and forms, to be priced rather than run."""
    return run_pipeline(graph, PLACING_PASSES, level=level, stage="quantized")


def upgraded(graph: Graph) -> Graph:
    """Return a stored graph as this version stores it; float and quantized graphs stay as they are.

    Files of container version 1 hold engines without forms: their nodes are placed again. What was
    fused stays fused and nothing else is.
    """
    old = any(node.engine is not None and node.form is None for node in graph.nodes)
    if not old:
        return graph
    check(graph)
    return lower(graph, level=0)
