"""Softmax in its forms, and the ends of training networks."""

from math import prod

from npusim.errors import ModelImportError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.common.layers import Step, times
from npusim.importers.mxnet.context import MxContext, converter, needs
from npusim.importers.mxnet.symbol import MxNode
from npusim.ir.attrs import AxisAttrs


@converter("softmax", "log_softmax", "softmin")
def softmax(node: MxNode, context: MxContext) -> None:
    """Compute along an axis, the last by default, after division by ``temperature``."""
    if len(node.inputs) > 1 or node.attributes.flag("use_length"):
        raise UnsupportedForm("its lengths are an input", "give rows of one length")
    needs(node, 1)
    rank = len(context.shape(node.inputs[0]))
    axis = context.axis(node, node.attributes.whole("axis", -1), rank)
    temperature = node.attributes.real("temperature", 1.0)
    if not temperature:
        raise ModelImportError("temperature is 0", where=node.where, rule="not zero")
    sign = -1.0 if node.type == "softmin" else 1.0
    op = "log_softmax" if node.type == "log_softmax" else "softmax"
    steps = [*times(sign / temperature), Step("softmax", op, AxisAttrs(axis=axis))]
    context.chain(node, node.inputs[0], steps)


@converter("SoftmaxActivation")
def softmax_activation(node: MxNode, context: MxContext) -> None:
    """Compute along channels (``mode`` channel), or the last axis."""
    needs(node, 1)
    mode = node.attributes.text("mode", "instance")
    if mode not in ("instance", "channel"):
        raise ModelImportError(f"mode {mode!r}", where=node.where, rule="instance or channel")
    last = len(context.shape(node.inputs[0])) - 1
    axis = 1 if mode == "channel" else last
    context.emit(node, "softmax", node.inputs, AxisAttrs(axis=axis))


@converter("SoftmaxOutput", "Softmax")
def softmax_output(node: MxNode, context: MxContext) -> None:
    """Compute along the second axis (``multi_output``), the last, or as the program does."""
    needs(node, 1)
    shape = context.shape(node.inputs[0])
    if node.attributes.flag("multi_output"):
        context.emit(node, "softmax", node.inputs, AxisAttrs(axis=1))
    elif node.attributes.flag("preserve_shape"):
        context.emit(node, "softmax", node.inputs, AxisAttrs(axis=len(shape) - 1))
    else:
        _by_sample(node, context)


def _by_sample(node: MxNode, context: MxContext) -> None:
    """Rows of two axes; of four the last axis with MKL-DNN, else all numbers of a sample."""
    shape = context.shape(node.inputs[0])
    if len(shape) == 4:
        here, other = "the last axis", "all numbers of a sample"
        if not context.mkldnn:
            here, other = other, here
        words = ("with", "without") if context.mkldnn else ("without", "with")
        context.notes.append(
            f"node {node.name!r}: softmax of {shape} over {here}, as MXNet {words[0]} MKL-DNN "
            f"does; {words[1]} it: {other} (npusim.importers.mxnet.importer.load_mxnet takes "
            f"mkldnn={not context.mkldnn})"
        )
    if len(shape) < 3 or (len(shape) == 4 and context.mkldnn):
        context.emit(node, "softmax", node.inputs, AxisAttrs(axis=len(shape) - 1))
        return
    flat = (shape[0], prod(shape[1:]))
    x = context.reshape(node, node.inputs[0], flat, part="rows")
    x = context.emit(node, "softmax", (x,), AxisAttrs(axis=1), part="shares")
    context.reshape(node, x, shape)


@converter("LogisticRegressionOutput")
def logistic(node: MxNode, context: MxContext) -> None:
    """Compute the sigmoid."""
    needs(node, 1)
    context.emit(node, "sigmoid", node.inputs)
