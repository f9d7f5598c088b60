"""Weights out of an ONNX file: element types, sizes and external data, checked before use."""

from errno import ENOENT
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from npusim.errors import ModelImportError
from npusim.importers.common.builder import Array, check_elements
from npusim.importers.common.stretch import read_numbers

_TYPED_FIELDS: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT64: "uint64_data",
    TensorProto.UINT32: "uint64_data",
}
_READABLE = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
    TensorProto.BOOL,
)


def tensor_value(proto: TensorProto, name: str, model_path: Path) -> Array:
    """Return the value of a tensor stored in a model.

    Parameters
    ----------
    name : str
        What messages call it.
    model_path : Path
        The model file; external data lie in its folder.

    Raises
    ------
    ModelImportError
        For element types without numbers, sizes that do not match the data, absurd shapes, and
        external data that is missing or not inside the folder of the model.
    """
    where = str(model_path)
    if proto.data_type not in _READABLE:
        kind = element_type_name(proto.data_type)
        raise ModelImportError(
            f"tensor {name!r} has element type {kind}",
            where=where,
            rule=f"readable: {', '.join(element_type_name(t) for t in _READABLE)}",
            remedy="strings and packed types have no counterpart; export the model in float32",
        )
    count = check_elements(proto.dims, f"tensor {name!r}", where)
    if proto.HasField("segment"):
        raise ModelImportError(
            f"tensor {name!r} is a segment",
            where=where,
            rule="tensors are stored whole",
            remedy="export the model again with a current exporter",
        )
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.data_type))
    if proto.data_location == TensorProto.EXTERNAL:
        return _external(proto, name, dtype, count, model_path)
    if proto.HasField("raw_data"):
        found, unit = len(proto.raw_data), "bytes"
        expected = count * dtype.itemsize
    else:
        field = _TYPED_FIELDS.get(proto.data_type, "int32_data")
        found, expected, unit = len(getattr(proto, field)), count, "values"
    if found != expected:
        raise ModelImportError(
            f"tensor {name!r} of shape {tuple(proto.dims)} has {found} {unit}",
            where=where,
            rule=f"{expected} {unit}",
            remedy="the file is damaged; export it again",
        )
    return numpy_helper.to_array(proto)


def element_type_name(data_type: int) -> str:
    """Return the format's word for an element type, its number when the format has none."""
    known = data_type in TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(data_type)) if known else str(data_type)


def _external(
    proto: TensorProto, name: str, dtype: np.dtype[np.generic], count: int, model_path: Path
) -> Array:
    entries = {e.key: e.value for e in proto.external_data}
    location = entries.get("location", "")
    if not isinstance(location, str):  # protobuf gives bytes where a text is no UTF-8
        raise _refused(location, name, model_path)
    path = _inside(location, name, model_path)
    expected = count * dtype.itemsize
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", expected))
        if not path.is_file():
            raise FileNotFoundError(ENOENT, "no such file")
        size = path.stat().st_size
    except ValueError:
        raise ModelImportError(
            f"external data of tensor {name!r} has offset {entries.get('offset')!r} and length "
            f"{entries.get('length')!r}",
            where=str(model_path),
            rule="both are whole numbers",
        ) from None
    except OSError as error:
        raise ModelImportError(
            f"external data {location!r} of tensor {name!r} cannot be read: {error.strerror}",
            where=str(model_path),
            remedy="put the file into the folder of the model",
        ) from None
    if offset < 0 or length != expected or offset + length > size:
        raise ModelImportError(
            f"external data of tensor {name!r} is bytes {offset} to {offset + length} of "
            f"{location!r}, which has {size}; the tensor {tuple(proto.dims)} needs {expected}",
            where=str(model_path),
            remedy="the data file is damaged or of another model",
        )
    little = dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype
    found = read_numbers(path, offset, count, little)
    return found.astype(dtype, copy=False).reshape(tuple(proto.dims))


def _inside(location: str, name: str, model_path: Path) -> Path:
    """Return the path of external data; refuses everything that leaves the model's folder."""
    parts = PurePosixPath(location.replace("\\", "/")).parts
    bad = (
        not parts
        or PurePosixPath(location).is_absolute()
        or PureWindowsPath(location).is_absolute()
        or bool(PureWindowsPath(location).drive)
        or ".." in parts
        or "\0" in location  # some versions of Python find no fault with it
    )
    path = model_path.parent
    for part in () if bad else parts:
        path = path / part
        try:
            bad = bad or path.is_symlink()
        except (OSError, ValueError):  # a name that no file can have
            bad = True
    if bad:
        raise _refused(location, name, model_path)
    return path


def _refused(location: str | bytes, name: str, model_path: Path) -> ModelImportError:
    return ModelImportError(
        f"external data {location!r} of tensor {name!r} is refused",
        where=str(model_path),
        rule="a relative path inside the folder of the model, without '..' and links",
        remedy="copy the data file beside the model and save the model again",
    )
