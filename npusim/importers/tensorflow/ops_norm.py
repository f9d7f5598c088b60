"""Normalisations."""

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.ordered_math import across_channels, batch_norm
from npusim.importers.tensorflow.context import TfContext, TfNode, converter, needs


@converter("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "_FusedBatchNormEx")
def fused_batch_norm(node: TfNode, context: TfContext) -> None:
    """Known statistics; epsilon .0001 by default."""
    source = node.inputs[0]
    if node.flag("is_training", True):
        raise UnsupportedForm(
            "it is in training and computes the statistics of the batch",
            "freeze the inference graph (is_training=False)",
        )
    parameters = [context.fixed(node, i, "a parameter") for i in (1, 2, 3, 4)]
    rank = context.rank(source)
    layout = node.text("data_format", "NHWC")
    if rank not in (4, 5):
        raise ModelImportError(
            f"input {context.shape(source)}", where=node.where, rule="four or five axes"
        )
    axis = 1 if layout.startswith("NC") else rank - 1
    epsilon = node.real("epsilon", 1e-4)
    if node.type != "_FusedBatchNormEx":
        batch_norm(context, node, source, parameters, epsilon, axis=axis)
        return
    word = node.text("activation_mode", "Identity")
    if word not in ("Identity", "Relu") or node.integer("num_side_inputs") > 1:
        raise UnsupportedForm(f"fused {word}", "freeze the graph without remapping")
    side, relu = node.integer("num_side_inputs"), word == "Relu"
    part = "normed" if side or relu else ""
    out = batch_norm(context, node, source, parameters, epsilon, axis=axis, part=part)
    if side:
        out = context.binary(node, "add", out, node.inputs[5], part="sum" if relu else "")
    if relu:
        context.unary(node, "relu", out)


@converter("BatchNormWithGlobalNormalization")
def old_batch_norm(node: TfNode, context: TfContext) -> None:
    """Mean, variance, beta and gamma in this order."""
    needs(node, 5)
    mean, variance, beta, gamma = (context.fixed(node, i, "a parameter") for i in (1, 2, 3, 4))
    if not node.flag("scale_after_normalization"):
        gamma = gamma * 0 + 1
    epsilon = node.real("variance_epsilon", 1e-3)
    axis = context.rank(node.inputs[0]) - 1
    parameters = (gamma, beta, mean, variance)
    batch_norm(context, node, node.inputs[0], parameters, epsilon, axis=axis)


@converter("LRN")
def lrn(node: TfNode, context: TfContext) -> None:
    """X / (bias + alpha * sum) ** beta over 2 * depth_radius + 1 channels."""
    source = node.inputs[0]
    context.map_order(node, source)
    radius = node.integer("depth_radius", 5)
    alpha, beta, bias = (node.real(w, d) for w, d in (("alpha", 1.0), ("beta", 0.5), ("bias", 1.0)))
    across_channels(context, node, source, radius, alpha, beta, bias)
