"""LSTM layers of vendor files, step by step.

The file states formats of the results (codes of the states, float16 of the cell) and of the
weights; in which format the driver keeps the sums in between was not measured. They are float16
here, as the cell is, and a note says so.
"""

import numpy as np

from npusim.errors import ContainerError
from npusim.importers.common.builder import UnsupportedForm
from npusim.importers.vendor.context import Array, VendorContext, converter
from npusim.importers.vendor.network import Stored, VendorLayer
from npusim.ir.attrs import (
    NO_ATTRS,
    Attrs,
    AxisAttrs,
    EltwiseAttrs,
    FcAttrs,
    ReshapeAttrs,
    SplitAttrs,
)
from npusim.ir.codes import dequantize
from npusim.ir.dtypes import DType
from npusim.ir.quant import Float

HALF = Stored(DType.F16, Float())
GATES = 4  # input, forget, cell, output
WEIGHTS, RECURRENT, BIASES = 3, 7, 14  # places of the inputs
MOST_STEPS = 1024


class _Cell:
    """One LSTM layer being written out."""

    def __init__(self, layer: VendorLayer, context: VendorContext) -> None:
        self.layer, self.context, self.count = layer, context, 0

    def emit(
        self, op: str, inputs: tuple[str, ...], attrs: Attrs = NO_ATTRS, form: Stored = HALF
    ) -> str:
        self.count += 1
        return self.context.emit(
            self.layer,
            op,
            inputs,
            attrs,
            part=f"{op}{self.count}",
            form=form,
        )

    def plain(self, op: str, tensor: str) -> str:
        return self.emit(op, (tensor,))

    def pair(self, op: str, first: str, second: str) -> str:
        return self.emit(op, (first, second), EltwiseAttrs())

    def real(self, first: int, count: int = GATES) -> Array:
        """Return constants of the file as real numbers, one below the other."""
        rows = []
        for tensor in self.layer.inputs[first : first + count]:
            value = self.context.value(tensor)
            if value is None:
                raise ContainerError(
                    f"input {tensor!r} is no constant",
                    where=self.layer.where,
                    rule="weights and biases are in the file",
                )
            rows.append(dequantize(value, self.context.quant(tensor)))
        return np.concatenate(rows)

    def constant(self, word: str, value: Array) -> str:
        return self.context.constant(f"{self.layer.name}/{word}", value, Float())


@converter("LSTM", "LSTM_OVXLIB")
def lstm(layer: VendorLayer, context: VendorContext) -> None:
    """(T, N, ..), initial states absent -> (T, N, O), state and cell after the last step."""
    given = {i for i, tensor in enumerate(layer.inputs) if tensor}
    wanted = {0, *range(WEIGHTS, WEIGHTS + 2 * GATES), *range(BIASES, BIASES + GATES)}
    if missing := wanted - given:
        raise ContainerError(
            f"its inputs {sorted(missing)} are missing",
            where=layer.where,
            rule="data, four weights for it, four for the state and four biases",
        )
    if extra := given - wanted:
        raise UnsupportedForm(
            f"its inputs {sorted(extra)} are used: initial states, peepholes or a projection",
            "no file was seen with them",
        )
    if any(layer.real(key, 0.0) for key in ("cell_clip", "proj_clip")):
        raise UnsupportedForm("it clips its cell", "no file was seen with it")
    cell = _Cell(layer, context)
    shape = context.shape(layer.inputs[0])
    steps, width = shape[0], int(np.prod(shape[2:]))
    if len(shape) < 3 or shape[1] != 1 or steps > MOST_STEPS:
        raise UnsupportedForm(
            f"its input is {shape}", f"up to {MOST_STEPS} steps of one sample are written out"
        )
    weights, recurrent = cell.real(WEIGHTS), cell.real(RECURRENT)
    size = len(recurrent) // GATES
    if weights.shape != (GATES * size, width) or recurrent.shape != (GATES * size, size):
        raise ContainerError(
            f"weights {weights.shape} and {recurrent.shape}",
            where=layer.where,
            rule=f"rows of {width} and of as many as there are results",
        )
    bias = cell.real(BIASES).astype(np.float32)
    bias[size : 2 * size] += np.float32(layer.real("forget_bias", 0.0))
    rows = cell.emit("reshape", (layer.inputs[0],), ReshapeAttrs(shape=(steps, width)), _as(cell))
    rows = cell.plain("convert", rows)
    inner = (
        rows,
        cell.constant("weights", weights.astype(np.float16)),
        cell.constant("bias", bias),
    )
    sums = cell.emit("fc", inner, FcAttrs())
    parts = _split(cell, sums, 0, (1,) * steps)
    again = (
        cell.constant("recurrent", recurrent.astype(np.float16)),
        cell.constant("none", np.zeros(GATES * size, np.float32)),
    )
    state = hidden = ""
    results = []
    for part in parts:
        if hidden:
            part = cell.pair("add", part, cell.emit("fc", (hidden, *again), FcAttrs()))
        entry, forget, change, out = _split(cell, part, 1, (size,) * GATES)
        new = cell.pair("mul", cell.plain("sigmoid", entry), cell.plain("tanh", change))
        if state:
            kept = cell.pair("mul", cell.plain("sigmoid", forget), state)
            new = cell.pair("add", kept, new)
        state = new
        value = cell.pair("mul", cell.plain("sigmoid", out), cell.plain("tanh", state))
        results.append(_stored(cell, value, layer.formats[0]))
        form = layer.formats[1] if len(layer.formats) > 1 else layer.formats[0]
        hidden = _stored(cell, value, form)
        if form.dtype is not DType.F16:
            hidden = cell.plain("convert", hidden)
    joined = cell.emit("concat", tuple(results), AxisAttrs(axis=0), layer.formats[0])
    _finish(layer, context, joined, (steps, 1, size))


def _finish(
    layer: VendorLayer, context: VendorContext, joined: str, shape: tuple[int, ...]
) -> None:
    """Give the sequence the layer's name; the states after the last step are read by nothing."""
    context.builder.add_node(
        layer.layer,
        "reshape",
        (joined,),
        layer.outputs[:1],
        ReshapeAttrs(shape=shape),
        origin=(layer.name,),
        dtype=layer.formats[0].dtype,
        quant=layer.formats[0].quant,
    )
    context.uids[layer.layer] = layer.uid
    context.notes.append(
        f"layer {layer.name!r}: an LSTM, written out step by step; its sums between the steps are "
        "float16, which was not measured on the chip"
    )


def _as(cell: _Cell) -> Stored:
    spec = cell.context.builder.tensors[cell.context.name(cell.layer.inputs[0])]
    return Stored(spec.dtype, spec.quant)


def _stored(cell: _Cell, tensor: str, form: Stored) -> str:
    return tensor if form == HALF else cell.emit("convert", (tensor,), form=form)


def _split(cell: _Cell, tensor: str, axis: int, sizes: tuple[int, ...]) -> list[str]:
    """Cut a float16 tensor along an axis."""
    if len(sizes) == 1:
        return [tensor]
    cell.count += 1
    name = f"{cell.layer.name}/split{cell.count}"
    outputs = [f"{name}:{i}" for i in range(len(sizes))]
    cell.context.builder.add_node(
        f"{cell.layer.layer}/split{cell.count}",
        "split",
        (tensor,),
        outputs,
        SplitAttrs(axis=axis, sizes=sizes),
        origin=(cell.layer.name,),
        dtype=DType.F16,
        quant=Float(),
    )
    return outputs
