"""Bind a single operator."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from npusim.ir.attrs import NO_ATTRS, Attrs
from npusim.ir.dtypes import DType
from npusim.ir.graph import Engine, Graph, Node
from npusim.ir.quant import Affine, DynamicFixedPoint, Float, Quant
from npusim.ir.tensor import TensorSpec
from npusim.ops import infer_shapes
from npusim.passes.requant import requant_of
from npusim.runtime.binding import Step, bind
from npusim.runtime.bindings import load_bindings

load_bindings()
F16, F32 = (DType.F16, Float()), (DType.F32, Float())
U8, OTHER_U8 = (DType.U8, Affine(scale=0.02, zero_point=117)), (DType.U8, Affine(scale=0.03))
I8, I16 = (DType.I8, DynamicFixedPoint(fl=5)), (DType.I16, DynamicFixedPoint(fl=11))
FORMATS = {"u8": U8, "i8": I8, "i16": I16, "f16": F16}
Format = tuple[DType, Quant]


def one_node(
    op: str,
    engine: Engine,
    inputs: Sequence[tuple[tuple[int, ...], Format]],
    outputs: Format | Sequence[Format],
    attrs: Attrs = NO_ATTRS,
    constants: Mapping[int, Any] | None = None,
) -> Step:
    """Return the step of one node; ``constants`` maps input positions to known values."""
    known = constants or {}
    specs = [
        TensorSpec(name=f"x{i}", shape=shape, dtype=dtype, quant=quant)
        for i, (shape, (dtype, quant)) in enumerate(inputs)
    ]
    formats = [outputs] if isinstance(outputs, tuple) else list(outputs)
    node = Node(
        name="layer",
        op=op,
        inputs=tuple(spec.name for spec in specs),
        outputs=tuple(f"y{i}" for i in range(len(formats))),
        attrs=attrs,
        engine=engine,
    )
    shapes = infer_shapes(node, specs)
    results = [
        TensorSpec(name=name, shape=shape, dtype=dtype, quant=quant)
        for name, shape, (dtype, quant) in zip(node.outputs, shapes, formats, strict=True)
    ]
    graph = Graph(
        name="one",
        nodes=(node,),
        inputs=tuple(spec.name for i, spec in enumerate(specs) if i not in known),
        outputs=node.outputs,
        tensors={spec.name: spec for spec in (*specs, *results)},
        constants={f"x{i}": value for i, value in known.items()},
    )
    return bind(replace(node, requant=requant_of(node, graph)), graph)


def draw(rng: np.random.Generator, shape: tuple[int, ...], form: Format) -> np.ndarray:
    """Return random codes of a type."""
    dtype = form[0]
    if dtype.is_float:
        return np.asarray(rng.standard_normal(shape) * 3).astype(dtype.numpy)
    return rng.integers(dtype.min, dtype.max + 1, shape).astype(dtype.numpy)


def orders(value: np.ndarray) -> list[np.ndarray]:
    """Return the value in C order, channels last, as a strided view and read-only."""
    last = np.ascontiguousarray(np.moveaxis(value, 1, -1)) if value.ndim > 1 else value.copy()
    last = np.moveaxis(last, -1, 1) if value.ndim > 1 else last
    wide = np.repeat(value, 2, axis=-1)[..., ::2] if value.ndim else value
    locked = value.copy()
    locked.flags.writeable = False
    return [np.ascontiguousarray(value), last, wide, locked]
