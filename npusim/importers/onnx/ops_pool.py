"""MaxPool, AveragePool and the global forms."""

from npusim.errors import ModelImportError
from npusim.importers.onnx.context import Context, OnnxNode, UnsupportedForm, converter
from npusim.importers.onnx.ops_volume import VOLUME, pool_dilated, pool_volume
from npusim.importers.onnx.window import pair, part_2d, spatial_rank, to_1d, to_2d, window
from npusim.ir.attrs import GlobalPoolAttrs, Pool2dAttrs, PoolKind, ReduceAttrs

_KINDS = {
    "MaxPool": PoolKind.MAX,
    "AveragePool": PoolKind.AVG,
    "GlobalMaxPool": PoolKind.MAX,
    "GlobalAveragePool": PoolKind.AVG,
}


@converter("MaxPool", "AveragePool")
def pool(node: OnnxNode, context: Context) -> None:
    """Window pooling over up to three spatial axes."""
    shape = context.shape(node.inputs[0])
    if len(shape) == VOLUME:
        pool_volume(node, context, _KINDS[node.op_type])
        return
    kernel = pair(node, "kernel_shape", spatial_rank(node, shape), 0)
    win = window(node, shape, kernel)
    if win.dilation != (1, 1):
        if node.op_type == "AveragePool":
            raise UnsupportedForm(f"dilations {win.dilation}", "pool with dilation 1")
        pool_dilated(node, context, kernel)
        return
    ceil_mode = bool(node.integer("ceil_mode", 0)) and node.text("auto_pad", "NOTSET") == "NOTSET"
    attrs = Pool2dAttrs(
        kind=_KINDS[node.op_type],
        kernel=win.kernel,
        stride=win.stride,
        pad=win.pad,
        ceil_mode=ceil_mode,
        count_include_pad=bool(node.integer("count_include_pad", 0)),
    )
    ifm = to_2d(node, context, node.inputs[0])
    out = context.emit(node, "pool2d", (ifm,), attrs, part=part_2d(shape))
    if len(shape) == 3:
        to_1d(node, context, out)


@converter("GlobalMaxPool", "GlobalAveragePool")
def global_pool(node: OnnxNode, context: Context) -> None:
    """Pooling over all spatial axes; a reduction when there are not two."""
    shape = context.shape(node.inputs[0])
    if len(shape) < 3:
        raise ModelImportError(
            f"input {shape} has no spatial axes", where=node.where, rule="(N, C, ...)"
        )
    kind = _KINDS[node.op_type]
    if len(shape) == 4:
        context.emit(node, "global_pool", node.inputs[:1], GlobalPoolAttrs(kind=kind))
    else:
        op = "reduce_max" if kind is PoolKind.MAX else "reduce_mean"
        context.emit(node, op, node.inputs[:1], ReduceAttrs(axes=tuple(range(2, len(shape)))))
