"""File formats -> graph. ``load`` picks the importer by the file's suffix."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npusim.errors import ModelImportError
from npusim.ir.graph import Graph

__all__ = ["load"]

_OTHER_FORMATS = {
    ".caffemodel": "Caffe",
    ".prototxt": "Caffe",
    ".cfg": "Darknet",
    ".weights": "Darknet",
    ".h5": "Keras",
    ".keras": "Keras",
    ".json": "MXNet",
    ".params": "MXNet",
    ".pb": "TensorFlow",
}


def load(
    path: str | Path,
    *,
    inputs: Sequence[str] | None = None,
    input_shapes: Mapping[str, Sequence[Any]] | Sequence[Sequence[Any]] | None = None,
    outputs: Sequence[str] | None = None,
) -> Graph:
    """Read a model file.

    Parameters
    ----------
    path : str or Path
        The model; its suffix decides the importer.
    inputs, input_shapes, outputs
        As in ``load_onnx`` and ``load_tflite``.

    Raises
    ------
    ModelImportError
        When there is no importer for the suffix, or from the importer.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".onnx":
        from npusim.importers.onnx.importer import load_onnx

        return load_onnx(path, inputs=inputs, input_shapes=input_shapes, outputs=outputs)
    if suffix == ".tflite":
        from npusim.importers.tflite.importer import load_tflite

        return load_tflite(path, inputs=inputs, input_shapes=input_shapes, outputs=outputs)
    if suffix in (".pt", ".pth", ".torchscript"):
        from npusim.importers.pytorch.importer import load_pytorch

        shapes = list(input_shapes.values()) if isinstance(input_shapes, Mapping) else input_shapes
        if not shapes:
            raise ModelImportError(
                "the sizes of the inputs are not given",
                where=str(path),
                rule="a TorchScript file does not say them",
                remedy="give input_shapes=[(1, 3, 224, 224)] (RKNN: input_size_list)",
            )
        return load_pytorch(path, input_shapes=shapes, inputs=inputs, outputs=outputs)
    framework = _OTHER_FORMATS.get(suffix)
    known = f"{framework} files" if framework else f"files ending in {suffix or 'nothing'}"
    raise ModelImportError(
        f"{known} cannot be imported",
        where=str(path),
        rule="the importer is chosen by the suffix: .onnx, .tflite, .pt or .pth",
        remedy="export the model to ONNX from its framework and load the .onnx file",
    )
