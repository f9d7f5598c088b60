"""Reads a TensorFlow Lite file into plain records, with the schema code of the ``tflite`` package.

The package checks nothing: sizes and indices are checked here, before anything is used.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from npusim.errors import ModelImportError
from npusim.extras import require
from npusim.importers.common.builder import Array, check_elements, read_bytes, sha256_of
from npusim.importers.common.made import Values
from npusim.importers.formats import refuse_other
from npusim.importers.tflite.sparse import dense
from npusim.ir.dtypes import DType
from npusim.ir.graph import Source
from npusim.ir.quant import Affine, AffinePerChannel

MAX_FILE_BYTES = (1 << 31) - 1
SCHEMA = 3
IDENTIFIER = b"TFL3"
_DAMAGED = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)
"""What reading beyond a buffer raises in the flatbuffers package."""

_REDUCTIONS = ("MEAN", "SUM", *(f"REDUCE_{what}" for what in ("PROD", "MAX", "MIN", "ANY", "ALL")))
_OPTIONS_OF = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"), "POOL_2D"),
    **dict.fromkeys(_REDUCTIONS, "REDUCER"),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), "MAXIMUM_MINIMUM"),
    "L2_NORMALIZATION": "L2_NORM",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SEQUENCE_RNN",
    "CONV_3D_TRANSPOSE": "CONV_3D",
}
"""Operators whose options are called otherwise than they are."""

_FEW, _READ_AGAIN = 1 << 16, 16
"""Numbers and letters that are read: so many, and so many for each byte of the file."""

_VARIABLES = {"VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0)}
"""Inputs and outputs of operators whose variables are looked for before anything is converted."""

BUILTIN_CODE = 10  # offset in the table of fields of OperatorCode

_NUMPY: dict[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype("<f4"),
    "FLOAT16": np.dtype("<f2"),
    "FLOAT64": np.dtype("<f8"),
    "INT8": np.dtype("i1"),
    "UINT8": np.dtype("u1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}

DTYPES = {
    "FLOAT32": DType.F32,
    "FLOAT16": DType.F32,
    "FLOAT64": DType.F32,
    "INT8": DType.I8,
    "UINT8": DType.U8,
    "INT16": DType.I16,
    "INT32": DType.I32,
    "INT64": DType.I64,
    "BOOL": DType.BOOL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of the file; shapes in the file's order (N, H, W, C for feature maps).

    Attributes
    ----------
    type : str
        The schema's word: FLOAT32, INT8, RESOURCE, ..
    shape : tuple of int
        -1 where the model leaves a size open.
    quant : Affine, AffinePerChannel or None
    data : array or None
        The value of a constant.
    problem : str
        Why the tensor cannot be used, empty when it can.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    quant: Affine | AffinePerChannel | None
    data: Array | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator of the file; -1 among the inputs is one that is left out.

    ``custom`` holds the options of a custom operator, in a form of its own.
    """

    type: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = field(repr=False)
    custom: bytes = b""

    def needed(self, name: str) -> Any:
        """Return a field of the operator's options; without options LiteRT reads zeros."""
        value = self.option(name, None)
        if value is None:
            raise ModelImportError(
                f"it has no option {name}",
                rule=f"{self.type} has options of its own",
                remedy="the file is damaged: copy or convert it again",
            )
        return value

    def option(self, name: str, default: Any) -> Any:
        """Return a field of the operator's options, the default when it has none.

        Raises
        ------
        ModelImportError
            When the options lie beyond the file, or are those of another operator, which LiteRT
            takes for none.
        """
        if self.options is not None:
            kind, own = type(self.options).__name__, _OPTIONS_OF.get(self.type, self.type)
            if kind.removesuffix("Options").upper() != own.replace("_", ""):
                raise ModelImportError(
                    f"its options are {kind}",
                    rule=f"{self.type} has options of its own",
                    remedy="the file is damaged: copy or convert it again",
                )
        read = getattr(self.options, name, None)
        try:
            return default if read is None else read()
        except _DAMAGED as error:
            raise ModelImportError(
                f"option {name} cannot be read ({error})", remedy="copy or export the model again"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """One function of the file."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(path: Path) -> tuple[tuple[Subgraph, ...], Source]:
    """Return the functions of a model file, the main one first, and the file's identity.

    Raises
    ------
    MissingExtraError
        Without the ``tflite`` package.
    ModelImportError
        When the file cannot be read, is no TensorFlow Lite model or is damaged.
    """
    where = str(path)
    data = read_bytes(path, MAX_FILE_BYTES)
    refuse_other("TensorFlow Lite", data, where)
    if data[4:8] != IDENTIFIER:
        raise ModelImportError(
            "this is not a TensorFlow Lite model",
            where=where,
            rule="bytes 4 to 7 of the file are TFL3",
            remedy="copy the file again; tf.lite.TFLiteConverter writes such files",
        )
    schema = require("tflite", extra="tflite", purpose="reading TensorFlow Lite models")
    try:
        return _Reader(schema, data).model(where), _source(schema, data, where)
    except ModelImportError as error:
        raise ModelImportError(
            error.what, where=where, rule=error.rule, remedy=error.remedy
        ) from None
    except _DAMAGED as error:
        raise ModelImportError(
            f"the file is damaged or truncated ({error})",
            where=where,
            rule="every table lies inside the file",
            remedy="copy or export the model again",
        ) from None


def _source(schema: Any, data: bytes, where: str) -> Source:
    model = schema.Model.GetRootAs(data, 0)
    text = _text(model.Description()) or "no description"
    detail = f"schema {model.Version()}, {text}"
    return Source(framework="tflite", path=where, sha256=sha256_of(data), detail=detail)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


class _Reader:
    """Tables of a file become records.

    Tables may share what they point to, so that a small file can name a vector a million times:
    what is read is counted (``left``), and values of one buffer are kept once (``raw``).
    """

    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema, self.data = schema, data
        self.left = _FEW + _READ_AGAIN * len(data)
        self.filled = Values[str]()
        self.raw: dict[tuple[int, int], bytes] = {}
        self.types = _words(schema.TensorType)
        self.codes = _words(schema.BuiltinOperator)
        self.options = _words(schema.BuiltinOptions)

    def _count(self, size: int) -> None:
        """Count what was read."""
        self.left -= size
        if self.left < 0:
            raise ModelImportError(
                "its tables name the same vectors again and again",
                rule=f"names, shapes and parameters together are at most {_READ_AGAIN} times the "
                "file",
                remedy="the file is damaged; copy or export it again",
            )

    def _ints(self, value: Any) -> tuple[int, ...]:
        """Return a vector of integers; the schema code gives 0 for an absent one."""
        if not isinstance(value, np.ndarray):
            return ()
        self._count(value.size)
        return tuple(int(n) for n in value)

    def model(self, where: str) -> tuple[Subgraph, ...]:
        model = self.schema.Model.GetRootAs(self.data, 0)
        if model.Version() != SCHEMA:
            raise ModelImportError(
                f"schema version {model.Version()}",
                rule=f"version {SCHEMA}",
                remedy="convert the model again with a current converter",
            )
        if not model.SubgraphsLength():
            raise ModelImportError("the file has no graph", rule="at least one graph")
        return tuple(self._subgraph(model, i) for i in range(model.SubgraphsLength()))

    def _subgraph(self, model: Any, index: int) -> Subgraph:
        graph = model.Subgraphs(index)
        tensors = tuple(self._tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength()))
        operators = tuple(
            self._operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())
        )
        result = Subgraph(
            name=_text(graph.Name()),
            tensors=tensors,
            operators=operators,
            inputs=self._ints(graph.InputsAsNumpy()),
            outputs=self._ints(graph.OutputsAsNumpy()),
        )
        used = [n for op in operators for n in (*op.inputs, *op.outputs) if n != -1]
        for number in (*used, *result.inputs, *result.outputs):
            if not 0 <= number < len(tensors):
                raise ModelImportError(
                    f"tensor {number} is used and does not exist",
                    rule=f"the graph has {len(tensors)} tensors",
                    remedy="the file is damaged; copy or export it again",
                )
        for number in result.inputs:
            if tensors[number].data is not None:
                raise ModelImportError(
                    f"input {tensors[number].name!r} has a value in the file",
                    rule="inputs of networks and functions are given; LiteRT would write into the "
                    "constants of the file",
                )
        return result

    def _operator(self, model: Any, proto: Any) -> Operator:
        if not 0 <= proto.OpcodeIndex() < model.OperatorCodesLength():
            raise ModelImportError(f"operator code {proto.OpcodeIndex()} does not exist")
        code = model.OperatorCodes(proto.OpcodeIndex())
        inputs, outputs = (
            self._ints(numbers) for numbers in (proto.InputsAsNumpy(), proto.OutputsAsNumpy())
        )
        number = self._code_number(code)
        word = self.codes.get(number, f"operator {number}")
        if word == "CUSTOM":
            word = f"CUSTOM {_text(code.CustomCode())}"
        needs = _VARIABLES.get(word, (0, 0))
        if any(
            len(own) < n or -1 in own[:n] for own, n in zip((inputs, outputs), needs, strict=True)
        ):
            raise ModelImportError(
                f"{word} has inputs {list(inputs)} and outputs {list(outputs)}",
                rule=f"{needs[0]} and {needs[1]}",
                remedy="the file is damaged; copy or export it again",
            )
        table, kind = proto.BuiltinOptions(), self.options.get(proto.BuiltinOptionsType(), "")
        options = None
        if table is not None and hasattr(self.schema, kind):
            options = getattr(self.schema, kind)()
            options.Init(table.Bytes, table.Pos)
        return Operator(
            type=word,
            version=code.Version(),
            inputs=inputs,
            outputs=outputs,
            options=options,
            custom=proto.CustomOptionsAsNumpy().tobytes() if proto.CustomOptionsLength() else b"",
        )

    def _code_number(self, code: Any) -> int:
        """Return the larger of both fields, as LiteRT does.

        The package's ``BuiltinCode`` gives the old field unless the new one is above 127.
        """
        place = code._tab.Offset(BUILTIN_CODE)
        new = struct.unpack_from("<i", self.data, code._tab.Pos + place)[0] if place else 0
        return max(int(new), int(code.DeprecatedBuiltinCode()))

    def _tensor(self, model: Any, proto: Any) -> Tensor:
        name, word = _text(proto.Name()), self.types.get(proto.Type(), f"type {proto.Type()}")
        self._count(len(name))
        signature = self._ints(proto.ShapeSignatureAsNumpy())
        shape = self._ints(proto.ShapeAsNumpy())
        problem, data = "", None
        if not 0 <= proto.Buffer() < max(model.BuffersLength(), 1):
            raise ModelImportError(f"buffer {proto.Buffer()} of tensor {name!r} does not exist")
        buffer = model.Buffers(proto.Buffer()) if proto.Buffer() else None
        if buffer is not None and buffer.Offset() > 1:
            problem = "its data lies behind the flatbuffer (models above 2 GiB)"
        elif buffer is not None and (buffer.DataLength() or proto.Sparsity() is not None):
            if word in _NUMPY:
                raw = buffer.DataAsNumpy() if buffer.DataLength() else np.zeros(0, np.uint8)
                data = self._value(raw, word, shape, name, proto.Sparsity())
            else:
                problem = f"its type {word} has no counterpart"
        quant, wrong = self._quant(proto.Quantization(), name, word, len(shape))
        return Tensor(
            name=name,
            type=word,
            shape=signature if len(signature) == len(shape) and data is None else shape,
            quant=quant,
            data=data,
            problem=problem or wrong,
        )

    def _value(
        self, raw: Array, word: str, shape: tuple[int, ...], name: str, sparsity: Any
    ) -> Array:
        dtype = _NUMPY[word]
        expected = check_elements(shape, f"tensor {name!r}", "") * dtype.itemsize
        if sparsity is not None:
            try:
                values = np.frombuffer(raw.tobytes(), dtype)
                whole = dense(values, shape, sparsity)
                self.filled.store(name, values)
                self.filled[name] = whole
                return whole
            except ModelImportError as error:
                raise ModelImportError(
                    f"tensor {name!r}: {error.what}", rule=error.rule, remedy=error.remedy
                ) from None
        if raw.size != expected:
            raise ModelImportError(
                f"tensor {name!r} of shape {shape} has {raw.size} bytes",
                rule=f"{expected} bytes",
                remedy="the file is damaged; copy or export it again",
            )
        place = (raw.__array_interface__["data"][0], raw.size)
        held = self.raw.setdefault(place, b"") or raw.tobytes()
        self.raw[place] = held
        value = np.frombuffer(held, dtype).reshape(shape)
        return value.astype(dtype.newbyteorder("="), copy=False)

    def _quant(
        self, proto: Any, name: str, word: str, ndim: int
    ) -> tuple[Affine | AffinePerChannel | None, str]:
        """Return the parameters of a tensor, and what is wrong with them."""
        if proto is None or not proto.ScaleLength():
            return None, ""
        self._count(proto.ScaleLength())
        scales = np.asarray(proto.ScaleAsNumpy(), np.float32)
        zeros = self._ints(proto.ZeroPointAsNumpy()) or (0,) * scales.size
        if proto.DetailsType():
            return None, "its quantization is blockwise or custom"
        if not (np.isfinite(scales).all() and (scales > 0).all()) or len(zeros) not in (
            1,
            scales.size,
        ):
            return None, f"its scales ({scales.min():g} .. {scales.max():g}) are no parameters"
        kind = _NUMPY.get(word)
        limits = np.iinfo(kind) if kind is not None and kind.kind in "iu" else None
        if limits and not limits.min <= min(zeros) <= max(zeros) <= limits.max:
            return None, f"its zero points ({min(zeros)} .. {max(zeros)}) are not of type {word}"
        if scales.size == 1:
            return Affine(scale=float(scales[0]), zero_point=zeros[0]), ""
        axis = proto.QuantizedDimension()
        if not 0 <= axis < ndim:
            raise ModelImportError(f"tensor {name!r} has scales on axis {axis} of {ndim}")
        whole = zeros * scales.size if len(zeros) == 1 else zeros
        return AffinePerChannel(scales=tuple(map(float, scales)), zero_points=whole, axis=axis), ""


def _words(enumeration: Any) -> dict[int, str]:
    return {value: word for word, value in vars(enumeration).items() if isinstance(value, int)}
