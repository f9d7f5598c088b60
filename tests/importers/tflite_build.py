"""Tiny TensorFlow Lite models, written with the object API of LiteRT's schema."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Array = NDArray[Any]
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
    "resource": schema.TensorType.RESOURCE,
}
Quant = tuple[Any, Any] | tuple[Any, Any, int] | None  # scale(s), zero point(s), axis


@dataclass
class Function:
    """A graph being written."""

    model: "Model"
    name: str = "main"
    proto: Any = field(default_factory=schema.SubGraphT)

    def __post_init__(self) -> None:
        self.proto.name = self.name
        self.proto.tensors, self.proto.operators = [], []
        self.proto.inputs, self.proto.outputs = [], []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        *,
        quant: Quant = None,
        value: Array | None = None,
        signature: Sequence[int] | None = None,
    ) -> int:
        """Add a tensor and return its index."""
        proto = schema.TensorT()
        proto.name, proto.shape, proto.type = name, list(shape), TYPES[dtype]
        proto.buffer = self.model.buffer(value)
        if signature is not None:
            proto.shapeSignature = list(signature)
        if quant is not None:
            proto.quantization = schema.QuantizationParametersT()
            proto.quantization.scale = [float(s) for s in np.atleast_1d(quant[0])]
            proto.quantization.zeroPoint = [int(z) for z in np.atleast_1d(quant[1])]
            proto.quantization.quantizedDimension = quant[2] if len(quant) == 3 else 0
        self.proto.tensors.append(proto)
        return len(self.proto.tensors) - 1

    def constant(self, name: str, value: Any, quant: Quant = None) -> int:
        """Add a constant and return its index."""
        array = np.asarray(value)
        return self.tensor(name, array.shape, array.dtype.name, quant=quant, value=array)

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        **fields: Any,
    ) -> None:
        """Add an operator; ``options`` names its table, ``fields`` are in the schema's spelling."""
        proto = schema.OperatorT()
        proto.opcodeIndex = self.model.code(kind)
        proto.inputs, proto.outputs = list(inputs), list(outputs)
        if options:
            proto.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            proto.builtinOptions = getattr(schema, f"{options}T")()
            for key, value in fields.items():
                assert hasattr(proto.builtinOptions, key), key
                setattr(proto.builtinOptions, key, value)
        self.proto.operators.append(proto)


class Model:
    """A model being written; the first function is the main one."""

    def __init__(self) -> None:
        self.proto = schema.ModelT()
        self.proto.version = 3
        self.proto.description = b"made by a test"
        self.proto.buffers = [schema.BufferT()]
        self.proto.operatorCodes, self.proto.subgraphs = [], []
        self.codes: dict[str, int] = {}

    def function(self, name: str = "main") -> Function:
        """Add a graph."""
        found = Function(self, name)
        self.proto.subgraphs.append(found.proto)
        return found

    def buffer(self, value: Array | None) -> int:
        proto = schema.BufferT()
        if value is not None:
            proto.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        self.proto.buffers.append(proto)
        return len(self.proto.buffers) - 1

    def code(self, kind: str) -> int:
        if kind not in self.codes:
            proto = schema.OperatorCodeT()
            number = getattr(schema.BuiltinOperator, kind)
            proto.builtinCode, proto.deprecatedBuiltinCode = number, min(number, 127)
            proto.version = 1
            if kind == "CUSTOM":
                proto.customCode = b"TFLite_Detection_PostProcess"
            self.codes[kind] = len(self.proto.operatorCodes)
            self.proto.operatorCodes.append(proto)
        return self.codes[kind]

    def bytes(self) -> bytes:
        """Return the file."""
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.proto.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def save(self, path: Path) -> Path:
        """Write the file and return its path."""
        path.write_bytes(self.bytes())
        return path


def one_op(
    kind: str,
    shape: Sequence[int],
    out_shape: Sequence[int],
    *,
    constants: Sequence[Any] = (),
    before: Sequence[Any] = (),
    options: str = "",
    quant: tuple[Quant, Quant] | None = None,
    dtype: str = "int8",
    outputs: int = 1,
    out_dtype: str = "",
    **fields: Any,
) -> Model:
    """Return a model of one operator: constants ``before`` the data, and behind it.

    With ``quant`` (input, output) the data are of type ``dtype``; constants are (value, quant).
    """
    model = Model()
    main = model.function()
    kinds = (dtype if quant else "float32", out_dtype or (dtype if quant else "float32"))
    ins, outs = quant or (None, None)
    data = main.tensor("x", shape, kinds[0], quant=ins)

    def add(group: Sequence[Any], label: str) -> list[int]:
        found = []
        for i, item in enumerate(group):
            value, own = item if isinstance(item, tuple) else (item, None)
            found.append(main.constant(f"{label}{i}", value, own))
        return found

    first, rest = add(before, "before"), add(constants, "c")
    results = [
        main.tensor("y" if outputs == 1 else f"y{i}", out_shape, kinds[1], quant=outs)
        for i in range(outputs)
    ]
    main.op(kind, [*first, data, *rest], results, options, **fields)
    main.proto.inputs, main.proto.outputs = [data], results
    return model
