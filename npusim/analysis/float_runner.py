"""Run the source ONNX file in ONNX Runtime with its intermediate values exposed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from numpy.typing import NDArray

from npusim import words
from npusim.analysis.safe_forms import to_safe_forms
from npusim.analysis.unsigned_weights import use_unsigned_weights
from npusim.errors import UNREADABLE, InputError, ModelImportError
from npusim.foreign.child import running
from npusim.foreign.runtimes import ONNX_RUNTIME
from npusim.foreign.side import Refused

Array = NDArray[Any]


def run_source_float(
    path: str | Path,
    feeds: Mapping[str, Array],
    *,
    tensors: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Array]:
    """Return values of an ONNX model as ONNX Runtime computes them, without graph rewrites.

    Parameters
    ----------
    path : str or Path
        The model; its external data, if any, lies in the same folder.
    feeds : mapping of str to array
        One array per input, after preprocessing, in the model's axis order, or N, C, H, W where
        only N, H, W, C fits the model. Another floating point width than the model's is converted,
        and whole numbers where the model declares integers.
    tensors : sequence of str, optional
        The values to return besides the model's outputs; by default all intermediate ones. Names
        that the model does not have are left out.
    input_shapes : mapping of str to sequence of int, optional
        Replace the shapes that the model declares, for example of another batch.

    Returns
    -------
    dict of str to array
        Tensors by name, in execution order. Values that are no tensors are left out.

    Raises
    ------
    ModelImportError
        When the file cannot be read or ONNX Runtime refuses or fails to run it.
    NpusimError
        When ONNX Runtime's process dies.
    InputError
        When feeds are missing, unknown, or do not fit the declared shapes and types.
    MissingExtraError
        When ONNX Runtime is not installed.
    """
    child = running(ONNX_RUNTIME)
    where = str(path)
    model = _read(Path(path))
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    _check_names(feeds, [item.name for item in inputs], where)
    for item in inputs:
        if input_shapes and item.name in input_shapes:
            _declare_shape(item, input_shapes[item.name])
    values = {item.name: _fitting(item, np.asarray(feeds[item.name]), where) for item in inputs}
    to_safe_forms(model.graph)
    wanted = _expose(model, tensors)
    use_unsigned_weights(model)
    del model.graph.value_info[:]  # shapes written for other inputs may contradict the feeds
    try:
        content = model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelImportError(
            f"the model cannot be handed to ONNX Runtime: {error}",
            where=where,
            rule="a model with its weights is at most 2 GiB",
        ) from error
    try:
        results = child.ask(
            "ran_once", content, wanted, values, where=where, remedy=words.say("own_reference")
        )
    except Refused as error:
        raise ModelImportError(
            f"ONNX Runtime: {error}",
            where=where,
            rule="the source model must run in ONNX Runtime to be compared with",
            remedy="python -m pip install -U onnxruntime, or export the model again",
        ) from error
    found = dict(zip(wanted, results, strict=True))
    if tensors is not None:
        found.update({name: np.asarray(feeds[name]) for name in tensors if name in values})
    return {name: value for name, value in found.items() if value is not None}


def file_inputs(path: str | Path) -> tuple[str, ...]:
    """Return the names of an ONNX file's inputs.

    Raises
    ------
    ModelImportError
        When the file cannot be read.
    """
    return _input_names(_read(Path(path)))


def _input_names(model: onnx.ModelProto) -> tuple[str, ...]:
    constants = {item.name for item in model.graph.initializer}
    return tuple(item.name for item in model.graph.input if item.name not in constants)


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except OSError as error:
        raise ModelImportError(
            error.strerror or str(error),
            where=str(error.filename or path),
            remedy=UNREADABLE,
        ) from error
    except DecodeError as error:
        raise ModelImportError(
            "the file is truncated or no ONNX model",
            where=str(path),
            remedy="copy or export the model again",
        ) from error
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelImportError(
            f"external data cannot be read: {error}",
            where=str(path),
            rule="external data lies in the model's folder, complete",
            remedy="copy the data files with the model",
        ) from error


def _expose(model: onnx.ModelProto, tensors: Sequence[str] | None) -> list[str]:
    """Make values outputs of the model; return the names of all outputs in execution order."""
    declared = [item.name for item in model.graph.output]
    produced = [
        name
        for node in model.graph.node
        if (node.domain, node.op_type) not in (("", "Constant"), ("ai.onnx", "Constant"))
        for name in node.output
        if name
    ]
    keep = set(declared) | (set(produced) if tensors is None else set(tensors))
    wanted = [name for name in produced if name in keep]
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in declared
    )
    return wanted + [name for name in declared if name not in wanted]


def _check_names(feeds: Mapping[str, Array], inputs: Sequence[str], where: str) -> None:
    missing = [name for name in inputs if name not in feeds]
    extra = [name for name in feeds if name not in inputs]
    if missing or extra:
        what = [f"no data for {missing}"] if missing else []
        what += [f"{extra} are no inputs"] if extra else []
        raise InputError(
            "; ".join(what), where=where, rule=f"feeds has one array for each of {list(inputs)}"
        )


def _declare_shape(item: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    dims = item.type.tensor_type.shape.dim
    del dims[:]
    for size in shape:
        dims.add().dim_value = int(size)


def _fits(value: Array, sizes: Sequence[int | None]) -> bool:
    return len(sizes) == value.ndim and all(
        size in (None, given) for size, given in zip(sizes, value.shape, strict=True)
    )


def _fitting(item: onnx.ValueInfoProto, value: Array, where: str) -> Array:
    """Return the value in the declared element type; check its shape."""
    at = f"{where}: input {item.name!r}"
    tensor = item.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if value.dtype != dtype:
        real = np.issubdtype(dtype, np.floating)
        if real and not np.issubdtype(value.dtype, np.floating):
            raise InputError(
                f"element type {value.dtype}",
                where=at,
                rule=f"{dtype} is expected",
                remedy=f"pass value.astype('{dtype}')",
            )
        with np.errstate(invalid="ignore", over="ignore"):
            declared = value.astype(dtype)
        if not real and (declared != value).any():
            raise InputError(
                f"{value.dtype} values that are not {dtype}",
                where=at,
                rule=f"the model declares {dtype}: whole numbers in its range",
                remedy="give whole numbers, such as indices or codes",
            )
        value = declared
    if tensor.HasField("shape"):
        # a size that is a symbol, missing, or (some exporters) not positive is free
        sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
        if value.ndim == 4 and not _fits(value, sizes):
            turned = value.transpose(0, 2, 3, 1)  # the importer takes such pictures as N, C, H, W
            value = np.ascontiguousarray(turned) if _fits(turned, sizes) else value
        if not _fits(value, sizes):
            text = ", ".join("any" if size is None else str(size) for size in sizes)
            raise InputError(
                f"shape {value.shape}",
                where=at,
                rule=f"({text}) is expected",
                remedy=f"resize or transpose the data, or give {words.say('input_shapes')}",
            )
    return value
